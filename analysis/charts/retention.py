"""What the front's models keep of their teacher, task by task."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.charts.style import INK, bare, new_figure, small_print, titled

MOST = 14
"""Models that are shown."""
DARK = 0.45
"""Of the colours' range: what is darker has white text on it."""


class Info(NamedTuple):
    """kept: a row a model, a column a task and `mean` last: its score in percent of the teacher's, NaN where it is not known.

    shades: the same from 0 to 1, over the range of all; light: whether the text in a cell is light.
    """

    models: list[str]
    tasks: list[str]
    kept: list[list[float]]
    shades: list[list[float]]
    light: list[list[bool]]
    small: str


def info(models: pd.DataFrame, tasks: list[str], small: str = "") -> Info:
    """models: those to show, the fastest first; of more than MOST evenly as many. Tasks without a known teacher are left out."""
    chosen = models.iloc[evenly(len(models), MOST)]
    known = [task for task in tasks if chosen.get(f"retention/{task}", pd.Series(dtype=float)).notna().any()]
    columns = [f"retention/{task}" for task in known] + ["retention"]
    kept = chosen[columns].to_numpy(float)
    low, high = (float(found) for found in (np.nanmin(kept), np.nanmax(kept)))
    shades = (kept - low) / ((high - low) or 1.0)
    names = [
        f"{label}   {milliseconds:.3g} ms" for label, milliseconds in zip(chosen["label"], chosen["latency_ms"], strict=True)
    ]
    return Info(names, [*known, "mean"], kept.tolist(), shades.tolist(), (shades < DARK).tolist(), small)


def evenly(number: int, most: int) -> list[int]:
    """Places of all of so many, or of as many as are allowed, evenly, the first and the last among them."""
    if number <= most:
        return list(range(number))
    return [round(index * (number - 1) / (most - 1)) for index in range(most)]


def draw(info: Info) -> Figure:
    """A table of coloured cells, a number in each."""
    figure = new_figure(2.6 + 1.25 * len(info.tasks), 1.5 + 0.36 * len(info.models))
    axes = figure.subplots()
    axes.imshow(info.shades, cmap="cividis", aspect="auto", vmin=0, vmax=1)
    for row, cells in enumerate(zip(info.kept, info.light, strict=True)):
        for column, (value, light) in enumerate(zip(*cells, strict=True)):
            text = "-" if math.isnan(value) else f"{value:.1f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=9.5, color="white" if light else INK)
    axes.set_xticks(range(len(info.tasks)), info.tasks)
    axes.set_yticks(range(len(info.models)), info.models)
    axes.xaxis.tick_top()
    bare(axes)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    titled(axes, "Percent of the teacher's score that the front's models keep")
    small_print(figure, info.small)
    return figure
