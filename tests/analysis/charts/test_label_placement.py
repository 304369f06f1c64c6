"""Names that cover neither each other nor a point."""

import numpy as np
import pytest

from analysis.presentation.label_placement import overlap, place_labels, spread_apart

BOUNDS = (0.0, 0.0, 1000.0, 600.0)


def test_a_lone_label_stands_right_above_its_point() -> None:
    (found,) = place_labels([(500.0, 300.0)], [(100.0, 20.0)], [], BOUNDS)
    assert found == (500.0, 320.0, False)


def test_a_label_moves_aside_for_the_edge_and_for_other_points() -> None:
    (top,) = place_labels([(500.0, 595.0)], [(100.0, 20.0)], [], BOUNDS)
    assert top is not None and top.y + 10 <= 600
    (aside,) = place_labels([(500.0, 300.0)], [(100.0, 20.0)], [(500.0, 320.0)], BOUNDS)
    assert aside is not None and (aside.x, aside.y) != (500.0, 320.0)


def test_a_label_without_room_is_left_out() -> None:
    assert place_labels([(5.0, 5.0)], [(2000.0, 20.0)], [], BOUNDS) == [None]


@pytest.mark.parametrize("seed", range(5))
def test_no_two_labels_overlap_and_none_covers_a_point(seed: int) -> None:
    draw = np.random.default_rng(seed)
    points = [(float(x), float(y)) for x, y in draw.random((12, 2)) * (1000, 600)]
    found = [
        place
        for place in place_labels(points, [(90.0, 18.0)] * 12, [], BOUNDS)
        if place is not None
    ]
    boxes = [(place.x - 45, place.y - 9, place.x + 45, place.y + 9) for place in found]
    assert len(found) > 8
    assert not any(
        overlap(left, right) for index, left in enumerate(boxes) for right in boxes[:index]
    )
    assert not any(box[0] < x < box[2] and box[1] < y < box[3] for box in boxes for x, y in points)


def test_heights_that_are_far_apart_stay_and_close_ones_are_moved_evenly() -> None:
    assert spread_apart([5.0, 1.0], 1.0) == [5.0, 1.0]
    assert spread_apart([1.0, 1.0], 1.0) == [0.5, 1.5]
    assert spread_apart([1.0, 1.2, 1.1], 1.0) == pytest.approx([0.1, 2.1, 1.1])


def test_groups_that_are_moved_into_each_other_are_joined() -> None:
    found = sorted(spread_apart([0.0, 0.0, 1.2, 1.2], 1.0))
    assert np.diff(found) == pytest.approx([1.0, 1.0, 1.0])
    assert sum(found) / 4 == pytest.approx(0.6)
