"""The Pareto front and its hypervolume, by hand and by brute force."""

import math

import numpy as np
import pytest

from mkd.evaluation.pareto import Reference, front, hypervolume, hypervolumes

NAN = math.nan


@pytest.mark.parametrize(
    ("quality", "cost", "expected"),
    [
        ([50, 60, 70], [1, 2, 3], [True, True, True]),
        ([50, 60, 55], [1, 2, 3], [True, True, False]),
        ([60, 60], [1, 2], [True, False]),
        ([60, 50], [1, 1], [True, False]),
        ([60, 60], [1, 1], [True, True]),
        ([70, 60, 60], [1, 1, 1], [True, False, False]),
        ([NAN, 60, 70], [1, NAN, 3], [False, False, True]),
        ([-5], [1], [True]),
        ([], [], []),
    ],
)
def test_the_front_has_the_models_that_no_other_beats(
    quality: list[float], cost: list[float], expected: list[bool]
) -> None:
    assert front(np.array(quality), np.array(cost)).tolist() == expected


def test_the_hypervolume_is_the_area_under_the_front_s_steps() -> None:
    # 60 points from 1 to 10 ms, 80 from 10 to 100: one decade of each.
    volume = hypervolume(np.array([60, 80, 50]), np.array([1, 10, 20]), Reference(0, 100))
    assert volume == pytest.approx(140)
    expected = pytest.approx(10 + 30)
    assert hypervolume(np.array([60, 80]), np.array([1, 10]), Reference(50, 100)) == expected


def test_what_is_worse_than_the_reference_adds_nothing() -> None:
    reference = Reference(50, 10)
    assert hypervolume(np.array([40, 90]), np.array([1, 20]), reference) == 0
    assert hypervolume(np.array([]), np.array([]), reference) == 0


def test_the_hypervolume_over_trials_never_falls() -> None:
    volumes = hypervolumes(np.array([60, 50, 80]), np.array([1, 5, 10]), Reference(0, 100))
    assert volumes == pytest.approx([120, 120, 140])


def test_front_and_hypervolume_equal_a_brute_force_computation_on_random_cases() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        # There are few different values, so that ties occur.
        quality, cost = rng.integers(0, 8, 12).astype(float), 10 ** (rng.integers(0, 8, 12) / 4)
        pairs = list(zip(quality, cost, strict=True))
        brute = [
            not any((q >= point[0] and c <= point[1]) and (q, c) != point for q, c in pairs)
            for point in pairs
        ]
        assert front(quality, cost).tolist() == brute
        reference = Reference(1.0, 10**1.5)
        # Each cell of the grid of all levels is covered, or is not.
        levels, logs = np.arange(1, 8), np.arange(0, 1.5, 0.25)
        cells = [(top, log) for top in levels for log in logs]
        area = sum(
            0.25
            for top, log in cells
            if any(q >= top + 1 and math.log10(c) <= log + 1e-9 for q, c in pairs)
        )
        assert hypervolume(quality, cost, reference) == pytest.approx(area)
