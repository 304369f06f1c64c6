"""Token ids of texts, and how a model wants them laid out in a batch; numpy alone, so that it serves without torch too.

Axes: B rows of a batch, S texts of a row (1 or 2), L tokens.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np
from tokenizers import Tokenizer


class Texts(NamedTuple):
    """Token ids of many texts, one after another: text i is ids[offsets[i]:offsets[i + 1]]. int32 and int64."""

    ids: np.ndarray
    offsets: np.ndarray

    def lengths(self, rows: np.ndarray | None = None) -> np.ndarray:
        """How many tokens each text has: of these rows, or of all."""
        return np.diff(self.offsets) if rows is None else self.offsets[rows + 1] - self.offsets[rows]


class Rows(Protocol):
    """Rows of one text or, where there is `b`, of two."""

    @property
    def a(self) -> Texts: ...

    @property
    def b(self) -> Texts | None: ...


class Layout(NamedTuple):
    """How a model wants its tokens: each text alone, or joined with special tokens into one sequence."""

    joined: bool
    pad: int
    max_length: int
    prefix: tuple[int, ...] = ()
    middle: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    types: bool = False


class Arrays(NamedTuple):
    """A batch of token ids with what tells text from padding.

    ids [B, S, L] int64, mask [B, S, L] bool: S is 1 for single texts and for pairs joined into one sequence. types [B, L] int64
    of joined sequences, 0 in the first text and 1 in the second; None where the model has no such embedding.
    """

    ids: np.ndarray
    mask: np.ndarray
    types: np.ndarray | None


def encode(backend: Tokenizer, texts: Sequence[str], max_length: int, parallel: bool = True) -> Texts:
    """Token ids of texts, without special tokens, each cut to `max_length`; `parallel`: on all cores."""
    if parallel:
        encoded = backend.encode_batch_fast(texts, add_special_tokens=False)
    else:
        encoded = [backend.encode(text, add_special_tokens=False) for text in texts]
    cut = [found.ids[:max_length] for found in encoded]
    offsets = np.zeros(len(cut) + 1, dtype="<i8")
    np.cumsum([len(ids) for ids in cut], out=offsets[1:])
    return Texts(np.fromiter(chain.from_iterable(cut), dtype="<i4", count=offsets[-1]), offsets)


def sequence_lengths(store: Rows, layout: Layout, rows: np.ndarray) -> np.ndarray:
    """How long each of these rows is in a batch: all of a joined sequence, the longer text of a pair that is kept apart."""
    a = store.a.lengths(rows)
    if store.b is None:
        return a
    b = store.b.lengths(rows)
    lengths: np.ndarray = a + b if layout.joined else np.maximum(a, b)
    return lengths


def batch_tokens(store: Rows, layout: Layout, rows: np.ndarray) -> np.ndarray:
    """How many tokens each of these rows adds to a batch that it is the longest of: special ones and both texts of a pair."""
    counts: np.ndarray = sequence_lengths(store, layout, rows)
    if layout.joined:
        special = len(layout.prefix) + len(layout.suffix) + (0 if store.b is None else len(layout.middle))
        counts = np.minimum(counts + special, layout.max_length)
    else:
        counts = np.clip(counts, 1, layout.max_length) * (1 if store.b is None else 2)
    return counts


def padded(store: Rows, rows: np.ndarray, layout: Layout) -> Arrays:
    """These rows, padded, as the layout wants them; a text without any token becomes one of padding."""
    if layout.joined:
        return _joined(store, rows, layout)
    texts = [store.a] if store.b is None else [store.a, store.b]
    starts = [text.offsets[rows] for text in texts]
    lengths = [np.minimum(text.lengths(rows), layout.max_length) for text in texts]
    width = max(1, *(int(length.max()) for length in lengths))
    places = np.arange(width)
    ids = np.full((len(rows), len(texts), width), layout.pad, dtype=np.int64)
    for side, text in enumerate(texts):
        _place(ids[:, side], text, starts[side], places - np.zeros((len(rows), 1), dtype=np.int64), lengths[side])
    mask = places < np.maximum(1, np.stack(lengths, axis=1))[:, :, None]
    return Arrays(ids, mask, None)


def _place(ids_BL: np.ndarray, text: Texts, starts_B: np.ndarray, places_BL: np.ndarray, lengths_B: np.ndarray) -> None:
    """Writes token `places` of each row's text into ids, where the place is within the text's length."""
    inside = (places_BL >= 0) & (places_BL < lengths_B[:, None])
    ids_BL[inside] = text.ids[(starts_B[:, None] + places_BL)[inside]]


def _joined(store: Rows, rows: np.ndarray, layout: Layout) -> Arrays:
    """prefix a suffix, or prefix a middle b suffix; of too long a pair the longer text is cut first."""
    pair = store.b is not None
    special = len(layout.prefix) + len(layout.suffix) + (len(layout.middle) if pair else 0)
    budget = layout.max_length - special
    a = store.a.lengths(rows)
    b = np.zeros_like(a) if store.b is None else store.b.lengths(rows)
    b = np.minimum(b, np.maximum(budget - a, budget // 2))
    a = np.minimum(a, budget - b)
    places = np.broadcast_to(np.arange(int((a + b).max()) + special), (len(rows), int((a + b).max()) + special))
    ids = np.full(places.shape, layout.pad, dtype=np.int64)
    ids[:, : len(layout.prefix)] = layout.prefix
    _place(ids, store.a, store.a.offsets[rows], places - len(layout.prefix), a)
    ends = len(layout.prefix) + a
    if store.b is not None:
        ends = _special(ids, ends, layout.middle)
        types = places >= ends[:, None]
        _place(ids, store.b, store.b.offsets[rows], places - ends[:, None], b)
        ends = ends + b
    else:
        types = np.zeros(places.shape, dtype=bool)
    ends = _special(ids, ends, layout.suffix)
    mask = places < ends[:, None]
    return Arrays(ids[:, None], mask[:, None], (types & mask).astype(np.int64) if layout.types else None)


def _special(ids_BL: np.ndarray, ends_B: np.ndarray, tokens: tuple[int, ...]) -> np.ndarray:
    """Puts the tokens at each row's end; the new ends."""
    for token in tokens:
        np.put_along_axis(ids_BL, ends_B[:, None], token, axis=1)
        ends_B = ends_B + 1
    return ends_B
