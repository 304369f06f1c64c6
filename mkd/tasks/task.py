"""What a task is (its texts, labels, metrics and splits), and the nine tasks of GLUE."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Row(NamedTuple):
    """One example. label: the class's index, or the score of a regression task; None where there is none."""

    text_a: str
    text_b: str | None
    label: float | None


MASK = "\ue000"
"""Stands for a masked word in the texts of a split that says so; each tokenizer reads its own mask token in its place."""


class Split(NamedTuple):
    """Rows that can be read as often as needed, one after another, without holding them all.

    read: a new pass over the rows; raises ValueError naming file and line where one is wrong.
    fingerprint: changes whenever the rows do; known before they are read.
    source: where they come from, in words.
    masked: whether texts may hold MASK.
    """

    read: Callable[[], Iterator[Row]]
    fingerprint: str
    source: str
    masked: bool = False


@dataclass(frozen=True)
class Kind:
    """What is asked of a text: everything about a task but its rows."""

    labels: tuple[str, ...]
    """Class names in the order of the logits; empty for regression."""
    pair: bool
    """Whether a row has two texts."""
    metrics: tuple[str, ...]
    """Names in mkd.tasks.metrics.METRICS; a task's score is their mean."""
    range: tuple[float, float] | None = None
    """Regression: the smallest and largest allowed score, both included."""

    @property
    def num_logits(self) -> int:
        return len(self.labels) or 1


@dataclass(frozen=True)
class Task:
    """A named Kind with its rows. The dev splits are read for the final score only."""

    name: str
    kind: Kind
    train: Split
    dev: dict[str, Split]
    """By the suffix its metrics get: "" for the one there usually is, "_mismatched" for MNLI's second."""
    notes: tuple[str, ...] = ()
    """What a user should know of the rows that were found."""
    added: tuple[Split, ...] = ()
    """Text without labels that joins the training rows, one split after another: of files, and augmented."""


GLUE: dict[str, Kind] = {
    "cola": Kind(("unacceptable", "acceptable"), False, ("matthews",)),
    "sst2": Kind(("negative", "positive"), False, ("accuracy",)),
    "mrpc": Kind(("not_equivalent", "equivalent"), True, ("accuracy", "f1")),
    "stsb": Kind((), True, ("pearson", "spearman"), (0.0, 5.0)),
    "qqp": Kind(("not_duplicate", "duplicate"), True, ("accuracy", "f1")),
    "mnli": Kind(("entailment", "neutral", "contradiction"), True, ("accuracy",)),
    "qnli": Kind(("entailment", "not_entailment"), True, ("accuracy",)),
    "rte": Kind(("entailment", "not_entailment"), True, ("accuracy",)),
    "wnli": Kind(("not_entailment", "entailment"), True, ("accuracy",)),
}
"""Names, labels and their order as in the hub's `nyu-mll/glue`, with the official metrics (Wang et al. 2019)."""
