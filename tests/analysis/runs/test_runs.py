"""A real store of made-up runs: what is read, what is left out, and which requests are refused."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from analysis.findings.bootstrap import bootstrap, nearest_to_front
from analysis.runs import runs as runs_module
from analysis.runs.models import averaged, comparable
from analysis.runs.runs import COLUMNS, logged_predictions, metric_curves, read_runs
from mkd.config import StudentConfig
from tests.support import stored

LSTM, BAG = StudentConfig("bilstm", hidden=64), StudentConfig("bag", hidden=32)


class Store(NamedTuple):
    """A store. trials: run ids of its study's complete trials. parent: the run of the study."""

    uri: str
    trials: list[str]
    parent: str


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Returns a store with the experiments `mkd` and `searches`. `mkd` has two seeds of one
    student, another student, and runs that cannot be drawn; `searches` has a study."""
    folder = tmp_path_factory.mktemp("store")
    client = stored.opened(folder)
    first = stored.experiment(client, folder, "mkd")
    runs = [stored.synthetic_run(stored.Wish(LSTM, seed)) for seed in (0, 1)] + [
        stored.synthetic_run(stored.Wish(BAG))
    ]
    for run in runs:
        stored.logged(client, first, run)
    slow = runs[0].metrics | {"quality/mean": 1.0}
    stored.logged(
        client,
        first,
        runs[0]._replace(
            name="no speed", metrics={n: v for n, v in slow.items() if "speed/" not in n}
        ),
    )
    stored.logged(client, first, runs[0]._replace(name="running", status="RUNNING"))
    stored.logged(
        client, first, runs[0]._replace(name="teacher", tags=runs[0].tags | {"mkd.kind": "teacher"})
    )
    stored.logged(
        client,
        first,
        stored.synthetic_run(stored.Wish(LSTM, 2, tasks=("sentiment",)))._replace(name="alone"),
    )
    warm = runs[2].params | {"loss.temperature": "9.0"}
    stored.logged(client, first, runs[2]._replace(params=warm, predictions=None))
    second = stored.experiment(client, folder, "searches")
    tags_of_search = {"mkd.kind": "search", "mkd.study": "small"}
    parent = client.create_run(second, run_name="search small", tags=tags_of_search).info.run_id
    tags = [{"mkd.study": "small", "mkd.trial": str(number)} for number in range(2)]
    wishes = [
        stored.Wish(student, kind="trial", tags=tags_of_trial)
        for student, tags_of_trial in zip((LSTM, BAG), tags, strict=True)
    ]
    trials = [stored.logged(client, second, stored.synthetic_run(wish)) for wish in wishes]
    study = {"study": "small", "backend": "torch", "setting": "b1-text-t1", "trials": []}
    stored.log_json(client, parent, "study.json", json.dumps(study))
    return Store(f"sqlite:///{folder / 'mlflow.db'}", trials, parent)


def test_an_experiments_runs_are_a_table_or_left_out_with_a_reason(store: Store) -> None:
    runs = read_runs("mkd", store=store.uri)
    assert len(runs.frame) == 5
    assert runs.left_out == {
        "no speed (one text on one thread)": ["no speed"],
        "not finished": ["running"],
        "not a student's (teacher)": ["teacher"],
    }
    assert runs.study is None and runs.experiment == "mkd"


def test_every_column_is_documented_and_every_documented_column_is_there(store: Store) -> None:
    frame = read_runs("mkd", store=store.uri).frame
    known = {name for name in COLUMNS if "<" not in name}
    assert known <= set(frame)
    kinds = (
        "score/", "teacher/", "baseline/", "retention/", "agreement/", "selection/", "data.",
        "teacher.", "student.", "loss.", "train.", "finetune.",
    )  # fmt: skip
    assert [name for name in frame if name not in known and not str(name).startswith(kinds)] == []


def test_a_run_is_linked_to_the_mlflow_ui(store: Store) -> None:
    run = read_runs("mkd", store=store.uri).frame.iloc[0]
    assert run["link"].startswith("http://127.0.0.1:5000/#/experiments/") and run["link"].endswith(
        f"/runs/{run['run_id']}"
    )


def test_a_study_is_found_in_any_experiment_and_has_its_backend(store: Store) -> None:
    runs = read_runs(study="small", store=store.uri)
    assert runs.experiment == "searches"
    assert runs.study is not None
    assert runs.study.run_id == store.parent
    assert set(runs.frame["run_id"]) == set(store.trials)
    assert set(runs.frame["backend"]) == {"torch"}, "even though int8 is faster"


def test_all_pages_of_runs_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_runs("mkd", store=store.uri).frame["run_id"].tolist()
    monkeypatch.setattr(runs_module, "RUNS_PER_REQUEST", 2)
    assert read_runs("mkd", store=store.uri).frame["run_id"].tolist() == whole


@pytest.mark.parametrize(
    ("experiment", "study", "message"),
    [
        ("mdk", "", "experiment is 'mdk': there is none in .*; allowed: 'mkd'"),
        (
            "",
            "",
            "experiment is '': 2 have finished runs of students; allowed: --experiment mkd or "
            "--experiment searches, or --study NAME$",
        ),
        ("", "smal", "study is 'smal': there is none in sqlite.*; allowed: 'small'"),
        (
            "mkd",
            "small",
            "study is 'small': there is none in experiment 'mkd' of .*; allowed: none yet",
        ),
        ("Default", "", "experiment is 'Default': it has no finished run with quality and speed"),
    ],
)
def test_close_names_are_suggested(store: Store, experiment: str, study: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_runs(experiment, study, store.uri)


def test_without_a_name_the_only_experiment_with_finished_students_is_read(tmp_path: Path) -> None:
    client = stored.opened(tmp_path)
    uri = client.tracking_uri
    with pytest.raises(
        ValueError, match="experiment is '': no experiment in sqlite.* has a finished"
    ):
        read_runs(store=uri)
    run = stored.synthetic_run(stored.Wish(BAG))
    changes_by_name: dict[str, dict[str, Any]] = {
        "running": {"status": "RUNNING"},
        "teachers": {"tags": run.tags | {"mkd.kind": "teacher"}},
        "it's mine": {},
    }
    for name, changes in changes_by_name.items():
        stored.logged(client, stored.experiment(client, tmp_path, name), run._replace(**changes))
    assert read_runs(store=uri).experiment == "it's mine"


def test_a_database_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    message = r"MLFLOW_TRACKING_URI is 'sqlite:///.*none.db': there is no such file"
    with pytest.raises(ValueError, match=message):
        read_runs("mkd", store=f"sqlite:///{file}")
    assert not file.exists()


def test_curves_are_steps_and_scores_in_order(store: Store) -> None:
    runs = read_runs(study="small", store=store.uri)
    points = metric_curves(runs, store.trials)
    assert list(points) == store.trials
    assert [step for step, _ in points[store.trials[0]]] == list(range(250, 2001, 250))
    assert metric_curves(runs, store.trials, "no such metric") == {}


def test_answers_are_read_of_the_runs_that_have_logged_them(store: Store) -> None:
    runs = read_runs("mkd", store=store.uri)
    answers = logged_predictions(runs, runs.frame["run_id"].tolist())
    assert len(answers) == 4
    assert {len(frame) for frame in answers.values()} == {5 * stored.ROWS, stored.ROWS}


def test_the_loss_against_the_teacher_is_resampled_from_the_logged_answers(store: Store) -> None:
    runs = read_runs("mkd", store=store.uri)
    models = averaged(comparable(runs.frame).frame)
    resampled = bootstrap(runs, models)
    lstm = models[models["student_kind"] == "bilstm"].iloc[0]
    assert len(lstm["runs"]) == 2
    assert resampled.models[lstm["id"]].mean.rows[0] == pytest.approx(lstm["mean"])
    lost = resampled.lost[lstm["id"]]
    assert lost.points == pytest.approx(lstm["teacher_mean"] - lstm["mean"])
    assert lost.low < lost.points < lost.high
    assert list(resampled.models[lstm["id"]].mean.seeds) == lstm["seeds"]
    assert list(resampled.models[lstm["id"]].mean.seeds.values()) == pytest.approx(lstm["means"])
    by_task = resampled.lost_by_task[lstm["id"]]
    assert np.mean([lost.points for lost in by_task.values()]) == pytest.approx(lost.points)
    assert len(by_task) == 5
    assert lost.seeds == 2 and all(each.seeds == 2 for each in by_task.values())
    assert [len(ids) for ids in resampled.without.values()] == [1]
    assert list(resampled.without) == ["no predictions.parquet"]


def test_answers_with_other_scores_than_the_run_are_not_used(store: Store) -> None:
    runs = read_runs("mkd", store=store.uri)
    models = averaged(comparable(runs.frame).frame)
    models = models.assign(means=[[mean + 1 for mean in means] for means in models["means"]])
    resampled = bootstrap(runs, models)
    assert resampled.models == {}
    assert "scores from predictions.parquet differ from the run's" in resampled.without


def test_the_nearest_to_the_front_lose_the_fewest_points(monkeypatch: pytest.MonkeyPatch) -> None:
    models = pd.DataFrame(
        {"latency_ms": [1.0, 2.0, 3.0, 4.0], "mean": 5.0, "selection": [60.0, 50.0, 70.0, 69.0]}
    )
    monkeypatch.setattr("analysis.findings.bootstrap.MOST", 3)
    assert sorted(nearest_to_front(models)) == [0, 2, 3]
    assert np.all(np.isin([0, 2], nearest_to_front(models)))
    assert sorted(
        nearest_to_front(models.assign(mean=[60.0, 70.0, 50.0, 71.0], selection=np.nan))
    ) == [
        0,
        1,
        3,
    ], "without selection scores by dev"
