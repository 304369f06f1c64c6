"""Export of a saved student: a folder with each backend that passes its check on dev."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from mkd.config import Config, ExportFolderConfig, HubConfig
from mkd.evaluation.answers import answers_of
from mkd.evaluation.scoring import dev_logits, quality_metrics, torch_infer
from mkd.evaluation.speed import hardware
from mkd.export.backends import TORCH, ExportRequest, TrainedStudent, export_student
from mkd.export.folder import PROGRAM
from mkd.export.hub import add_backend, describe_exported
from mkd.pipeline import set_up_device, tasks_with_dev
from mkd.result import MODEL, Report, no_report, phase_report
from mkd.runs.finetune import load_student
from mkd.storage.disk import check_output
from mkd.storage.owners import aside_folder
from mkd.storage.written import earlier_output, put_in_place
from mkd.students import Student
from mkd.tasks.task import Task
from mkd.tokenization.tokenise import tokenise_tasks
from mkd.tokenization.tokens import ModelData, layout_of


class ExportedFolder(NamedTuple):
    """An exported folder.

    - `backends`: the backends that it contains
    - `metrics`: named as in Result
    """

    folder: str
    backends: list[str]
    metrics: dict[str, float]
    notes: list[str]
    hardware: dict[str, str]


class ExportData(NamedTuple):
    """What an export needs, loaded and checked: the folder to create, and the student's data."""

    config: Config
    target: Path
    student: Student
    tasks: list[Task]
    student_data: ModelData


def prepare_export(
    config: Config, export: ExportFolderConfig, origin: Path, report: Report = no_report
) -> ExportData:
    """Loads and checks everything that `run_export` needs.

    Raises ValueError if there is no such student or task, if a task's labels differ, or if the
    folder exists or cannot be created.
    """
    set_up_device(config)
    target = _target(export)
    student, tokenizer = load_student(str(origin) if export.student else "", "export.student")
    # Inputs are no longer than those that the student reads.
    most = min(config.data.max_length, student.config.max_tokens)
    config = replace(
        config,
        data=replace(config.data, max_length=most),
        speed=replace(config.speed, length=min(config.timing.length, most)),
    )
    tasks = _known_tasks(tasks_with_dev(config.stores), student)
    student_data = tokenise_tasks(
        config.stores, tasks, tokenizer, torch.device("cpu"), "student", report
    )
    return ExportData(config, target, student, tasks, student_data)


def run_export(
    prepared: ExportData,
    export: ExportFolderConfig,
    report: Report = no_report,
    hub: HubConfig | None = None,
    folder: Path | None = None,
) -> ExportedFolder:
    """Exports a student to the folder export.to.

    The student is checked and scored on the dev rows of those tasks of config.data that it has a
    head for. The folder has the layout of the Hugging Face hub: ONNX graphs in `onnx`, tables in a
    folder of their backend's name, and beside them a model card, which says what `hub` states, the
    config and the tokenizer. It appears as a whole or not at all. `folder` is the run's folder, by
    which `exported_earlier` recognises the export of a killed run; None: there is no run.

    Raises ValueError if no backend passes its check.
    """
    config, target, student, tasks, student_data = prepared
    tokenizer = student_data.tokenizer
    layout = layout_of(tokenizer, student.joined, config.data.max_length)
    scored = phase_report(report, "", "logits of dev")
    dev = dev_logits(torch_infer(student), student_data.datas, layout, scored)
    answers = answers_of(student, dev)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Next to the target, so that the rename stays on one file system and is atomic.
    with aside_folder(target.parent, f".{target.name}") as temporary:
        whole = temporary / "whole"
        request = ExportRequest(export, config.timing, config.threads)
        exports = export_student(
            request,
            TrainedStudent(student, student_data, layout, dev),
            tasks,
            None,
            temporary,
            report,
        )
        whole.mkdir()
        backends = [backend for backend in exports.passed if backend != TORCH]
        for backend in backends:
            add_backend(temporary / backend, backend, whole)
        # `export_student` removes the program if it fails its check.
        if (temporary / MODEL / PROGRAM).exists():
            (temporary / MODEL).rename(whole / TORCH)
            backends.append(TORCH)
        if loaded := [backend for backend in backends if backend != TORCH]:
            metrics = quality_metrics(student_data.datas, *answers) | exports.metrics
            describe_exported(student, tokenizer, hub or HubConfig(), loaded, metrics, whole)
        if not backends:
            raise ValueError(f"export.student is {export.student!r}: {'; '.join(exports.notes)}")
        exported = ExportedFolder(
            str(target),
            backends,
            quality_metrics(student_data.datas, *answers) | exports.metrics,
            exports.notes,
            hardware(),
        )
        if folder is None:
            whole.rename(target)
        else:
            put_in_place(whole, target, folder, exported._asdict())
    return exported


def exported_earlier(export: ExportFolderConfig, folder: Path) -> ExportedFolder | None:
    """Returns the export that the run wrote before it was killed, or None if there is none.

    folder: the run's folder.
    """
    summary = earlier_output(Path(export.to).absolute(), folder)
    return None if summary is None else ExportedFolder(**summary)


def _target(export: ExportFolderConfig) -> Path:
    """Returns the absolute path of the folder. Raises ValueError if it exists or would be empty."""
    target = Path(export.to).absolute()
    if not export.to or target.exists():
        raise ValueError(f"export.to is {export.to!r}; allowed: a folder that does not exist yet")
    if not export.backends and not export.torch:
        raise ValueError("export.backends is []; allowed: at least one, or export.torch=true")
    check_output(target, "export.to")
    return target


def _known_tasks(tasks: list[Task], student: Student) -> list[Task]:
    """Returns those tasks that the student has a head for.

    Raises ValueError if there are none, or if a task's texts or labels differ from the head's.
    """
    heads = student.config.tasks
    known = [task for task in tasks if task.name in heads]
    if not known:
        names = ", ".join(task.name for task in tasks)
        raise ValueError(
            f"data.tasks: {names}; allowed: at least one that export.student knows: "
            f"{', '.join(sorted(heads))}"
        )
    for task in known:
        head = heads[task.name]
        if task.kind.multilabel != head.get("multilabel", False):
            raise ValueError(
                f"data.tasks: the rows of {task.name} have "
                f"{'any number of labels' if task.kind.multilabel else 'one label'}; allowed: "
                "the kind of task that export.student knows by this name"
            )
        if list(task.kind.labels) != head["labels"] or task.kind.pair != head["pair"]:
            raise ValueError(
                f"data.tasks: {task.name} takes {1 + task.kind.pair} texts and has labels "
                f"{list(task.kind.labels)}; "
                f"allowed: {1 + head['pair']}, and {head['labels']}, as in export.student"
            )
    return known
