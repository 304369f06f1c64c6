"""The result of a run, and the interface through which a run reports progress and metrics."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from mkd import names

MODEL = "model"
"""Subfolder of a run's folder that holds the trained model."""
Report = Callable[[int, dict[str, float]], None]
"""Callback report(step, metrics), the only output channel of the core during a run.

A metric `progress/<phase>` is the completed share of a phase, from 0 to 1. Metrics for which
`names.is_only_shown` is true are displayed; all others are logged. An exception raised in the
callback stops the run.
"""


class RunStopped(Exception):
    """Raised inside a Report to stop a run on purpose; the run is not resumed.

    state is `pruned`, `infeasible` or `interrupted`. The message gives the reason.
    """

    def __init__(self, state: str, why: str) -> None:
        super().__init__(why)
        self.state = state


def no_report(step: int, metrics: dict[str, float]) -> None:
    """A Report that discards everything."""


class Dataset(NamedTuple):
    """Source, fingerprint and row counts of one task's data in a run.

    train_rows includes the unlabelled_rows. Rows of the selection split are not in train_rows,
    unless the run trained on them too (Config.whole).
    """

    task: str
    source: str
    fingerprint: str
    train_rows: int
    unlabelled_rows: int
    selection_rows: int
    dev_rows: int


class Result(NamedTuple):
    """The result of one run. Scores are in points from 0 to 100.

    - metrics: final values by name (mkd/names.py lists the names).
    - datasets: the data of each task.
    - notes: messages for the user.
    - hardware: properties of the machine.
    - student, teacher: kind and size of the models, such as `transformer-1x48`. Empty: none.
    - teacher_key: key of the teacher. Empty: no teacher.
    - folder: where the trained model is saved.
    - exported: folder of the fastest export. Empty: torch is faster, or there is no export.
    - predictions: predictions of student and teacher for each dev row, by column
      (mkd/evaluation/answers.py). Empty for runs that train no student.
    - deferral: points lost if the student leaves rows to the teacher, by column
      (mkd/evaluation/deferral.py). Empty without a teacher, and for regressions.
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
    deferral: Mapping[str, np.ndarray] = MappingProxyType({})


def timed_backends(metrics: dict[str, float]) -> list[str]:
    """Returns the backends that have a latency and did not fail their check against torch."""
    parsed = [speed for name in metrics if (speed := names.parsed_speed(name))]
    timed = dict.fromkeys(backend for backend, _, statistic in parsed if statistic == names.P50)
    return [backend for backend in timed if metrics.get(names.export(backend, names.OFFERED), 1.0)]


def report_doing(report: Report, what: str) -> None:
    """Reports a phase without steps, such as `loading the teacher`. It ends when the next begins.

    what: begins with one of names.PHASES_WITHOUT_STEPS.
    """
    assert what.startswith(names.PHASES_WITHOUT_STEPS), what
    report(0, {names.progress(what): 0.0})


def phase_report(report: Report, prefix: str, name: str) -> Report:
    """Returns a Report that adds a prefix to metric names and renames `progress` to the phase's.

    Values that are only shown get no prefix.
    """

    def in_phase(step: int, metrics: dict[str, float]) -> None:
        report(
            step,
            {
                names.progress(name)
                if key == names.SHARE
                else key
                if names.is_only_shown(key)
                else prefix + key: value
                for key, value in metrics.items()
            },
        )

    return in_phase
