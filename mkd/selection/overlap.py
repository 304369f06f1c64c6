"""Finds texts that are equal to, contained in, or nearly equal to other texts.

It uses hashes of runs of words and does not compare all pairs of texts. Two texts overlap if they
are

- equal;
- contained: one is a run of words in the other, of RUN_WORDS words or more;
- nearly equal: the same after at most one word is removed from each, with NEAR_WORDS words or more
  left.

The hash of a run of words has 64 bits: the sum over its words of code * HASH_BASE^place modulo
2^64. Cumulative sums over a block of texts give the hash of any run. Equal runs have equal hashes,
so no overlap is missed. Different runs collide with a chance of about 2^-60, and then count as an
overlap. The time grows with the number of words times the logarithm of the longest text's length,
plus the number of overlaps.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mkd.runtime.layout import Texts
from mkd.selection.words import take_texts

RUN_WORDS = 4
"""Minimum number of words of a text that counts as contained in another one."""
NEAR_WORDS = 8
"""Minimum number of words that nearly equal texts have in common."""
BLOCK_WORDS = 1 << 20
"""Number of words that are processed at once; a text is never divided."""
MAX_CANDIDATES = 1 << 20
"""Number of candidates that are compared at once."""
SORT_WORDS = 1 << 23
"""Number of texts with one word removed that are sorted at once."""
SLOT_BITS = 22
"""Number of bits of a run's hash that choose its counter."""
HASH_BASE = 0x9E3779B97F4A7C15
"""Odd, and therefore invertible modulo 2^64."""

Edges = tuple[np.ndarray, np.ndarray]
"""Pairs of texts by number, as two arrays of equal length."""


def word_codes(vocabulary: list[str]) -> np.ndarray:
    """Returns a 64-bit code for each word; it is the same in any vocabulary."""
    digests = b"".join(
        hashlib.blake2b(word.encode(), digest_size=8).digest() for word in vocabulary
    )
    return np.frombuffer(digests, "<u8")


class Corpus(NamedTuple):
    """Texts as word numbers.

    - `sides`: the texts of all rows, for each side.
    - `codes`: the code of each word, by its number.
    - `texts`: which texts of all sides belong to the corpus, ascending; the sides are numbered in
      one sequence.

    The functions below identify a text by its place in `texts`.
    """

    sides: tuple[Texts, ...]
    codes: np.ndarray
    texts: np.ndarray

    def by_side(self) -> list[tuple[Texts, np.ndarray]]:
        """Returns each side with the rows of it that belong to the corpus."""
        ends = np.cumsum([len(side.offsets) - 1 for side in self.sides])
        texts_by_side = np.split(self.texts, np.searchsorted(self.texts, ends[:-1]))
        return [
            (side, part - (end - len(side.offsets) + 1))
            for side, part, end in zip(self.sides, texts_by_side, ends, strict=True)
        ]

    def lengths(self) -> np.ndarray:
        """Returns the number of words of each text."""
        return np.concatenate([side.lengths(rows) for side, rows in self.by_side()])

    def chosen(self, places: np.ndarray) -> "Corpus":
        """Returns the corpus of the texts at the given places, which must ascend."""
        return self._replace(texts=self.texts[places])


class HashBlock(NamedTuple):
    """Consecutive texts of a corpus.

    - `first`: place of the first text in the corpus.
    - `offsets`: start of each text within the block.
    - `sums`: before each word, the sum of code * HASH_BASE^place over all words of the block before
      it.
    """

    first: int
    offsets: np.ndarray
    sums: np.ndarray

    def hashes(self, starts: np.ndarray, lengths: np.ndarray | int) -> np.ndarray:
        """Returns the hashes of the runs of words that start at the given places of the block."""
        # The factor BASE^-start makes the hash independent of the run's place in the block.
        values: np.ndarray = (self.sums[starts + lengths] - self.sums[starts]) * _powers(
            len(self.sums)
        )[1][starts]
        return values

    def text_of(self, places: np.ndarray) -> np.ndarray:
        """Returns for words at the given places the number of their text within the block."""
        texts: np.ndarray = np.searchsorted(self.offsets, places, side="right") - 1
        return texts


