"""A SQLite store that another process is writing to."""

import sqlite3
import threading
import time
from pathlib import Path

import mlflow
import pytest

from experiments.tracking.store import connected
from tests.support.database import use_store
from tests.support.entry import client

LOCKED_SECONDS = 7
"""More than the 5 seconds that SQLite waits by default."""


def test_mlflow_waits_for_another_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_store(tmp_path, monkeypatch)
    file = tmp_path / "mlflow.db"
    locked = threading.Event()

    def lock() -> None:
        connection = sqlite3.connect(file)
        connection.execute("BEGIN EXCLUSIVE")
        locked.set()
        time.sleep(LOCKED_SECONDS)
        connection.rollback()
        connection.close()

    writer = threading.Thread(target=lock)
    with connected():
        run = mlflow.MlflowClient().create_run("0").info.run_id
        writer.start()
        locked.wait()
        begin = time.monotonic()
        mlflow.MlflowClient().log_metric(run, "metric", 1.0)
        waited = time.monotonic() - begin
    writer.join()
    assert waited > LOCKED_SECONDS - 1
    assert client(tmp_path).get_run(run).data.metrics == {"metric": 1.0}
