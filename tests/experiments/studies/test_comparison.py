"""An ablation's table and chart, from hand-made scores."""

import math

import pytest

from experiments.studies import comparison
from tests.support.text_boxes import faults

SCORES = {"plain": [70.0, 72.0, 74.0], "clipped": [71.0, 74.0, 74.0]}


def metrics(mean: float) -> dict[str, float]:
    """A trial with one task 10 points above the mean and one 10 below; its student took mean / 10
    seconds."""
    tasks = {
        "quality/sst2/score": mean + 10,
        "quality/rte/score": mean - 10,
        "quality/sst2/accuracy": 1.0,
    }
    return tasks | {
        "quality/mean": mean,
        "seconds/student": mean / 10,
        "teacher/quality/rte/score": 99.0,
    }


def compared(scores: dict[str, list[float]]) -> list[comparison.VariantRow]:
    return comparison.compare_variants(
        {variant: [metrics(mean) for mean in means] for variant, means in scores.items()}
    )


def test_means_spreads_and_paired_differences_match_hand_computed_values() -> None:
    plain, mixup = compared(SCORES)
    assert plain == comparison.VariantRow(
        "plain", 72.0, 2.0, 0.0, 0.0, [0.0, 0.0, 0.0], {"sst2": 82.0, "rte": 62.0}, plain.seconds
    )
    assert plain.seconds == pytest.approx(7.2)
    assert (mixup.mean, mixup.difference, mixup.differences) == (73.0, 1.0, [1.0, 2.0, 0.0])
    assert mixup.sd == pytest.approx(math.sqrt((4 + 1 + 1) / 2))
    # T(0.975, 2) times sd / sqrt(3), with sd 1.
    assert mixup.half == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)


def test_a_shift_common_to_all_seeds_adds_no_spread_to_the_difference() -> None:
    _, shifted = compared({"plain": [50.0, 60.0], "shifted": [53.0, 63.0]})
    assert shifted.sd == pytest.approx(math.sqrt(50))
    assert (shifted.difference, shifted.half) == (3.0, 0.0)


def test_one_seed_has_no_spread() -> None:
    plain, mixup = compared({"plain": [70.0], "clipped": [71.5]})
    assert (
        plain.sd, plain.half, mixup.sd, mixup.half, mixup.difference,
    ) == (None, None, None, None, 1.5)  # fmt: skip


def test_the_table_has_a_row_per_variant_and_no_difference_for_the_first() -> None:
    printed = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in comparison.lines(compared(SCORES))
    ]
    assert printed[0] == [
        "variant", "mean", "sd", "difference", "95 % interval", "sst2", "rte", "training s",
    ]  # fmt: skip
    assert printed[2] == ["plain", "72.00", "2.00", "", "", "82.0", "62.0", "7.2"]
    assert printed[3] == [
        "clipped", "73.00", "1.73", "+1.00", "-1.48 to +3.48", "83.0", "63.0", "7.3",
    ]  # fmt: skip
    alone = comparison.lines(compared({"plain": [70.0], "clipped": [71.5]}))
    assert [cell.strip() for cell in alone[3].split("|")[1:6]] == [
        "clipped",
        "71.50",
        "-",
        "+1.50",
        "-",
    ]
    assert "means over 1 seed;" in alone[-1]
    assert alone[-1].endswith("with one seed, differences may be chance")
    several = comparison.lines(compared(SCORES))[-1]
    assert "means over 3 seeds;" in several and "if the t interval excludes 0" in several


def test_the_chart_shows_every_variant_but_the_first() -> None:
    rows = compared(SCORES | {"mse": [69.0, 72.0, 75.0]})
    shown = comparison.picture_data(rows)
    assert shown == comparison.PictureData(
        first="plain",
        variants=["clipped", "mse"],
        means=[1.0, 0.0],
        halves=pytest.approx([4.30265 / math.sqrt(3)] * 2, rel=1e-5),  # type: ignore[arg-type]
        differences=[[1.0, 2.0, 0.0], [-1.0, 0.0, 1.0]],
    )
    (axes,) = comparison.draw(shown).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["clipped", "mse"]
    assert "plain" in axes.get_xlabel()


@pytest.mark.parametrize("number", [3, 30])
def test_no_text_of_the_chart_is_covered_or_cut(number: int) -> None:
    scores = {
        f"a-variant-with-a-rather-long-name-{place}": [70.0 + place, 71.0, 73.0]
        for place in range(number)
    }
    assert faults(comparison.draw(comparison.picture_data(compared(scores)))) == []
