"""Progress bars: a Report that shows each phase of a run in a terminal, a notebook or a log file.

    with phase_bars() as report:
        run(config, folder, report)

A bar shows the step, the loss or the score, the rate, and the time that remains. If stderr is a
file, a phase gets a line when it ends, and one every LINE_SECONDS until then. A phase without steps
shows its time only, and is gone when it ends.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any, Protocol

from tqdm import autonotebook, std
from tqdm.auto import tqdm

from mkd import names
from mkd.repeat import repeated
from mkd.result import Report, no_report, report_doing

LINE_SECONDS = 30.0
"""Seconds between two lines on one phase, if stderr is no terminal."""
TICK_SECONDS = 1.0
"""Seconds after which the clock of a bar in a terminal moves, if nothing else moves it."""

LABELS = {
    names.BASELINE + names.PHASE_STUDENT: "hard-label twin",
    names.ANEW + names.PHASE_STUDENT: "student from scratch",
}
"""Names of phases as they are shown, where they differ."""
WITHOUT_STEPS = "{desc} [{elapsed}]"
"""What is shown of a phase without steps, as tqdm's bar_format."""

Show = Callable[[int, str, float], None]
"""`show(done, text, share)` of `job_bar`."""


def is_drawn() -> bool:
    """Returns whether bars can be drawn over themselves: in a terminal or a notebook."""
    return sys.stderr.isatty() or autonotebook.tqdm is not std.tqdm


class Bar(Protocol):
    """A bar, or the lines that stand for one in a file."""

    n: float
    total: float | None

    def update(self, n: float, /) -> Any: ...
    def set_postfix_str(self, s: str, refresh: bool) -> None: ...
    def set_description_str(self, desc: str, refresh: bool) -> None: ...
    def refresh(self) -> Any: ...
    def close(self) -> None: ...


class Lines:
    """Stands for a bar where stderr is a file: whole lines, at most one every LINE_SECONDS."""

    def __init__(
        self,
        total: float | None,
        desc: str,
        unit: str,
        initial: float = 0,
        bar_format: str | None = None,
        leave: bool = True,
    ) -> None:
        self.n, self.total, self.desc, self.unit, self.initial = initial, total, desc, unit, initial
        self.postfix = ""
        self.bar_format, self.leave = bar_format, leave
        self.began = self.written = time.monotonic()
        self.shown: tuple[float, str, str] | None = None
        self.is_open = True

    def update(self, n: float) -> None:
        self.n += n
        if time.monotonic() - self.written >= LINE_SECONDS:
            self.refresh()

    def set_postfix_str(self, s: str, refresh: bool) -> None:
        self.postfix = s

    def set_description_str(self, desc: str, refresh: bool) -> None:
        self.desc = desc

    def refresh(self) -> None:
        self.written, self.shown = time.monotonic(), self._state()
        line = std.tqdm.format_meter(
            self.n, self.total or 0, self.written - self.began,
            ncols=None if self.bar_format else 0, prefix=self.desc,
            unit=self.unit, postfix=self.postfix, initial=self.initial, bar_format=self.bar_format,
        )  # fmt: skip
        print(line, file=sys.stderr, flush=True)

    def _state(self) -> tuple[float, str, str]:
        """Returns what a line shows, the time aside."""
        return self.n, self.desc, self.postfix

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            if self.leave and self.shown != self._state():
                self.refresh()


def new_bar(
    total: float | None,
    label: str,
    unit: str = "it",
    initial: float = 0,
    form: str | None = None,
    leave: bool = True,
) -> Bar:
    """Returns an open bar.

    total: number of units; None: not known yet.
    form: what is shown, as tqdm's bar_format. None: the usual.
    leave: whether it is still shown when it is closed.
    """
    if not is_drawn():
        return Lines(total, label, unit, initial, form, leave)
    bar: Bar = tqdm(
        total=total,
        desc=label,
        unit=unit,
        initial=initial,
        bar_format=form,
        leave=leave,
        dynamic_ncols=True,
        file=sys.stderr,
    )
    return bar


@contextmanager
def ticking(current: Callable[[], Bar | None]) -> Iterator[None]:
    """Moves the clock of the current bar every TICK_SECONDS, if it is drawn."""

    def tick() -> None:
        bar = current()
        if bar is not None:
            bar.refresh()

    with repeated(tick, TICK_SECONDS) if is_drawn() else nullcontext():
        yield


def split_progress(shares: Report, report: Report) -> Report:
    """Returns a Report that sends metrics that are only shown to `shares`, and all others to
    `report`."""

    def send(step: int, metrics: dict[str, float]) -> None:
        shown = {key: value for key, value in metrics.items() if names.is_only_shown(key)}
        kept = {key: value for key, value in metrics.items() if key not in shown}
        if shown:
            shares(step, shown)
        if kept:
            report(step, kept)

    return send


