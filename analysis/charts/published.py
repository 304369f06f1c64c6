"""Compares models with published figures.

Both are relative to BERT-base: speed ratio and points.
"""

from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from analysis.presentation.figure import (
    Obstacles,
    TextLabel,
    count_note,
    fix_layout,
    log_axis,
    new_figure,
    sentences,
    set_title,
    small_print,
    style_axes,
    write_labels,
)
from analysis.presentation.front_plot import MOST_NAMED, TEACHER_AREA
from analysis.presentation.label_placement import evenly
from analysis.presentation.palette import FAINT, TEACHER_LOOK, look
from mkd.evaluation.timing import MOST_BUSY

SOURCE = "Ganesh et al. 2021 (TACL 9, Compressing Large-Scale Transformer-Based Models)"
"""Source of the figures: its table of methods, with speed on a CPU relative to BERT-base, and
the drop as the mean over three tasks.
"""
TASKS = "MNLI, QQP and SST-2"
"""Tasks of the published figures."""
BASE = "12x768"
"""Layers and width of BERT-base, as a teacher's name gives them."""


class Published(NamedTuple):
    """A published figure.

    times_faster: speed on a CPU relative to BERT-base.
    drop: mean over TASKS of the score less that of BERT-base, in points.
    """

    name: str
    times_faster: float
    drop: float


REFERENCES = (
    Published("MKD, LSTM (BERT-large teacher)", 8.6, -3.03),
    Published("DistilBERT-6", 1.73, -1.73),
    Published("TinyBERT-4", 9.3, -1.0),
    Published("MobileBERT", 4.7, -0.16),
    Published("Zhao et al. 2019, H=48", 22.7, -12.3),
)
"""Methods of the table with a speed on a CPU. A method without one is not drawn (the searched
CNN, 19.5 times faster on a GPU).
"""
BUSY = "Some of ours were timed on a busy machine: their ratios are not precise"
"""Part of the small print."""


class Info(NamedTuple):
    """The numbers of the picture.

    models: (label, kind, times faster, points above the teacher), only those whose teacher has the
        size of BERT-base.
    """

    models: list[tuple[str, str, float, float]]
    references: list[Published]
    tasks: str
    small: str


def missing(models: pd.DataFrame) -> str:
    """Returns why there is no such picture, in a sentence, or "" if there is one."""
    if len(_known(models)):
        return ""
    names = ", ".join(sorted(set(models["teacher"]) - {""})) or "none"
    return (
        "Published figures are ratios to BERT-base, which no run has timed: "
        f"no teacher ({names}) is of its size, {BASE}."
    )


def _known(models: pd.DataFrame) -> pd.DataFrame:
    """Returns the models whose teacher has the size of BERT-base and was measured."""
    return models[
        models["teacher"].str.contains(BASE)
        & models["teacher_latency_ms"].notna()
        & models["teacher_mean"].notna()
    ]


def info(models: pd.DataFrame, tasks: list[str], small: str = "") -> Info | None:
    """Computes the picture's numbers.

    models: those on the front.
    Returns None if `missing` gives a reason.
    """
    known = _known(models)
    if known.empty:
        return None
    ratios = (known["teacher_latency_ms"] / known["latency_ms"]).tolist()
    drops = (known["mean"] - known["teacher_mean"]).tolist()
    rows = list(zip(known["label"], known["student_kind"], ratios, drops, strict=True))
    if (known["busy_share"] > MOST_BUSY).any():
        small = sentences(small, BUSY)
    return Info(rows, list(REFERENCES), ", ".join(tasks), small)


def draw(picture_data: Info) -> Figure:
    """Draws the models in their colours, and published figures as grey crosses."""
    figure = new_figure(10, 6)
    axes = figure.subplots()
    log_axis(
        axes,
        [
            1.0,
            *(ratio for _, _, ratio, _ in picture_data.models),
            *(each.times_faster for each in picture_data.references),
        ],
    )
    style_axes(axes)
    for _, kind, ratio, drop in picture_data.models:
        axes.scatter(
            ratio,
            drop,
            s=60,
            color=look(kind).colour,
            marker=look(kind).marker,
            edgecolor="white",
            zorder=4,
        )
    axes.scatter(
        [r.times_faster for r in picture_data.references],
        [r.drop for r in picture_data.references],
        s=60,
        color=FAINT,
        marker="x",
        zorder=3,
    )
    axes.scatter(
        1, 0, s=TEACHER_AREA, color=TEACHER_LOOK.colour, marker=TEACHER_LOOK.marker, zorder=5
    )
    axes.margins(x=0.12, y=0.12)
    axes.set_xlabel(
        "times BERT-base's speed (ours: one row, beside the teacher; published: on their CPUs)"
    )
    axes.set_ylabel("points above BERT-base (below it: negative)")
    set_title(figure, "Beside published figures, as ratios to BERT-base")
    source = (
        f"Crosses are published figures, not measured here: {SOURCE};\n"
        f"mean over {TASKS}. Ours: mean over {picture_data.tasks}."
    )
    number = len(picture_data.models) + len(picture_data.references) + 1
    small_print(figure, f"{source}\n{sentences(picture_data.small, count_note(number, number))}")
    fix_layout(figure)
    named = evenly(len(picture_data.models), MOST_NAMED)
    labels = [
        TextLabel("BERT-base", 1.0, 0.0, area=TEACHER_AREA),
        *(
            TextLabel(each.name, each.times_faster, each.drop, FAINT)
            for each in picture_data.references
        ),
        *(
            TextLabel(name, ratio, drop, look(kind).colour)
            for name, kind, ratio, drop in (picture_data.models[place] for place in named)
        ),
    ]
    marks = [(ratio, drop, 60.0) for _, _, ratio, drop in picture_data.models]
    marks += [(each.times_faster, each.drop, 60.0) for each in picture_data.references]
    write_labels(axes, labels, Obstacles(marks), number)
    return figure
