"""The logged and printed outputs of a run, for each kind of run."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from analysis.presentation.table import markdown
from experiments.tracking import conclusions, deferral, picture, table
from mkd import names
from mkd.result import Dataset, Result
from mkd.runs.export import ExportedFolder
from mkd.runs.submission import Submission

EXPORT = "mkd export --export.student runs:/{run}/student --export.to FOLDER"
NEXT_STUDENT = (
    (EXPORT, "writes the student to a folder, which `mkd predict FOLDER` reads"),
    ("mkd report --experiment {experiment} --to report", "draws it beside other runs"),
)
"""Suggested commands after a training."""
NOTE = "note: "
"""Start of a line of the table that is a note."""
LONGEST_DESCRIPTION = 8000
"""Maximum number of characters of a description in MLflow."""


@dataclass(frozen=True)
class Outputs:
    """The logged and printed outputs of a run.

    metrics: the final metrics.
    metric_series: metrics by step, counted from 1, by their name.
    conclusion: the conclusion in one sentence.
    table: lines in Markdown, printed first. A line that starts with NOTE is a note.
    table_file: the artifact that contains the table. Empty: the table is only printed.
    location: printed below the table: the folder that the run has written. Empty: none.
    trials_of: name of a search: the printed link shows its trials. Empty: it shows this run.
    next: suggested commands, each with a description; `{run}` stands for the run's id and
        `{experiment}` for the name of its experiment.
    summary: the result as JSON values, without the run's id.
    tags: added to the tags of the run.
    datasets: the data of each task.
    frames: columns of tables by file name, which ends in .parquet or .csv.
    texts, jsons, figures: artifacts by file name.
    files: files that become artifacts. `summary` gets their URIs under these names.
    error: why the run ends as FAILED after all this was logged. Empty: it ends as FINISHED.
    """

    metrics: Mapping[str, float]
    conclusion: str
    table: list[str]
    summary: Mapping[str, Any]
    metric_series: Mapping[str, list[float]] = field(default_factory=dict)
    table_file: str = "table.md"
    location: str = ""
    trials_of: str = ""
    next: Sequence[tuple[str, str]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[Dataset] = ()
    frames: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    jsons: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    error: str = ""

    def description(self) -> str:
        """Returns conclusion, table and notes as Markdown, for the run's page."""
        table = [line for line in self.table if not line.startswith(NOTE)]
        notes = [f"- {line.removeprefix(NOTE)}" for line in self.table if line.startswith(NOTE)]
        text = "\n".join([self.conclusion, "", *table, "", *notes]).strip() + "\n"
        if len(text) <= LONGEST_DESCRIPTION:
            return text
        end = f"\n\nThe rest is in `{self.table_file}`.\n"
        return text[: LONGEST_DESCRIPTION - len(end)].rpartition("\n")[0] + end


def of_trial(result: Result) -> Outputs:
    """Returns the outputs of a trial: those of a training without its pictures."""
    teacher = {names.TAG_TEACHER: result.teacher, names.TAG_TEACHER_KEY: result.teacher_key}
    metrics = conclusions.headline(result.metrics) | result.metrics
    return Outputs(
        metrics,
        conclusions.of_training(result),
        table.result_table(result),
        {"metrics": metrics},
        tags={names.TAG_STUDENT: result.student} | teacher | _hardware(result.hardware),
        next=NEXT_STUDENT if result.student else (),
        datasets=result.datasets,
        frames={
            name: columns
            for name, columns in (
                (names.PREDICTIONS_FILE, result.predictions),
                (names.DEFERRAL_FILE, result.deferral),
            )
            if columns
        },
        jsons={"data.json": {data.task: data._asdict() for data in result.datasets}},
    )


def of_training(result: Result) -> Outputs:
    """Returns the outputs of a distillation, a fine-tuning, a promotion or a teacher."""
    figures, texts = {}, {}
    # A teacher's run, and a run without timings, has no such picture.
    if result.student and any(name.startswith(names.SPEED) for name in result.metrics):
        figures["quality_and_speed.png"] = picture.draw(picture.picture_data(result))
    if result.deferral:
        figures["deferral.png"] = deferral.draw(
            deferral.picture_data(result.deferral, result.metrics)
        )
        texts["deferral.md"] = "\n".join(deferral.deferral_table(result.deferral)) + "\n"
    return replace(of_trial(result), figures=figures, texts=texts)


def of_submission(submission: Submission) -> Outputs:
    """Returns the outputs of a submission: its zip file and the contents of it."""
    contents = table.submission_info(submission)
    return Outputs(
        {},
        conclusions.of_submission(submission),
        table.submission_table(submission),
        contents,
        jsons={"submission.json": contents},
        files={"zip": submission.zip},
    )


def of_export(export: ExportedFolder) -> Outputs:
    """Returns the outputs of an export. The exported files stay in their folder."""
    return Outputs(
        export.metrics,
        conclusions.of_export(export),
        table.export_table(export),
        {"folder": export.folder, "backends": export.backends, "metrics": export.metrics},
        location=export.folder,
        next=[
            (f"mkd predict {shlex.quote(export.folder)} --input FILE", "labels the rows of a file")
        ],
        tags=_hardware(export.hardware),
    )


def of_labels(metrics: dict[str, float], output: str) -> Outputs:
    """Returns the outputs of the labelling of a corpus. `output` is the path that was written."""
    rows = [["", ""], *([key, f"{value:,.1f}"] for key, value in metrics.items())]
    return Outputs(
        metrics,
        conclusions.of_labels(metrics),
        markdown(rows),
        {"output": output, "metrics": metrics},
        table_file="",
        location=output,
    )


def _hardware(hardware: dict[str, str]) -> dict[str, str]:
    """Returns the tags that describe the machine."""
    return {names.tag_hardware(what): value for what, value in hardware.items()}
