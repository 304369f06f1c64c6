"""A run's result as text: scores by task, speed and size, in Markdown tables."""

import textwrap
from collections.abc import Sequence
from typing import Any

from analysis.presentation.table import markdown
from mkd import names
from mkd.evaluation.speed import is_busy, ratio_text
from mkd.export.backends import TORCH, statistic
from mkd.result import Result, timed_backends
from mkd.runs.export import ExportedFolder
from mkd.runs.submission import Submission

ROLES = {
    "teacher": names.TEACHER,
    "before": names.BEFORE,
    "student": "",
    "hard labels": names.BASELINE,
    "from scratch": names.ANEW,
}
"""Columns of the score table, and the prefix of their metrics. In a run of a teacher, its
metrics have no prefix.
"""
FASTER = (
    "times faster: the fastest backend compared with the teacher in torch, "
    "at the teacher's best with as many threads"
)


WIDTH = 110
"""Width of text below a table, in characters."""
MOST_KEPT = 150.0
"""A student that keeps more than this percentage of its teacher's score has a weak teacher."""


def result_table(result: Result) -> list[str]:
    """Returns the table that a run prints at its end, in Markdown."""
    return [
        *score_table(result),
        "",
        *([*caption, ""] if (caption := textwrap.wrap(score_caption(result), WIDTH)) else []),
        *speed_tables(result.metrics),
        *[f"note: {note}" for note in [*result.notes, *_kept_notes(result)]],
    ]


def score_caption(result: Result) -> str:
    """Returns a line on the metrics in the scores, or "" if they are unknown.

    For example `score: the mean of accuracy and f1`, or the metrics by task if they differ.
    """
    parsed = [quality for name in result.metrics if (quality := names.parsed_quality(name))]
    metrics = {
        data.task: [
            metric
            for task, metric in parsed
            if task == data.task and metric not in (names.SCORE, names.CALIBRATION_ERROR)
        ]
        for data in result.datasets
    }
    alike = list(dict.fromkeys(map(tuple, filter(None, metrics.values()))))
    if not alike:
        return ""
    if len(alike) == 1:
        return f"score: {'the mean of ' * (len(alike[0]) > 1)}{_enumerated(alike[0])}"
    by_task = (
        f"{task}: {', '.join(task_metrics)}"
        for task, task_metrics in metrics.items()
        if task_metrics
    )
    return f"score of a task: the mean of its metrics ({'; '.join(by_task)})"


