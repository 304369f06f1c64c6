"""Progress bars on the terminal for the phases that the core tells of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from mkd import names
from mkd.result import Report

UNITS = 1000
SHAPE = "{desc:22} {percentage:3.0f}%|{bar:30}| {elapsed}<{remaining}"


def apart(shares: Report, report: Report) -> Report:
    """A Report that sends each `progress/<phase>` to `shares` and all else to `report`."""

    def told(step: int, metrics: dict[str, float]) -> None:
        done = {key: value for key, value in metrics.items() if names.parsed_progress(key) is not None}
        kept = {key: value for key, value in metrics.items() if key not in done}
        if done:
            shares(step, done)
        if kept:
            report(step, kept)

    return told


@contextmanager
def bar(jobs: int) -> Iterator[Callable[[int, str, float], None]]:
    """One bar for jobs that are done one after another, told of job (from 0), name and the share of it that is done."""
    with tqdm(total=jobs * UNITS, bar_format=SHAPE) as one:

        def told(job: int, name: str, share: float) -> None:
            one.set_description_str(name, refresh=False)
            one.update(round((job + share) * UNITS) - one.n)

        yield told


@contextmanager
def bars(report: Report) -> Iterator[Report]:
    """A Report that shows each `progress/<phase>` as a bar with the time that remains, and passes on all else."""
    open_bars: dict[str, tqdm] = {}  # type: ignore[type-arg]

    def shown(step: int, shares: dict[str, float]) -> None:
        for key, share in shares.items():
            phase = names.parsed_progress(key)
            assert phase is not None, "only these come here"
            if phase not in open_bars:
                open_bars[phase] = tqdm(total=UNITS, desc=phase, bar_format=SHAPE)
            open_bars[phase].update(round(share * UNITS) - open_bars[phase].n)
            if share >= 1:
                open_bars[phase].close()

    try:
        yield apart(shown, report)
    finally:
        for bar in open_bars.values():
            bar.close()
