"""Rows of text as word numbers, independent of any tokenizer.

Words are either divided by white space, or plain: normalised, for the comparison of texts.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mkd.runtime.layout import Texts
from mkd.storage.store import append, cached_folder, read_array
from mkd.storage.versions import version_key
from mkd.tasks.label_sets import packed_bytes, packed_sets, row_labels
from mkd.tasks.task import Kind, Split

BLOCK_ROWS = 16_384
"""Number of rows that are processed at once."""
WORD_SEPARATOR = r"[^\pL\pM\pN]+"
"""What divides plain words: everything except letters, their marks and digits."""
UNSPACED_LETTER = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
"""A letter of a script without spaces between words; each such letter counts as a word."""
LABELS_FILE = "labels.float64"
"""The file of a store that holds the labels."""
SETS_FILE = "sets.bits"
"""The file of a store that holds the classes of each row of a multilabel task."""


class WordStore(NamedTuple):
    """A split's rows as word numbers. Every text has at least one word.

    - `vocabulary`: the words, by number.
    - `sides`: the first texts and, for pairs, the second texts.
    - `labels`: float64, NaN for rows without a label; for multilabel tasks the number of classes.
    - `sets`: the classes of each row of a multilabel task, as `packed_sets` has them; else None.
    """

    vocabulary: list[str]
    sides: tuple[Texts, ...]
    labels: np.ndarray
    sets: np.ndarray | None = None


def set_bytes(kind: Kind) -> int:
    """Returns the number of bytes that a store has for the classes of a row; 0: it has none."""
    return packed_bytes(len(kind.labels)) if kind.multilabel else 0


def sets_key(kind: Kind) -> dict[str, int]:
    """Returns the part of a store's key that says how many classes it holds for each row."""
    return {"classes": len(kind.labels)} if kind.multilabel else {}


def read_sets(folder: Path, bytes_a_row: int) -> np.ndarray | None:
    """Returns the classes of each row in a store, as `packed_sets` has them; None: there are none.

    - `bytes_a_row`: as from `set_bytes`.
    """
    return read_array(folder / SETS_FILE, "u1").reshape(-1, bytes_a_row) if bytes_a_row else None


def word_store(root: Path, split: Split, kind: Kind) -> WordStore:
    """Returns the split's words as divided by white space, memory-mapped; cached on disk."""
    return _store(root, "words", split, kind, split_words)


def plain_word_store(root: Path, split: Split, kind: Kind) -> WordStore:
    """Returns the split's plain words, memory-mapped; cached on disk."""
    return _store(root, "plain", split, kind, plain_words)


def _store(
    root: Path, name: str, split: Split, kind: Kind, parted: Callable[[list[str]], pa.Array]
) -> WordStore:
    sides = ("a", "b") if kind.pair else ("a",)
    key_values = {"rows": split.fingerprint, "pair": kind.pair} | sets_key(kind) | version_key(name)
    folder = cached_folder(
        root, name, key_values, lambda aside: _write(aside, split, sides, kind, parted)
    )
    return _read(folder, sides, set_bytes(kind))


def split_words(texts: list[str]) -> pa.Array:
    """Returns the words of each text as divided by white space."""
    return pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pa.array(texts, pa.string())))


def plain_words(texts: list[str]) -> pa.Array:
    """Returns the words of each text in lower case, without punctuation.

    A text without letters or digits is a single word.
    """
    raw_texts = pa.array(texts, pa.string())
    lower = pc.utf8_lower(pc.utf8_normalize(raw_texts, "NFKC"))
    spaced = pc.replace_substring_regex(lower, UNSPACED_LETTER, r" \1 ")
    words = pc.utf8_trim_whitespace(pc.replace_substring_regex(spaced, WORD_SEPARATOR, " "))
    # The sign gives a text of spaces a word, and keeps it apart from all words with letters.
    bare = pc.binary_join_element_wise("=", pc.replace_substring_regex(raw_texts, r"\s+", ""), "")
    return pc.utf8_split_whitespace(pc.if_else(pc.equal(words, ""), bare, words))


def _read(folder: Path, names: tuple[str, ...], bytes_a_set: int) -> WordStore:
    sides = tuple(
        Texts(
            read_array(folder / f"{name}.int32", "<i4"),
            read_array(folder / f"{name}_offsets.int64", "<i8"),
        )
        for name in names
    )
    return WordStore(
        json.loads((folder / "words.json").read_text()),
        sides,
        read_array(folder / LABELS_FILE, "<f8"),
        read_sets(folder, bytes_a_set),
    )


def runs_of_ids(ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Texts:
    """Returns the runs of ids with the given starts and lengths, concatenated."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    return Texts(ids[places], offsets)


def take_texts(texts: Texts, rows: np.ndarray) -> Texts:
    """Returns the texts of the given rows."""
    return runs_of_ids(texts.ids, texts.offsets[rows], texts.lengths(rows))


def row_blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the rows in blocks of at most BLOCK_ROWS."""
    for start in range(0, len(rows), BLOCK_ROWS):
        yield rows[start : start + BLOCK_ROWS]


def join_words(texts: Texts, vocabulary: pa.Array) -> pa.Array:
    """Returns the texts as strings, with a space between words."""
    words = pa.ListArray.from_arrays(
        pa.array(texts.offsets, pa.int32()), vocabulary.take(pa.array(texts.ids))
    )
    return pc.binary_join(words, " ")


def _write(
    folder: Path,
    split: Split,
    names: tuple[str, ...],
    kind: Kind,
    parted: Callable[[list[str]], pa.Array],
) -> None:
    numbers: dict[str, int] = {}
    ends = dict.fromkeys(names, 0)
    with ExitStack() as opened:
        files = {
            name: opened.enter_context((folder / f"{name}.int32").open("wb")) for name in names
        }
        offsets = {
            name: opened.enter_context((folder / f"{name}_offsets.int64").open("wb"))
            for name in names
        }
        labels = opened.enter_context((folder / LABELS_FILE).open("wb"))
        sets = opened.enter_context((folder / SETS_FILE).open("wb")) if kind.multilabel else None
        for name in names:
            append(offsets[name], np.zeros(1, "<i8"))
        rows = split.read()
        while chunk := list(islice(rows, BLOCK_ROWS)):
            for name in names:
                texts = _numbered(
                    parted([row.text_a if name == "a" else str(row.text_b) for row in chunk]),
                    numbers,
                )
                append(files[name], texts.ids)
                append(offsets[name], texts.offsets[1:] + ends[name])
                ends[name] += int(texts.offsets[-1])
            append(labels, row_labels(chunk))
            if sets is not None:
                append(sets, packed_sets(chunk, len(kind.labels)))
    (folder / "words.json").write_text(json.dumps(list(numbers)))


def _numbered(words: pa.Array, numbers: dict[str, int]) -> Texts:
    """Returns the texts as word numbers; new words get the next numbers."""
    encoded = pc.dictionary_encode(words.flatten())
    known = np.array(
        [numbers.setdefault(word, len(numbers)) for word in encoded.dictionary.to_pylist()],
        dtype="<i4",
    )
    return Texts(known[encoded.indices.to_numpy()], words.offsets.to_numpy().astype("<i8"))
