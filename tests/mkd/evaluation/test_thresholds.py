import numpy as np
import pytest

from mkd.evaluation.thresholds import (
    FORMULAS,
    SHARED_ROWS,
    best_cut,
    fit_thresholds,
    may_decide,
)
from mkd.tasks.metrics import METRICS, score
from mkd.tasks.task import GLUE, Kind

SEVERAL = Kind(("a", "b", "c"), False, ("micro_f1",), None, True)


def test_the_best_cut_by_hand() -> None:
    """F1 with the first k of 5, 4, 2, 1, 0 is 2 * hits / (k + 2): 2/3, 2/4, 4/5, 4/6, 4/7."""
    logits = np.array([1.0, 5.0, 2.0, 0.0, 4.0])
    labels = np.array([False, True, True, False, False])
    assert best_cut(logits, labels) == 1.5


def test_equal_logits_are_on_one_side() -> None:
    """No cut lies between the two logits of 2. F1 is 2/3 with the first alone, and 4/5 with all
    three."""
    logits, labels = np.array([2.0, 3.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert best_cut(logits, labels) == 1.5


def test_a_cut_below_all_rows_and_one_without_labels() -> None:
    assert best_cut(np.array([1.0, 2.0]), np.array([True, True])) == 0.5
    assert best_cut(np.array([1.0, 2.0]), np.array([False, False])) == 0.0


def test_a_label_of_few_rows_is_near_the_shared_threshold() -> None:
    """Label a has two rows. Alone, its best cut is at -2, halfway between -1 and -3. Label b has
    one row, and alone its best cut is at 0.5. In the order of all six logits, 2 (a), 1 (b), 0, -1
    (a), -3, -4, F1 is best with the first four, 6 / 7: the shared cut is at -2, too. No row has
    c."""
    logits = np.array([[2.0, 0.0, -9.0], [-1.0, 1.0, -9.0], [-3.0, -4.0, -9.0]])
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], dtype=np.uint8)
    cuts = np.array([-2.0, (1 * 0.5 + SHARED_ROWS * -2) / (1 + SHARED_ROWS), -2.0])
    assert fit_thresholds(SEVERAL, logits, labels) == pytest.approx(1 / (1 + np.exp(-cuts)))


def of_two(*metrics: str) -> Kind:
    return Kind(("no", "yes"), False, metrics)


def two(margins: list[float]) -> np.ndarray:
    return np.stack([np.ones(len(margins)), 1 + np.array(margins)], axis=1)


def test_the_threshold_of_two_classes_by_hand() -> None:
    """Class 1 has the margins -1 and -3, class 0 has -2 and -4 to -10. F1 with the first k rows is
    2/3, 1/2 and 4/5 for k = 1, 2, 3: the best cut is at -3.5. With accuracy, k = 1 has (2/3 + 9/10)
    / 2, and k = 3 has (4/5 + 9/10) / 2."""
    margins = [-1.0, -2, -3, -4, -5, -6, -7, -8, -9, -10]
    labels = np.array([1.0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    cut = -3.5 * 2 / (2 + SHARED_ROWS)
    chance = 1 / (1 + np.exp(-cut))
    for metrics in (("f1",), ("accuracy", "f1"), ("f1", "auc")):
        thresholds = fit_thresholds(of_two(*metrics), two(margins), labels)
        assert thresholds == pytest.approx([1 - chance, chance])
    assert score(of_two("f1"), two(margins), labels)["f1"] == 0
    exact = np.array([1 - 1 / (1 + np.exp(3.5)), 1 / (1 + np.exp(3.5))])
    assert score(of_two("f1"), two(margins), labels, thresholds=exact)["f1"] == pytest.approx(80)


def test_a_model_that_always_answers_the_frequent_class_gets_a_matthews_correlation() -> None:
    """2 of 10 rows are of class 0. All margins are positive, so the correlation is 0. With the cut
    below the third row from the end, 2 of the 3 rows below it are of class 0. The correlation is
    then (7 * 2 - 0 * 1) / sqrt(7 * 8 * 3 * 2), which no other cut reaches."""
    margins = [9.0, 8, 7, 6, 5, 4.5, 4, 2, 1.5, 1]
    labels = np.array([1.0, 1, 1, 1, 1, 1, 1, 0, 1, 0])
    fitted = fit_thresholds(of_two("matthews"), two(margins), labels)
    assert fitted is not None
    assert np.log(fitted[1] / fitted[0]) == pytest.approx(3 * 2 / (2 + SHARED_ROWS))
    exact = np.array([1 - 1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-3))])
    scores = [
        score(of_two("matthews"), two(margins), labels, thresholds=thresholds)["matthews"]
        for thresholds in (None, exact)
    ]
    assert scores == pytest.approx([0, 100 * 14 / np.sqrt(7 * 8 * 3 * 2)])


def test_the_cut_nearest_to_half_of_equally_good_ones_is_chosen() -> None:
    labels = np.array([1.0, 0, 0, 0, 0])
    thresholds = fit_thresholds(of_two("f1"), two([3.0, -5, -6, -7, -8]), labels)
    assert thresholds is not None
    assert np.log(thresholds[1] / thresholds[0]) == pytest.approx(-1 * 1 / (1 + SHARED_ROWS))


def test_only_a_rare_class_of_two_that_a_metric_counts_has_a_threshold() -> None:
    margins = np.linspace(-3, 3, 10).tolist()
    rare, even = np.array([1.0] * 2 + [0] * 8), np.array([1.0] * 3 + [0] * 7)
    assert fit_thresholds(of_two("macro_f1"), two(margins), rare) is not None
    assert fit_thresholds(of_two("macro_f1"), two(margins), 1 - rare) is not None
    assert fit_thresholds(of_two("macro_f1"), two(margins), even) is None
    assert fit_thresholds(of_two("macro_f1"), two(margins), 0 * rare) is None, "one class alone"
    assert fit_thresholds(of_two("accuracy", "auc"), two(margins), rare) is None
    assert fit_thresholds(of_two("f1"), two([]), np.array([])) is None
    assert [name for name, kind in GLUE.items() if may_decide(kind)] == ["cola", "mrpc", "qqp"]
    assert not may_decide(Kind(("a", "b", "c"), False, ("macro_f1",)))


@pytest.mark.parametrize("name", FORMULAS)
def test_the_formulas_are_those_of_the_metrics(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(200) < 0.2).astype(np.float64)
    margins = (rng.normal(size=200) + labels).round(1).tolist()
    kind = of_two(name, "f1")
    thresholds = fit_thresholds(kind, two(margins), labels)
    monkeypatch.delitem(FORMULAS, name)
    assert fit_thresholds(kind, two(margins), labels) == pytest.approx(thresholds)
    assert name in METRICS
