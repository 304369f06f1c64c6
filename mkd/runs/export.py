"""A saved student taken home: a folder of it in each backend that passes its check on dev."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

from mkd.config import Config, DataConfig, DeliveryConfig
from mkd.evaluation.scoring import dev_logits, eager, quality
from mkd.evaluation.speed import hardware
from mkd.export.backends import TORCH, Trained, Wanted, offered
from mkd.export.folder import PROGRAM
from mkd.pipeline import prepare
from mkd.result import MODEL, Report, silent
from mkd.runs.finetune import student_at
from mkd.students import Student
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Task
from mkd.tokenization.tokenise import read_side
from mkd.tokenization.tokens import layout_of


class Delivered(NamedTuple):
    """What is in the folder. backends: those that are there, each in a folder of its name. metrics: as Result's."""

    folder: str
    backends: list[str]
    metrics: dict[str, float]
    notes: list[str]
    hardware: dict[str, str]


def run_export(config: Config, asked: DeliveryConfig, origin: Path, report: Report = silent) -> Delivered:
    """Exports the student that is asked for, whose folder is `origin`, to the folder asked.to, as a whole.

    It is checked, and scored, on the dev rows of those of config.data's tasks that it knows. Raises ValueError where there is no
    such student or task, where a task has other labels, where the folder is there already, and where no backend passes.
    """
    prepare(config)
    target = _target(asked)
    student, tokenizer = student_at(str(origin) if asked.student else "", "export.student")
    tasks = _known(config.data, student)
    side = read_side(config.stores, tasks, tokenizer, torch.device("cpu"), "student", report)
    layout = layout_of(tokenizer, student.joined, config.data.max_length)
    dev = dev_logits(eager(student), side.datas, layout)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as name:
        aside, whole = Path(name), Path(name) / "whole"
        wanted = Wanted(asked, config.speed, config.threads)
        found = offered(wanted, Trained(student, side, layout, dev), tasks, None, aside, report)
        whole.mkdir()
        backends = [backend for backend in found.passed if backend != TORCH]
        for backend in backends:
            (aside / backend).rename(whole / backend)
        if (aside / MODEL / PROGRAM).exists():
            (aside / MODEL).rename(whole / TORCH)
            backends.append(TORCH)
        if not backends:
            raise ValueError(f"export.student is {asked.student!r}: {'; '.join(found.notes)}")
        whole.rename(target)
    return Delivered(str(target), backends, quality(side.datas, dev) | found.metrics, found.notes, hardware())


def _target(asked: DeliveryConfig) -> Path:
    target = Path(asked.to).absolute()
    if not asked.to or target.exists():
        raise ValueError(f"export.to is {asked.to!r}; allowed: a folder that is not there yet")
    if not asked.backends and not asked.torch:
        raise ValueError("export.backends is []; allowed: at least one, or export.torch=true")
    return target


def _known(data: DataConfig, student: Student) -> list[Task]:
    """Those of the tasks that the student has a head for."""
    if data.max_length > student.config.max_tokens:
        most = student.config.max_tokens
        raise ValueError(f"data.max_length is {data.max_length}; allowed: at most {most}, as export.student was trained")
    heads, tasks = student.config.tasks, load_tasks(data)
    known = [task for task in tasks if task.name in heads]
    if not known:
        names = ", ".join(task.name for task in tasks)
        raise ValueError(f"data.tasks: {names}; allowed: at least one that export.student knows: {', '.join(sorted(heads))}")
    for task in known:
        head = heads[task.name]
        if list(task.kind.labels) != head["labels"] or task.kind.pair != head["pair"]:
            raise ValueError(
                f"data.tasks: {task.name} takes {1 + task.kind.pair} texts and has labels {list(task.kind.labels)}; "
                f"allowed: {1 + head['pair']}, and {head['labels']}, as export.student knows it"
            )
    return known
