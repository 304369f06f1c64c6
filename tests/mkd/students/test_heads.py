"""The start of the heads' biases, by hand-worked values."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mkd.config import StudentConfig, TeacherConfig
from mkd.students import Student, make_student
from mkd.students.reuse import reinitialised, with_heads
from mkd.tasks.label_sets import packed_sets
from mkd.tasks.task import Row
from mkd.teachers.refined import untrained_teacher
from mkd.tokenization.tokens import TaskData
from tests.support.tiny import Datas, Tokenizer

LABELS = ("never", "once", "often", "always")
SETS = [(2, 3), (1, 2, 3), (3,), (2, 3)]
"""Labels of the first four training rows; the fifth has none, and a sixth is no training row."""
ODDS = [0.5 / 4.5, 1.5 / 3.5, 3.5 / 1.5, 4.5 / 0.5]
KINDS = [
    StudentConfig(kind="bag", hidden=8, embedding=8),
    StudentConfig(kind="bilstm", hidden=8, embedding=8),
    StudentConfig(kind="transformer", hidden=16, layers=1, heads=2),
]


def several(data: TaskData, name: str) -> TaskData:
    """The rows of a task with any number of LABELS each."""
    sets = [*SETS, (), (0, 1)]
    rows = [Row("", None, float(len(classes)), classes) for classes in sets]
    labels = np.full(len(data.train.labels), np.nan)
    labels[:6] = [row.label for row in rows]
    labels[4] = np.nan
    packed = np.zeros((len(labels), 1), np.uint8)
    packed[:6] = packed_sets(rows, len(LABELS))
    return data._replace(
        name=name,
        kind=replace(data.kind, labels=LABELS, multilabel=True, metrics=("micro_f1",)),
        train=data.train._replace(labels=labels, sets=packed),
        train_rows=np.arange(5),
    )


def biases(model: Student, task: str) -> list[float]:
    linear = model.heads.linears[model.heads.names.index(task)]
    assert isinstance(linear, torch.nn.Linear)
    return linear.bias.tolist()


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
def test_a_students_labels_start_as_likely_as_in_the_training_rows(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer
) -> None:
    torch.manual_seed(0)
    several_labels = [several(datas[0], "single"), *datas[1:]]
    student = make_student(config, several_labels, len(tokenizer), 32, None)
    assert biases(student, "single") == pytest.approx(np.log(ODDS))
    torch.manual_seed(0)
    plain = make_student(config, [datas[0], *datas[1:]], len(tokenizer), 32, None)
    assert all(abs(bias) < 1 for bias in biases(plain, "single"))

    again = reinitialised(student, several_labels)
    assert biases(again, "single") == biases(student, "single")


def test_a_teachers_labels_start_as_likely_as_in_the_training_rows(
    datas: Datas, tokenizer: Tokenizer
) -> None:
    settings = TeacherConfig(layers=1, hidden=16, heads=2)
    teacher = untrained_teacher(settings, 32, [several(datas[0], "tags")], tokenizer)
    assert biases(teacher, "tags") == pytest.approx(np.log(ODDS))


def test_a_known_head_keeps_its_bias_and_a_new_one_starts_at_the_frequencies(
    datas: Datas, tokenizer: Tokenizer
) -> None:
    tags = several(datas[0], "tags")
    student = make_student(KINDS[0], [tags], len(tokenizer), 32, None)
    with torch.no_grad():
        dict(student.heads.named_parameters())["linears.0.bias"].copy_(torch.arange(1, 5))
    adapted = with_heads(student, [tags, several(datas[0], "more")])
    assert biases(adapted, "tags") == [1, 2, 3, 4]
    assert biases(adapted, "more") == pytest.approx(np.log(ODDS))
