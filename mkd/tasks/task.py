"""Definition of a task (texts, labels, metrics, splits), and the nine tasks of GLUE."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mkd.names import MEAN


class Row(NamedTuple):
    """One example of a task.

    - text_b: the second text of a pair, else None.
    - label: index of the class, or score of a regression task; for a multilabel task the number of
      its classes. None: unlabelled.
    - classes: indices of the classes of a labelled row of a multilabel task; there may be none.
    """

    text_a: str
    text_b: str | None
    label: float | None
    classes: tuple[int, ...] = ()


MASK = "\ue000"
"""Placeholder for a masked word in texts of a split with masked=True.

It is replaced by the mask token of each tokenizer.
"""


class Split(NamedTuple):
    """Rows that can be read many times, one by one, without loading all of them.

    - read: returns an iterator over all rows. Raises ValueError with file and line of a wrong row.
    - fingerprint: changes if the rows change. Available without reading the rows.
    - source: description of the source, for messages.
    - masked: whether texts can contain MASK.
    """

    read: Callable[[], Iterator[Row]]
    fingerprint: str
    source: str
    masked: bool = False


@dataclass(frozen=True)
class Kind:
    """The definition of a task without its rows."""

    labels: tuple[str, ...]
    """Class names in the order of the logits. Empty: regression."""
    pair: bool
    """Whether a row has two texts."""
    metrics: tuple[str, ...]
    """Names of metrics, of METRICS and GROUP_METRICS in mkd.tasks.metrics. The score of a task is
    their mean."""
    range: tuple[float, float] | None = None
    """Regression: smallest and largest allowed score, inclusive. None: no limits."""
    multilabel: bool = False
    """Whether a row has any number of the labels, each with a probability of its own (a sigmoid),
    instead of exactly one of them."""

    @property
    def num_logits(self) -> int:
        return len(self.labels) or 1


ALLOWED_NAMES = (
    "up to 100 letters, digits, _, - and ., in quotes if it is a number, and not 'mean', as the "
    "mean of all tasks is called"
)
"""Allowed task names, for error messages. `mean` is reserved, because task names are part of metric
names, where `mean` is the mean over all tasks."""


def is_task_name(name: object) -> bool:
    """Returns whether a task may be called so."""
    return (
        isinstance(name, str)
        and re.fullmatch(r"\w[\w.-]{0,99}", name) is not None
        and name.lower() != MEAN
    )


@dataclass(frozen=True)
class Task:
    """A task: name, definition and rows. The dev splits are used for the final score only.

    Raises ValueError for a name that is not allowed.
    """

    name: str
    kind: Kind
    train: Split
    dev: dict[str, Split]
    """Dev splits by the suffix of their metrics: "", and "_mismatched" for MNLI's second split.

    Empty: rows of train become dev (mkd.selection.dev).
    """
    notes: tuple[str, ...] = ()
    """Messages for the user about the rows."""
    added: tuple[Split, ...] = ()
    """Splits of unlabelled rows added to the training rows: transfer files and augmentation."""
    dev_share: float = 0.1
    """Share of the labelled training rows that become dev if there is no dev split."""

    def __post_init__(self) -> None:
        if not is_task_name(self.name):
            raise ValueError(f"a task's name is {self.name!r}; allowed: {ALLOWED_NAMES}")


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
"""The GLUE tasks with their official metrics (Wang et al. 2019).

Names, labels and the order of labels are those of `nyu-mll/glue` on the hub.
"""
