"""An ablation's plan and refusals; a whole ablation, continued in a real MLflow store."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import cli
from experiments.ablation import ablate, plan
from experiments.settings import AblationConfig, AblationSettings, distill_settings
from mkd.storage.versions import STAGES
from tests.support.entry import client, command, outcome, tiny

CONFIGS = Path(__file__).resolve().parents[2] / "experiments" / "configs"
VARIANTS: dict[str, dict[str, Any]] = {"plain": {}, "clipped": {"train.clip": 0.4}}
ABLATION = [
    *tiny("ablation"),
    '--data.tasks=["sentiment", "similarity"]',
    "--ablation.variants",
    json.dumps(VARIANTS),
]

Ablated = tuple[Path, subprocess.CompletedProcess[str]]


def config_of(variants: dict[str, dict[str, Any]], **changes: Any) -> AblationSettings:
    return replace(AblationSettings(ablation=AblationConfig(variants, [0, 7])), **changes)


def test_the_plan_has_every_variant_for_every_seed_ordered_by_seed() -> None:
    trials = plan(config_of(VARIANTS))
    assert [trial.name for trial in trials] == ["plain s0", "clipped s0", "plain s7", "clipped s7"]
    assert [(trial.config.seed, trial.config.train.clip) for trial in trials] == [
        (0, 1.0),
        (0, 0.4),
        (7, 1.0),
        (7, 0.4),
    ]
    assert not any(trial.config.baseline for trial in trials)
    assert all(trial.config.export.backends == [] for trial in trials)


def test_a_trial_key_depends_only_on_settings_rows_and_seed(tmp_path: Path) -> None:
    keys = [trial.key for trial in plan(config_of(VARIANTS))]
    assert len(set(keys)) == 4
    elsewhere = config_of(VARIANTS, checkpoint_seconds=5.0, cache=str(tmp_path), threads=1)
    assert [trial.key for trial in plan(elsewhere)] == keys
    more = config_of(VARIANTS | {"mse": {"loss.kind": "mse"}})
    assert {trial.key for trial in plan(more) if trial.variant != "mse"} == set(keys)

    def file_keys(text: str) -> list[str]:
        (tmp_path / "rows.csv").write_text(text)
        added = [{"file": str(tmp_path / "rows.csv"), "text": ["s"], "tasks": ["sentiment"]}]
        return [
            trial.key for trial in plan(config_of({"plain": {}, "text": {"data.transfer": added}}))
        ]

    before, after = file_keys("s\na film\n"), file_keys("s\nanother film\n")
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, False]


def test_a_trial_key_depends_on_the_content_of_checkpoints_and_logit_files(tmp_path: Path) -> None:
    """The paths stay the same. The plain variant reads neither, so its key does not change."""
    logits, encoder = tmp_path / "sentiment.jsonl", tmp_path / "encoder"
    encoder.mkdir()

    def keys(row: str, sizes: str) -> list[str]:
        logits.write_text(row)
        (encoder / "config.json").write_text(sizes)
        sources = {"teacher.sources": {"sentiment": [str(logits)]}}
        start = {"student.init": str(encoder)}
        return [
            trial.key for trial in plan(config_of({"plain": {}, "logits": sources, "start": start}))
        ][:3]

    first = keys("a", "{}")
    assert keys("a", "{}") == first
    assert [a == b for a, b in zip(first, keys("b", "{}"), strict=True)] == [True, False, True]
    assert [a == b for a, b in zip(first, keys("a", "[]"), strict=True)] == [True, True, False]


def test_a_trial_key_depends_on_the_training_version(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [trial.key for trial in plan(config_of(VARIANTS))]
    monkeypatch.setitem(STAGES, "students", STAGES["students"]._replace(version=99))
    assert not set(keys) & {trial.key for trial in plan(config_of(VARIANTS))}


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({}, "ablation.variants names []; allowed: two variants or more"),
        ({"plain": {}}, "two variants or more"),
        ({"plain": {}, "b": {"train.clipp": 1}},
         "ablation.variants.b: there is no setting 'train.clipp'; did you mean train.clip"),
        ({"plain": {}, "b": {"train.clip": "much"}}, "ablation.variants.b: .*train.clip.*much"),
        ({"plain": {}, "b": {"train.clip": -1}},
         "ablation.variants.b: .*train.clip is -1.0; allowed: above 0"),
        ({"plain": {}, "b": {"train.clip": 1}},
         "ablation.variants.b has the same settings as plain"),
        ({"plain": {}, "b": {"data.tasks": ["similarity"]}},
         "ablation.variants.b has the tasks .*allowed: those of plain"),
        ({"plain": {}, "b": {"data.tasks": ["x"]}}, "ablation.variants.b: data.tasks names 'x'"),
        ({"plain": {}, "b": {"train.sampling.weights": {"x": 1}}},
         "ablation.variants.b: sampling.weights names"),
        ({"plain": {}, "b": {"teacher.train.sampling.weights": {"x": 1}}},
         "ablation.variants.b: sampling.weights names"),
        ({"plain": {}, "b": {"loss.task_weights": {"x": 1}}},
         "ablation.variants.b: loss.task_weights names"),
    ],
)  # fmt: skip
def test_wrong_variants_are_refused_by_name(
    variants: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        plan(config_of(variants))


@pytest.mark.parametrize(
    ("variants", "seeds", "message"),
    [
        ({"a=b": {}}, [0], "ablation.variants is 'a=b'"),
        ({"": {}}, [0], "ablation.variants is ''"),
        ({7: {}}, [0], "ablation.variants is 7; allowed: names of .*; a number in quotes$"),
        ({"a": {7: 1}}, [0], "ablation.variants.a is 7; allowed: dotted names of data"),
        ({"a": {"seed": 3}}, [0], "ablation.variants.a is 'seed'; allowed: dotted names of data"),
        ({"a": {}}, [], "ablation.seeds"),
        ({"a": {}}, [1, 1], "ablation.seeds"),
        ({"a": {}}, [-1], "ablation.seeds"),
    ],
)
def test_wrong_names_are_refused(variants: dict[Any, Any], seeds: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AblationConfig(variants, seeds)


def test_an_invalid_ablation_prints_one_line_and_creates_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = cli.entry(
        ablate,
        "",
        AblationSettings,
        ["--ablation.variants", '{"plain": {}, "b": {"loss.kind": "hinge"}}'],
    )
    assert code == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("error: ablation.variants.b: ")
    assert "hinge" in printed
    assert "\n" not in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changed", "line", "message"),
    [
        ("{loss.temperature: 2,\n        loss.kind: hinge}", 6, "loss.kind is 'hinge'"),
        ("{data.tasks: [x]}", 5, "data.tasks names 'x'"),
        ("{seed: 3}", 5, "ablation.variants.b is 'seed'"),
        ("{7: 3}", 5, "ablation.variants.b is 7; allowed: dotted names"),
    ],
)
def test_an_error_in_a_config_file_names_its_line(
    changed: str, line: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "own.yaml"
    file.write_text(f"seed: 1\nablation:\n  variants:\n    plain: {{}}\n    b: {changed}\n")
    assert cli.entry(ablate, "", AblationSettings, [f"--config={file}"]) == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith(f"error: {file}:{line}: ablation.variants.b") and message in printed
    assert [path.name for path in tmp_path.iterdir()] == ["own.yaml"]


def test_the_variants_of_a_file_may_hold_lists_and_dicts(tmp_path: Path) -> None:
    (tmp_path / "text.csv").write_text("s\na film\n")
    (tmp_path / "ablation.yaml").write_text(
        "ablation:\n  variants:\n    plain: {}\n    text:\n"
        f"      data.transfer: [{{file: {tmp_path / 'text.csv'}, text: [s], tasks: [sentiment]}}]\n"
        "      train.sampling.weights: {sentiment: 1, similarity: 3}\n"
    )
    config = cli.parse(
        ["--config", str(tmp_path / "ablation.yaml"), '--data.tasks=["sentiment", "similarity"]'],
        "",
        AblationSettings,
    )
    _, changed = plan(config)[:2]
    assert [transfer.tasks for transfer in changed.config.data.transfer] == [["sentiment"]]
    assert changed.config.train.sampling.weights == {"sentiment": 1.0, "similarity": 3.0}


@pytest.mark.parametrize("student", ["bilstm", "scratch"])
@pytest.mark.parametrize("name", ["transfer_curve", "sampling", "options"])
def test_a_shipped_ablation_has_valid_and_distinct_variants(name: str, student: str) -> None:
    files = [f"--config={CONFIGS / file}.yaml" for file in ("glue", student, name)]
    config = cli.parse(files, "", AblationSettings)
    configs = [
        cli.to_yaml(cli.with_settings(distill_settings(config.core()), settings))
        for settings in config.ablation.variants.values()
    ]
    assert len(set(configs)) == len(configs) > 1


def test_the_demo_ablation_can_be_planned() -> None:
    config = cli.parse(
        ["--config", str(CONFIGS / "ablation.yaml"), "--ablation.seeds=[0]"], "", AblationSettings
    )
    trials = plan(config)
    assert [trial.variant for trial in trials] == list(config.ablation.variants)
    assert {trial.config.train.steps for trial in trials} == {config.train.steps}


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory) -> Ablated:
    """An ablation of a tiny distillation: two variants, one seed."""
    folder = tmp_path_factory.mktemp("ablation")
    return folder, command(folder, "ablation", *ABLATION, "--ablation.seeds=[0]")


def test_each_trial_is_a_finished_child_run_of_the_ablation(ablated: Ablated) -> None:
    folder, done = ablated
    result = outcome(done)
    parent = client(folder).get_run(result["run_id"])
    assert (parent.info.status, parent.data.tags["mkd.kind"]) == ("FINISHED", "ablation")
    assert [(trial["variant"], trial["seed"]) for trial in result["trials"]] == [
        ("plain", 0),
        ("clipped", 0),
    ]
    for trial, clipped in zip(result["trials"], ("1.0", "0.4"), strict=True):
        run = client(folder).get_run(trial["run_id"])
        assert (run.info.status, run.info.run_name) == ("FINISHED", f"{trial['variant']} s0")
        assert run.data.tags["mkd.kind"] == "trial"
        assert run.data.tags["mkd.variant"] == trial["variant"]
        assert (
            run.data.tags["mkd.parent"] == run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        )
        assert (run.data.params["train.clip"], run.data.params["seed"]) == (clipped, "0")
        assert run.data.metrics["seconds/trial"] > run.data.metrics["seconds/student"] > 0
        assert not any(
            "speed/" in name or name.startswith("baseline/") for name in run.data.metrics
        )
        left = {"config.yaml", "table.md", "data.json", "predictions.parquet", "deferral.csv"}
        assert {a.path for a in client(folder).list_artifacts(trial["run_id"])} == left
    assert not list((folder / "mlruns").rglob("*.safetensors"))


def test_the_comparison_uses_the_scores_of_the_trials(ablated: Ablated) -> None:
    folder, done = ablated
    result = outcome(done)
    plain, clipped = (
        client(folder).get_run(trial["run_id"]).data.metrics["quality/mean"]
        for trial in result["trials"]
    )
    assert [row["mean"] for row in result["variants"]] == [plain, clipped]
    assert (result["variants"][1]["differences"], result["variants"][1]["half"]) == (
        [clipped - plain],
        None,
    )
    parent = client(folder).get_run(result["run_id"])
    assert parent.data.metrics["mean/clipped"] == clipped
    assert parent.data.metrics["difference/clipped"] == clipped - plain
    artifacts = {item.path for item in client(folder).list_artifacts(result["run_id"])}
    assert artifacts == {
        "config.yaml",
        "table.md",
        "comparison.json",
        "comparison.png",
        "result.json",
    }


def test_a_second_start_runs_only_the_missing_trials(ablated: Ablated) -> None:
    folder, done = ablated
    first = outcome(done)
    more = outcome(command(folder, "ablation", *ABLATION, "--ablation.seeds=[0, 1]"))
    assert (first["reused"], more["reused"]) == (0, 2)
    assert more["trials"][:2] == first["trials"]
    again = outcome(command(folder, "ablation", *ABLATION, "--ablation.seeds=[0, 1]"))
    assert (again["reused"], again["trials"], again["variants"]) == (
        4,
        more["trials"],
        more["variants"],
    )
    store = client(folder)
    runs = store.search_runs([store.get_run(first["run_id"]).info.experiment_id])
    kinds = [run.data.tags["mkd.kind"] for run in runs]
    assert (kinds.count("ablation"), kinds.count("trial")) == (3, 4)


def test_a_failed_trial_does_not_invalidate_the_finished_ones(ablated: Ablated) -> None:
    folder, _ = ablated
    variants = json.dumps(VARIANTS | {"fast": {"train.learning_rate": 1e30}})
    done = command(
        folder, "ablation", *ABLATION, "--ablation.variants", variants, "--ablation.seeds=[2]"
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: fast s2: the loss became") and "Traceback" not in done.stderr
    store = client(folder)
    runs = store.search_runs(["1"], max_results=4)
    ended = {run.info.run_name: run.info.status for run in runs if run.info.run_name != "plain s1"}
    assert {ended[name] for name in ("plain s2", "clipped s2")} == {"FINISHED"}
    assert ended["fast s2"] == "FAILED"
    assert (
        next(status for name, status in ended.items() if (name or "").startswith("ablation "))
        == "FAILED"
    )
    again = outcome(command(folder, "ablation", *ABLATION, "--ablation.seeds=[2]"))
    assert again["reused"] == 2
