"""The data of each picture, computed by hand for a few models."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.charts import (
    curves,
    deferral,
    frontier,
    importance,
    joint,
    marginals,
    published,
    retention,
    tasks,
    volume,
    weights,
)
from analysis.charts.frontier import draw as draw_front
from analysis.presentation.front_plot import FrontPlot, Mark, ModelPoint
from analysis.presentation.label_placement import evenly
from mkd.evaluation.pareto import Reference, hypervolumes
from tests.support.models import FAST, GOOD, WORSE, frame, front_numbers, models, trial


def test_the_front_is_joined_by_steps_and_dominated_models_are_off_it() -> None:
    plot = front_numbers(models(FAST, GOOD, WORSE), title="a title", small="small")
    point = ModelPoint("bag-1x64", "bag", 0.1, 60.0, 0.0, 0.0, 30 + 230 / 4, True, True)
    assert plot.points[0]._replace(low=0.0, high=0.0) == point
    assert [(p.label, p.front, p.named, p.area) for p in plot.points] == [
        ("bag-1x64", True, True, 87.5),
        ("bilstm-64", True, True, 260.0),
        ("transformer-1x32", False, True, 145.0),
    ]
    assert plot.line == [(0.1, 60.0), (1.0, 60.0), (1.0, 70.0)]
    assert plot.teachers == [Mark("T", 10.0, 80.0)]
    twins = [Mark("bag-1x64", 0.1, 58.0), Mark("bilstm-64", 1.0, 67.0)]
    assert plot.twins == twins
    assert plot.bottom == pytest.approx(58 - 0.08 * 12 - 0.04, abs=0.05) and plot.below == 0
    assert (plot.title, plot.small) == ("a title", "small")
    assert plot.cost == "median latency of one row, ms"


def test_the_front_is_chosen_by_selection_and_drawn_at_dev() -> None:
    """WORSE is best on selection; GOOD, the best on dev, is not on the front."""
    plot = front_numbers(models(FAST, GOOD | {"selection": 58.0}, WORSE | {"selection": 64.0}))
    front = [("bag-1x64", True), ("transformer-1x32", True), ("bilstm-64", False)]
    assert [(p.label, p.front) for p in plot.points] == front
    assert plot.line == [(0.1, 60.0), (2.0, 60.0), (2.0, 65.0)]
    assert plot.top > 80, "the teacher is in the picture"


def test_a_teacher_below_its_students_is_in_the_picture_or_named_at_its_edge() -> None:
    def with_teacher(mean: float) -> FrontPlot:
        same = {"baseline_mean": None, "teacher_mean": mean}
        return front_numbers(models(FAST | same, GOOD | same))

    near, far = with_teacher(52.0), with_teacher(3.0)
    assert near.teachers == [Mark("T", 10.0, 52.0)] and near.bottom == 51.0
    assert far.teachers == [Mark("T: 3.0, below", 10.0, far.bottom)] and far.bottom > 58
    figure = draw_front(far)
    assert "T: 3.0, below" in [text.get_text() for text in figure.axes[0].texts]


def test_models_without_a_score_on_selection_are_drawn_and_none_is_chosen() -> None:
    old = {"selection": None, "selection/a": None}
    plot = front_numbers(models(FAST | old, GOOD | old))
    assert [p.front for p in plot.points] == [False, False] and plot.line == [] and plot.twins == []
    assert plot.bottom < 60 < 70 < plot.top
    (axes,) = draw_front(plot).axes
    assert [line.get_xdata().tolist() for line in axes.lines] == [[]]  # type: ignore[union-attr]


def test_seeds_make_error_bars() -> None:
    (point,) = front_numbers(models({"mean": 70.0}, {"mean": 72.0, "seed": 1})).points
    # t(0.975, 1) = 12.7062, standard deviation sqrt(2), two seeds.
    assert (point.low, point.high) == pytest.approx((71 - 12.7062, 71 + 12.7062), abs=1e-3)


def test_more_throughput_is_better_and_the_front_is_joined_from_the_slowest() -> None:
    shown = models(FAST | {"rows_per_s": 9000.0}, GOOD, WORSE | {"rows_per_s": 500.0})
    plot = front_numbers(shown, "throughput")
    front = [(p.cost, p.quality) for p in plot.points if p.front]
    assert front == [(1000.0, 70.0), (9000.0, 60.0)]
    # The line is the best quality with at least this throughput.
    assert plot.line == [(1000.0, 70.0), (1000.0, 60.0), (9000.0, 60.0)]
    assert plot.teachers == [Mark("T", 100.0, 80.0)]


def test_size_is_in_megabytes_and_no_teacher_is_known_by_it() -> None:
    plot = front_numbers(models(FAST, GOOD), "size")
    assert [p.cost for p in plot.points] == pytest.approx([0.1, 0.4]) and plot.teachers == []


def test_values_that_no_model_has_are_not_drawn() -> None:
    assert frontier.info(models(GOOD | {"rows_per_s": None}), "throughput") is None
    assert frontier.info(models(GOOD), task="unknown") is None


def test_a_tasks_front_is_by_the_tasks_score() -> None:
    plot = front_numbers(models(FAST, GOOD, WORSE), task="a")
    assert [(p.label, p.quality) for p in plot.points if p.front] == [("bag-1x64", 66.0)]
    assert plot.quality == "a on dev, points" and plot.twins == []


def test_far_lower_models_are_cut_off_and_counted() -> None:
    low = [WORSE | {"student": f"x-{index}", "mean": 10.0 + index} for index in range(8)]
    plot = front_numbers(models(FAST, GOOD, *low))
    assert plot.bottom == pytest.approx(58 - 1) and plot.below == 8


def test_twelve_models_of_a_long_front_are_named_evenly() -> None:
    many = [{"student": f"s-{i}", "mean": 50.0 + i, "latency_ms": 1.0 + i} for i in range(30)]
    named = [int(point.label[2:]) for point in front_numbers(models(*many)).points if point.named]
    assert len(named) == 12 and named[0] == 0 and named[-1] == 29
    assert set(np.diff(named)) <= {2, 3}


def test_each_task_has_a_plot() -> None:
    shown = tasks.info(models(FAST, GOOD), ["a", "b"], "small")
    assert shown is not None and list(shown.plots) == ["a", "b"]
    assert shown.plots["b"].quality == "b on dev, points"
    assert tasks.info(models(GOOD), ["c"]) is None


def test_retention_is_shaded_over_the_range_of_all_cells() -> None:
    kept = {"retention/a": 50.0, "retention/b": 100.0, "retention": 75.0}
    shown = retention.info(models(GOOD | kept), ["a", "b", "unknown"], "small")
    assert shown == retention.Info(
        ["bilstm-64   1 ms"], ["a", "b", "mean"], [[50.0, 100.0, 75.0]], [[0.0, 1.0, 0.5]],
        [[True, False, False]], "small",
    )  # fmt: skip


def test_places_are_evenly_chosen() -> None:
    assert evenly(3, 5) == [0, 1, 2]
    assert evenly(9, 5) == [0, 2, 4, 6, 8]


def test_a_curve_is_named_once_for_all_seeds_and_the_best_is_first() -> None:
    shown = models({"mean": 70.0}, {"mean": 71.0, "seed": 1}, FAST)
    ends = {"r0": (50.0, 60.0), "r1": (52.0, 62.0), "r2": (40.0, 41.0)}
    points = {run: [(10, a), (20, b)] for run, (a, b) in ends.items()}
    plot = curves.info(shown, lambda _: points, "small")
    assert plot is not None
    assert [(c.label, c.kind, c.steps, c.scores) for c in plot.curves] == [
        ("", "bilstm", [10, 20], [52.0, 62.0]),
        ("bilstm-64", "bilstm", [10, 20], [50.0, 60.0]),
        ("bag-1x64", "bag", [10, 20], [40.0, 41.0]),
    ]
    assert (plot.curves[1].name_at, plot.right) == (60.0, 20)
    assert (plot.bottom, plot.top) == pytest.approx((40 - 0.04 * 22, 62 + 0.04 * 22))
    assert curves.info(shown, lambda _: {}) is None


def test_the_hypervolume_grows_where_the_front_moves() -> None:
    study = {
        "reference": {"quality": 0.0, "latency_ms": 10.0},
        "trials": [trial(1, 60.0, 1.0), trial(0, None, None, "failed"), trial(2, 50.0, 5.0),
                   trial(3, 70.0, 0.1), trial(4, 99.0, 0.1, "pruned")],
    }  # fmt: skip
    shown = volume.info(study, "small")
    # 60 points for the decade from 1 to 10 ms; then 70 points for the two decades from 0.1 ms.
    assert shown is not None and shown.hypervolume == pytest.approx([0.0, 60.0, 60.0, 140.0, 140.0])
    assert ([trial for trial, _ in shown.gains], shown.nearly) == ([1, 3], 3)
    assert shown.trials == [0, 1, 2, 3, 4]
    assert shown.corner == "above 0.0 points, below 10 ms", "as in studies of an earlier version"
    words = {"words": "always the most frequent class"}
    reference = {"quality": 52.34, "latency_ms": 10.0} | words
    named = volume.info(study | {"reference": reference})
    assert named is not None
    assert named.corner == "above 52.3 points (always the most frequent class), below 10 ms"
    assert named.hypervolume[-1] == pytest.approx(2 * (70 - 52.34))
    assert volume.info({"trials": [trial(0, None, None, "failed")]}) is None
    assert volume.info({}) is None


@pytest.mark.parametrize("seed", range(4))
def test_the_running_hypervolume_is_that_of_all_trials_so_far(seed: int) -> None:
    draw = np.random.default_rng(seed)
    quality, cost = draw.integers(0, 20, 60).astype(float), draw.integers(1, 20, 60).astype(float)
    quality[draw.random(60) < 0.2] = np.nan
    corner = Reference(2.0, 15.0)
    expected = pytest.approx(hypervolumes(quality, cost, corner))
    assert volume.covered(quality, cost, corner) == expected


def test_importances_are_in_percent_the_largest_first_and_the_small_ones_added_up() -> None:
    shown = importance.info({"quality": {"x": 0.2, "y": 0.5}, "latency": {"x": 0.9}}, "small")
    shares = {"quality": [20.0, 50.0], "latency": [90.0, 0.0]}
    assert shown == importance.Info(["x", "y"], shares, "small")
    many = importance.info({"quality": {f"s{i}": 1 / 32 for i in range(20)}})
    assert many is not None
    assert many.settings[-1] == "4 others"
    assert many.shares["quality"][-1] == pytest.approx(12.5)
    few = importance.info({"quality": {"x": 0.5, "y": 0.5}}, "small", 19)
    counts = "finished trials, 2 searched settings"
    assert few is not None and few.small == f"small; 19 {counts}: a hint at most"
    enough = importance.info({"quality": {"x": 0.5, "y": 0.5}}, "small", 20)
    assert enough is not None and enough.small == f"small; 20 {counts}"
    assert importance.info({}) is None and importance.info({"quality": {}}) is None


def test_marginals_are_of_numbers_with_at_least_four_values_temperature_first() -> None:
    runs = [
        {"loss.temperature": str(t), "student.hidden": "64" if t < 4 else "32",
         "mean": 60.0 + t, "train.steps": str(100 * t)}
        for t in (1, 2, 4, 8)
    ]  # fmt: skip
    shown = marginals.info(models(*runs), None, "small")
    assert shown is not None
    assert [panel.words for panel in shown.panels] == ["temperature", "train.steps"]
    panel = shown.panels[0]
    assert (panel.log, panel.whole, panel.dense) == (True, True, False)
    assert (panel.values, panel.scores) == ([8.0, 4.0, 2.0, 1.0], [68.0, 64.0, 62.0, 61.0])
    assert panel.middles == {"bilstm": []}, "too few models"
    assert marginals.info(models(*runs[:3])) is None


def test_the_most_important_settings_come_before_others() -> None:
    runs = [{"train.steps": str(i), "train.batch_size": str(i), "mean": 60.0 + i} for i in range(4)]
    shown = marginals.info(models(*runs), {"train.batch_size": 0.9, "train.steps": 0.1})
    assert shown is not None
    assert [panel.words for panel in shown.panels] == ["train.batch_size", "train.steps"]


def test_the_middle_of_neighbours_is_their_median_and_equal_values_stay_together() -> None:
    values = np.array([3.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0])
    scores = np.array([9.0, 1.0, 2.0, 6.0, 4.0, 6.0, 7.0, 8.0])
    assert marginals.middle(values, scores) == [(1.0, 2.0), (2.0, 5.0), (3.0, 8.0)]
    assert marginals.middle(np.ones(9), np.arange(9.0)) == [], "all values are one group"
    assert marginals.middle(values[:7], scores[:7]) == [], "too few models"


def test_weights_are_shares_of_their_sum_and_the_best_come_last() -> None:
    texts = ["{'a': 1, 'b': 3}", "{'a': 1, 'b': 1}", "{'a': 0, 'b': 2}"]
    runs = [{"train.sampling.weights": t, "mean": 60.0 + i} for i, t in enumerate(texts)]
    shown = weights.info(models(*runs), ["a", "b"], "small")
    assert shown is not None and shown.words == "how often each task is drawn"
    assert [(line.shares, line.score, line.best) for line in shown.lines] == [
        ([25.0, 75.0], 60.0, True),
        ([50.0, 50.0], 61.0, True),
        ([0.0, 100.0], 62.0, True),
    ]
    assert (shown.even, shown.low, shown.high) == (50.0, 60.0, 62.0)
    assert weights.info(models({"train.sampling.weights": "{}"}), ["a", "b"]) is None


@pytest.mark.parametrize("text", ["{}", "nan", "{'a': 1}", "[1, 2]", "{'a': 0, 'b': 0}", "{'a': "])
def test_a_text_that_weights_not_all_tasks_has_no_shares(text: str) -> None:
    assert weights.shares_of(text, ["a", "b"]) == []


def test_joint_runs_are_compared_with_runs_of_one_task_with_the_same_settings() -> None:
    def run(tasks: tuple[str, ...], a: float, b: float, **more: Any) -> dict[str, Any]:
        scores = {"score/a": a, "score/b": b, "score/c": math.nan}
        named = {"tasks": tasks, "suite": f"glue: {', '.join(tasks)}", "data.tasks": str(tasks)}
        return named | scores | more

    nothing = math.nan
    runs = frame(
        run(("a",), 60.0, nothing),
        run(("a",), 62.0, nothing, seed=1),
        run(("b",), nothing, 70.0),
        run(("a", "b"), 65.0, 71.0),
        run(("a", "b"), 67.0, 69.0, seed=1),
        run(("a", "b", "c"), 70.0, 68.0),
        run(("a", "b"), 10.0, 10.0, **{"loss.temperature": "4.0"}),
    )
    shown = joint.info(runs, "small")
    assert shown is not None
    assert (shown.tasks, shown.beside) == (["a", "b"], ["a", "b", "all 3 tasks"])
    assert shown.gains[0][1:] == [66.0 - 61.0, 70.0 - 61.0] and math.isnan(shown.gains[0][0])
    assert shown.gains[1][::2] == [70.0 - 70.0, 68.0 - 70.0] and math.isnan(shown.gains[1][1])
    assert (shown.runs, shown.most) == ([[0, 4, 3], [3, 0, 2]], 9.0)
    assert joint.info(frame({}, {})) is None


def test_published_figures_are_drawn_with_models_whose_teacher_is_as_large_as_bert_base() -> None:
    large = {"teacher": "bert-12x768", "teacher_latency_ms": 275.0, "teacher_mean": 80.0}
    shown = published.info(models(GOOD | large, FAST), ["a", "b"], "small")
    assert shown is not None and shown.models == [("bilstm-64", "bilstm", 275.0, -10.0)]
    assert shown.references[0] == ("MKD, LSTM (BERT-large teacher)", 8.6, -3.03)
    assert published.missing(models(GOOD | large)) == ""
    assert shown.small == "small"
    busy = published.info(models(GOOD | large | {"busy_share": 0.06}), ["a", "b"], "small")
    assert busy is not None
    message = "Some of ours were timed on a busy machine: their ratios are not precise."
    assert busy.small == f"small. {message}"


def test_without_such_a_teacher_the_picture_says_why_it_is_missing() -> None:
    shown = models(GOOD)
    assert published.info(shown, ["a"]) is None
    assert "no teacher (T) is of its size, 12x768" in published.missing(shown)


def test_a_models_curve_of_deferral_is_the_mean_over_tasks_and_seeds() -> None:
    """FAST has two seeds and two tasks; GOOD has no table. On selection, the mean loss is 0 up to
    the second share."""

    def table(lost: float) -> pd.DataFrame:
        rows = [
            ("a", 0, 0, 0, 0), ("a", 50, 40, lost, -1), ("a", 100, 100, 4, 3),
            ("b", 0, 0, 0, 0), ("b", 50, 60, lost + 2, 1), ("b", 100, 100, 6, 5),
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["task", "share", "answered", "lost", "selection_lost"])

    shown = models(FAST, FAST | {"seed": 1, "run_id": "other"}, GOOD)
    tables = dict(zip(("r0", "other"), (table(-1), table(1)), strict=True))
    plot = deferral.info(shown, lambda runs: tables, "small")
    assert plot is not None
    (line,) = plot.lines
    assert (line.label, line.answered, line.lost) == ("bag-1x64", [0, 50, 100], [0, 1, 5])
    assert line.chosen == 1 and plot.names_at == [5] and plot.small.startswith(deferral.SMALL)
    assert plot.bottom < 0 and plot.top > 5
    assert deferral.info(shown, lambda runs: {}) is None
