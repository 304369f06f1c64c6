"""What thresholds of two classes gain, on a classifier that needs no teacher: TF-IDF and logistic
regression, with another tenth of the train rows held out for each seed.

    python tests/bench/thresholds.py tasks.yaml --labels optimism joy anger

A task of more classes, or of several labels a row, becomes one of two for each of --labels: that
label or another. Thresholds are fitted whatever the classes' sizes. Prints the gain on dev, in
points, for several choices of the task's metrics.
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
"""Train rows that are read."""


def of_label(task: Task, label: int) -> dict[str, tuple[list[Row], np.ndarray]]:
    """Returns rows of train and dev, and whether each has the label."""
    found = {}
    for name, split in (("train", task.train), ("dev", task.dev[""])):
        rows = [row for row, _ in zip(split.read(), range(MOST_ROWS), strict=False)]
        has = [label in row.classes if task.kind.multilabel else row.label == label for row in rows]
        found[name] = (rows, np.array(has, dtype=np.float64))
    return found


def gains(splits: dict[str, tuple[list[Row], np.ndarray]]) -> list[dict[str, float]]:
    """Returns, for each seed, the rarer class's share of train and the gain by metrics."""
    (rows, labels), (dev, gold) = splits["train"], splits["dev"]
    words = fitted_words(rows)
    train_RW, dev_RW = features(rows, words), features(dev, words)
    found = []
    for seed in range(SEEDS):
        held = np.random.default_rng(seed).random(len(rows)) < 0.1
        model = LogisticRegression(C=10, solver="liblinear").fit(train_RW[~held], labels[~held])
        held_RC, dev_RC = (
            np.stack([np.zeros(each.shape[0]), model.decision_function(each)], axis=1)
            for each in (train_RW[held], dev_RW)
        )
        one = {"share": 100 * min(labels.mean(), 1 - labels.mean())}
        for metrics in METRICS:
            kind = Kind(("other", "this"), False, metrics)
            fitted = thresholds.fit_thresholds(kind, held_RC, labels[held])
            with_it, without = (
                np.mean(list(score(kind, dev_RC, gold, thresholds=each).values()))
                for each in (fitted, None)
            )
            one[", ".join(metrics)] = float(with_it - without)
        found.append(one)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks")
    parser.add_argument("--labels", nargs="*", default=[])
    given = parser.parse_args()
    rare, thresholds.RARE = thresholds.RARE, 1.0
    means = {}
    for task in load_tasks(DataConfig(path=given.tasks)):
        two = len(task.kind.labels) == 2
        for label in task.kind.labels[1:] if two else given.labels:
            if label in task.kind.labels:
                splits = of_label(task, task.kind.labels.index(label))
                name = task.name if two else f"{task.name}: {label}"
                means[name] = pd.DataFrame(gains(splits)).mean()
    frame = pd.DataFrame(means).T.sort_values("share")
    table = [["task", "rarer class, %", *frame.columns[1:]]]
    for name, values in frame.iterrows():
        table.append([str(name), f"{values['share']:.1f}", *(f"{v:+.1f}" for v in values[1:])])
    for what, part in (
        (f"mean below {100 * rare:.0f} %", frame[frame["share"] < 100 * rare]),
        ("mean of the others", frame[frame["share"] >= 100 * rare]),
    ):
        cells = []
        for column in frame.columns[1:]:
            half = half_width(list(part[column]))
            cells.append(f"{part[column].mean():+.1f} ± {half:.1f}" if half is not None else "-")
        table.append([what, "", *cells])
    print("\n".join(markdown(table)))


if __name__ == "__main__":
    main()
