"""Sends a run's metrics in order, and queues them while the tracking store is unreachable.

The queue is in memory, and in a file of the run's folder. It is sent when the store answers again,
or by the next start of the same command.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import mlflow
from mlflow.entities import Metric, Run

from experiments.tracking.store import (
    RETRY_SECONDS,
    address,
    is_outage,
    note,
    note_if_slow,
    with_retries,
)
from mkd.storage.addresses import reason

UNSENT = "unsent.jsonl"
"""File in a run's folder with the queued metrics, one report a line."""
BATCH = 500
"""Maximum number of metrics in a request. MLflow accepts 1,000."""
SLOW = 10
"""After a failed call, the next one waits for at least this multiple of its duration."""


class QueuedReport(NamedTuple):
    """One report. time_ms: when it was made, in milliseconds since the epoch."""

    time_ms: int
    step: int
    metrics: dict[str, float]


class Outbox:
    """Queue of one run's metrics for the store.

    A resumed training repeats the steps after its checkpoint. For each metric that the run had
    before, only steps after the last logged one are sent.

    run: the run, as it is now. folder: where it works.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        self.run_id, self.file = run.info.run_id, folder / UNSENT
        self.client = mlflow.MlflowClient()
        # Metrics of before the restart are -1 until their history is needed.
        self.last_steps = dict.fromkeys(run.data.metrics, -1)
        self.unsent = _read(self.file)
        self.earlier = len(self.unsent)
        self.next_try = 0.0
        self.away = False

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Sends the metrics of one step, or queues them. This is a Report."""
        kept = QueuedReport(int(time.time() * 1000), step, dict(metrics))
        self.unsent.append(kept)
        if time.monotonic() < self.next_try:
            self._write(kept)
            return
        begin = time.monotonic()
        try:
            with note_if_slow():  # MLflow waits 20 seconds for a locked database
                self._send()
        except Exception as error:
            if not is_outage(error):
                raise
            self._write(kept)
            now = time.monotonic()
            self.next_try = now + max(RETRY_SECONDS, SLOW * (now - begin))
            if not self.away:
                note(
                    f"{address()} is away ({reason(error)}); the run goes on, and its metrics are "
                    f"kept in {self.file}"
                )
            self.away = True

    def flush(self) -> None:
        """Sends the queue, and waits for the store if it is unreachable."""
        if self.unsent:
            with_retries(self._send)

    def _send(self) -> None:
        """Sends the queue in order. Reports that fail stay in it."""
        number = len(self.unsent)
        while self.unsent:
            some = self._next()
            metrics = [
                Metric(name, value, kept.time_ms, kept.step)
                for kept in some
                for name, value in kept.metrics.items()
                if kept.step > self._last_step(name)
            ]
            if metrics:
                self.client.log_batch(self.run_id, metrics=metrics)
            for kept in some[: self.earlier]:
                # This start reports the steps after its checkpoint again.
                for name in kept.metrics:
                    self.last_steps[name] = max(kept.step, self.last_steps.get(name, -1))
            self.earlier = max(0, self.earlier - len(some))
            del self.unsent[: len(some)]
        self.file.unlink(missing_ok=True)
        if self.away:
            note(f"{address()} is back; {number} reports were kept and have been sent")
        self.away = False

    def _next(self) -> list[QueuedReport]:
        """Returns the first reports that fit in one request, at least one.

        Those of an earlier start are sent on their own, because later ones depend on them.
        """
        size, count = 0, 0
        for kept in self.unsent[: self.earlier or len(self.unsent)]:
            size += len(kept.metrics)
            if count and size > BATCH:
                break
            count += 1
        return self.unsent[:count]

    def _last_step(self, name: str) -> int:
        """Returns the last step at which the metric was logged before the restart, or -1."""
        if self.last_steps.get(name) == -1:
            history = self.client.get_metric_history(self.run_id, name)
            self.last_steps[name] = max(metric.step for metric in history)
        return self.last_steps.get(name, -1)

    def _write(self, kept: QueuedReport) -> None:
        """Appends a report to the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")


def _read(file: Path) -> list[QueuedReport]:
    """Returns the queued reports of an earlier start."""
    if not file.exists():
        return []
    reports = []
    for line in file.read_text("utf-8").splitlines():
        try:
            reports.append(QueuedReport(*json.loads(line)))
        except ValueError:  # a kill may leave half of the last line
            break
    return reports
