"""The split of train rows into training and selection rows."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
import pytest

from mkd.config import DataConfig
from mkd.selection import overlap
from mkd.selection.split import (
    LEVEL_ALL,
    LabelledRows,
    draw_groups,
    rarest_labels,
    row_groups,
    rows_per_stratum,
    selection_split,
    split_note,
    strata_of,
)
from mkd.selection.words import plain_word_store, plain_words
from mkd.tasks.task import Kind, Row, Task
from mkd.tokenization.tokenise import tokenise_task
from tests.support.tiny import PAIR, SCORE, SINGLE, make_tasks, make_tokenizer, split

NAN = float("nan")


def rows_of(texts: list[str], labels: list[float | None] | None = None) -> list[Row]:
    return [
        Row(text, None, 0.0 if labels is None else labels[place])
        for place, text in enumerate(texts)
    ]


def groups_of(tmp_path: Path, rows: list[Row], kind: Kind = SINGLE) -> list[list[int]]:
    """Returns the groups that have more than one row, as lists of row numbers."""
    task = Task("task", kind, split(rows), {})
    words = plain_word_store(tmp_path, task.train, kind)
    known = np.arange(len(rows))
    group_R = row_groups(tmp_path, task, words, known)[0][LEVEL_ALL]
    return [
        np.flatnonzero(group_R == group).tolist()
        for group in range(group_R.max() + 1)
        if (group_R == group).sum() > 1
    ]


def task_of(texts: list[str], labels: list[float | None] | None = None, name: str = "t") -> Task:
    rows = rows_of(texts) if labels is None else rows_of(texts, labels)
    return Task(name, SINGLE, split(rows), {})


def words_of(text: str) -> list[str]:
    words: list[str] = plain_words([text]).to_pylist()[0]
    return words


def overlap_by_definition(one: list[str], other: list[str]) -> bool:
    """Returns whether the words are equal, or contained, or equal without a word of each, by trying
    all."""
    short, long = sorted((one, other), key=len)
    if one == other:
        return True
    if len(short) >= overlap.RUN_WORDS and any(
        long[i : i + len(short)] == short for i in range(len(long) - len(short) + 1)
    ):
        return True
    left = [
        {tuple(words)} | {tuple(words[:i] + words[i + 1 :]) for i in range(len(words))}
        for words in (one, other)
    ]
    return any(len(words) >= overlap.NEAR_WORDS for words in left[0] & left[1])


def closed(num: int, edges: set[tuple[int, int]]) -> list[list[int]]:
    """Returns the groups of more than one row, by following all edges."""
    group = list(range(num))
    for _ in range(num):
        for one, other in edges:
            group[one] = group[other] = min(group[one], group[other])
    return [
        places
        for name in sorted(set(group))
        if len(places := [i for i in range(num) if group[i] == name]) > 1
    ]


def random_texts(num: int, seed: int, words: str, most: int) -> list[str]:
    rng = Random(seed)
    texts: list[str] = []
    for _ in range(num):
        base = rng.choice(texts).split() if texts and rng.random() < 0.5 else []
        turn = rng.random()
        if base and turn < 0.4:
            start = rng.randrange(len(base))
            base = base[start : start + rng.randint(1, most)]
        elif base and turn < 0.8:
            base[rng.randrange(len(base))] = rng.choice(words)
        else:
            base += [rng.choice(words) for _ in range(rng.randint(1, most))]
        texts.append(" ".join(base))
    return texts


@pytest.mark.parametrize("block", [7, 1 << 20])
@pytest.mark.parametrize("seed", range(4))
def test_groups_are_those_of_all_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, block: int
) -> None:
    monkeypatch.setattr(overlap, "BLOCK_WORDS", block)
    monkeypatch.setattr(overlap, "MAX_CANDIDATES", 3 * block)
    monkeypatch.setattr(overlap, "SORT_WORDS", 50 * block)
    texts = random_texts(150, seed, "abcdefghijklmnopqrstuvwxyz", 9)
    words = [words_of(text) for text in texts]
    edges = {
        (i, j)
        for i, j in product(range(150), repeat=2)
        if i < j and overlap_by_definition(words[i], words[j])
    }
    groups = groups_of(tmp_path, rows_of(texts))
    assert len(groups) > 5
    assert groups == closed(150, edges)


def test_texts_that_hold_one_another_are_together(tmp_path: Path) -> None:
    texts = [
        "a film of the sea",
        "this is A FILM, of the sea!",
        "film of the",
        "of the sea a film",
        "it was a film of the",
    ]
    assert groups_of(tmp_path, rows_of(texts)) == [[0, 1]]


def test_nearly_equal_texts_are_together(tmp_path: Path) -> None:
    base = "one two three four five six seven eight nine"
    others = [base.replace(*words) for words in (("five", "x"), ("five ", ""), ("five", "x y"))]
    groups = groups_of(tmp_path, rows_of([base, *others, base + " ten"]))
    assert groups in ([[0, 1, 2, 4]], [[0, 1, 2, 3, 4]])


@pytest.mark.parametrize(
    "second", [("b c d e", "a"), ("a", "b c d e"), ("a", "B, c d e."), ("x b c d e y", "a")]
)
def test_pairs_are_together_in_either_order(tmp_path: Path, second: tuple[str, str]) -> None:
    pairs = [("a", "b c d e"), second, ("a", "other"), ("z", "b c d e")]
    assert groups_of(tmp_path, [Row(*pair, 0.0) for pair in pairs], PAIR) == [[0, 1]]


def test_pairs_that_share_a_long_text_are_together(tmp_path: Path) -> None:
    long = "one two three four five six seven eight"
    pairs = [(long, "yes"), ("no", long), (long[:-6], "maybe"), (long[:-6], "never")]
    assert groups_of(tmp_path, [Row(*pair, 0.0) for pair in pairs], PAIR) == [[0, 1]]


def test_no_row_is_on_two_sides_and_all_are_on_one(tmp_path: Path) -> None:
    texts = random_texts(300, 1, "abcdefghijklmnopqrstuvwxyz", 9)
    labels: list[float | None] = [None if i % 4 == 0 else float(i % 3 == 0) for i in range(300)]
    config = DataConfig(selection_fraction=0.2)
    result = selection_split(tmp_path, task_of(texts, labels), config, 0)
    assert sorted([*result.train_rows, *result.selection_rows, *result.left_out]) == list(
        range(300)
    )
    assert len(result.selection_rows) == 45, "a fifth of the 225 labelled rows"
    assert all(labels[row] is not None for row in result.selection_rows)
    assert all(labels[row] is None for row in result.left_out)
    words = [words_of(text) for text in texts]
    close = [
        [overlap_by_definition(words[i], words[j]) for j in result.selection_rows]
        for i in range(300)
    ]
    assert not any(any(close[row]) for row in result.train_rows)
    unlabelled_close = [row for row in range(300) if labels[row] is None and any(close[row])]
    assert result.left_out.tolist() == unlabelled_close != []


def test_added_rows_that_overlap_with_selected_ones_are_not_learnt_from(tmp_path: Path) -> None:
    """data.transfer has each training text without its first word, and as many other texts."""
    texts = [" ".join(f"w{place}x{i}" for place in range(8)) for i in range(60)]
    near = [text.partition(" ")[2] for text in texts]
    far = [text.replace("x", "y") for text in texts]
    added = tuple(split([Row(text, None, None) for text in each]) for each in (near, far))
    task = replace(task_of(texts, [float(i % 2) for i in range(60)]), added=added)
    result = selection_split(tmp_path, task, DataConfig(selection_fraction=0.2), 0)
    assert len(result.selection_rows) == 12
    assert result.left_out.tolist() == [60 + row for row in result.selection_rows]
    kept = set(range(60, 180)) - set(result.left_out)
    assert set(result.train_rows) >= kept and len(kept) == 108


def test_the_split_follows_the_seed_alone(tmp_path: Path) -> None:
    task = task_of([f"text number {i}" for i in range(200)], [float(i % 2) for i in range(200)])
    first, other = (
        selection_split(tmp_path, task, DataConfig(), seed).selection_rows.tolist()
        for seed in (0, 1)
    )
    again = selection_split(tmp_path / "anew", task, DataConfig(), 0).selection_rows.tolist()
    assert first == again != other


def test_models_of_other_tokenizers_have_the_same_split(tmp_path: Path) -> None:
    (task,) = make_tasks(40, ("pair",), unlabelled=9)
    more = make_tasks(60, ("single", "pair"))
    one, other = make_tokenizer(tmp_path, [task]), make_tokenizer(tmp_path, more)
    first, second = (
        tokenise_task(tmp_path / name, task, tokenizer, DataConfig(), 0)
        for name, tokenizer in (("a", one), ("b", other))
    )
    assert first.train.fingerprint != second.train.fingerprint
    np.testing.assert_array_equal(first.selection_rows, second.selection_rows)
    np.testing.assert_array_equal(first.train_rows, second.train_rows)


def test_shares_by_hand() -> None:
    assert rows_per_stratum(np.array([50, 30, 20]), 10).tolist() == [5, 3, 2]
    # 5.5, 3.4, 1.1: the largest remainder is that of 5.5.
    assert rows_per_stratum(np.array([55, 34, 11]), 10).tolist() == [6, 3, 1]
    # 9.9 and 0.1: the rare class can give up one of its two rows.
    assert rows_per_stratum(np.array([190, 2]), 10).tolist() == [9, 1]
    assert rows_per_stratum(np.array([190, 1]), 10).tolist() == [10, 0], (
        "its only row is for training"
    )
    assert rows_per_stratum(np.array([2, 2, 2]), 5).tolist() == [1, 1, 1]


def labelled_rows(
    groups: np.ndarray, strata: np.ndarray | None = None, lengths: np.ndarray | None = None
) -> LabelledRows:
    """Returns labelled rows; by default all are in one stratum and have one word each."""
    none = np.zeros(len(groups), dtype=np.int64)
    lengths = none + 1 if lengths is None else lengths
    return LabelledRows(groups, none if strata is None else strata, lengths, none > 0)


@pytest.mark.parametrize("most", [300, 600])
def test_each_class_has_its_share_of_the_selected_rows(most: int) -> None:
    strata = np.array([0] * 950 + [1] * 50)
    drawn = draw_groups(labelled_rows(np.arange(1000), strata), 300, most, 0)
    assert drawn.enough
    assert np.bincount(strata[drawn.selected]).tolist() == [285, 15]
    assert drawn.apart.tolist() == drawn.selected.tolist()


def test_the_longest_row_of_each_group_is_selected_while_there_is_room_for_groups() -> None:
    groups, lengths = np.repeat(np.arange(100), 3), np.tile([5, 9, 7], 100)
    for num, most, places in (20, 60, [0, 20, 0]), (20, 30, [0, 10, 10]), (21, 21, [7, 7, 7]):
        drawn = draw_groups(labelled_rows(groups, lengths=lengths), num, most, 0)
        assert len(drawn.apart) == most
        assert np.bincount(drawn.selected % 3, minlength=3).tolist() == places
        assert np.isin(groups, groups[drawn.apart]).sum() == len(drawn.apart), "whole groups"


def test_groups_of_several_classes_are_balanced() -> None:
    groups, strata = np.repeat(np.arange(300), 2), np.tile([0, 1], 300)
    drawn = draw_groups(labelled_rows(groups, strata), 100, 100, 0)
    assert np.bincount(strata[drawn.selected]).tolist() == [50, 50]
    mixed = np.concatenate([np.repeat(np.arange(50), 2), np.arange(50, 250)])
    strata = np.concatenate([np.tile([0, 1], 50), np.zeros(150, dtype=int), np.ones(50, dtype=int)])
    drawn = draw_groups(labelled_rows(mixed, strata), 30, 30, 1)
    assert np.bincount(strata[drawn.selected]).tolist() == [20, 10]


def test_scores_are_stratified_by_quantiles() -> None:
    labels = np.random.default_rng(0).permutation(1000).astype(np.float64) ** 2
    strata = strata_of(labels, SCORE)
    assert np.bincount(strata).tolist() == [100] * 10
    counts = np.bincount(
        strata[draw_groups(labelled_rows(np.arange(1000), strata), 50, 50, 0).selected]
    ).tolist()
    assert counts == [5] * 10
    assert strata_of(np.full(9, 2.0), SCORE).tolist() == [0] * 9


def test_rows_of_several_labels_are_stratified_by_their_rarest() -> None:
    """Label a is on 4 rows, b on 2, c on 1; the last row has none."""
    sets = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert rarest_labels(sets).tolist() == [0, 1, 2, 0, 1, 3]


def test_groups_too_large_for_the_selection_are_learnt_from() -> None:
    groups = np.array([0] * 50 + list(range(1, 51)))
    for seed in range(5):
        drawn = draw_groups(labelled_rows(groups), 10, 10, seed)
        assert drawn.enough and len(drawn.selected) == 10 and drawn.selected.min() >= 50
    # Less than half of the rows can be drawn.
    assert not draw_groups(labelled_rows(np.array([0] * 51 + list(range(1, 50)))), 10, 10, 0).enough


def test_short_texts_that_others_contain_are_not_selected(tmp_path: Path) -> None:
    texts = [f"a{i} b{i} c{i} d{i}" for i in range(40)]
    texts += [f"b{i} c{i}" for i in range(10)] + [f"c{i} b{i}" for i in range(10)]
    task, half = task_of(texts), DataConfig(selection_fraction=0.5)
    words = plain_word_store(tmp_path, task.train, SINGLE)
    groups, barred = row_groups(tmp_path, task, words, np.arange(60))
    assert np.flatnonzero(barred).tolist() == list(range(40, 50))
    assert len(np.unique(groups[LEVEL_ALL])) == 60
    selected = [
        set(selection_split(tmp_path, task, half, seed).selection_rows) for seed in range(3)
    ]
    assert all(len(rows) == 30 and not rows & set(range(40, 50)) for rows in selected)
    texts = [f"a b c{i} d{i}" for i in range(20)] + ["a b", "b", "a", "a"] * 10
    statistics = selection_split(tmp_path, task_of(texts), half, 0).statistics
    # Without short texts too few rows would remain, so they are allowed again.
    assert statistics.together == "overlapping rows of 4 words or more"


def test_too_large_groups_are_split_and_a_note_says_so(tmp_path: Path) -> None:
    base = "one two three four five six seven eight nine"
    texts = [f"{base} {i}" for i in range(20)] * 2
    result = selection_split(tmp_path, task_of(texts), DataConfig(), 0)
    assert (result.statistics.groups, result.statistics.largest, result.statistics.share) == (
        1,
        40,
        100.0,
    )
    assert result.statistics.together == "rows that are or hold one another"
    note = split_note(result.statistics, len(result.selection_rows))
    assert note.startswith("SELECTION OVERLAPS with training: 1 groups of rows that overlap")
    one, other = np.split(result.selection_rows, 2)
    assert len(one) == 2 and (one + 20 == other).all()
    held = selection_split(tmp_path, task_of([*texts, base]), DataConfig(), 0)
    assert held.statistics.together == "rows of equal text"
    alike = selection_split(tmp_path, task_of(["the same"] * 40), DataConfig(), 0)
    assert alike.statistics.together == "single rows"
    assert len(alike.selection_rows) == 4


@pytest.mark.parametrize(("labelled", "fraction", "count"), [(0, 0.5, 0), (4, 0.1, 0), (1, 0.9, 1)])
def test_too_few_labelled_rows_are_refused(
    tmp_path: Path, labelled: int, fraction: float, count: int
) -> None:
    labels: list[float | None] = [1.0] * labelled + [None] * 9
    task = task_of([f"a {i}" for i in range(len(labels))], labels, "single")
    with pytest.raises(ValueError) as caught:
        selection_split(tmp_path, task, DataConfig(selection_fraction=fraction), 0)
    message = f"task single has {labelled} labelled rows, of which {count} would be held out"
    assert message in str(caught.value)
