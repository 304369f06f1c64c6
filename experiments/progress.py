"""Progress bars on the terminal for the phases that the core tells of."""

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from mkd.record import Report

UNITS = 1000
SHAPE = "{desc:22} {percentage:3.0f}%|{bar:30}| {elapsed}<{remaining}"


@contextmanager
def bars(report: Report) -> Iterator[Report]:
    """A Report that shows each `progress/<phase>` as a bar with the time that remains, and passes on all else."""
    open_bars: dict[str, tqdm] = {}  # type: ignore[type-arg]

    def told(step: int, metrics: dict[str, float]) -> None:
        for key, share in metrics.items():
            if key.startswith("progress/"):
                phase = key.removeprefix("progress/")
                if phase not in open_bars:
                    open_bars[phase] = tqdm(total=UNITS, desc=phase, bar_format=SHAPE)
                open_bars[phase].update(round(share * UNITS) - open_bars[phase].n)
                if share >= 1:
                    open_bars[phase].close()
        kept = {key: value for key, value in metrics.items() if not key.startswith("progress/")}
        if kept:
            report(step, kept)

    try:
        yield told
    finally:
        for bar in open_bars.values():
            bar.close()
