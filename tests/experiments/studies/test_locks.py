"""Locks of the workers of a study: a training waits while another worker measures speed."""

import time
from pathlib import Path
from threading import Thread

import pytest

from experiments.settings import SearchConfig, SearchSettings
from experiments.studies import locks
from experiments.studies.locks import TimingLock


def settings(folder: Path, study: str = "mkd") -> SearchSettings:
    return SearchSettings(cache=str(folder), search=SearchConfig(study=study))


def test_a_training_waits_until_the_measurement_is_over(tmp_path: Path) -> None:
    measuring, training = TimingLock(settings(tmp_path)), TimingLock(settings(tmp_path))
    events: list[str] = []

    def train() -> None:
        training.wait()
        events.append("step")

    with measuring.held():
        thread = Thread(target=train)
        thread.start()
        time.sleep(0.2)
        events.append("measured")
    thread.join(10)
    assert events == ["measured", "step"]


def test_two_measurements_are_not_made_at_once(tmp_path: Path) -> None:
    one, other = TimingLock(settings(tmp_path)), TimingLock(settings(tmp_path))
    events: list[str] = []

    def measure() -> None:
        with other.held():
            events.append("second")

    with one.held():
        thread = Thread(target=measure)
        thread.start()
        time.sleep(0.2)
        events.append("first")
    thread.join(10)
    assert events == ["first", "second"]


def test_another_study_is_not_waited_for(tmp_path: Path) -> None:
    with TimingLock(settings(tmp_path)).held():
        begin = time.monotonic()
        TimingLock(settings(tmp_path, "other")).wait()
        assert time.monotonic() - begin < 5


def test_a_suspended_worker_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "MOST_SECONDS", 0.2)
    with TimingLock(settings(tmp_path)).held():
        TimingLock(settings(tmp_path)).wait()


def test_the_lock_is_free_after_a_failed_measurement(tmp_path: Path) -> None:
    lock = TimingLock(settings(tmp_path))
    with pytest.raises(ValueError, match="no student"), lock.held():
        raise ValueError("no student")
    other = TimingLock(settings(tmp_path))
    other.wait()
    assert not lock.lock.is_locked and not other.lock.is_locked
