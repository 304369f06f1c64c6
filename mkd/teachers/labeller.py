"""The interface of all teachers, a task's logits by row of a split, and how logits are stored.

Axes: R rows, C classes (1 for regression).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import nn

from mkd import names
from mkd.evaluation.scoring import eager, predictions
from mkd.result import Report, silent
from mkd.runtime.layout import Layout
from mkd.storage.store import new_array, read_array, stored, write_arrays
from mkd.storage.versions import made_by
from mkd.tasks.metrics import check_finite
from mkd.tokenization.tokens import TaskData, TokenStore

LOGITS = "logits.float32"
"""Name of the file with the logits of one split."""


class Labeller(Protocol):
    """A teacher of one task.

    `name` is for display. `key` changes whenever the logits may change.
    """

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...

    def logits(self, split: str, report: Report = silent) -> np.ndarray | None:
        """Returns the logits [R, C] float32 of a split, row i for row i of the split.

        `split` is a name in `splits`. Returns None for a dev split that the teacher has no logits
        for.

        For regression the logits are standardized like those of a model: (score - mean) / std.
        """


def splits(data: TaskData) -> dict[str, TokenStore]:
    """Returns a task's rows by split: `train`, `dev`, and for MNLI `dev_mismatched`."""
    return {"train": data.train} | {f"dev{suffix}": store for suffix, store in data.dev.items()}


class Reader(NamedTuple):
    """A model that computes logits for one task.

    - `model`: loads the model on first use
    - `layout`: how the model reads texts
    - `precision`: precision of matrix products
    - `classes`: C, the number of logits of a row
    """

    model: Callable[[], nn.Module]
    layout: Layout
    precision: str
    task: str
    classes: int


def stored_logits(
    root: Path, by: dict[str, Any], reader: Reader, store: TokenStore, report: Report = silent
) -> np.ndarray:
    """Returns the model's logits [R, C] float32, memory-mapped; computed once and stored.

    Row i is that of row i of `store`. `by` is everything that the logits depend on except the rows.
    The parts of `store`, such as the files of data.transfer, are stored separately and then joined:
    a new part does not recompute the logits of the others.

    Raises NotFinite if a logit is not a finite number.
    """

    def build(aside: Path) -> None:
        if store.parts:
            write_arrays(
                aside / LOGITS,
                (stored_logits(root, by, reader, part, report) for part in store.parts),
            )
        else:
            _write(aside / LOGITS, reader, store, report)

    parts = by | {"rows": store.fingerprint} | made_by("logits")
    return read_logits(stored(root, "logits", parts, build) / LOGITS, reader.classes)


def _write(file: Path, reader: Reader, store: TokenStore, report: Report) -> None:
    """Writes the logits of every row. Raises NotFinite at the first that is not finite."""
    model, rows = reader.model(), range(len(store.labels))
    out = new_array(file, "<f4", (len(rows), reader.classes))
    done = 0
    for places, logits in predictions(
        eager(model, reader.precision), store, rows, reader.task, reader.layout
    ):
        check_finite(logits, f"task {reader.task}")
        out[places] = logits
        done += len(places)
        report(done, {names.SHARE: done / len(rows)})
    out.flush()


def read_logits(file: Path, classes: int, dtype: str = "<f4") -> np.ndarray:
    """Returns the logits [R, C] of a file, memory-mapped."""
    return read_array(file, dtype).reshape(-1, classes)


def standardised(scores_RC: np.ndarray, data: TaskData) -> np.ndarray:
    """Returns logits in a task's units on the scale of a model's logits.

    For regression this is (score - mean) / std; the logits of a classification do not change.
    """
    if data.kind.labels:
        return scores_RC
    scaled_RC: np.ndarray = ((scores_RC.astype(np.float64) - data.mean) / data.std).astype(
        np.float32
    )
    return scaled_RC
