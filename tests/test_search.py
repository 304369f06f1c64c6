"""Whole searches, as their users start them: what they leave, and how they are killed, stopped, joined and gone on with."""

import json
import os
import signal
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
from entry import TINY, client, command, entry_point, outcome, runs, started, wait_until
from mlflow.entities import Run
from postgres import server

from experiments.study import AGAIN, DIED, PROGRESS, RESULT

SPACE: dict[str, Any] = {
    "student.kind": {"choices": {"bag": {"student.layers": {"low": 1, "high": 2}}, "transformer": {"student.hidden": [16, 32]}}},
    "loss.kind": {"choices": {"mse": {}, "kl": {"loss.temperature": {"low": 1.0, "high": 8.0, "log": True}}}},
    "train.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    "train.sampling.weights": "simplex",
}
START = {
    "student.kind": "bag",
    "loss.kind": "kl",
    "loss.temperature": 4.0,
    "train.sampling.weights": {"sentiment": 3, "similarity": 1},
}
SEARCH = [
    *TINY, '--data.tasks=["sentiment", "similarity"]', "--data.max_length=32", "--speed.length=16", "--speed.warmup=1",
    "--speed.batch_size=2", "--train.eval_every=2", "--search.backend=torch", "--search.pruning.warmup=1",
    "--search.heartbeat_seconds=1", "--search.space", json.dumps(SPACE),
]  # fmt: skip
SLOW = ["--train.steps=2000", "--train.eval_every=50", "--checkpoint_seconds=0.2"]
"""A trial that is still at work when it is looked for."""

Searched = tuple[Path, subprocess.CompletedProcess[str]]


def study_of(folder: Path, name: str = "mkd") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'optuna.db'}")


def trial_runs(folder: Path, name: str = "mkd") -> list[Run]:
    """The runs of a study's trials, by their numbers."""
    found = [run for run in runs(folder) if run.data.tags.get("mkd.study") == name and run.data.tags["mkd.kind"] == "trial"]
    return sorted(found, key=lambda run: int(run.data.tags["mkd.trial"]))


def states(folder: Path, name: str = "mkd") -> Counter[tuple[str, str]]:
    return Counter((run.info.status, run.data.tags["mkd.state"]) for run in trial_runs(folder, name))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """Five trials by one worker, the first with settings that are given."""
    folder = tmp_path_factory.mktemp("search")
    return folder, command(folder, "search", *SEARCH, "--search.trials=5", "--search.start", json.dumps([START]))


def test_every_trial_is_a_finished_run_below_that_of_the_study(searched: Searched) -> None:
    folder, done = searched
    parent = client(folder).get_run(outcome(done)["run_id"])
    assert (parent.info.status, parent.data.tags["mkd.kind"], parent.data.tags["mkd.study"]) == ("FINISHED", "search", "mkd")
    found = trial_runs(folder)
    assert [run.data.tags["mkd.trial"] for run in found] == ["0", "1", "2", "3", "4"]
    for run in found:
        assert (run.info.status, run.data.tags["mkd.state"]) == ("FINISHED", "complete")
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert {"quality/mean", "search/quality", "speed/torch/b1-l16-t1/p50_ms", "speed/torch/b1-l16-t1/ratio",
                "teacher/speed/torch/b1-l16-t1/p50_ms", "size/bytes", "size/flops"} <= run.data.metrics.keys()  # fmt: skip
        ms = run.data.metrics["speed/torch/b1-l16-t1/p50_ms"]
        assert run.info.run_name.startswith(f"t00{run.data.tags['mkd.trial']} {run.data.tags['mkd.student']} ")
        assert run.info.run_name.endswith(f" {ms:.2g}ms")
        history = client(folder).get_metric_history(run.info.run_id, "selection/mean")
        assert run.data.metrics["search/quality"] == pytest.approx(max(metric.value for metric in history))


def test_the_first_trial_has_the_settings_that_are_given_and_weights_are_logged_as_weights(searched: Searched) -> None:
    folder, _ = searched
    first = trial_runs(folder)[0].data.params
    assert (first["student.kind"], first["loss.kind"], first["loss.temperature"]) == ("bag", "kl", "4.0")
    assert float(first["train.sampling.weights.sentiment"]) == pytest.approx(0.75, abs=1e-4)
    for run in trial_runs(folder):
        weights = [float(value) for key, value in run.data.params.items() if key.startswith("train.sampling.weights.")]
        assert len(weights) == 2 and sum(weights) == pytest.approx(1, abs=2e-4)


