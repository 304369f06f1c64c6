"""Rows of text as numbers of words, which white space parts: what augmentation works on, whatever the tokenizers are."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mkd.layout import Texts
from mkd.store import append, read_array, stored
from mkd.tasks import Kind, Split

BLOCK_ROWS = 16_384
LABELS = "labels.float64"


class Words(NamedTuple):
    """A split's rows as word numbers: the first texts, then the second ones of pairs; every text has a word at least.

    vocabulary: the words by number. labels: float64, NaN where there is none.
    """

    vocabulary: list[str]
    sides: tuple[Texts, ...]
    labels: np.ndarray


def word_store(root: Path, split: Split, kind: Kind) -> Words:
    """The split's words, memory-mapped; read from disk where they have been made before."""
    names = ("a", "b") if kind.pair else ("a",)
    parts = {"rows": split.fingerprint, "pair": kind.pair, "labels": LABELS}
    folder = stored(root, "words", parts, lambda aside: _write(aside, split, names))
    sides = tuple(
        Texts(read_array(folder / f"{name}.int32", "<i4"), read_array(folder / f"{name}_offsets.int64", "<i8")) for name in names
    )
    return Words(json.loads((folder / "words.json").read_text()), sides, read_array(folder / LABELS, "<f8"))


def spans(ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Texts:
    """The stretches of ids that begin at `starts`, one after another."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    return Texts(ids[places], offsets)


def take(texts: Texts, rows: np.ndarray) -> Texts:
    """The texts of these rows."""
    return spans(texts.ids, texts.offsets[rows], texts.lengths(rows))


def blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """The rows, a bounded number at a time."""
    for start in range(0, len(rows), BLOCK_ROWS):
        yield rows[start : start + BLOCK_ROWS]


def as_text(texts: Texts, vocabulary: pa.Array) -> pa.Array:
    """The texts as strings, their words with a blank between them."""
    words = pa.ListArray.from_arrays(pa.array(texts.offsets, pa.int32()), vocabulary.take(pa.array(texts.ids)))
    return pc.binary_join(words, " ")


def _write(folder: Path, split: Split, names: tuple[str, ...]) -> None:
    numbers: dict[str, int] = {}
    ends = dict.fromkeys(names, 0)
    with ExitStack() as opened:
        files = {name: opened.enter_context((folder / f"{name}.int32").open("wb")) for name in names}
        offsets = {name: opened.enter_context((folder / f"{name}_offsets.int64").open("wb")) for name in names}
        labels = opened.enter_context((folder / LABELS).open("wb"))
        for name in names:
            append(offsets[name], np.zeros(1, "<i8"))
        rows = split.read()
        while chunk := list(islice(rows, BLOCK_ROWS)):
            for name in names:
                texts = _numbered([row.text_a if name == "a" else str(row.text_b) for row in chunk], numbers)
                append(files[name], texts.ids)
                append(offsets[name], texts.offsets[1:] + ends[name])
                ends[name] += int(texts.offsets[-1])
            append(labels, np.array([np.nan if row.label is None else row.label for row in chunk], "<f8"))
    (folder / "words.json").write_text(json.dumps(list(numbers)))


def _numbered(texts: list[str], numbers: dict[str, int]) -> Texts:
    """The texts' words by their numbers; words that are new get the next ones."""
    words = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pa.array(texts, pa.string())))
    found = pc.dictionary_encode(words.flatten())
    known = np.array([numbers.setdefault(word, len(numbers)) for word in found.dictionary.to_pylist()], dtype="<i4")
    return Texts(known[found.indices.to_numpy()], words.offsets.to_numpy().astype("<i8"))
