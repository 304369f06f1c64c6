"""The effect of task weights: one line a model over the tasks, coloured by its score."""

import ast
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.presentation.figure import (
    fix_layout,
    new_figure,
    set_title,
    small_print,
    style_axes,
    with_number,
)
from analysis.presentation.label_placement import evenly
from analysis.presentation.palette import FAINT

WEIGHT_SETTINGS = {
    "train.sampling.weights": "how often each task is drawn",
    "loss.task_weights": "factor on each task's loss",
}
"""Settings with one weight a task, in words."""
BEST = 5
"""Number of models that are drawn thick."""
MOST = 300
"""Maximum number of models: the best ones, and an even selection of the others."""
LEAST = 3
"""Minimum number of different weightings."""


class Line(NamedTuple):
    """One model.

    shares: weights divided by their sum, in the order of the tasks, in percent.
    """

    label: str
    shares: list[float]
    score: float
    best: bool


class Info(NamedTuple):
    """The numbers of the picture.

    lines: best last, so that they are drawn above the others.
    even: share of each task with equal weights, in percent.
    low, high: range of the scores.
    """

    words: str
    tasks: list[str]
    lines: list[Line]
    even: float
    low: float
    high: float
    small: str


def info(models: pd.DataFrame, tasks: list[str], small: str = "") -> Info | None:
    """Computes the numbers for the first of WEIGHT_SETTINGS with at least LEAST weightings.

    Returns None if there is none.
    """
    for setting, words in WEIGHT_SETTINGS.items():
        lines = _lines(models, setting, tasks)
        if len({tuple(line.shares) for line in lines}) >= LEAST:
            scores = [line.score for line in lines]
            number = len(lines)
            lines = [
                lines[place] for place in evenly(max(len(lines) - BEST, 0), MOST - BEST)
            ] + lines[-BEST:]
            what = f"models: the {BEST} best, and others at even distances by score"
            small = with_number(small, len(lines), number, what)
            return Info(words, tasks, lines, 100 / len(tasks), min(scores), max(scores), small)
    return None


def _lines(models: pd.DataFrame, setting: str, tasks: list[str]) -> list[Line]:
    if setting not in models:
        return []
    ordered = models.sort_values("mean")
    lines = []
    for place, (text, label, score) in enumerate(
        zip(ordered[setting], ordered["label"], ordered["mean"], strict=True)
    ):
        shares = shares_of(text, tasks)
        if shares:
            lines.append(Line(label, shares, float(score), place >= len(ordered) - BEST))
    return lines


def shares_of(text: object, tasks: list[str]) -> list[float]:
    """Returns the weights of a param such as "{'a': 1, 'b': 3}" in percent of their sum.

    Empty if a task is missing or the sum is not positive.
    """
    try:
        weights = ast.literal_eval(str(text))
    except (ValueError, SyntaxError):
        return []
    if not isinstance(weights, dict) or not weights.keys() >= set(tasks):
        return []
    total = sum(float(weights[task]) for task in tasks)
    # Rounded, so that weightings that differ by float errors count as one.
    return [round(100 * float(weights[task]) / total, 6) for task in tasks] if total > 0 else []


def draw(picture_data: Info) -> Figure:
    """Draws parallel axes, one a task, with thick lines for the best models."""
    figure = new_figure(max(10.0, 2 + 1.1 * len(picture_data.tasks)), 5)
    axes = figure.subplots()
    style_axes(axes)
    colours = ScalarMappable(Normalize(picture_data.low, picture_data.high), "viridis_r")
    for line in picture_data.lines:
        how = (
            {"linewidth": 3, "alpha": 1.0, "marker": "o"}
            if line.best
            else {"linewidth": 1, "alpha": 0.35}
        )
        axes.plot(line.shares, color=colours.to_rgba(line.score), **how)  # type: ignore[arg-type]
    axes.axhline(picture_data.even, color=FAINT, linewidth=1, linestyle=":")
    where: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"),
        "textcoords": "offset points",
        "va": "center",
    }
    axes.annotate("equal", (1, picture_data.even), (4, 0), fontsize=9, color=FAINT, **where)
    axes.set_xticks(range(len(picture_data.tasks)), picture_data.tasks)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("share of the weights, percent")
    figure.colorbar(colours, ax=axes, label="mean score on dev, points", pad=0.06)
    set_title(
        figure,
        f"Task weights ({picture_data.words}); "
        f"thick: the {sum(line.best for line in picture_data.lines)} best",
    )
    small_print(figure, picture_data.small)
    fix_layout(figure)
    return figure
