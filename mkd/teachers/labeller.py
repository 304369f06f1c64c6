"""What every teacher is to its students: a task's logits for each row of a split; and how a model's are written down.

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
"""The file of a store that holds one split's logits."""


class Labeller(Protocol):
    """What teaches one task. name: in words. key: changes whenever its logits may."""

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...

    def logits(self, split: str, report: Report = silent) -> np.ndarray | None:
        """Logits [R, C] float32 of a split that splits() names, row i for its row i; None for a dev split that it lacks.

        On the scale of a model's logits: those of a regression task are (score - mean) / std.
        """


def splits(data: TaskData) -> dict[str, TokenStore]:
    """A task's stores by the names that a labeller knows them by: `train`, `dev`, and `dev_mismatched` of MNLI."""
    return {"train": data.train} | {f"dev{suffix}": store for suffix, store in data.dev.items()}


class Reader(NamedTuple):
    """What gives a model when it is needed, how that reads its texts, and what it is to answer.

    precision: of its matrix products. classes: C, the logits of a row.
    """

    model: Callable[[], nn.Module]
    layout: Layout
    precision: str
    task: str
    classes: int


def stored_logits(root: Path, by: dict[str, Any], reader: Reader, store: TokenStore, report: Report = silent) -> np.ndarray:
    """The model's logits [R, C] float32, memory-mapped, row i for row i of the store; computed once.

    by: all that they depend on but the rows. Those of a store that has parts are put together from the parts', so a row's
    are not computed again for its company.
    """

    def build(aside: Path) -> None:
        if store.parts:
            write_arrays(aside / LOGITS, (stored_logits(root, by, reader, part, report) for part in store.parts))
        else:
            _write(aside / LOGITS, reader, store, report)

    parts = by | {"rows": store.fingerprint} | made_by("logits")
    return read_logits(stored(root, "logits", parts, build) / LOGITS, reader.classes)


def _write(file: Path, reader: Reader, store: TokenStore, report: Report) -> None:
    """Writes the model's logits for every row of the store. Raises NotFinite at the first ones that are no numbers."""
    model, rows = reader.model(), range(len(store.labels))
    out = new_array(file, "<f4", (len(rows), reader.classes))
    done = 0
    for places, logits in predictions(eager(model, reader.precision), store, rows, reader.task, reader.layout):
        check_finite(logits, f"task {reader.task}")
        out[places] = logits
        done += len(places)
        report(done, {names.SHARE: done / len(rows)})
    out.flush()


def read_logits(file: Path, classes: int, dtype: str = "<f4") -> np.ndarray:
    """The logits [R, C] of a file, memory-mapped."""
    return read_array(file, dtype).reshape(-1, classes)


def standardised(scores_RC: np.ndarray, data: TaskData) -> np.ndarray:
    """Logits that are in a task's own units, on the scale of a model's: for regression (score - mean) / std."""
    if data.kind.labels:
        return scores_RC
    scaled_RC: np.ndarray = ((scores_RC.astype(np.float64) - data.mean) / data.std).astype(np.float32)
    return scaled_RC
