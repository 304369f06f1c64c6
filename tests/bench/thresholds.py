"""Measures what fitted thresholds of two classes gain, on TF-IDF with logistic regression.

    python tests/bench/thresholds.py tasks.yaml --labels optimism joy anger

Each seed holds out another tenth of the train rows. A task with more classes, or with several
labels a row, becomes a task of two classes for each of --labels: that label or another. Thresholds
are fitted for all sizes of the classes. The table has the gain on dev in points, for several
choices of the task's metrics.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).parents[2]))
from analysis.presentation.table import markdown
from mkd.config import DataConfig
from mkd.evaluation import thresholds
from mkd.evaluation.intervals import half_width
from mkd.tasks.metrics import score
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Kind, Row, Task
from tests.bench.tfidf import features, fitted_words

METRICS = (("f1",), ("accuracy", "f1"), ("accuracy", "macro_f1"), ("matthews",))
SEEDS = 3
MOST_ROWS = 20_000
"""Maximum number of train rows that are read."""


def of_label(task: Task, label: int) -> dict[str, tuple[list[Row], np.ndarray]]:
    """Returns rows of train and dev, and whether each has the label."""
    splits = {}
    for name, split in (("train", task.train), ("dev", task.dev[""])):
        rows = [row for row, _ in zip(split.read(), range(MOST_ROWS), strict=False)]
        has = [label in row.classes if task.kind.multilabel else row.label == label for row in rows]
        splits[name] = (rows, np.array(has, dtype=np.float64))
    return splits


def gains(splits: dict[str, tuple[list[Row], np.ndarray]]) -> list[dict[str, float]]:
    """Returns, for each seed, the rarer class's share of train and the gain by metrics."""
    (rows, labels), (dev, gold) = splits["train"], splits["dev"]
    words = fitted_words(rows)
    train_RW, dev_RW = features(rows, words), features(dev, words)
    gains_of_seeds = []
    for seed in range(SEEDS):
        held_out = np.random.default_rng(seed).random(len(rows)) < 0.1
        model = LogisticRegression(C=10, solver="liblinear").fit(
            train_RW[~held_out], labels[~held_out]
        )
        held_RC, dev_RC = (
            np.stack([np.zeros(each.shape[0]), model.decision_function(each)], axis=1)
            for each in (train_RW[held_out], dev_RW)
        )
        one = {"share": 100 * min(labels.mean(), 1 - labels.mean())}
        for metrics in METRICS:
            kind = Kind(("other", "this"), False, metrics)
            fitted = thresholds.fit_thresholds(kind, held_RC, labels[held_out])
            with_it, without = (
                np.mean(list(score(kind, dev_RC, gold, thresholds=each).values()))
                for each in (fitted, None)
            )
            one[", ".join(metrics)] = float(with_it - without)
        gains_of_seeds.append(one)
    return gains_of_seeds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks")
    parser.add_argument("--labels", nargs="*", default=[])
    args = parser.parse_args()
    rare, thresholds.RARE = thresholds.RARE, 1.0
    means = {}
    for task in load_tasks(DataConfig(path=args.tasks)):
        two = len(task.kind.labels) == 2
        for label in task.kind.labels[1:] if two else args.labels:
            if label in task.kind.labels:
                splits = of_label(task, task.kind.labels.index(label))
                name = task.name if two else f"{task.name}: {label}"
                means[name] = pd.DataFrame(gains(splits)).mean()
    frame = pd.DataFrame(means).T.sort_values("share")
    table = [["task", "rarer class, %", *frame.columns[1:]]]
    for name, values in frame.iterrows():
        table.append([str(name), f"{values['share']:.1f}", *(f"{v:+.1f}" for v in values[1:])])
    for title, group in (
        (f"mean below {100 * rare:.0f} %", frame[frame["share"] < 100 * rare]),
        ("mean of the others", frame[frame["share"] >= 100 * rare]),
    ):
        cells = []
        for column in frame.columns[1:]:
            half = half_width(list(group[column]))
            cells.append(f"{group[column].mean():+.1f} ± {half:.1f}" if half is not None else "-")
        table.append([title, "", *cells])
    print("\n".join(markdown(table)))


if __name__ == "__main__":
    main()
