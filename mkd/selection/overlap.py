"""Which texts equal, contain or nearly equal one another: found by hashes of runs of words, without comparing all pairs.

Two texts overlap where they are
- equal;
- one held by the other as a run of its words, and of RUN_WORDS words or more;
- nearly equal: the same once one word at most is left out of each, and NEAR_WORDS words or more are left then.

A run of words has a hash of 64 bits, the sum over its words of code * BASE^place modulo 2^64, which sums over a whole block of
texts give at once for any run. Equal runs have equal hashes, so no overlap is missed; others have by a chance of about 2^-60,
and are taken for an overlap then. Time grows with the words, times the logarithm of the longest text's, plus the overlaps.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mkd.runtime.layout import Texts
from mkd.selection.words import take

RUN_WORDS = 4
NEAR_WORDS = 8
BLOCK_WORDS = 1 << 20
"""Words that are looked at together; a text is never parted."""
PIECE = 1 << 20
"""Candidates that are compared together."""
SHARE_WORDS = 1 << 23
"""Texts less one word that are sorted together."""
SLOT_BITS = 22
"""So many bits of a run's hash tell where it is counted."""
BASE = 0x9E3779B97F4A7C15

Edges = tuple[np.ndarray, np.ndarray]
"""Pairs of texts by their numbers, as two arrays of one length."""


def word_codes(vocabulary: list[str]) -> np.ndarray:
    """64 bits for each word, the same in any vocabulary."""
    digests = b"".join(hashlib.blake2b(word.encode(), digest_size=8).digest() for word in vocabulary)
    return np.frombuffer(digests, "<u8")


class Corpus(NamedTuple):
    """Texts as numbers of words. codes: of the words, by number.

    texts: which ones of those of all sides, one side after another, by their numbers in ascending order. In what follows a text
    is told by its place among these.
    """

    sides: tuple[Texts, ...]
    codes: np.ndarray
    texts: np.ndarray

    def by_side(self) -> list[tuple[Texts, np.ndarray]]:
        """Each side with the rows of it that are texts of the corpus."""
        ends = np.cumsum([len(side.offsets) - 1 for side in self.sides])
        parts = np.split(self.texts, np.searchsorted(self.texts, ends[:-1]))
        return [(side, part - (end - len(side.offsets) + 1)) for side, part, end in zip(self.sides, parts, ends, strict=True)]

    def lengths(self) -> np.ndarray:
        """Words of each text."""
        return np.concatenate([side.lengths(rows) for side, rows in self.by_side()])

    def chosen(self, places: np.ndarray) -> "Corpus":
        """Some of its texts alone, by their places in ascending order."""
        return self._replace(texts=self.texts[places])


class Block(NamedTuple):
    """Texts that follow one another. first: the place of the first one. offsets: of each within the block.

    sums: before each word, of code * BASE^place over all words of the block before it.
    """

    first: int
    offsets: np.ndarray
    sums: np.ndarray

    def hashes(self, starts: np.ndarray, lengths: np.ndarray | int) -> np.ndarray:
        """Of the runs that start at these places of the block."""
        found: np.ndarray = (self.sums[starts + lengths] - self.sums[starts]) * _powers(len(self.sums))[1][starts]
        return found

    def text_of(self, places: np.ndarray) -> np.ndarray:
        """Of words by their places: the text each is in, by its number within the block."""
        found: np.ndarray = np.searchsorted(self.offsets, places, side="right") - 1
        return found


@lru_cache(maxsize=1)
def _table(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """BASE^i and BASE^-i modulo 2^64 for i below 2^bits."""
    inverse = pow(BASE, -1, 1 << 64)
    found = []
    for base in (BASE, inverse):
        factors = np.full(1 << bits, base, dtype=np.uint64)
        factors[0] = 1
        found.append(np.cumprod(factors, dtype=np.uint64))
    return found[0], found[1]


def _powers(num: int) -> tuple[np.ndarray, np.ndarray]:
    return _table(max(BLOCK_WORDS, num).bit_length())


def blocks(corpus: Corpus) -> Iterator[Block]:
    """All texts of the corpus in their order, a bounded number of words at a time."""
    first = 0
    for side, rows in corpus.by_side():
        ends = np.cumsum(side.lengths(rows))
        start = 0
        while start < len(rows):
            before = ends[start - 1] if start else 0
            end = max(int(np.searchsorted(ends, before + BLOCK_WORDS, side="right")), start + 1)
            ids, offsets = take(side, rows[start:end])
            sums = np.zeros(len(ids) + 1, dtype=np.uint64)
            np.cumsum(corpus.codes[ids] * _powers(len(sums))[0][: len(ids)], out=sums[1:])
            yield Block(first + start, offsets, sums)
            start = end
        first += len(rows)


def text_hashes(corpus: Corpus) -> np.ndarray:
    """Of each text as a whole."""
    return np.concatenate([block.hashes(block.offsets[:-1], np.diff(block.offsets)) for block in blocks(corpus)])


def joined_groups(groups: np.ndarray, edges: Iterator[Edges]) -> np.ndarray:
    """For each text the number of its group: groups that edges between texts join, directly or by way of others, are one.

    groups: the numbers before, below the number of texts.
    """
    num = len(groups)
    waiting: list[Edges] = []
    size = 0
    for one, other in edges:
        waiting.append((groups[one], groups[other]))
        size += len(one)
        if size > max(num, PIECE):
            groups, waiting, size = _merged(groups, waiting), [], 0
    return _merged(groups, waiting)


def _merged(groups: np.ndarray, edges: list[Edges]) -> np.ndarray:
    if not edges:
        return groups
    one, other = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(len(groups), len(groups)))
    found: np.ndarray = connected_components(graph, directed=False)[1][groups]
    return found


