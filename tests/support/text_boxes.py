"""Finds texts of a figure that are covered, struck through or cut off."""

from itertools import combinations, cycle
from typing import Any
from unittest import mock

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox, BboxBase

from analysis.presentation.figure import fix_layout

SLACK = 0.5
"""Pixels by which a text may overlap another or cross the edge, as nobody sees that."""
PALE = 0.5
"""Marks with an opacity up to this may be covered."""
INNER = 0.6
"""Share of a mark's width that no label may cover; its outline may be narrower than its box."""


def drawn_texts(figure: Figure) -> list[Text]:
    """Returns the visible texts of a figure in its final layout."""
    fix_layout(figure)
    drawn: dict[Text, None] = {}
    draw = Text.draw

    def record(text: Text, renderer: RendererBase) -> None:
        draw(text, renderer)
        if text.get_visible() and text.get_text().strip():
            drawn[text] = None

    with mock.patch.object(Text, "draw", record):
        figure.canvas.draw()
    return list(drawn)


def faults(figure: Figure) -> list[str]:
    """Returns each fault as a sentence."""
    boxes = [(text, _box(text)) for text in drawn_texts(figure)]
    assert boxes, "a picture has texts"
    problems = [
        f"{left.get_text()!r} overlaps {right.get_text()!r}"
        for (left, one), (right, other) in combinations(boxes, 2)
        if _overlap(one, other)
    ]
    problems += [
        f"{text.get_text()!r} is cut" for text, box in boxes if not _inside(box, figure.bbox)
    ]
    legends = [*figure.legends, *(one.get_legend() for one in figure.axes)]
    taken = [legend.get_window_extent() for legend in legends if legend]
    if any(_overlap(box, axes.bbox) for box in taken for axes in figure.axes):
        problems.append("a legend lies over the axes")
    names = [(text, box) for text, box in boxes if isinstance(text, Annotation)]
    for text, box in names:
        assert isinstance(text.axes, Axes)
        others = [one.arrow_patch for one, _ in names if one.arrow_patch and one is not text]
        lines = [line for line in text.axes.lines if len(np.asarray(line.get_xydata())) > 1]
        if any(_strikes(line, box) for line in [*lines, *others]):
            problems.append(f"{text.get_text()!r} is struck through by a line")
        if any(_overlap(mark, box) for mark in _marks(text.axes)):
            problems.append(f"{text.get_text()!r} covers a mark")
    return problems


def _strikes(line: Any, box: Bbox) -> bool:
    path = line.get_transform().transform_path(line.get_path())
    return bool(path.intersects_bbox(box, filled=False))


def _box(text: Text) -> Bbox:
    """Returns the box of the letters, without the line that connects a label to its point."""
    return Text.get_window_extent(text)


def _marks(axes: Axes) -> list[Bbox]:
    """Returns the inner boxes of the marks that no label may cover."""
    boxes = []
    for marks in axes.collections:
        if isinstance(marks, PathCollection) and (marks.get_alpha() or 1.0) > PALE:
            places = axes.transData.transform(np.asarray(marks.get_offsets()).reshape(-1, 2))
            for (x, y), size in zip(places, cycle(marks.get_sizes()), strict=False):
                radius = INNER * size**0.5 / 2 * axes.figure.dpi / 72
                boxes.append(Bbox.from_extents(x - radius, y - radius, x + radius, y + radius))
    return boxes


def _overlap(left: BboxBase, right: BboxBase) -> bool:
    return bool(
        min(left.x1, right.x1) - max(left.x0, right.x0) > SLACK
        and min(left.y1, right.y1) - max(left.y0, right.y0) > SLACK
    )


def _inside(box: BboxBase, page: BboxBase) -> bool:
    return bool(
        box.x0 >= page.x0 - SLACK
        and box.y0 >= page.y0 - SLACK
        and box.x1 <= page.x1 + SLACK
        and box.y1 <= page.y1 + SLACK
    )
