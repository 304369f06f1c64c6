"""Locks that the workers of a study share on one machine."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from experiments.settings import SearchSettings
from mkd.storage.store import key_of

MOST_SECONDS = 60.0
"""Longest wait for a measurement of speed. The worker that measures may be suspended."""


def request_lock(config: SearchSettings) -> FileLock:
    """Returns the lock that is held while a trial is requested.

    Without it, workers on this machine could count the trials at the same time and start too many.
    """
    return FileLock(_file(config, "request"))


@contextmanager
def timing_lock(config: SearchSettings) -> Iterator[None]:
    """Holds the lock of the workers of a study that measure the speed of a student.

    Trainings pause meanwhile (`wait_for_timing`). The cores of a machine may be threads of one
    core: a training on the other one then slows the calls down, each time by another factor, so
    the order of the students would be chance. The system frees the lock if the process is killed.
    """
    lock = FileLock(_file(config, "timing"), timeout=MOST_SECONDS)
    with suppress(Timeout):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def wait_for_timing(config: SearchSettings) -> None:
    """Returns once no other worker measures speed."""
    with timing_lock(config):
        pass


def _file(config: SearchSettings, name: str) -> Path:
    folder = Path(config.cache) / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    key = key_of({"storage": config.search.storage, "study": config.search.study})
    return folder / f"{key}.{name}.lock"
