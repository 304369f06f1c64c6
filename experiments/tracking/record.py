"""Runs the core inside an MLflow run, and logs and prints its outputs: one flow for every kind."""

import shlex
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote, urlparse

import mlflow
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Run

from analysis.presentation.printing import set_result
from experiments.settings import DistillSettings, FinetuneSettings, TeacherSettings
from experiments.tracking.models import check_registry, log_model
from experiments.tracking.outbox import Outbox
from experiments.tracking.outputs import NOTE, Outputs, of_training
from experiments.tracking.run import (
    NO_TAGS,
    OpenRun,
    Tags,
    folder_of,
    log_metrics,
    open_run,
    tasks_tag,
)
from experiments.tracking.store import link_to, start_of_ui, time_to_upload, with_retries
from experiments.tracking.views import STUDENTS, show_trials
from mkd import names, processes, progress
from mkd.result import Report, Result, no_report
from mkd.tasks.task import Task

RESULT_FILE = "result.json"
"""Artifact of a run: its result as JSON, with all final metrics."""

T = TypeVar("T")
Training = Callable[[Path, Report], Result]
"""`training(folder, report)` trains a model, writes it to the folder, and evaluates it."""


class FinishedRun(NamedTuple, Generic[T]):
    """A run that finished: its id, its final metrics, and what its work returned.

    made: such as a Result. The folders that a Result names are gone: the model is in MLflow, at
        `runs:/RUN_ID/student`.
    """

    run_id: str
    metrics: dict[str, float]
    made: T


def before_run(prepare: Callable[[Report], T]) -> T:
    """Returns the result of `prepare`, which loads and checks before a run is opened. Its progress
    is shown.

    A command that is refused here leaves no run in MLflow.
    """
    if not processes.is_first():
        return prepare(no_report)
    with progress.phase_bars(no_report) as report:
        return prepare(report)


def record(
    opening: AbstractContextManager[OpenRun],
    core: Callable[[OpenRun, Report], T],
    outputs_of: Callable[[T], Outputs],
    *,
    source: str = "",
    log_more: Callable[[Run, T], str] = lambda run, result: "",
    nested_report: Report | None = None,
    printed: Collection[str] = (),
) -> FinishedRun[T]:
    """Runs the core as one MLflow run. At the end prints a table, a conclusion and a link.

    The run ends as FINISHED, or as FAILED after an exception. If the tracking store is unreachable,
    the core goes on; the end waits for it (`with_retries`).

    opening: opens the run and yields it, as `open_run` does.
    core: does the work. It receives the run, and a Report that logs to the run and shows the
        progress of each phase as a bar.
    outputs_of: converts the result of the core to what is logged.
    source: the id of the run whose model this run starts from. Empty: none.
    log_more: logs a model, and returns its id, which the scores are linked to. Empty: no model.
    nested_report: for a run inside another one: receives the progress, and nothing is printed.
    printed: notes that were printed before, and are not printed again.
    Raises ValueError with the text of Outputs.error, after everything was logged.
    """
    shown = progress.shown_while if nested_report is None else _not_shown
    with ExitStack() as stack:
        with shown("opening a run in MLflow"):
            run = stack.enter_context(opening)
        if source:
            with_retries(partial(_link, run.entity, source))
        outbox = Outbox(run.entity, run.folder)
        if nested_report is None:
            with progress.phase_bars(outbox.report) as report:
                result = core(run, report)
        else:
            result = core(run, progress.split_progress(nested_report, outbox.report))
        model_id = ""
        with shown("writing the run to MLflow"):
            outputs = outputs_of(result)
            outbox.flush()
            with time_to_upload():
                try:
                    model_id = with_retries(partial(log_more, run.entity, result))
                finally:  # the numbers are kept if the model cannot be logged
                    now = int(time.time() * 1000)
                    with_retries(partial(log_outputs, run.id, outputs, now, model_id))
        if nested_report is None:
            print_outputs(run.entity, outputs, printed)
        if outputs.error:
            raise ValueError(outputs.error)
        return FinishedRun(run.id, dict(outputs.metrics), result)


def _not_shown(what: str) -> AbstractContextManager[None]:
    return nullcontext()


def record_training(
    config: DistillSettings | TeacherSettings | FinetuneSettings,
    kind: str,
    name: str,
    training: Training,
    tasks: list[Task],
    source: str = "",
    tags: Tags = NO_TAGS,
) -> FinishedRun[Result]:
    """Records a training with its model. A run that was killed is resumed under the same id.

    With several processes, the first one does all logging, and the others return an empty run id.

    tasks: those that `before_run` has loaded, whose notes are printed.
    source: the id of the run whose model this run starts from. Empty: none.
    """
    if not processes.is_first():
        result = training(folder_of(config, kind), no_report)
        return FinishedRun("", result.metrics, result)
    printed = print_notes(tasks)
    if config.registry.name:
        check_registry()
    return record(
        open_run(config, kind, name, tasks_tag(config.data), tags),
        lambda run, report: training(run.folder, report),
        of_training,
        source=source,
        log_more=partial(log_model, config),
        printed=printed,
    )


