"""Splits a task's training rows into those to learn from and those to select by.

Rows that overlap are kept on one side. Two single texts overlap as mkd/selection/overlap.py says.
Two pairs overlap if both texts overlap, in either order, or if they share a text of SHARED_WORDS
words or more, such as a premise with several hypotheses.

Labelled rows that overlap, directly or through other rows, form a group. Whole groups are drawn.
Some rows of a drawn group are selected, and its other rows are left out of training. Rows without a
label are not drawn; those that overlap with a selected row are left out of training too. If the
groups are too large for the requested split, smaller ones are formed (LEVELS).

The split depends only on the text, the labels, the settings and the seed. It is the same for models
with different tokenizers.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mkd.config import DataConfig
from mkd.selection.overlap import (
    RUN_WORDS,
    Corpus,
    Edges,
    find_equal_texts,
    find_overlaps,
    join_groups,
    overlap_groups,
    short_contained_texts,
    word_codes,
)
from mkd.selection.words import WordStore, plain_word_store
from mkd.storage.store import cached_folder, read_array, write_arrays
from mkd.tasks.label_sets import unpacked_sets
from mkd.tasks.task import Kind, Task

SPLIT_VERSION = "overlap-1"
"""Version of the split; it changes whenever other rows would be selected."""
SHARED_WORDS = 8
"""Pairs overlap if they share a text of at least this many words."""
SCORE_QUANTILES = 10
"""Number of quantiles of the scores by which a regression is stratified."""
LARGE_GROUP_DIVISOR = 20
"""A group of more than 1 / LARGE_GROUP_DIVISOR of the requested rows is drawn only if smaller ones
do not suffice."""
CHUNK_GROUPS = 1 << 14
"""Number of groups that are tested at once."""
LEVELS = (
    "overlapping rows",
    f"overlapping rows of {RUN_WORDS} words or more",
    "rows that are or hold one another",
    "rows of equal text",
    "single rows",
)
"""What is kept on one side of the split, from strict to weak.

