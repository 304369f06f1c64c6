"""A task's training rows split into those to learn from and those to select by, so that neither side tells of the other.

Rows overlap as their texts do (mkd/selection/overlap.py): a single text with another; a pair with another where both texts
overlap, in either order, or where they have a text of SHARED_WORDS words or more in common, as a premise with
several hypotheses. Labelled rows that overlap, directly or by way of others, are a group. Of a group that is drawn
some rows are selected, and the others are left out of training, as are all rows without a label that overlap with a
selected one; these have no part in the draw.

It all follows from the text, the labels, the settings and the seed: models with other tokenizers have the same
split.
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
    equals,
    groups_of,
    joined_groups,
    overlaps_with,
    short_and_held,
    word_codes,
)
from mkd.selection.words import Words, plain_store
from mkd.storage.store import read_array, stored, write_arrays
from mkd.tasks.task import Kind, Task

VERSION = "overlap-1"
"""How the rows are split; another name whenever other rows would be selected."""
SHARED_WORDS = 8
QUANTILES = 10
"""Regression: rows are stratified by so many quantiles of their scores."""
LARGEST = 20
"""Groups of more than one in so many of the rows asked for are drawn only where smaller ones do not suffice."""
CHUNK_GROUPS = 1 << 14
LEVELS = (
    "overlapping rows",
    f"overlapping rows of {RUN_WORDS} words or more",
    "rows that are or hold one another",
    "rows of equal text",
    "single rows",
)
"""What is kept on one side; the next one is taken where the groups of one are too large to be split as asked.

At the first, texts of fewer words that stand in others are never selected: what holds them is too much to be kept with them.
"""
ALL, LONG, HELD, EQUAL, SINGLE = range(len(LEVELS))


class Found(NamedTuple):
    """What the labelled training rows of a task are like where they are split into those to learn from and to select by.

    version: how they are split. groups, largest: of rows that overlap, their number and the largest one's rows. share: percent
    of the rows that overlap with another. together: what is on one side. selected_groups: those that have selected rows.
    left_out: rows on neither side.
    """

    version: str
    groups: int
    largest: int
    share: float
    together: str
    selected_groups: int = 0
    left_out: int = 0


class Carving(NamedTuple):
    """Rows by their number, sorted; `left_out` are on neither side."""

    train_rows: np.ndarray
    selection_rows: np.ndarray
    left_out: np.ndarray
    found: Found


def carved(root: Path, task: Task, config: DataConfig, seed: int) -> Carving:
    """The split of a task's training rows, with those that are added to them; computed once.

    As many labelled rows are selected as config asks for, as in `drawn`, and with the others of their groups no more than its
    share of them is set apart. Raises ValueError where that leaves no row.
    """
    splits = (task.train, *task.added)
    parts = {
        "rows": [split.fingerprint for split in splits],
        "kind": [task.kind.pair, len(task.kind.labels)],
        "asked": [config.selection_fraction, config.selection_rows],
        "seed": seed,
        "version": VERSION,
    }

    def build(aside: Path) -> None:
        words = plain_store(root, task.train, task.kind)
        chosen, apart, found = _chosen(root, task, words, config, seed)
        few = _corpus(words, chosen)
        left_out = [np.setdiff1d(apart, chosen)]
        first = 0
        for split in splits:
            many = plain_store(root, split, task.kind)
            unlabelled = np.flatnonzero(np.isnan(many.labels))
            left_out.append(first + unlabelled[touched(few, _corpus(many, unlabelled), LEVELS.index(found.together))])
            first += len(many.labels)
        narrow = "<i4" if first < 2**31 else "<i8"
        write_arrays(aside / "selection", [chosen.astype(narrow)])
        write_arrays(aside / "left_out", [np.sort(np.concatenate(left_out)).astype(narrow)])
        (aside / "found.json").write_text(json.dumps({"rows": first, "type": narrow, "found": found._asdict()}))

    folder = stored(root, "selection", parts, build)
    about = json.loads((folder / "found.json").read_text())
    chosen, left_out = (read_array(folder / name, about["type"]) for name in ("selection", "left_out"))
    learnt = np.ones(about["rows"], dtype=bool)
    learnt[chosen] = False
    learnt[left_out] = False
    found = Found(**about["found"])._replace(left_out=len(left_out))
    return Carving(np.flatnonzero(learnt).astype(about["type"]), chosen, left_out, found)


def told(found: Found, rows: int) -> str:
    """What was found of a task's rows, in words. rows: how many are selected."""
    text = (
        f"{found.groups:,} groups of rows that overlap, the largest of {found.largest:,} rows; {found.share:.1f} % of the rows "
        f"overlap with another; {rows:,} rows of {found.selected_groups:,} groups are set apart for selection"
    )
    if found.together != LEVELS[0]:
        text = f"SELECTION OVERLAPS with training: {text}, by {found.together}, as the groups cannot be split as asked for"
    if found.left_out:
        text += f"; {found.left_out:,} more rows that overlap with these are left out of training"
    return text


