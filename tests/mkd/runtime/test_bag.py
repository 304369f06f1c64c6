"""A bag student in numpy, which must answer as in torch except for rounding to 8 bits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mkd.config import StudentConfig
from mkd.export.bag import write_bag
from mkd.runtime.bag import Bag, Int8Table, quantised, read_bag
from mkd.runtime.layout import Layout, Tokens, flattened, one_row, padded
from mkd.students import make_student
from mkd.students.bag import BagStudent
from mkd.students.embeddings import trim
from mkd.tokenization.tokens import as_inputs
from tests.support.tiny import Datas

LAYOUT = Layout(False, 0, 12)


def rounded(weight: torch.Tensor) -> None:
    """Rounds a table to the values that 8 bits can store."""
    kept = quantised(weight.numpy())
    weight.copy_(torch.from_numpy(kept["numbers"].astype(np.float32) * kept["scales"][:, None]))


@pytest.fixture(scope="module", params=[(1, 1, False), (1, 2, True), (3, 2, False), (3, 1, True)])
def both(
    request: pytest.FixtureRequest, datas: Datas, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BagStudent, Bag]:
    """Returns the same student in torch, with rounded tables, and in numpy."""
    ngrams, layers, trimmed = request.param
    config = StudentConfig(
        kind="bag", hidden=7, embedding=5, layers=layers, ngrams=ngrams, buckets=30
    )
    torch.manual_seed(0)
    student = make_student(config, datas, 50, 12, None)
    assert isinstance(student, BagStudent)
    if trimmed:
        trim(student, np.arange(0, 50, 2), 2)
    student.train(False)
    with torch.no_grad():
        student.embeddings.weight.normal_()
        for name in student.wide.names:
            rounded(student.wide.table(name).weight.normal_())
        rounded(student.embeddings.weight)
    file = tmp_path_factory.mktemp("bag") / "student.npz"
    write_bag(student, file)
    return student, read_bag(file.read_bytes())


def texts(lengths: list[int], rng: np.random.Generator) -> list[list[int]]:
    return [rng.integers(0, 50, length).tolist() for length in lengths]


@pytest.mark.parametrize("lengths", [[1], [2], [12], [3, 1, 12, 2, 5, 1], [14, 0, 1]])
def test_logits_are_those_of_torch(both: tuple[BagStudent, Bag], lengths: list[int]) -> None:
    student, bag = both
    rng = np.random.default_rng(len(lengths))
    for name, head in student.config.tasks.items():
        sides = [texts(lengths, rng)] + ([texts(lengths[::-1], rng)] if head["pair"] else [])
        stores = [flattened(side, [15] * len(side)) for side in sides]
        rows = Tokens(stores[0], stores[1] if head["pair"] else None)
        batch = padded(rows, np.arange(len(lengths)), LAYOUT)
        with torch.inference_mode():
            expected = student(as_inputs(batch), name).numpy()
        logits = bag(batch, name)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lengths", [(3, 11), (11, 3), (0, 4), (14, 1), (0, 0)])
def test_a_single_pair_has_the_logits_of_torch(
    both: tuple[BagStudent, Bag], lengths: tuple[int, int]
) -> None:
    student, bag = both
    rng = np.random.default_rng(sum(lengths))
    name = next(name for name, head in student.config.tasks.items() if head["pair"])
    batch = one_row(texts(list(lengths), rng), LAYOUT)
    with torch.inference_mode():
        expected = student(as_inputs(batch), name).numpy()
    logits = bag(batch, name)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_a_row_of_a_table_is_rounded_by_its_own_largest_number() -> None:
    kept = Int8Table(**quantised(np.array([[1.0, -0.5], [1000.0, 250.0], [0.0, 0.0]])))
    assert kept.numbers.tolist() == [[127, -64], [127, 32], [0, 0]]
    np.testing.assert_allclose(kept.scales, [1 / 127, 1000 / 127, 0], rtol=1e-6)
    total = kept.total(np.array([0, 1]), None)
    np.testing.assert_allclose(total, [[1001, (-64 + 32000) / 127]], rtol=1e-6)


def test_a_file_of_other_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises((KeyError, ValueError, IndexError)):
        read_bag((tmp_path / "other.npz").read_bytes())
