"""Intervals over seeds and over resampled dev rows, by hand and by a second formula."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis.statistics.differences import (
    RESAMPLES,
    Difference,
    Measured,
    Resampled,
    counts,
    difference,
    difference_deviations,
    over_seeds,
    resampled,
    split_answers,
    split_metric_name,
)
from mkd.tasks import metrics


def predictions(seed: int, rows: int = 80) -> pd.DataFrame:
    """Returns the predictions of two tasks, of which the first has two splits, sorted by task."""
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, 2, 2 * rows).astype(float)
    scores = np.random.default_rng(1).random(rows).round(2)
    classes = pd.DataFrame(
        {
            "task": "nli",
            "split": ["", "_other"] * rows,
            "row": np.repeat(np.arange(rows), 2),
            "label": labels,
            "prediction": np.where(rng.random(2 * rows) < 0.8, labels, 1 - labels),
            "teacher": labels,
        }
    )
    regression = pd.DataFrame(
        {
            "task": "sim", "split": "", "row": np.arange(rows), "label": scores,
            "prediction": scores + rng.normal(0, 0.3, rows), "teacher": scores,
        }
    )  # fmt: skip
    return pd.concat([classes, regression], ignore_index=True)


METRICS = {"nli": ["accuracy", "f1", "accuracy_other", "f1_other"], "sim": ["pearson", "spearman"]}


def test_the_first_resample_is_the_original_rows_with_the_scores_of_the_core() -> None:
    answers = predictions(3)
    scores = resampled(split_answers(answers), METRICS)
    expected = []
    for split in ("", "_other"):
        rows = answers[(answers.task == "nli") & (answers.split == split)]
        logits = np.eye(2)[rows.prediction.astype(int)]
        expected += [
            metrics.accuracy(logits, rows.label.to_numpy()),
            metrics.f1(logits, rows.label.to_numpy()),
        ]
    sim = answers[answers.task == "sim"]
    both = [
        kind(sim.prediction.to_numpy()[:, None], sim.label.to_numpy())
        for kind in (metrics.pearson, metrics.spearman)
    ]
    assert scores.tasks["nli"][0] == pytest.approx(np.mean(expected))
    assert scores.tasks["sim"][0] == pytest.approx(np.mean(both))
    assert scores.mean[0] == pytest.approx((np.mean(expected) + np.mean(both)) / 2)
    assert scores.mean.shape == (1 + RESAMPLES,)


def test_the_order_of_the_rows_in_the_file_does_not_matter() -> None:
    answers = predictions(3)
    shuffled = answers.sample(frac=1, random_state=0)
    expected = resampled(split_answers(answers), METRICS).mean.tolist()
    assert resampled(split_answers(shuffled), METRICS).mean.tolist() == expected


def test_a_teacher_is_scored_on_the_same_resamples() -> None:
    answers = predictions(3)
    teacher, student = (
        resampled(split_answers(answers), METRICS, "teacher"),
        resampled(split_answers(answers), METRICS),
    )
    # The teacher's answers are the labels.
    assert teacher.mean == pytest.approx(np.full(1 + RESAMPLES, 100.0))
    lost = difference(once(student), once(teacher))
    assert lost.is_one and lost.low < lost.points < lost.high < 0


def test_resamples_are_the_same_for_all_models_and_draw_as_many_rows_as_there_are() -> None:
    drawn = counts("nli", "", 50)
    assert drawn[:, 0].tolist() == [1.0] * 50
    assert (drawn.sum(0) == 50).all() and drawn.shape == (50, 1 + RESAMPLES)
    assert (counts("nli", "", 50) == drawn).all()
    assert (counts("nli", "_other", 50) != drawn).any()


def once(run: Resampled) -> Measured:
    """Returns the mean score of a model with one seed."""
    return over_seeds({0: run}).mean


def flat(*scores: float) -> Measured:
    """Returns a model with these scores by seed, whose resamples are all equal."""
    return Measured(np.full(1 + RESAMPLES, np.mean(scores)), dict(enumerate(scores)))


def spread(middle: float, deviation: float, *seeds: float) -> Measured:
    """Returns a model whose resamples have exactly this deviation around the middle."""
    rows = np.tile([1.0, -1.0], RESAMPLES // 2)
    return Measured(
        np.concatenate([[middle], middle + deviation * rows / rows.std(ddof=1)]),
        dict(enumerate(seeds or [middle])),
    )


def test_a_paired_difference_has_a_narrower_interval_than_the_rows_would_give_unpaired() -> None:
    left, right = (once(resampled(split_answers(predictions(seed)), METRICS)) for seed in (3, 4))
    same = difference(left, left)
    assert same == Difference(0.0, 0.0, 0.0, 1) and not same.is_one
    mixed = right._replace(
        rows=np.concatenate([right.rows[:1], np.random.default_rng(0).permutation(right.rows[1:])])
    )
    paired, unpaired = difference(left, right), difference(left, mixed)
    assert paired.high - paired.low < unpaired.high - unpaired.low


def test_with_one_seed_a_side_the_interval_is_of_the_rows_alone_and_says_so() -> None:
    gap = difference(spread(75.0, 2.0), spread(70.0, 0.0))
    assert gap == pytest.approx(Difference(5.0, 5 - 1.959964 * 2, 5 + 1.959964 * 2, 1))
    assert gap.is_one
    assert not gap.is_of_methods
    against_many = difference(spread(75.0, 2.0), spread(70.0, 0.0, 60.0, 80.0))
    assert against_many == gap, "the spread of a single seed is not known"


def test_squared_half_widths_of_rows_and_seeds_are_added() -> None:
    """By seed the differences are 1 and 3: sd sqrt(2), t(0.975, 1) = 12.7062, divided by sqrt(2).
    By rows: 1.96 times 2."""
    gap = difference(spread(72.0, 2.0, 71.0, 73.0), spread(70.0, 0.0, 70.0, 70.0))
    assert gap.high - gap.points == pytest.approx(math.hypot(12.7062, 1.959964 * 2), rel=1e-5)
    assert (gap.seeds, gap.is_of_methods, gap.is_one) == (2, True, False)


def test_models_with_the_same_seeds_are_paired_by_seed_and_others_are_not() -> None:
    left, right = flat(60.0, 70.0, 75.0), flat(59.0, 69.0, 74.0)
    assert difference(left, right) == pytest.approx(Difference(1.0, 1.0, 1.0, 3))
    other = Measured(right.rows, {5: 59.0, 6: 69.0, 7: 74.0})
    # t(0.975, 2) = 4.30265 and sd sqrt(175 / 3) on both sides.
    half = 4.30265 * math.sqrt(175 / 3) / math.sqrt(3) * math.sqrt(2)
    expected = pytest.approx(Difference(1.0, 1 - half, 1 + half, 3), rel=1e-5)
    assert difference(left, other) == expected


def test_a_teacher_that_is_the_same_for_all_seeds_has_no_spread_of_its_own() -> None:
    student, teacher = flat(60.0, 61.0, 62.0), flat(65.0, 65.0, 65.0)
    assert difference(teacher, student).high == pytest.approx(4 + 4.30265 / math.sqrt(3), rel=1e-5)


def test_deviations_are_those_of_the_difference_of_two_models() -> None:
    scores = [once(resampled(split_answers(predictions(seed)), METRICS)).rows for seed in (3, 4, 5)]
    deviations = difference_deviations(scores)
    expected = [[(one - other)[1:].std(ddof=1) for other in scores] for one in scores]
    assert deviations == pytest.approx(np.array(expected), abs=1e-6)


def test_another_draw_moves_an_end_by_under_a_tenth_of_the_half_width() -> None:
    """In 95 of 100 pairs of draws, for a paired difference in accuracy on 1,000 rows."""
    rng = np.random.default_rng(0)
    rows, draws = 1000, 80
    right = rng.random((2, rows)) < 0.85
    halves = []
    for _ in range(draws):
        drawn = rng.multinomial(rows, np.full(rows, 1 / rows), size=RESAMPLES)
        scores = [np.concatenate([[100 * one.mean()], 100 * drawn @ one / rows]) for one in right]
        gap = difference(*(Measured(score, {0: float(score[0])}) for score in scores))
        halves.append(gap.high - gap.points)
    moved = np.abs(np.subtract.outer(halves, halves))[np.triu_indices(draws, 1)] / np.mean(halves)
    assert np.quantile(moved, 0.95) < 0.1
    assert np.quantile(moved, 0.95) > 0.05, "no more resamples are drawn than needed"


@pytest.mark.parametrize(
    ("low", "high", "is_one"),
    [(0.1, 2.0, True), (-2.0, -0.1, True), (-0.1, 2.0, False), (0.0, 1.0, False)],
)
def test_a_difference_excludes_0_from_its_interval(low: float, high: float, is_one: bool) -> None:
    assert Difference((low + high) / 2, low, high).is_one == is_one


def test_seeds_are_averaged_on_the_same_resamples() -> None:
    runs = {seed: resampled(split_answers(predictions(seed)), METRICS) for seed in (3, 4)}
    scores = over_seeds(runs)
    assert scores.mean.rows == pytest.approx((runs[3].mean + runs[4].mean) / 2)
    expected = pytest.approx((runs[3].tasks["sim"] + runs[4].tasks["sim"]) / 2)
    assert scores.tasks["sim"].rows == expected
    assert scores.mean.seeds == {3: runs[3].mean[0], 4: runs[4].mean[0]}
    assert scores.tasks["nli"].seeds == {3: runs[3].tasks["nli"][0], 4: runs[4].tasks["nli"][0]}


def test_a_metric_name_is_split_from_its_suffix() -> None:
    assert split_metric_name("accuracy") == ("accuracy", "")
    assert split_metric_name("macro_f1_mismatched") == ("macro_f1", "_mismatched")
    with pytest.raises(ValueError, match="the metric is 'ece'; allowed: accuracy, auc, "):
        split_metric_name("ece")


def test_margins_of_a_task_with_a_ranking_metric_decide_its_classes_too() -> None:
    draw = np.random.default_rng(7)
    labels = draw.integers(0, 2, 60).astype(float)
    margins = (labels - 0.5 + draw.normal(0, 0.5, 60)).round(1)
    answers = pd.DataFrame(
        {"task": "spam", "split": "", "row": np.arange(60), "label": labels,
         "prediction": margins, "teacher": margins}
    )  # fmt: skip
    logits = np.stack([-margins, 0 * margins], axis=1)
    expected = [kind(logits, labels) for kind in (metrics.auc, metrics.f1, metrics.accuracy)]
    scores = resampled(split_answers(answers), {"spam": ["auc", "f1", "accuracy"]})
    assert scores.mean[0] == pytest.approx(np.mean(expected)) and scores.mean.std() > 0
