"""Timed blocks of calls, their statistics, and the load of the machine meanwhile.

All functions are pure except that they read a clock, which is an argument.
"""

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

SPEED_PROTOCOL = 5
"""Version of the measurement of speed (mkd/evaluation/speed.py), raised if a change affects times.
Version 1 called the models in turn, call by call. Up to version 2 a tokenizer encoded all texts, up
to version 3 a bag in int8 computed a single pair as a batch, up to version 4 the median was that of
all passes."""
TAIL_PERCENTILES = (95, 99)
"""Percentiles of the time of a call that are reported beside the median."""
FASTEST = 0.1
"""Share of the passes, the fastest ones, whose calls give the median and the throughput."""
MOST_BUSY = 0.05
"""Maximum share of the core's time that other work may use. Above it, times are reported as too
long."""
WARM_SECONDS = 0.05
"""Seconds after which the warm-up of a block ends, if a whole pass takes longer."""


def _machine_seconds() -> float:
    """Returns the CPU seconds of all cores and processes since the system started."""
    times = psutil.cpu_times()
    return sum(
        getattr(times, name, 0.0)
        for name in ("user", "nice", "system", "irq", "softirq", "interrupt", "dpc", "steal")
    )


class Clock(NamedTuple):
    """Clocks in seconds. `thread` and `process` are CPU time, `machine` is that of all cores."""

    wall: Callable[[], float] = time.perf_counter
    thread: Callable[[], float] = time.thread_time
    process: Callable[[], float] = time.process_time
    machine: Callable[[], float] = _machine_seconds


CLOCK = Clock()


class TimedBlock(NamedTuple):
    """Whole passes over a list of calls, back to back.

    `seconds` holds the time of each call in order. `wall` and `thread` are the wall-clock and CPU
    time of all calls.
    """

    seconds: list[float]
    calls_a_pass: int
    wall: float
    thread: float


def time_block(calls: Sequence[Call], seconds: float, clock: Clock = CLOCK) -> TimedBlock:
    """Times passes over the calls until `seconds` are over, but at least one pass.

    Only whole passes are made, so that each call counts equally. A warm-up, which is part of the
    `seconds`, comes first: it fills the caches with the data of this model.
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
            # One clock reading ends this call and starts the next one.
            now = clock.wall()
            times.append(now - before)
            before = now
    return TimedBlock(times, len(calls), before - start, clock.thread() - worked)


def block_statistics(blocks: list[TimedBlock], rows: int) -> dict[str, float]:
    """Returns `p50_ms`, `p95_ms`, `p99_ms`, `rows_per_s` and `calls` of blocks of one setting.

    - `p50_ms` is the median time of the calls of the fastest passes: a tenth of all passes, but at
      least as many as hold `min_calls(50)` calls. Other work on the machine, also that of other
      guests of its host, only makes passes longer. `rows_per_s` is that of the median of these
      passes.
    - `p95_ms` and `p99_ms` are the median over blocks of the percentile of a block's calls.
    - A percentile is left out if there are fewer than `min_calls`.

    `rows` is the number of rows per call. `calls` is the number of calls.
    """
    size = blocks[0].calls_a_pass
    passes = np.concatenate([np.reshape(block.seconds, (-1, size)) for block in blocks])
    by_time = passes[np.argsort(passes.sum(1), kind="stable")]
    fastest = by_time[: max(math.ceil(FASTEST * len(passes)), math.ceil(min_calls(50) / size))]
    tails = {
        names.percentile(q): 1000 * _over_blocks(blocks, q)
        for q in TAIL_PERCENTILES
        if passes.size >= min_calls(q)
    }
    median = (
        {names.percentile(50): 1000 * float(np.median(fastest))}
        if passes.size >= min_calls(50)
        else {}
    )
    return (
        median
        | tails
        | {
            names.ROWS_PER_S: rows * size / float(np.median(fastest.sum(1))),
            names.CALLS: float(passes.size),
        }
    )


def _over_blocks(blocks: list[TimedBlock], percent: int) -> float:
    return float(statistics.median(np.percentile(block.seconds, percent) for block in blocks))


def min_calls(percent: int) -> int:
    """Returns the number of calls of which ten lie beyond the percentile."""
    return math.ceil(10 * 100 / (100 - percent))


def start_load_meter(clock: Clock = CLOCK) -> Callable[[], float]:
    """Returns a function that measures how many cores other processes use.

    Each time it is called, it returns the mean number since `start_load_meter` was called.
    """
    start, begun = clock.wall(), clock.machine() - clock.process()
    return lambda: (clock.machine() - clock.process() - begun) / max(clock.wall() - start, 1e-9)


def busy_share(blocks: list[TimedBlock], others: float, physical: int) -> float:
    """Returns the share of the core's time that other work used, from 0 to 1.

    It is the share of wall-clock time in which the thread did not run. If two logical cores share a
    physical one, a thread can run all the time and still have only half of a core. Therefore the
    cores that others use, beyond the other physical cores, count too.

    - `blocks`: blocks of one thread each
    - `others`: mean number of cores that other processes use
    - `physical`: number of physical cores
    """
    wall, thread = (sum(getattr(block, name) for block in blocks) for name in ("wall", "thread"))
    lost = 1 - thread / wall if wall > 0 else 0.0
    return min(1.0, max(0.0, lost, others - (physical - 1)))


def physical_cores() -> int:
    """Returns the number of physical cores; if unknown, that of logical cores."""
    return psutil.cpu_count(logical=False) or psutil.cpu_count() or 1


@contextmanager
def garbage_collection_off() -> Iterator[None]:
    """Disables the garbage collector: its pauses grow with everything that the process holds."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