def test_the_study_s_run_tells_the_front_and_marks_its_runs(searched: Searched) -> None:
    folder, done = searched
    told = outcome(done)
    study = json.loads(Path(client(folder).download_artifacts(told["run_id"], "study.json", str(folder))).read_text())
    points = [(row["quality"], row["latency_ms"], row["run_id"]) for row in study["trials"]]
    best = {run for q, ms, run in points if not any(a >= q and b <= ms and (a, b) != (q, ms) for a, b, _ in points)}
    assert {point["run"] for point in told["front"]} == best
    assert {run.info.run_id for run in trial_runs(folder) if run.data.tags["mkd.front"] == "true"} == best
    assert study["space"] == SPACE and told["states"] == {"complete": 5}
    assert len(study["hypervolume"]) == 5 and study["hypervolume"][-1] == told["hypervolume"]
    artifacts = {item.path for item in client(folder).list_artifacts(told["run_id"])}
    assert {"config.yaml", "study.json", "front.md", "front.png"} <= artifacts
    parent = client(folder).get_run(told["run_id"]).data.metrics
    assert parent["trials/complete"] == 5 and parent["search/hypervolume"] == told["hypervolume"]
    assert any(name.startswith("importance/quality/") for name in parent)


def test_a_trial_leaves_its_answers_but_no_model_and_no_folder(searched: Searched) -> None:
    folder, _ = searched
    for run in trial_runs(folder):
        artifacts = {item.path for item in client(folder).list_artifacts(run.info.run_id)}
        assert artifacts == {"config.yaml", "table.md", "data.json", "predictions.parquet"}
    assert not [path for path in (folder / ".mkd" / "runs").iterdir() if path.is_dir()]


def test_the_same_seed_and_one_worker_give_the_same_trials(searched: Searched) -> None:
    folder, _ = searched
    again = command(folder, "search", *SEARCH, "--search.trials=5", "--search.start", json.dumps([START]), "--search.study=again")
    assert outcome(again)["states"] == {"complete": 5}
    first, second = study_of(folder).trials, study_of(folder, "again").trials
    assert [trial.params for trial in first] == [trial.params for trial in second]
    assert [trial.values for trial in first] == [trial.values for trial in second]


def test_more_trials_of_the_same_study_go_on_in_the_same_run_as_if_it_had_not_stopped(searched: Searched) -> None:
    folder, done = searched
    started_short = [*SEARCH, "--search.start", json.dumps([START]), "--search.study=longer"]
    first = outcome(command(folder, "search", *started_short, "--search.trials=2"))
    then = outcome(command(folder, "search", *started_short, "--search.trials=5"))
    assert first["run_id"] == then["run_id"] and then["states"] == {"complete": 5}
    assert client(folder).get_run(then["run_id"]).info.status == "FINISHED"
    assert [t.params for t in study_of(folder, "longer").trials] == [t.params for t in study_of(folder).trials]


def test_a_study_can_begin_with_the_finished_trials_of_another(searched: Searched) -> None:
    folder, _ = searched
    done = command(folder, "search", *SEARCH, "--search.study=heir", "--search.start_from=mkd", "--search.trials=1")
    assert outcome(done)["states"] == {"complete": 1} and "5 trials of 5 taken over from mkd" in done.stdout
    heir = study_of(folder, "heir").trials
    assert [trial.values for trial in heir[:5]] == [trial.values for trial in study_of(folder).trials]
    refused = command(folder, "search", *SEARCH, "--search.study=heir2", "--search.start_from=nobody", "--search.trials=1")
    assert refused.returncode == 2 and "search.start_from is 'nobody'; allowed: again, heir, longer, mkd" in refused.stderr


def test_a_study_of_another_space_is_refused_with_the_difference(searched: Searched) -> None:
    folder, _ = searched
    other = json.dumps(SPACE | {"train.learning_rate": {"low": 1e-3, "high": 2e-2, "log": True}})
    done = command(folder, "search", *SEARCH, "--search.trials=6", "--search.space", other)
    told = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and told.startswith("error: search.study is 'mkd', a study of another search")
    assert "space.train.learning_rate.high was 0.01 and is 0.02" in told
    assert len(study_of(folder).trials) == 5


def test_four_workers_that_start_at_once_on_a_new_study_make_just_the_trials_that_are_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "four"
    folder.mkdir()
    done = command(folder, "search", *SEARCH, "--search.workers=4", "--search.trials=6")
    assert outcome(done)["states"] == {"complete": 6}
    assert states(folder) == {("FINISHED", "complete"): 6}
    assert [trial.number for trial in study_of(folder).trials] == list(range(6))


