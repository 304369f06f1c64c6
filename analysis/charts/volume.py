"""The hypervolume of a search after each trial.

It says how much of the plane of quality and latency the search has covered.
"""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.presentation.figure import (
    add_legend,
    fix_layout,
    new_figure,
    sentences,
    set_title,
    style_axes,
)
from analysis.presentation.palette import ACCENT, FAINT
from mkd import names
from mkd.evaluation.pareto import Reference, front, hypervolume


class Info(NamedTuple):
    """The numbers of the picture.

    hypervolume: after each trial, in points x decades of latency.
    gains: (trial, hypervolume) of the trials that moved the front.
    nearly: the first trial after which nine tenths of the final hypervolume are reached.
    corner: the reference point, in words.
    """

    trials: list[int]
    hypervolume: list[float]
    gains: list[tuple[int, float]]
    nearly: int
    corner: str
    small: str


def info(study: dict[str, Any], small: str = "") -> Info | None:
    """Computes the picture's numbers from a study.json.

    Only completed trials add to the hypervolume.
    Returns None without completed trials.
    """
    trials = sorted(study.get("trials", []), key=lambda trial: trial["number"])
    complete = [
        trial["state"] == names.STATE_COMPLETE and trial["quality"] is not None for trial in trials
    ]
    if not any(complete):
        return None
    quality, cost = (
        np.array(
            [trial[key] if done else None for trial, done in zip(trials, complete, strict=True)],
            dtype=float,
        )
        for key in ("quality", "latency_ms")
    )
    corner = Reference(
        float(study["reference"]["quality"]), float(study["reference"]["latency_ms"])
    )
    volumes = covered(quality, cost, corner)
    numbers = [int(trial["number"]) for trial in trials]
    gains = [
        (n, v)
        for n, v, before in zip(numbers, volumes, [0.0, *volumes[:-1]], strict=True)
        if v > before
    ]
    nearly = next(
        number for number, value in zip(numbers, volumes, strict=True) if value >= 0.9 * volumes[-1]
    )
    least = study["reference"].get("words", "")  # missing in studies of an earlier version
    origin = f" ({least})" if least else ""
    words = f"above {corner.quality:.1f} points{origin}, below {corner.cost:.3g} ms"
    return Info(numbers, volumes, gains, nearly, words, small)


def covered(quality_N: np.ndarray, cost_N: np.ndarray, reference: Reference) -> list[float]:
    """Returns the same as mkd.evaluation.pareto.hypervolumes, but faster.

    The hypervolume is computed again only for a trial that moves the front.
    """
    best = np.empty((0, 2))
    volumes = [0.0]
    for point in zip(quality_N, cost_N, strict=True):
        best = np.vstack([best, point])
        on_front = front(best[:, 0], best[:, 1])
        volumes.append(
            hypervolume(best[:, 0], best[:, 1], reference) if on_front[-1] else volumes[-1]
        )
        # A point off the front never returns to it.
        best = best[on_front]
    return volumes[1:]


def draw(picture_data: Info) -> Figure:
    """Draws a staircase, with a mark at each trial that moved the front."""
    figure = new_figure(10, 4.6)
    axes = figure.subplots()
    style_axes(axes)
    axes.step(
        picture_data.trials, picture_data.hypervolume, where="post", color=ACCENT, linewidth=1.8
    )
    axes.plot(
        *zip(*picture_data.gains, strict=True),
        "o",
        color=ACCENT,
        markersize=5,
        label="a better front",
    )
    axes.axvline(
        picture_data.nearly,
        color=FAINT,
        linewidth=1,
        linestyle=":",
        label=f"nine tenths reached after trial {picture_data.nearly}",
    )
    axes.set_ylim(0, 1.06 * max(*picture_data.hypervolume, 0.01))
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, steps=[1, 2, 5, 10]))
    axes.set_ylabel("area under the front")
    set_title(figure, "How good the front of quality and latency was after each trial")
    area = f"Area (hypervolume): points times decades of latency, {picture_data.corner}"
    small = sentences(area, picture_data.small)
    add_legend(figure, axes.get_lines()[1:], small)
    fix_layout(figure)
    return figure
