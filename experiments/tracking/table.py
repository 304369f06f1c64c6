"""A run's outcome as lines of text: teacher, student and hard-label twin by task, and what their speed and size are."""

from typing import Any

from mkd.evaluation.speed import is_busy
from mkd.export.backends import TORCH, statistic
from mkd.result import Result, timed_backends
from mkd.runs.export import Delivered
from mkd.runs.submission import Submission

ROLES = {"teacher": "teacher/", "before": "before/", "student": "", "hard labels": "baseline/", "anew": "anew/"}
"""Columns, and the prefix of their metrics. In a teacher's own run its metrics have none."""
FASTER = "times faster: the fastest backend beside the teacher in torch, at the teacher's best with as many threads"


def lines(result: Result) -> list[str]:
    """The closing table, in Markdown."""
    return [*scores(result), "", *speed(result.metrics), *[f"note: {note}" for note in result.notes]]


def scores(result: Result) -> list[str]:
    """One row a task, one column a role."""
    metrics = result.metrics
    possible = ROLES if result.student else {"teacher": ""}
    roles = {role: p for role, p in possible.items() if any(name.startswith(f"{p}quality/") for name in metrics)}
    compared = "teacher" in roles and result.student != ""
    header = ["score on dev", *roles, *(["kept %", "agreement %"] if compared else [])]
    names = [data.task for data in result.datasets]
    body = [
        [name, *(_shown(metrics, f"{p}quality/{key}") for p in roles.values()), *(_kept(metrics, name) if compared else [])]
        for name, key in [*((name, f"{name}/score") for name in names), ("mean", "mean")]
    ]
    return markdown([header, *body])


def export_lines(made: Delivered) -> list[str]:
    """The table of a student's backends, in Markdown, the settings that their speed was measured in, and its notes."""
    metrics = made.metrics
    names = [key.split("/")[1] for key in metrics if key.startswith("export/") and key.endswith("/bytes")]
    timed = [key.split("/") for key in metrics if key.startswith("speed/torch/")]
    settings = [parts[2] for parts in timed if parts[3] == statistic(parts[2])]
    scores = [name for name in metrics if name.startswith("quality/") and (name.endswith("/score") or name == "quality/mean")]
    rows = [["", "torch", *names]]
    rows.append(["logits differ by at most", "-", *(_exact(metrics, f"export/{name}/max_difference", ".1e") for name in names)])
    for score in scores:
        shown = [_exact(metrics, f"export/{name}/{score}", ".2f") for name in names]
        rows.append([f"{score.split('/')[1]} on dev", f"{metrics[score]:.2f}", *shown])
    for way in ("batches", "single_rows"):
        lost = [_exact(metrics, f"export/{name}/loss_{way}", ".2f") for name in names]
        rows.append([f"lost in {way.replace('_', ' ')}", "-", *lost])
    rows.append(["MB", "-", *(f"{metrics[f'export/{name}/bytes'] / 1e6:.2f}" for name in names)])
    for setting in settings:
        key = statistic(setting)
        words, form = ("ms", ".3f") if key == "p50_ms" else ("rows/s", ",.0f")
        rows.append([f"{words}, {setting}", *(_exact(metrics, f"speed/{n}/{setting}/{key}", form) for n in ("torch", *names))])
    return [*markdown(rows), "", *[f"note: {note}" for note in made.notes]]


