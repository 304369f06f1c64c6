"""Runs of killed processes are marked as killed, and their logged models are used again."""

import os
from pathlib import Path

import mlflow
import pytest

from experiments.tracking.models import _logged_earlier
from experiments.tracking.run import end_killed_runs
from mkd import names
from mkd.storage.owners import machine, owner
from tests.support.database import use_store

GONE = f"{machine()}-{os.getpid()}-12345"
"""An earlier process with the same id as this one."""


def test_only_running_runs_of_ended_processes_of_this_machine_are_marked_as_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_store(tmp_path, monkeypatch)
    client = mlflow.MlflowClient()
    processes = {"gone": GONE, "alive": owner(), "elsewhere": "0123456789ab-1-1", "finished": GONE}
    runs = {
        name: client.create_run("0", tags={names.TAG_PROCESS: process}).info.run_id
        for name, process in processes.items()
    }
    client.set_terminated(runs["finished"])
    end_killed_runs(client.create_run("0", tags={names.TAG_PROCESS: GONE}))
    status = {name: client.get_run(run).info.status for name, run in runs.items()}
    assert status == {
        "gone": "KILLED",
        "alive": "RUNNING",
        "elsewhere": "RUNNING",
        "finished": "FINISHED",
    }
    assert client.get_run(runs["gone"]).data.tags[names.TAG_ERROR] == "its process was killed"


def test_an_incomplete_model_of_a_killed_start_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_store(tmp_path, monkeypatch)
    client = mlflow.MlflowClient()
    run = client.create_run("0")
    cut_short = client.create_logged_model("0", "student", run.info.run_id)
    files = Path(cut_short.artifact_location.removeprefix("file://"))
    files.mkdir(parents=True)
    (files / "MLmodel").write_text("half of it")
    other = client.create_run("0")
    kept = client.create_logged_model("0", "student", other.info.run_id)
    assert _logged_earlier(run) == "" and not files.parent.exists()
    assert [each.model_id for each in client.search_logged_models(["0"])] == [kept.model_id]
    assert client.search_model_versions(f"run_id = '{run.info.run_id}'") == []