def test_a_budget_closes_what_is_too_large_before_its_training(searched: Searched) -> None:
    folder, _ = searched
    sizes = {run.data.params["student.kind"]: run.data.metrics["size/parameters"] for run in trial_runs(folder)}
    assert sizes["bag"] > sizes["transformer"], "a bag has a table of n-grams"
    small = [*SEARCH, "--search.study=small", "--search.trials=4", "--search.start", json.dumps([START])]
    done = command(folder, "search", *small, f"--search.budget_parameters={sizes['bag'] - 1}")
    told = outcome(done)["states"]
    assert told["infeasible"] >= 1 and sum(told.values()) == 4
    closed = [run for run in trial_runs(folder, "small") if run.data.tags["mkd.state"] == "infeasible"]
    for run in closed:
        assert run.info.status == "KILLED" and not any(name.startswith(("train/", "quality/")) for name in run.data.metrics)
        assert "above the budget" in run.data.tags["mlflow.note.content"] and "size/parameters" in run.data.metrics
    none = command(folder, "search", *SEARCH, "--search.study=none", "--search.budget_ms=1e-6")
    last = none.stderr.strip().splitlines()[-1]
    assert (
        none.returncode == 2 and last.startswith("error: search.budget_ms is 1e-06; allowed: at least ") and " ms, which " in last
    )
    assert "none" not in optuna.get_all_study_names(f"sqlite:///{folder / 'optuna.db'}")


def test_a_trial_that_falls_behind_is_stopped_and_killed_in_the_tracking_store(tmp_path: Path) -> None:
    folder = tmp_path / "pruned"
    folder.mkdir()
    fast = {"student.kind": "bag", "train.learning_rate": 0.01, "train.sampling.weights": {"sentiment": 1, "similarity": 0}}
    slow = {
        "student.kind": "transformer",
        "train.learning_rate": 0.001,
        "train.sampling.weights": {"sentiment": 1, "similarity": 0},
    }
    pruning = ["--search.pruning.warmup=0.1", "--search.pruning.margin=0", "--train.steps=300", "--train.eval_every=50"]
    done = command(folder, "search", *SEARCH, *pruning, "--search.trials=2", "--search.start", json.dumps([fast, slow]))
    found = outcome(done)["states"]
    assert found == {"complete": 1, "pruned": 1}
    assert states(folder) == {("FINISHED", "complete"): 1, ("KILLED", "pruned"): 1}
    behind = trial_runs(folder)[1]
    assert "behind one that is at least as fast" in behind.data.tags["mlflow.note.content"]
    assert not [path for path in (folder / ".mkd" / "runs").iterdir() if path.is_dir()], "nothing of it is gone on with"


def test_failing_trials_do_not_end_a_search_but_five_in_a_row_do(tmp_path: Path) -> None:
    folder = tmp_path / "failing"
    folder.mkdir()
    space = json.dumps({"train.learning_rate": [1e30, 2e30], "loss.hard_weight": {"low": 0.0, "high": 0.5}})
    done = command(folder, "search", *SEARCH, "--search.space", space, "--search.trials=9")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith("error: 5 trials in a row have failed, the first: the loss became")
    assert "Traceback" not in done.stderr
    assert states(folder) == {("FAILED", "failed"): 5}
    assert all(run.data.tags["mkd.error"].startswith("the loss became") for run in trial_runs(folder))


def working(folder: Path) -> str:
    """The id of the run of a trial that has reported a score, once there is one."""
    found: list[str] = []

    def seen() -> bool:
        if (folder / "optuna.db").exists():
            with sqlite3.connect(folder / "optuna.db") as database:
                query = "select value_json from trial_user_attributes where key = 'run' and trial_id in " \
                        "(select trial_id from trial_user_attributes where key = ?)"  # fmt: skip
                try:
                    found[:] = [json.loads(value) for (value,) in database.execute(query, (PROGRESS,))]
                except sqlite3.OperationalError:  # it is being made
                    return False
        return bool(found)

    wait_until(seen)
    return found[0]


