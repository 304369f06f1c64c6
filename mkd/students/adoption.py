"""A trained student that goes on to other tasks, or to other rows of its own: its shared layers and the heads it has for them.

Axes: D width of the representation, C classes (1 for regression).
"""

import copy
from typing import Any

import torch

from mkd.students import Student
from mkd.students.heads import head_configs
from mkd.tokenization.tokens import TaskData


def adopted(student: Student, datas: list[TaskData]) -> Student:
    """The student with a head for each of these tasks and no other.

    It keeps its head of a task that it knows, set to the scale that the new rows' scores have; a task that is new to it
    gets a random one. Heads of other tasks are left out: the shared layers are about to move away from them.
    Raises ValueError where a task that it knows has other labels now, or another number of texts.
    """
    before = student.config.tasks
    config = copy.deepcopy(student.config)
    config.tasks = head_configs(datas)
    for name in known_tasks(student, datas):
        _check_same(name, before[name], config.tasks[name])
    model = type(student)(config)  # type: ignore[arg-type]
    shared = {name: value for name, value in student.state_dict().items() if not name.startswith("heads.")}
    model.load_state_dict(model.state_dict() | shared)
    for name in known_tasks(student, datas):
        old = student.heads.linears[student.heads.names.index(name)].state_dict()
        new = model.heads.linears[model.heads.names.index(name)]
        weight_CD, bias_C = rescaled(old["weight"], old["bias"], before[name], config.tasks[name])
        new.load_state_dict({"weight": weight_CD, "bias": bias_C})
    return model


def anew(student: Student, datas: list[TaskData]) -> Student:
    """A student of the same kind and size with random weights, and a head for each of these tasks.

    A trimmed table has rows for the same tokens.
    """
    config = copy.deepcopy(student.config)
    config.tasks = head_configs(datas)
    model = type(student)(config)  # type: ignore[arg-type]
    learnt = {name for name, _ in student.named_parameters()}
    model.load_state_dict(model.state_dict() | {n: value for n, value in student.state_dict().items() if n not in learnt})
    return model


def known_tasks(student: Student, datas: list[TaskData]) -> list[str]:
    """Those of the tasks that the student has a head for."""
    return [data.name for data in datas if data.name in student.config.tasks]


def rescaled(
    weight_CD: torch.Tensor, bias_C: torch.Tensor, before: dict[str, Any], after: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """A head that gives the same scores on another scale: z' std' + mean' = z std + mean. Of classes it is the same."""
    ratio = before["std"] / after["std"]
    return weight_CD * ratio, bias_C * ratio + (before["mean"] - after["mean"]) / after["std"]


def _check_same(name: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    for what in ("labels", "pair"):
        if before[what] != after[what]:
            raise ValueError(
                f"data.tasks: {name} has {what} {after[what]}; allowed: {before[what]}, as finetune.student knows it, "
                "or another name for the task, which gives it a new head"
            )
