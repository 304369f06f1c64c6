"""The command line: settings by their dotted names, config files, and one-line errors with exit
code 2."""

import gc
import re
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments import cli
from experiments.settings import (
    COMMANDS,
    AblationSettings,
    DistillSettings,
    FinetuneSettings,
    SearchSettings,
    distill_settings,
)
from experiments.studies.space import check_space, params_of, parse_space
from mkd.config import DataConfig, SpeedConfig, TransferConfig
from mkd.training.balance import check_task_weights
from mkd.training.batches import check_sampling_weights
from tests.support.terminal import Screen, bars

CONFIGS = Path(__file__).resolve().parents[2] / "experiments" / "configs"


def parsed(*argv: str) -> DistillSettings:
    return cli.parse(list(argv), "", DistillSettings)


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The error message of a wrong command line, which must not start the job."""

    def job(config: DistillSettings) -> None:
        raise AssertionError("the job was begun")

    assert cli.entry(job, "", DistillSettings, list(argv)) == 2
    printed = capsys.readouterr().err.strip()
    assert "\n" not in printed and printed.startswith("error: ")
    return printed


def test_a_terminal_shows_a_bar_of_the_libraries_until_the_job_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The imports take seconds. The job's output starts on its own line."""
    slow = "import time\ntime.sleep(0.2)\n"  # longer than the time between two states of a bar
    (tmp_path / "library.py").write_text(slow)
    (tmp_path / "distill.py").write_text(slow + "def work(config): print('seed', config.seed)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli, "LIBRARIES", ("library",))
    exact = ["--train.precision=float32", "--teacher.train.precision=float32"]
    monkeypatch.setattr(sys, "argv", ["mkd", "--seed=5", *exact])
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    assert cli.main("distill:work", "") == 0
    assert gc.get_freeze_count() > 0, "the end of the process visits nothing of what was imported"
    gc.unfreeze()
    states = [" ".join(re.sub(r"\|.*\|", "", state).split()) for state in bars(screen.getvalue())]
    assert [re.sub(r" \[.*", "", state) for state in states] == [
        "loading the libraries: 0% 0/2",
        "loading the libraries: 50% 1/2",
        "loading the libraries: 100% 2/2",
    ]
    assert re.search(r"\r +\r$", screen.getvalue())
    assert capsys.readouterr().out.splitlines()[1:] == ["seed 5"]


def test_no_arguments_give_the_defaults() -> None:
    assert parsed() == DistillSettings()


def test_any_field_can_be_set_by_its_dotted_name() -> None:
    config = parsed(
        "--loss.temperature", "4", "--teacher.train.learning_rate", "3e-5", "--data.tasks",
        '["sentiment"]',
    )  # fmt: skip
    assert config.loss.temperature == 4
    assert config.teacher.train.learning_rate == 3e-5
    assert config.data.tasks == ["sentiment"]


def test_overrides_list_only_the_changed_settings() -> None:
    assert cli.overrides(parsed("--seed", "3", "--loss.hard_weight", "0.2")) == {
        "seed": 3,
        "loss.hard_weight": 0.2,
    }


def test_explicit_settings_include_those_that_equal_the_default(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "loss: {temperature: 3}\ntrain: {sampling: {weights: {a: 1}}}\n"
    )
    argv = [f"--train.steps={DistillSettings().train.steps}", "--config", str(tmp_path / "c.yaml")]
    assert cli.explicit_settings(argv, DistillSettings) == {
        "train.steps",
        "loss.temperature",
        "train.sampling.weights",
    }
    assert cli.explicit_settings([], DistillSettings) == set()


@pytest.mark.parametrize(("precision", "ratio"), [("float32", 0.07), ("bfloat16", 2.4)])
def test_the_automatic_precision_is_shown_in_the_settings(
    monkeypatch: pytest.MonkeyPatch, precision: str, ratio: float
) -> None:
    monkeypatch.setattr("mkd.precision.bfloat16_speedup", lambda root, device: ratio)
    lines: list[object] = []
    config = cli.parse(
        ["--teacher.train.precision=auto", "--finetune.train.precision=auto"],
        "",
        FinetuneSettings,
        lines.append,
    )
    (line,) = lines
    assert str(line).startswith(
        f"precision auto: {precision}, as bfloat16 trains {ratio:.2f} times as fast as float32 here"
    )
    assert config.teacher.train.precision == config.finetune.train.precision == precision
    assert (
        cli.with_settings(
            DistillSettings(), {"teacher.train.precision": "auto"}
        ).teacher.train.precision
        == precision
    )


def test_with_settings_changes_only_the_given_settings_and_replaces_whole_lists_and_dicts() -> None:
    config = parsed("--seed", "5", "--train.sampling.weights", '{"a": 1, "b": 2}')
    transfer = [{"file": "a.tsv", "text": ["s"]}]
    changed = cli.with_settings(
        config,
        {"loss.temperature": 4, "train.sampling.weights": {"c": 1}, "data.transfer": transfer},
    )
    assert changed.data.transfer == [TransferConfig("a.tsv", ["s"])]
    assert cli.overrides(changed) == {
        "seed": 5,
        "loss.temperature": 4.0,
        "train.sampling.weights": {"c": 1.0},
        "data.transfer": [{"file": "a.tsv", "text": ["s"], "tasks": [], "header": True}],
    }
    assert cli.with_settings(changed, {}) == changed


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss.temprature": 4}, ["loss.temprature", "loss.temperature"]),
        ({"loss": {"temperature": 4}}, ["there is no setting 'loss'"]),
        ({"loss.temperature": "warm"}, ["loss.temperature", "warm"]),
        ({"loss.temperature": 0}, ["loss.temperature is 0", "above 0"]),
        ({"data.transfer": [{"files": "a"}]}, ["data.transfer", "files"]),
        ({"train.steps": None}, ["train.steps", "int", "None"]),
        ({"data.tasks": None}, ["data.tasks", "list", "None"]),
    ],
)
def test_with_settings_refuses_like_the_cli(settings: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        cli.with_settings(DistillSettings(), settings)
    assert "\n" not in str(caught.value)
    for part in words:
        assert part in str(caught.value)


def test_later_files_override_earlier_ones_and_options_override_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("train: {steps: 10, learning_rate: 3e-5}\nseed: 1\n")
    (tmp_path / "b.yaml").write_text("train: {steps: 20}\n")
    config = parsed(
        "--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml"), "--seed", "5"
    )
    assert (config.train.steps, config.train.learning_rate, config.seed) == (20, 3e-5, 5)


