"""Intervals over seeds and over resampled dev rows, by hand and by a second way."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis.statistics import (
    RESAMPLES,
    Difference,
    Resampled,
    answers_of,
    counts,
    difference,
    over_seeds,
    parted,
    resampled,
    seed_errors,
)
from mkd import metrics


def predictions(seed: int, rows: int = 80) -> pd.DataFrame:
    """Of two tasks, the first with two splits, in the order of a file that was written by task."""
    draw = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, 2, 2 * rows).astype(float)
    scores = np.random.default_rng(1).random(rows).round(2)
    classes = pd.DataFrame(
        {
            "task": "nli", "split": ["", "_other"] * rows, "row": np.repeat(np.arange(rows), 2), "label": labels,
            "prediction": np.where(draw.random(2 * rows) < 0.8, labels, 1 - labels), "teacher": labels,
        }
    )  # fmt: skip
    regression = pd.DataFrame(
        {
            "task": "sim", "split": "", "row": np.arange(rows), "label": scores,
            "prediction": scores + draw.normal(0, 0.3, rows), "teacher": scores,
        }
    )  # fmt: skip
    return pd.concat([classes, regression], ignore_index=True)


METRICS = {"nli": ["accuracy", "f1", "accuracy_other", "f1_other"], "sim": ["pearson", "spearman"]}


def test_the_first_of_the_resamples_is_the_rows_as_they_are_and_scores_as_the_core_does() -> None:
    found = predictions(3)
    own = resampled(answers_of(found), METRICS)
    expected = []
    for split in ("", "_other"):
        part = found[(found.task == "nli") & (found.split == split)]
        logits = np.eye(2)[part.prediction.astype(int)]
        expected += [metrics.accuracy(logits, part.label.to_numpy()), metrics.f1(logits, part.label.to_numpy())]
    sim = found[found.task == "sim"]
    both = [kind(sim.prediction.to_numpy()[:, None], sim.label.to_numpy()) for kind in (metrics.pearson, metrics.spearman)]
    assert own.tasks["nli"][0] == pytest.approx(np.mean(expected))
    assert own.tasks["sim"][0] == pytest.approx(np.mean(both))
    assert own.mean[0] == pytest.approx((np.mean(expected) + np.mean(both)) / 2)
    assert own.mean.shape == (1 + RESAMPLES,)


def test_the_order_of_the_rows_in_the_file_does_not_matter() -> None:
    found = predictions(3)
    shuffled = found.sample(frac=1, random_state=0)
    assert resampled(answers_of(shuffled), METRICS).mean.tolist() == resampled(answers_of(found), METRICS).mean.tolist()


def test_a_teacher_is_scored_on_the_same_resamples() -> None:
    found = predictions(3)
    teacher, student = resampled(answers_of(found), METRICS, "teacher"), resampled(answers_of(found), METRICS)
    assert teacher.mean == pytest.approx(np.full(1 + RESAMPLES, 100.0)), "its answers are the labels"
    lost = difference(student.mean, teacher.mean)
    assert lost.is_one and lost.low < lost.points < lost.high < 0


def test_resamples_are_the_same_for_all_models_and_draw_as_many_rows_as_there_are() -> None:
    drawn = counts("nli", "", 50)
    assert drawn[:, 0].tolist() == [1.0] * 50
    assert (drawn.sum(0) == 50).all() and drawn.shape == (50, 1 + RESAMPLES)
    assert (counts("nli", "", 50) == drawn).all()
    assert (counts("nli", "_other", 50) != drawn).any()


def test_a_paired_difference_has_a_narrower_interval_than_the_rows_would_give_unpaired() -> None:
    left, right = resampled(answers_of(predictions(3)), METRICS).mean, resampled(answers_of(predictions(4)), METRICS).mean
    same = difference(left, left)
    assert same == Difference(0.0, 0.0, 0.0) and not same.is_one
    mixed = np.concatenate([right[:1], np.random.default_rng(0).permutation(right[1:])])
    paired, unpaired = difference(left, right), difference(left, mixed)
    assert paired.high - paired.low < unpaired.high - unpaired.low


def test_a_difference_holds_95_of_100_resamples() -> None:
    less = np.concatenate([[5.0], np.arange(0.0, 101.0)])
    assert difference(less, np.zeros(102)) == Difference(5.0, 2.5, 97.5)


@pytest.mark.parametrize(("low", "high", "is_one"), [(0.1, 2.0, True), (-2.0, -0.1, True), (-0.1, 2.0, False), (0.0, 1.0, False)])
def test_a_difference_is_called_one_only_where_its_interval_excludes_0(low: float, high: float, is_one: bool) -> None:
    assert Difference((low + high) / 2, low, high).is_one == is_one


def test_seeds_are_averaged_and_drawn_anew_and_one_seed_is_left_as_it_is() -> None:
    flat = [Resampled({"a": np.full(1 + RESAMPLES, value)}, np.full(1 + RESAMPLES, value)) for value in (60.0, 70.0)]
    both = over_seeds(flat)
    assert both.mean[0] == both.tasks["a"][0] == 65.0
    assert set(both.mean[1:]) == {60.0, 65.0, 70.0}, "either seed twice, or both"
    one = resampled(answers_of(predictions(3)), METRICS)
    assert over_seeds([one]).mean.tolist() == one.mean.tolist()


def test_models_with_as_many_seeds_stay_paired_by_seed() -> None:
    left = over_seeds([Resampled({}, np.full(1 + RESAMPLES, value)) for value in (60.0, 70.0, 75.0)])
    right = over_seeds([Resampled({}, np.full(1 + RESAMPLES, value)) for value in (59.0, 69.0, 74.0)])
    assert difference(left.mean, right.mean) == pytest.approx(Difference(1.0, 1.0, 1.0))


def test_errors_over_seeds_pool_the_variance_of_all_models() -> None:
    # Squared deviations 0.5 and 2 with 3 - 2 + 2 - 1 = 2 + 1 degrees of freedom; t(0.975, 3) = 3.18245.
    errors = seed_errors([[1.0, 2.0], [5.0], [3.0, 4.0, 5.0]])
    spread = math.sqrt(2.5 / 3)
    assert errors[1] is None
    assert errors[::2] == pytest.approx([3.182446 * spread / math.sqrt(2), 3.182446 * spread / math.sqrt(3)], rel=1e-6)
    assert seed_errors([[1.0], [2.0]]) == [None, None]


def test_a_metrics_name_is_parted_from_its_splits() -> None:
    assert parted("accuracy") == ("accuracy", "")
    assert parted("macro_f1_mismatched") == ("macro_f1", "_mismatched")
    with pytest.raises(ValueError, match="the metric is 'ece'; allowed: accuracy, f1"):
        parted("ece")
