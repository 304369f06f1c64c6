"""Measures what the selection split separates, compared with a split that is drawn row by row.

    python tests/bench/selection.py --path data/glue --tasks sst2 mrpc rte
    python tests/bench/selection.py --rows 1000000

For each task the table has:

- groups of overlapping rows, the largest group, and the share of rows that overlap with another
- CPU seconds to find the groups, without reading the text, and to read the text
- selected rows that overlap with a training row, if rows are drawn one by one and by groups
- accuracy of the nearest neighbour in training (cosine of TF-IDF words; for regression Spearman's
  correlation) on selection, drawn one by one and by groups, and on dev

With --rows it has the times and the peak memory in MiB for so many made-up rows instead.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import scipy.stats
from sklearn.feature_extraction.text import TfidfVectorizer

from analysis.presentation.table import markdown
from mkd.config import DataConfig
from mkd.selection.split import corpus_of, overlapping_rows, row_groups, selection_split
from mkd.selection.words import plain_word_store
from mkd.storage.store import key_of
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Kind, Row, Split, Task

QUERIES = 1000
"""Number of rows of a split whose nearest neighbours are searched."""
BLOCK_ROWS = 100
Cells = list[str]


def joined(rows: list[Row]) -> list[str]:
    return [" ".join((row.text_a, row.text_b or "")) for row in rows]


def nearest(kind: Kind, train: list[Row], rows: list[Row]) -> float:
    """Returns the points that the label of the nearest training row scores."""
    rows = Random(0).sample(rows, min(QUERIES, len(rows)))
    words = TfidfVectorizer(token_pattern=r"\w+").fit(joined(train))
    table, queries = words.transform(joined(train)), words.transform(joined(rows))
    places = [
        np.asarray((queries[start : start + BLOCK_ROWS] @ table.T).toarray().argmax(1))
        for start in range(0, queries.shape[0], BLOCK_ROWS)
    ]
    array = np.array([train[place].label for place in np.concatenate(places)])
    labels = np.array([row.label for row in rows])
    return 100 * float(
        (array == labels).mean() if kind.labels else scipy.stats.spearmanr(array, labels)[0]
    )


def measure(task: Task, config: DataConfig, root: Path) -> Cells:
    """Returns the row of a task in the table."""
    clock = [time.process_time()]
    words = plain_word_store(root, task.train, task.kind)
    clock.append(time.process_time())
    known = np.flatnonzero(~np.isnan(words.labels))
    row_groups(root, task, words, known)
    clock.append(time.process_time())
    rows = list(task.train.read())
    cut = selection_split(root, task, config, 0)
    # Draws the split row by row, as it was drawn before rows were grouped.
    drawn = np.sort(np.random.default_rng([0, 0]).permutation(known)[: len(cut.selection_rows)])
    leaks, scores = [], []
    learnt = cut.train_rows[~np.isnan(words.labels[cut.train_rows])]
    for chosen, rest in ((drawn, np.setdiff1d(known, drawn)), (cut.selection_rows, learnt)):
        leaks.append(int(overlapping_rows(corpus_of(words, rest), corpus_of(words, chosen)).sum()))
        scores.append(nearest(task.kind, [rows[i] for i in rest], [rows[i] for i in chosen]))
    on_dev = nearest(
        task.kind,
        [rows[i] for i in cut.train_rows],
        [row for split in task.dev.values() for row in split.read()],
    )
    counts = cut.statistics
    read_s, find_s = np.diff(clock).tolist()
    sizes = [
        len(known), counts.groups, counts.largest, len(cut.selection_rows), counts.selected_groups,
        counts.left_out, *leaks,
    ]  # fmt: skip
    numbers = [counts.share, find_s, read_s, *scores, on_dev]
    return [task.name, *(f"{size:,}" for size in sizes), *(f"{number:.1f}" for number in numbers)]


HEADER = [
    "task", "rows", "groups", "largest", "selected", "their groups", "left out", "leak: one by one",
    "by groups", "in groups: %", "found: s", "read: s", "nearest: one by one", "by groups", "dev",
]  # fmt: skip


def made_up(num: int) -> Task:
    """Returns a task whose rows have 4 to 30 words with Zipf's frequencies. A tenth of the rows are
    part of the row before; a tenth differ from it in one word."""

    def read():  # type: ignore[no-untyped-def]
        generator = np.random.default_rng(0)
        before = ["word"] * 9
        for start in range(0, num, 10_000):
            lengths = generator.integers(4, 31, 10_000)
            ids = generator.zipf(1.2, lengths.sum()) % 200_000
            turns, at = generator.random(10_000), 0
            for length, turn in zip(lengths[: num - start].tolist(), turns.tolist(), strict=False):
                words = [f"w{i}" for i in ids[at : at + length].tolist()]
                at += length
                if turn < 0.1 and len(before) > 5:
                    words = before[1:]
                elif turn < 0.2:
                    words = [*before[:-1], words[0]]
                before = words
                yield Row(" ".join(words), None, float(length % 2))

    return Task(
        "made-up",
        Kind(("even", "odd"), False, ("accuracy",)),
        Split(read, key_of({"rows": num}), "made-up rows"),
        {},
    )


def peak_mib() -> float:
    """Returns the largest resident memory of this process so far (VmHWM)."""
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Prints the table, then the same as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", default="", help="a folder in the official GLUE layout")
    parser.add_argument("--tasks", nargs="*", default=[], help="tasks of this folder; none: all")
    parser.add_argument("--rows", type=int, default=0, help="number of made-up rows to use instead")
    parser.add_argument(
        "--folder", type=Path, default=Path("."), help="parent of the temporary folder"
    )
    args = parser.parse_args()
    header, body = HEADER, []
    with TemporaryDirectory(dir=args.folder) as folder:
        if args.rows:
            header = [
                "rows", "words", "groups", "largest", "read: s", "found: s", "split: s",
                "before: MiB", "peak: MiB",
            ]  # fmt: skip
            task, before, clock = made_up(args.rows), peak_mib(), [time.process_time()]
            words = plain_word_store(Path(folder), task.train, task.kind)
            clock.append(time.process_time())
            row_groups(Path(folder), task, words, np.arange(args.rows))
            clock.append(time.process_time())
            statistics = selection_split(Path(folder), task, DataConfig(), 0).statistics
            clock.append(time.process_time())
            counts = [args.rows, len(words.sides[0].ids), statistics.groups, statistics.largest]
            body.append(
                [
                    *(f"{n:,}" for n in counts),
                    *(f"{s:.1f}" for s in np.diff(clock)),
                    f"{before:,.0f}",
                    f"{peak_mib():,.0f}",
                ]
            )
        else:
            config = DataConfig(source="glue", path=args.path, tasks=args.tasks)
            for task in load_tasks(config):
                body.append(measure(task, config, Path(folder)))
                print(task.name, file=sys.stderr, flush=True)
    print("\n".join(markdown([header, *body])))
    print(json.dumps([dict(zip(header, row, strict=False)) for row in body]))


if __name__ == "__main__":
    main()
