"""One run of MLflow as a row of the table, or why it has none: pure, from its metrics, params and tags."""

import re
from datetime import datetime
from typing import NamedTuple

from mkd.result import timed_backends

STUDENTS = ("distill", "finetune", "trial", "promote")
"""The `mkd.kind` of a run that makes a student."""
SETTINGS = ("data.", "teacher.", "student.", "loss.", "train.", "finetune.", "whole")
"""What the names of the settings begin with that a model's quality depends on, next to the seed."""
UNTOLD = {"PENDING": "not started", "SCHEDULED": "not started", "RUNNING": "not finished", "FAILED": "failed", "KILLED": "killed"}
"""What a run is that is not FINISHED, in words."""
TORCH = "torch"
HEADLINE = "b1-text-t1"
"""The setting that latency is told of: one raw text on one thread (mkd/evaluation/speed.py)."""
ROW_BY_ROW = "row by row"
"""How the rows of the selection split were drawn before a run said so."""

Row = dict[str, object]
"""A run's cells by column; those that are not known are left out. COLUMNS of analysis/runs/runs.py tells what they are."""


class Record(NamedTuple):
    """A run as it is read. artifacts, link: where its artifacts are, and its address in the MLflow UI."""

    run_id: str
    name: str
    status: str
    started: datetime
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    artifacts: str = ""
    link: str = ""


class Asked(NamedTuple):
    """The backend and setting that a study has timed its trials in; empty: each run's own fastest."""

    backend: str = ""
    setting: str = ""


OWN = Asked()


def why_left_out(record: Record, asked: Asked = OWN) -> str:
    """In words; empty where the run has a row."""
    kind, state = record.tags.get("mkd.kind", ""), record.tags.get("mkd.state", "")
    if not kind:
        return "not a run of this project (no tag mkd.kind)"
    if kind not in STUDENTS:
        return f"not a student's ({kind})"
    if state not in ("", "complete"):
        return f"trial {state}"
    if record.status != "FINISHED":
        return UNTOLD.get(record.status, record.status.lower())
    if _quality(record.metrics) == "":
        return "no quality"
    if fastest(record.metrics, asked) is None:
        place = f"{asked.backend}/{asked.setting}" if asked.setting else "one text on one thread"
        return f"no speed ({place})"
    return ""


def row(record: Record, asked: Asked = OWN) -> Row:
    """The run's cells; only of one that is not left out."""
    metrics, params, tags = record.metrics, record.params, record.tags
    chosen = fastest(metrics, asked)
    assert chosen is not None, f"{record.run_id} has no speed"
    backend, setting = chosen
    tasks = tasks_of(metrics)
    student = tags.get("mkd.student", "") or params.get("student.kind", "student")
    split = "dev" if _quality(metrics) == "quality/mean" else "selection"
    found: Row = {
        "run_id": record.run_id,
        "name": record.name,
        "kind": tags["mkd.kind"],
        "student": student,
        "student_kind": re.split(r"[- ]", student)[0],
        "variant": tags.get("mkd.variant", ""),
        "seed": int(params.get("seed", "0")),
        "tasks": tuple(tasks),
        "suite": suite(params, tasks),
        "split": split,
        "drawn_by": tags.get("mkd.selection", ROW_BY_ROW),
        "machine": machine(tags),
        "study": tags.get("mkd.study", ""),
        "trial": float(tags["mkd.trial"]) if "mkd.trial" in tags else None,
        "parent": tags.get("mkd.parent", ""),
        "teacher": tags.get("mkd.teacher", ""),
        "started": record.started,
        "artifacts": record.artifacts,
        "link": record.link,
        "mean": metrics[_quality(metrics)],
        "selection": metrics.get("selected/mean", metrics.get("search/quality")),
        "teacher_mean": metrics.get("teacher/quality/mean") if split == "dev" else None,
        "baseline_mean": metrics.get("baseline/quality/mean") if split == "dev" else None,
        "retention": metrics.get("retention/mean"),
        "agreement": metrics.get("agreement/mean"),
        "parameters": metrics.get("size/parameters"),
    }
    settings = {name: value for name, value in params.items() if name.startswith(SETTINGS)}
    return found | _speed(metrics, backend, setting) | _by_task(metrics, tasks, split) | settings


def _quality(metrics: dict[str, float]) -> str:
    """The metric that is a run's quality: on dev, or, where there is none, what its search went by; empty: neither."""
    return next((name for name in ("quality/mean", "search/quality") if name in metrics), "")