def metrics(found: Found) -> dict[str, float]:
    """What was found of a task's rows, as numbers by name; share in percent."""
    return {
        "groups": float(found.groups), "largest_group": float(found.largest), "grouped_share": found.share,
        "selected_groups": float(found.selected_groups),
        "left_out": float(found.left_out), "apart": float(found.together == LEVELS[0]),
    }  # fmt: skip


def _chosen(root: Path, task: Task, words: Words, config: DataConfig, seed: int) -> tuple[np.ndarray, np.ndarray, Found]:
    """The rows that are selected, all rows of their groups, and what was found of the labelled rows' groups."""
    known = np.flatnonzero(~np.isnan(words.labels))
    count = min(config.selection_rows, round(config.selection_fraction * len(known)))
    if count == 0 or count == len(known):
        raise ValueError(
            f"{task.train.source}: task {task.name} has {len(known)} labelled rows, "
            f"of which {count} would be set apart for selection; both parts need at least one"
        )
    groups, barred = row_groups(root, task, words, known)
    strata = strata_of(words.labels[known], task.kind)
    lengths = sum(side.lengths(known) for side in words.sides)
    most = round(config.selection_fraction * len(known))
    for level in range(len(LEVELS)):
        rows = Rows(groups[level], strata, np.asarray(lengths), barred if level == ALL else np.zeros_like(barred))
        found = drawn(rows, count, most, seed)
        if found.enough:
            break
    if len(found.selected) == 0:
        raise ValueError(
            f"{task.train.source}: task {task.name} has no class with two labelled rows; "
            "selection and training need one each of some class"
        )
    sizes = np.bincount(groups[LONG])
    share = float(100 * sizes[sizes > 1].sum() / len(known))
    num = len(np.unique(groups[LONG][found.selected]))
    told = Found(VERSION, len(sizes), int(sizes.max()), share, LEVELS[level], num)
    return known[found.selected], known[found.apart], told


