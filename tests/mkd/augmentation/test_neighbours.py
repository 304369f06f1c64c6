import math
from pathlib import Path

import numpy as np
import pytest

from mkd.augmentation import neighbours as module
from mkd.augmentation.neighbours import nearest_rows, word_neighbours
from mkd.selection.words import WordStore, word_store
from mkd.tasks.task import Row
from tests.support.tiny import MINILM, SINGLE, split

ANGLES = [0, 10, 25, 90, 100]
TABLE = np.array(
    [[math.cos(math.radians(angle)), math.sin(math.radians(angle))] for angle in ANGLES],
    dtype=np.float32,
)
LENGTHS = np.array([[1.0], [9.0], [0.1], [2.0], [5.0]], dtype=np.float32)
APART = np.arange(5)


def words_of(folder: Path, *texts: str) -> WordStore:
    return word_store(folder, split([Row(text, None, 0.0) for text in texts]), SINGLE)


def by_word(words: WordStore, neighbours_VK: np.ndarray) -> dict[str, set[str]]:
    return {
        word: {words.vocabulary[other] for other in row if other >= 0}
        for word, row in zip(words.vocabulary, neighbours_VK.tolist(), strict=True)
    }


@pytest.mark.parametrize("block", [2, 1000])
def test_the_nearest_by_angle_by_hand(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COSINE_BLOCK", block)
    assert nearest_rows(TABLE * LENGTHS, APART, 1).tolist() == [[1], [0], [1], [4], [3]]
    assert [set(row) for row in nearest_rows(TABLE * LENGTHS, APART, 2).tolist()] == [
        {1, 2},
        {0, 2},
        {0, 1},
        {2, 4},
        {2, 3},
    ]


def test_spellings_of_a_word_are_not_neighbours() -> None:
    assert nearest_rows(TABLE, np.array([0, 0, 1, 2, 2]), 1).tolist() == [[2], [2], [1], [2], [2]]


def test_there_are_no_more_neighbours_than_other_words() -> None:
    assert nearest_rows(TABLE, APART, 10).shape == (5, 4)
    assert nearest_rows(TABLE, np.zeros(5, dtype=np.int64), 10).shape == (5, 0)


def test_words_between_the_same_words_are_neighbours(tmp_path: Path) -> None:
    words = words_of(tmp_path, "the cat sleeps", "the dog sleeps", "a dog runs", "a cat runs")
    neighbours = by_word(words, word_neighbours(words, 1, None))
    assert neighbours == {
        w: {o}
        for one, other in (("cat", "dog"), ("the", "a"), ("sleeps", "runs"))
        for w, o in ((one, other), (other, one))
    }


def test_contexts_end_with_their_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of(tmp_path, "x a y", "x a y", "z", "x b y", "b z")
    table = module.contexts(words, np.array([0, 1, 2, 3, 4]))
    assert words.vocabulary == ["x", "a", "y", "z", "b"]
    before = [
        [0, 0, 0, 0, 0, 3],
        [2, 0, 0, 0, 0, 0],
        [0, 2, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 1],
        [1, 0, 0, 0, 0, 1],
    ]
    after = [
        [0, 2, 0, 0, 1, 0],
        [0, 0, 2, 0, 0, 0],
        [0, 0, 0, 0, 0, 3],
        [0, 0, 0, 0, 0, 2],
        [0, 0, 1, 1, 0, 0],
    ]
    np.testing.assert_allclose(table, np.sqrt(np.concatenate([before, after], axis=1)))


def test_rare_words_are_not_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WORDS", 2)
    words = words_of(tmp_path, "a b a b", "c")
    assert by_word(words, word_neighbours(words, 3, None)) == {"a": {"b"}, "b": {"a"}, "c": set()}


def test_a_word_alone_has_no_neighbour(tmp_path: Path) -> None:
    words = words_of(tmp_path, "film Film FILM")
    assert word_neighbours(words, 3, None).tolist() == [[-1]] * 3


def test_neighbours_by_the_embeddings_of_an_encoder(tmp_path: Path) -> None:
    words = words_of(tmp_path, "good bad monday tuesday Monday red blue")
    neighbours = by_word(words, word_neighbours(words, 1, MINILM))
    assert neighbours["monday"] == neighbours["Monday"] == {"tuesday"}
    assert (neighbours["red"], neighbours["blue"]) == ({"blue"}, {"red"})
    assert (neighbours["good"], neighbours["bad"]) == ({"bad"}, {"good"})
