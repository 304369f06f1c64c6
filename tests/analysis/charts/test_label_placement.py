"""Labels that overlap neither each other nor a point."""

import numpy as np
import pytest

from analysis.presentation.label_placement import (
    Wanted,
    along,
    around,
    break_line,
    overlap,
    place_labels,
    spread_apart,
)

BOUNDS = (0.0, 0.0, 1000.0, 600.0)


def wanted(x: float, y: float, width: float = 100.0) -> Wanted:
    return Wanted(x, y, 4.0, width, 20.0)


def test_a_single_label_is_directly_above_its_point() -> None:
    (placed,) = place_labels([wanted(500.0, 300.0)], [], [], BOUNDS)
    # Offset: the radius of the mark, a tenth of the height of the label, and half of its height.
    assert placed == (500.0, 300.0 + 4 + 2 + 10, False)


def test_a_label_moves_aside_for_the_edge_other_marks_and_lines() -> None:
    (top,) = place_labels([wanted(500.0, 595.0)], [], [], BOUNDS)
    assert top is not None and top.y + 10 <= 600
    line = [around(point, 1.0) for point in along([(450.0, 310.0), (700.0, 310.0)])]
    for taken in [around((500.0, 320.0), 4.0)], line:
        (aside,) = place_labels([wanted(500.0, 300.0)], taken, [], BOUNDS)
        box = None if aside is None else around((aside.x, aside.y), 10.0)
        assert box is not None and not any(overlap(box, other) for other in taken)


def test_a_pale_mark_is_covered_only_if_no_other_place_is_free() -> None:
    above = around((500.0, 316.0), 4.0)
    (aside,) = place_labels([wanted(500.0, 300.0)], [], [above], BOUNDS)
    assert aside is not None and aside.y < 316
    tight = (440.0, 290.0, 560.0, 330.0)
    (covering,) = place_labels([wanted(500.0, 300.0)], [], [above], tight)
    assert covering is not None and covering.y == 316


def test_a_label_without_room_is_left_out() -> None:
    assert place_labels([wanted(5.0, 5.0, 2000.0)], [], [], BOUNDS) == [None]


@pytest.mark.parametrize("seed", range(5))
def test_no_two_labels_overlap_and_none_covers_a_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [(float(x), float(y)) for x, y in rng.random((12, 2)) * (1000, 600)]
    placed = [
        place
        for place in place_labels([wanted(*point, 90.0) for point in points], [], [], BOUNDS)
        if place is not None
    ]
    boxes = [(place.x - 45, place.y - 10, place.x + 45, place.y + 10) for place in placed]
    assert len(placed) > 8
    assert not any(
        overlap(left, right) for index, left in enumerate(boxes) for right in boxes[:index]
    )
    assert not any(box[0] < x < box[2] and box[1] < y < box[3] for box in boxes for x, y in points)


def test_a_line_is_broken_between_words_then_after_a_hyphen_and_else_anywhere() -> None:
    assert break_line("one two-three", len, 13) == ["one two-three"]
    assert break_line("one two-three", len, 9) == ["one", "two-three"]
    assert break_line("one two-three", len, 5) == ["one", "two-", "three"]
    assert break_line("abcdef", len, 4) == ["abcd", "ef"]


def test_heights_that_are_far_apart_stay_and_close_ones_are_moved_evenly() -> None:
    assert spread_apart([5.0, 1.0], 1.0) == [5.0, 1.0]
    assert spread_apart([1.0, 1.0], 1.0) == [0.5, 1.5]
    assert spread_apart([1.0, 1.2, 1.1], 1.0) == pytest.approx([0.1, 2.1, 1.1])


def test_groups_that_are_moved_into_each_other_are_joined() -> None:
    heights = sorted(spread_apart([0.0, 0.0, 1.2, 1.2], 1.0))
    assert np.diff(heights) == pytest.approx([1.0, 1.0, 1.0])
    assert sum(heights) / 4 == pytest.approx(0.6)