def test_a_worker_that_is_killed_in_a_trial_has_it_made_again_by_another(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    child = started(folder, entry_point, "search", *SEARCH, *SLOW, "--search.workers=2", "--search.trials=2")
    run = working(folder)
    line = next(line for line in child.stdout.read_text().splitlines() if line.startswith("workers: "))
    os.kill(int(line.removeprefix("workers: ").split(", ")[0]), signal.SIGKILL)
    told = outcome(done := child.end())
    assert told["states"] == {"complete": 2} and "1 of 2 workers died" in done.stderr
    study = study_of(folder)
    assert Counter(trial.state.name for trial in study.trials) == {"COMPLETE": 2, "FAIL": 1}
    lost = next(trial for trial in study.trials if trial.state == optuna.trial.TrialState.FAIL)
    assert study.user_attrs[f"{AGAIN}/{lost.number}"] == DIED and RESULT not in lost.user_attrs
    again = next(trial for trial in study.trials if trial.number == 2)
    assert again.params == lost.params
    # The retry has gone on from the checkpoint, in the same run.
    assert lost.user_attrs["run"] == again.user_attrs["run"] and run in {trial.user_attrs["run"] for trial in study.trials}
    assert states(folder) == {("FINISHED", "complete"): 2}
    assert not [found for found in runs(folder) if found.info.status == "RUNNING"]


def test_a_search_that_is_interrupted_ends_its_workers_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    folder.mkdir()
    argv = [*SEARCH, *SLOW, "--search.workers=2", "--search.trials=3"]
    child = started(folder, entry_point, "search", *argv)
    working(folder)
    line = next(line for line in child.stdout.read_text().splitlines() if line.startswith("workers: "))
    assert child.process.pid is not None
    os.kill(child.process.pid, signal.SIGINT)
    done = child.end()
    assert done.returncode == 130 and done.stderr.strip().splitlines()[-1] == "stopped"
    for pid in line.removeprefix("workers: ").split(", "):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
    assert {run.info.status for run in runs(folder)} == {"KILLED"}
    told = outcome(command(folder, "search", *argv))
    assert told["states"] == {"complete": 3}
    assert Counter(run.info.status for run in runs(folder)) == {"FINISHED": 4}, (
        "three trials and the study, all of them gone on with"
    )


def test_a_study_in_postgresql_is_made_by_two_commands_at_once_and_its_password_is_not_told(tmp_path: Path) -> None:
    with server() as address:
        folder = tmp_path / "postgres"
        folder.mkdir()
        mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
        argv = [*SEARCH, "--search.storage", address, "--search.trials=5", "--search.workers=2"]
        first = started(folder, entry_point, "search", *argv)
        wait_until(lambda: "workers: " in first.stdout.read_text())
        second = started(folder, entry_point, "search", *argv, "--cache=elsewhere")
        told = [outcome(child.end()) for child in (first, second)]
        assert told[0]["run_id"] == told[1]["run_id"] and told[1]["states"]["complete"] >= 5
        store = optuna.storages.RDBStorage(address)
        made = optuna.load_study(study_name="mkd", storage=store).trials
        store.engine.dispose()
        assert {trial.state.name for trial in made} == {"COMPLETE"} and len(made) <= 6
        parent = client(folder).get_run(told[0]["run_id"])
        assert "mkd:***@127.0.0.1" in parent.data.tags["mkd.storage"]
        text = Path(client(folder).download_artifacts(told[0]["run_id"], "config.yaml", str(folder))).read_text()
        printed = [file.read_text() for child in (first, second) for file in (child.stdout, child.stderr)]
        assert not any("secret" in where for where in (*printed, text, json.dumps(parent.data.params)))


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--search.space", "{}"], "search.space is {}; allowed: at least one setting"),
        (
            ["--search.space", '{"loss.mixupp": [1]}'],
            "search.space.loss.mixupp: there is no setting 'loss.mixupp'; allowed: loss.mixup",
        ),
        (
            ["--search.space", '{"loss.temperature": {"low": 4, "high": 2}}'],
            "search.space.loss.temperature goes from 4 to 2; allowed",
        ),
        (["--search.space", '{"loss.kind": ["hinge"]}'], "search.space.loss.kind: "),
        (
            ["--search.start", '[{"loss.kind": "hinge"}]'],
            "search.start[0]: loss.kind is 'hinge'; allowed in search.space: one of",
        ),
        (["--search.storage=postgresql://mkd:secret@127.0.0.1:1/x"], "search.storage is 'postgresql://mkd:***@127.0.0.1:1/x': "),
        (["--search.storage=mysql://x"], "search.storage is 'mysql://x'; allowed: sqlite:///FILE or postgresql://"),
    ],
)
def test_a_mistake_is_one_line_before_any_training(tmp_path: Path, argv: list[str], told: str) -> None:
    folder = tmp_path / "wrong"
    folder.mkdir()
    done = command(folder, "search", *SEARCH, *argv)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith("error: ") and told in last, last
    assert "secret" not in done.stdout + done.stderr
    assert not (folder / "mlflow.db").exists() and not (folder / ".mkd" / "teachers").exists()