def row_groups(root: Path, task: Task, words: Words, known: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """For each of these rows the number of its group, at each of LEVELS, and whether it is too short to be selected at the first.

    Computed once for a task's labelled rows, which these are.
    """
    parts = {"rows": task.train.fingerprint, "pair": task.kind.pair, "version": VERSION}

    def build(aside: Path) -> None:
        corpus = _corpus(words, known)
        equal, held, near = groups_of(corpus)
        if task.kind.pair:
            held, near = (_pair_groups(groups, equal, corpus.lengths()) for groups in (held, near))
            equal = _pairs(equal)
        for level, groups in ((LONG, near), (HELD, held), (EQUAL, equal)):
            write_arrays(aside / f"{level}.int32", [_numbered(groups)])
        # A pair is joined by both of its texts: short ones do not make it overlap with much.
        barred = np.zeros(len(known), dtype=bool) if task.kind.pair else short_and_held(corpus)
        write_arrays(aside / "barred.bool", [barred])

    folder = stored(root, "groups", parts, build)
    near, held, equal = (read_array(folder / f"{level}.int32", "<i4") for level in (LONG, HELD, EQUAL))
    return [near, near, held, equal, np.arange(len(known), dtype="<i4")], read_array(folder / "barred.bool", "?")


def _numbered(groups: np.ndarray) -> np.ndarray:
    """Groups by numbers from 0 on without a gap."""
    found: np.ndarray = np.unique(groups, return_inverse=True)[1].astype("<i4")
    return found


def _corpus(words: Words, rows: np.ndarray) -> Corpus:
    """The first texts of these rows, then their second ones."""
    texts = np.concatenate([rows + side * len(words.labels) for side in range(len(words.sides))])
    return Corpus(words.sides, word_codes(words.vocabulary), texts)


def _pairs(texts: np.ndarray) -> np.ndarray:
    """A number for each pair, the same for the same two numbers of texts in either order."""
    a, b = np.split(texts.astype(np.int64), 2)
    found: np.ndarray = np.minimum(a, b) * (int(texts.max()) + 1) + np.maximum(a, b)
    return found


def _pair_groups(texts: np.ndarray, equal: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Groups of pairs, by the groups of their texts and by those of equal texts."""
    both = _numbered(_pairs(texts))
    num = len(both)
    pairs, most = int(both.max()) + 1, int(equal.max()) + 1
    rows = np.tile(np.arange(num), 2)
    long = lengths >= SHARED_WORDS
    edges = [(np.arange(num), num + both), (rows[long], num + pairs + equal[long])]
    return joined_groups(np.arange(num + pairs + most), iter(edges))[:num]


def touched(few: Corpus, many: Corpus, level: int = ALL) -> np.ndarray:
    """For each row of `many` whether it is to be kept together with one of `few`; level: of LEVELS."""
    num, others = (len(corpus.texts) // len(corpus.sides) for corpus in (few, many))
    found = np.zeros(others, dtype=bool)
    if others == 0 or level == SINGLE:
        return found
    overlapping = overlaps_with(few, many, near=level < HELD) if level < EQUAL else equals(few, many)
    if len(few.sides) == 1:
        for _, text in overlapping:
            found[text] = True
        return found
    long = few.lengths() >= SHARED_WORDS
    for one, text in equals(few, many) if level < EQUAL else ():
        found[text[long[one]] % others] = True
    none = np.zeros(0, dtype=np.int64)
    edges: list[Edges] = [(none, none), *overlapping]
    one, text = (np.concatenate(ends).astype(np.int64) for ends in zip(*edges, strict=True))
    side, other_side, match = one // num, text // others, (text % others) * num + one % num
    for crossed in (False, True):  # the first text with the first one and the second with the second, or the other way round
        first, second = (np.unique(match[(side == which) & (other_side == (which ^ crossed))]) for which in (0, 1))
        found[np.intersect1d(first, second, assume_unique=True) // num] = True
    return found


def strata_of(labels: np.ndarray, kind: Kind) -> np.ndarray:
    """For each row the number of its stratum: its class, or the quantile that its score is in."""
    if kind.labels:
        classes: np.ndarray = np.unique(labels, return_inverse=True)[1]
        return classes
    edges = np.sort(labels)[np.arange(1, QUANTILES) * len(labels) // QUANTILES]
    found: np.ndarray = np.unique(np.searchsorted(edges, labels, side="right"), return_inverse=True)[1]
    return found


def shares(counts: np.ndarray, total: int) -> np.ndarray:
    """How many of `total` rows each stratum gets: in proportion to its rows, by the largest remainders.

    A stratum of two rows or more gets at least one where others have more than one; each keeps at least one for training.
    """
    exact = counts * total / counts.sum()
    room = np.maximum(counts - 1, 0)
    found: np.ndarray = np.minimum(np.floor(exact).astype(np.int64), room)
    for _ in range(min(total, int(room.sum())) - int(found.sum())):
        found[np.argmax(np.where(found < room, exact - found, -np.inf))] += 1
    for rare in np.flatnonzero((found == 0) & (room > 0)):
        if found.max() > 1:
            found[np.argmax(found)] -= 1
            found[rare] = 1
    return found


class Rows(NamedTuple):
    """Labelled rows as they are drawn from: by row the number of its group and of its stratum, from 0, and its words.

    barred: whether a row's group is not to be drawn.
    """

    groups: np.ndarray
    strata: np.ndarray
    lengths: np.ndarray
    barred: np.ndarray


class Drawn(NamedTuple):
    """Places of rows, sorted. apart: of all rows of the groups that were drawn, the selected ones among them.

    enough: whether nearly as many are selected as asked for.
    """

    selected: np.ndarray
    apart: np.ndarray
    enough: bool


class Turns(NamedTuple):
    """Groups in the order in which they are drawn. ends: of each one's rows, the longest of which comes first.

    strata: of the rows in this order. free: whether a group may be drawn.
    """

    ends: np.ndarray
    strata: np.ndarray
    free: np.ndarray


def drawn(rows: Rows, count: int, most: int, seed: int) -> Drawn:
    """`count` rows of whole groups that are drawn by the seed and have at most `most` rows in all.

    Groups are drawn until there are as many as rows are asked for, or no other fits. Of each its longest row is selected, which
    says most; then, until there are rows enough, the next one of each, and so on. Strata have what `shares` says as long as
    groups can be found for that, and keep a row each for training. Rows are missing only where every other group has more rows
    than `most` leaves or the last ones of a stratum.

    Nearly as many as asked for: half of them, and of each stratum's rounded down, where half of the rows there are can be drawn
    at all, as their groups are neither barred nor larger than `count`.
    """
    sizes, counts = np.bincount(rows.groups), np.bincount(rows.strata)
    rank = np.random.default_rng([seed, 0]).permutation(len(sizes))
    free = np.ones(len(sizes), dtype=bool)
    free[rank[rows.groups[rows.barred]]] = False
    drawable = np.mean(free[rank[rows.groups]] & (sizes[rows.groups] <= count))
    order = np.lexsort((-rows.lengths, rank[rows.groups]))
    turns = Turns(np.cumsum(sizes[np.argsort(rank)]), rows.strata[order], free)

    wanted, room = shares(counts, count), shares(counts, most)
    heads, left, taken = wanted.copy(), room.copy(), np.zeros(len(sizes), dtype=bool)
    none = np.zeros_like(room)
    for largest, beyond in ((max(1, count // LARGEST), none), (count, none), (count, np.maximum(counts - 1 - room, 0))):
        _take(turns, heads, left, beyond, largest, taken)

    starts = np.concatenate([[0], turns.ends])
    apart = np.flatnonzero(np.repeat(taken, np.diff(starts)))
    turn = apart - np.repeat(starts[:-1], np.diff(starts))[apart]
    apart = apart[np.argsort(turn, kind="stable")]  # the longest row of each group, then the next one of each
    chosen = _by_strata(turns.strata[apart], wanted)
    got = np.bincount(turns.strata[apart[chosen]], minlength=len(counts))
    enough = drawable >= 0.5 and len(chosen) >= wanted.sum() / 2 and (got >= wanted // 2).all()
    return Drawn(np.sort(order[apart[chosen]]), np.sort(order[apart]), bool(enough))


def _by_strata(strata: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The places of the first rows of each stratum, as many as wanted of it; where one has too few, of the first others."""
    by_stratum = np.argsort(strata, kind="stable")
    counts = np.bincount(strata, minlength=len(wanted))
    place = np.arange(len(strata)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = np.zeros(len(strata), dtype=bool)
    first[by_stratum] = place < np.repeat(wanted, counts)
    others = np.flatnonzero(~first)[: int(wanted.sum()) - int(first.sum())]
    return np.concatenate([np.flatnonzero(first), others])


def _take(turns: Turns, heads: np.ndarray, left: np.ndarray, beyond: np.ndarray, largest: int, taken: np.ndarray) -> None:
    """Takes each group, in their order, that fits, and notes it in `taken` and in what is left.

    heads: how many groups may be taken yet, by the stratum of their longest row. left: how many rows, by their stratum.
    beyond: so many more a stratum may give of both, within the totals. largest: rows of the largest group that is taken.
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
        keys, counts = np.unique(np.repeat(np.arange(last - first), sizes) * num + strata, return_counts=True)
        owner, stratum = keys // num, keys % num
        fits = turns.free[first:last] & ~taken[first:last] & (sizes <= largest)
        fits &= extra | (heads[head] > 0)
        fits[owner[counts > (left + beyond)[stratum]]] = False
        starts = np.searchsorted(owner, np.arange(last - first + 1))
        for group in np.flatnonzero(fits):
            own = slice(starts[group], starts[group + 1])
            if (
                sizes[group] <= left.sum()
                and (heads[head[group]] > 0 or (extra and heads.sum() > 0))
                and (counts[own] <= (left + beyond)[stratum[own]]).all()
            ):
                heads[head[group]] -= 1
                left[stratum[own]] -= counts[own]
                taken[first + group] = True
