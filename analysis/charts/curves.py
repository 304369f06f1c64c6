"""Learning curves of the front's models: mean score on the selection split over the steps."""

from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from analysis.charts.retention import evenly
from analysis.presentation.figure import fix_layout, new_figure, set_title, small_print, style_axes
from analysis.presentation.label_placement import spread_apart
from analysis.presentation.palette import look

MOST = 10
"""Maximum number of models."""
LEAST_GAP = 0.034
"""Minimum distance between two names at the ends of curves, as a share of the height."""


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
    right: position of the names, in steps.
    """

    curves: list[Curve]
    bottom: float
    top: float
    right: float
    small: str


def with_curves(models: pd.DataFrame) -> pd.DataFrame:
    """Returns the models whose curves are drawn."""
    return models.iloc[evenly(len(models), MOST)]


def info(
    models: pd.DataFrame, points: dict[str, list[tuple[int, float]]], small: str = ""
) -> Info | None:
    """Computes the picture's numbers.

    points: (step, score) by run id.
    Returns None if no run has any.
    """
    found = [
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
    if not found:
        return None
    found.sort(key=lambda curve: -curve.scores[-1])
    scores = [score for curve in found for score in curve.scores]
    # The first scores of a training are low and say little. With them, all others would be squeezed
    # together.
    bottom, top = min(curve.scores[-1] for curve in found), max(scores)
    bottom = max(min(scores), bottom - 1.2 * max(top - bottom, 4.0))
    named = [curve for curve in found if curve.label]
    heights = dict(
        zip(
            (c.label for c in named),
            spread_apart([c.scores[-1] for c in named], LEAST_GAP * (top - bottom)),
            strict=True,
        )
    )
    found = [curve._replace(name_at=heights.get(curve.label, curve.scores[-1])) for curve in found]
    margin = 0.04 * (top - bottom)
    return Info(
        found, bottom - margin, top + margin, max(curve.steps[-1] for curve in found), small
    )


def draw(info: Info) -> Figure:
    """Draws one line a run, with its name at its end."""
    figure = new_figure(10, 5.4)
    axes = figure.subplots()
    style_axes(axes)
    for curve in info.curves:
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
            where = {
                "xytext": (14, 0),
                "textcoords": "offset points",
                "va": "center",
                "fontsize": 9,
                "color": colour,
            }
            axes.annotate(curve.label, (info.right, curve.name_at), annotation_clip=False, **where)  # type: ignore[arg-type]
    axes.set_ylim(info.bottom, info.top)
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel("mean score on the selection split, points")
    set_title(axes, "How the front's models learnt")
    small_print(figure, info.small)
    fix_layout(figure)
    return figure
