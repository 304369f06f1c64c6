"""Places labels so that none covers another label, a mark or a line, and breaks long lines.

The functions are pure; units are pixels. A box is (left, bottom, right, top).
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Box = tuple[float, float, float, float]
Pixel = tuple[float, float]

GAPS = (0.1, 0.7, 1.6, 3.2, 5.0, 7.0)
"""Distances of a label from its mark in label heights, nearest first."""
SIDES = (
    (0.0, 1.0),
    (1.0, 0.5),
    (1.0, -0.5),
    (-1.0, 0.5),
    (-1.0, -0.5),
    (0.0, -1.0),
    (1.0, 1.0),
    (-1.0, 1.0),
    (1.0, -1.0),
    (-1.0, -1.0),
)
"""Directions that are tried in this order: above first, then right, then left."""


BREAKS = (r"(?<= )", r"(?<=[_/-])", r"(?<=.)")
"""Patterns of the places where a line may be broken, the best first."""
STEP = 6.0
"""Distance of the points that stand for a line."""


class Wanted(NamedTuple):
    """A label that is to be placed beside the mark at (x, y).

    radius: of the mark.
    """

    x: float
    y: float
    radius: float
    width: float
    height: float


class Placement(NamedTuple):
    """The centre of a label.

    far: whether a line is needed to connect it with its mark.
    """

    x: float
    y: float
    far: bool


def place_labels(
    wanted: list[Wanted], taken: list[Box], pale: list[Box], bounds: Box
) -> list[Placement | None]:
    """Returns a place for each label, or None for a label without a free place.

    Labels are placed one after another, within the bounds.

    taken: boxes that no label may cover, besides the labels' own marks.
    pale: boxes that a label covers only if it has no other place.
    """
    blocked = _boxes([*(around((one.x, one.y), one.radius) for one in wanted), *taken])
    avoided, texts = _boxes(pale), _boxes([])
    places: list[Placement | None] = []
    for one in wanted:
        place = _free(one, np.vstack([blocked, avoided]), texts, bounds)
        place = place or _free(one, blocked, texts, bounds)
        places.append(place)
        if place is not None:
            box = _box(place.x, place.y, one.width, one.height)
            line = [around(each, 1.0) for each in _connection(one, place)]
            texts = np.vstack([texts, _boxes([box])])
            blocked = np.vstack([blocked, _boxes([box, *line])])
    return places


def _free(one: Wanted, blocked: np.ndarray, texts: np.ndarray, bounds: Box) -> Placement | None:
    """Returns the first free place for a label, or None.

    texts: boxes of other labels, which the connecting line must not cross.
    """
    for gap in GAPS:
        for right, up in SIDES:
            away = one.radius + gap * one.height
            x = one.x + right * (one.width / 2 + away)
            y = one.y + up * (one.height / 2 + away)
            box = _box(x, y, one.width, one.height)
            place = Placement(x, y, gap > GAPS[0])
            if (
                _inside(box, bounds)
                and not _any_overlap(box, blocked)
                and not any(_any_overlap(around(at, 1.0), texts) for at in _connection(one, place))
            ):
                return place
    return None


def _connection(one: Wanted, place: Placement) -> list[Pixel]:
    """Returns points of the line from a label to its mark, without those below the label."""
    if not place.far:
        return []
    box = _box(place.x, place.y, one.width, one.height)
    points = along([(place.x, place.y), (one.x, one.y)])
    return [point for point in points if not overlap(around(point, 1.0), box)]


def _boxes(boxes: list[Box]) -> np.ndarray:
    return np.array(boxes, dtype=float).reshape(-1, 4)


def _any_overlap(box: Box, others: np.ndarray) -> bool:
    """Returns whether a box overlaps any other. others: [boxes, 4]."""
    left, bottom, right, top = box
    return bool(
        (
            (others[:, 0] < right)
            & (left < others[:, 2])
            & (others[:, 1] < top)
            & (bottom < others[:, 3])
        ).any()
    )


def around(point: Pixel, radius: float) -> Box:
    """Returns the square around a point."""
    return (point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius)


def along(corners: Sequence[Pixel]) -> list[Pixel]:
    """Returns points at most STEP apart on the line through the corners."""
    points = list(corners[:1])
    for (x, y), (to_x, to_y) in zip(corners, corners[1:], strict=False):
        number = max(int(np.hypot(to_x - x, to_y - y) // STEP) + 1, 1)
        shares = [(index + 1) / number for index in range(number)]
        points += [(x + share * (to_x - x), y + share * (to_y - y)) for share in shares]
    return points


def _box(x: float, y: float, width: float, height: float) -> Box:
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _inside(box: Box, bounds: Box) -> bool:
    return (
        box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]
    )


def overlap(left: Box, right: Box) -> bool:
    """Returns whether two boxes share more than an edge."""
    return left[0] < right[2] and right[0] < left[2] and left[1] < right[3] and right[1] < left[3]


def spread_apart(wanted: list[float], least: float) -> list[float]:
    """Returns heights near the wanted ones, at least `least` apart, in the same order.

    It is used for labels at the ends of lines.
    """
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    # Labels that would touch are merged into a group around the mean of their wanted heights, until
    # no groups touch (pool adjacent violators).
    groups: list[tuple[float, int]] = []  # centre and number of labels that touch
    for place in order:
        groups.append((wanted[place], 1))
        while (
            len(groups) > 1
            and groups[-1][0] - groups[-2][0] < least * (groups[-1][1] + groups[-2][1]) / 2
        ):
            (upper, many), (lower, few) = groups.pop(), groups.pop()
            groups.append(((upper * many + lower * few) / (many + few), many + few))
    heights = [
        centre + least * (index - (number - 1) / 2)
        for centre, number in groups
        for index in range(number)
    ]
    placed = [0.0] * len(wanted)
    for place, height in zip(order, heights, strict=True):
        placed[place] = height
    return placed


def break_line(
    line: str,
    width: Callable[[str], float],
    most: float,
    breaks: tuple[str, ...] = BREAKS,
) -> list[str]:
    """Breaks a line into lines that are not wider than `most`.

    It is broken between words, a longer word after `_`, `/` or `-`, and else anywhere.

    width: measures a line.
    breaks: some of BREAKS, in their order.
    """
    if width(line) <= most or not breaks:
        return [line]
    lines = [""]
    for piece in re.split(breaks[0], line):
        if lines[-1] and width((lines[-1] + piece).rstrip(" ")) > most:
            lines.append("")
        lines[-1] += piece
    return [part for one in lines for part in break_line(one.rstrip(" "), width, most, breaks[1:])]


def evenly(number: int, most: int) -> list[int]:
    """Returns the indices of all items, or `most` of them at even distances.

    The first and the last are always included.
    """
    if number <= most:
        return list(range(number))
    return [round(index * (number - 1) / (most - 1)) for index in range(most)]
