"""Several teachers of one task as one: the mean of their logits or of their probabilities.

Axes: M teachers, R rows, C classes (1 for regression).
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.special import log_expit, log_softmax

from mkd.result import Report, no_report
from mkd.storage.store import cached_folder, key_of, write_arrays
from mkd.storage.versions import version_key
from mkd.teachers.task_teacher import LOGITS_FILE, TaskTeacher, read_logits, stores_by_split
from mkd.tokenization.tokens import TaskData

MEAN_CHUNK_ROWS = 65_536
"""Rows that are in memory at once."""


@dataclass(frozen=True)
class MeanTeacher(TaskTeacher):
    """The mean of two or more TaskTeachers, as the TaskTeacher of their task."""

    averaged: tuple[TaskTeacher, ...]
    of: Literal["logits", "probabilities"]
    root: Path

    @property
    def members(self) -> tuple[TaskTeacher, ...]:
        """See TaskTeacher.members."""
        return self.averaged

    def logits(self, split: str, report: Report = no_report) -> np.ndarray | None:
        """Returns what TaskTeacher.logits describes; None if a member lacks the split."""
        by_member = [member.logits(split, report) for member in self.members]
        known = [logits for logits in by_member if logits is not None]
        if len(known) < len(by_member):
            return None
        rows = stores_by_split(self.data)[split].fingerprint
        key_values = {
            "mean": self.key,
            "rows": rows,
            "task": self.data.name,
            "scale": [self.data.mean, self.data.std],
        } | version_key("logits")
        kind = self.data.kind
        if kind.multilabel:
            key_values["multilabel"] = True
        write = partial(_write, known, self.of, kind.multilabel)
        folder = cached_folder(self.root, "logits", key_values, write)
        return read_logits(folder / LOGITS_FILE, kind.num_logits)


def mean_teacher(
    members: tuple[TaskTeacher, ...],
    of: Literal["logits", "probabilities"],
    root: Path,
    data: TaskData,
) -> MeanTeacher:
    """Returns the mean of a task's teachers. `root` is the folder of the cache."""
    # Sorted: the order of the sources does not change the mean.
    key = key_of({"members": sorted(member.key for member in members), "mean": of})
    return MeanTeacher(" + ".join(member.name for member in members), key, data, members, of, root)


def mean_logits(logits_MRC: np.ndarray, of: str, multilabel: bool = False) -> np.ndarray:
    """Returns the mean over the teachers that have an answer, [R, C] float32; NaN if none has.

    With `of` "logits" it is the mean of the logits. With "probabilities" it is the log of the mean
    probabilities, which serve as logits: log(mean_m softmax(z_m)) = logsumexp_m(log_softmax(z_m)) -
    log M. One class is the score of a regression, for which it is always the mean. Each label of a
    multilabel task has a probability of its own: with the mean p, its logit is log(p / (1 - p)).
    """
    exact_MRC = logits_MRC.astype(np.float64)
    unknown_MRC = np.isnan(exact_MRC)
    number_RC = (~unknown_MRC).sum(0)
    # A row that no teacher answers is 0 / 0 or -inf + inf: NaN.
    with np.errstate(invalid="ignore", divide="ignore"):
        if of == "logits" or (logits_MRC.shape[2] == 1 and not multilabel):
            mean_RC: np.ndarray = np.where(unknown_MRC, 0, exact_MRC).sum(0) / number_RC
        elif multilabel:
            # log p and log (1 - p) of the mean, both plus log M.
            yes_MRC, no_MRC = log_expit(exact_MRC), log_expit(-exact_MRC)
            mean_RC = _log_sum(yes_MRC, unknown_MRC) - _log_sum(no_MRC, unknown_MRC)
        else:
            logs_MRC = log_softmax(exact_MRC, axis=2)
            mean_RC = _log_sum(logs_MRC, unknown_MRC) - np.log(number_RC)
    logits_RC: np.ndarray = mean_RC.astype(np.float32)
    return logits_RC


def _log_sum(logs_MRC: np.ndarray, unknown_MRC: np.ndarray) -> np.ndarray:
    """Returns the logarithm of the sum over M of known values [R, C]; -inf if there are none."""
    total_RC: np.ndarray = np.logaddexp.reduce(np.where(unknown_MRC, -np.inf, logs_MRC), axis=0)
    return total_RC


def _write(members: list[np.ndarray], of: str, multilabel: bool, folder: Path) -> None:
    chunks = (
        np.stack([logits[start : start + MEAN_CHUNK_ROWS] for logits in members])
        for start in range(0, len(members[0]), MEAN_CHUNK_ROWS)
    )
    write_arrays(
        folder / LOGITS_FILE,
        (mean_logits(chunk_MRC, of, multilabel).astype("<f4") for chunk_MRC in chunks),
    )
