"""Token ids of rows, and their layout in a model's batch. It needs numpy only.

Axes: B rows of a batch, S texts of a row (1 or 2), L tokens.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import NamedTuple, Protocol

import numpy as np


class Texts(NamedTuple):
    """Token ids of many texts in one array.

    Text i is ids[offsets[i]:offsets[i + 1]]. ids is int32, offsets is int64.
    """

    ids: np.ndarray
    offsets: np.ndarray

    def lengths(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Returns the number of tokens of each text, for the given rows or for all."""
        return (
            np.diff(self.offsets) if rows is None else self.offsets[rows + 1] - self.offsets[rows]
        )

    def taken(self, rows: np.ndarray) -> "Texts":
        """Returns a copy of the texts of these rows."""
        ids_of_rows = [self.ids[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        offsets = np.zeros(len(rows) + 1, dtype=self.offsets.dtype)
        np.cumsum(self.lengths(rows), out=offsets[1:])
        return Texts(np.concatenate([self.ids[:0], *ids_of_rows]), offsets)


class Rows(Protocol):
    """Rows of one text, or of two texts if `b` is not None."""

    @property
    def a(self) -> Texts: ...

    @property
    def b(self) -> Texts | None: ...


class Tokens(NamedTuple):
    """Rows as tokens, without special tokens. `b` is None for single texts."""

    a: Texts
    b: Texts | None


class Layout(NamedTuple):
    """How a model takes its tokens: each text by itself, or joined into one sequence.

    - `joined`: whether the texts of a row are joined, with special tokens around them.
    - `pad`: id of the padding token.
    - `max_length`: maximum number of tokens in a sequence.
    - `prefix`, `middle`, `suffix`: special tokens before, between and after the texts of a pair.
    - `single`: special tokens before and after a single text; None: the pair's prefix and suffix.
    - `types`: whether the model takes token types.
    - `pair_types`, `single_types`: the type of each special token and of each text as a whole, from
      left to right. Empty: a pair has 0 up to the middle and 1 from the second text on, a single
      text has 0.
    """

    joined: bool
    pad: int
    max_length: int
    prefix: tuple[int, ...] = ()
    middle: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    types: bool = False
    single: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    pair_types: tuple[int, ...] = ()
    single_types: tuple[int, ...] = ()

    def around(self, pair: bool) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Returns the special tokens before, between and after the texts of a row."""
        if pair or self.single is None:
            return self.prefix, self.middle if pair else (), self.suffix
        return self.single[0], (), self.single[1]

    def num_special(self, pair: bool) -> int:
        """Returns the number of special tokens in a row."""
        return sum(map(len, self.around(pair)))


class Arrays(NamedTuple):
    """A padded batch of token ids.

    - `ids` [B, S, L] int64: S is 1 for single texts and for pairs joined into one sequence.
    - `mask` [B, S, L] bool: True for tokens, False for padding.
    - `types` [B, L] int64: token types of joined sequences; None if the model takes none.
    """

    ids: np.ndarray
    mask: np.ndarray
    types: np.ndarray | None


def truncated(sides: Sequence[list[list[int]]], max_length: int) -> list[Texts]:
    """Returns the token ids of rows of one or two texts, without ids that no model can use.

    - `sides`: ids of the first texts of all rows, and for pairs those of the second texts.
    - `max_length`: the models' maximum number of tokens.

    A text longer than max_length keeps max_length + 1 tokens, so that its truncation stays visible.
    If both texts of a pair are too long and the first one is longer, it keeps one token more. A
    joined sequence gives an odd last token to the longer text, and needs to know which one that is.
    """
    kept = max_length + 1
    if len(sides) == 1:
        return [flattened(sides[0], repeat(kept))]
    first = [kept + (len(a) > len(b) >= kept) for a, b in zip(*sides, strict=True)]
    return [flattened(sides[0], first), flattened(sides[1], repeat(kept))]


def flattened(rows: list[list[int]], most: Iterable[int]) -> Texts:
    """Returns the first `most` token ids of each row in one array."""
    cut = [ids[:count] for ids, count in zip(rows, most, strict=False)]
    offsets = np.zeros(len(cut) + 1, dtype="<i8")
    np.cumsum([len(ids) for ids in cut], out=offsets[1:])
    return Texts(np.fromiter(chain.from_iterable(cut), dtype="<i4", count=offsets[-1]), offsets)


def sequence_lengths(store: Rows, layout: Layout, rows: np.ndarray) -> np.ndarray:
    """Returns the length of each of these rows, without special tokens.

    It is the sum of both texts for a joined sequence, else the length of the longer text.
    """
    a = store.a.lengths(rows)
    if store.b is None:
        return a
    b = store.b.lengths(rows)
    lengths: np.ndarray = a + b if layout.joined else np.maximum(a, b)
    return lengths


def batch_tokens(store: Rows, layout: Layout, rows: np.ndarray) -> np.ndarray:
    """Returns the number of tokens each of these rows takes in a batch where it is the longest.

    Special tokens, and the padding of the shorter text of a pair, are included.
    """
    counts: np.ndarray = sequence_lengths(store, layout, rows)
    if layout.joined:
        counts = np.clip(counts + layout.num_special(store.b is not None), 1, layout.max_length)
    else:
        counts = np.clip(counts, 1, layout.max_length) * (1 if store.b is None else 2)
    return counts


def padded(store: Rows, rows: np.ndarray, layout: Layout) -> Arrays:
    """Returns the given rows as a padded batch in the layout.

    A row without any token becomes one padding token that the mask shows: a mean over no tokens
    would be NaN.
    """
    if layout.joined:
        return _joined(store, rows, layout)
    texts = [store.a] if store.b is None else [store.a, store.b]
    starts = [text.offsets[rows] for text in texts]
    lengths = [np.minimum(text.lengths(rows), layout.max_length) for text in texts]
    width = max(1, *(int(length.max()) for length in lengths))
    places = np.arange(width)
    ids = np.full((len(rows), len(texts), width), layout.pad, dtype=np.int64)
    for side, text in enumerate(texts):
        _place(
            ids[:, side],
            text,
            starts[side],
            places - np.zeros((len(rows), 1), dtype=np.int64),
            lengths[side],
        )
    mask = places < np.maximum(1, np.stack(lengths, axis=1))[:, :, None]
    return Arrays(ids, mask, None)


def one_row(sides: Sequence[list[int]], layout: Layout) -> Arrays:
    """Returns one row as a batch, as `padded` does, but several times as fast.

    - `sides`: the token ids of its text, or of both texts of a pair.
    """
    if layout.joined:
        pair = len(sides) == 2
        prefix, middle, suffix = layout.around(pair)
        length = sum(map(len, sides)) + layout.num_special(pair)
        if 0 < length <= layout.max_length:
            second = sides[1] if pair else []
            ids = np.array([[[*prefix, *sides[0], *middle, *second, *suffix]]], dtype=np.int64)
            a, b = (np.array([len(side)]) for side in (sides[0], second))
            types = _types(layout, pair, a, b, np.arange(length)[None]) if layout.types else None
            return Arrays(ids, np.ones(ids.shape, dtype=bool), types)
    else:
        rows = [side[: layout.max_length] or [layout.pad] for side in sides]
        width = max(map(len, rows))
        if all(len(row) == width for row in rows):
            ids = np.array([rows], dtype=np.int64)
            return Arrays(ids, np.ones(ids.shape, dtype=bool), None)
        ids = np.array([[row + [layout.pad] * (width - len(row)) for row in rows]], dtype=np.int64)
        mask = np.arange(width) < np.array([[[len(row)] for row in rows]])
        return Arrays(ids, mask, None)
    texts = truncated([[side] for side in sides], layout.max_length)
    return padded(Tokens(texts[0], texts[1] if len(texts) > 1 else None), np.array([0]), layout)


def _place(
    ids_BL: np.ndarray,
    text: Texts,
    starts_B: np.ndarray,
    places_BL: np.ndarray,
    lengths_B: np.ndarray,
) -> None:
    """Writes token places_BL of each row's text into ids_BL, except places outside of the text."""
    inside = (places_BL >= 0) & (places_BL < lengths_B[:, None])
    ids_BL[inside] = text.ids[(starts_B[:, None] + places_BL)[inside]]


def _joined(store: Rows, rows: np.ndarray, layout: Layout) -> Arrays:
    """Returns rows as prefix a suffix, or as prefix a middle b suffix."""
    pair = store.b is not None
    prefix, middle, suffix = layout.around(pair)
    special = layout.num_special(pair)
    a, b = _fitting(store, rows, layout.max_length - special)
    width = max(1, int((a + b).max()) + special)
    places = np.broadcast_to(np.arange(width), (len(rows), width))
    ids = np.full(places.shape, layout.pad, dtype=np.int64)
    ids[:, : len(prefix)] = prefix
    _place(ids, store.a, store.a.offsets[rows], places - len(prefix), a)
    ends = _special(ids, len(prefix) + a, middle)
    if store.b is not None:
        _place(ids, store.b, store.b.offsets[rows], places - ends[:, None], b)
    ends = _special(ids, ends + b, suffix)
    mask = places < np.maximum(ends, 1)[:, None]
    return Arrays(
        ids[:, None],
        mask[:, None],
        _types(layout, pair, a, b, places) * mask if layout.types else None,
    )


def _fitting(store: Rows, rows: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns how many tokens of the first and of the second text fit into the budget.

    This follows Hugging Face's `longest_first`: the longer text is truncated until both are equally
    long, then both are. An odd last token goes to the longer text, or to the second one if both
    were equally long.
    """
    a = store.a.lengths(rows)
    if store.b is None:
        return np.minimum(a, budget), np.zeros_like(a)
    b = store.b.lengths(rows)
    a_fits = np.minimum(a, np.maximum(budget - b, (budget + (a > b)) // 2))
    return a_fits, np.minimum(b, budget - a_fits)


def _types(
    layout: Layout, pair: bool, a: np.ndarray, b: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """Returns the token type of each position [B, L]."""
    prefix, middle, suffix = layout.around(pair)
    stated = layout.pair_types if pair else layout.single_types
    usual = (0,) * (len(prefix) + 1 + len(middle)) + (
        (1,) * (1 + len(suffix)) if pair else (0,) * len(suffix)
    )
    widths: list[np.ndarray | int] = [
        *[1] * len(prefix),
        a,
        *[1] * len(middle),
        *([b] if pair else []),
        *[1] * len(suffix),
    ]
    types = np.zeros(places.shape, dtype=np.int64)
    start, before = np.zeros_like(a), 0
    for width, kind in zip(widths, stated or usual, strict=True):
        # Overwrites all positions to the right: the next change of type overwrites the rest again.
        if kind != before:
            types[places >= start[:, None]] = kind
        start, before = start + width, kind
    return types


def _special(ids_BL: np.ndarray, ends_B: np.ndarray, tokens: tuple[int, ...]) -> np.ndarray:
    """Writes the special tokens at each row's end and returns the new ends."""
    for token in tokens:
        np.put_along_axis(ids_BL, ends_B[:, None], token, axis=1)
        ends_B = ends_B + 1
    return ends_B
