"""Promotion: the best student of a small real search is retrained on all rows and registered."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.promote import seed_spread
from mkd.config import Config
from mkd.evaluation.timing import SPEED_PROTOCOL
from mkd.student_result import with_all_rows
from tests.support.entry import client, command, outcome, tiny
from tests.support.tiny import make_datas, make_tasks, make_tokenizer

SPACE = {
    "student.hidden": [16, 32],
    "train.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
}
SEARCH = [
    *tiny("search"), '--data.tasks=["sentiment", "similarity"]', "--search.backend=torch",
    "--search.pruning.warmup=1", "--loss.temperature=3", "--search.trials=3",
    "--search.study=little", "--search.space", json.dumps(SPACE),
]  # fmt: skip
COMMAND = ["--threads=1", "--export.backends=[]", "--promote.study=little"]
DEFAULT = Config().loss.temperature
"""Differs from the search's value."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search of three trials."""
    root = tmp_path_factory.mktemp("promote")
    outcome(command(root, "search", *SEARCH))
    return root


def trials(folder: Path) -> list[dict[str, Any]]:
    parent = client(folder).search_runs(["1"], "tags.`mkd.kind` = 'search'")[0]
    path = client(folder).download_artifacts(parent.info.run_id, "study.json", str(folder))
    study_trials: list[dict[str, Any]] = json.loads(Path(path).read_text())["trials"]
    return study_trials


@pytest.mark.slow
def test_the_best_trial_is_retrained_with_its_settings_and_registered(folder: Path) -> None:
    best = max(trials(folder), key=lambda trial: trial["quality"])
    (study,) = folder.rglob("artifacts/study.json")
    study = study.rename(
        study.with_name("aside")
    )  # like a stopped search: finished trials, but no such file
    result = outcome(
        command(folder, "promote", *COMMAND, "--promote.seeds=[0, 3]", "--train.steps=8",
                "--data.max_length=64", f"--loss.temperature={DEFAULT}"),
    )  # fmt: skip
    study.rename(study.with_name("study.json"))
    assert (result["study"], result["trial"], result["model"]) == (
        "little",
        best["number"],
        "models:/little@champion",
    )
    runs = {seed: client(folder).get_run(run) for seed, run in result["runs"].items()}
    for seed, run in runs.items():
        params = run.data.params
        assert (run.info.status, run.data.tags["mkd.kind"], run.data.tags["mkd.promoted"]) == (
            "FINISHED",
            "promote",
            "little",
        )
        assert run.data.tags["mkd.parent"] == best["run_id"]
        assert (params["seed"], params["whole"], params["train.steps"]) == (seed, "True", "8")
        # A given setting counts even if it equals the default.
        assert params["loss.temperature"] == str(DEFAULT)
        assert params["student.hidden"] == str(best["settings"]["student.hidden"])
        assert float(params["train.learning_rate"]) == best["settings"]["train.learning_rate"]
        assert run.data.metrics["quality/mean"] == pytest.approx(result["quality"][seed])
        # Settings that are not the student's are those of the command.
        assert run.data.metrics["baseline/quality/mean"] >= 0
        # Speed settings are the trial's, as its latency depends on them; the length was not set.
        assert params["speed.seconds"] == "0.1" and params["speed.length"] == "64"
    version = client(folder).get_model_version_by_alias("little", "champion")
    assert version.run_id == result["runs"]["0"]


def test_several_seeds_give_a_t_interval_and_one_seed_gives_a_warning() -> None:
    # sd 1, t(0.975, 2) = 4.3027, divided by sqrt(3).
    expected = "mean 71.00, sd 1.00 over 3 seeds, 95 % t interval of the mean 68.52 to 73.48"
    assert seed_spread([70.0, 71.0, 72.0]) == expected
    assert seed_spread([70.0]).startswith("one seed: the variation between seeds is unknown")


def test_a_missing_study_or_a_low_budget_is_refused(folder: Path) -> None:
    fastest = min(trials(folder), key=lambda trial: trial["latency_ms"])
    for argv, message in (
        (
            ["--promote.study=litle"],
            "promote.study is 'litle'; allowed: little, the searches in sqlite:///",
        ),
        (
            ["--promote.budget_ms=1e-5"],
            f"promote.budget_ms is 1e-05; allowed: at least {fastest['latency_ms']:.3g}, ",
        ),
    ):
        done = command(folder, "promote", *COMMAND, *argv)
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode == 2 and message in last and "Traceback" not in done.stderr, last


def test_a_budget_is_refused_for_latencies_of_an_earlier_protocol(folder: Path) -> None:
    fastest = min(trials(folder), key=lambda trial: trial["latency_ms"])
    store = client(folder)
    store.log_metric(fastest["run_id"], "speed/protocol", 1)
    refused = (
        command(folder, "promote", *COMMAND, "--promote.budget_ms=1000")
        .stderr.strip()
        .splitlines()[-1]
    )
    store.log_metric(fastest["run_id"], "speed/protocol", SPEED_PROTOCOL)
    assert refused == (
        "error: promote.budget_ms is 1000; allowed for little: null, because its latencies were "
        f"measured with an earlier protocol (speed/protocol 1, now {SPEED_PROTOCOL})"
    )


def test_promotion_trains_on_all_rows_including_the_selection_split(tmp_path: Path) -> None:
    tasks = make_tasks(20, unlabelled=5)
    for data in make_datas(tmp_path, tasks, make_tokenizer(tmp_path, tasks)):
        assert len(data.selection_rows) == 4 and not set(data.train_rows) & set(data.selection_rows)
        whole = with_all_rows(data)
        assert np.array_equal(whole.train_rows, np.arange(25))
        # Nothing is held out, so no note says how it was.
        assert len(whole.selection_rows) == 0 and whole.split_statistics is None
