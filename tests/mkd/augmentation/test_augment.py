from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import models
from transformers import PreTrainedTokenizerFast

from mkd.augmentation.augment import augment_tasks, augmented_split, change_words, cut_to_ngrams
from mkd.config import AugmentConfig, DataConfig, Stores
from mkd.runtime.layout import Texts
from mkd.selection import words
from mkd.storage.pretrained import load_tokenizer
from mkd.tasks.task import MASK, Row, Task
from mkd.tokenization.tokenise import mask_text, token_store, tokenise_task
from tests.support.tiny import (
    MINILM,
    PAIR,
    SINGLE,
    Tokenizer,
    make_tasks,
    make_tokenizer,
    roberta_like,
    rows_of,
    split,
)

NOTHING = {"mask": 0.0, "replace": 0.0, "ngram": 0.0}
TEXTS = Texts(np.array([0, 1, 2, 3, 4, 5]), np.array([0, 4, 5, 6]))
NEIGHBOURS = np.array([[1, 2], [0, 2], [0, 1], [-1, -1], [5, 5], [4, 4]])
ALL = np.array([True, True, True])


def stores_of(cache: Path, seed: int = 0, multiple: int = 5, **settings: Any) -> Stores:
    augment = AugmentConfig(multiple=multiple, **settings)
    return Stores(cache, DataConfig(selection_fraction=0.2, augment=augment), seed)


def augmented_rows(cache: Path, task: Task, seed: int = 0, **settings: Any) -> list[Row]:
    return list(augmented_split(stores_of(cache, seed, **settings), task).read())


def rows_for_training(cache: Path, task: Task, tokenizer: Tokenizer) -> list[Row]:
    """Returns the labelled rows of the task that are for training."""
    data = tokenise_task(cache, task, tokenizer, DataConfig(selection_fraction=0.2), 0)
    rows = list(task.train.read())
    return [rows[i] for i in data.train_rows if rows[i].label is not None]


def changed(texts: Texts, inside: np.ndarray, **settings: float) -> Texts:
    config = AugmentConfig(**(NOTHING | settings))  # type: ignore[arg-type]
    return change_words(texts, inside, NEIGHBOURS, config, np.random.default_rng(0))


# The operations, on word numbers.


def test_a_probability_of_one_masks_every_word_and_of_zero_none() -> None:
    masked = changed(TEXTS, ALL, mask=1.0)
    assert (masked.ids.tolist(), masked.offsets.tolist()) == ([6] * 6, TEXTS.offsets.tolist())
    assert changed(TEXTS, ALL).ids.tolist() == TEXTS.ids.tolist()


def test_words_are_replaced_by_their_neighbours_and_stay_where_they_have_none() -> None:
    seen = [
        changed(
            Texts(np.tile(TEXTS.ids, 50), np.array([0, 300])), ALL[:1], replace=1.0
        ).ids.reshape(50, 6)
    ]
    assert [set(column) for column in np.concatenate(seen).T.tolist()] == [
        {1, 2},
        {0, 2},
        {0, 1},
        {3},
        {5},
        {4},
    ]


def test_texts_that_are_not_for_change_stay() -> None:
    inside = np.array([False, True, False])
    assert changed(TEXTS, inside, mask=1.0).ids.tolist() == [0, 1, 2, 3, 6, 5]
    stays = cut_to_ngrams(
        TEXTS, np.array([False] * 3), AugmentConfig(ngram=1.0, longest=1), np.random.default_rng(0)
    )
    assert (stays.ids.tolist(), stays.offsets.tolist()) == (
        TEXTS.ids.tolist(),
        TEXTS.offsets.tolist(),
    )


def test_words_are_masked_and_replaced_as_often_as_stated() -> None:
    ids = np.zeros(100_000, dtype=np.int64)
    ids_after = changed(Texts(ids, np.array([0, len(ids)])), ALL[:1], mask=0.1, replace=0.3).ids
    shares = np.bincount(ids_after, minlength=7) / len(ids)
    np.testing.assert_allclose(shares, [0.6, 0.15, 0.15, 0, 0, 0, 0.1], atol=0.005)


