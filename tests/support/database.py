"""MLflow's database, empty: made once in a process that tests, as its tables take a second, and
copied."""

import tempfile
from functools import cache
from pathlib import Path

from experiments.tracking.run import make_database

NAME = "mlflow.db"


def put_database(folder: Path) -> None:
    """Puts an empty one into the folder, where there is none."""
    if not (folder / NAME).exists():
        (folder / NAME).write_bytes(_empty())


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory(prefix="mkd-database-") as folder:
        make_database(f"sqlite:///{folder}/{NAME}")
        return (Path(folder) / NAME).read_bytes()