@lru_cache(maxsize=1)
def _table(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns HASH_BASE^i and HASH_BASE^-i modulo 2^64 for i below 2^bits."""
    inverse = pow(HASH_BASE, -1, 1 << 64)
    powers = []
    for base in (HASH_BASE, inverse):
        factors = np.full(1 << bits, base, dtype=np.uint64)
        factors[0] = 1
        powers.append(np.cumprod(factors, dtype=np.uint64))
    return powers[0], powers[1]


def _powers(num: int) -> tuple[np.ndarray, np.ndarray]:
    return _table(max(BLOCK_WORDS, num).bit_length())


def hash_blocks(corpus: Corpus) -> Iterator[HashBlock]:
    """Yields all texts of the corpus in order, with a bounded number of words in each block."""
    first = 0
    for side, rows in corpus.by_side():
        ends = np.cumsum(side.lengths(rows))
        start = 0
        while start < len(rows):
            before = ends[start - 1] if start else 0
            end = max(int(np.searchsorted(ends, before + BLOCK_WORDS, side="right")), start + 1)
            ids, offsets = take_texts(side, rows[start:end])
            sums = np.zeros(len(ids) + 1, dtype=np.uint64)
            np.cumsum(corpus.codes[ids] * _powers(len(sums))[0][: len(ids)], out=sums[1:])
            yield HashBlock(first + start, offsets, sums)
            start = end
        first += len(rows)


def text_hashes(corpus: Corpus) -> np.ndarray:
    """Returns the hash of each whole text."""
    return np.concatenate(
        [block.hashes(block.offsets[:-1], np.diff(block.offsets)) for block in hash_blocks(corpus)]
    )


def join_groups(groups: np.ndarray, edges: Iterator[Edges]) -> np.ndarray:
    """Returns the group number of each text after joining groups that edges connect.

    - `groups`: the groups before, with numbers below the number of texts.
    - `edges`: pairs of overlapping texts; overlaps join groups directly or through other texts.
    """
    num = len(groups)
    waiting: list[Edges] = []
    size = 0
    for one, other in edges:
        waiting.append((groups[one], groups[other]))
        size += len(one)
        # Merging from time to time bounds the memory: there may be many more edges than texts.
        if size > max(num, MAX_CANDIDATES):
            groups, waiting, size = _merged(groups, waiting), [], 0
    return _merged(groups, waiting)


def _merged(groups: np.ndarray, edges: list[Edges]) -> np.ndarray:
    if not edges:
        return groups
    one, other = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    graph = coo_array(
        (np.ones(len(one), dtype=bool), (one, other)), shape=(len(groups), len(groups))
    )
    labels: np.ndarray = connected_components(graph, directed=False)[1][groups]
    return labels


class OverlapGroups(NamedTuple):
    """The group number of each text, for three kinds of overlap.

    - `equal`: texts that are equal.
    - `held`: texts that are equal or contained.
    - `near`: texts that overlap in any way.

    Two texts that overlap with a third one are in the same group even if they do not overlap with
    each other.
    """

    equal: np.ndarray
    held: np.ndarray
    near: np.ndarray


def overlap_groups(corpus: Corpus) -> OverlapGroups:
    """Returns the groups of all texts."""
    _, firsts, copies = np.unique(text_hashes(corpus), return_index=True, return_inverse=True)
    # `chosen` needs ascending places, but np.unique orders texts by their hashes.
    order = np.argsort(firsts)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    distinct, equal = corpus.chosen(firsts[order]), rank[copies]
    held = join_groups(np.arange(len(order)), find_contained_texts(distinct, distinct))
    near = join_groups(held, _near_runs(distinct))
    return OverlapGroups(equal, held[equal], near[equal])


def find_overlaps(few: Corpus, many: Corpus, near: bool = True) -> Iterator[Edges]:
    """Yields which texts of one corpus overlap with which of another: (of `few`, of `many`).

    Some pairs come more than once.

    - `near`: whether nearly equal texts are included.
    """
    yield from find_equal_texts(few, many)
    yield from find_contained_texts(few, many)
    for one, other in find_contained_texts(many, few):
        yield other, one
    if not near:
        return
    hashes, texts = _near_hashes(few)
    for block in hash_blocks(many):
        shortened, others = _shortened(block)
        low, high = (np.searchsorted(hashes, shortened, side=side) for side in ("left", "right"))
        for rows, which in _expanded(low, high - low):
            yield texts[which], others[rows]


def find_equal_texts(few: Corpus, many: Corpus) -> Iterator[Edges]:
    """Yields which texts of one corpus equal which texts of another: (of `few`, of `many`)."""
    hashes = text_hashes(few)
    order = np.argsort(hashes)
    hashes = hashes[order]
    for block in hash_blocks(many):
        values = block.hashes(block.offsets[:-1], np.diff(block.offsets))
        low, high = (np.searchsorted(hashes, values, side=side) for side in ("left", "right"))
        for rows, which in _expanded(low, high - low):
            yield order[which], block.first + rows


def _near_hashes(corpus: Corpus) -> Edges:
    """Returns the result of `_shortened` for the whole corpus, sorted by hash."""
    hashes, texts = (
        np.concatenate(arrays) for arrays in zip(*map(_shortened, hash_blocks(corpus)), strict=True)
    )
    order = np.argsort(hashes)
    return hashes[order], texts[order]


def find_contained_texts(held: Corpus, holding: Corpus) -> Iterator[Edges]:
    """Yields texts of one corpus that longer texts of another contain: (of `held`, of `holding`).

    For each power of two m from RUN_WORDS on, texts of m to 2m - 1 words are searched by one of
    their runs of m words. That is the run that is rarest in the other corpus, so that few places
    must be compared.
    """
    lengths, hashes = held.lengths(), text_hashes(held)
    longest = int(holding.lengths().max(initial=0))
    run = RUN_WORDS
    while run < longest:
        needles = np.flatnonzero((lengths >= run) & (lengths < min(2 * run, longest)))
        if len(needles):
            yield from _find_contained_by_runs(held, holding, needles, run, lengths, hashes)
        run *= 2


def short_contained_texts(corpus: Corpus) -> np.ndarray:
    """Returns for each text whether a longer one contains it and it is too short to be joined."""
    lengths, hashes = corpus.lengths(), text_hashes(corpus)
    contained = np.zeros(len(lengths), dtype=bool)
    for length in range(1, RUN_WORDS):
        texts = np.flatnonzero(lengths == length)
        known = np.unique(hashes[texts])
        held = np.zeros(len(known), dtype=bool)
        for block in hash_blocks(corpus):
            starts = _runs(block, length)
            longer = np.diff(block.offsets)[block.text_of(starts)] > length
            runs = block.hashes(starts[longer], length)
            place = np.searchsorted(known, runs)
            inside = place < len(known)
            held[place[inside][known[place[inside]] == runs[inside]]] = True
        contained[texts] = np.isin(hashes[texts], known[held])
    return contained


class Anchors(NamedTuple):
    """One run of words of each searched text, sorted by hash.

    - `texts`: the numbers of the texts.
    - `places`: the place of the run within its text.
    """

    hashes: np.ndarray
    texts: np.ndarray
    places: np.ndarray


def _runs(block: HashBlock, run: int) -> np.ndarray:
    """Returns the starts of all runs of `run` words that lie within one text."""
    starts = np.arange(max(len(block.sums) - run, 0))
    ends = np.repeat(block.offsets[1:], np.diff(block.offsets))[: len(starts)]
    inside: np.ndarray = starts[starts + run <= ends]
    return inside


def _slots(hashes: np.ndarray) -> np.ndarray:
    """Returns the counter of each hash: its highest SLOT_BITS bits."""
    slots: np.ndarray = hashes >> np.uint64(64 - SLOT_BITS)
    return slots


def _find_contained_by_runs(
    held: Corpus,
    holding: Corpus,
    needles: np.ndarray,
    run: int,
    lengths: np.ndarray,
    hashes: np.ndarray,
) -> Iterator[Edges]:
    """Yields the texts of `needles` that texts of `holding` contain, by runs of `run` words."""
    anchors = _anchors(held.chosen(needles), needles, _counts(holding, run), run)
    wanted = np.zeros(1 << SLOT_BITS, dtype=bool)
    wanted[_slots(anchors.hashes)] = True
    for block in hash_blocks(holding):
        starts = _runs(block, run)
        values = block.hashes(starts, run)
        # A table look-up drops most runs before the slower binary search.
        hit = np.flatnonzero(wanted[_slots(values)])
        starts, values = starts[hit], values[hit]
        low, high = (
            np.searchsorted(anchors.hashes, values, side=side) for side in ("left", "right")
        )
        for rows, which in _expanded(low, high - low):
            needle, text = anchors.texts[which], block.text_of(starts[rows])
            # The run gives the place where the whole text would start. It must fit into a longer
            # text there, and the whole text is compared by its hash.
            start, length = starts[rows] - anchors.places[which], lengths[needle]
            ends = block.offsets[text + 1]
            inside = (
                (start >= block.offsets[text])
                & (start + length <= ends)
                & (length < ends - block.offsets[text])
            )
            start, length, needle, text = (
                start[inside],
                length[inside],
                needle[inside],
                text[inside],
            )
            same = block.hashes(start, length) == hashes[needle]
            yield needle[same], block.first + text[same]


def _counts(corpus: Corpus, run: int) -> np.ndarray:
    """Returns how often runs of `run` words occur in the corpus, by slot."""
    counts = np.zeros(1 << SLOT_BITS, dtype=np.int32)
    for block in hash_blocks(corpus):
        np.add.at(counts, _slots(block.hashes(_runs(block, run), run)), 1)
    return counts


def _anchors(corpus: Corpus, numbers: np.ndarray, counts: np.ndarray, run: int) -> Anchors:
    """Returns the run of each text that is rarest according to `counts`.

    Texts with a run that the other corpus does not have at all are left out: it cannot contain
    them.

    - `numbers`: the numbers of the texts, by place in the corpus.
    """
    anchors_by_block = []
    for block in hash_blocks(corpus):
        starts = _runs(block, run)
        values = block.hashes(starts, run)
        text = block.text_of(starts)
        place = starts - block.offsets[text]
        firsts = np.flatnonzero(place == 0)
        # Count and place in one number: the minimum is the smallest count, with its first place.
        rarest = np.minimum.reduceat(counts[_slots(values)].astype(np.int64) << 32 | place, firsts)
        place = rarest & 0xFFFFFFFF
        there = np.flatnonzero(rarest >> 32)
        anchors_by_block.append(
            (values[firsts + place][there], numbers[block.first + there], place[there])
        )
    hashes, texts, places = (
        np.concatenate(arrays) for arrays in zip(*anchors_by_block, strict=True)
    )
    order = np.argsort(hashes)
    return Anchors(hashes[order], texts[order], places[order])


def _expanded(low: np.ndarray, counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields all (i, j) with low[i] <= j < low[i] + counts[i], in bounded pieces.

    A piece is larger than MAX_CANDIDATES only if a single i has more pairs.
    """
    some = np.flatnonzero(counts)
    ends = np.cumsum(counts[some])
    start = 0
    while start < len(some):
        before = ends[start - 1] if start else 0
        end = max(int(np.searchsorted(ends, before + MAX_CANDIDATES, side="right")), start + 1)
        rows, sizes = some[start:end], counts[some[start:end]]
        firsts = np.repeat(np.cumsum(sizes) - sizes, sizes)
        yield np.repeat(rows, sizes), np.repeat(low[rows], sizes) + np.arange(sizes.sum()) - firsts
        start = end


def _shortened(block: HashBlock) -> Edges:
    """Returns hashes of each long enough text, whole and with each of its words removed.

    The second array has the text's number for each hash. Whole texts have NEAR_WORDS words or more,
    shortened ones have as many after the removal.
    """
    lengths = np.diff(block.offsets)
    whole = np.flatnonzero(lengths >= NEAR_WORDS)
    text = np.repeat(np.arange(len(lengths)), np.where(lengths > NEAR_WORDS, lengths, 0))
    starts = block.offsets[text]
    sizes = np.where(lengths > NEAR_WORDS, lengths, 0)
    places = starts + np.arange(len(text)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # The words after the removed one, each moved one place to the left.
    rest = (block.sums[block.offsets[text + 1]] - block.sums[places + 1]) * _powers(
        len(block.sums)
    )[1][starts + 1]
    hashes = [
        block.hashes(starts, places - starts) + rest,
        block.hashes(block.offsets[whole], lengths[whole]),
    ]
    return np.concatenate(hashes), block.first + np.concatenate([text, whole])


def _near_runs(corpus: Corpus) -> Iterator[Edges]:
    """Yields nearly equal texts, each with the next text that has the same shortened hash."""
    # Equal hashes are in the same share. Only one share at a time is sorted, which bounds the
    # memory.
    shares = 1 + int(corpus.lengths().sum()) // SORT_WORDS
    for share in range(shares):
        hashes_by_block = []
        for block in hash_blocks(corpus):
            hashes, texts = _shortened(block)
            here = (
                np.flatnonzero((hashes >> np.uint64(8)) % np.uint64(shares) == share)
                if shares > 1
                else slice(None)
            )
            hashes_by_block.append((hashes[here], texts[here].astype(np.int32)))
        hashes, texts = (np.concatenate(arrays) for arrays in zip(*hashes_by_block, strict=True))
        order = np.argsort(hashes)
        hashes, texts = hashes[order], texts[order]
        same = np.flatnonzero(hashes[1:] == hashes[:-1])
        yield texts[same], texts[same + 1]
