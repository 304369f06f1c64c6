"""What a user should know of a model's scores and of what it reads, where a number alone does not tell."""

from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from mkd import names
from mkd.runtime.layout import Layout, Texts, sequence_lengths
from mkd.tasks.metrics import score
from mkd.tasks.task import Kind
from mkd.tokenization.tokens import TaskData, TokenStore

NOTABLE_PERCENT = 1.0
"""Rows that are cut, and unknown tokens, are told of from this share on."""
BLOCK = 1 << 20
"""Rows, or tokens, that are counted at a time."""
CORRELATIONS = ("matthews", "pearson", "spearman")
"""Metrics whose standard error is 100 / sqrt(rows) where there is no correlation."""


class Floor(NamedTuple):
    """What is had without a model. label: the one answer that scores best, empty for regression. scores: its own, by metric."""

    label: str
    scores: dict[str, float]

    @property
    def score(self) -> float:
        return sum(self.scores.values()) / len(self.scores)


def floor(kind: Kind, labels_R: np.ndarray) -> Floor:
    """The scores of the label that scores best when it is always answered, mostly the most frequent; of a regression, 0."""
    if not kind.labels:
        return Floor("", dict.fromkeys(kind.metrics, 0.0))
    each = np.eye(kind.num_logits, dtype=np.float32)
    known = [
        Floor(label, score(kind, np.tile(one, (len(labels_R), 1)), labels_R))
        for label, one in zip(kind.labels, each, strict=True)
    ]
    counts_C = np.bincount(labels_R.astype(np.int64), minlength=kind.num_logits)
    # Where all are worth the same, as to Matthews' correlation, the most frequent one stands for them.
    return known[max(range(len(known)), key=lambda place: (known[place].score, counts_C[place]))]


def margin(found: Floor, rows: int) -> float:
    """Points by which a score has to be above the floor to tell more than chance: two standard errors.

    Of a share v in percent it is sqrt(v (100 - v) / rows), which serves for F1 as well.
    """
    errors = [
        100 / rows**0.5 if name in CORRELATIONS else (value * (100 - value) / rows) ** 0.5 for name, value in found.scores.items()
    ]
    return float(2 * sum(errors) / len(errors))


def weak_students(datas: list[TaskData], dev: dict[tuple[str, str], np.ndarray]) -> list[str]:
    """A note of each task whose student is no better on dev than one answer to all, as far as so many rows can tell."""
    notes = []
    for data in datas:
        labels_R = data.dev[""].labels
        values = score(data.kind, dev[data.name, ""], labels_R)
        found, least = sum(values.values()) / len(values), floor(data.kind, labels_R)
        more = margin(least, len(labels_R))
        if found < least.score + more:
            other = f"always answering {least.label!r} {least.score:.1f}" if least.label else "a constant 0.0"
            notes.append(
                f"{data.name}: WEAK STUDENT: it scores {found:.1f} on dev, {other}; "
                f"{len(labels_R):,} rows tell them apart from {more:.1f} points on"
            )
    return notes


class Reading(NamedTuple):
    """What of the training rows a model does not read. metrics: `data/<task>/cut` and `data/<task>/unknown`, in percent."""

    metrics: dict[str, float]
    notes: list[str]


def reading(datas: list[TaskData], tokenizer: PreTrainedTokenizerBase, layout: Layout) -> Reading:
    """How many training rows are longer than the model reads, and how many of their tokens the tokenizer does not know."""
    metrics: dict[str, float] = {}
    notes: list[str] = []
    for data in datas:
        cut = 100 * num_cut(data.train, layout) / len(data.train.labels)
        unknown = 100 * _share(data.train, tokenizer.unk_token_id)
        metrics |= {names.data(data.name, names.CUT): cut, names.data(data.name, names.UNKNOWN): unknown}
        if cut >= NOTABLE_PERCENT:
            notes.append(f"{data.name}: {cut:.0f} % of the training rows are cut at data.max_length={layout.max_length} tokens")
        if unknown >= NOTABLE_PERCENT:
            notes.append(f"{data.name}: {unknown:.0f} % of the training rows' tokens are unknown to the tokenizer")
    return Reading(metrics, notes)


def num_cut(store: TokenStore, layout: Layout) -> int:
    """Rows of which a model reads the beginning alone."""
    special = layout.num_special(store.b is not None) if layout.joined else 0
    starts = range(0, len(store.labels), BLOCK)
    blocks = (np.arange(start, min(start + BLOCK, len(store.labels))) for start in starts)
    return sum(int((sequence_lengths(store, layout, rows) + special > layout.max_length).sum()) for rows in blocks)


def _share(store: TokenStore, token: int | None) -> float:
    """The token's share of all, from 0 to 1."""
    if token is None:
        return 0.0
    sides: list[Texts] = [store.a] if store.b is None else [store.a, store.b]
    blocks = (side.ids[start : start + BLOCK] for side in sides for start in range(0, len(side.ids), BLOCK))
    found = sum(int((ids == token).sum()) for ids in blocks)
    return found / max(1, sum(len(side.ids) for side in sides))
