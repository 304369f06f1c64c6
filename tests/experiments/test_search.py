"""Whole searches as users start them: results, budgets, pruning and refusals."""

import json
import subprocess
from pathlib import Path
from unittest.mock import patch

import optuna
import pytest
import torch

from experiments import search
from tests.support.database import put_database
from tests.support.entry import Event, client, command, dying, entry_point, outcome, started
from tests.support.searches import SEARCH, SPACE, START, states, study_of, trial_runs

Searched = tuple[Path, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A search of five trials by one worker; the settings of the first are given."""
    folder = tmp_path_factory.mktemp("search")
    return folder, command(
        folder, "search", *SEARCH, "--search.trials=5", "--search.start", json.dumps([START])
    )


def test_each_trial_is_a_finished_child_run_of_the_study(searched: Searched) -> None:
    folder, done = searched
    parent = client(folder).get_run(outcome(done)["run_id"])
    assert (parent.info.status, parent.data.tags["mkd.kind"], parent.data.tags["mkd.study"]) == (
        "FINISHED",
        "search",
        "mkd",
    )
    trials = trial_runs(folder)
    assert [run.data.tags["mkd.trial"] for run in trials] == ["0", "1", "2", "3", "4"]
    for run in trials:
        assert (run.info.status, run.data.tags["mkd.state"]) == ("FINISHED", "complete")
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        speed = {f"{name}speed/torch/b1-text-t1/p50_ms" for name in ("", "teacher/")}
        expected = {"quality/mean", "search/quality", "speed/torch/b1-text-t1/ratio", "size/flops"}
        assert speed | expected | {"size/bytes"} <= run.data.metrics.keys()
        ms = run.data.metrics["speed/torch/b1-text-t1/p50_ms"]
        assert run.info.run_name.startswith(
            f"t00{run.data.tags['mkd.trial']} {run.data.tags['mkd.student']} "
        )
        assert run.info.run_name.endswith(f" {ms:.2g}ms")
        history = client(folder).get_metric_history(run.info.run_id, "selection/mean")
        assert run.data.metrics["search/quality"] == pytest.approx(
            max(metric.value for metric in history)
        )
        assert run.data.metrics["selected/mean"] == pytest.approx(
            run.data.metrics["search/quality"]
        )


@pytest.mark.slow
def test_a_search_killed_before_its_study_knows_its_run_continues_that_run(tmp_path: Path) -> None:
    put_database(tmp_path)
    argv = [*SEARCH, "--search.trials=1"]
    child = started(tmp_path, dying, Event("open", "config.yaml"), 1, "search", *argv)
    assert child.end().returncode == -9
    store = client(tmp_path)
    (experiment,) = (each for each in store.search_experiments() if each.name == "mkd")
    (killed,) = store.search_runs([experiment.experiment_id])
    assert "run" not in study_of(tmp_path).user_attrs
    assert outcome(command(tmp_path, "search", *argv))["run_id"] == killed.info.run_id
    runs = store.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2


def test_the_first_trial_has_the_given_settings(searched: Searched) -> None:
    folder, _ = searched
    first = trial_runs(folder)[0].data.params
    assert (first["student.kind"], first["loss.kind"], first["loss.temperature"]) == (
        "bag",
        "kl",
        "4.0",
    )
    assert float(first["train.sampling.weights.sentiment"]) == pytest.approx(0.75, abs=1e-4)
    for run in trial_runs(folder):
        weights = [
            float(value)
            for key, value in run.data.params.items()
            if key.startswith("train.sampling.weights.")
        ]
        assert len(weights) == 2 and sum(weights) == pytest.approx(1, abs=2e-4)


def test_the_run_of_the_study_reports_the_front_and_tags_its_trials(searched: Searched) -> None:
    folder, done = searched
    result = outcome(done)
    study = json.loads(
        Path(
            client(folder).download_artifacts(result["run_id"], "study.json", str(folder))
        ).read_text()
    )
    points = [(row["quality"], row["latency_ms"], row["run_id"]) for row in study["trials"]]
    best = {
        run
        for q, ms, run in points
        if not any(a >= q and b <= ms and (a, b) != (q, ms) for a, b, _ in points)
    }
    assert {point["run"] for point in result["front"]} == best
    on_front = {
        run.info.run_id for run in trial_runs(folder) if run.data.tags["mkd.front"] == "true"
    }
    assert on_front == best
    assert study["space"] == SPACE and result["states"] == {"complete": 5}
    assert len(study["hypervolume"]) == 5 and study["hypervolume"][-1] == result["hypervolume"]
    artifacts = {item.path for item in client(folder).list_artifacts(result["run_id"])}
    assert {"config.yaml", "study.json", "front.md", "front.png"} <= artifacts
    parent = client(folder).get_run(result["run_id"]).data.metrics
    assert (
        "| on the front"
        in client(folder).get_run(result["run_id"]).data.tags["mlflow.note.content"]
    )
    assert parent["trials/complete"] == 5 and parent["search/hypervolume"] == result["hypervolume"]
    assert any(name.startswith("importance/quality/") for name in parent)


def test_a_trial_logs_predictions_but_no_model_and_leaves_no_folder(searched: Searched) -> None:
    folder, _ = searched
    for run in trial_runs(folder):
        artifacts = {item.path for item in client(folder).list_artifacts(run.info.run_id)}
        assert artifacts == {
            "config.yaml", "table.md", "data.json", "predictions.parquet", "deferral.csv",
        }  # fmt: skip
    assert not [path for path in (folder / ".mkd" / "runs").iterdir() if path.is_dir()]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trials(searched: Searched) -> None:
    folder, _ = searched
    argv = [*SEARCH, "--search.start", json.dumps([START]), "--search.study=again"]
    first = outcome(command(folder, "search", *argv, "--search.trials=2"))
    then = outcome(command(folder, "search", *argv, "--search.trials=5"))
    assert first["run_id"] == then["run_id"] and then["states"] == {"complete": 5}
    assert client(folder).get_run(then["run_id"]).info.status == "FINISHED"
    whole, parted = study_of(folder).trials, study_of(folder, "again").trials
    assert [trial.params for trial in whole] == [trial.params for trial in parted]
    # Latency is not compared, as it is measured again if the machine was busy.
    assert [trial.values[0] for trial in whole] == [trial.values[0] for trial in parted]


@pytest.mark.slow
def test_a_study_can_start_from_the_finished_trials_of_another(searched: Searched) -> None:
    folder, _ = searched
    done = command(
        folder, "search", *SEARCH, "--search.study=heir", "--search.start_from=mkd",
        "--search.trials=1",
    )  # fmt: skip
    assert outcome(done)["states"] == {"complete": 1}
    assert "5 of 5 trials copied from mkd" in done.stderr
    heir = study_of(folder, "heir").trials
    expected = [trial.values for trial in study_of(folder).trials]
    assert [trial.values for trial in heir[:5]] == expected
    names = optuna.get_all_study_names(f"sqlite:///{folder / 'optuna.db'}")
    assert {"heir", "mkd"} <= set(names)
    refused = command(
        folder, "search", *SEARCH, "--search.study=heir2", "--search.start_from=nobody",
        "--search.trials=1",
    )  # fmt: skip
    assert refused.returncode == 2
    allowed = ", ".join(sorted(names))
    assert f"search.start_from is 'nobody'; allowed: {allowed}\n" in refused.stderr


def test_a_study_with_another_space_is_refused_with_the_difference(searched: Searched) -> None:
    folder, _ = searched
    other = json.dumps(SPACE | {"train.learning_rate": {"low": 1e-3, "high": 2e-2, "log": True}})
    done = command(folder, "search", *SEARCH, "--search.trials=6", "--search.space", other)
    message = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2
    assert message.startswith("error: search.study is 'mkd', a study of another search")
    assert "space.train.learning_rate.high was 0.01 and is 0.02" in message
    assert len(study_of(folder).trials) == 5


def test_candidates_above_a_budget_are_not_trained(searched: Searched) -> None:
    folder, _ = searched
    sizes = {
        run.data.params["student.kind"]: run.data.metrics["size/parameters"]
        for run in trial_runs(folder)
    }
    assert sizes["bag"] > sizes["transformer"], "a bag has a table of n-grams"
    small = [
        *SEARCH, "--search.study=small", "--search.trials=4", "--search.start", json.dumps([START]),
    ]  # fmt: skip
    done = command(folder, "search", *small, f"--search.budget_parameters={sizes['bag'] - 1}")
    counts = outcome(done)["states"]
    assert counts["infeasible"] >= 1 and sum(counts.values()) == 4
    closed = [
        run for run in trial_runs(folder, "small") if run.data.tags["mkd.state"] == "infeasible"
    ]
    for run in closed:
        assert run.info.status == "KILLED"
        assert not any(name.startswith(("train/", "quality/")) for name in run.data.metrics)
        assert "above the budget" in run.data.tags["mlflow.note.content"]
        assert "size/parameters" in run.data.metrics
    none = command(folder, "search", *SEARCH, "--search.study=none", "--search.budget_ms=1e-6")
    last = none.stderr.strip().splitlines()[-1]
    assert none.returncode == 2
    assert last.startswith("error: search.budget_ms is 1e-06; allowed: at least ")
    assert " ms, which " in last
    assert "none" not in optuna.get_all_study_names(f"sqlite:///{folder / 'optuna.db'}")


def test_a_trial_that_falls_behind_is_pruned(tmp_path: Path) -> None:
    """A four-layer student that is slower than the bag before it and learns nothing."""
    folder = tmp_path / "pruned"
    folder.mkdir()
    kinds = {"bag": {"student.layers": [1]}, "transformer": {"student.layers": [4]}}
    space = {"student.kind": {"choices": kinds}, "train.learning_rate": [0.01, 1e-9]}
    start = [
        {"student.kind": "bag", "student.layers": 1, "train.learning_rate": 0.01},
        {"student.kind": "transformer", "student.layers": 4, "train.learning_rate": 1e-9},
    ]
    options = [
        "--data.demo.train_rows=600",
        "--loss.hard_weight=1",
        "--train.steps=300",
        "--train.eval_every=50",
    ]
    pruning = ["--search.pruning.warmup=0.1", "--search.pruning.margin=0", "--search.trials=2"]
    asked = ["--search.space", json.dumps(space), "--search.start", json.dumps(start)]
    done = command(folder, "search", *SEARCH, *options, *pruning, *asked)
    counts = outcome(done)["states"]
    assert counts == {"complete": 1, "pruned": 1}
    assert states(folder) == {("FINISHED", "complete"): 1, ("KILLED", "pruned"): 1}
    behind = trial_runs(folder)[1]
    assert "behind one that is at least as fast" in behind.data.tags["mlflow.note.content"]
    # A pruned trial leaves no folder to resume from.
    assert not [path for path in (folder / ".mkd" / "runs").iterdir() if path.is_dir()]


@pytest.mark.slow
def test_a_search_ends_only_after_five_failed_trials_in_a_row(tmp_path: Path) -> None:
    folder = tmp_path / "failing"
    folder.mkdir()
    space = json.dumps(
        {"train.learning_rate": [1e30, 2e30], "loss.hard_weight": {"low": 0.0, "high": 0.5}}
    )
    done = command(folder, "search", *SEARCH, "--search.space", space, "--search.trials=9")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2
    assert last.startswith("error: 5 trials in a row have failed, the first: the loss became")
    assert "Traceback" not in done.stderr
    assert states(folder) == {("FAILED", "failed"): 5}
    assert all(
        run.data.tags["mkd.error"].startswith("the loss became") for run in trial_runs(folder)
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--search.space", "{}"], "search.space is {}; allowed: at least one setting"),
        (["--search.space", '{"train.clipp": [1]}'],
         "search.space.train.clipp: there is no setting 'train.clipp'; did you mean train.clip"),
        (["--search.space", '{"loss.temperature": {"low": 4, "high": 2}}'],
         "search.space.loss.temperature goes from 4 to 2; allowed"),
        (["--search.space", '{"loss.kind": ["hinge"]}'], "search.space.loss.kind: "),
        (["--search.start", '[{"loss.kind": "hinge"}]'],
         "search.start[0]: loss.kind is 'hinge'; allowed in search.space: one of"),
        (["--search.storage=postgresql://mkd:secret@127.0.0.1:1/x"],
         "search.storage is 'postgresql://mkd:***@127.0.0.1:1/x': "),
        (["--speed.seconds=0"], "speed.seconds is 0; allowed for a search: above 0"),
        (["--search.storage=postgres://mkd:secret@h/x"],
         "search.storage is 'postgres://mkd:***@h/x'; allowed: sqlite:///FILE"),
        (["--search.storage=mysql://x"],
         "search.storage is 'mysql://x'; allowed: sqlite:///FILE or postgresql://"),
    ],
)  # fmt: skip
def test_a_wrong_search_prints_one_line(tmp_path: Path, argv: list[str], message: str) -> None:
    folder = tmp_path / "wrong"
    folder.mkdir()
    done = started(folder, entry_point, "search", *SEARCH, *argv).end()
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith("error: ") and message in last, last
    assert "secret" not in done.stdout + done.stderr
    assert not (folder / "mlflow.db").exists() and not (folder / ".mkd" / "teachers").exists()


def test_a_start_that_does_not_fit_the_teacher_is_refused_before_it_is_trained(
    searched: Searched,
) -> None:
    folder, _ = searched
    space = {"student.kind": {"choices": {"transformer": {
        "student.init": {"choices": {"": {}, "teacher": {"student.hidden": [40]}}}}}}}  # fmt: skip
    starts = [
        {"student.kind": "transformer", "student.init": ""},
        {"student.kind": "transformer", "student.init": "teacher", "student.hidden": 40},
    ]
    done = command(
        folder, "search", *SEARCH, "--search.study=wide", "--search.space", json.dumps(space),
        "--search.start", json.dumps(starts), "--teacher.train.steps=1000000",
    )  # fmt: skip
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("error: search.start[1]: student.hidden is 40; allowed: ")
    )
    assert "wide" not in optuna.get_all_study_names(f"sqlite:///{folder / 'optuna.db'}")
    assert not trial_runs(folder, "wide")


def stop_at_the_teacher(cores: int, *argv: str) -> None:
    """Runs a search on a machine of so many cores; it fails where its teacher would be refined,
    with the number of threads as the message."""

    def fail(*_: object) -> None:
        raise ValueError(f"{torch.get_num_threads()} threads")

    torch.set_num_threads(cores)
    with patch.object(search, "store_teacher", fail):
        entry_point("search", *argv)


@pytest.mark.parametrize(("argv", "threads"), [([], 3), (["--threads=2"], 2)])
def test_the_teacher_is_refined_with_all_cores_unless_threads_are_set(
    tmp_path: Path, argv: list[str], threads: int
) -> None:
    folder = tmp_path / "threads"
    folder.mkdir()
    put_database(folder)
    settings = [word for word in SEARCH if not word.startswith("--threads")]
    done = started(folder, stop_at_the_teacher, 3, *settings, *argv).end()
    assert done.stderr.strip().splitlines()[-1] == f"error: {threads} threads"
