"""Places labels so that none covers another label or a point.

The functions are pure; units are pixels. A box is (left, bottom, right, top).
"""

from typing import NamedTuple

Box = tuple[float, float, float, float]
Pixel = tuple[float, float]

RINGS = (1.0, 1.7, 2.6, 4.2)
"""Distances of a label from its point in label heights, nearest first."""
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


class Placement(NamedTuple):
    """The centre of a label.

    far: whether a line is needed to connect it with its point.
    """

    x: float
    y: float
    far: bool


def place_labels(
    points: list[Pixel], sizes: list[tuple[float, float]], taken: list[Pixel], bounds: Box
) -> list[Placement | None]:
    """Returns a place for each label, or None for a label without a free place.

    Labels are placed one after another, within the bounds.

    sizes: width and height of each label.
    taken: other points that no label may cover.
    """
    # Every point blocks a square of 8 pixels.
    boxes: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in [*points, *taken]]
    found: list[Placement | None] = []
    for point, size in zip(points, sizes, strict=True):
        place = _free(point, size, boxes, bounds)
        found.append(place)
        if place is not None:
            boxes.append(_box(place.x, place.y, size))
    return found


def _free(
    point: Pixel, size: tuple[float, float], boxes: list[Box], bounds: Box
) -> Placement | None:
    """Returns the first free place for a label, or None."""
    width, height = size
    for ring in RINGS:
        for right, up in SIDES:
            x = point[0] + right * (width / 2 + 0.7 * ring * height)
            y = point[1] + up * height * ring
            box = _box(x, y, size)
            if _inside(box, bounds) and not any(overlap(box, other) for other in boxes):
                return Placement(x, y, ring > RINGS[0])
    return None


def _box(x: float, y: float, size: tuple[float, float]) -> Box:
    width, height = size
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
    found = [0.0] * len(wanted)
    for place, height in zip(order, heights, strict=True):
        found[place] = height
    return found