def test_n_grams_are_evenly_drawn_from_their_text() -> None:
    """Of four words, n is drawn evenly from 1 and 2, then its position."""
    texts = Texts(np.tile(np.arange(4), 20_000), np.arange(20_001) * 4)
    cut = cut_to_ngrams(
        texts, np.full(20_000, True), AugmentConfig(ngram=1.0, longest=2), np.random.default_rng(0)
    )
    counts = Counter(map(tuple, rows_of(cut)))
    expected = {
        (0,): 1 / 8, (1,): 1 / 8, (2,): 1 / 8, (3,): 1 / 8, (0, 1): 1 / 6, (1, 2): 1 / 6,
        (2, 3): 1 / 6,
    }  # fmt: skip
    assert counts.keys() == expected.keys()
    for words_, share in expected.items():
        assert counts[words_] / 20_000 == pytest.approx(share, abs=0.01)


def test_an_n_gram_is_no_longer_than_its_text_and_as_frequent_as_stated() -> None:
    texts = Texts(np.tile(np.arange(3), 10_000), np.arange(10_001) * 3)
    cut = cut_to_ngrams(
        texts, np.full(10_000, True), AugmentConfig(ngram=0.25, longest=5), np.random.default_rng(0)
    )
    shares = np.bincount(cut.lengths()) / 10_000
    np.testing.assert_allclose(shares, [0, 0.05, 0.05, 0.9], atol=0.01)


# Rows of a task.


def test_augmented_rows_are_new_unlabelled_and_made_of_their_tasks_words(tmp_path: Path) -> None:
    (task,) = make_tasks(40, ("single",), unlabelled=10)
    originals = {row.text_a for row in task.train.read()}
    rows = augmented_rows(tmp_path, task, mask=0.0, replace=0.5)
    texts = [row.text_a for row in rows]
    assert len(set(texts)) == len(texts) > 100
    assert not set(texts) & originals
    expected = {word for text in originals for word in text.split()}
    assert {word for text in texts for word in text.split()} <= expected
    assert {(row.text_b, row.label) for row in rows} == {(None, None)}


