"""Searches on a real Spark session with two workers: runs in MLflow, failures and refusals."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import pytest
from mlflow.optuna.storage import MlflowStorage
from optuna.samplers import RandomSampler, TPESampler

import experiments.search
from experiments import cli
from experiments.on_spark import engine
from experiments.settings import SearchConfig, SearchSettings
from experiments.studies.attributes import TRIAL_RUN
from experiments.studies.objective import WorkerJob, first_id
from experiments.studies.space import parse_space
from mkd.config import TrainConfig
from tests.support.database import put_database
from tests.support.entry import client, started, tiny
from tests.support.needs import need
from tests.support.searches import trial_runs
from tests.support.spark import WARM

SPACE: dict[str, Any] = {
    "student.kind": {"choices": {"bag": {"student.layers": {"low": 1, "high": 2}},
                                 "transformer": {"student.hidden": [16, 32]}}},
    "train.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    "train.sampling.weights": "simplex",
}  # fmt: skip
SEARCH = [
    *tiny("search"), '--data.tasks=["sentiment", "similarity"]', "--data.max_length=32",
    "--speed.length=16", "--speed.batch_size=2", "--train.eval_every=3", "--search.backend=torch",
    "--search.engine=spark", "--search.pruning.warmup=1", "--search.space", json.dumps(SPACE),
]  # fmt: skip
FAILING = [
    "--search.space", json.dumps({"train.learning_rate": [1e30], "student.hidden": [16, 1024]}),
    '--search.objectives=["quality"]', "--search.budget_parameters=500000",
]  # fmt: skip
LATENCY = "speed/torch/b1-text-t1/p50_ms"
ENDED, FIRST = "ended.json", "first"
"""Files of search_all: the results of its searches, and MLflow's database after the first."""


class Ended(NamedTuple):
    """The results of the searches. lost: the run of a trial whose worker has died."""

    first: dict[str, Any]
    lost: str
    again: dict[str, Any]
    refusal: str
    failing: dict[str, Any]


def study_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> optuna.Study:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    kept = client(folder).get_experiment_by_name("mkd (optuna)")
    assert kept is not None, "the search has made it"
    return optuna.load_study(study_name="mkd", storage=MlflowStorage(kept.experiment_id))


def search(*more: str) -> dict[str, Any]:
    """The JSON that the command prints."""
    ended = experiments.search.search(cli.parse([*SEARCH, *more], "", SearchSettings))
    return {"run_id": ended.run_id, **ended.made.summary}


def search_all() -> None:
    """Runs all searches of this file in the working folder, and writes their results to ENDED.

    They share one session, as starting Java and importing a trial's libraries in each worker takes
    longer than the trials.
    """
    from pyspark.sql import SparkSession

    patch, sessions, folder = pytest.MonkeyPatch(), set[SparkSession](), Path.cwd()
    patch.setattr(SparkSession, "stop", lambda session: sessions.add(session))
    first = search("--search.trials=3")
    (folder / FIRST).mkdir()
    shutil.copy("mlflow.db", FIRST)
    study = study_of(folder, patch)
    store = client(folder)
    lost = store.create_run(store.get_run(first["run_id"]).info.experiment_id).info.run_id
    study.ask().set_user_attr(TRIAL_RUN, lost)
    assert len(study.trials) == 4  # this also writes the pending changes
    again = search("--search.trials=4")
    with pytest.raises(ValueError) as refused:
        search("--search.trials=4", "--search.sampler=random")
    failing = search(*FAILING, "--search.trials=4", "--search.study=failing")
    ended = Ended(first, lost, again, str(refused.value), failing)
    (folder / ENDED).write_text(json.dumps(ended))
    patch.undo()
    for session in sessions:
        session.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("java")
    folder = tmp_path_factory.mktemp("spark")
    put_database(folder)
    done = started(folder, search_all, **WARM).end()
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture
def ended(folder: Path) -> Ended:
    return Ended(*json.loads((folder / ENDED).read_text()))


@pytest.mark.slow
def test_each_trial_is_a_finished_child_run_of_the_study(folder: Path, ended: Ended) -> None:
    """Three trials by two workers."""
    folder = folder / FIRST
    parent = client(folder).get_run(ended.first["run_id"])
    assert (parent.info.status, parent.data.tags["mkd.kind"]) == ("FINISHED", "search")
    assert ended.first["states"] == {"complete": 3}
    trials = trial_runs(folder)
    assert len(trials) == 3 and len({run.data.params["train.learning_rate"] for run in trials}) == 3
    for run in trials:
        assert (run.info.status, run.data.tags["mkd.state"]) == ("FINISHED", "complete")
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert {"quality/mean", "search/quality", LATENCY, "size/bytes"} <= run.data.metrics.keys()
    points = [
        (r.data.metrics["search/quality"], r.data.metrics[LATENCY], r.info.run_id) for r in trials
    ]
    best = {
        run
        for q, ms, run in points
        if not any(a >= q and b <= ms and (a, b) != (q, ms) for a, b, _ in points)
    }
    assert {point["run"] for point in ended.first["front"]} == best
    assert {run.info.run_id for run in trials if run.data.tags["mkd.front"] == "true"} == best


