"""What every teacher is to its students: a task's logits for each row of a split; and how a model's are written down.

Axes: R rows, C classes (1 for regression).
"""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from mkd.evaluate import predictions
from mkd.record import Report, silent
from mkd.store import read_array
from mkd.tokens import Layout, TaskData, TokenStore

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
    """A model, how it reads its texts, and the precision of its matrix products."""

    model: nn.Module
    layout: Layout
    precision: str


def write_logits(file: Path, reader: Reader, store: TokenStore, task: str, classes: int, report: Report = silent) -> None:
    """Writes the model's logits [R, C] float32 for every row of the store."""
    rows = np.arange(len(store.labels))
    out = np.memmap(file, dtype="<f4", mode="w+", shape=(len(rows), classes))
    device = next(reader.model.parameters()).device.type
    done = 0
    with torch.autocast(device, torch.bfloat16, enabled=reader.precision == "bfloat16"):
        for places, logits in predictions(reader.model, store, rows, task, reader.layout):
            out[places] = logits
            done += len(places)
            report(done, {"progress": done / len(rows)})
    out.flush()


def read_logits(file: Path, classes: int) -> np.ndarray:
    """The logits [R, C] of a file, memory-mapped."""
    return read_array(file, "<f4").reshape(-1, classes)


def standardised(scores_RC: np.ndarray, data: TaskData) -> np.ndarray:
    """Logits that are in a task's own units, on the scale of a model's: for regression (score - mean) / std."""
    if data.kind.labels:
        return scores_RC
    scaled_RC: np.ndarray = ((scores_RC - data.mean) / data.std).astype(np.float32)
    return scaled_RC
