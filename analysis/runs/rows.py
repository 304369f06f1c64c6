"""Converts one MLflow run to a row of the table, or gives the reason why it is left out.

The functions are pure: they use only the run's metrics, params and tags.
"""

import re
from datetime import datetime
from typing import NamedTuple

from mkd import names
from mkd.result import timed_backends

STUDENT_RUNS = (names.KIND_DISTILL, names.KIND_FINETUNE, names.KIND_TRIAL, names.KIND_PROMOTE)
"""Kinds of runs that train a student."""
SETTING_PREFIXES = ("data.", "teacher.", "student.", "loss.", "train.", "finetune.", "whole")
"""Prefixes of the settings that a model's quality depends on, apart from the seed."""
UNFINISHED = {
    "PENDING": "not started",
    "SCHEDULED": "not started",
    "RUNNING": "not finished",
    "FAILED": "failed",
    "KILLED": "killed",
}
"""MLflow's status of an unfinished run, in words."""
TORCH = "torch"
"""The backend that all scores are measured in."""
HEADLINE = "b1-text-t1"
"""The setting of the latency: one raw text on one thread (mkd/evaluation/speed.py)."""
ROW_BY_ROW = "row by row"
"""How the selection split was drawn in runs without the tag `mkd.selection`."""

RunRow = dict[str, object]
"""Cells of a run by column; unknown ones are missing. COLUMNS in analysis/runs/runs.py explains
them.
"""


class RunRecord(NamedTuple):
    """An MLflow run as plain values.

    artifacts: URI of its artifacts.
    link: its address in the MLflow UI.
    """

    run_id: str
    name: str
    status: str
    started: datetime
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    artifacts: str = ""
    link: str = ""


class StudyTiming(NamedTuple):
    """The backend and setting that a study timed its trials in.

    Empty: each run's own fastest backend.
    """

    backend: str = ""
    setting: str = ""


NO_STUDY = StudyTiming()
"""No study: each run has its own fastest backend."""


def why_left_out(record: RunRecord, timing: StudyTiming = NO_STUDY) -> str:
    """Returns why the run is left out, or "" if it has a row."""
    kind, state = record.tags.get(names.TAG_KIND, ""), record.tags.get(names.TAG_STATE, "")
    if not kind:
        return f"not a run of this project (no tag {names.TAG_KIND})"
    if kind not in STUDENT_RUNS:
        return f"not a student's ({kind})"
    if state not in ("", names.STATE_COMPLETE):
        return f"trial {state}"
    if record.status != "FINISHED":
        return UNFINISHED.get(record.status, record.status.lower())
    if _quality(record.metrics) == "":
        return "no quality"
    if fastest(record.metrics, timing) is None:
        place = f"{timing.backend}/{timing.setting}" if timing.setting else "one text on one thread"
        return f"no speed ({place})"
    return ""


def row(record: RunRecord, timing: StudyTiming = NO_STUDY) -> RunRow:
    """Returns the cells of a run that is not left out."""
    metrics, params, tags = record.metrics, record.params, record.tags
    chosen = fastest(metrics, timing)
    assert chosen is not None, f"{record.run_id} has no speed"
    backend, setting = chosen
    tasks = scored_tasks(metrics)
    student = tags.get(names.TAG_STUDENT, "") or params.get("student.kind", "student")
    split = "dev" if _quality(metrics) == names.QUALITY_MEAN else "selection"
    cells: RunRow = {
        "run_id": record.run_id,
        "name": record.name,
        "kind": tags[names.TAG_KIND],
        "student": student,
        "student_kind": re.split(r"[- ]", student)[0],
        "variant": tags.get(names.TAG_VARIANT, ""),
        "seed": int(params.get("seed", "0")),
        "tasks": tuple(tasks),
        "suite": suite(params, tasks),
        "split": split,
        "drawn_by": tags.get(names.TAG_SELECTION, ROW_BY_ROW),
        "machine": machine_of(tags),
        "study": tags.get(names.TAG_STUDY, ""),
        "trial": float(tags[names.TAG_TRIAL]) if names.TAG_TRIAL in tags else None,
        "parent": tags.get(names.TAG_PARENT, ""),
        "teacher": tags.get(names.TAG_TEACHER, ""),
        "started": record.started,
        "artifacts": record.artifacts,
        "link": record.link,
        "mean": metrics[_quality(metrics)],
        "selection": metrics.get(names.SELECTED_MEAN, metrics.get(names.SEARCH_QUALITY)),
        "teacher_mean": metrics.get(names.TEACHER + names.QUALITY_MEAN) if split == "dev" else None,
        "baseline_mean": metrics.get(names.BASELINE + names.QUALITY_MEAN)
        if split == "dev"
        else None,
        "retention": metrics.get(names.RETENTION_MEAN),
        "agreement": metrics.get(names.AGREEMENT_MEAN),
        "parameters": metrics.get(names.SIZE_PARAMETERS),
    }
    settings = {name: value for name, value in params.items() if name.startswith(SETTING_PREFIXES)}
    return cells | _speed(metrics, backend, setting) | _by_task(metrics, tasks, split) | settings


def _quality(metrics: dict[str, float]) -> str:
    """Returns the metric that is a run's quality, or "".

    This is the mean score on dev or, without one, the score of the search on selection.
    """
    return next(
        (name for name in (names.QUALITY_MEAN, names.SEARCH_QUALITY) if name in metrics), ""
    )


