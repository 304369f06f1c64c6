"""Reuse of a trained student for other tasks, or for other rows of its own tasks.

Axes: D width of the representation, C classes (1 for regression).
"""

import copy
from typing import Any

import torch

from mkd.students import Student
from mkd.students.heads import head_configs
from mkd.students.words import WordModel
from mkd.tokenization.tokens import TaskData


def with_heads(student: Student, datas: list[TaskData]) -> Student:
    """Returns a copy of the student with heads for exactly these tasks.

    It keeps the shared layers. A known task keeps its head and its wide part, rescaled to the new
    rows' scores. A new task gets a head with random weights. Heads of other tasks are removed,
    because further training changes the shared layers without them.

    Raises ValueError if a known task has other labels than before, or another number of texts.
    """
    before = student.config.tasks
    config = copy.deepcopy(student.config)
    config.tasks = head_configs(datas)
    for name in known_tasks(student, datas):
        _check_same(name, before[name], config.tasks[name])
    model = type(student)(config)  # type: ignore[arg-type]
    model.heads.start_at_frequencies(datas)
    shared = {
        name: value
        for name, value in student.state_dict().items()
        if not name.startswith(("heads.", "wide."))
    }
    model.load_state_dict(model.state_dict() | shared)
    for name in known_tasks(student, datas):
        old = student.heads.linears[student.heads.names.index(name)].state_dict()
        new = model.heads.linears[model.heads.names.index(name)]
        weight_CD, bias_C = rescaled(old["weight"], old["bias"], before[name], config.tasks[name])
        new.load_state_dict({"weight": weight_CD, "bias": bias_C})
        if isinstance(student, WordModel) and name in student.wide.names:
            assert isinstance(model, WordModel), "it is of the student's type"
            ratio = before[name]["std"] / config.tasks[name]["std"]
            model.wide.table(name).weight.data.copy_(student.wide.table(name).weight.data * ratio)
    return model


def reinitialised(student: Student, datas: list[TaskData]) -> Student:
    """Returns a student of the same kind and size with random weights and heads for these tasks.

    A trimmed embedding table keeps its set of tokens.
    """
    config = copy.deepcopy(student.config)
    config.tasks = head_configs(datas)
    model = type(student)(config)  # type: ignore[arg-type]
    model.heads.start_at_frequencies(datas)
    # Buffers, such as the rows of a trimmed table, are no parameters: they are copied.
    learnt = {name for name, _ in student.named_parameters()}
    model.load_state_dict(
        model.state_dict()
        | {n: value for n, value in student.state_dict().items() if n not in learnt}
    )
    return model


def known_tasks(student: Student, datas: list[TaskData]) -> list[str]:
    """Returns the tasks for which the student has a head."""
    return [data.name for data in datas if data.name in student.config.tasks]


def rescaled(
    weight_CD: torch.Tensor, bias_C: torch.Tensor, before: dict[str, Any], after: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the head's weights for another scale of the scores: z' std' + mean' = z std + mean.

    Classification heads stay unchanged, as their mean is 0 and their std is 1.
    """
    ratio = before["std"] / after["std"]
    return weight_CD * ratio, bias_C * ratio + (before["mean"] - after["mean"]) / after["std"]


def _check_same(name: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    if before.get("multilabel") != after.get("multilabel"):
        several = "any number of labels" if after.get("multilabel") else "one label"
        raise ValueError(
            f"data.tasks: the rows of {name} have {several}; allowed: the kind of task that "
            "finetune.student knows by this name, or another name for the task, which gives it a "
            "new head"
        )
    for what in ("labels", "pair"):
        if before[what] != after[what]:
            raise ValueError(
                f"data.tasks: {name} has {what} {after[what]}; allowed: {before[what]}, as "
                "finetune.student knows it, "
                "or another name for the task, which gives it a new head"
            )
