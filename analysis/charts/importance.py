"""The importance of each searched setting for the differences between trials."""

from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.findings.summary import plural
from analysis.presentation.figure import (
    add_legend,
    fix_layout,
    names_width,
    new_figure,
    set_title,
    style_axes,
)
from analysis.presentation.palette import FAINT, GREY, OBJECTIVES

MOST = 16
"""Maximum number of settings; the others are summed up."""

ENOUGH = 10
"""Finished trials for each setting below which the small print warns; a rule of thumb."""


class Info(NamedTuple):
    """The numbers of the picture.

    shares: by objective, one a setting, in percent.
    settings: ordered by their largest share.
    """

    settings: list[str]
    shares: dict[str, list[float]]
    small: str


def info(
    importances: dict[str, dict[str, float]], small: str = "", trials: int | None = None
) -> Info | None:
    """Computes the numbers from the importances of a study.json; None if there are none.

    trials: number of finished trials, for the small print; None: not known.
    """
    known: dict[str, dict[str, Any]] = {
        name: shares for name, shares in importances.items() if shares
    }
    if not known:
        return None
    names = list(dict.fromkeys(name for shares in known.values() for name in shares))
    names.sort(key=lambda name: -max(shares.get(name, 0.0) for shares in known.values()))
    kept, rest = names[:MOST], names[MOST:]
    percents = {
        each: [100 * float(shares.get(name, 0.0)) for name in kept]
        for each, shares in known.items()
    }
    if rest:
        percents = {
            each: [*values, 100 * sum(known[each].get(name, 0.0) for name in rest)]
            for each, values in percents.items()
        }
    if trials is not None:
        small += f"; {plural(trials, 'finished trial')}, {plural(len(names), 'searched setting')}"
        small += ": a hint at most" if trials < ENOUGH * len(names) else ""
    return Info([*kept, *([f"{len(rest)} others"] if rest else [])], percents, small)


def draw(picture_data: Info) -> Figure:
    """Draws a bar for each setting and objective, with the most important setting at the top."""
    figure = new_figure(
        max(10, names_width(picture_data.settings) + 6), 1.6 + 0.42 * len(picture_data.settings)
    )
    axes = figure.subplots()
    style_axes(axes, "x")
    height = 0.8 / len(picture_data.shares)
    for index, (name, shares) in enumerate(picture_data.shares.items()):
        places = [
            place + (index - (len(picture_data.shares) - 1) / 2) * height
            for place in range(len(shares))
        ]
        bars = axes.barh(places, shares, height * 0.9, color=OBJECTIVES.get(name, GREY))
        axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=8.5, color=FAINT)
    axes.set_yticks(range(len(picture_data.settings)), picture_data.settings)
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.set_xlabel("share of what sets the best trials apart, percent")
    set_title(figure, "What matters: importance of each searched setting")
    marks = [
        Line2D([], [], linestyle="", marker="s", color=OBJECTIVES.get(name, GREY), label=name)
        for name in picture_data.shares
    ]
    add_legend(figure, marks, picture_data.small)
    fix_layout(figure)
    return figure