def tasks_of(metrics: dict[str, float]) -> list[str]:
    """The tasks that a run has scores of, on dev or else on the rows set apart."""
    dev = [name.split("/")[1] for name in metrics if name.startswith("quality/") and name.endswith("/score")]
    return sorted(dev or (n.removeprefix("selection/") for n in metrics if n.startswith("selection/") and n != "selection/mean"))


def task_metrics(metrics: dict[str, float]) -> dict[str, list[str]]:
    """By task the names of the metrics that its score is the mean of."""
    found: dict[str, list[str]] = {}
    for name in metrics:
        head, _, rest = name.partition("/")
        task, _, metric = rest.partition("/")
        if head == "quality" and metric not in ("", "score", "ece"):
            found.setdefault(task, []).append(metric)
    return found


def fastest(metrics: dict[str, float], asked: Asked = OWN) -> tuple[str, str] | None:
    """Backend and setting with the least median for one text on one thread, of the backends that are offered."""
    if asked.setting:
        return asked if f"speed/{asked.backend}/{asked.setting}/p50_ms" in metrics else None
    times = {backend: metrics.get(f"speed/{backend}/{HEADLINE}/p50_ms") for backend in timed_backends(metrics)}
    found = [(time, backend) for backend, time in times.items() if time is not None]
    return (min(found)[1], HEADLINE) if found else None


def batch_setting(metrics: dict[str, float], backend: str, setting: str) -> str:
    """The setting of the most rows a call, else like `setting`: what the throughput is told of."""
    rest = setting.partition("-")[2]
    pattern = re.compile(rf"speed/{re.escape(backend)}/b(\d+)-{re.escape(rest)}/rows_per_s")
    rows = [int(match[1]) for name in metrics if (match := pattern.fullmatch(name))]
    return f"b{max(rows)}-{rest}" if rows else setting


def _speed(metrics: dict[str, float], backend: str, setting: str) -> Row:
    batch = batch_setting(metrics, backend, setting)
    return {
        "backend": backend,
        "setting": setting,
        "latency_ms": metrics[f"speed/{backend}/{setting}/p50_ms"],
        "batch": batch,
        "rows_per_s": metrics.get(f"speed/{backend}/{batch}/rows_per_s"),
        "num_bytes": _bytes(metrics, backend),
        "backend_loss": 0.0 if backend == TORCH else metrics.get(f"export/{backend}/loss"),
        "teacher_latency_ms": metrics.get(f"teacher/speed/{TORCH}/{setting}/p50_ms"),
        "teacher_rows_per_s": metrics.get(f"teacher/speed/{TORCH}/{batch}/rows_per_s"),
        "protocol": str(int(metrics.get("speed/protocol", 1))),
        "busy_share": max(metrics.get(f"{whose}speed/busy_share", 0.0) for whose in ("", "teacher/")),
    }


def _bytes(metrics: dict[str, float], backend: str) -> float | None:
    """Of the backend's file; where it was timed without one being kept, of the weights in float32 that it would hold."""
    own = metrics.get(f"export/{backend}/bytes")
    return metrics.get("size/bytes") if own is None and backend in (TORCH, "onnx") else own


def _by_task(metrics: dict[str, float], tasks: list[str], split: str) -> Row:
    """A column of each kind for each task; on dev only, but for the student's own scores and those that it is chosen by."""
    kinds = {"score": "quality/{}/score"} if split == "dev" else {"score": "selection/{}"}
    if split == "dev":
        kinds |= {"teacher": "teacher/quality/{}/score", "baseline": "baseline/quality/{}/score"}
        kinds |= {"retention": "retention/{}", "agreement": "agreement/{}"}
    kinds["selection"] = "selected/{}"
    named = {f"{kind}/{task}": name.format(task) for kind, name in kinds.items() for task in tasks}
    return {column: metrics[name] for column, name in named.items() if name in metrics}


def suite(params: dict[str, str], tasks: list[str]) -> str:
    """The source of the rows and the tasks, in words: only runs of one suite have scores that can be compared."""
    source = params.get("data.source", "unknown")
    if source == "demo":
        source += f" (seed {params.get('data.demo.seed', '?')}, {params.get('data.demo.dev_rows', '?')} dev rows)"
    return f"{source}: {', '.join(tasks)}"


def machine(tags: dict[str, str]) -> str:
    """The processor that a run's speed was measured on, and its cores."""
    cpu, cores = (tags.get(f"mkd.hardware.{name}", "") for name in ("cpu", "cores"))
    return f"{cpu}, {cores} cores" if cpu and cores else cpu or "unknown machine"