@pytest.mark.slow
def test_the_study_has_an_experiment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder / FIRST
    study = study_of(folder, monkeypatch)
    metrics_by_run = {run.info.run_id: run.data.metrics for run in trial_runs(folder)}
    assert len(study.trials) == 3 and not (folder / "optuna.db").exists()
    for trial in study.trials:
        metrics = metrics_by_run[trial.user_attrs[TRIAL_RUN]]
        assert trial.values == [metrics["search/quality"], metrics[LATENCY]]
    assert [way.name for way in study.directions] == ["MAXIMIZE", "MINIMIZE"]


@pytest.mark.slow
def test_a_lost_trial_is_replaced(
    folder: Path, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (ended.again["run_id"], ended.again["states"]) == (
        ended.first["run_id"],
        {"complete": 4},
    )
    lost = client(folder).get_run(ended.lost)
    status_and_error = (lost.info.status, lost.data.tags["mkd.error"])
    assert status_and_error == ("FAILED", "its worker died or was suspended")
    study = study_of(folder, monkeypatch)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4


def test_trials_with_the_same_number_have_their_own_ids(tmp_path: Path) -> None:
    """Two Spark workers that create a trial at the same time can get the same number."""
    put_database(tmp_path)
    store = client(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
        study = optuna.create_study(storage=MlflowStorage(store.create_experiment("twice")))
        asked = [study.ask(), study.ask()]
        for trial in asked:
            store.set_tag(str(trial._trial_id), "numbers", "0")
        again = [optuna.Trial(study, trial._trial_id) for trial in asked]
        assert [trial.number for trial in again] == [0, 0]
        ids = [first_id(trial) for trial in again]
        assert len(set(ids)) == 2
        assert [first_id(trial) for trial in again] == ids


@pytest.mark.slow
def test_another_searchs_study_is_refused(ended: Ended) -> None:
    assert ended.refusal.startswith(
        "search.study is 'mkd', a study of another search: sampler was 'tpe' and is 'random'"
    )


@pytest.mark.slow
def test_failed_and_infeasible_trials_have_runs_and_do_not_end_the_study(
    folder: Path, ended: Ended
) -> None:
    states = ended.failing["states"]
    assert ended.failing["front"] == [] and set(states) <= {"failed", "infeasible"}
    trials = trial_runs(folder, "failing")
    assert len(trials) == sum(states.values()) == 4
    for run in trials:
        slow = run.data.params["student.hidden"] == "1024"
        assert (run.info.status, run.data.tags["mkd.state"]) == (
            ("KILLED", "infeasible") if slow else ("FAILED", "failed")
        )
        expected = run.data.tags["mlflow.note.content"]
        assert "parameters is " if slow else "the loss became " in expected


@pytest.mark.parametrize(
    ("config", "tasks", "message"),
    [
        (SearchSettings(search=SearchConfig(trials=1001)), 2,
         "search.trials is 1001; allowed for search.engine=spark: 1,000 at most"),
        (SearchSettings(train=TrainConfig(steps=402, eval_every=2)), 2,
         "train.eval_every is 2, 201 times in train.steps; .*: 200 times"),
        (SearchSettings(), 200,
         r"search.space takes \d\d,\d\d\d characters .*; allowed for search.engine=spark: 8,000"),
    ],
)  # fmt: skip
def test_settings_that_the_storage_cannot_hold_are_refused(
    config: SearchSettings, tasks: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", "anywhere")  # only its presence is checked
    engine.check_spark_search(
        SearchSettings(search=SearchConfig(trials=1000)), parse_space(SPACE, ["a", "b"])
    )
    with pytest.raises(ValueError, match=message):
        engine.check_spark_search(
            config, parse_space(SPACE, [f"task{number}" for number in range(tasks)])
        )


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(ValueError, match=r"pip install -e '.\[spark\]'"):
        engine.check_spark_search(SearchSettings(), parse_space(SPACE, ["a"]))


def test_a_second_command_for_a_running_study_is_refused(tmp_path: Path) -> None:
    job = WorkerJob(SearchSettings(cache=str(tmp_path)), [], "sqlite:///x.db", "", 0.0)
    with (
        engine._only_command(job),
        pytest.raises(ValueError, match="search.study is 'mkd', which another command is running"),
        engine._only_command(job),
    ):
        pass


def test_the_sampler_depends_on_the_seed_and_the_existing_trials() -> None:
    def draws(config: SearchSettings, ended: int) -> Any:
        study = optuna.create_study(sampler=engine._sampler(config, ended))
        return study.ask().suggest_float("x", 0, 1)

    config = SearchSettings(search=SearchConfig(sampler="random"))
    assert draws(config, 3) == draws(config, 3) != draws(config, 4)
    assert draws(SearchSettings(), 3) != draws(SearchSettings(seed=1), 3)
    assert isinstance(engine._sampler(config, 0), RandomSampler)
    assert isinstance(engine._sampler(SearchSettings(), 0), TPESampler)
