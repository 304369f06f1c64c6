"""Errors that end a command before it has done anything."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import stored
from tests.support.database import put_database
from tests.support.entry import client, command, entry_point, environment, started

PASSWORD = "k9wq7zt3"
ADDRESS = f"postgresql://mkd:{PASSWORD}@127.0.0.1:1/x"


def test_a_password_stored_by_mlflow_run_is_refused_and_can_be_removed(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "stored"
    folder.mkdir()
    put_database(folder)
    # `mlflow run . -e search -P search.storage=ADDRESS` does this before it starts the command.
    run_id = client(folder).create_run("0").info.run_id
    client(folder).log_param(run_id, "search.storage", ADDRESS)
    done = command(folder, "search", f"--search.storage={ADDRESS}", MLFLOW_RUN_ID=run_id)
    assert done.returncode == 2 and PASSWORD not in done.stdout + done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("error: ") and f"mlflow gc --run-ids {run_id}" in message
    assert client(folder).get_run(run_id).info.lifecycle_stage == "deleted"

    store = f"sqlite:///{folder / 'mlflow.db'}"
    gc = [sys.executable, "-m", "mlflow", "gc", "--run-ids", run_id, "--backend-store-uri", store]
    subprocess.run(gc, env=environment(MLFLOW_TRACKING_URI=store), cwd=folder, check=True)
    with sqlite3.connect(folder / "mlflow.db") as database:
        assert database.execute("select count(*) from params").fetchone() == (0,)


@pytest.mark.parametrize("argv", [["--experiment=other"], ["--experimnt=x"], ["--to=/dev/null"]])
def test_the_run_that_mlflow_run_made_for_a_refused_report_is_removed(
    tmp_path: Path, argv: list[str]
) -> None:
    folder = tmp_path / "refused"
    store = stored.with_two_students(folder)
    run_id = store.create_run("0").info.run_id
    address = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "MLFLOW_RUN_ID": run_id}
    done = started(folder, entry_point, "analysis.report", *argv, **address).end()
    assert done.returncode == 2
    run = store.get_run(run_id)
    assert (run.info.status, run.info.lifecycle_stage) == ("KILLED", "deleted")
    assert f"error: {run.data.tags['mlflow.note.content']}" in done.stderr


def test_an_address_without_a_password_is_accepted_under_mlflow_run(tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    put_database(folder)
    run_id = client(folder).create_run("0").info.run_id
    bare = ADDRESS.replace(f":{PASSWORD}", "")
    more = {"MLFLOW_RUN_ID": run_id, "PGPASSWORD": PASSWORD}
    done = command(folder, "search", f"--search.storage={bare}", **more)
    assert done.returncode == 2 and "mlflow gc" not in done.stderr  # nothing listens there
    assert "search.space" in done.stderr or "search.storage is" in done.stderr
    assert PASSWORD.encode() not in (folder / "mlflow.db").read_bytes()
