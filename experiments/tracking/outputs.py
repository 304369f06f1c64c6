"""What a run logs and prints at its end, for each kind of run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.tracking import picture, table
from mkd import names
from mkd.result import Dataset, Result
from mkd.runs.export import ExportedFolder
from mkd.runs.submission import Submission


@dataclass(frozen=True)
class Outputs:
    """What a run logs and prints at its end.

    metrics: the final metrics.
    metric_series: metrics by step, counted from 1, by their name.
    table: lines in Markdown, printed first.
    table_file: the artifact that contains the table. Empty: the table is only printed.
    location: printed below the table: the folder that the run has written. Empty: none.
    query: selects the runs that the printed link shows. Empty: the link shows this run.
    summary: the last line of the output, as JSON, after the run's id.
    description: the description of the run in MLflow's UI. Empty: none.
    tags: added to the tags of the run.
    datasets: the data of each task.
    predictions: columns of predictions.parquet. Empty: no file.
    jsons, figures: artifacts by file name.
    files: files that become artifacts. `summary` gets their URIs under these names.
    error: why the run ends as FAILED after all this was logged. Empty: it ends as FINISHED.
    """

    metrics: Mapping[str, float]
    table: list[str]
    summary: Mapping[str, Any]
    metric_series: Mapping[str, list[float]] = field(default_factory=dict)
    table_file: str = "table.md"
    location: str = ""
    query: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[Dataset] = ()
    predictions: Mapping[str, Any] = field(default_factory=dict)
    jsons: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    error: str = ""


def of_trial(result: Result) -> Outputs:
    """Returns the outputs of a trial: those of a training without its picture."""
    teacher = {names.TAG_TEACHER: result.teacher, names.TAG_TEACHER_KEY: result.teacher_key}
    return Outputs(
        result.metrics,
        table.result_table(result),
        {"metrics": result.metrics},
        description=_bullets(result.notes),
        tags={names.TAG_STUDENT: result.student} | teacher | _hardware(result.hardware),
        datasets=result.datasets,
        predictions=dict(result.predictions),
        jsons={"data.json": {data.task: data._asdict() for data in result.datasets}},
    )


def of_training(result: Result) -> Outputs:
    """Returns the outputs of a distillation, a fine-tuning, a promotion or a teacher."""
    outputs = of_trial(result)
    # A teacher's run, and a run without timings, has no picture.
    if not result.student or not any(name.startswith(names.SPEED) for name in result.metrics):
        return outputs
    return replace(outputs, figures={"quality_and_speed.png": picture.draw(picture.info(result))})


def of_submission(submission: Submission) -> Outputs:
    """Returns the outputs of a submission: its zip file and the contents of it."""
    info = table.submission_info(submission)
    return Outputs(
        {},
        table.submission_table(submission),
        info,
        description=_bullets(submission.notes),
        jsons={"submission.json": info},
        files={"zip": submission.zip},
    )


def of_export(export: ExportedFolder) -> Outputs:
    """Returns the outputs of an export. The exported files stay in their folder."""
    return Outputs(
        export.metrics,
        table.export_table(export),
        {"folder": export.folder, "backends": export.backends, "metrics": export.metrics},
        location=export.folder,
        description=_bullets(export.notes),
        tags=_hardware(export.hardware),
    )


def of_labels(metrics: dict[str, float], output: str) -> Outputs:
    """Returns the outputs of the labelling of a corpus. `output` is the path that was written."""
    return Outputs(
        metrics,
        [f"{key:20} {value:12,.1f}" for key, value in metrics.items()],
        {"output": output, "metrics": metrics},
        table_file="",
        location=output,
    )


def _hardware(hardware: dict[str, str]) -> dict[str, str]:
    """Returns the tags that describe the machine."""
    return {names.tag_hardware(what): value for what, value in hardware.items()}


def _bullets(notes: Sequence[str]) -> str:
    """Returns the notes as a Markdown list."""
    return "\n".join(f"- {note}" for note in notes)
