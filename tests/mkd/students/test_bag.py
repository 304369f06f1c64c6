from dataclasses import replace

import pytest
import torch

from mkd.config import StudentConfig
from mkd.evaluation.speed import flops
from mkd.runtime.bag import GENERATOR, PRIME
from mkd.students import make_student
from mkd.students.bag import BagConfig, BagStudent
from mkd.students.words import hashed_ngrams
from mkd.tokenization.tokens import Inputs
from tests.support.tiny import PAIR, SINGLE, Datas

HEADS = {
    "single": {"labels": list(SINGLE.labels), "pair": False, "mean": 0.0, "std": 1.0},
    "pair": {"labels": list(PAIR.labels), "pair": True, "mean": 0.0, "std": 1.0},
}


def bag(**sizes: int) -> BagStudent:
    """Returns a student with ten words in two dimensions, whose wide part is not 0."""
    torch.manual_seed(0)
    settings = {"vocab_size": 10, "embedding": 2, "hidden": 3, "ngrams": 2, "buckets": 1000}
    student = BagStudent(BagConfig(tasks=HEADS, dropout=0.0, **(settings | sizes)))
    torch.nn.init.normal_(student.wide.table("single").weight)
    student.train(False)
    return student


def inputs(*texts: list[list[int]]) -> Inputs:
    """Returns rows of texts of token ids, padded with token 9."""
    length = max(len(text) for row in texts for text in row)
    ids = torch.tensor([[text + [9] * (length - len(text)) for text in row] for row in texts])
    mask = torch.tensor(
        [[[place < len(text) for place in range(length)] for text in row] for row in texts]
    )
    return Inputs(ids, mask, None)


def logits(student: BagStudent, batch: Inputs, task: str) -> torch.Tensor:
    with torch.inference_mode():
        logits_BC: torch.Tensor = student(batch, task)
    return logits_BC


def bucket(*words: int, buckets: int = 1000) -> int:
    """Computes the hash with Python's integers, which never overflow."""
    total, factor = 0, 1
    for word in words:
        factor *= GENERATOR
        total += word * factor
    return total % PRIME % buckets


