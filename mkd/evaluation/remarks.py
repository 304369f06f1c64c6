"""Notes on a run: weak students, truncated rows and unknown tokens."""

from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from mkd import names
from mkd.evaluation.answers import Answers
from mkd.runtime.layout import Layout, Texts, sequence_lengths
from mkd.tasks.metrics import METRICS, score
from mkd.tasks.task import Kind
from mkd.tokenization.tokens import TaskData, TokenStore, groups_of, labels_of

NOTABLE_PERCENT = 1.0
"""A share of truncated rows or unknown tokens from this percentage on gets a note."""
COUNT_BLOCK = 1 << 20
"""Number of rows or tokens that are counted at once, to bound the memory."""
WEAK_STUDENT = ": WEAK STUDENT: "
"""What follows the task's name in a note on a weak student."""
CORRELATIONS = ("matthews", "pearson", "spearman")
"""Metrics whose standard error is 100 / sqrt(rows) if there is no correlation."""


class ConstantBaseline(NamedTuple):
    """The best constant prediction, which needs no model.

    `label` is the predicted label, empty for regression; of a multilabel task labels joined by
    commas. `scores` are its scores by metric.
    """

    label: str
    scores: dict[str, float]

    @property
    def score(self) -> float:
        return sum(self.scores.values()) / len(self.scores)


def constant_baseline(
    kind: Kind, labels_R: np.ndarray, groups_R: np.ndarray | None = None
) -> ConstantBaseline:
    """Returns the constant label with the best score, usually the most frequent one.

    For regression the scores are 0. For a multilabel task it is a set of the most frequent labels,
    of the size that scores best. `labels_R` are the labels of the rows; [R, C] for a multilabel
    task. `groups_R` are as in `score`.
    """
    if not kind.labels:
        return ConstantBaseline("", dict.fromkeys(kind.metrics, 0.0))
    if kind.multilabel:
        return _constant_labels(kind, labels_R)
    one_hot_CC = np.eye(kind.num_logits, dtype=np.float32)
    known = [
        ConstantBaseline(
            label, score(kind, np.tile(one, (len(labels_R), 1)), labels_R, groups=groups_R)
        )
        for label, one in zip(kind.labels, one_hot_CC, strict=True)
    ]
    counts_C = np.bincount(labels_R.astype(np.int64), minlength=kind.num_logits)
    # If all constants score the same, as with Matthews' correlation, take the most frequent label.
    return known[max(range(len(known)), key=lambda place: (known[place].score, counts_C[place]))]


def _constant_labels(kind: Kind, labels_RC: np.ndarray) -> ConstantBaseline:
    """Returns the best of the sets of the k most frequent labels.

    The usual metrics have formulas for all k at once. With n rows of R that have a label, its F1 is
    2 n / (n + R) if every row gets it. The average precision of a constant is n / R, whatever k is.
    """
    counts_C = labels_RC.sum(0, dtype=np.int64)
    order = np.argsort(-counts_C, kind="stable")
    rows, sorted_C, sizes_C = len(labels_RC), counts_C[order], np.arange(1, len(order) + 1)
    present = int((counts_C > 0).sum())
    f1_C = 2 * sorted_C / (sorted_C + rows)
    formulas_C = {
        "micro_f1": 200 * sorted_C.cumsum() / (sorted_C.sum() + sizes_C * rows),
        "macro_f1": 100 * f1_C.cumsum() / np.maximum(sizes_C, present),
        "mean_average_precision": np.full(
            len(order), 100 * sorted_C.sum() / (rows * max(1, present))
        ),
    }
    scores_C = {
        name: formulas_C[name] if name in formulas_C else _scores_of_sets(name, labels_RC, order)
        for name in kind.metrics
    }
    best = int(np.mean(list(scores_C.values()), axis=0).argmax())
    some = ",".join(kind.labels[place] for place in order[: best + 1])
    return ConstantBaseline(
        "every label" if best + 1 == len(order) else some,
        {name: float(scores_C[name][best]) for name in kind.metrics},
    )


