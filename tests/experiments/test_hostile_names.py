"""A sample of hostile names in each place; tests/bench/hostile_names.py has all of them."""

from pathlib import Path

import pytest

from tests.bench.hostile_names import PLACES, Case, run
from tests.bench.hostile_words import NAMES

SAMPLE = {
    "setting": ["a\nb", "null"],
    "label": ["a\nb", '"', "\u202eabc", "12:30"],
    "column": ["a\nb", "--help"],
    "folder": ["a'b", "-x", "\0", "x" * 300],
    "task": ["../x", "a\0b", "<b>"],
    "report": ["$\\frac$"],
}
"""Some of these names are refused, the others work."""


@pytest.mark.parametrize(
    ("place", "name"), [(place, name) for place, names in SAMPLE.items() for name in names]
)
def test_a_hostile_name_works_or_is_refused_in_one_line(
    place: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "case").mkdir()
    result = run(Case(place, name), tmp_path / "case")
    assert result.good, result


def test_the_sample_is_taken_from_over_200_hostile_names() -> None:
    assert len(NAMES) > 200
    assert set(SAMPLE) == set(PLACES) and {
        name for each in SAMPLE.values() for name in each
    } <= set(NAMES)
