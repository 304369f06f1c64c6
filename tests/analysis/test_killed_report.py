"""A report whose process is killed leaves a run that the next report uses or ends."""

from pathlib import Path

import pytest

from mkd import names
from tests.support import stored
from tests.support.entry import Event, client, dying, entry_point, outcome, started

DRAWING = Event("open", "/pictures/")
"""The first file of the first picture is about to be opened: the run is open by then."""
REPORT = "analysis.report"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The experiments `mkd`, with two students, and `empty`."""
    folder = tmp_path / "it's a folder"
    stored.experiment(stored.with_two_students(folder), folder, "empty")
    return folder


def environment(folder: Path, run: str = "") -> dict[str, str]:
    """Of a report's process. run: the run that `mlflow run` has created for it."""
    run_variable = {"MLFLOW_RUN_ID": run} if run else {}
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"} | run_variable


def killed(folder: Path, *argv: str, run: str = "") -> None:
    """Makes a report that kills itself with SIGKILL while it draws."""
    child = started(folder, dying, DRAWING, 1, REPORT, *argv, **environment(folder, run))
    done = child.end()
    assert done.returncode == -9, done.stderr[-2000:]


def reports(folder: Path) -> dict[str, str]:
    """The status of each run of a report, by its id."""
    store = client(folder)
    report_runs = store.search_runs(
        [each.experiment_id for each in store.search_experiments()],
        f"tags.`{names.TAG_KIND}` = '{names.KIND_REPORT}'",
    )
    return {run.info.run_id: run.info.status for run in report_runs}


def test_the_next_report_uses_the_run_of_a_killed_one(folder: Path) -> None:
    killed(folder, "--experiment", "mkd")
    ((first, status),) = reports(folder).items()
    assert status == "RUNNING"
    done = started(
        folder, entry_point, REPORT, "--experiment", "mkd", "--to", "my report's", "--json",
        **environment(folder),
    ).end()  # fmt: skip
    assert outcome(done)["run_id"] == first
    assert reports(folder) == {first: "FINISHED"}
    assert (folder / "my report's" / "report.html").is_file()


@pytest.mark.slow
def test_the_next_report_ends_the_runs_that_mlflow_run_made_for_killed_ones(folder: Path) -> None:
    """One in the report's experiment, and one in the experiment of the next report's own run."""
    store = client(folder)
    places = {name: store.get_experiment_by_name(name) for name in ("mkd", "empty")}

    def new_run(name: str) -> str:
        place = places[name]
        assert place is not None
        return str(store.create_run(place.experiment_id).info.run_id)

    here, elsewhere, alive = new_run("mkd"), new_run("empty"), new_run("empty")
    killed(folder, "--experiment", "mkd", run=here)
    killed(folder, "--experiment", "mkd", run=elsewhere)
    assert {reports(folder)[run] for run in (here, elsewhere)} == {"RUNNING"}
    done = started(
        folder, entry_point, REPORT, "--experiment", "mkd", "--json", **environment(folder, alive)
    ).end()
    status = reports(folder)
    assert status.pop(alive) == "RUNNING", "`mlflow run` ends it"
    assert status.pop(elsewhere) == "KILLED"
    assert store.get_run(elsewhere).data.tags[names.TAG_ERROR] == "its process was killed"
    # The other two are reports of `mkd` in `mkd`: one is used again, and the other is ended.
    assert status.pop(outcome(done)["run_id"]) == "FINISHED"
    assert set(status.values()) <= {"KILLED"}