def _scores_of_sets(metric: str, labels_RC: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Returns a metric's score if every row gets the first k labels of `order`, for each k [C]."""
    margins_RC = np.full(labels_RC.shape, -1.0)
    scores = []
    for place in order:
        margins_RC[:, place] = 1.0
        scores.append(METRICS[metric](margins_RC, labels_RC))
    return np.array(scores)


def chance_margin(baseline: ConstantBaseline, rows: int) -> float:
    """Returns how many points above the baseline a score must be to differ by more than chance.

    These are two standard errors, as the mean over metrics. For a percentage v the standard error
    is sqrt(v (100 - v) / rows), which is also used for F1. `rows` is the number of scored rows.
    """
    errors = [
        100 / rows**0.5 if name in CORRELATIONS else (value * (100 - value) / rows) ** 0.5
        for name, value in baseline.scores.items()
    ]
    return float(2 * sum(errors) / len(errors))


def weak_student_notes(datas: list[TaskData], dev: Answers) -> list[str]:
    """Returns a note for each task whose student is not clearly better on dev than a constant.

    `dev` are the student's answers. The difference has to exceed `chance_margin`.
    """
    notes = []
    for data in datas:
        labels_R, groups_R = labels_of(data.dev[""], data.kind), groups_of(data.dev[""], data.kind)
        values = score(
            data.kind,
            dev.logits[data.name, ""],
            labels_R,
            thresholds=dev.thresholds.get(data.name),
            groups=groups_R,
        )
        mean = sum(values.values()) / len(values)
        least = constant_baseline(data.kind, labels_R, groups_R)
        more = chance_margin(least, len(labels_R))
        if mean < least.score + more:
            other = (
                f"always answering {least.label!r} {least.score:.1f}"
                if least.label
                else "a constant 0.0"
            )
            notes.append(
                f"{data.name}{WEAK_STUDENT}it scores {mean:.1f} on dev, {other}; "
                f"with {len(labels_R):,} rows, a difference below {more:.1f} points can be chance"
            )
    return notes


class InputCoverage(NamedTuple):
    """The part of the training rows that a model does not read.

    `metrics` are `data/<task>/cut` and `data/<task>/unknown`, in percent.
    """

    metrics: dict[str, float]
    notes: list[str]


def input_coverage(
    datas: list[TaskData], tokenizer: PreTrainedTokenizerBase, layout: Layout
) -> InputCoverage:
    """Returns the shares of truncated rows and unknown tokens in train, with notes if notable."""
    metrics: dict[str, float] = {}
    notes: list[str] = []
    for data in datas:
        cut = 100 * num_truncated(data.train, layout) / len(data.train.labels)
        unknown = 100 * _share(data.train, tokenizer.unk_token_id)
        metrics |= {
            names.data(data.name, names.CUT): cut,
            names.data(data.name, names.UNKNOWN): unknown,
        }
        if cut >= NOTABLE_PERCENT:
            notes.append(
                f"{data.name}: {cut:.0f} % of the training rows are truncated at "
                f"data.max_length={layout.max_length} tokens"
            )
        if unknown >= NOTABLE_PERCENT:
            notes.append(
                f"{data.name}: {unknown:.0f} % of the training rows' tokens are unknown to the "
                "tokenizer"
            )
    return InputCoverage(metrics, notes)


def num_truncated(store: TokenStore, layout: Layout) -> int:
    """Returns the number of rows that are longer than the model's input and are truncated."""
    # If both texts form one sequence, its special tokens count towards max_length.
    special = layout.num_special(store.b is not None) if layout.joined else 0
    starts = range(0, len(store.labels), COUNT_BLOCK)
    blocks = (np.arange(start, min(start + COUNT_BLOCK, len(store.labels))) for start in starts)
    return sum(
        int((sequence_lengths(store, layout, rows) + special > layout.max_length).sum())
        for rows in blocks
    )


def _share(store: TokenStore, token: int | None) -> float:
    """Returns the fraction of all tokens that are `token`, from 0 to 1."""
    if token is None:
        return 0.0
    sides: list[Texts] = [store.a] if store.b is None else [store.a, store.b]
    blocks = (
        side.ids[start : start + COUNT_BLOCK]
        for side in sides
        for start in range(0, len(side.ids), COUNT_BLOCK)
    )
    count = sum(int((ids == token).sum()) for ids in blocks)
    return count / max(1, sum(len(side.ids) for side in sides))
