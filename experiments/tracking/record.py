"""Runs the core inside an MLflow run, and logs its metrics, tables and model."""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import mlflow
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Run

from experiments.settings import Distill, Export, Finetune, Label, Submit, Teacher
from experiments.tracking import picture, progress, table
from experiments.tracking.models import log_model
from experiments.tracking.run import folder_of, log_metrics, opened, reporter, tasks_of, where
from mkd import names, processes
from mkd.result import Report, Result, no_report
from mkd.runs.export import ExportedFolder
from mkd.runs.submission import Submission

Core = Callable[[Path, Report], Result]
"""The work of a run: `core(folder, report)`. It writes its model into the folder."""


class Recorded(NamedTuple):
    """The id and the final metrics of a run that finished."""

    run_id: str
    metrics: dict[str, float]


def record(
    config: Distill | Teacher | Finetune, kind: str, name: str, core: Core, parent: str = "",
    tags: Mapping[str, str] = MappingProxyType({}),
) -> Recorded:  # fmt: skip
    """Runs the core as one MLflow run, and prints a table, a link and a line of JSON at the end.

    Progress bars show the phases of the core while it works. The run's status is FINISHED, or
    FAILED if the core raises. A run that was killed is resumed under the same run id. With several
    processes, the first one does all logging, and the others return an empty run id.

    kind: the tag `mkd.kind`.
    parent: the id of the run whose model this run starts from.
    tags: added to the usual tags.
    """
    if not processes.is_first():
        return Recorded("", core(folder_of(config, kind), no_report).metrics)
    with opened(
        config, name, {names.TAG_KIND: kind, names.TAG_TASKS: tasks_of(config.data), **tags}
    ) as (run, folder):
        if parent:
            _link(run, parent)
        with progress.bars(reporter(run)) as report:
            result = core(folder, report)
        log_result(run.info.run_id, result)
        # A teacher's run, and a run without timings, has no picture.
        if result.student and any(name.startswith(names.SPEED) for name in result.metrics):
            mlflow.log_figure(picture.draw(picture.info(result)), "quality_and_speed.png")
        log_model(config, result, run.info.run_id)
        print("\n".join(table.lines(result)))
        print(f"\nlook at it: {where(run)}")
        print(json.dumps({"run_id": run.info.run_id, "metrics": result.metrics}))
        return Recorded(run.info.run_id, result.metrics)


def record_submission(
    config: Submit, name: str, core: Callable[[Path, Report], Submission], parent: str = ""
) -> None:
    """Runs the core as one MLflow run of kind `submit`, and logs the zip file and its contents.

    parent: the id of the run whose student predicts.
    Raises ValueError with more than one process.
    """
    if processes.count() > 1:
        raise ValueError(f"there are {processes.count()} processes; allowed for a submission: one")
    tags = {names.TAG_KIND: names.KIND_SUBMIT, names.TAG_TASKS: tasks_of(config.data)}
    with opened(config, name, tags) as (run, folder):
        if parent:
            _link(run, parent)
        with progress.bars(reporter(run)) as report:
            made = core(folder, report)
        lines = table.submission_lines(made)
        mlflow.log_artifact(str(made.zip))
        mlflow.log_text("\n".join(lines) + "\n", "table.md")
        mlflow.log_dict(table.submission_info(made), "submission.json")
        if made.notes:
            mlflow.set_tag("mlflow.note.content", "\n".join(f"- {note}" for note in made.notes))
        print("\n".join(lines))
        print(f"\nlook at it: {where(run)}")
        zipped = mlflow.get_artifact_uri(made.zip.name)
        print(json.dumps({"run_id": run.info.run_id, "zip": zipped} | table.submission_info(made)))


