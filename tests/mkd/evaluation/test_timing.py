"""Blocks of calls, with a manual clock and on a core that really is busy."""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from mkd.evaluation.timing import (
    MOST_BUSY,
    WARM_SECONDS,
    Clock,
    TimedBlock,
    block_statistics,
    busy_share,
    garbage_collection_off,
    min_calls,
    start_load_meter,
    time_block,
)

MS = 2**-10
"""About a millisecond; sums of it have no rounding error."""


class ManualClock:
    """A clock that only advances by its calls. share: of the time, the share that this thread
    works."""

    def __init__(self, share: float = 1.0) -> None:
        self.now, self.worked, self.share = 0.0, 0.0, share
        self.calls: list[str] = []
        self.clock = Clock(lambda: self.now, lambda: self.worked, lambda: self.worked, lambda: 0.0)

    def call(self, name: str, seconds: float) -> Callable[[], None]:
        def advance() -> None:
            self.calls.append(name)
            self.now += seconds
            self.worked += self.share * seconds

        return advance


def test_a_block_is_a_warm_up_and_then_whole_passes_until_its_time_is_over() -> None:
    """A pass takes 10 ms. After one pass of warm-up come nine: the last begins before 96 ms are
    over."""
    manual = ManualClock()
    block = time_block([manual.call("a", 4 * MS), manual.call("b", 6 * MS)], 96 * MS, manual.clock)
    assert manual.calls == ["a", "b"] * 10
    assert block == TimedBlock([4 * MS, 6 * MS] * 9, 2, 90 * MS, 90 * MS)


def test_calls_longer_than_the_time_have_one_call_of_warm_up_and_one_pass() -> None:
    manual = ManualClock()
    block = time_block([manual.call("a", 1.0), manual.call("b", 2.0)], 0.5, manual.clock)
    assert manual.calls == ["a", "a", "b"] and block.seconds == [1.0, 2.0]


def test_a_warm_up_ends_within_a_pass_that_is_long() -> None:
    manual = ManualClock()
    calls = [manual.call(str(place), 20 * MS) for place in range(9)]
    time_block(calls, 0, manual.clock)
    warm = len(manual.calls) - 9
    assert (warm - 1) * 20 * MS < WARM_SECONDS <= warm * 20 * MS


def blocks(*times: list[float]) -> list[TimedBlock]:
    return [TimedBlock(seconds, 20, sum(seconds), sum(seconds)) for seconds in times]


@pytest.mark.parametrize(("percent", "count"), [(50, 20), (95, 200), (99, 1000)])
def test_a_percentile_needs_ten_calls_beyond_it(percent: int, count: int) -> None:
    assert min_calls(percent) == count
    few, enough = (
        block_statistics([TimedBlock([1.0] * number, 1, 1.0, 1.0)], 1)
        for number in (count - 1, count)
    )
    assert f"p{percent}_ms" not in few and enough[f"p{percent}_ms"] == 1000.0
    assert (few["calls"], enough["calls"]) == (count - 1, count)


def test_the_tail_is_the_median_over_blocks_of_the_percentile_of_each_block() -> None:
    """A block in which everything took three times as long changes nothing."""
    first, second = (
        [0.001 * place for place in range(1, 101)],
        [0.002 * place for place in range(1, 101)],
    )
    statistics = block_statistics(blocks(first, second, [3 * time for time in second]), 1)
    assert statistics["p95_ms"] == pytest.approx(1000 * float(np.percentile(second, 95)))
    assert "p99_ms" not in statistics


def test_the_median_is_that_of_the_calls_of_the_fastest_tenth_of_the_passes() -> None:
    """Of 30 passes the three fastest have calls of 1.0, 1.1 and 1.2 s; the others are slow."""
    slow = [2.0 + 0.1 * place for place in range(27)]
    seconds = [time for time in [*slow[:9], 1.2, *slow[9:], 1.0, 1.1] for _ in range(20)]
    statistics = block_statistics(blocks(seconds[:200], seconds[200:]), 8)
    assert statistics["p50_ms"] == pytest.approx(1100)
    assert statistics["rows_per_s"] == pytest.approx(8 * 20 / (1.1 * 20))
    assert statistics["calls"] == 600


def test_the_fastest_passes_hold_enough_calls_for_the_median() -> None:
    """Passes of 8 calls: three passes hold the 20 calls that a median needs."""
    block = TimedBlock([time for time in (4.0, 1.0, 3.0, 2.0) for _ in range(8)], 8, 80.0, 80.0)
    statistics = block_statistics([block], 1)
    assert statistics["p50_ms"] == pytest.approx(2000)
    assert statistics["rows_per_s"] == pytest.approx(8 / 16)


def test_the_busy_share_is_what_the_thread_has_not_worked() -> None:
    manual = ManualClock(share=0.75)
    timed = [time_block([manual.call("a", MS)], 64 * MS, manual.clock) for _ in range(3)]
    assert busy_share(timed, 0.0, 2) == pytest.approx(0.25)
    # Two kinds of clocks may differ a little.
    assert busy_share([TimedBlock([1.0], 1, 1.0, 1.1)], 0.0, 2) == 0.0


@pytest.mark.parametrize(
    ("others", "physical", "share"),
    [(1.0, 2, 0.0), (1.3, 2, 0.3), (0.4, 1, 0.4), (9.0, 4, 1.0), (2.0, 8, 0.0)],
)
def test_others_may_use_a_part_of_this_core(others: float, physical: int, share: float) -> None:
    """Two logical cores share a physical one: a thread on one of them works all the time, but is
    slowed down by the other."""
    assert busy_share([TimedBlock([1.0], 1, 1.0, 1.0)], others, physical) == pytest.approx(share)


def test_others_are_the_work_of_all_cores_without_this_process() -> None:
    now = {"wall": 10.0, "process": 3.0, "machine": 100.0}
    others = start_load_meter(
        Clock(lambda: now["wall"], lambda: 0.0, lambda: now["process"], lambda: now["machine"])
    )
    now |= {"wall": 14.0, "process": 6.0, "machine": 109.0}
    assert others() == pytest.approx((9 - 3) / 4)


@contextmanager
def busy_core() -> Iterator[None]:
    """Puts this thread on one core, together with a process that works all the time."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not tell a process its core")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    other = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None and other.stdout.readline()
        yield
    finally:
        other.kill()
        other.communicate()
        os.sched_setaffinity(0, before)


def test_a_core_that_another_process_works_on_is_found_busy() -> None:
    def work() -> None:
        end = time.thread_time() + 0.01
        while time.thread_time() < end:
            pass

    with busy_core():
        block = time_block([work], 0.5)
    assert busy_share([block], 0.0, 64) > 4 * MOST_BUSY


def test_the_garbage_collector_is_on_again_also_after_an_error() -> None:
    assert gc.isenabled()
    with suppress(KeyError), garbage_collection_off():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
