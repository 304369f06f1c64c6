from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch
from test_students import ALL, BILSTM, TRANSFORMER, student_of
from torch import nn
from transformers import PreTrainedTokenizerBase

from mkd.config import LossConfig, SamplingConfig, StudentConfig, TrainConfig
from mkd.mixup import mixed, mixed_batches
from mkd.students import Student
from mkd.students.transformer import TransformerStudent
from mkd.tokenization.tokens import Inputs, TaskData, layout_of
from mkd.training.batches import Batch, Source, assemble, joint_batches
from mkd.training.losses import LossTerms, between, distillation
from mkd.training.trainer import train

NAN = float("nan")


def batch_of(student: Student, data: TaskData, tokenizer: PreTrainedTokenizerBase, rows: list[int]) -> Batch:
    """Rows of a task with made-up teacher logits."""
    teacher = np.random.default_rng(0).normal(size=(len(data.train.labels), data.kind.num_logits)).astype(np.float32)
    return assemble(Source(data, data.train_rows, teacher), np.array(rows), layout_of(tokenizer, student.joined, 32))


def test_embeddings_logits_and_masks_by_hand() -> None:
    """Three quarters of a row of two tokens, a quarter of one of one token, and the other way round."""
    mask = torch.tensor([[[True, True]], [[True, False]]])
    inputs = Inputs(torch.tensor([[[5, 6]], [[7, 0]]]), mask, None)
    batch = Batch("t", inputs, torch.tensor([1.0, NAN]), torch.tensor([[4.0, 0.0], [0.0, 8.0]]))
    found = mixed(batch, 0.75, torch.tensor([1, 0]))
    assert found.teacher_BC is not None
    assert found.teacher_BC.tolist() == [[3.0, 2.0], [1.0, 6.0]]
    assert found.inputs.mask.tolist() == [[[True, True]], [[True, True]]]
    assert found.inputs.mix is not None
    embedded = torch.tensor([[[[4.0], [8.0]]], [[[12.0], [100.0]]]])
    assert found.inputs.mix.of_embeddings(embedded).tolist() == [[[[6.0], [6.0]]], [[[10.0], [2.0]]]], "100 is padding"
    np.testing.assert_array_equal(found.labels_B.numpy(), [1.0, NAN])


def test_a_share_of_one_leaves_the_batch_as_it_is(datas: list[TaskData], tokenizer: PreTrainedTokenizerBase) -> None:
    batch = batch_of(student_of(BILSTM, datas, tokenizer), datas[0], tokenizer, [0, 1, 2])
    assert mixed(batch, 1.0, torch.tensor([2, 0, 1])) is batch


