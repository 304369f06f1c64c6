"""Augmentation of a task's labelled training rows after Tang et al. 2019.

The source is arXiv 1903.12136, section 3.2. The copies have no labels: the teacher labels them. All
words of a block of rows are changed at once. Which words change depends only on the seed, the task
and the block.

Axes: B rows of a block, V words of a vocabulary, K neighbours of a word.
"""

import zlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mkd import names
from mkd.augmentation.neighbours import word_neighbours
from mkd.config import AugmentConfig, Stores
from mkd.result import Report, no_report
from mkd.runtime.layout import Texts
from mkd.selection.split import SPLIT_VERSION, selection_split
from mkd.selection.words import (
    WordStore,
    join_words,
    row_blocks,
    runs_of_ids,
    take_texts,
    word_store,
)
from mkd.storage import pretrained
from mkd.storage.store import cached_folder, key_of
from mkd.storage.versions import version_key
from mkd.tasks.files import Table, read_table
from mkd.tasks.task import MASK, Row, Split, Task

ROWS_FILE = "rows.parquet"
NUM_HASH_PARTS = 16
"""Number of parts in which duplicates are searched, to bound the memory of sorting."""
NUM_PAIR_CHANGES = 3
"""The copies of a pair change the first text, the second text and both texts in turn."""


class CopyInputs(NamedTuple):
    """The inputs that determine the copies of a task's rows.

    - `rows`: numbers of the rows that are copied.
    - `neighbours_VK`: word numbers; -1 for a word without neighbours.
    - `seeds`: seeds of the random numbers, completed by the number of a block.
    """

    words: WordStore
    rows: np.ndarray
    neighbours_VK: np.ndarray
    settings: AugmentConfig
    seeds: tuple[int, ...]


def augment_tasks(stores: Stores, tasks: list[Task], report: Report = no_report) -> list[Task]:
    """Returns the tasks with their augmented rows added; unchanged if data.augment.multiple is 0.

    The rows come from the cache if they exist.
    """
    if stores.data.augment.multiple == 0:
        return tasks
    with_copies = []
    for index, task in enumerate(tasks):
        with_copies.append(replace(task, added=(*task.added, augmented_split(stores, task))))
        report(index + 1, {names.SHARE: (index + 1) / len(tasks)})
    return with_copies


def augmented_split(stores: Stores, task: Task) -> Split:
    """Returns the augmented rows of a task; rows of the selection split are not copied.

    Raises ValueError if every copy equals a row of the task.
    """
    settings, data, root = stores.data.augment, stores.data, stores.root
    setting = "data.augment.embeddings"
    folder = (
        pretrained.checkpoint_folder(settings.embeddings, setting) if settings.embeddings else None
    )
    key_values = {
        "rows": task.train.fingerprint,
        "task": task.name,
        "pair": task.kind.pair,
        "augment": asdict(settings)
        | {"embeddings": "" if folder is None else pretrained.checkpoint_fingerprint(folder)},
        "selection": [data.selection_fraction, data.selection_rows, SPLIT_VERSION],
        "seed": stores.seed,
    } | version_key("augmented")

    def build(aside: Path) -> None:
        words = word_store(root, task.train, task.kind)
        rows = selection_split(root, replace(task, added=()), data, stores.seed).train_rows
        rows = rows[~np.isnan(words.labels[rows])]
        none = np.full((len(words.vocabulary), 1), -1)
        neighbours_VK = (
            word_neighbours(words, settings.neighbours, folder) if settings.replace else none
        )
        seeds = (stores.seed, 3, zlib.crc32(task.name.encode()))
        if _write(aside / ROWS_FILE, CopyInputs(words, rows, neighbours_VK, settings, seeds)) == 0:
            raise ValueError(
                f"data.augment: every copy of a row of task {task.name} equals a row; "
                "allowed: higher probabilities (mask, replace, ngram)"
            )

    path = cached_folder(root, "augmented", key_values, build) / ROWS_FILE
    columns = ("a", "b") if task.kind.pair else ("a",)
    return Split(
        partial(_rows, Table(path, columns, None)),
        key_of(key_values),
        f"{task.name}, augmented",
        settings.mask > 0,
    )


def _rows(table: Table) -> Iterator[Row]:
    for _, cells in read_table(table):
        yield Row(cells[0], cells[1] if len(cells) == 2 else None, None)


def _write(path: Path, copies: CopyInputs) -> int:
    """Writes the copies that differ from all rows and from each other, and returns their number."""
    new = _is_new(copies)
    vocabulary = pa.array([*copies.words.vocabulary, MASK], pa.string())
    schema = pa.schema(
        [(name, pa.string()) for name, _ in zip("ab", copies.words.sides, strict=False)]
    )
    done = 0
    # The drafts are drawn a second time with the same seeds instead of being kept in memory.
    with pq.ParquetWriter(path, schema) as writer:
        for sides in draft_copies(copies):
            size = len(sides[0].lengths())
            kept = np.flatnonzero(new[done : done + size])
            done += size
            if len(kept):
                writer.write_table(
                    pa.Table.from_arrays(
                        [join_words(take_texts(side, kept), vocabulary) for side in sides],
                        schema=schema,
                    )
                )
    return int(new.sum())