def print_notes(tasks: list[Task]) -> list[str]:
    """Prints the inferred columns, labels and dev rows.

    Returns the printed notes.
    """
    notes = [f"{task.name}: {note}" for task in tasks for note in task.notes]
    for note in notes:
        print(note, flush=True)
    return notes


def check_one_process(what: str) -> None:
    """Raises ValueError with more than one process. `what` names the work in the message."""
    if processes.count() > 1:
        raise ValueError(f"there are {processes.count()} processes; allowed for {what}: one")


def _link(run: Run, source: str) -> None:
    """Tags the run with its source, and nests it in the UI if both are in one experiment."""
    tags = {names.TAG_PARENT: source}
    if mlflow.get_run(source).info.experiment_id == run.info.experiment_id:
        tags["mlflow.parentRunId"] = source
    mlflow.set_tags(tags)


def log_outputs(run_id: str, outputs: Outputs, time_ms: int, model_id: str = "") -> None:
    """Logs the outputs to the open run. A repeated call leads to the same.

    time_ms: the time of the metrics, in milliseconds since the epoch.
    model_id: of the run's logged model. Its scores are linked to it and to their data sets, so that
        `mlflow.search_logged_models` finds the best model of a data set.
    """
    _log_datasets(outputs)
    log_metrics(run_id, 0, outputs.metrics, time_ms, model_id, outputs.datasets)
    for name, values in outputs.metric_series.items():
        for step, value in enumerate(values, 1):
            log_metrics(run_id, step, {name: value}, time_ms)
    mlflow.set_tags(dict(outputs.tags))
    if outputs.table_file:
        mlflow.log_text("\n".join(outputs.table) + "\n", outputs.table_file)
    for name, content in outputs.jsons.items():
        mlflow.log_dict(content, name)
    for name, figure in outputs.figures.items():
        mlflow.log_figure(figure, name)
    for file in outputs.files.values():
        mlflow.log_artifact(str(file))
    for name, text in outputs.texts.items():
        mlflow.log_text(text, name)
    for name, columns in outputs.frames.items():
        _log_frame(pd.DataFrame(dict(columns)), name)
    mlflow.set_tag("mlflow.note.content", outputs.description())


def print_outputs(run: Run, outputs: Outputs, printed: Collection[str] = ()) -> None:
    """Prints the table, a conclusion, a link and suggested commands; logs the result as JSON, and
    passes it to `set_result`.

    printed: notes that were printed before.
    """
    uris = {name: mlflow.get_artifact_uri(file.name) for name, file in outputs.files.items()}
    experiment = mlflow.get_experiment(run.info.experiment_id)
    view = show_trials(experiment, outputs.trials_of) if outputs.trials_of else ""
    link = link_to(run, view)
    result = {"run_id": run.info.run_id, "link": link} | uris | dict(outputs.summary)
    mlflow.log_dict(result, RESULT_FILE)
    command = f" ({start})" if (start := start_of_ui()) else ""
    all_runs = "" if view else f"\nbeside other runs:\n{link_to(run, STUDENTS)}"
    print("\n".join(line for line in outputs.table if line.removeprefix(NOTE) not in printed))
    print(f"\n{outputs.conclusion}\n")
    if outputs.location:
        print(f"written to {outputs.location}")
    for name in outputs.figures:
        if (uri := mlflow.get_artifact_uri(name)).startswith(("/", "file:")):
            print(f"picture: {unquote(urlparse(uri).path)}")
    print(f"{'its trials' if view else 'the run'} in MLflow{command}:\n{link}{all_runs}")
    if outputs.next:
        print("next:")
    for line, does in outputs.next:
        name = shlex.quote(experiment.name)
        # Not by `format`: names of studies and folders may have braces, too.
        filled = line.replace("{run}", run.info.run_id).replace("{experiment}", name)
        print(f"  {filled}\n      {does}")
    set_result(result)


def _log_datasets(outputs: Outputs) -> None:
    """Logs the source and the fingerprint of each task's data, not the rows themselves."""
    if not outputs.datasets:
        return
    # MLflow leaves `profile` abstract in MetaDataset, although users are expected to instantiate
    # it.
    datasets: list[Dataset | None] = [
        MetaDataset(  # type: ignore[abstract]
            CodeDatasetSource({"source": data.source}), name=data.task, digest=data.fingerprint
        )
        for data in outputs.datasets
    ]
    mlflow.log_inputs(datasets, ["training"] * len(datasets), [{}] * len(datasets))


def _log_frame(frame: pd.DataFrame, name: str) -> None:
    """Logs a data frame as a file of the open run, in the format of its ending."""
    with tempfile.TemporaryDirectory() as aside:
        write = frame.to_csv if name.endswith(".csv") else frame.to_parquet
        write(Path(aside) / name, index=False)
        mlflow.log_artifact(str(Path(aside) / name))
