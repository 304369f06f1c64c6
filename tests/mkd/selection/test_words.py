from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mkd.runtime.layout import Texts
from mkd.selection import words
from mkd.selection.words import WordStore, join_words, runs_of_ids, take_texts, word_store
from mkd.tasks.task import Row
from tests.support.tiny import PAIR, SINGLE, pair_rows, split


def texts_of(store: WordStore, side: int) -> list[str]:
    """Joins the words of one side of the store to texts."""
    joined: list[str] = join_words(store.sides[side], pa.array(store.vocabulary)).to_pylist()
    return joined


def test_words_are_split_at_white_space_and_numbered_as_they_come(tmp_path: Path) -> None:
    rows = [Row(" a  film,\ta film ", None, 1.0), Row("The\u2028film", None, None)]
    store = word_store(tmp_path, split(rows), SINGLE)
    assert store.vocabulary == ["a", "film,", "film", "The"]
    assert store.sides[0].ids.tolist() == [0, 1, 0, 2, 3, 2]
    assert store.sides[0].offsets.tolist() == [0, 4, 6]
    assert texts_of(store, 0) == ["a film, a film", "The film"]
    np.testing.assert_array_equal(store.labels, [1.0, np.nan])


@pytest.mark.parametrize("block", [4, 1000])
def test_pairs_share_a_vocabulary_whatever_the_block(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "BLOCK_ROWS", block)
    rows = pair_rows(11, 0)
    store = word_store(tmp_path, split(rows), PAIR)
    assert texts_of(store, 0) == [row.text_a for row in rows]
    assert texts_of(store, 1) == [row.text_b for row in rows]
    expected = sorted({word for row in rows for word in f"{row.text_a} {row.text_b}".split()})
    assert sorted(store.vocabulary) == expected


def test_words_are_split_once(tmp_path: Path) -> None:
    rows, reads = split(pair_rows(3, 0)), []

    def read() -> Iterator[Row]:
        reads.append(1)
        return rows.read()

    first, second = (word_store(tmp_path, rows._replace(read=read), PAIR) for _ in range(2))
    assert len(reads) == 1
    assert texts_of(first, 1) == texts_of(second, 1)


def test_runs_of_ids_and_taken_rows_by_hand() -> None:
    texts = Texts(np.array([5, 6, 7, 8, 9]), np.array([0, 2, 3, 5]))
    taken = take_texts(texts, np.array([2, 0]))
    assert (taken.ids.tolist(), taken.offsets.tolist()) == ([8, 9, 5, 6], [0, 2, 4])
    runs = runs_of_ids(texts.ids, np.array([1, 2, 4]), np.array([1, 1, 0]))
    assert (runs.ids.tolist(), runs.offsets.tolist()) == ([6, 7], [0, 1, 2, 2])
