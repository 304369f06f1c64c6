"""The picture of one run: scores by task, and quality against latency."""

import math
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mkd import names
from mkd.evaluation.speed import HEADLINE_SETTING
from mkd.export.backends import TORCH, latency_ms
from mkd.result import Result, timed_backends

COLOURS = {"teacher": "#4d4d4d", "student": "#0072b2", "hard labels": "#e69f00"}
"""Colours of the teacher, the student and the hard-label twin, from Okabe and Ito's palette,
which colour-blind readers can tell apart.
"""


class Info(NamedTuple):
    """The numbers of the picture.

    tasks: task names, with `mean` last.
    scores: by role, one score a task in points, NaN if unknown.
    latency_ms: by role, the median latency of one text. Roles without a mean score or a measured
        speed are left out.
    setting: the student's fastest backend and the setting of the timing. The teacher is always
        timed in torch.
    """

    tasks: list[str]
    scores: dict[str, list[float]]
    latency_ms: dict[str, float]
    setting: str


def info(result: Result) -> Info:
    """Computes the picture's numbers from the result of a distillation."""
    metrics = result.metrics
    backends = timed_backends(metrics)
    setting = HEADLINE_SETTING.name
    fastest = min(backends, key=lambda name: latency_ms(metrics, name))
    prefixes = {"teacher": names.TEACHER, "student": "", "hard labels": names.BASELINE}
    tasks = [data.task for data in result.datasets]
    keys = [*map(names.quality, tasks), names.QUALITY_MEAN]
    found = {
        role: prefix
        for role, prefix in prefixes.items()
        if any(prefix + key in metrics for key in keys)
    }
    scores = {
        role: [metrics.get(prefix + key, math.nan) for key in keys]
        for role, prefix in found.items()
    }
    own = names.speed(fastest, setting, names.P50)
    teachers = names.TEACHER + names.speed(TORCH, setting, names.P50)
    # The twin has the student's architecture, and so the student's latency.
    times = {role: teachers if role == "teacher" else own for role in found}
    latency = {
        role: metrics[times[role]]
        for role, p in found.items()
        if p + keys[-1] in metrics and times[role] in metrics
    }
    return Info([*tasks, "mean"], scores, latency, f"{fastest}/{setting}")


def draw(info: Info) -> Figure:
    """Draws bars by task on the left, and quality against latency on the right."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    bars, plane = figure.subplots(1, 2, width_ratios=[3, 2])
    width = 0.8 / len(info.scores)
    for index, (role, scores) in enumerate(info.scores.items()):
        places = [i + (index - (len(info.scores) - 1) / 2) * width for i in range(len(info.tasks))]
        bars.bar(places, scores, width * 0.92, label=role, color=COLOURS[role])
        if role in info.latency_ms:
            plane.scatter(info.latency_ms[role], scores[-1], s=90, color=COLOURS[role], zorder=3)
            plane.annotate(
                f"{role} {scores[-1]:.1f}",
                (info.latency_ms[role], scores[-1]),
                (7, 7),
                textcoords="offset points",
            )
    bars.set_xticks(range(len(info.tasks)), info.tasks, rotation=20)
    bars.set_ylabel("score on dev (points)")
    bars.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    plane.set_xscale("log")
    plane.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    plane.xaxis.set_major_formatter("{x:g}")
    plane.xaxis.set_minor_formatter(NullFormatter())
    plane.set_xlabel(f"median latency, ms ({info.setting}, teacher in torch; log scale)")
    plane.set_ylabel("mean score on dev (points)")
    plane.margins(0.35)
    plane.grid(True, which="both", alpha=0.25)
    for axes in (bars, plane):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
