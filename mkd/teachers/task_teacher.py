"""The interface of a task's teacher, and how its logits are stored.

Axes: R rows, C classes (1 for regression).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn
from transformers import PreTrainedTokenizerBase

from mkd import names
from mkd.evaluation.scoring import predict_batches, torch_infer
from mkd.evaluation.thresholds import fit_thresholds, has_thresholds
from mkd.result import Report, no_report
from mkd.runtime.layout import Layout
from mkd.storage.store import cached_folder, new_array, read_array, write_arrays
from mkd.storage.versions import version_key
from mkd.students import Student
from mkd.tasks.metrics import check_finite
from mkd.teachers.classifier import Classifier
from mkd.tokenization.tokens import TaskData, TokenStore, labels_of

LOGITS_FILE = "logits.float32"
"""Name of the file with the logits of one split."""


class RunnableModel(NamedTuple):
    """A teacher's model that runs here, with its tokenizer. Its speed can be measured."""

    model: Student | Classifier
    tokenizer: PreTrainedTokenizerBase


class StateModel(NamedTuple):
    """A teacher's model whose hidden states can be read.

    - `model`: loads the model on first use
    - `by`: everything that the states depend on except layers and rows
    - `num_states`: number of states per row, of the embeddings and of each layer
    """

    model: Callable[[], nn.Module]
    key: str
    by: dict[str, Any]
    layout: Layout
    precision: str
    data: TaskData
    num_states: int
    width: int


@dataclass(frozen=True)
class TaskTeacher(ABC):
    """A teacher of one task. Each kind of teacher is a subclass.

    - `name`: for display
    - `key`: changes whenever the logits may change
    - `data`: the task, by the teacher's tokenizer if it has one
    """

    name: str
    key: str
    data: TaskData

    @property
    def members(self) -> "tuple[TaskTeacher, ...]":
        """The teachers that this one consists of: itself, unless it is a mean of others."""
        return (self,)

    @property
    def notes(self) -> list[str]:
        """Messages for the user about this teacher."""
        return []

    def state_model(self) -> StateModel | None:
        """Returns the model whose hidden states can be matched, or None if there is none."""
        return None

    def runnable_model(self) -> RunnableModel | None:
        """Returns the model that is compared with the student in speed, or None."""
        return None

    def thresholds(self) -> np.ndarray | None:
        """Returns the decision thresholds [C] of the task, or None if it has none.

        They are fitted to the teacher's logits for the selection rows.
        """
        kind, train = self.data.kind, self.data.train
        if not has_thresholds(kind, labels_of(train, kind, self.data.selection_rows)):
            return None
        rows, logits = self.on_selection()
        return fit_thresholds(kind, logits, labels_of(train, kind, rows))

    def on_selection(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the selection rows that the teacher has answers for, and its logits for them."""
        logits = self.logits("train")
        assert logits is not None, "every teacher has the training rows"
        rows = self.data.selection_rows
        rows = rows[answered_rows(logits[rows])]
        return rows, logits[rows]

    def temperature(self) -> float:
        """Returns the temperature of its probabilities: 1, unless one was fitted."""
        return 1.0

    @abstractmethod
    def logits(self, split: str, report: Report = no_report) -> np.ndarray | None:
        """Returns the logits [R, C] float32 of a split, row i for row i of the split.

        `split` is a name in `stores_by_split`. Returns None for a dev split that the teacher has no
        logits for. A row of train that it has no answer for is NaN.

        For regression the logits are standardized like those of a model: (score - mean) / std.
        """


def stores_by_split(data: TaskData) -> dict[str, TokenStore]:
    """Returns a task's rows by split: `train`, `dev`, and for MNLI `dev_mismatched`."""
    return {"train": data.train} | {f"dev{suffix}": store for suffix, store in data.dev.items()}


def answered_rows(logits_RC: np.ndarray) -> np.ndarray:
    """Returns which rows have an answer [R]."""
    known_R: np.ndarray = ~np.isnan(logits_RC[:, 0])
    return known_R


class TaskModel(NamedTuple):
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


def cached_logits(
    root: Path, by: dict[str, Any], reader: TaskModel, store: TokenStore, report: Report = no_report
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
                aside / LOGITS_FILE,
                (cached_logits(root, by, reader, part, report) for part in store.parts),
            )
        else:
            _write(aside / LOGITS_FILE, reader, store, report)

    key_values = by | {"rows": store.fingerprint} | version_key("logits")
    return read_logits(
        cached_folder(root, "logits", key_values, build) / LOGITS_FILE, reader.classes
    )


def _write(file: Path, reader: TaskModel, store: TokenStore, report: Report) -> None:
    """Writes the logits of every row. Raises NotFinite at the first that is not finite."""
    model, rows = reader.model(), range(len(store.labels))
    out = new_array(file, "<f4", (len(rows), reader.classes))
    done = 0
    for places, logits in predict_batches(
        torch_infer(model, reader.precision), store, rows, reader.task, reader.layout
    ):
        check_finite(logits, f"task {reader.task}")
        out[places] = logits
        done += len(places)
        report(done, {names.SHARE: done / len(rows)})
    out.flush()


def read_logits(file: Path, classes: int, dtype: str = "<f4") -> np.ndarray:
    """Returns the logits [R, C] of a file, memory-mapped."""
    return read_array(file, dtype).reshape(-1, classes)


def standardise_scores(scores_RC: np.ndarray, data: TaskData) -> np.ndarray:
    """Returns logits in a task's units on the scale of a model's logits.

    For regression this is (score - mean) / std; the logits of a classification do not change.
    """
    if data.kind.labels:
        return scores_RC
    scaled_RC: np.ndarray = ((scores_RC.astype(np.float64) - data.mean) / data.std).astype(
        np.float32
    )
    return scaled_RC
