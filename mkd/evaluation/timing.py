"""Blocks of calls timed back to back, what they come to, and how busy the machine was meanwhile. Pure but for the clocks."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import psutil

from mkd import names

Call = Callable[[], object]

PROTOCOL = 2
"""The way of measuring speed (mkd/evaluation/speed.py); raised when times change by it. 1: models in turn, call by call."""
QUANTILES = (50, 95, 99)
"""In percent, of the time of a call."""
MOST_BUSY = 0.05
"""Share of the time that other work may have had of the core; above it the times are told to be too long."""
WARM_SECONDS = 0.05
"""A block's warm-up ends after so long, or after a pass."""


def _machine_seconds() -> float:
    """Seconds that all cores have worked, for whichever process, since the system started."""
    found = psutil.cpu_times()
    return sum(getattr(found, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "interrupt", "dpc", "steal"))


class Clock(NamedTuple):
    """What time is read from, in seconds. thread, process: of work of this thread or process; machine: of all cores."""

    wall: Callable[[], float] = time.perf_counter
    thread: Callable[[], float] = time.thread_time
    process: Callable[[], float] = time.process_time
    machine: Callable[[], float] = _machine_seconds


CLOCK = Clock()


class Block(NamedTuple):
    """Whole passes over some calls, back to back. seconds: of each call, in their order. wall, thread: of all of them."""

    seconds: list[float]
    calls_a_pass: int
    wall: float
    thread: float


def block(calls: Sequence[Call], seconds: float, clock: Clock = CLOCK) -> Block:
    """Times the calls, all of them equally often, until so many seconds are over, but once at least.

    Before that some are made untimed, so that caches hold what this model needs and no other one's.
    """
    begun = clock.wall()
    for call in calls:
        call()
        if clock.wall() - begun >= WARM_SECONDS:
            break
    times: list[float] = []
    start, worked = clock.wall(), clock.thread()
    before = start
    while not times or before - begun < seconds:
        for call in calls:
            call()
            now = clock.wall()
            times.append(now - before)
            before = now
    return Block(times, len(calls), before - start, clock.thread() - worked)


def statistics_of(blocks: list[Block], rows: int) -> dict[str, float]:
    """`p50_ms`, `p95_ms`, `p99_ms` of one call, `rows_per_s` of calls of so many rows, and how many `calls` there were.

    A percentile is that of each block's calls, the median over blocks; it is left out where the calls are too few for it.
    rows_per_s is of the pass that took the median time.
    """
    count = sum(len(found.seconds) for found in blocks)
    told = {names.percentile(q): 1000 * _over_blocks(blocks, q) for q in QUANTILES if count >= least_calls(q)}
    size = blocks[0].calls_a_pass
    passes = [sum(found.seconds[place : place + size]) for found in blocks for place in range(0, len(found.seconds), size)]
    return told | {names.ROWS_PER_S: rows * size / statistics.median(passes), names.CALLS: float(count)}


def _over_blocks(blocks: list[Block], percent: int) -> float:
    return float(statistics.median(np.percentile(found.seconds, percent) for found in blocks))


def least_calls(percent: int) -> int:
    """So many calls that ten of them are beyond the percentile."""
    return math.ceil(10 * 100 / (100 - percent))


def of_others(clock: Clock = CLOCK) -> Callable[[], float]:
    """Tells, whenever it is asked, how many cores others than this process have kept at work since now, in the mean."""
    start, begun = clock.wall(), clock.machine() - clock.process()
    return lambda: (clock.machine() - clock.process() - begun) / max(clock.wall() - start, 1e-9)


def busy_share(blocks: list[Block], others: float, physical: int) -> float:
    """The share of the time that other work had of the core, from 0 to 1. blocks: of one thread each.

    It is what the thread did not work of the time that passed. Where two logical cores are one of the `physical` ones, a thread
    can work all the time and still have half of a core: what `others` keep at work beyond the other physical cores counts too.
    """
    wall, thread = (sum(getattr(found, name) for found in blocks) for name in ("wall", "thread"))
    lost = 1 - thread / wall if wall > 0 else 0.0
    return min(1.0, max(0.0, lost, others - (physical - 1)))


def physical_cores() -> int:
    """Cores of the machine, those of two threads counted once; where it cannot be told, all of them."""
    return psutil.cpu_count(logical=False) or psutil.cpu_count() or 1


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's search for garbage, whose time grows with all else that the process holds."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