def _enumerated(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _kept_notes(result: Result) -> list[str]:
    """Returns a note for each task whose student scores far above its teacher."""
    return [
        f"{data.task}: kept {kept:,.0f} % says little: the teacher scores only {score:.1f}"
        for data in result.datasets
        if (kept := result.metrics.get(names.RETENTION + data.task, 0.0)) > MOST_KEPT
        and (score := result.metrics.get(names.TEACHER + names.quality(data.task))) is not None
    ]


def score_table(result: Result) -> list[str]:
    """Returns the score table: one row a task, one column a role."""
    metrics = result.metrics
    possible = ROLES if result.student else {"teacher": ""}
    roles = {
        role: p
        for role, p in possible.items()
        if any(name.startswith(p + names.QUALITY) for name in metrics)
    }
    compared = "teacher" in roles and result.student != ""
    header = ["score on dev", *roles, *(["kept %", "agreement %"] if compared else [])]
    keys = {data.task: names.quality(data.task) for data in result.datasets} | {
        names.MEAN: names.QUALITY_MEAN
    }
    body = [
        [
            name,
            *(_one_decimal(metrics, p + key) for p in roles.values()),
            *(_teacher_cells(metrics, name) if compared else []),
        ]
        for name, key in keys.items()
    ]
    return markdown([header, *body])


def export_table(export: ExportedFolder) -> list[str]:
    """Returns the table of an export: one column a backend, with scores, losses, size and speed."""
    metrics = export.metrics
    backends = _exported(metrics)
    timed = [speed for name in metrics if (speed := names.parsed_speed(name))]
    settings = [
        setting for backend, setting, key in timed if backend == TORCH and key == statistic(setting)
    ]

    def shown(what: str, form: str) -> list[str]:
        return [_formatted(metrics, names.export(backend, what), form) for backend in backends]

    rows = [["", TORCH, *backends]]
    rows.append(["logits differ by at most", "-", *shown(names.MAX_DIFFERENCE, ".1e")])
    for score in filter(names.is_score, metrics):
        rows.append(
            [
                f"{names.task_of_score(score) or names.MEAN} on dev",
                f"{metrics[score]:.2f}",
                *shown(score, ".2f"),
            ]
        )
    rows.append(["lost in batches", "-", *shown(names.LOSS_BATCHES, ".2f")])
    rows.append(["lost in single rows", "-", *shown(names.LOSS_SINGLE_ROWS, ".2f")])
    rows.append(
        [
            "MB",
            "-",
            *(f"{metrics[names.export(backend, names.BYTES)] / 1e6:.2f}" for backend in backends),
        ]
    )
    for setting in settings:
        key = statistic(setting)
        words, form = ("ms", ".3f") if key == names.P50 else ("rows/s", ",.0f")
        speeds = (
            _formatted(metrics, names.speed(backend, setting, key), form)
            for backend in (TORCH, *backends)
        )
        rows.append([f"{words}, {setting}", *speeds])
    return [*markdown(rows), "", *[f"note: {note}" for note in export.notes]]


def _teacher_cells(metrics: dict[str, float], name: str) -> list[str]:
    return [_one_decimal(metrics, family + name) for family in (names.RETENTION, names.AGREEMENT)]


def _one_decimal(metrics: dict[str, float], name: str) -> str:
    """Returns a metric with one decimal, or a dash if it is missing.

    A score is missing, for example, if the student did not know the task before its fine-tuning, or
    if the teacher's logits were computed elsewhere.
    """
    return f"{metrics[name]:.1f}" if name in metrics else "-"


def _formatted(metrics: dict[str, float], name: str, form: str) -> str:
    """Returns a metric in the given format, without negative zeros, or a dash if it is missing."""
    return format(metrics[name], f"z{form}") if name in metrics else "-"


def speed_tables(metrics: dict[str, float]) -> list[str]:
    """Returns the tables of speed and exports, and a line on the size."""
    size = (
        f"{metrics[names.SIZE_PARAMETERS] / 1e6:.2f} million parameters "
        f"({metrics[names.SIZE_PARAMETERS_WITHOUT_EMBEDDINGS] / 1e6:.2f} without embeddings), "
        f"{metrics[names.SIZE_BYTES] / 1e6:.1f} MB, "
        f"{metrics[names.SIZE_FLOPS] / 1e6:.0f} million FLOPs a row"
    )
    return [*_timing_tables(metrics), *_export_table(metrics), f"size: {size}"]


def _timing_tables(metrics: dict[str, float]) -> list[str]:
    """Returns the table of latency for calls with one row, and that of throughput for larger calls.

    If the teacher was timed, the last column compares it with the fastest available backend.
    """
    timed = [speed for name in metrics if (speed := names.parsed_speed(name))]
    backends = list(dict.fromkeys(backend for backend, _, _ in timed))
    settings = list(dict.fromkeys(setting for _, setting, _ in timed))
    available, compared = (
        timed_backends(metrics),
        any(name.startswith(names.TEACHER + names.SPEED) for name in metrics),
    )
    busy = ", busy machine" if is_busy(metrics) else ""
    lines: list[str] = []
    forms = (
        (names.P50, "ms a call (median)", ".2f", min),
        (names.ROWS_PER_S, "rows a second", ",.0f", max),
    )
    for key, words, form, best in forms:
        rows = [
            [
                f"{words}{busy}",
                *(["teacher"] if compared else []),
                *backends,
                *(["times faster"] if compared else []),
            ]
        ]
        for setting in [setting for setting in settings if statistic(setting) == key]:
            row = [
                setting,
                *(
                    _formatted(metrics, names.speed(backend, setting, key), form)
                    for backend in backends
                ),
            ]
            if compared:
                speeds = {name: metrics[names.speed(name, setting, key)] for name in available}
                fastest = best(speeds, key=speeds.__getitem__)
                row.insert(
                    1, _formatted(metrics, names.TEACHER + names.speed(TORCH, setting, key), form)
                )
                ratio = metrics.get(names.speed(fastest, setting, names.RATIO))
                row.append("-" if ratio is None else ratio_text(ratio, busy != ""))
            rows.append(row)
        # A table with nothing but its header is left out.
        lines += [*markdown(rows), ""] if len(rows) > 1 else []
    return [*lines, *([FASTER, ""] if lines and compared else [])]


def _exported(metrics: dict[str, float]) -> list[str]:
    """Returns the backends that the student was exported to."""
    return [
        parsed_name[0]
        for name in metrics
        if (parsed_name := names.parsed_export(name)) and parsed_name[1] == names.OFFERED
    ]


def _export_table(metrics: dict[str, float]) -> list[str]:
    """Returns the table of the exported backends, with the points that each one loses."""
    backends = _exported(metrics)
    rows = [
        [
            "export",
            "mean score",
            "lost in batches",
            "lost in single rows",
            "largest difference",
            "MB",
            "offered",
        ]
    ]
    in_points = (names.QUALITY_MEAN, names.LOSS_BATCHES, names.LOSS_SINGLE_ROWS)
    forms = dict.fromkeys(in_points, ".2f") | {names.MAX_DIFFERENCE: ".1g"}
    for backend in backends:
        shown = [
            _formatted(metrics, names.export(backend, what), form) for what, form in forms.items()
        ]
        passed = "yes" if metrics[names.export(backend, names.OFFERED)] else "no"
        rows.append(
            [backend, *shown, f"{metrics[names.export(backend, names.BYTES)] / 1e6:.1f}", passed]
        )
    return [*markdown(rows), ""] if backends else []


def submission_table(submission: Submission) -> list[str]:
    """Returns the table of a submission's files and the shares of their answers, and its notes."""
    rows = [["task", "file", "rows", "answered by", "answers"]]
    for file, filled, shares in submission.files:
        answers = ", ".join(f"{answer} {100 * share:.1f} %" for answer, share in shares.items())
        rows.append(
            [
                file.task,
                file.file,
                f"{file.rows:,}",
                "one answer for all" if filled else "the student",
                answers,
            ]
        )
    return [*markdown(rows), "", *[f"note: {note}" for note in submission.notes]]


def submission_info(submission: Submission) -> dict[str, Any]:
    """Returns the contents of a submission, file by file, as JSON takes it."""
    files = [
        {
            "task": file.task,
            "file": file.file,
            "rows": file.rows,
            "filled": filled,
            "shares": shares,
            "test_file": file.digest,
        }
        for file, filled, shares in submission.files
    ]
    return {"student": submission.student, "files": files, "notes": submission.notes}
