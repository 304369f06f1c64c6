"""A few models in the form of the report's tables, and trials as a study reports them."""

from typing import Any

import pandas as pd

from analysis.charts import frontier
from analysis.presentation.front_plot import FrontPlot
from analysis.runs.models import averaged

RUN: dict[str, Any] = {
    "run_id": "r", "name": "run", "kind": "distill", "student": "bilstm-64",
    "student_kind": "bilstm", "variant": "", "seed": 0, "tasks": ("a", "b"), "suite": "glue: a, b",
    "split": "dev", "drawn_by": "overlap-1", "machine": "M, 2 cores", "study": "", "trial": None,
    "parent": "", "teacher": "T", "started": pd.Timestamp("2026-01-01"), "artifacts": "",
    "link": "", "mean": 70.0, "teacher_mean": 80.0, "baseline_mean": None, "retention": 87.5,
    "agreement": None, "parameters": 1e5, "backend": "onnx", "setting": "b1-text-t1",
    "latency_ms": 1.0, "batch": "b32-text-t1", "rows_per_s": 1000.0, "num_bytes": 4e5,
    "backend_loss": 0.0, "teacher_latency_ms": 10.0, "teacher_rows_per_s": 100.0, "score/a": 60.0,
    "score/b": 80.0, "student.hidden": "64", "loss.temperature": "1.0", "protocol": "2",
    "busy_share": 0.0,
}  # fmt: skip


def frame(*changes: dict[str, Any]) -> pd.DataFrame:
    """Runs that differ from RUN by `changes`; selection scores are one point below dev scores
    unless given."""
    rows = [RUN | {"run_id": f"r{index}"} | change for index, change in enumerate(changes)]
    pairs = {"selection": "mean", "selection/a": "score/a", "selection/b": "score/b"}
    return pd.DataFrame([{name: row[dev] - 1 for name, dev in pairs.items()} | row for row in rows])


def models(*changes: dict[str, Any]) -> pd.DataFrame:
    return averaged(frame(*changes))


FAST = {
    "student": "bag-1x64", "student_kind": "bag", "mean": 60.0, "latency_ms": 0.1, "num_bytes": 1e5,
    "baseline_mean": 58.0, "score/a": 66.0,
}  # fmt: skip
GOOD = {
    "student": "bilstm-64",
    "mean": 70.0,
    "latency_ms": 1.0,
    "num_bytes": 4e5,
    "baseline_mean": 67.0,
}
WORSE = {
    "student": "transformer-1x32",
    "student_kind": "transformer",
    "mean": 65.0,
    "latency_ms": 2.0,
    "num_bytes": 2e5,
}


def front_numbers(shown: pd.DataFrame, *args: str, **how: str) -> FrontPlot:
    """The numbers of the front's chart; the models must have some."""
    numbers = frontier.info(shown, *args, **how)
    assert numbers is not None
    return numbers


def trial(
    number: int, quality: float | None, latency: float | None, state: str = "complete"
) -> dict[str, Any]:
    return {"number": number, "state": state, "quality": quality, "latency_ms": latency}
