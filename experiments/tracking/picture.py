"""The picture of one run: scores by task, and quality against latency."""

import math
from typing import NamedTuple

from matplotlib.figure import Figure

from analysis.presentation.figure import fix_layout, names_width, new_figure, style_axes
from analysis.presentation.front_plot import FrontPlot, Mark, ModelPoint, draw_front, label_front
from analysis.presentation.palette import look
from mkd import names
from mkd.evaluation.speed import HEADLINE_SETTING
from mkd.export.backends import TORCH, latency_ms
from mkd.result import Result, timed_backends

FEW = 8
"""Maximum number of tasks, with the mean, whose names have room below their bars."""


class PictureData(NamedTuple):
    """The numbers of the picture.

    tasks: task names, with `mean` last.
    scores: by role, one score a task in points, NaN if unknown.
    latency_ms: by role, the median latency of one text. Roles without a mean score or a measured
        speed are left out.
    setting: the student's fastest backend and the setting of the timing. The teacher is always
        timed in torch.
    kind: of the student.
    """

    tasks: list[str]
    scores: dict[str, list[float]]
    latency_ms: dict[str, float]
    setting: str
    kind: str


def picture_data(result: Result) -> PictureData:
    """Computes the picture's numbers from the result of a distillation."""
    metrics = result.metrics
    backends = timed_backends(metrics)
    setting = HEADLINE_SETTING.name
    fastest = min(backends, key=lambda name: latency_ms(metrics, name))
    roles = {"teacher": names.TEACHER, "student": "", "hard labels": names.BASELINE}
    tasks = [data.task for data in result.datasets]
    keys = [*map(names.quality, tasks), names.QUALITY_MEAN]
    prefixes = {
        role: prefix
        for role, prefix in roles.items()
        if any(prefix + key in metrics for key in keys)
    }
    scores = {
        role: [metrics.get(prefix + key, math.nan) for key in keys]
        for role, prefix in prefixes.items()
    }
    student_metric = names.speed(fastest, setting, names.P50)
    teachers = names.TEACHER + names.speed(TORCH, setting, names.P50)
    # The twin has the student's architecture, and so the student's latency.
    times = {role: teachers if role == "teacher" else student_metric for role in prefixes}
    latency = {
        role: metrics[times[role]]
        for role, p in prefixes.items()
        if p + keys[-1] in metrics and times[role] in metrics
    }
    return PictureData([*tasks, "mean"], scores, latency, f"{fastest}/{setting}", _kind(result))


def _kind(result: Result) -> str:
    """Returns the student's kind from its name, such as `bilstm-128`."""
    return result.student.partition("-")[0]


def draw(picture_data: PictureData) -> Figure:
    """Draws bars by task on the left, and quality against latency on the right."""
    many = len(picture_data.tasks) > FEW
    turned = max(names_width(picture_data.tasks) - 1, 0) if many else 0
    figure = new_figure(11 + 0.4 * max(len(picture_data.tasks) - FEW, 0), 4.2 + turned)
    bars, right = figure.subplots(1, 2, width_ratios=[3, 2])
    kinds = {"teacher": "teacher", "student": picture_data.kind, "hard labels": "baseline"}
    width = 0.8 / len(picture_data.scores)
    for index, (role, scores) in enumerate(picture_data.scores.items()):
        places = [
            i + (index - (len(picture_data.scores) - 1) / 2) * width
            for i in range(len(picture_data.tasks))
        ]
        bars.bar(
            places,
            scores,
            width * 0.92,
            label=role,
            color=look(kinds[role]).colour,
            alpha=0.5 if role == "hard labels" else 1.0,
        )
    style_axes(bars, "y")
    bars.set_xticks(range(len(picture_data.tasks)), picture_data.tasks)
    bars.set_ylabel("score on dev (points)")
    bars.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    plot = _front_plot(picture_data, kinds)
    draw_front(right, plot)
    right.margins(0.35)
    fix_layout(figure)
    label_front(right, plot)
    return figure


def _front_plot(picture_data: PictureData, kinds: dict[str, str]) -> FrontPlot:
    """Returns the picture on the right: student and twin as models, and the teacher."""
    means = {
        role: (cost, picture_data.scores[role][-1])
        for role, cost in picture_data.latency_ms.items()
    }
    return FrontPlot(
        points=[
            ModelPoint(f"{role} {score:.1f}", kinds[role], cost, score)
            for role, (cost, score) in means.items()
            if role != "teacher"
        ],
        line=[],
        teachers=[
            Mark(f"{role} {score:.1f}", cost, score)
            for role, (cost, score) in means.items()
            if role == "teacher"
        ],
        twins=[],
        cost=f"median latency, ms ({picture_data.setting}, teacher in torch; log scale)",
        quality="mean score on dev, in torch (points)",
    )