def test_a_resolved_config_that_is_read_back_is_unchanged(tmp_path: Path) -> None:
    transfer = '[{"file": "a.tsv", "text": ["s"], "tasks": ["sst2"]}]'
    weights, sources = '{"a": 1, "b": 0.5}', '{"a": ["x", "refined"]}'
    config = parsed(
        *("--data.source=glue", "--data.path=x", "--data.transfer", transfer,
          "--train.sampling.weights", weights),
        *("--teacher.sources", sources),
    )  # fmt: skip
    (tmp_path / "config.yaml").write_text(cli.to_yaml(config))
    assert parsed("--config", str(tmp_path / "config.yaml")) == config.shown()


def test_flat_names_every_leaf_once() -> None:
    leaves = cli.flat(DistillSettings())
    assert leaves["teacher.train.sampling.weights"] == {} and leaves["data.demo.seed"] == 0
    assert not any(isinstance(value, dict) and value for value in leaves.values())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--loss.temperature", "0"], ["loss.temperature", "0.0", "above 0"]),
        (["--loss.temperature", "warm"], ["loss.temperature", "warm"]),
        (["--loss.temprature", "4"], ["loss.temprature"]),
        (["--student.kind", "cnn"], ["student.kind", "cnn", "bilstm", "transformer"]),
        (
            ["--student.heads=4", "--student.hidden=130"],
            ["student.hidden", "130", "student.heads=4"],
        ),
        (["--train.sampling.weights", '{"a": -1}'], ["sampling.weights.a", "-1.0", "from 0 to"]),
        (
            ["--train.sampling.weights", '{"a": 0, "b": 0}'],
            ["sampling.weights", "at least one above 0"],
        ),
        (["--config", "no-such-file.yaml"], ["no-such-file.yaml"]),
        (["--data.source", "glue"], ["data.path", "data.source=glue"]),
    ],
)
def test_a_wrong_command_line_prints_one_line_and_exits_with_2(
    argv: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    printed = refusal(capsys, *argv)
    for part in words:
        assert part in printed


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--loss.temprature", "4"], "'loss.temprature'; did you mean loss.temperature?"),
        (["--sed=1"], "'sed'; did you mean seed?"),
        (["--confg", "glue.yaml"], "'confg'; did you mean config?"),
        (["--loss", "{temprature: 4}"], "'loss.temprature'; did you mean loss.temperature?"),
        (["--xyz=1"], "'xyz'; python -m experiments.distill --help lists all settings"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_most_similar_name(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, *argv) == f"error: there is no setting {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 3", "'sed'; did you mean seed?"),
        ("loss: {temprature: 3}", "'loss.temprature'; did you mean loss.temperature?"),
        (
            "data: {demo: {train_row: 3}}",
            "'data.demo.train_row'; did you mean data.demo.train_rows?",
        ),
    ],
)
def test_a_misspelt_setting_in_a_file_is_refused_with_the_most_similar_name(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    printed = refusal(capsys, "--config", str(tmp_path / "wrong.yaml"))
    assert printed == f"error: {tmp_path / 'wrong.yaml'}:1: there is no setting {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\ntrain:\n  steps: x", ":3: train.steps is 'x'; allowed: an integer"),
        ("seed: 1\ntrain:\n  steps: 0", ":3: train.steps is 0; allowed: above 0"),
        (
            "train: {learning_rate: fast}",
            ":1: train.learning_rate is 'fast'; allowed: a number or ",
        ),
        ("data: 3", ":1: data is 3; allowed: a mapping of settings"),
    ],
)
def test_an_error_about_a_value_in_a_file_names_its_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, later = tmp_path / "c.yaml", tmp_path / "later.yaml"
    file.write_text(text)
    later.write_text("threads: 1")
    shown = refusal(capsys, "--config", str(file), f"--config={later}")
    assert shown.startswith(f"error: {file}{message}")