def scored_tasks(metrics: dict[str, float]) -> list[str]:
    """Returns the tasks that a run has scores of, on dev or else on the selection split."""
    # A trial of a search may have scores on the selection split only.
    dev = [task for name in metrics if (task := names.task_of_score(name))]
    selection_metrics = (
        name
        for name in metrics
        if name.startswith(names.SELECTION) and name != names.SELECTION_MEAN
    )
    return sorted(dev or (name.removeprefix(names.SELECTION) for name in selection_metrics))


def task_metrics(metrics: dict[str, float]) -> dict[str, list[str]]:
    """Returns by task the names of the metrics whose mean is its score."""
    by_task: dict[str, list[str]] = {}
    for name in metrics:
        parsed = names.parsed_quality(name)
        # A score is no part of itself, and the calibration error is no part of any score.
        if parsed and parsed[1] not in (names.SCORE, names.CALIBRATION_ERROR):
            by_task.setdefault(parsed[0], []).append(parsed[1])
    return by_task


def fastest(metrics: dict[str, float], timing: StudyTiming = NO_STUDY) -> tuple[str, str] | None:
    """Returns backend and setting with the lowest median latency for one text on one thread.

    Only available backends count. With a study, its own backend and setting are used.
    Returns None if the run has no such latency.
    """
    if timing.setting:
        return timing if names.speed(timing.backend, timing.setting, names.P50) in metrics else None
    times = {
        backend: metrics.get(names.speed(backend, HEADLINE, names.P50))
        for backend in timed_backends(metrics)
    }
    timed = [(time, backend) for backend, time in times.items() if time is not None]
    return (min(timed)[1], HEADLINE) if timed else None


def batch_setting(metrics: dict[str, float], backend: str, setting: str) -> str:
    """Returns the setting for the throughput: like `setting`, but with the most rows per call."""
    rest = setting.partition("-")[2]
    parsed = [speed for name in metrics if (speed := names.parsed_speed(name))]
    timed = [
        where
        for timed_backend, where, statistic in parsed
        if timed_backend == backend and statistic == names.ROWS_PER_S
    ]
    rows = [
        int(match[1])
        for where in timed
        if (match := re.fullmatch(rf"b(\d+)-{re.escape(rest)}", where))
    ]
    return f"b{max(rows)}-{rest}" if rows else setting


def _speed(metrics: dict[str, float], backend: str, setting: str) -> RunRow:
    batch = batch_setting(metrics, backend, setting)
    return {
        "backend": backend,
        "setting": setting,
        "latency_ms": metrics[names.speed(backend, setting, names.P50)],
        "batch": batch,
        "rows_per_s": metrics.get(names.speed(backend, batch, names.ROWS_PER_S)),
        "num_bytes": _bytes(metrics, backend),
        "backend_loss": 0.0 if backend == TORCH else metrics.get(names.export(backend, names.LOSS)),
        "teacher_latency_ms": metrics.get(names.TEACHER + names.speed(TORCH, setting, names.P50)),
        "teacher_rows_per_s": metrics.get(
            names.TEACHER + names.speed(TORCH, batch, names.ROWS_PER_S)
        ),
        "protocol": str(int(metrics.get(names.PROTOCOL, 1))),
        # The worse of the student's timing and the teacher's counts.
        "busy_share": max(
            metrics.get(whose + names.BUSY_SHARE, 0.0) for whose in ("", names.TEACHER)
        ),
    }


def _bytes(metrics: dict[str, float], backend: str) -> float | None:
    """Returns the size of the backend's file.

    A backend may be timed without its file being kept. The size of the float32 weights is used
    then.
    """
    file_bytes = metrics.get(names.export(backend, names.BYTES))
    return (
        metrics.get(names.SIZE_BYTES)
        if file_bytes is None and backend in (TORCH, "onnx")
        else file_bytes
    )


def _by_task(metrics: dict[str, float], tasks: list[str], split: str) -> RunRow:
    """Returns the columns with one number a task.

    Without scores on dev, there are only the student's scores on the selection split.
    """
    scores = [names.quality(task) for task in tasks]

    def family(prefix: str) -> list[str]:
        return [prefix + task for task in tasks]

    kinds = {"score": scores if split == "dev" else family(names.SELECTION)}
    if split == "dev":
        kinds |= {
            "teacher": [names.TEACHER + name for name in scores],
            "baseline": [names.BASELINE + name for name in scores],
        }
        kinds |= {"retention": family(names.RETENTION), "agreement": family(names.AGREEMENT)}
    kinds["selection"] = family(names.SELECTED)
    named = {
        f"{kind}/{task}": name
        for kind, metric_names in kinds.items()
        for task, name in zip(tasks, metric_names, strict=True)
    }
    return {column: metrics[name] for column, name in named.items() if name in metrics}


def suite(params: dict[str, str], tasks: list[str]) -> str:
    """Returns source and tasks in words. Only scores of the same suite can be compared."""
    source = params.get("data.source", "unknown")
    if source == "demo":
        seed, rows = (params.get(f"data.demo.{name}", "?") for name in ("seed", "dev_rows"))
        source += f" (seed {seed}, {rows} dev rows)"
    return f"{source}: {', '.join(tasks)}"


def machine_of(tags: dict[str, str]) -> str:
    """Returns the processor and the number of cores that a run's speed was measured on."""
    cpu, cores = (tags.get(names.tag_hardware(name), "") for name in ("cpu", "cores"))
    return f"{cpu}, {cores} cores" if cpu and cores else cpu or "unknown machine"