class Groups(NamedTuple):
    """For each text the number of its group, of texts that are equal, that are or hold one another, or that overlap at all.

    Texts that overlap with one text are in one group, whether or not they overlap with each other.
    """

    equal: np.ndarray
    held: np.ndarray
    near: np.ndarray


def groups_of(corpus: Corpus) -> Groups:
    """The groups of all texts."""
    _, firsts, copies = np.unique(text_hashes(corpus), return_index=True, return_inverse=True)
    # In the corpus's order, so that the texts can be taken from it one after another.
    order = np.argsort(firsts)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    distinct, equal = corpus.chosen(firsts[order]), rank[copies]
    held = joined_groups(np.arange(len(order)), holdings(distinct, distinct))
    near = joined_groups(held, _near_runs(distinct))
    return Groups(equal, held[equal], near[equal])


def overlaps_with(few: Corpus, many: Corpus, near: bool = True) -> Iterator[Edges]:
    """Which texts of one corpus overlap with which of another: (of `few`, of `many`), some of them more than once.

    near: also those that are nearly equal.
    """
    yield from equals(few, many)
    yield from holdings(few, many)
    for one, other in holdings(many, few):
        yield other, one
    if not near:
        return
    hashes, texts = _near_hashes(few)
    for block in blocks(many):
        found, others = _shortened(block)
        low, high = (np.searchsorted(hashes, found, side=side) for side in ("left", "right"))
        for rows, which in _expanded(low, high - low):
            yield texts[which], others[rows]


def equals(few: Corpus, many: Corpus) -> Iterator[Edges]:
    """Which texts of one corpus equal which of another: (of `few`, of `many`)."""
    hashes = text_hashes(few)
    order = np.argsort(hashes)
    hashes = hashes[order]
    for block in blocks(many):
        found = block.hashes(block.offsets[:-1], np.diff(block.offsets))
        low, high = (np.searchsorted(hashes, found, side=side) for side in ("left", "right"))
        for rows, which in _expanded(low, high - low):
            yield order[which], block.first + rows


def _near_hashes(corpus: Corpus) -> Edges:
    """All that `_shortened` gives of the corpus, sorted by hash."""
    hashes, texts = (np.concatenate(arrays) for arrays in zip(*map(_shortened, blocks(corpus)), strict=True))
    order = np.argsort(hashes)
    return hashes[order], texts[order]


def holdings(held: Corpus, holding: Corpus) -> Iterator[Edges]:
    """Texts of one corpus that stand in texts of another as a run of words, shorter than these: (of `held`, of `holding`).

    For each power of two m, held texts of m to 2m - 1 words are looked for by one of their runs of m words: by the one that is
    rarest in the other corpus, so that few places have to be compared.
    """
    lengths, hashes = held.lengths(), text_hashes(held)
    longest = int(holding.lengths().max(initial=0))
    run = RUN_WORDS
    while run < longest:
        needles = np.flatnonzero((lengths >= run) & (lengths < min(2 * run, longest)))
        if len(needles):
            yield from _holdings(held, holding, needles, run, lengths, hashes)
        run *= 2


def short_and_held(corpus: Corpus) -> np.ndarray:
    """For each text whether it is too short to be joined with the texts that hold it, of which there are some."""
    lengths, hashes = corpus.lengths(), text_hashes(corpus)
    found = np.zeros(len(lengths), dtype=bool)
    for length in range(1, RUN_WORDS):
        texts = np.flatnonzero(lengths == length)
        known = np.unique(hashes[texts])
        held = np.zeros(len(known), dtype=bool)
        for block in blocks(corpus):
            starts = _runs(block, length)
            longer = np.diff(block.offsets)[block.text_of(starts)] > length
            runs = block.hashes(starts[longer], length)
            place = np.searchsorted(known, runs)
            inside = place < len(known)
            held[place[inside][known[place[inside]] == runs[inside]]] = True
        found[texts] = np.isin(hashes[texts], known[held])
    return found


class Anchors(NamedTuple):
    """Of each text that is looked for one run of its words, sorted by hash. places: of the run within the text."""

    hashes: np.ndarray
    texts: np.ndarray
    places: np.ndarray


def _runs(block: Block, run: int) -> np.ndarray:
    """Where the runs of so many words begin that lie within one text."""
    starts = np.arange(max(len(block.sums) - run, 0))
    ends = np.repeat(block.offsets[1:], np.diff(block.offsets))[: len(starts)]
    found: np.ndarray = starts[starts + run <= ends]
    return found


