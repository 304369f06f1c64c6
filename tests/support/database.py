"""An empty MLflow database. Creating its tables takes a second, so each process creates it once and
copies it."""

import tempfile
from functools import cache
from pathlib import Path

import mlflow
import pytest

from experiments.tracking.store import make_database

NAME = "mlflow.db"


def put_database(folder: Path) -> None:
    """Puts an empty database into the folder unless it has one."""
    if not (folder / NAME).exists():
        (folder / NAME).write_bytes(_empty())


def use_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this process log to an empty store in the folder, and work in that folder."""
    put_database(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / NAME}")
    # MLflow remembers the current experiment in the process and in the environment; every store
    # has experiment 0.
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    mlflow.set_experiment(experiment_id="0")


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory(prefix="mkd-database-") as folder:
        make_database(f"sqlite:///{folder}/{NAME}")
        return (Path(folder) / NAME).read_bytes()
