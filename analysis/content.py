"""A summary as what the page shows."""

import ast
import math
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from analysis import page
from analysis.models import BY_TASK
from analysis.rows import SETTINGS
from analysis.statistics import Resampled
from analysis.summary import Summary
from mkd.pareto import front

MOST_BY_TASK = 250
"""Of more models than these the resamples of each task are not told: the page is to stay small."""
MOST_NAMES = 20
"""Names of left-out runs that are told for each reason."""


def content(summary: Summary, pictures: list[page.Picture], links: list[page.Link]) -> page.PageInfo:
    """links: to the MLflow UI."""
    runs = summary.runs
    study = f"study {runs.study.name}" if runs.study else ""
    source = {"tracking store": runs.store, "experiment": runs.experiment} | ({"study": runs.study.name} if runs.study else {})
    return page.PageInfo(
        title=f"Quality against speed: {study or runs.experiment}",
        source=source,
        links=links,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        latency=f"{summary.asked} ({summary.setting}), each model in {_backends(summary.models)}",
        tasks=summary.kept.tasks,
        teachers=list(_teachers(summary)),
        baselines=list(_baselines(summary.models)),
        models=list(_models(summary)),
        pictures=pictures,
        left_out=[page.LeftOut(reason, len(names), names[:MOST_NAMES]) for reason, names in summary.left_out.items()],
        notes=summary.notes,
    )


def _backends(models: pd.DataFrame) -> str:
    names = sorted(set(models["backend"]))
    return names[0] if len(names) == 1 else f"its fastest backend of {', '.join(names)}"


def _models(summary: Summary) -> Iterator[page.Model]:
    best, few = fronts(summary.models), len(summary.models) <= MOST_BY_TASK
    settings = [str(name) for name in summary.models if str(name).startswith(SETTINGS)]
    tables = {run["run_id"]: run for run in summary.kept.frame[_RUN].to_dict("records")}
    scores = _scores(summary.kept.frame, "score/").to_dict("records")
    by_run = dict(zip(summary.kept.frame["run_id"], scores, strict=True))
    for model in summary.models.to_dict("records"):
        key = model["id"]
        lost = summary.evidence.lost.get(key)
        yield page.Model(
            id=key,
            name=model["label"],
            student_kind=model["student_kind"],
            runs=[_run(tables[run], by_run[run]) for run in model["runs"]],
            seeds=[int(seed) for seed in model["seeds"]],
            machine=model["machine"],
            study=model["study"],
            backend=model["backend"],
            setting=model["setting"],
            latency_ms=number(model["latency_ms"]),
            rows_per_s=number(model["rows_per_s"]),
            num_bytes=number(model["num_bytes"]),
            parameters=number(model["parameters"]),
            mean=float(model["mean"]),
            low=number(model["low"]),
            high=number(model["high"]),
            scores=by_task(model, "score/"),
            teacher=model["teacher"],
            teacher_mean=number(model["teacher_mean"]),
            teacher_latency_ms=number(model["teacher_latency_ms"]),
            retention=number(model["retention"]),
            settings={key: text for name in settings for key, text in told(name, model[name]).items()},
            state="finished",
            front=key in best,
            replicates=replicates(summary.evidence.models.get(key)),
            task_replicates=task_replicates(summary.evidence.models.get(key)) if few else {},
            lost=None if lost is None else (lost.points, lost.low, lost.high),
        )


_RUN = ["run_id", "name", "link", "seed", "mean"]


def _run(run: dict[str, object], scores: dict[str, float]) -> page.Run:
    return page.Run(
        str(run["run_id"]), str(run["name"]), str(run["link"]), int(str(run["seed"])), float(str(run["mean"])), scores
    )


def fronts(models: pd.DataFrame) -> set[str]:
    """Ids of the models on the front of their machine."""
    found: set[str] = set()
    for _, part in models.groupby("machine"):
        found |= set(part["id"][front(part["mean"].to_numpy(), part["latency_ms"].to_numpy())])
    return found


def _teachers(summary: Summary) -> Iterator[page.Teacher]:
    """Each teacher on each machine, at the median of what was measured of it."""
    few = len(summary.models) <= MOST_BY_TASK
    known = summary.models[(summary.models["teacher"] != "") & summary.models["teacher_mean"].notna()]
    for (name, machine), part in known.groupby(["teacher", "machine"]):
        middle = part[
            [c for c in part if c in ("teacher_mean", "teacher_latency_ms", "teacher_rows_per_s") or c.startswith("teacher/")]
        ]
        cells = middle.median().to_dict()
        yield page.Teacher(
            name=str(name),
            machine=str(machine),
            mean=number(cells["teacher_mean"]),
            scores=by_task(cells, "teacher/"),
            latency_ms=number(cells["teacher_latency_ms"]),
            rows_per_s=number(cells["teacher_rows_per_s"]),
            replicates=replicates(summary.evidence.teachers.get(str(name))),
            task_replicates=task_replicates(summary.evidence.teachers.get(str(name))) if few else {},
        )


def _baselines(models: pd.DataFrame) -> Iterator[page.Baseline]:
    for model in models[models["baseline_mean"].notna()].to_dict("records"):
        yield page.Baseline(
            name=f"{model['label']}, labels alone",
            model=model["id"],
            machine=model["machine"],
            mean=float(model["baseline_mean"]),
            scores=by_task(model, "baseline/"),
            latency_ms=number(model["latency_ms"]),
            rows_per_s=number(model["rows_per_s"]),
            num_bytes=number(model["num_bytes"]),
        )


def replicates(found: Resampled | None) -> list[int]:
    """Each resample's mean less the mean, in hundredths of a point."""
    return [] if found is None else _hundredths(found.mean)


def task_replicates(found: Resampled | None) -> dict[str, list[int]]:
    """The same of each task's score."""
    return {} if found is None else {task: _hundredths(scores) for task, scores in found.tasks.items()}


def _hundredths(scores: np.ndarray) -> list[int]:
    return [int(each) for each in np.rint(100 * (scores[1:] - scores[0]))]


def told(setting: str, value: object) -> dict[str, str]:
    """A setting as text; one that holds a value a task as one setting a task; nothing where it is not known."""
    if not isinstance(value, str):
        return {}
    try:
        parts = ast.literal_eval(value) if value.startswith("{") else None
    except (ValueError, SyntaxError):
        parts = None
    return {f"{setting}.{key}": str(part) for key, part in parts.items()} if parts else {setting: value}


def _scores(frame: pd.DataFrame, prefix: str) -> pd.DataFrame:
    assert prefix in BY_TASK, prefix
    columns = {name: str(name).removeprefix(prefix) for name in frame if str(name).startswith(prefix)}
    return frame[list(columns)].rename(columns=columns)


def by_task(cells: dict[str, float], prefix: str) -> dict[str, float]:
    """The known cells of one kind, by task."""
    found = {name.removeprefix(prefix): value for name, value in cells.items() if name.startswith(prefix)}
    return {task: float(value) for task, value in found.items() if value is not None and not math.isnan(value)}


def number(value: float | None) -> float | None:
    """None for what is not known."""
    return None if value is None or math.isnan(value) else float(value)