def test_an_error_about_a_command_line_value_names_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("train: {steps: 3}")
    printed = refusal(capsys, "--config", str(tmp_path / "c.yaml"), "--train.steps=0")
    assert printed == "error: train.steps is 0; allowed: above 0"


def test_a_long_setting_is_printed_by_its_size() -> None:
    long = {f"setting{place}": [0.1, 0.2] for place in range(30)}
    shortened = cli.brief({"seed": 3, "search.space": long, "data.tasks": ["a"]})
    assert shortened == {"seed": 3, "search.space": "30 entries", "data.tasks": ["a"]}


def test_a_missing_data_file_is_refused_before_the_job_is_imported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobs: list[DistillSettings] = []
    assert cli.entry(jobs.append, "", DistillSettings, ["--data.path", "none.csv"]) == 2
    assert jobs == [] and capsys.readouterr().err == "error: none.csv: no such file\n"


@pytest.mark.parametrize("setting", ["teacher.checkpoint", "student.init", "student.tokenizer"])
def test_a_missing_checkpoint_is_refused_before_the_job_is_imported(
    setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that the hub may know is left to the job, as is a folder that exists."""
    jobs: list[DistillSettings] = []
    argv = ["--student.kind=bag", f"--{setting}", str(tmp_path / "none")]
    assert cli.entry(jobs.append, "", DistillSettings, argv) == 2
    message = f"error: {setting} is '{tmp_path / 'none'}': no such folder; allowed: a folder or a "
    assert jobs == [] and capsys.readouterr().err.startswith(message)
    for there in (str(tmp_path), "owner/model", "old-model"):
        argv = ["--student.kind=bag", f"--{setting}", there]
        assert cli.entry(jobs.append, "", DistillSettings, argv) == 0
    assert len(jobs) == 3


def test_a_wrong_column_is_refused_before_the_job_is_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs: list[DistillSettings] = []
    train = tmp_path / "train.csv"
    train.write_text("body,team\n" + "I lost my order again,sales\nIt is broken now,support\n" * 5)
    argv = ["--data.path", str(tmp_path)]
    for asked, message in [
        (["--data.label", "tem"], "no column 'tem'; there are: 'body', 'team'"),
        (["--data.text", '["body", "title"]'], "no column 'title'; there are: 'body', 'team'"),
        (
            ["--data.text", "team", "--data.label", "team "],
            "no column 'team '; there are: 'body', 'team'",
        ),
    ]:
        assert cli.entry(jobs.append, "", DistillSettings, [*argv, *asked]) == 2
        assert capsys.readouterr().err == f"error: {train}: {message}\n"
    assert jobs == [] and cli.entry(jobs.append, "", DistillSettings, argv) == 0


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--train.step=3", "'train.step'; did you mean train.steps?"),
        (
            "--steps=3",
            "'steps'; did you mean pretrain.steps or teacher.train.steps or train.steps?",
        ),
        ("--teacher.check=x", "'teacher.check'; did you mean teacher.checkpoint?"),
    ],
)
def test_an_abbreviated_setting_is_refused(
    word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, word) == f"error: there is no setting {message}"


def test_a_config_is_found_by_its_name() -> None:
    assert parsed("--config", "bilstm") == parsed(f"--config={CONFIGS / 'bilstm.yaml'}")
    assert parsed("--config=bilstm").student.kind == "bilstm"


def test_a_file_that_contradicts_a_fixed_setting_of_a_search_is_refused(tmp_path: Path) -> None:
    """A search chooses students on the selection split, which `whole` would train on."""
    file = tmp_path / "whole.yaml"
    file.write_text("whole: true\nbaseline: true\n")
    message = "whole.yaml:1: whole is True; allowed for experiments.search: False"
    with pytest.raises(ValueError, match=message):
        cli.parse(["--config", str(file)], "", SearchSettings)
    file.write_text("whole: false\nbaseline: true\n")
    assert cli.parse(["--config", str(file)], "", SearchSettings) == SearchSettings()


def test_the_shipped_configs_are_valid_and_hold_only_differences_from_the_defaults() -> None:
    files = sorted(CONFIGS.rglob("*.yaml"))
    assert files
    for file in files:
        named = leaves(yaml.safe_load(file.read_text()), "")
        # A file that names no data is used together with one that does.
        data = [] if "data.source" in named else ["--config", str(CONFIGS / "glue.yaml")]
        command = next(
            (
                each
                for each in ("ablation", "search")
                if any(name.startswith(f"{each}.") for name in named)
            ),
            "distill",
        )
        kind = COMMANDS[command]
        values, defaults = (
            cli.flat(cli.parse([*data, "--config", str(file)], "", kind)),
            cli.flat(kind()),
        )
        same = {
            name for name in named if values[name] == defaults[name] and name not in MUST_BE_SAID
        }
        assert not same, f"{file.name} repeats the defaults of {same}"


MUST_BE_SAID = {
    "student.kind", "student.hidden", "student.layers", "student.heads", "student.embedding",
    "train.precision", "teacher.train.precision", "train.sampling.weights",
}  # fmt: skip
"""Settings that a file may repeat: those of its student, as its name promises them; the precision,
as the default is the machine's; and empty weights, as they replace those of an earlier file."""


OTHERS = ["tickets", "tone"]
"""Task names that no shipped file knows."""
GENERAL = sorted(
    file.stem
    for file in CONFIGS.rglob("*.yaml")
    if not re.search("GLUE|For the demo's tasks", file.read_text().splitlines()[0])
)
"""Config files for any tasks: the first line of each other file names the tasks that it is for."""


@pytest.mark.parametrize("name", GENERAL)
def test_a_config_whose_first_line_names_no_tasks_works_for_any_tasks(name: str) -> None:
    named = leaves(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()), "")
    command = next((each for each in ("ablation", "search") if f"{each}." in str(named)), "distill")
    config = cli.parse(["--config", name], "", COMMANDS[command])
    variants: list[dict[str, object]] = [{}]
    if isinstance(config, AblationSettings):
        variants = list(config.ablation.variants.values())
    for changes in variants:
        settings = cli.with_settings(distill_settings(config.core()), changes)
        check_sampling_weights(OTHERS, settings.train.sampling)
        check_sampling_weights(OTHERS, settings.teacher.train.sampling)
        check_task_weights(OTHERS, settings.loss)
        assert settings.data == DataConfig() and settings.teacher.sources == {}
    if isinstance(config, SearchSettings):
        space = parse_space(config.search.space, OTHERS)
        check_space(space, distill_settings(config.core()))
        assert [params_of(space, start) for start in config.search.start]


