"""Waiting for what is to happen, rather than for some time to pass."""

import os
import time
from collections.abc import Callable
from pathlib import Path


def wait_until(true: Callable[[], object], seconds: float = 600) -> None:
    """Comes back as soon as it is; fails where it never is: the seconds are for a hang, not for a
    slow machine."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def wait_for_tick(file: Path) -> None:
    """Comes back when a change of the file would have another time than its last one: file systems
    count in milliseconds."""
    beside = file.with_name(f"{file.name}.tick")

    def later() -> bool:
        beside.write_text("")
        os.utime(beside)
        return beside.stat().st_ctime_ns > file.stat().st_ctime_ns

    try:
        wait_until(later)
    finally:
        beside.unlink(missing_ok=True)