def record_export(
    config: Export, name: str, core: Callable[[Report], ExportedFolder], parent: str = ""
) -> None:
    """Runs the core as one MLflow run of kind `export`.

    No model is logged: the exported files are in the folder export.to.
    parent: the id of the run whose student is exported.
    Raises ValueError with more than one process.
    """
    if processes.count() > 1:
        raise ValueError(f"there are {processes.count()} processes; allowed for an export: one")
    output = str(Path(config.export.to).resolve())
    tags = {
        names.TAG_KIND: names.KIND_EXPORT,
        names.TAG_TASKS: tasks_of(config.data),
        names.TAG_OUTPUT: output,
    }
    with opened(config, name, tags) as (run, _):
        if parent:
            _link(run, parent)
        with progress.bars(reporter(run)) as report:
            made = core(report)
        lines = table.export_lines(made)
        log_metrics(run.info.run_id, 0, made.metrics)
        _tag_hardware(made.hardware)
        mlflow.log_text("\n".join(lines) + "\n", "table.md")
        if made.notes:
            mlflow.set_tag("mlflow.note.content", "\n".join(f"- {note}" for note in made.notes))
        print("\n".join(lines))
        print(f"\n{made.folder}\nlook at it: {where(run)}")
        found = {"folder": made.folder, "backends": made.backends, "metrics": made.metrics}
        print(json.dumps({"run_id": run.info.run_id} | found))


def labelled(config: Label, name: str, parent: str, core: Callable[[], dict[str, float]]) -> None:
    """Runs the core as one MLflow run of kind `label`, without a model.

    The core writes label.output and returns its metrics.
    parent: the id of the run whose model labels the corpus. The run's status is FINISHED, or FAILED
        if the core raises.
    """
    output = str(Path(config.label.output).resolve())
    tags = {
        names.TAG_KIND: names.KIND_LABEL,
        names.TAG_TASKS: config.label.task,
        names.TAG_OUTPUT: output,
    }
    with opened(config, name, tags) as (run, _):
        _link(run, parent)
        metrics = core()
        log_metrics(run.info.run_id, 0, metrics)
        print("\n".join(f"{key:20} {value:12,.1f}" for key, value in metrics.items()))
        print(f"\n{output}\nlook at it: {where(run)}")
        print(json.dumps({"run_id": run.info.run_id, "output": output, "metrics": metrics}))


def _link(run: Run, parent: str) -> None:
    """Tags the run with its parent, and nests it in the UI if both are in one experiment."""
    tags = {names.TAG_PARENT: parent}
    if mlflow.get_run(parent).info.experiment_id == run.info.experiment_id:
        tags["mlflow.parentRunId"] = parent
    mlflow.set_tags(tags)


def log_result(run_id: str, result: Result) -> None:
    """Logs datasets, final metrics, table and predictions on dev to the open run."""
    # MLflow records only the source and fingerprint of each task's data, not the rows themselves.
    sources = [CodeDatasetSource({"source": data.source}) for data in result.datasets]
    # MLflow leaves `profile` abstract in MetaDataset, although users are expected to instantiate
    # it.
    made: list[Dataset | None] = [
        MetaDataset(source, name=data.task, digest=data.fingerprint)  # type: ignore[abstract]
        for source, data in zip(sources, result.datasets, strict=True)
    ]
    mlflow.log_inputs(made, ["training"] * len(made), [{}] * len(made))
    log_metrics(run_id, 0, result.metrics)
    teacher = {names.TAG_TEACHER: result.teacher, names.TAG_TEACHER_KEY: result.teacher_key}
    mlflow.set_tags({names.TAG_STUDENT: result.student} | teacher)
    _tag_hardware(result.hardware)
    mlflow.log_text("\n".join(table.lines(result)) + "\n", "table.md")
    mlflow.log_dict({data.task: data._asdict() for data in result.datasets}, "data.json")
    if result.predictions:
        _log_table(pd.DataFrame(dict(result.predictions)), "predictions.parquet")
    if result.notes:
        mlflow.set_tag(
            "mlflow.note.content", "\n".join(f"- {note}" for note in result.notes)
        )  # the run's description in the UI


def _tag_hardware(hardware: dict[str, str]) -> None:
    """Tags the open run with the machine's hardware."""
    mlflow.set_tags({names.tag_hardware(what): value for what, value in hardware.items()})


def _log_table(found: pd.DataFrame, name: str) -> None:
    """Logs a data frame as a Parquet file of the open run."""
    with tempfile.TemporaryDirectory() as aside:
        found.to_parquet(Path(aside) / name, index=False)
        mlflow.log_artifact(str(Path(aside) / name))