def test_the_shipped_students_and_search_work_for_any_tasks() -> None:
    assert {"bag", "bilstm", "options", "scratch", "search", "transformer"} <= set(GENERAL)


def test_sampling_weights_of_a_file_match_its_tasks() -> None:
    """bilstm.yaml keeps the weights of glue.yaml, and transformer.yaml removes them."""
    weights = parsed("--config", "glue", "--config", "bilstm").train.sampling.weights
    assert set(weights) == set(parsed("--config", "glue").data.tasks)
    assert parsed("--config", "glue", "--config", "transformer").train.sampling.weights == {}


FREE = ("weights", "variants", "space")
"""Suffixes of the settings whose values are dicts with arbitrary keys."""


def leaves(values: dict[str, object], prefix: str) -> set[str]:
    names: set[str] = set()
    for key, value in values.items():
        name = prefix + key
        names |= (
            leaves(value, f"{name}.")
            if isinstance(value, dict) and not key.endswith(FREE)
            else {name}
        )
    return names


def test_an_earlier_config_is_read_without_its_removed_settings() -> None:
    written = cli.to_yaml(DistillSettings(seed=7, speed=SpeedConfig(length=64, seconds=3.5)))
    before = written.replace("speed:\n", "speed:\n  repeats: 50\n  warmup: 5\n")
    assert before.count("warmup: 5") == 1
    before = before.replace("\nloss:\n", "\nloss:\n  mixup: 0.0\n").replace(
        "\nexport:\n", "\nexport:\n  per_task: false\n"
    )
    expected = DistillSettings(seed=7, speed=SpeedConfig(length=64, seconds=3.5)).shown()
    assert (
        cli.from_yaml(before, DistillSettings)
        == cli.from_yaml(written, DistillSettings)
        == expected
    )


