"""Downloads logged models. It does not import torch, so that `mkd serve` starts soon."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import mlflow
from mlflow.exceptions import MlflowException

from experiments.tracking.store import address, configure, is_outage


class DownloadedModel(NamedTuple):
    """A downloaded model.

    model: MLflow's folder.
    student: the folder of the student or teacher inside it.
    run_id: the run that logged it.
    """

    model: Path
    student: Path
    run_id: str


@contextmanager
def fetched_student(setting: str, where: str) -> Iterator[tuple[Path, str]]:
    """Yields the folder of the student that a setting names, and the id of the run that logged it.

    where: a `runs:/` or `models:/` URI, which is downloaded into a temporary folder, or a local
        folder, whose run id is "".
    setting: the name of the setting, for error messages.
    """
    if not where.startswith(("runs:/", "models:/")):
        yield Path(where), ""
        return
    with tempfile.TemporaryDirectory() as fetched:
        model = download_model(setting, where, Path(fetched))
        yield model.student, model.run_id


def download_model(setting: str, uri: str, into: Path) -> DownloadedModel:
    """Downloads the model at `runs:/RUN_ID/student`, or a registered model, into the folder `into`.

    setting: the name of the setting, for error messages.
    Raises ValueError if there is no such run or model.
    """
    configure()
    try:
        model = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(into)))
    except (MlflowException, OSError) as error:
        if is_outage(error):
            raise
        raise ValueError(
            f"{setting} is {uri!r}: not found in {address()} ({error}); "
            "allowed: runs:/RUN_ID/student of a finished run, or models:/NAME@ALIAS; a search's "
            "trials keep no student: `mkd promote` trains one of them in full"
        ) from error
    try:
        about = mlflow.models.Model.load(model)
        student = model / about.flavors["python_function"]["artifacts"]["student"]["path"]
        outside = not student.resolve().is_relative_to(model.resolve())
    # A damaged MLmodel file makes libraries raise errors of any type.
    except Exception as error:
        raise ValueError(f"{setting} is {uri!r}: its MLmodel is damaged ({error!r})") from error
    if outside:
        raise ValueError(f"{setting} is {uri!r}: its MLmodel names a folder outside of the model")
    return DownloadedModel(model, student, about.run_id)


def check_loads(setting: str, uri: str, folder: Path) -> None:
    """Raises ValueError if a downloaded model cannot be loaded, as a server or Spark loads it."""
    try:
        mlflow.pyfunc.load_model(str(folder))
    # A damaged model makes libraries raise errors of any type.
    except Exception as error:
        raise ValueError(f"{setting} is {uri!r}: it cannot be loaded ({error})") from error
