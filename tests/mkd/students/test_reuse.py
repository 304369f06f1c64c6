from dataclasses import replace

import numpy as np
import pytest
import torch

from mkd.config import StudentConfig
from mkd.evaluation.scoring import predict_logits, torch_infer
from mkd.students import Student, make_student
from mkd.students.embeddings import TrimmedEmbedding, input_table, trim
from mkd.students.reuse import known_tasks, reinitialised, with_heads
from mkd.tasks.task import Kind
from mkd.tokenization.tokens import TaskData, layout_of
from tests.support.tiny import Datas, Tokenizer

KINDS = [
    StudentConfig(kind="bilstm", hidden=8, embedding=8),
    StudentConfig(kind="transformer", hidden=16, layers=1, heads=2),
]


def student_of(config: StudentConfig, datas: Datas, tokenizer: Tokenizer) -> Student:
    torch.manual_seed(0)
    return make_student(config, datas, len(tokenizer), 32, None)


def logits(student: Student, data: TaskData, tokenizer: Tokenizer) -> np.ndarray:
    return predict_logits(
        torch_infer(student),
        data.dev[""],
        np.arange(20),
        data.name,
        layout_of(tokenizer, student.joined, 32),
    )


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
def test_a_known_task_is_answered_as_before_and_others_are_gone(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer
) -> None:
    student = student_of(config, datas, tokenizer)
    pair = datas[1]
    adapted = with_heads(student, [pair])
    np.testing.assert_array_equal(
        logits(adapted, pair, tokenizer), logits(student, pair, tokenizer)
    )
    assert adapted.heads.names == list(adapted.config.tasks) == ["pair"]
    assert adapted.config.dropout == student.config.dropout and list(student.config.tasks) == [
        "single",
        "pair",
        "score",
    ]


def test_a_score_stays_the_same_on_another_scale(datas: Datas, tokenizer: Tokenizer) -> None:
    """The score is z std + mean. The student learnt on the fixture's scale and gets another one."""
    student, score = student_of(KINDS[0], datas, tokenizer), datas[2]
    moved = score._replace(mean=4.0, std=0.25)
    scores = logits(with_heads(student, [moved]), score, tokenizer) * 0.25 + 4
    np.testing.assert_allclose(
        scores, logits(student, score, tokenizer) * score.std + score.mean, rtol=1e-5
    )


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
def test_a_reinitialised_student_is_like_a_new_one_of_its_kind_and_size(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer
) -> None:
    trained = student_of(config, datas[:1], tokenizer)
    for weight in trained.parameters():
        weight.data += 1
    torch.manual_seed(0)
    restarted = reinitialised(trained, datas)
    expected = student_of(config, datas, tokenizer).state_dict()
    assert restarted.state_dict().keys() == expected.keys() and list(trained.config.tasks) == [
        "single"
    ]
    assert all(torch.equal(value, expected[name]) for name, value in restarted.state_dict().items())


def test_a_reinitialised_student_has_the_same_tokens(datas: Datas, tokenizer: Tokenizer) -> None:
    trained = student_of(KINDS[0], datas[:1], tokenizer)
    trim(trained, np.array([0, 1, 5, 7, 9]), 1)
    table, before = (input_table(student) for student in (reinitialised(trained, datas), trained))
    assert isinstance(table, TrimmedEmbedding) and isinstance(before, TrimmedEmbedding)
    assert torch.equal(table.place_V, before.place_V) and table.place_V[7] == 3
    assert table.weight.shape == before.weight.shape
    assert not torch.equal(table.weight, before.weight)


def test_a_new_task_gets_a_random_head_by_torchs_seed(datas: Datas, tokenizer: Tokenizer) -> None:
    student = student_of(KINDS[0], datas[:1], tokenizer)
    assert known_tasks(student, datas) == ["single"]
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        adapted = with_heads(student, datas)
        heads.append(
            adapted.heads.linears[adapted.heads.names.index("pair")].state_dict()["weight"]
        )
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (
            Kind(("good", "bad"), False, ("accuracy",)),
            r"single has labels \['good', 'bad'\]; allowed: \['bad', 'good'\]",
        ),
        (Kind((), False, ("pearson",)), r"single has labels \[\]; allowed: \['bad', 'good'\]"),
        (Kind(("bad", "good"), True, ("accuracy",)), "single has pair True; allowed: False"),
    ],
)
def test_a_different_task_of_the_same_name_is_refused(
    kind: Kind, problem: str, datas: Datas, tokenizer: Tokenizer
) -> None:
    student = student_of(KINDS[0], datas, tokenizer)
    other = datas[0]._replace(kind=replace(kind))
    message = f"data.tasks: {problem}, as finetune.student knows it, or another name"
    with pytest.raises(ValueError, match=message):
        with_heads(student, [other])
