"""What a run leaves behind: its Result; and how it reports while it works."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from mkd import names

MODEL = "model"
"""Where in a run's folder the model is, which the run has made."""
Report = Callable[[int, dict[str, float]], None]
"""The core's only way out while it works: report(step, metrics). Metrics named `progress/<phase>` tell the share of a
phase that is done, from 0 to 1; all others are numbers to keep. Raising inside it stops the run."""


class Ended(Exception):
    """Raised inside a report: the run is stopped on purpose, for good. state: `pruned` or `infeasible`; its text says why."""

    def __init__(self, state: str, why: str) -> None:
        super().__init__(why)
        self.state = state


def silent(step: int, metrics: dict[str, float]) -> None:
    """A Report that tells nobody."""


class Dataset(NamedTuple):
    """One task's rows as a run used them."""

    task: str
    source: str
    fingerprint: str
    train_rows: int
    unlabelled_rows: int
    selection_rows: int
    dev_rows: int


class Result(NamedTuple):
    """One run's outcome. Scores are in points from 0 to 100.

    metrics: final numbers by name; mkd/names.py tells what they are.
    student, teacher: kind and size of the models. folder: where the model that the run made was written.
    exported: the folder of its fastest export; empty: torch is faster, or there is none. predictions: the student's answer to
    each dev row, and the teacher's, by column (mkd/evaluation/scoring.py); empty: it is no student of a teacher.
    """

    metrics: dict[str, float]
    datasets: list[Dataset]
    notes: list[str]
    hardware: dict[str, str]
    student: str
    teacher: str
    teacher_key: str
    folder: str
    exported: str = ""
    predictions: Mapping[str, np.ndarray] = MappingProxyType({})


def timed_backends(metrics: dict[str, float]) -> list[str]:
    """The backends in which the student was timed, less those that did not pass their check against torch."""
    parsed = [found for name in metrics if (found := names.parsed_speed(name))]
    timed = dict.fromkeys(backend for backend, _, statistic in parsed if statistic == names.P50)
    return [backend for backend in timed if metrics.get(names.export(backend, names.OFFERED), 1.0)]


def phase(report: Report, prefix: str, name: str) -> Report:
    """A report whose metrics get the prefix, and whose `progress` the phase's name."""

    def told(step: int, metrics: dict[str, float]) -> None:
        report(step, {names.progress(name) if key == names.SHARE else prefix + key: value for key, value in metrics.items()})

    return told
