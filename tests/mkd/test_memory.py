"""The memory that grows with the number of rows, by all allocations of Python and NumPy: only the
order of an epoch.

The stores are on disk. The tests compare 400,000 with 20,000 rows, so that constant parts cancel
out.
"""

import tracemalloc
from collections.abc import Callable
from itertools import count, cycle, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mkd.config import SamplingConfig
from mkd.evaluation import scoring
from mkd.runtime.layout import Layout, Texts
from mkd.storage.store import read_array, write_arrays
from mkd.teachers.refined import rows_hash
from mkd.teachers.task_teacher import TaskModel, cached_logits
from mkd.tokenization import tokenise
from mkd.tokenization.tokenise import join_stores, token_store
from mkd.tokenization.tokens import Inputs, TaskData, TokenStore
from mkd.training.batches import TaskRows, joint_batches
from tests.support.tiny import PAIR, Tokenizer, pair_rows, split

FEW, MANY = 20_000, 400_000
LAYOUT = Layout(True, 0, 32, (1,), (2,), (2,), types=True)


def _store(folder: Path, num: int) -> TokenStore:
    """A store on disk: pairs with one to nine tokens per text, a third of them unlabelled."""
    folder.mkdir()
    generator = np.random.default_rng(num)
    sides = []
    for side in "ab":
        offsets = np.concatenate([[0], np.cumsum(generator.integers(1, 10, num))]).astype("<i8")
        write_arrays(
            folder / f"{side}.int32", [generator.integers(5, 99, offsets[-1]).astype("<i4")]
        )
        write_arrays(folder / f"{side}_offsets.int64", [offsets])
        sides.append(
            Texts(
                read_array(folder / f"{side}.int32", "<i4"),
                read_array(folder / f"{side}_offsets.int64", "<i8"),
            )
        )
    write_arrays(
        folder / "labels.float64",
        [np.where(np.arange(num) % 3 == 0, np.nan, np.arange(num) % 2).astype("<f8")],
    )
    return TokenStore(sides[0], sides[1], read_array(folder / "labels.float64", "<f8"), str(num))


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, TokenStore]:
    folder = tmp_path_factory.mktemp("stores")
    return {num: _store(folder / str(num), num) for num in (FEW, MANY)}


def _growth(work: Callable[[int], object]) -> float:
    """The growth of the peak memory from FEW to MANY rows, in bytes per row."""
    peaks = []
    for num in (FEW, FEW, MANY):  # the first run is a warm-up
        tracemalloc.start()
        try:
            work(num)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return (peaks[2] - peaks[1]) / (MANY - FEW)


def test_batches_hold_only_the_order_of_an_epoch(stores: dict[int, TokenStore]) -> None:
    rows = {num: np.arange(num, dtype=np.int32) for num in (FEW, MANY)}

    def sample(num: int) -> None:
        data = TaskData("pair", PAIR, stores[num], {}, rows[num], rows[num][:1], 0.0, 1.0)
        num_batches = len(
            list(
                islice(
                    joint_batches(
                        [TaskRows(data, rows[num], None)], LAYOUT, 16, SamplingConfig(), 0
                    ),
                    100,
                )
            )
        )
        assert num_batches == 100

    assert _growth(sample) <= 4.5, "4 bytes a row number"


class _Lengths(nn.Module):
    """A model whose logits are the lengths of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Inputs, task: str) -> torch.Tensor:
        return inputs.mask.sum((1, 2)).float()[:, None].expand(-1, 2)


def test_memory_of_labelling_does_not_grow_with_rows(
    stores: dict[int, TokenStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "SORT_WINDOW_ROWS", 4096)
    model, turn = _Lengths(), count()

    def label(num: int) -> None:
        reader = TaskModel(lambda: model, LAYOUT, "float32", "pair", 2)
        logits, last = (
            cached_logits(tmp_path, {"turn": next(turn)}, reader, stores[num]),
            np.arange(num - 9, num),
        )
        assert logits[last, 1].tolist() == _joined_lengths(stores[num], 3, last)

    assert _growth(label) < 0.5


def _joined_lengths(store: TokenStore, special: int, rows: np.ndarray) -> list[int]:
    """The lengths of the rows, joined with `special` special tokens."""
    assert store.b is not None
    lengths: list[int] = (store.a.lengths(rows) + store.b.lengths(rows) + special).tolist()
    return lengths


def test_joining_stores_keeps_no_rows(stores: dict[int, TokenStore], tmp_path: Path) -> None:
    turn = count()

    def join(num: int) -> None:
        twice = join_stores(tmp_path / str(next(turn)), [stores[num], stores[num]])
        assert len(twice.labels) == 2 * num

    assert _growth(join) < 0.5


def test_hashing_rows_takes_few_bytes_per_row(stores: dict[int, TokenStore]) -> None:
    def draw(num: int) -> None:
        rows_hash(stores[num], np.arange(0, num, 2, dtype=np.int32))

    assert _growth(draw) < 24


def test_memory_of_tokenising_does_not_grow_with_rows(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenise, "CHUNK_ROWS", 500)
    some, turn = pair_rows(100, 0), count()

    def write(num: int) -> None:
        source = split([])._replace(read=lambda: islice(cycle(some), num // 20))
        assert (
            len(token_store(tmp_path / str(next(turn)), source, PAIR, tokenizer, 32).labels)
            == num // 20
        )

    # This is below 30 bytes per tokenised row; two lists of ids alone would take 200.
    assert _growth(write) < 1.5
