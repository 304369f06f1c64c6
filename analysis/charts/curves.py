"""Learning curves of the front's models: mean score on the selection split over the steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.presentation.figure import (
    EVENLY,
    fix_layout,
    new_figure,
    set_title,
    small_print,
    style_axes,
    with_number,
)
from analysis.presentation.label_placement import evenly, spread_apart
from analysis.presentation.palette import GREY, look

MOST = 10
"""Maximum number of models."""
LEAST_GAP = 0.042
"""Minimum distance between two names at the ends of curves, as a share of the height."""
LEVEL = 1.0
"""Points above and below curves that are all at one height."""

NAMES_AT = 1.05
"""Position of the names on the axis of steps, as a multiple of the last step."""


class Curve(NamedTuple):
    """The curve of one run.

    label: empty for further seeds of the same model.
    name_at: height of its name, on the axis of scores.
    """

    label: str
    kind: str
    steps: list[int]
    scores: list[float]
    name_at: float


class Info(NamedTuple):
    """The numbers of the picture.

    curves: best final score first.
    bottom, top: ends of the axis.
    right: the last step.
    """

    curves: list[Curve]
    bottom: float
    top: float
    right: float
    small: str


def info(
    models: pd.DataFrame,
    points_of: Callable[[list[str]], dict[str, list[tuple[int, float]]]],
    small: str = "",
) -> Info | None:
    """Computes the picture's numbers.

    models: of more than MOST, an even selection is shown.
    points_of: reads (step, score) by run id, for some run ids.
    Returns None if no run has any.
    """
    number = len(models)
    models = models.iloc[evenly(number, MOST)]
    points = points_of([run for runs in models["runs"] for run in runs])
    small = with_number(small, len(models), number, EVENLY)
    lines = [
        Curve(
            label if index == 0 else "",
            kind,
            [step for step, _ in points[run]],
            [score for _, score in points[run]],
            0.0,
        )
        for label, kind, runs in zip(
            models["label"], models["student_kind"], models["runs"], strict=True
        )
        for index, run in enumerate(run for run in runs if points.get(run))
    ]
    if not lines:
        return None
    lines.sort(key=lambda curve: -curve.scores[-1])
    scores = [score for curve in lines for score in curve.scores]
    # The first scores of a training are low and say little. With them, all others would be squeezed
    # together.
    bottom, top = min(curve.scores[-1] for curve in lines), max(scores)
    bottom = max(min(scores), bottom - 1.2 * max(top - bottom, 4.0))
    named = [curve for curve in lines if curve.label]
    heights = dict(
        zip(
            (c.label for c in named),
            spread_apart([c.scores[-1] for c in named], LEAST_GAP * (top - bottom)),
            strict=True,
        )
    )
    lines = [curve._replace(name_at=heights.get(curve.label, curve.scores[-1])) for curve in lines]
    margin = 0.04 * (top - bottom) or LEVEL
    # Names that were moved apart must not leave the axis.
    ends = [curve.name_at for curve in lines if curve.label]
    bottom, top = min([bottom, *ends]) - margin, max([top, *ends]) + margin
    return Info(lines, bottom, top, max(curve.steps[-1] for curve in lines), small)


def draw(picture_data: Info) -> Figure:
    """Draws one line a run, with its name at its end."""
    figure = new_figure(10, 5.4)
    axes = figure.subplots()
    style_axes(axes)
    line: dict[str, Any] = {"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "relpos": (0, 0.5)}
    for curve in picture_data.curves:
        colour, marker = look(curve.kind).colour, look(curve.kind).marker
        axes.plot(
            curve.steps,
            curve.scores,
            color=colour,
            linewidth=1.6,
            alpha=0.8,
            marker=marker,
            markersize=4,
            markeredgecolor="white",
        )
        if curve.label:
            axes.annotate(
                curve.label,
                (curve.steps[-1], curve.scores[-1]),
                (picture_data.right * NAMES_AT, curve.name_at),
                va="center",
                fontsize=9,
                color=colour,
                annotation_clip=False,
                arrowprops=line,
            )
    axes.set_xlim(0, picture_data.right * (1 + NAMES_AT) / 2)
    axes.set_ylim(picture_data.bottom, picture_data.top)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel("mean score on the selection split, points")
    set_title(figure, "How the front's models learnt")
    small_print(figure, picture_data.small)
    fix_layout(figure)
    return figure
