"""Compares rules for choosing the share of rows that a student answers, on linear classifiers.

    PYTHONPATH=. python tests/bench/deferral_choice.py tasks.yaml

The teacher is TF-IDF with logistic regression on 9,000 train rows, or on two thirds of the rows of
a task that has fewer than 13,500. The student is the same on 900 of them. From the other train
rows, selection rows are drawn DRAWS times for each size. The loss is then measured on all rows that
remain. For each rule the table has the mean of the loss, its 90th percentile (worst tenth), and the
mean share of rows that the student answers.
"""

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from analysis.presentation.table import markdown
from mkd.config import DataConfig
from mkd.evaluation.deferral import BUDGETS, Answered, Point, chosen, confidence, curve
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Task
from tests.bench.tfidf import features, fitted_words

TEACHER_ROWS, STUDENT_ROWS = 9_000, 900
DRAWS = 40
SIZES = (300, 1_000)
Rule = Callable[[Sequence[Point], float], Point]


def largest(points: Sequence[Point], budget: float) -> Point:
    """Returns the point with the largest share that loses at most the budget on selection."""
    return max((p for p in points if p.selection_lost <= budget), key=lambda p: p.share)


def isotonic(points: Sequence[Point], budget: float) -> Point:
    """Returns the point with the largest share whose loss by isotonic regression is in budget."""
    rising = isotonic_regression([p.selection_lost for p in points]).x
    return points[int(max(np.flatnonzero(rising <= budget + 1e-9), default=0))]


RULES: dict[str, Rule] = {"largest": largest, "chosen": chosen, "isotonic": isotonic}


def logits_of(model: LogisticRegression, rows: csr_matrix, classes: int) -> np.ndarray:
    """Returns logits [R, C]; classes that the model has not seen get a very small one."""
    logits_RC = np.full((rows.shape[0], classes), -30.0)
    logits_RC[:, model.classes_.astype(int)] = model.predict_log_proba(rows)
    return logits_RC


def both_answered(task: Task) -> Answered:
    """Trains both classifiers and returns their answers for the other rows."""
    rows = [row for row in task.train.read() if row.label is not None and row.label >= 0]
    order = np.random.default_rng(0).permutation(len(rows))
    teacher_rows = min(TEACHER_ROWS, 2 * len(rows) // 3)
    labels = np.array([row.label for row in rows])[order]
    words = fitted_words([rows[place] for place in order[:teacher_rows]])
    all_RW = features([rows[place] for place in order], words)
    answers = []
    for number in (STUDENT_ROWS, teacher_rows):
        model = LogisticRegression(C=10, max_iter=300).fit(all_RW[:number], labels[:number])
        answers.append(logits_of(model, all_RW[teacher_rows:], len(task.kind.labels)))
    student_RC, teacher_RC = answers
    sure_R = confidence(task.kind, student_RC, student_RC)
    return Answered(student_RC, teacher_RC, sure_R, labels[teacher_rows:].astype(np.float64))


def taken(all_rows: Answered, rows: np.ndarray) -> Answered:
    """Returns the answers for these rows."""
    return Answered(*(values[rows] for values in all_rows[:4]))


def draws(task: Task, size: int) -> list[dict[str, object]]:
    """Returns what each rule loses, for each draw of selection rows and each budget."""
    pool = both_answered(task)
    losses: list[dict[str, object]] = []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw + 1).permutation(len(pool.labels))
        points = curve(task.kind, taken(pool, order[:size]), taken(pool, order[size:]))
        for budget, most in BUDGETS.items():
            for name, rule in RULES.items():
                point = rule(points, most)
                losses.append(
                    {"task": task.name, "rows": size, "budget": budget, "rule": name}
                    | {"lost": point.lost, "answered": point.answered}
                )
    return losses


def main(path: str) -> None:
    """Prints the table."""
    tasks = [task for task in load_tasks(DataConfig(path=path)) if task.kind.labels]
    frame = pd.DataFrame(
        [row for task in tasks if not task.kind.multilabel for n in SIZES for row in draws(task, n)]
    )
    table = [["task", "selection rows", "budget", "rule", "lost", "worst tenth", "answered %"]]
    for keys, group in frame.groupby(["task", "rows", "budget", "rule"], sort=False):
        worst = group["lost"].quantile(0.9)
        table.append(
            [*map(str, keys), f"{group['lost'].mean():.2f}", f"{worst:.2f}",
             f"{group['answered'].mean():.1f}"]
        )  # fmt: skip
    print("\n".join(markdown(table)))
    means = frame.groupby(["rows", "budget", "rule"], sort=False)[["lost", "answered"]].mean()
    print(means.round(2).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks")
    main(parser.parse_args().tasks)