def test_ngrams_are_hashed_where_they_begin_and_shown_where_they_end_within_the_text() -> None:
    words, mask = (
        torch.tensor([[3, 1, 4, 1], [5, 2, 9, 9]]),
        torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]]),
    )
    codes, inside = hashed_ngrams(words, mask, 3, 1000)
    assert codes.shape == inside.shape == (2, 8)
    assert inside.tolist() == [[1, 1, 1, 0, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]
    assert codes[0, :3].tolist() == [bucket(3, 1), bucket(1, 4), bucket(4, 1)]
    assert codes[0, 4:6].tolist() == [bucket(3, 1, 4), bucket(1, 4, 1)]
    assert codes[1, 0] == bucket(5, 2)


def test_the_hash_is_exact_for_the_largest_ids_and_tells_the_order_of_words() -> None:
    large = 2**31 - 2
    words = torch.tensor([[large, large, large]], dtype=torch.int32)
    codes, _ = hashed_ngrams(words, torch.ones(1, 3), 3, 16384)
    assert codes[0, 0] == bucket(large, large, buckets=16384)
    assert codes[0, 3] == bucket(large, large, large, buckets=16384)
    assert bucket(1, 2) != bucket(2, 1)


def test_bigrams_of_a_real_vocabulary_spread_evenly_over_the_buckets() -> None:
    """The variance of a Poisson count equals its mean: 200,000 bigrams in 4,096 buckets are 49 a
    bucket."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(30522, (1, 200_001), generator=generator)
    codes, _ = hashed_ngrams(words, torch.ones(1, 200_001), 2, 4096)
    count = torch.bincount(codes[0, :-1], minlength=4096).double()
    assert float(count.var() / count.mean()) == pytest.approx(1, abs=0.1)


def test_the_wide_part_adds_scores_of_words_and_ngrams_over_the_root_of_their_number() -> None:
    student = bag(ngrams=3)
    batch = inputs([[3, 1, 4]], [[5]])
    table = student.wide.table("single").weight
    ngrams = [10 + bucket(*words) for words in ((3, 1), (1, 4), (3, 1, 4))]
    scores = 5 * torch.stack([table[[3, 1, 4, *ngrams]].sum(0) / 6**0.5, table[5]])
    whole = logits(student, batch, "single")
    torch.nn.init.zeros_(table)
    torch.testing.assert_close(whole - logits(student, batch, "single"), scores)


def test_without_ngrams_the_order_of_words_does_not_matter() -> None:
    one, other = inputs([[1, 2, 3]]), inputs([[3, 1, 2]])
    alone = bag(ngrams=1)
    torch.testing.assert_close(logits(alone, one, "single"), logits(alone, other, "single"))
    assert (logits(bag(), one, "single") - logits(bag(), other, "single")).abs().max() > 1e-4
    assert len(alone.wide.table("single").weight) == 10


def test_the_wide_part_starts_at_0_and_pair_tasks_have_none() -> None:
    fresh = BagStudent(BagConfig(vocab_size=10, embedding=2, hidden=3, buckets=7, tasks=HEADS))
    assert fresh.wide.names == ["single"]
    assert fresh.wide.table("single").weight.shape == (17, len(SINGLE.labels))
    assert not fresh.wide.table("single").weight.any()


def test_logits_of_a_pair_by_hand() -> None:
    """u = (1, 2) and v = (3, -1) give u, v, |u - v| = (2, 3) and u * v = (3, -2).

    The cosine of the texts, and of their only words, is c = 1 / 50^0.5. The unmatched parts are (1
    - c) u and (1 - c) v.
    """
    student = bag(ngrams=1, hidden=1)
    with torch.no_grad():
        student.embeddings.weight[:2] = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
        layer, head = student.layers[0], student.heads.linears[student.heads.names.index("pair")]
        assert isinstance(layer, torch.nn.Linear) and isinstance(head, torch.nn.Linear)
        layer.weight.copy_(
            torch.tensor([[1.0, 10.0, 0.5, 4.0, 7.0, 1.0, 2.0, 3.0, 2**0.5, 1, 0, 0, 2]])
        )
        layer.bias.fill_(0.5)
        head.weight.copy_(torch.tensor([[1.0], [-2.0]]))
        head.bias.copy_(torch.tensor([0.0, 1.0]))
    hidden = 1 + 20 + 1.5 - 4 + 14 + 3 + 6 - 6 + 0.2 + (1 - 50**-0.5) * (1 - 2) + 0.5
    logits_BC = logits(student, inputs([[0], [1]]), "pair")
    torch.testing.assert_close(logits_BC, torch.tensor([[hidden, 1 - 2 * hidden]]))


def test_a_single_text_is_compared_with_itself() -> None:
    student, text = bag(), [1, 2, 3]
    torch.testing.assert_close(
        logits(student, inputs([text]), "single"), logits(student, inputs([text, text]), "single")
    )


def test_the_order_of_a_pair_matters_by_the_weights_of_each_text_alone() -> None:
    student = bag()
    one, other = inputs([[1, 2], [3, 4, 5]]), inputs([[3, 4, 5], [1, 2]])
    assert (logits(student, one, "pair") - logits(student, other, "pair")).abs().max() > 1e-4
    layer = student.layers[0]
    assert isinstance(layer, torch.nn.Linear)
    with torch.no_grad():
        layer.weight[:, 2:4] = layer.weight[:, :2]
        layer.weight[:, 11:13] = layer.weight[:, 9:11]
    torch.testing.assert_close(logits(student, one, "pair"), logits(student, other, "pair"))


def test_gradients_reach_the_rows_that_were_seen_and_no_others() -> None:
    student = bag()
    student(inputs([[1, 2]], [[3]]), "single").sum().backward()
    wide = student.wide.table("single")
    for table, seen in ((student.embeddings, {1, 2, 3}), (wide, {1, 2, 3, 10 + bucket(1, 2)})):
        gradient = table.weight.grad
        assert gradient is not None
        assert set(gradient.abs().sum(1).nonzero().flatten().tolist()) == seen


def test_row_sparse_gradients_are_the_dense_ones() -> None:
    dense, sparse = bag(), bag()
    sparse.embeddings.sparse = sparse.wide.table("single").sparse = True
    for student in (dense, sparse):
        student(inputs([[1, 2, 2]], [[3]]), "single").sum().backward()
    tables = [(dense.embeddings, sparse.embeddings)]
    tables.append((dense.wide.table("single"), sparse.wide.table("single")))
    for one, other in tables:
        assert one.weight.grad is not None
        assert other.weight.grad is not None
        assert other.weight.grad.is_sparse
        torch.testing.assert_close(other.weight.grad.to_dense(), one.weight.grad)


def test_flops_by_formula(datas: Datas) -> None:
    """Counts a mean of L rows of width E, and scores of C classes for each word, 2-gram and 3-gram.
    The layers are (6E + 1) x H and H x H, then comes the head. A multiply-add counts as 2."""
    config = StudentConfig(kind="bag", hidden=5, embedding=6, layers=2, ngrams=3, buckets=40)
    length, classes = 10, 2
    dense = length * 6 + (6 * 6 + 1) * 5 + 5 * 5 + 5 * classes
    for ngrams in (3, 1):
        student = make_student(replace(config, ngrams=ngrams), datas, 50, 32, None)
        assert flops(student, length) == 2 * (dense + ngrams * length * classes)
