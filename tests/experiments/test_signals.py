"""Signals whose exception Python ignores."""

import gc
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments import cli
from experiments.settings import DistillSettings
from experiments.signals import end_on_sigterm
from experiments.studies.worker import _stop_on_sigterm
from tests.support.entry import started


def _signal_in_collection(number: int, times: int) -> None:
    """Sends a signal to this process inside of a callback of the garbage collector."""
    sent = 0

    def callback(phase: str, info: dict[str, int]) -> None:
        nonlocal sent
        if phase == "start" and sent < times:
            sent += 1
            signal.raise_signal(number)

    gc.callbacks.append(callback)
    for _ in range(times):
        gc.collect(0)


def _go_on(number: int, times: int) -> None:
    told = sys.unraisablehook

    def hook(ignored: Any) -> None:
        print("ignored", flush=True)
        told(ignored)

    sys.unraisablehook = hook
    _signal_in_collection(number, times)
    time.sleep(60)


def command(number: int, times: int) -> None:
    """A command of the project as it gets a signal."""
    sys.exit(cli.entry(lambda config: _go_on(number, times), "", DistillSettings, []))


def worker(number: int, times: int) -> None:
    """A worker of a search as it gets SIGTERM."""
    end_on_sigterm(_stop_on_sigterm, KeyboardInterrupt)
    try:
        _go_on(number, times)
    except KeyboardInterrupt:
        sys.exit(7)


@pytest.mark.parametrize(
    ("work", "number", "times", "code"),
    [
        (command, signal.SIGTERM, 1, 128 + signal.SIGTERM),
        (command, signal.SIGTERM, 3, 128 + signal.SIGTERM),
        (command, signal.SIGINT, 1, 130),
        (worker, signal.SIGTERM, 1, 7),
    ],
)
def test_a_signal_that_arrives_in_a_collection_of_garbage_ends_the_process(
    tmp_path: Path, work: object, number: int, times: int, code: int
) -> None:
    folder = tmp_path / "signalled"
    folder.mkdir()
    begin = time.monotonic()
    done = started(folder, work, number, times).end()  # type: ignore[arg-type]
    assert done.stdout.count("ignored") == times, "Python has gone on after the signal"
    assert done.returncode == code, done.stderr
    assert time.monotonic() - begin < 50 and "Exception ignored" not in done.stderr