def draft_copies(copies: CopyInputs) -> Iterator[list[Texts]]:
    """Yields all copies as word numbers, duplicates included, for each block and each copy of it.

    The mask has the word number V.
    """
    settings, pair = copies.settings, len(copies.words.sides) == 2
    for index, rows in enumerate(row_blocks(copies.rows)):
        generator = np.random.default_rng([*copies.seeds, index])
        originals = [take_texts(side, rows) for side in copies.words.sides]
        for copy in range(settings.multiple):
            # Shifted by the copy's number: with three copies a pair has each kind of change once.
            turn_B = (np.arange(len(rows)) + copy) % NUM_PAIR_CHANGES
            turns = [turn_B != 1, turn_B != 0] if pair else [np.full(len(rows), True)]
            yield [
                cut_to_ngrams(
                    change_words(texts, inside_B, copies.neighbours_VK, settings, generator),
                    inside_B,
                    settings,
                    generator,
                )
                for texts, inside_B in zip(originals, turns, strict=True)
            ]


def change_words(
    texts: Texts,
    inside_B: np.ndarray,
    neighbours_VK: np.ndarray,
    settings: AugmentConfig,
    generator: np.random.Generator,
) -> Texts:
    """Returns the texts with some words masked or replaced by a neighbour, each with its chance.

    - `inside_B`: whether a text may be changed.

    Masked words get the number V.
    """
    inside = np.repeat(inside_B, texts.lengths())
    chance = generator.random(len(texts.ids))
    # One random number per word: a word is masked, replaced or kept, never two of these.
    masked = inside & (chance < settings.mask)
    swapped = (
        inside
        & ~masked
        & (chance < settings.mask + settings.replace)
        & (neighbours_VK[texts.ids, 0] >= 0)
    )
    ids = np.where(masked, len(neighbours_VK), texts.ids)
    one = generator.integers(0, neighbours_VK.shape[1], int(swapped.sum()))
    ids[swapped] = neighbours_VK[ids[swapped], one]
    return texts._replace(ids=ids)


def cut_to_ngrams(
    texts: Texts, inside_B: np.ndarray, settings: AugmentConfig, generator: np.random.Generator
) -> Texts:
    """Returns the texts, some of them cut to n consecutive words with the chance settings.ngram.

    n is uniform from 1 to settings.longest, at most the text's length; the position is uniform too.

    - `inside_B`: whether a text may be cut.
    """
    lengths_B = texts.lengths()
    short_B = np.minimum(generator.integers(1, settings.longest + 1, len(lengths_B)), lengths_B)
    place_B = (generator.random(len(lengths_B)) * (lengths_B - short_B + 1)).astype(np.int64)
    chosen_B = inside_B & (generator.random(len(lengths_B)) < settings.ngram)
    return runs_of_ids(
        texts.ids,
        texts.offsets[:-1] + np.where(chosen_B, place_B, 0),
        np.where(chosen_B, short_B, lengths_B),
    )


def _is_new(copies: CopyInputs) -> np.ndarray:
    """Returns for each draft whether it differs from all rows of the task and earlier drafts."""
    longest = max(int(side.lengths().max()) for side in copies.words.sides)
    generator = np.random.default_rng(0)
    word_codes = generator.integers(0, 2**64, len(copies.words.vocabulary) + 1, dtype=np.uint64)
    # Odd factors are invertible modulo 2^64, so that no bit of a word's code is lost.
    place_codes = generator.integers(
        0, 2**64, (len(copies.words.sides), longest), dtype=np.uint64
    ) | np.uint64(1)

    def codes(sides: list[Texts]) -> np.ndarray:
        """Returns 64-bit hashes of rows; different rows collide with a chance of about 2^-60."""
        total = np.zeros(len(sides[0].lengths()), dtype=np.uint64)
        for texts, by_place in zip(sides, place_codes, strict=True):
            place = np.arange(len(texts.ids)) - np.repeat(texts.offsets[:-1], texts.lengths())
            total += np.add.reduceat(word_codes[texts.ids] * by_place[place], texts.offsets[:-1])
        return total

    # The task's rows come first, and np.unique returns the first of equal codes.
    everyone = np.arange(len(copies.words.labels))
    hashes = np.empty(len(everyone) + copies.settings.multiple * len(copies.rows), dtype=np.uint64)
    done = 0
    for sides in chain(
        ([take_texts(side, rows) for side in copies.words.sides] for rows in row_blocks(everyone)),
        draft_copies(copies),
    ):
        hashes[done : done + len(sides[0].offsets) - 1] = codes(sides)
        done += len(sides[0].offsets) - 1
    share = (hashes % NUM_HASH_PARTS).astype(np.uint8)
    new = np.zeros(len(hashes), dtype=bool)
    # Equal codes are in the same share. Sorting needs memory for one share at a time.
    for which in range(NUM_HASH_PARTS):
        places = np.flatnonzero(share == which)
        new[places[np.unique(hashes[places], return_index=True)[1]]] = True
    return new[len(everyone) :]