def markdown(rows: list[list[str]]) -> list[str]:
    """Rows, the first of them the header, as an aligned Markdown table; all columns but the first to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: list[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return f"| {' | '.join(cells)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(rows[0]), line(rule), *(line(row) for row in rows[1:])]


def _kept(metrics: dict[str, float], name: str) -> list[str]:
    return [_shown(metrics, f"{kind}/{name}") for kind in ("retention", "agreement")]


def _shown(metrics: dict[str, float], name: str) -> str:
    """A metric, or a dash where it is not known: a student's score before it knew the task, a teacher's that ran elsewhere."""
    return f"{metrics[name]:.1f}" if name in metrics else "-"


def _exact(metrics: dict[str, float], name: str, form: str) -> str:
    """A metric in this form, without a minus before a zero; a dash where it is not known."""
    return format(metrics[name], f"z{form}") if name in metrics else "-"


def speed(metrics: dict[str, float]) -> list[str]:
    """Milliseconds and rows a second by setting and backend, what the exports lose, and the sizes."""
    size = (
        f"{metrics['size/parameters'] / 1e6:.2f} million parameters ({metrics['size/parameters_without_embeddings'] / 1e6:.2f} "
        f"without embeddings), {metrics['size/bytes'] / 1e6:.1f} MB, {metrics['size/flops'] / 1e6:.0f} million FLOPs a row"
    )
    return [*_latency(metrics), *_exports(metrics), f"size: {size}"]


def _latency(metrics: dict[str, float]) -> list[str]:
    """Milliseconds of calls of one row, then rows a second of calls of many, a row a setting; and how many times the teacher's
    speed the fastest offered backend has."""
    backends = list(dict.fromkeys(name.split("/")[1] for name in metrics if name.startswith("speed/") and name.count("/") == 3))
    settings = list(dict.fromkeys(name.split("/")[2] for name in metrics if name.startswith("speed/") and name.count("/") == 3))
    offered, compared = timed_backends(metrics), any(name.startswith("teacher/speed/") for name in metrics)
    busy = ", busy machine" if is_busy(metrics) else ""
    lines: list[str] = []
    for key, words, form, best in (("p50_ms", "ms a call (median)", ".2f", min), ("rows_per_s", "rows a second", ",.0f", max)):
        rows = [[f"{words}{busy}", *(["teacher"] if compared else []), *backends, *(["times faster"] if compared else [])]]
        for setting in [setting for setting in settings if statistic(setting) == key]:
            row = [setting, *(_exact(metrics, f"speed/{backend}/{setting}/{key}", form) for backend in backends)]
            if compared:
                speeds = {name: metrics[f"speed/{name}/{setting}/{key}"] for name in offered}
                fastest = best(speeds, key=speeds.__getitem__)
                row.insert(1, _exact(metrics, f"teacher/speed/{TORCH}/{setting}/{key}", form))
                row.append(_exact(metrics, f"speed/{fastest}/{setting}/ratio", ".1f"))
            rows.append(row)
        lines += [*markdown(rows), ""] if len(rows) > 1 else []
    return [*lines, *([FASTER, ""] if lines and compared else [])]


def _exports(metrics: dict[str, float]) -> list[str]:
    """One row a backend that the student was exported to."""
    names = [name.split("/")[1] for name in metrics if name.startswith("export/") and name.endswith("/bytes")]
    rows = [["export", "mean score", "lost in batches", "lost in single rows", "largest difference", "MB", "offered"]]
    for name in names:
        forms = {"quality/mean": ".2f", "loss_batches": ".2f", "loss_single_rows": ".2f", "max_difference": ".1g"}
        shown = [_exact(metrics, f"export/{name}/{key}", form) for key, form in forms.items()]
        passed = "yes" if metrics[f"export/{name}/offered"] else "no"
        rows.append([name, *shown, f"{metrics[f'export/{name}/bytes'] / 1e6:.1f}", passed])
    return [*markdown(rows), ""] if names else []


def submission_lines(made: Submission) -> list[str]:
    """The table of a submission's files and what they answer, in Markdown, and its notes."""
    rows = [["task", "file", "rows", "answered by", "answers"]]
    for asked, filled, shares in made.files:
        answers = ", ".join(f"{answer} {100 * share:.1f} %" for answer, share in shares.items())
        rows.append([asked.task, asked.file, f"{asked.rows:,}", "one answer for all" if filled else "the student", answers])
    return [*markdown(rows), "", *[f"note: {note}" for note in made.notes]]


def submission_info(made: Submission) -> dict[str, Any]:
    """What a submission holds, file by file, and the fingerprint of the student that has answered."""
    found = [
        {
            "task": asked.task,
            "file": asked.file,
            "rows": asked.rows,
            "filled": filled,
            "shares": shares,
            "test_file": asked.digest,
        }
        for asked, filled, shares in made.files
    ]
    return {"student": made.student, "files": found, "notes": made.notes}