def _slots(hashes: np.ndarray) -> np.ndarray:
    found: np.ndarray = hashes >> np.uint64(64 - SLOT_BITS)
    return found


def _holdings(
    held: Corpus, holding: Corpus, needles: np.ndarray, run: int, lengths: np.ndarray, hashes: np.ndarray
) -> Iterator[Edges]:
    anchors = _anchors(held.chosen(needles), needles, _counts(holding, run), run)
    wanted = np.zeros(1 << SLOT_BITS, dtype=bool)
    wanted[_slots(anchors.hashes)] = True
    for block in blocks(holding):
        starts = _runs(block, run)
        found = block.hashes(starts, run)
        hit = np.flatnonzero(wanted[_slots(found)])
        starts, found = starts[hit], found[hit]
        low, high = (np.searchsorted(anchors.hashes, found, side=side) for side in ("left", "right"))
        for rows, which in _expanded(low, high - low):
            needle, text = anchors.texts[which], block.text_of(starts[rows])
            start, length = starts[rows] - anchors.places[which], lengths[needle]
            ends = block.offsets[text + 1]
            inside = (start >= block.offsets[text]) & (start + length <= ends) & (length < ends - block.offsets[text])
            start, length, needle, text = start[inside], length[inside], needle[inside], text[inside]
            same = block.hashes(start, length) == hashes[needle]
            yield needle[same], block.first + text[same]


def _counts(corpus: Corpus, run: int) -> np.ndarray:
    """How often runs of so many words stand in the corpus, by slot."""
    counts = np.zeros(1 << SLOT_BITS, dtype=np.int32)
    for block in blocks(corpus):
        np.add.at(counts, _slots(block.hashes(_runs(block, run), run)), 1)
    return counts


def _anchors(corpus: Corpus, numbers: np.ndarray, counts: np.ndarray, run: int) -> Anchors:
    """The rarest run of each text of the corpus, of those that stand in the other one at all. numbers: the texts' own."""
    parts = []
    for block in blocks(corpus):
        starts = _runs(block, run)
        found = block.hashes(starts, run)
        text = block.text_of(starts)
        place = starts - block.offsets[text]
        firsts = np.flatnonzero(place == 0)
        rarest = np.minimum.reduceat(counts[_slots(found)].astype(np.int64) << 32 | place, firsts)
        place = rarest & 0xFFFFFFFF
        there = np.flatnonzero(rarest >> 32)
        parts.append((found[firsts + place][there], numbers[block.first + there], place[there]))
    hashes, texts, places = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.argsort(hashes)
    return Anchors(hashes[order], texts[order], places[order])


def _expanded(low: np.ndarray, counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All (i, j) with low[i] <= j < low[i] + counts[i], a bounded number at a time unless one i has more."""
    some = np.flatnonzero(counts)
    ends = np.cumsum(counts[some])
    start = 0
    while start < len(some):
        before = ends[start - 1] if start else 0
        end = max(int(np.searchsorted(ends, before + PIECE, side="right")), start + 1)
        rows, sizes = some[start:end], counts[some[start:end]]
        firsts = np.repeat(np.cumsum(sizes) - sizes, sizes)
        yield np.repeat(rows, sizes), np.repeat(low[rows], sizes) + np.arange(sizes.sum()) - firsts
        start = end


def _shortened(block: Block) -> Edges:
    """The hashes of each text as it is and less each of its words, with the text's number; of long enough ones."""
    lengths = np.diff(block.offsets)
    whole = np.flatnonzero(lengths >= NEAR_WORDS)
    text = np.repeat(np.arange(len(lengths)), np.where(lengths > NEAR_WORDS, lengths, 0))
    starts = block.offsets[text]
    sizes = np.where(lengths > NEAR_WORDS, lengths, 0)
    places = starts + np.arange(len(text)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rest = (block.sums[block.offsets[text + 1]] - block.sums[places + 1]) * _powers(len(block.sums))[1][starts + 1]
    found = [block.hashes(starts, places - starts) + rest, block.hashes(block.offsets[whole], lengths[whole])]
    return np.concatenate(found), block.first + np.concatenate([text, whole])


def _near_runs(corpus: Corpus) -> Iterator[Edges]:
    """Texts that are nearly equal, each with the next one of those that are left the same."""
    shares = 1 + int(corpus.lengths().sum()) // SHARE_WORDS
    for share in range(shares):
        parts = []
        for block in blocks(corpus):
            hashes, texts = _shortened(block)
            here = np.flatnonzero((hashes >> np.uint64(8)) % np.uint64(shares) == share) if shares > 1 else slice(None)
            parts.append((hashes[here], texts[here].astype(np.int32)))
        hashes, texts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.argsort(hashes)
        hashes, texts = hashes[order], texts[order]
        same = np.flatnonzero(hashes[1:] == hashes[:-1])
        yield texts[same], texts[same + 1]
