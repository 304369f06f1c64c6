"""Metrics over resamples, compared with those of mkd/tasks/metrics.py on repeated rows."""

import numpy as np
import pytest

from analysis.statistics.resampled_metrics import FAST_METRICS, mean_over_groups, metric
from mkd.tasks import metrics

ROWS = 60


def counts(rng: np.random.Generator, resamples: int = 30) -> np.ndarray:
    """Returns how often each row is in each resample [rows, resamples]."""
    return rng.multinomial(ROWS, np.full(ROWS, 1 / ROWS), size=resamples).T.astype(float)


def on_repeated_rows(
    name: str, row: np.ndarray, labels: np.ndarray, predictions: np.ndarray, classes: int
) -> float:
    """Computes the metric of mkd/tasks/metrics.py on rows repeated as often as they were drawn."""
    places = np.repeat(np.arange(ROWS), row.astype(int))
    chosen = predictions[places]
    logits = np.eye(classes)[chosen.astype(int)] if classes else chosen[:, None]
    return metrics.METRICS[name](logits, labels[places])


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("name", ["accuracy", "f1", "macro_f1", "matthews"])
def test_class_metrics_equal_those_on_repeated_rows(name: str, classes: int) -> None:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, ROWS).astype(float)
    predictions = np.where(rng.random(ROWS) < 0.7, labels, rng.integers(0, classes, ROWS))
    drawn = counts(rng)
    expected = [on_repeated_rows(name, row, labels, predictions, classes) for row in drawn.T]
    assert FAST_METRICS[name](drawn, labels, predictions) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", metrics.RANKING_METRICS)
@pytest.mark.parametrize("digits", [0, 6])
def test_ranking_metrics_equal_those_of_repeated_rows(name: str, digits: int) -> None:
    """There are many equal margins, or none. Class 1 has only one row, so some resamples lack
    it."""
    rng = np.random.default_rng(5)
    for labels in (rng.integers(0, 2, ROWS).astype(float), (np.arange(ROWS) == 7).astype(float)):
        margins = (labels + rng.normal(size=ROWS)).round(digits)
        drawn, logits = counts(rng), np.stack([-margins, 0 * margins], axis=1)
        rows = [np.repeat(np.arange(ROWS), row.astype(int)) for row in drawn.T]
        expected = [metrics.METRICS[name](logits[places], labels[places]) for places in rows]
        assert FAST_METRICS[name](drawn, labels, margins) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_correlations_equal_those_of_repeated_rows(name: str, offset: float) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 6, ROWS) / 2
    predictions = (labels + rng.normal(size=ROWS)).round(1) + offset
    drawn = counts(rng)
    expected = [on_repeated_rows(name, row, labels, predictions, 0) for row in drawn.T]
    assert FAST_METRICS[name](drawn, labels, predictions) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", metrics.MULTILABEL_METRICS)
@pytest.mark.parametrize("digits", [0, 6])
def test_metrics_of_several_labels_equal_those_of_repeated_rows(name: str, digits: int) -> None:
    """There are many equal margins, or none. One label has only one row, so some resamples lack
    it."""
    rng = np.random.default_rng(4)
    labels = (rng.random((ROWS, 4)) < [0.5, 0.3, 0.1, 0.0]).astype(float)
    labels[7, 3] = 1
    predictions = (labels + rng.normal(size=(ROWS, 4)) - 0.7).round(digits)
    drawn = counts(rng)
    rows = [np.repeat(np.arange(ROWS), row.astype(int)) for row in drawn.T]
    expected = [metrics.METRICS[name](predictions[places], labels[places]) for places in rows]
    assert FAST_METRICS[name](drawn, labels, predictions) == pytest.approx(expected, abs=1e-9)
    assert FAST_METRICS[name](drawn, 0 * labels, 0 * labels - 1).tolist() == [0.0] * 30


@pytest.mark.parametrize("name", ["matthews", "pearson", "spearman"])
def test_a_constant_side_correlates_with_nothing(name: str) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, ROWS).astype(float)
    drawn = counts(rng, 5)
    assert FAST_METRICS[name](drawn, labels, np.ones(ROWS)).tolist() == [0.0] * 5
    assert FAST_METRICS[name](drawn, np.zeros(ROWS), labels).tolist() == [0.0] * 5


def test_a_constant_resample_correlates_with_nothing_even_if_the_rows_are_not_constant() -> None:
    labels, predictions = np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.7, 0.7])
    only_equal = np.array([[0.0], [2.0], [1.0]])
    assert FAST_METRICS["pearson"](only_equal, labels, predictions).tolist() == [0.0]
    assert FAST_METRICS["spearman"](only_equal, labels, predictions).tolist() == [0.0]


def test_f1_is_0_where_neither_side_has_a_row_of_class_1() -> None:
    drawn = np.array([[1.0], [1.0]])
    assert FAST_METRICS["f1"](drawn, np.array([0.0, 0.0]), np.array([0.0, 0.0])).tolist() == [0.0]


def test_every_fast_form_is_of_a_metric_of_the_core() -> None:
    assert FAST_METRICS.keys() <= metrics.METRICS.keys()


def test_a_metric_without_a_fast_form_is_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like a new metric, it is computed from the largest logit for classes, and from the prediction
    for regression."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, ROWS).astype(float)
    predictions = np.where(rng.random(ROWS) < 0.7, labels, rng.integers(0, 3, ROWS))
    drawn = counts(rng, 5)
    for name in ("macro_f1", "spearman"):
        fast = FAST_METRICS[name](drawn, labels, predictions)
        monkeypatch.delitem(FAST_METRICS, name)
        assert metric(name)(drawn, labels, predictions) == pytest.approx(fast, abs=1e-6)
    order = (labels == 1).astype(float), rng.normal(size=ROWS)
    fast = FAST_METRICS["auc"](drawn, *order)
    monkeypatch.delitem(FAST_METRICS, "auc")
    assert metric("auc")(drawn, *order) == pytest.approx(fast)
    several, margins = rng.integers(0, 2, (ROWS, 3)).astype(float), rng.normal(size=(ROWS, 3))
    fast = FAST_METRICS["micro_f1"](drawn, several, margins)
    monkeypatch.delitem(FAST_METRICS, "micro_f1")
    assert metric("micro_f1")(drawn, several, margins) == pytest.approx(fast)


@pytest.mark.parametrize("name", metrics.GROUP_METRICS)
def test_groups_are_resampled_whole(name: str) -> None:
    """The metric is compared with that on copies of the groups, each of which is a separate
    group."""
    rng = np.random.default_rng(5)
    groups = rng.integers(0, 12, ROWS)
    numbers, places = np.unique(groups, return_inverse=True)
    labels = (rng.random(ROWS) < 0.2).astype(np.float64)
    margins = rng.normal(size=ROWS).round(1)
    drawn = rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=20).T
    scores = mean_over_groups(drawn, labels, margins, places, name)
    for column, value in zip(drawn.T, scores, strict=True):
        copies = [(group, copy) for group, times in enumerate(column) for copy in range(int(times))]
        rows = [np.flatnonzero(places == group) for group, _ in copies]
        groups_of_rows = np.repeat(np.arange(len(copies)), [len(each) for each in rows])
        taken = np.concatenate(rows)
        logits = np.stack([0 * margins[taken], margins[taken]], axis=1)
        expected = metrics.mean_over_groups(logits, labels[taken], groups_of_rows, name)
        assert value == pytest.approx(expected)
    assert mean_over_groups(drawn, 0 * labels, margins, places, name).tolist() == [0.0] * 20
