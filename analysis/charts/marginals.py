"""Each model's score against one setting at a time: temperature, size, and others that differ."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.charts.frontier import DENSE
from analysis.presentation.figure import (
    add_legend,
    fix_layout,
    log_axis,
    new_figure,
    set_title,
    style_axes,
    with_number,
)
from analysis.presentation.palette import KINDS, look
from analysis.runs.models import differing

FIRST = {"loss.temperature": "temperature", "parameters": "parameters, millions"}
"""Panels that come first if they can be drawn: column and label."""
LEAST = 4
"""Minimum number of different numeric values of a column that is drawn."""
MOST = 6
"""Maximum number of panels."""
BINS = 6
"""Number of groups of equal size whose medians are drawn."""
ENOUGH = 8
"""Minimum number of models of a kind for medians."""
SCALE = {"parameters": 1e-6}
"""Factors from a column's unit to that of its label."""
WIDE = 8.0
"""An axis is logarithmic from this ratio of the largest to the smallest value."""


class Panel(NamedTuple):
    """One panel.

    log, whole: whether the axis of values is logarithmic, and whether all values are integers.
    dense: too many models for separate shapes.
    kinds, values, scores: one a model.
    middles: (median value, median score) of groups of neighbouring models, by student kind.
    """

    words: str
    log: bool
    whole: bool
    dense: bool
    kinds: list[str]
    values: list[float]
    scores: list[float]
    middles: dict[str, list[tuple[float, float]]]


class Info(NamedTuple):
    """The panels, most important first."""

    panels: list[Panel]
    small: str


def info(
    models: pd.DataFrame, importance: dict[str, float] | None = None, small: str = ""
) -> Info | None:
    """Computes the panels.

    importance: of settings for the quality, which gives the order of the panels after FIRST.
    Returns None if nothing can be drawn.
    """
    others = sorted(differing(models), key=lambda name: -(importance or {}).get(name, 0.0))
    columns = [*FIRST, *(name for name in others if name not in FIRST)]
    panels = [
        panel for name in columns if name in models and (panel := _panel(models, name)) is not None
    ]
    small = with_number(small, min(len(panels), MOST), len(panels), "settings, the most important")
    return Info(panels[:MOST], small) if panels else None


def _panel(models: pd.DataFrame, column: str) -> Panel | None:
    """Returns the panel of a column, or None if it has too few values."""
    values = pd.to_numeric(models[column], errors="coerce") * SCALE.get(column, 1.0)
    known = models[values.notna() & models["mean"].notna()]
    values = values[known.index]
    if values.nunique() < LEAST:
        return None
    log = bool(values.min() > 0 and values.max() / values.min() >= WIDE)
    kinds, scores = known["student_kind"], known["mean"]
    middles = {
        str(kind): middle(values[part.index].to_numpy(), scores[part.index].to_numpy())
        for kind, part in known.groupby(kinds)
    }
    return Panel(
        FIRST.get(column, column),
        log,
        bool((values % 1 == 0).all()),
        len(values) > DENSE,
        list(kinds),
        values.tolist(),
        scores.tolist(),
        middles,
    )


def middle(values: np.ndarray, scores: np.ndarray) -> list[tuple[float, float]]:
    """Returns median value and median score of at most BINS groups of neighbouring values.

    Models with the same value are in the same group. Empty for fewer than ENOUGH models, or for one
    group.
    """
    if len(values) < ENOUGH:
        return []
    order = np.argsort(values, kind="stable")
    values, scores = values[order], scores[order]
    # Groups of equal size by rank. All models with one value go to the group of the first of them.
    places = (np.arange(len(values)) * BINS // max(len(values), BINS)).astype(int)
    groups = [places[np.searchsorted(values, value)] for value in values]
    medians = [
        (float(np.median(values[groups == group])), float(np.median(scores[groups == group])))
        for group in np.unique(groups)
    ]
    return medians if len(medians) > 1 else []


def draw(picture_data: Info) -> Figure:
    """Draws up to three panels in a row, with a common axis of scores."""
    across = 2 if len(picture_data.panels) == 4 else min(3, len(picture_data.panels))
    down = math.ceil(len(picture_data.panels) / across)
    figure = new_figure(3.6 * across + 0.8, 3.1 * down + 1.1)
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes, panel in zip(grid.flat, picture_data.panels, strict=False):
        style_axes(axes)
        for kind, middles in panel.middles.items():
            colour, marker = look(kind).colour, look(kind).marker
            some = [
                (v, s)
                for v, s, k in zip(panel.values, panel.scores, panel.kinds, strict=True)
                if k == kind
            ]
            axes.scatter(
                *zip(*some, strict=True),
                s=22,
                color=colour,
                marker=marker,
                alpha=0.35,
                linewidth=0,
                rasterized=panel.dense,
            )
            axes.plot(
                [value for value, _ in middles],
                [score for _, score in middles],
                color=colour,
                linewidth=2,
            )
        if panel.log:
            log_axis(axes, panel.values)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=panel.whole, steps=[1, 2, 5, 10]))
        axes.set_xlabel(panel.words)
    for axes in list(grid.flat)[len(picture_data.panels) :]:
        axes.set_axis_off()
    for row in grid:
        row[0].set_ylabel("mean score on dev, points")
    drawn = {kind for panel in picture_data.panels for kind in panel.kinds}
    kinds = [kind for kind in KINDS if kind in drawn] + sorted(drawn - KINDS.keys())
    marks = [
        Line2D([], [], color=look(kind).colour, marker=look(kind).marker, label=kind, linewidth=2)
        for kind in kinds
    ]
    set_title(figure, "What each setting does; lines: medians of neighbours")
    add_legend(figure, marks, picture_data.small)
    fix_layout(figure)
    return figure
