"""Signals whose exception Python ignores, and signals during a database call."""

import gc
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from experiments import cli, signals
from experiments.settings import DistillSettings
from experiments.signals import end_on_signals
from experiments.studies.worker import _stop_on_sigterm
from tests.support.entry import started


def _signal_in_collection(number: int, times: int) -> None:
    """Sends a signal to this process inside a callback of the garbage collector."""
    sent = 0

    def callback(phase: str, info: dict[str, int]) -> None:
        nonlocal sent
        if phase == "start" and sent < times:
            sent += 1
            signal.raise_signal(number)

    gc.callbacks.append(callback)
    print(f"signalled at {time.monotonic()}", flush=True)
    for _ in range(times):
        gc.collect(0)


def _signal_and_sleep(number: int, times: int) -> None:
    previous_hook = sys.unraisablehook

    def hook(ignored: Any) -> None:
        print("ignored", flush=True)
        previous_hook(ignored)

    sys.unraisablehook = hook
    _signal_in_collection(number, times)
    time.sleep(60)


def command(number: int, times: int) -> None:
    """A command that receives a signal."""
    sys.exit(cli.entry(lambda config: _signal_and_sleep(number, times), "", DistillSettings, []))


def worker(number: int, times: int) -> None:
    """A search's worker that receives SIGTERM."""
    end_on_signals(_stop_on_sigterm, KeyboardInterrupt)
    try:
        _signal_and_sleep(number, times)
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
def test_a_signal_during_garbage_collection_ends_the_process(
    tmp_path: Path, work: object, number: int, times: int, code: int
) -> None:
    folder = tmp_path / "signalled"
    folder.mkdir()
    done = started(folder, work, number, times).end()  # type: ignore[arg-type]
    ended = time.monotonic()
    assert done.stdout.count("ignored") == times, "Python has gone on after the signal"
    assert done.returncode == code, done.stderr
    if work is command:
        assert done.stderr.endswith("stopped; the same command continues\n")
    signalled = done.stdout.partition("signalled at ")[2].split()[0]
    assert ended - float(signalled) < 50 and "Exception ignored" not in done.stderr


def _insert(number: int) -> None:
    """Inserts a row. The signal arrives during that call; the exception's handler then inserts a
    second row over another connection."""
    url = f"sqlite:///{Path.cwd() / 'rows.db'}"
    engine = sqlalchemy.create_engine(url)

    @sqlalchemy.event.listens_for(engine, "after_cursor_execute")
    def signalled(*about: object) -> None:
        if "values (1)" in str(about[2]):
            signal.raise_signal(number)

    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("create table t (a int)"))
    connection = engine.connect()  # stays open, as if an exception prevented its closing
    try:
        connection.execute(sqlalchemy.text("insert into t values (1)"))
        connection.commit()
        time.sleep(60)
    except BaseException:
        with sqlalchemy.create_engine(url, connect_args={"timeout": 1}).begin() as second:
            second.execute(sqlalchemy.text("insert into t values (2)"))
            print(*second.scalars(sqlalchemy.text("select a from t order by a")))
        raise


def inserting_command(number: int) -> None:
    sys.exit(cli.entry(lambda config: _insert(number), "", DistillSettings, []))


def inserting_worker(number: int) -> None:
    end_on_signals(_stop_on_sigterm, KeyboardInterrupt)
    try:
        _insert(number)
    except KeyboardInterrupt:
        sys.exit(7)


@pytest.mark.parametrize(
    ("work", "number", "code"),
    [
        (inserting_command, signal.SIGTERM, 128 + signal.SIGTERM),
        (inserting_command, signal.SIGINT, 130),
        (inserting_worker, signal.SIGTERM, 7),
    ],
)
def test_a_signal_is_deferred_to_the_end_of_a_database_call(
    tmp_path: Path, work: Callable[[int], None], number: int, code: int
) -> None:
    """Otherwise the command's last writes would wait for the transaction that the signal has
    interrupted."""
    folder = tmp_path / "signalled"
    folder.mkdir()
    done = started(folder, work, number).end()
    assert done.returncode == code, done.stderr
    assert "1 2" in done.stdout.splitlines(), "both rows are written"


def test_a_signal_interrupts_a_hanging_database_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "LONGEST_DELAY", 0.3)
    engine = sqlalchemy.create_engine("sqlite://")
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    hook, begin = sys.unraisablehook, time.monotonic()

    @sqlalchemy.event.listens_for(engine, "after_cursor_execute")
    def hanging(*about: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(60)

    try:
        end_on_signals(_stop_on_sigterm, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt), engine.connect() as connection:
            connection.execute(sqlalchemy.text("select 1"))
    finally:
        sys.unraisablehook = hook
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert 0.3 <= time.monotonic() - begin < 30