def test_a_removed_setting_is_refused_unless_it_had_no_effect(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("loss:\n  mixup: 0.4\n")
    with pytest.raises(
        ValueError, match="loss.mixup is 0.4; allowed: 0, because the setting was removed"
    ):
        parsed("--config", str(file))
    file.write_text("loss:\n  mixup: 0\n")
    assert parsed("--config", str(file)) == parsed()


def options(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The settings that a command's help shows."""
    with pytest.raises(SystemExit) as caught:
        cli.parse(["--help"], "", COMMANDS[command])
    assert caught.value.code == 0
    return set(re.findall(r"^  --([a-z][\w.]*)", capsys.readouterr().out, re.MULTILINE))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_only_own_settings(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind = COMMANDS[command]
    of_the_parser = {"config", "help", "print_config"}
    groups = cli.setting_names(command) - cli.flat(kind()).keys()
    assert options(command, capsys) - of_the_parser - groups == cli.flat(kind()).keys()
    expected = {name for name in cli.setting_names(command) if "." not in name}
    assert {field.name for field in fields(kind)} == expected
    assert cli.from_yaml(cli.to_yaml(kind()), kind) == kind().shown()


def test_a_distillation_has_no_settings_of_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    shown = options("distill", capsys)
    assert "registry.name" in shown
    assert not {
        name for name in shown if name.split(".")[0] in ("search", "promote", "label", "ablation")
    }


@pytest.mark.parametrize(
    ("command", "word", "others"),
    [
        ("distill", "--search.trials=5", "experiments.search"),
        ("label", "--seed=1", "experiments.distill, experiments.teacher, "),
        (
            "teacher",
            "--whole=true",
            "experiments.distill, experiments.finetune, experiments.ablation",
        ),
        ("distill", "--export.to=x", "experiments.export"),
        ("search", "--export.backends=[]", "experiments.distill, experiments.teacher, "),
    ],
)
def test_another_commands_setting_is_refused(command: str, word: str, others: str) -> None:
    with pytest.raises(ValueError) as caught:
        cli.parse([word], "", COMMANDS[command])
    assert str(caught.value).startswith(f"{word.split('=')[0]} is a setting of {others}")


def test_each_command_reads_a_file_with_the_settings_of_all_commands(tmp_path: Path) -> None:
    """Earlier versions wrote such files. A command ignores settings of other commands; settings of
    no command are refused."""
    file = tmp_path / "config.yaml"
    whole: dict[str, Any] = {}
    for kind in COMMANDS.values():
        for name, value in asdict(kind()).items():
            whole[name] = {**whole.get(name, {}), **value} if isinstance(value, dict) else value
    file.write_text(yaml.safe_dump(whole))
    assert {"search", "label", "promote", "finetune"} <= whole.keys() and {
        "to",
        "backends",
    } <= whole["export"].keys()
    for kind in COMMANDS.values():
        assert (
            cli.parse(["--config", str(file)], "", kind)
            == cli.from_yaml(file.read_text(), kind)
            == kind()
        )
    for wrong, unknown in (
        ("search: {trails: 5}", "trails"),
        ("serch: {trials: 5}", "serch"),
        ("export: {too: x}", "too"),
    ):
        file.write_text(wrong)
        with pytest.raises(ValueError, match=unknown):
            parsed("--config", str(file))


def test_a_setting_that_is_not_utf_8_is_refused_by_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def job(config: DistillSettings) -> None:
        raise AssertionError("it is not called")

    assert cli.entry(job, "", DistillSettings, ["--data.path=t\udcff.csv"]) == 2
    assert "error: data.path is 't\\udcff.csv'; allowed: text in UTF-8" in capsys.readouterr().err