The next level is used if the groups of one level are too large for the requested split. At the
first level, short texts that other texts contain are never selected, because too many rows would
have to stay with them.
"""
LEVEL_ALL, LEVEL_LONG, LEVEL_CONTAINED, LEVEL_EQUAL, LEVEL_SINGLE = range(len(LEVELS))


class SplitStatistics(NamedTuple):
    """Statistics of the selection split of a task's labelled training rows.

    - `version`: version of the split.
    - `groups`: number of groups of overlapping rows.
    - `largest`: number of rows in the largest group.
    - `share`: percentage of rows that overlap with another row.
    - `together`: what is kept on one side, one of LEVELS.
    - `selected_groups`: number of groups with selected rows.
    - `left_out`: number of rows on neither side.
    """

    version: str
    groups: int
    largest: int
    share: float
    together: str
    selected_groups: int = 0
    left_out: int = 0


class SelectionSplit(NamedTuple):
    """A split of row numbers, each sorted; the rows in `left_out` are on neither side."""

    train_rows: np.ndarray
    selection_rows: np.ndarray
    left_out: np.ndarray
    statistics: SplitStatistics


def selection_split(root: Path, task: Task, config: DataConfig, seed: int) -> SelectionSplit:
    """Returns the split of a task's training rows and the rows added to them; cached on disk.

    The settings say how many labelled rows are selected. Together with the other rows of their
    groups they are at most the share data.selection_fraction of the labelled rows (see
    `draw_groups`).

    Raises ValueError if one of the sides would have no row.
    """
    splits = (task.train, *task.added)
    key_values = {
        "rows": [split.fingerprint for split in splits],
        "kind": [task.kind.pair, len(task.kind.labels), *(["multilabel"] * task.kind.multilabel)],
        "asked": [config.selection_fraction, config.selection_rows],
        "seed": seed,
        "version": SPLIT_VERSION,
    }

    def build(aside: Path) -> None:
        words = plain_word_store(root, task.train, task.kind)
        chosen, apart, statistics = _select(root, task, words, config, seed)
        few = corpus_of(words, chosen)
        left_out = [np.setdiff1d(apart, chosen)]
        first = 0
        for split in splits:
            many = plain_word_store(root, split, task.kind)
            unlabelled = np.flatnonzero(np.isnan(many.labels))
            level = LEVELS.index(statistics.together)
            left_out.append(
                first + unlabelled[overlapping_rows(few, corpus_of(many, unlabelled), level)]
            )
            first += len(many.labels)
        # The rows of all splits are numbered in one sequence, as in a joined token store.
        narrow = "<i4" if first < 2**31 else "<i8"
        write_arrays(aside / "selection", [chosen.astype(narrow)])
        write_arrays(aside / "left_out", [np.sort(np.concatenate(left_out)).astype(narrow)])
        (aside / "found.json").write_text(
            json.dumps({"rows": first, "type": narrow, "found": statistics._asdict()})
        )

    folder = cached_folder(root, "selection", key_values, build)
    about = json.loads((folder / "found.json").read_text())
    chosen, left_out = (
        read_array(folder / name, about["type"]) for name in ("selection", "left_out")
    )
    in_training = np.ones(about["rows"], dtype=bool)
    in_training[chosen] = False
    in_training[left_out] = False
    split_statistics = SplitStatistics(**about["found"])._replace(left_out=len(left_out))
    return SelectionSplit(
        np.flatnonzero(in_training).astype(about["type"]), chosen, left_out, split_statistics
    )


def split_note(statistics: SplitStatistics, rows: int) -> str:
    """Returns the statistics in words, for a run's notes.

    - `rows`: number of selected rows.
    """
    text = (
        f"{statistics.groups:,} groups of rows that overlap, the largest of "
        f"{statistics.largest:,} rows; {statistics.share:.1f} % of the rows overlap with another; "
        f"{rows:,} rows of {statistics.selected_groups:,} groups are held out for selection"
    )
    if statistics.together != LEVELS[0]:
        text = (
            f"SELECTION OVERLAPS with training: {text}, by {statistics.together}, "
            "as the groups are too large for the requested split"
        )
    if statistics.left_out:
        more = f"{statistics.left_out:,} more rows that overlap with these"
        text += f"; {more} are left out of training"
    return text


def split_metrics(statistics: SplitStatistics) -> dict[str, float]:
    """Returns the statistics as numbers by name; `grouped_share` is in percent."""
    return {
        "groups": float(statistics.groups),
        "largest_group": float(statistics.largest),
        "grouped_share": statistics.share,
        "selected_groups": float(statistics.selected_groups),
        "left_out": float(statistics.left_out),
        "apart": float(statistics.together == LEVELS[0]),
    }


def _select(
    root: Path, task: Task, words: WordStore, config: DataConfig, seed: int
) -> tuple[np.ndarray, np.ndarray, SplitStatistics]:
    """Returns the selected rows, all rows of their groups, and the statistics of the groups."""
    known = np.flatnonzero(~np.isnan(words.labels))
    count = min(config.selection_rows, round(config.selection_fraction * len(known)))
    if count == 0 or count == len(known):
        raise ValueError(
            f"{task.train.source}: task {task.name} has {len(known)} labelled rows, "
            f"of which {count} would be held out for selection; allowed: at least one in both parts"
        )
    groups, barred = row_groups(root, task, words, known)
    strata = (
        strata_of(words.labels[known], task.kind)
        if words.sets is None
        else rarest_labels(unpacked_sets(words.sets[known], len(task.kind.labels)))
    )
    lengths = sum(side.lengths(known) for side in words.sides)
    most = round(config.selection_fraction * len(known))
    for level in range(len(LEVELS)):
        rows = LabelledRows(
            groups[level],
            strata,
            np.asarray(lengths),
            barred if level == LEVEL_ALL else np.zeros_like(barred),
        )
        drawn = draw_groups(rows, count, most, seed)
        if drawn.enough:
            break
    if len(drawn.selected) == 0:
        raise ValueError(
            f"{task.train.source}: task {task.name} has no class with two labelled rows; "
            "allowed: two or more of some class, one for selection and one for training"
        )
    sizes = np.bincount(groups[LEVEL_LONG])
    # The statistics describe all overlaps, even if a weaker level was used.
    share = float(100 * sizes[sizes > 1].sum() / len(known))
    num = len(np.unique(groups[LEVEL_LONG][drawn.selected]))
    statistics = SplitStatistics(
        SPLIT_VERSION, len(sizes), int(sizes.max()), share, LEVELS[level], num
    )
    return known[drawn.selected], known[drawn.apart], statistics


def row_groups(
    root: Path, task: Task, words: WordStore, known: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns the group number of each row at each of LEVELS, and whether a row is barred.

    A barred row is too short to be selected at the first level. `known` must be all labelled rows
    of the task; the result is cached on disk.
    """
    key_values = {"rows": task.train.fingerprint, "pair": task.kind.pair, "version": SPLIT_VERSION}

    def build(aside: Path) -> None:
        corpus = corpus_of(words, known)
        equal, held, near = overlap_groups(corpus)
        if task.kind.pair:
            held, near = (_pair_groups(groups, equal, corpus.lengths()) for groups in (held, near))
            equal = _pairs(equal)
        for level, groups in ((LEVEL_LONG, near), (LEVEL_CONTAINED, held), (LEVEL_EQUAL, equal)):
            write_arrays(aside / f"{level}.int32", [_numbered(groups)])
        # Both texts of a pair must overlap, so that short ones do not connect it with many others.
        barred = (
            np.zeros(len(known), dtype=bool) if task.kind.pair else short_contained_texts(corpus)
        )
        write_arrays(aside / "barred.bool", [barred])

    folder = cached_folder(root, "groups", key_values, build)
    near, held, equal = (
        read_array(folder / f"{level}.int32", "<i4")
        for level in (LEVEL_LONG, LEVEL_CONTAINED, LEVEL_EQUAL)
    )
    return [near, near, held, equal, np.arange(len(known), dtype="<i4")], read_array(
        folder / "barred.bool", "?"
    )