@ALL
@pytest.mark.parametrize("place", [0, 1])
def test_the_nearer_the_share_is_to_one_the_nearer_the_logits_to_those_of_the_rows(
    config: StudentConfig, place: int, datas: list[TaskData], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Between rows of one length, as another's tokens beyond a row's end are seen whatever their share."""
    student, data = student_of(config, datas, tokenizer), datas[place]
    ids = torch.randint(5, 80, (4, 1 if student.joined else 1 + place, 6), generator=torch.Generator().manual_seed(0))
    types = torch.zeros(4, 6, dtype=torch.long) if student.joined else None
    batch = Batch(data.name, Inputs(ids, torch.ones_like(ids, dtype=torch.bool), types), torch.zeros(4), None)
    with torch.inference_mode():
        expected = student(batch.inputs, data.name)
        logits = [student(mixed(batch, s, torch.tensor([1, 2, 3, 0])).inputs, data.name) for s in (0.6, 0.9, 0.99999)]
    far = [float((found - expected).abs().max()) for found in logits]
    assert far[0] > far[1] > far[2]
    assert far[2] < 1e-3


@ALL
def test_a_row_mixed_with_itself_is_itself(
    config: StudentConfig, datas: list[TaskData], tokenizer: PreTrainedTokenizerBase
) -> None:
    student = student_of(config, datas, tokenizer)
    for data in datas:
        batch = batch_of(student, data, tokenizer, [0, 1, 2, 3, 4])
        with torch.inference_mode():
            expected = student(batch.inputs, data.name)
            found = student(mixed(batch, 0.7, torch.arange(5)).inputs, data.name)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@ALL
def test_mixing_rows_or_their_embeddings_is_the_same_to_the_student(
    config: StudentConfig, datas: list[TaskData], tokenizer: PreTrainedTokenizerBase
) -> None:
    """A table that has the mixed embeddings as words of their own gives the same logits from plain ids."""
    student, data = student_of(config, datas, tokenizer), datas[0]
    batch = batch_of(student, data, tokenizer, [0, 1, 2])
    found = mixed(batch, 0.7, torch.tensor([1, 2, 0])).inputs
    assert found.mix is not None
    table = student.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    with torch.inference_mode():
        words = found.mix.of_embeddings(table(found.ids))
        expected = student(found, "single")
    ids = torch.arange(found.ids.numel()).reshape(found.ids.shape)
    mixed_table = nn.Embedding.from_pretrained(words.reshape(-1, words.shape[-1]).clone())
    if isinstance(student, TransformerStudent):
        student.encoder.set_input_embeddings(mixed_table)
    else:
        student.embeddings = mixed_table
    with torch.inference_mode():
        torch.testing.assert_close(student(found._replace(ids=ids, mix=None), "single"), expected, atol=1e-5, rtol=1e-4)


def test_shares_and_partners_follow_the_seed_alone_and_the_rows_own_share_is_the_larger(
    datas: list[TaskData], tokenizer: PreTrainedTokenizerBase
) -> None:
    sources = [Source(data, data.train_rows, None) for data in datas]

    def drawn(seed: int) -> list[Batch]:
        batches = joint_batches(sources, layout_of(tokenizer, False, 32), 8, SamplingConfig(), 0)
        return list(islice(mixed_batches(batches, 0.4, seed), 200))

    shares = [[batch.inputs.mix.share if batch.inputs.mix else 1.0 for batch in drawn(seed)] for seed in (0, 0, 1)]
    assert shares[0] == shares[1] != shares[2]
    assert min(shares[0]) >= 0.5
    # E max(x, 1 - x) of Beta(a, a), by a sum over its density.
    x = (np.arange(200_000) + 0.5) / 200_000
    density = x ** (0.4 - 1) * (1 - x) ** (0.4 - 1)
    assert np.mean(shares[0]) == pytest.approx((np.maximum(x, 1 - x) * density).sum() / density.sum(), abs=0.03)
    for batch in drawn(0):
        assert batch.inputs.mix is None or sorted(batch.inputs.mix.partner_B.tolist()) == list(range(len(batch.labels_B)))


def test_the_loss_weighs_the_labels_of_both_rows_by_hand() -> None:
    one, other = (LossTerms(*map(torch.tensor, values)) for values in ((1.0, 2.0, 3.0), (5.0, 2.0, 7.0)))
    assert [float(term) for term in between(one, other, 0.75)[:3]] == [2.0, 2.0, 4.0]


def test_the_trainer_learns_from_both_rows_labels_and_the_mixed_logits(
    datas: list[TaskData], tokenizer: PreTrainedTokenizerBase
) -> None:
    student = student_of(TRANSFORMER, datas, tokenizer)
    batch = mixed(batch_of(student, datas[0], tokenizer, [0, 1, 2, 3]), 0.8, torch.tensor([1, 2, 3, 0]))
    loss = LossConfig(hard_weight=0.5)
    with torch.no_grad():
        logits = student(batch.inputs, "single")
    own = distillation(logits, batch.teacher_BC, batch.labels_B, loss)
    other = distillation(logits, batch.teacher_BC, batch.labels_B.roll(-1), loss)
    told: dict[str, float] = {}

    def batches(start: int) -> Iterator[Batch]:
        yield batch

    train(
        student,
        batches,
        lambda: {"mean": 1.0},
        loss,
        TrainConfig(steps=1, learning_rate=2e-3),
        lambda step, found: told.update(found),
    )
    assert told["train/hard/single"] == pytest.approx(float(0.8 * own.hard + 0.2 * other.hard), rel=1e-5)
    assert told["train/soft/single"] == pytest.approx(float(own.soft), rel=1e-5)
    assert told["train/loss/single"] == pytest.approx(float(0.8 * own.total + 0.2 * other.total), rel=1e-5)
