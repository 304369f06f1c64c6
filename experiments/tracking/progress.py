"""Progress bars in the terminal for the phases of a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from mkd import names
from mkd.result import Report

UNITS = 1000
"""Units of a full bar: a bar moves in steps of 0.1 %."""
SHAPE = "{desc:22} {percentage:3.0f}%|{bar:30}| {elapsed}<{remaining}"


def split_progress(shares: Report, report: Report) -> Report:
    """Returns a Report that sends each `progress/<phase>` to `shares` and all else to `report`."""

    def send(step: int, metrics: dict[str, float]) -> None:
        done = {
            key: value for key, value in metrics.items() if names.parsed_progress(key) is not None
        }
        kept = {key: value for key, value in metrics.items() if key not in done}
        if done:
            shares(step, done)
        if kept:
            report(step, kept)

    return send


@contextmanager
def job_bar(jobs: int) -> Iterator[Callable[[int, str, float], None]]:
    """Shows one bar for several jobs that run one after another.

    Yields a function of the job (counted from 0), the text of the bar, and the finished share of
    the job from 0 to 1.
    """
    with tqdm(total=jobs * UNITS, bar_format=SHAPE) as one:

        def show(job: int, name: str, share: float) -> None:
            one.set_description_str(name, refresh=False)
            one.update(round((job + share) * UNITS) - one.n)

        yield show


@contextmanager
def phase_bars(report: Report) -> Iterator[Report]:
    """Yields a Report that shows each `progress/<phase>` as a bar and passes on the rest."""
    open_bars: dict[str, tqdm] = {}  # type: ignore[type-arg]

    def show(step: int, shares: dict[str, float]) -> None:
        for key, share in shares.items():
            phase = names.parsed_progress(key)
            assert phase is not None, "only these come here"
            if phase not in open_bars:
                open_bars[phase] = tqdm(total=UNITS, desc=phase, bar_format=SHAPE)
            open_bars[phase].update(round(share * UNITS) - open_bars[phase].n)
            if share >= 1:
                open_bars[phase].close()

    try:
        yield split_progress(show, report)
    finally:
        for bar in open_bars.values():
            bar.close()