def _numbered(groups: np.ndarray) -> np.ndarray:
    """Returns the groups renumbered from 0 without gaps."""
    numbered: np.ndarray = np.unique(groups, return_inverse=True)[1].astype("<i4")
    return numbered


def corpus_of(words: WordStore, rows: np.ndarray) -> Corpus:
    """Returns the first texts of these rows, followed by their second texts."""
    texts = np.concatenate([rows + side * len(words.labels) for side in range(len(words.sides))])
    return Corpus(words.sides, word_codes(words.vocabulary), texts)


def _pairs(texts: np.ndarray) -> np.ndarray:
    """Returns a number for each pair of texts; both orders of a pair have the same number."""
    a, b = np.split(texts.astype(np.int64), 2)
    keys: np.ndarray = np.minimum(a, b) * (int(texts.max()) + 1) + np.maximum(a, b)
    return keys


def _pair_groups(texts: np.ndarray, equal: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns the groups of pairs from the groups of their texts and of equal texts."""
    both = _numbered(_pairs(texts))
    num = len(both)
    pairs, most = int(both.max()) + 1, int(equal.max()) + 1
    rows = np.tile(np.arange(num), 2)
    long = lengths >= SHARED_WORDS
    # A graph of the rows and two kinds of extra nodes: one for each two groups of texts, and one
    # for each long text. Rows with a common node are in one group.
    edges = [(np.arange(num), num + both), (rows[long], num + pairs + equal[long])]
    return join_groups(np.arange(num + pairs + most), iter(edges))[:num]


def overlapping_rows(few: Corpus, many: Corpus, level: int = LEVEL_ALL) -> np.ndarray:
    """Returns for each row of `many` whether it must be on the same side as a row of `few`.

    - `level`: index of LEVELS.
    """
    num, others = (len(corpus.texts) // len(corpus.sides) for corpus in (few, many))
    overlap = np.zeros(others, dtype=bool)
    if others == 0 or level == LEVEL_SINGLE:
        return overlap
    overlapping = (
        find_overlaps(few, many, near=level < LEVEL_CONTAINED)
        if level < LEVEL_EQUAL
        else find_equal_texts(few, many)
    )
    if len(few.sides) == 1:
        for _, text in overlapping:
            overlap[text] = True
        return overlap
    long = few.lengths() >= SHARED_WORDS
    for one, text in find_equal_texts(few, many) if level < LEVEL_EQUAL else ():
        overlap[text[long[one]] % others] = True
    none = np.zeros(0, dtype=np.int64)
    edges: list[Edges] = [(none, none), *overlapping]
    one, text = (np.concatenate(ends).astype(np.int64) for ends in zip(*edges, strict=True))
    # `match` numbers two rows, one of each corpus. They overlap if both of their texts do.
    side, other_side, match = one // num, text // others, (text % others) * num + one % num
    # First with first and second with second text, or crossed.
    for crossed in (False, True):
        first, second = (
            np.unique(match[(side == which) & (other_side == (which ^ crossed))])
            for which in (0, 1)
        )
        overlap[np.intersect1d(first, second, assume_unique=True) // num] = True
    return overlap


def strata_of(labels: np.ndarray, kind: Kind) -> np.ndarray:
    """Returns the stratum of each row: its class, or the quantile of its score."""
    if kind.labels:
        classes: np.ndarray = np.unique(labels, return_inverse=True)[1]
        return classes
    edges = np.sort(labels)[np.arange(1, SCORE_QUANTILES) * len(labels) // SCORE_QUANTILES]
    strata: np.ndarray = np.unique(
        np.searchsorted(edges, labels, side="right"), return_inverse=True
    )[1]
    return strata


def rarest_labels(sets_RC: np.ndarray) -> np.ndarray:
    """Returns the stratum of each row of a multilabel task: the rarest of its labels.

    A label that few rows have is then on both sides of the split, whatever common labels its rows
    have besides. Rows with none of the labels are a stratum of their own.

    - `sets_RC`: 0 and 1.
    """
    counts_C = sets_RC.sum(0, dtype=np.int64)
    # Of equally rare labels it is the first.
    ranks_RC = np.where(sets_RC > 0, counts_C, len(sets_RC) + 1)
    rarest_R = np.where(sets_RC.any(1), ranks_RC.argmin(1), len(counts_C))
    strata: np.ndarray = np.unique(rarest_R, return_inverse=True)[1]
    return strata


def rows_per_stratum(counts: np.ndarray, total: int) -> np.ndarray:
    """Returns how many of `total` rows each stratum gets: in proportion, by largest remainders.

    A stratum of at least two rows gets at least one, if another stratum has more than one to give.
    Each stratum keeps at least one row for training.
    """
    exact = counts * total / counts.sum()
    room = np.maximum(counts - 1, 0)
    counts_drawn: np.ndarray = np.minimum(np.floor(exact).astype(np.int64), room)
    for _ in range(min(total, int(room.sum())) - int(counts_drawn.sum())):
        counts_drawn[np.argmax(np.where(counts_drawn < room, exact - counts_drawn, -np.inf))] += 1
    for rare in np.flatnonzero((counts_drawn == 0) & (room > 0)):
        if counts_drawn.max() > 1:
            counts_drawn[np.argmax(counts_drawn)] -= 1
            counts_drawn[rare] = 1
    return counts_drawn


class LabelledRows(NamedTuple):
    """Labelled rows to draw from: group and stratum, both numbered from 0, and number of words.

    - `barred`: whether a row's group must not be drawn.
    """

    groups: np.ndarray
    strata: np.ndarray
    lengths: np.ndarray
    barred: np.ndarray


class DrawnRows(NamedTuple):
    """The places of drawn rows, sorted.

    - `selected`: the selected rows.
    - `apart`: all rows of the drawn groups, including the selected ones.
    - `enough`: whether nearly as many rows are selected as requested (see `draw_groups`).
    """

    selected: np.ndarray
    apart: np.ndarray
    enough: bool


class GroupOrder(NamedTuple):
    """Groups in the order in which they are drawn.

    - `ends`: the end of each group among the rows; a group's longest row is its first.
    - `strata`: strata of the rows in this order.
    - `free`: whether a group may be drawn.
    """

    ends: np.ndarray
    strata: np.ndarray
    free: np.ndarray


def draw_groups(rows: LabelledRows, count: int, most: int, seed: int) -> DrawnRows:
    """Draws whole groups with at most `most` rows in all, and selects `count` of their rows.

    Groups are drawn in an order that the seed determines, until there are as many groups as
    requested rows, or until no further group fits. The longest row of each group is selected,
    because it is the most informative one. If rows are missing, the second longest of each group
    follows, and so on. The strata get the numbers of `rows_per_stratum` if enough groups exist, and
    each keeps a row for training.

    Rows are missing only if no other group can be drawn: each is barred, is larger than `count`,
    has more rows than `most` leaves, or has the last rows of a stratum.

    `enough` requires half of the requested rows, and half of each stratum's, rounded down. It also
    requires that half of all rows can be drawn: their groups are neither barred nor larger than
    `count`.
    """
    sizes, counts = np.bincount(rows.groups), np.bincount(rows.strata)
    rank = np.random.default_rng([seed, 0]).permutation(len(sizes))
    free = np.ones(len(sizes), dtype=bool)
    free[rank[rows.groups[rows.barred]]] = False
    drawable = np.mean(free[rank[rows.groups]] & (sizes[rows.groups] <= count))
    order = np.lexsort((-rows.lengths, rank[rows.groups]))
    turns = GroupOrder(np.cumsum(sizes[np.argsort(rank)]), rows.strata[order], free)

    wanted, room = rows_per_stratum(counts, count), rows_per_stratum(counts, most)
    heads, left, taken = wanted.copy(), room.copy(), np.zeros(len(sizes), dtype=bool)
    none = np.zeros_like(room)
    # Small groups first: a large one uses up rows of `most` for a single selected row. Larger ones
    # follow if rows are missing, and last those that take more of a stratum than its share.
    for largest, beyond in (
        (max(1, count // LARGE_GROUP_DIVISOR), none),
        (count, none),
        (count, np.maximum(counts - 1 - room, 0)),
    ):
        _take_groups(turns, heads, left, beyond, largest, taken)

    starts = np.concatenate([[0], turns.ends])
    apart = np.flatnonzero(np.repeat(taken, np.diff(starts)))
    turn = apart - np.repeat(starts[:-1], np.diff(starts))[apart]
    # The longest row of each group first, then the second longest of each.
    apart = apart[np.argsort(turn, kind="stable")]
    chosen = _by_strata(turns.strata[apart], wanted)
    got = np.bincount(turns.strata[apart[chosen]], minlength=len(counts))
    enough = drawable >= 0.5 and len(chosen) >= wanted.sum() / 2 and (got >= wanted // 2).all()
    return DrawnRows(np.sort(order[apart[chosen]]), np.sort(order[apart]), bool(enough))


def _by_strata(strata: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Returns the places of the first rows of each stratum, as many as wanted.

    If a stratum has too few rows, the first rows of other strata are taken instead.
    """
    by_stratum = np.argsort(strata, kind="stable")
    counts = np.bincount(strata, minlength=len(wanted))
    place = np.arange(len(strata)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = np.zeros(len(strata), dtype=bool)
    first[by_stratum] = place < np.repeat(wanted, counts)
    others = np.flatnonzero(~first)[: int(wanted.sum()) - int(first.sum())]
    return np.concatenate([np.flatnonzero(first), others])


def _take_groups(
    turns: GroupOrder,
    heads: np.ndarray,
    left: np.ndarray,
    beyond: np.ndarray,
    largest: int,
    taken: np.ndarray,
) -> None:
    """Takes each group that fits, in order; updates `taken`, `heads` and `left`.

    - `heads`: how many more groups may be taken, by the stratum of their longest row.
    - `left`: how many more rows may be taken, by stratum.
    - `beyond`: how many more of both a stratum may have, within the totals.
    - `largest`: maximum number of rows in a group.
    """
    num = len(left)
    extra = beyond.any()
    for first in range(0, len(taken), CHUNK_GROUPS):
        if min(heads.sum(), left.sum()) <= 0:
            return
        last = min(first + CHUNK_GROUPS, len(taken))
        start = turns.ends[first - 1] if first else 0
        sizes = np.diff(turns.ends[first:last], prepend=start)
        strata = turns.strata[start : turns.ends[last - 1]]
        head = strata[np.cumsum(sizes) - sizes]
        keys, counts = np.unique(
            np.repeat(np.arange(last - first), sizes) * num + strata, return_counts=True
        )
        owner, stratum = keys // num, keys % num
        fits = turns.free[first:last] & ~taken[first:last] & (sizes <= largest)
        fits &= extra | (heads[head] > 0)
        fits[owner[counts > (left + beyond)[stratum]]] = False
        starts = np.searchsorted(owner, np.arange(last - first + 1))
        # The tests above are for a whole chunk and drop most groups. Groups taken since then may
        # have used up what was left, so each remaining group is tested again.
        for group in np.flatnonzero(fits):
            group_entries = slice(starts[group], starts[group + 1])
            if (
                sizes[group] <= left.sum()
                and (heads[head[group]] > 0 or (extra and heads.sum() > 0))
                and (counts[group_entries] <= (left + beyond)[stratum[group_entries]]).all()
            ):
                heads[head[group]] -= 1
                left[stratum[group_entries]] -= counts[group_entries]
                taken[first + group] = True
