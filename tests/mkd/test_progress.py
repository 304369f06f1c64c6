"""Progress bars in a terminal, progress lines in a file, and metrics that are passed on."""

import io
import re
import sys
import threading
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from mkd import progress
from mkd.pipeline import prepare
from mkd.result import Report, phase_report, report_doing
from tests.support.runs import demo_config
from tests.support.terminal import Screen, bars

RecordedReports = list[tuple[int, dict[str, float]]]


def trained(report: Report, first: int = 1) -> None:
    """Sends the reports of a training of 50 steps."""
    student_report = phase_report(report, "", "student")
    for step in range(first, 51):
        student_report(
            step, {"progress": step / 50} | ({"shown/loss": 0.75} if step == first else {})
        )
        if step % 25 == 0:
            student_report(step, {"train/loss/a": 0.25, "train/loss/b": 0.75, "train/hard/a": 9.0})
    student_report(50, {"selection/mean": 70.25})


def test_progress_and_metrics_are_separated() -> None:
    shares: RecordedReports = []
    kept: RecordedReports = []
    report = progress.split_progress(
        lambda *args: shares.append(args), lambda *args: kept.append(args)
    )
    report(25, {"progress/student": 0.5, "train/loss": 1.0})
    report(50, {"progress/student": 1.0, "shown/loss": 2.0})
    report(50, {"selection/mean": 70.0})
    assert shares == [
        (25, {"progress/student": 0.5}),
        (50, {"progress/student": 1.0, "shown/loss": 2.0}),
    ]
    assert kept == [(25, {"train/loss": 1.0}), (50, {"selection/mean": 70.0})]


def test_a_bar_starts_at_the_first_step_and_shows_loss_and_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen, kept = Screen(), RecordedReports()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("mkd.progress.TICK_SECONDS", 60.0)
    with progress.phase_bars(lambda *args: kept.append(args)) as report:
        student_report = phase_report(report, "", "student")
        student_report(1, {"progress": 1 / 50, "shown/loss": 0.75})
        report(0, {"progress/export": 0.0})  # the next phase closes the previous bar
    drawn = bars(screen.getvalue())
    student = r"student: +2%\|.*\| 1/50 \[00:00<00:\d\d, .*step.*, loss=0\.75\]"
    assert re.match(student, drawn[1]) and drawn[-1].startswith("export: 0it [00:00")
    assert kept == []


def test_the_clock_of_the_bar_runs_between_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no bar before the first phase."""
    refreshed = threading.Event()

    class Bar:
        def refresh(self) -> None:
            refreshed.set()

    monkeypatch.setattr(progress, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(progress, "is_drawn", lambda: True)
    looks: Iterator[Any] = chain([None], repeat(Bar()))
    with progress.ticking(lambda: next(looks)):
        assert refreshed.wait(60)


def test_losses_are_averaged_in_the_bar_and_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, kept = Screen(), RecordedReports()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.phase_bars(lambda *args: kept.append(args)) as report:
        trained(report)
    assert re.search(r"student: 100%.* 50/50 .*, loss=0\.5, score=70\.2\]", screen.getvalue())
    losses = {"train/loss/a": 0.25, "train/loss/b": 0.75, "train/hard/a": 9.0}
    assert kept == [(25, losses), (50, losses), (50, {"selection/mean": 70.25})]


def test_a_file_gets_a_line_for_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with progress.phase_bars() as report:
        trained(report)
        phase_report(report, "baseline/", "baseline/student")(1, {"progress": 0.5})
    first, second = file.getvalue().splitlines()
    assert "\r" not in file.getvalue()
    assert re.match(r"student: 100% 50/50 \[.*step.*, loss=0\.5, score=70\.2\]$", first)
    assert second.startswith("hard-label twin:  50% 1/2 [")


def test_a_phase_with_rows_ends_with_its_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time does not include what follows, such as the trials of a search."""
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with progress.phase_bars() as report:
        report(30, {"progress/logits of films": 0.5})
        assert file.getvalue() == ""
        report(60, {"progress/logits of films": 1.0})
        assert file.getvalue().startswith("logits of films: 100% 60/60 [")


def test_a_long_phase_gets_several_lines_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file, now = io.StringIO(), iter(range(0, 10_000, 10))  # each read of the clock is 10 s later
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setattr("mkd.progress.time.monotonic", lambda: float(next(now)))
    with progress.phase_bars() as report:
        trained(report)
    assert 10 < len(file.getvalue().splitlines()) < 25


def test_the_last_line_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the last step came so late that it was written immediately."""
    file, now = io.StringIO(), iter(range(0, 10_000, 100))  # each read of the clock is 100 s later
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setattr("mkd.progress.time.monotonic", lambda: float(next(now)))
    with progress.phase_bars() as report:
        report(60, {"progress/logits of films": 1.0})
    assert file.getvalue().count("60/60") == 1


def test_a_phase_without_steps_shows_its_time_and_disappears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen, file = Screen(), io.StringIO()
    for stderr in (screen, file):
        monkeypatch.setattr(sys, "stderr", stderr)
        with progress.phase_bars() as report:
            report(1, {"progress/teacher tokens": 1.0})
            report_doing(report, "loading the teacher")
            trained(report)
    drawn = screen.getvalue()
    assert bars(drawn[: drawn.index("student")])[-1] == "loading the teacher [00:00]"
    # The line is erased before the next bar.
    assert re.search(r"loading the teacher \[00:00\]\r +\r+student: ", drawn)
    assert [line.split(":")[0] for line in file.getvalue().splitlines()] == [
        "teacher tokens", "student"
    ]  # fmt: skip


def test_the_phases_before_the_first_step_are_named(tmp_path: Path) -> None:
    """A run reports what it reads, loads and checks before its first step."""
    names: list[str] = []
    prepare(demo_config(tmp_path), lambda step, metrics: names.extend(metrics))
    phases = [name.removeprefix("progress/") for name in names if name.startswith("progress/")]
    assert list(dict.fromkeys(phases)) == [
        "reading the rows", "reading the models' files", "teacher tokens", "student tokens",
        "loading the teacher", "checking the models",
    ]  # fmt: skip


def test_a_resumed_training_resumes_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[float | None, float]] = []
    real = progress.Lines

    def lines(
        total: float | None, desc: str, unit: str, initial: float, *look: Any
    ) -> progress.Lines:
        opened.append((total, initial))
        return real(total, desc, unit, initial, *look)

    monkeypatch.setattr("mkd.progress.Lines", lines)
    with progress.phase_bars() as report:
        trained(report, first=31)
    assert opened == [(50, 30)]


def test_jobs_share_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.job_bar(4, "trial") as show:
        show(1, "1 of 4 trials", 0.5)
    assert re.match(r"1 of 4 trials: +38%\|.*\| \[00:00<", bars(screen.getvalue())[-1])


def test_jobs_in_a_file_are_counted_without_fractions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with progress.job_bar(4, "trial") as show:
        show(1, "1 of 4 trials", 0.5)
    assert re.match(r"1 of 4 trials:  38% \[00:00<", file.getvalue())
