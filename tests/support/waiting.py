"""Waits for conditions instead of fixed times."""

import os
import time
from collections.abc import Callable
from pathlib import Path


def wait_until(true: Callable[[], object], seconds: float = 600) -> None:
    """Returns as soon as the condition is true. The timeout, after which it fails, is for hangs and
    not for slow machines."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def wait_for_tick(file: Path) -> None:
    """Returns when another change of the file would get a new timestamp: file systems round to
    milliseconds."""
    tick = file.with_name(f"{file.name}.tick")

    def later() -> bool:
        tick.write_text("")
        os.utime(tick)
        return tick.stat().st_ctime_ns > file.stat().st_ctime_ns

    try:
        wait_until(later)
    finally:
        tick.unlink(missing_ok=True)
