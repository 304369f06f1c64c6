"""Locks of the workers of a study: a training waits while another worker measures speed."""

import time
from pathlib import Path
from threading import Thread

import pytest

from experiments.settings import SearchConfig, SearchSettings
from experiments.studies import locks
from experiments.studies.locks import timing_lock, wait_for_timing


def settings(folder: Path, study: str = "mkd") -> SearchSettings:
    return SearchSettings(cache=str(folder), search=SearchConfig(study=study))


def test_a_training_waits_until_the_measurement_is_over(tmp_path: Path) -> None:
    events: list[str] = []

    def work() -> None:
        wait_for_timing(settings(tmp_path))
        events.append("went on")

    with timing_lock(settings(tmp_path)):
        thread = Thread(target=work)
        thread.start()
        time.sleep(0.2)
        events.append("measured")
    thread.join(10)
    assert events == ["measured", "went on"]


def test_another_study_is_not_waited_for(tmp_path: Path) -> None:
    with timing_lock(settings(tmp_path)):
        begin = time.monotonic()
        wait_for_timing(settings(tmp_path, "other"))
        assert time.monotonic() - begin < 5


def test_a_suspended_worker_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "MOST_SECONDS", 0.2)
    with timing_lock(settings(tmp_path)):
        wait_for_timing(settings(tmp_path))


def test_the_lock_is_free_after_a_failed_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "MOST_SECONDS", 600)
    with pytest.raises(ValueError, match="no student"), timing_lock(settings(tmp_path)):
        raise ValueError("no student")
    wait_for_timing(settings(tmp_path))