@pytest.mark.parametrize("block", [7, 1000])
def test_a_multiple_is_of_the_labelled_rows_that_are_not_for_selection(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words all differ and half of them are replaced, so hardly any two copies are equal."""
    monkeypatch.setattr(words, "BLOCK_ROWS", block)
    rng = np.random.default_rng(0)
    rows = [
        Row(" ".join(map(str, rng.integers(0, 9999, 30))), None, [0.0, 1.0, None][i % 3])
        for i in range(60)
    ]
    task = Task("t", SINGLE, split(rows), {})
    for multiple in (1, 4):
        rows = augmented_rows(tmp_path, task, multiple=multiple, mask=0.0, replace=0.5, ngram=0.0)
        assert len(rows) == 32 * multiple


def test_selection_rows_are_not_copied(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Masking keeps the other words in place; they have the number of the row that was copied."""
    rows = [Row(f"a{i} b{i} c{i} d{i}", None, float(i % 2)) for i in range(40)]
    task = Task("t", SINGLE, split(rows), {})
    numbers = {
        word[1:]
        for row in augmented_rows(tmp_path, task, mask=0.4, replace=0.0, ngram=0.0)
        for word in row.text_a.split()
    }
    for_training = rows_for_training(tmp_path, task, tokenizer)
    assert numbers - {""} == {row.text_a.split()[0][1:] for row in for_training}
    assert len(for_training) == 32


def test_pairs_are_changed_in_turn(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [Row(f"a{i}", f"b{i}", float(i % 2)) for i in range(40)]
    task = Task("t", PAIR, split(rows), {})
    for_training = rows_for_training(tmp_path, task, tokenizer)
    augmented = augmented_rows(tmp_path, task, multiple=1, mask=1.0, replace=0.0, ngram=0.0)
    expected = [
        (MASK, r.text_b) if i % 3 == 0 else (r.text_a, MASK) if i % 3 == 1 else (MASK, MASK)
        for i, r in enumerate(for_training)
    ]
    # (MASK, MASK) occurs only once.
    assert [(row.text_a, row.text_b) for row in augmented] == list(dict.fromkeys(expected))


def test_copies_follow_the_seed_and_every_setting(tmp_path: Path) -> None:
    (task,) = make_tasks(40, ("pair",))
    other: list[dict[str, Any]] = [
        {}, {}, {"seed": 1}, {"mask": 0.2}, {"replace": 0.2}, {"ngram": 0.5}, {"longest": 2},
    ]  # fmt: skip
    other += [{"neighbours": 2}, {"embeddings": str(MINILM)}]
    copies = [augmented_rows(tmp_path / str(i), task, **each) for i, each in enumerate(other)]
    assert copies[0] == copies[1]
    assert len({repr(rows) for rows in copies}) == len(copies) - 1
    keys = [
        augmented_split(stores_of(tmp_path, **settings), task).fingerprint for settings in other
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == len(other) - 1
    # Words are split once for all settings.
    assert len(list((tmp_path / "words").glob("*/manifest.json"))) == 1


def test_without_a_multiple_tasks_are_unchanged_and_nothing_is_stored(tmp_path: Path) -> None:
    tasks = make_tasks()
    assert augment_tasks(Stores(tmp_path, DataConfig(), 0), tasks) is tasks
    assert list(tmp_path.iterdir()) == []


def test_augmented_rows_come_after_a_tasks_own_and_after_its_files(tmp_path: Path) -> None:
    tasks = make_tasks()
    more = [replace(tasks[0], added=(tasks[0].dev[""],)), *tasks[1:]]
    augmented = augment_tasks(stores_of(tmp_path), more)
    assert [len(task.added) for task in augmented] == [2, 1, 1]
    assert augmented[0].added[1].source == "single, augmented"
    data = tokenise_task(tmp_path, augmented[0], make_tokenizer(tmp_path, tasks), DataConfig(), 0)
    assert len(data.train.labels) == 40 + 20 + len(list(augmented[0].added[1].read()))


def test_copies_that_all_equal_their_rows_are_refused(tmp_path: Path) -> None:
    rows = [Row(f"a{i}", None, float(i % 2)) for i in range(20)]
    task = Task("t", SINGLE, split(rows), {})
    with pytest.raises(ValueError) as caught:
        augmented_rows(tmp_path, task, mask=0.0, replace=0.0, ngram=1.0)
    assert "every copy of a row of task t equals a row" in str(caught.value)


# The mask token of each tokenizer.


def test_each_tokenizer_reads_its_own_mask_token(tmp_path: Path, tokenizer: Tokenizer) -> None:
    masked = split([Row(f"a film {MASK} {MASK} sea", f"{MASK}", None)])._replace(masked=True)
    for each in (tokenizer, load_tokenizer(MINILM, "")):
        store = token_store(tmp_path, masked, PAIR, each, 20)
        words_ = [
            each.convert_ids_to_tokens(ids)
            for texts in (store.a, store.b)
            if texts
            for ids in rows_of(texts)
        ]
        assert words_ == [["a", "film", "[MASK]", "[MASK]", "sea"], ["[MASK]"]]
    unknown = token_store(
        tmp_path,
        split([Row(f"a {MASK} b", None, None)])._replace(masked=True),
        SINGLE,
        roberta_like(),
        20,
    )
    assert rows_of(unknown.a) == [[4, 3, 5]], "it has no mask token"


def test_only_splits_that_are_marked_have_masks(tmp_path: Path) -> None:
    rows = split([Row(f"a {MASK} b", None, None)])
    plain, masked = (
        token_store(tmp_path, rows._replace(masked=m), SINGLE, load_tokenizer(MINILM, ""), 20)
        for m in (False, True)
    )
    assert plain.fingerprint != masked.fingerprint
    assert 103 not in plain.a.ids
    assert 103 in masked.a.ids


def test_a_tokenizer_that_cannot_mask_is_refused() -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    )
    message = "has neither a mask token nor an unknown one; allowed then: data.augment.mask=0"
    with pytest.raises(ValueError, match=message):
        mask_text(tokenizer)