class PhaseBars:
    """A Report that shows the current phase as a bar. Phases come one after another."""

    def __init__(self) -> None:
        self.bar: Bar | None = None
        self.phase = ""
        self.figures: dict[str, str] = {}

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        shares = {
            phase: share
            for key, share in metrics.items()
            if (phase := names.parsed_progress(key)) is not None
        }
        is_new = False
        for phase, share in shares.items():
            is_new |= self._open(phase, step, share)
        if self.bar is None:
            return
        if figures := _figures(metrics):
            self.figures |= figures
            text = ", ".join(f"{name}={value}" for name, value in self.figures.items())
            self.bar.set_postfix_str(text, refresh=False)
        if shares:
            self.bar.update(step - self.bar.n)
        if shares and max(shares.values()) >= 1 and _unit(self.phase) == "row":
            self.close()  # what follows may not be a phase, and would count as its time
        elif is_new and is_drawn():
            self.bar.refresh()  # a first step within moments of the opening would not be drawn

    def _open(self, phase: str, step: int, share: float) -> bool:
        """Makes the phase the current one, and returns whether a bar was opened for it."""
        total = round(step / share) if share > 0 else None
        if phase == self.phase and self.bar is not None:
            if self.bar.total is None and total is not None:
                _set_total(self.bar, total)
            return False
        self.close()
        unit = _unit(phase)
        # A training reports every step, so one that begins later was resumed.
        initial = step - 1 if unit == "step" and step > 1 else 0
        self.phase, self.figures = phase, {}
        label = LABELS.get(phase, phase)
        self.bar = (
            new_bar(None, label, form=WITHOUT_STEPS, leave=False)
            if phase.startswith(names.PHASES_WITHOUT_STEPS)
            else new_bar(total, label, unit, initial)
        )
        return True

    def close(self) -> None:
        """Closes the bar that is open."""
        if self.bar is not None:
            bar, self.bar = self.bar, None
            bar.close()


def _unit(phase: str) -> str:
    """Returns the unit of a phase: steps of a training, rows that a model reads, or `it`."""
    last = phase.split("/")[-1]
    if last in (names.PHASE_STUDENT, names.PHASE_TEACHER, names.PHASE_PRETRAINING):
        return "step"
    return "row" if last.startswith(names.PHASES_OF_ROWS) else "it"


def _figures(metrics: dict[str, float]) -> dict[str, str]:
    """Returns the values shown beside a bar, as text by name.

    These are the loss, averaged over tasks, the score on the selection split, and tokenized rows.
    """
    losses = [value for key, value in metrics.items() if names.is_training_loss(key)]
    scores = [value for key, value in metrics.items() if names.is_selection_mean(key)]
    rows = metrics.get(names.ROWS_TOKENISED)
    return (
        ({"loss": f"{sum(losses) / len(losses):.3g}"} if losses else {})
        | ({"score": f"{scores[-1]:.1f}"} if scores else {})
        | ({} if rows is None else {"rows": f"{rows:,.0f}"})
    )


def _set_total(bar: Bar, total: float) -> None:
    """Sets the total of a bar that was opened without one."""
    if isinstance(bar, std.tqdm):
        start = bar.start_t
        bar.reset(total)  # a notebook's bar learns its total in this way only
        bar.start_t = start
    else:
        bar.total = total


@contextmanager
def phase_bars(report: Report = no_report) -> Iterator[Report]:
    """Yields a Report that shows each phase as a bar, and passes on all metrics that are logged."""
    bars = PhaseBars()

    def send(step: int, metrics: dict[str, float]) -> None:
        bars(step, metrics)
        if kept := {key: value for key, value in metrics.items() if not names.is_only_shown(key)}:
            report(step, kept)

    with ticking(lambda: bars.bar):
        try:
            yield send
        finally:
            bars.close()


@contextmanager
def shown_while(what: str) -> Iterator[None]:
    """Shows a phase without steps until the block ends. what: as report_doing takes it."""
    with phase_bars() as report:
        report_doing(report, what)
        yield


@contextmanager
def importing(modules: Sequence[str]) -> Iterator[None]:
    """Imports modules, and shows a bar of them until the block ends."""
    form = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
    bar = new_bar(len(modules), "loading the libraries", form=form, leave=False)
    with ticking(lambda: bar):
        try:
            for module in modules:
                import_module(module)
                bar.update(1)
            yield
        finally:
            bar.close()


@contextmanager
def job_bar(jobs: int, unit: str = "job") -> Iterator[Show]:
    """Shows one bar for several jobs that run one after another, or side by side.

    Yields a function of the number of finished jobs, the text of the bar, and the finished share of
    the jobs at work.
    """
    # A job at work counts by its share, and the number of jobs would be shown as a fraction.
    drawn = "|{bar}|" if is_drawn() else ""
    form = "{desc}: {percentage:3.0f}%" + drawn + " [{elapsed}<{remaining}{postfix}]"
    bar = new_bar(jobs, "", unit, form=form)

    def show(done: int, text: str, share: float) -> None:
        bar.set_description_str(text, refresh=False)
        bar.update(done + share - bar.n)

    with ticking(lambda: bar):
        try:
            yield show
        finally:
            bar.close()
