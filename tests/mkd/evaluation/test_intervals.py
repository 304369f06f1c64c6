"""Intervals of means over seeds, compared with a table of Student's t and with a simulation."""

import math

import numpy as np
import pytest

from mkd.evaluation.intervals import half_width, interval_text, t_quantile


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.706), (2, 4.303), (4, 2.776), (30, 2.042)]
)
def test_quantiles_are_those_of_the_printed_table(freedom: int, expected: float) -> None:
    assert t_quantile(freedom) == pytest.approx(expected, abs=5e-4)


def test_the_half_width_is_the_quantile_times_the_standard_error() -> None:
    assert half_width([1.0, 2.0]) == pytest.approx(12.706 * math.sqrt(0.5) / math.sqrt(2), rel=1e-4)
    assert half_width([3.0, 4.0, 5.0]) == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
    assert half_width([2.0, 2.0, 2.0]) == 0.0
    assert half_width([7.0]) is None


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_holds_the_truth_in_95_of_100_cases(seeds: int) -> None:
    drawn = np.random.default_rng(0).normal(1.0, 3.0, (4000, seeds))
    held = [abs(row.mean() - 1.0) <= (half_width(list(row)) or 0.0) for row in drawn]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)


def test_an_interval_is_shown_by_its_ends_and_an_unknown_one_by_a_dash() -> None:
    assert interval_text(1.0, 2.5) == "-1.50 to +3.50" and interval_text(1.0, None) == "-"
    assert interval_text(1.0, 1.001) == "+0.00 to +2.00"  # no "-0.00"
