"""The only writer to MLflow: runs the core as a run, logs what it reports, and leaves its result behind."""

import importlib.metadata
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from packaging.version import Version

from experiments import picture, progress, table
from experiments.cli import flat, to_yaml
from mkd.config import Config
from mkd.record import Report, Result

EXPERIMENT = "mkd"
"""Where runs go that no MLFLOW_EXPERIMENT_NAME and no `mlflow run` sends elsewhere."""
MODEL_PACKAGES = (
    "torch", "transformers", "tokenizers", "safetensors", "huggingface-hub", "numpy", "scipy", "scikit-learn", "pandas",
    "filelock", "mlflow",
)  # fmt: skip
"""What the logged model imports."""
ROOT = Path(__file__).resolve().parents[1]


def record(config: Config, kind: str, name: str, core: Callable[[Config, Path, Report], Result], parent: str = "") -> None:
    """Runs the core as one MLflow run of a `mkd.kind`, with bars while it works and a table, a link and JSON at its end.

    parent: id of the run whose model this one goes on from. The run ends FINISHED, or FAILED where the core raises.
    """
    tasks = ",".join(config.data.tasks) or config.data.source
    with _run(config, name, {"mkd.kind": kind, "mkd.tasks": tasks}) as run:
        if parent:
            _link(run, parent)
        with tempfile.TemporaryDirectory() as folder:
            with progress.bars(partial(_report, run.info.run_id)) as report:
                result = core(config, Path(folder), report)
            _log_result(run.info.run_id, result)
        print("\n".join(table.lines(result)))
        print(f"\nlook at it: {_where(run)}")
        print(json.dumps({"run_id": run.info.run_id, "metrics": result.metrics}))


def logged_student(uri: str, into: Path) -> tuple[Path, str]:
    """The folder of the student at `runs:/RUN_ID/student`, fetched into `into`, and the run's id.

    Raises ValueError where there is no such run, or no model of that name in it.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        model = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(into)))
        inside = mlflow.models.Model.load(model).flavors["python_function"]["artifacts"]["student"]["path"]
    except (MlflowException, OSError, KeyError) as error:
        raise ValueError(
            f"finetune.student is {uri!r}: not found in {mlflow.get_tracking_uri()} ({error}); "
            "allowed: a folder, or runs:/RUN_ID/student of a finished distillation"
        ) from error
    return model / inside, uri.removeprefix("runs:/").split("/")[0]


def _link(run: Run, parent: str) -> None:
    """Tags the run with its parent; within one experiment it is also shown below it."""
    tags = {"mkd.parent": parent}
    if mlflow.get_run(parent).info.experiment_id == run.info.experiment_id:
        tags["mlflow.parentRunId"] = parent
    mlflow.set_tags(tags)


def num_tasks(config: Config) -> str:
    """The tasks as a run's name tells them: how many, or all that the source has."""
    return f"{len(config.data.tasks)} tasks" if config.data.tasks else f"all {config.data.source} tasks"


@contextmanager
def _run(config: Config, name: str, tags: dict[str, str]) -> Iterator[Run]:
    """A run with its config logged; the one that `mlflow run` has made, where there is one.

    Raises ValueError where the tracking store cannot be reached.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    try:
        if not any(os.environ.get(f"MLFLOW_{key}") for key in ("RUN_ID", "EXPERIMENT_ID", "EXPERIMENT_NAME")):
            mlflow.set_experiment(EXPERIMENT)
        started = mlflow.start_run()
    except MlflowException as error:
        raise ValueError(f"MLFLOW_TRACKING_URI is {mlflow.get_tracking_uri()}: {error}") from error
    with started as run:
        mlflow.set_tags({"mlflow.runName": name} | tags)
        client = mlflow.MlflowClient()
        known = client.get_run(run.info.run_id).data.params
        params = [Param(key, str(value)) for key, value in flat(config).items() if key not in known]
        client.log_batch(run.info.run_id, params=params)
        mlflow.log_text(to_yaml(config), "config.yaml")
        yield run


def _report(run_id: str, step: int, metrics: dict[str, float]) -> None:
    now = int(time.time() * 1000)
    mlflow.MlflowClient().log_batch(run_id, metrics=[Metric(name, value, now, step) for name, value in metrics.items()])


def _log_result(run_id: str, result: Result) -> None:
    """Logs the data, the final metrics, the table, the picture and the model."""
    for data in result.datasets:
        source = CodeDatasetSource({"source": data.source})
        # mlflow leaves `profile` abstract in a class that its users are to instantiate.
        dataset = MetaDataset(source, name=data.task, digest=data.fingerprint)  # type: ignore[abstract]
        mlflow.log_input(dataset, context="training")
    _report(run_id, 0, result.metrics)
    mlflow.set_tags({"mkd.student": result.student, "mkd.teacher": result.teacher, "mkd.teacher_key": result.teacher_key})
    mlflow.set_tags({f"mkd.hardware.{name}": value for name, value in result.hardware.items()})
    mlflow.log_text("\n".join(table.lines(result)) + "\n", "table.md")
    mlflow.log_dict({data.task: data._asdict() for data in result.datasets}, "data.json")
    if result.notes:
        mlflow.set_tag("mlflow.note.content", "\n".join(f"- {note}" for note in result.notes))  # the run's description in the UI
    if result.student:
        mlflow.log_figure(picture.draw(picture.info(result)), "quality_and_speed.png")
    _log_model(Path(result.folder), result)


def _where(run: Run) -> str:
    """Where to look at the run: a link into the server, or the command that shows a local store and the link then."""
    uri = mlflow.get_tracking_uri()
    path = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    return f"{uri}/{path}" if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri} then http://127.0.0.1:5000/{path}"


def _log_model(folder: Path, result: Result) -> None:
    """The model as a pyfunc from code: no pickle, and the project's own source travels with it."""
    outputs = Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "score")])
    inputs = Schema([ColSpec(DataType.string, "text"), ColSpec(DataType.string, "text_pair", required=False)])
    first = result.datasets[0].task
    mlflow.pyfunc.log_model(
        name="student",
        python_model=str(ROOT / "experiments" / "student_model.py"),
        artifacts={"student": str(folder)},
        code_paths=[str(ROOT / "mkd")],
        signature=ModelSignature(inputs, outputs, ParamSchema([ParamSpec("task", DataType.string, first)])),
        input_example=(pd.DataFrame({"text": ["a fine film"], "text_pair": ["a good film"]}), {"task": first}),
        pip_requirements=[f"{name}=={Version(importlib.metadata.version(name)).public}" for name in MODEL_PACKAGES],
    )
