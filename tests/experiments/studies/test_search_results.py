"""A search's results, by hand: a study of made-up trials, its front as a table and as a chart."""

import math
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from matplotlib.collections import PathCollection
from optuna.trial import TrialState, create_trial

from analysis.presentation.figure import count_note
from analysis.presentation.table import markdown
from experiments.settings import SearchConfig
from experiments.studies.attributes import COPIED_FROM, RESULT
from experiments.studies.front_picture import draw, picture_data
from experiments.studies.search_outputs import next_commands
from experiments.studies.search_results import (
    UNITS_NOTE,
    SearchResults,
    TrialPoint,
    busy_warnings,
    conclusion,
    lines,
    search_results,
)
from experiments.studies.trial_results import TrialResult
from mkd.config import Config
from mkd.evaluation.pareto import Reference
from mkd.pipeline import DataAndTeacher, RunData
from mkd.teachers.multitask import MultiTaskTeacher
from mkd.tokenization.tokens import ModelData
from tests.support.text_boxes import faults
from tests.support.tiny import Datas, Tokenizer

BEGIN = datetime(2026, 1, 1)
SETTING = "b1-text-t1"
TEACHER_SPEED = {f"teacher/speed/torch/{SETTING}/p50_ms": 100.0}


@pytest.fixture
def ready(tokenizer: Tokenizer, datas: Datas) -> DataAndTeacher:
    """A teacher of 90 points, and a task where 3 of 5 selection rows have the same class; the
    results need no more."""
    data = datas[0]
    labels = data.train.labels.copy()
    labels[data.selection_rows[:5]] = [1, 0, 1, 0, 1]
    data = data._replace(
        train=data.train._replace(labels=labels), selection_rows=data.selection_rows[:5]
    )
    side = ModelData(tokenizer, [data], torch.device("cpu"))
    return DataAndTeacher(
        RunData(Config(), [], side, side, None),
        MultiTaskTeacher("bert-2x16", "key", [], None, None, {}, {"quality/mean": 90.0}),
    )


def add(
    study: optuna.Study,
    state: str,
    name: str,
    quality: float,
    latency: float,
    start: float,
    end: float,
    taken_from: str = "",
) -> None:
    """Adds a trial. start, end: seconds after the study's start; measuring and training took 5 s
    of them."""
    number = len(study.trials)
    complete = state == "complete"
    costs = {"latency": latency, "bytes": 1e6 * latency} | (
        {"quality": quality} if complete else {}
    )
    seconds = {"cost": 1.0, "core": 4.0}
    result = TrialResult(
        state, name, f"run{number}", quality + 1 if complete else None, costs, seconds, {}, ""
    )
    trial = create_trial(
        state={"complete": TrialState.COMPLETE, "failed": TrialState.FAIL}.get(
            state, TrialState.PRUNED
        ),
        values=[quality, latency] if complete else None,
        user_attrs={RESULT: result._asdict()} | ({COPIED_FROM: taken_from} if taken_from else {}),
    )
    trial.datetime_start, trial.datetime_complete = (
        BEGIN + timedelta(seconds=at) for at in (start, end)
    )
    study.add_trial(trial)


@pytest.fixture
def study() -> optuna.Study:
    """Seven ended trials and a running one: the sixth ended before the third, and the fourth was
    copied from another study."""
    new_study = optuna.create_study(directions=["maximize", "minimize"])
    add(new_study, "complete", "t000 bag-1x16 T=2 1ms", 60, 1, 0, 7)
    add(new_study, "infeasible", "t001 transformer-4x96 mse 90ms", 0, 90, 7, 9)
    add(new_study, "complete", "t002 bilstm-48 mse 10ms", 80, 10, 9, 30)
    add(new_study, "complete", "t003 transformer-1x32 T=1 20ms", 70, 20, 0, 100, "other/3")
    add(new_study, "failed", "t004 bag-1x16 mse", 0, 0, 30, 31)
    add(new_study, "complete", "t005 bag-1x32 T=8 2ms", 50, 2, 10, 16)
    add(new_study, "pruned", "t006 bag-2x32 T=8 2ms", 0, 2, 31, 33)
    new_study.ask()
    return new_study


POINTS = [
    TrialPoint(0, "t000 bag-1x16 T=2 1ms", "run0", 60, 61, 1, 1e6, True),
    TrialPoint(5, "t005 bag-1x32 T=8 2ms", "run5", 50, 51, 2, 2e6, False),
    TrialPoint(2, "t002 bilstm-48 mse 10ms", "run2", 80, 81, 10, 1e7, True),
    TrialPoint(3, "t003 transformer-1x32 T=1 20ms", "run3", 70, 71, 20, 2e7, False),
]
STATES = {"complete": 3, "infeasible": 1, "failed": 1, "pruned": 1}


def test_finished_trials_are_listed_in_the_order_of_their_ends(
    study: optuna.Study, ready: DataAndTeacher
) -> None:
    """Hypervolume above the majority class's 60 points and below the teacher's 100 ms: nothing,
    then 20 points over a decade. Times outside measuring and training are 2, 1 and 16 seconds; the
    copied trial counts neither there nor in the states."""
    results = search_results(study, ready, TEACHER_SPEED, SETTING)
    assert results.points == POINTS
    assert results.states == STATES
    assert results.hypervolume == pytest.approx([0, 0, 20, 20])
    assert results.reference == Reference(60, 100)
    assert results.other_seconds == pytest.approx((2 + 1 + 16) / 3)
    assert results.teacher == (100, 90)


def test_the_slowest_trial_is_the_reference_without_a_teacher(
    study: optuna.Study, ready: DataAndTeacher
) -> None:
    results = search_results(study, ready, {}, SETTING)
    assert (results.reference, results.teacher) == (Reference(60, 20), None)
    assert results.hypervolume == pytest.approx([0, 0, *[20 * math.log10(2)] * 2])
    assert search_results(study, ready._replace(teacher=None), {}, SETTING) == results


def test_timings_of_a_busy_machine_give_a_warning(study: optuna.Study) -> None:
    assert busy_warnings(study, TEACHER_SPEED) == []
    result = TrialResult(
        "complete", "t008 bag 3ms", "run8", 61.0,
        {"latency": 3.0, "busy_share": 0.2, "quality": 60.0}, {}, {}, "",
    )  # fmt: skip
    trial = create_trial(
        state=TrialState.COMPLETE, values=[60, 3], user_attrs={RESULT: result._asdict()}
    )
    study.add_trial(trial)
    expected = ["1 trial was timed on a busy machine: the times are too long"]
    assert busy_warnings(study, TEACHER_SPEED) == expected
    assert "the teacher was timed" in busy_warnings(study, {"teacher/speed/busy_share": 0.3})[0]


def test_the_table_lists_the_front_by_latency_and_then_the_teacher() -> None:
    results = SearchResults(POINTS, STATES, [20.0, 40.04], Reference(50, 100), 3.0, (100.0, 90.0))
    rows = [
        ["on the front", "selection", "dev", "ms", "times faster", "MB"],
        ["t000 bag-1x16 T=2", "60.0", "61.0", "1", "100.0", "1.00"],
        ["t002 bilstm-48 mse", "80.0", "81.0", "10", "10.0", "10.00"],
        ["teacher (torch)", "", "90.0", "100", "1.0", ""],
    ]
    message = (
        "trials: 3 complete, 1 failed, 1 infeasible, 1 pruned; hypervolume 40.0 points x decades, "
        "above 50.0 points (always the most frequent class) and below 100 ms"
    )
    assert lines(results) == [*markdown(rows), "", UNITS_NOTE, message]
    assert lines(results, busy=True)[2].split("|")[5].strip() == "about 100", "it is not precise"
    without = [row[:4] + ["", row[5]] for row in rows[1:3]]
    assert lines(results._replace(teacher=None))[:-3] == markdown([rows[0], *without])


def test_the_conclusion_does_not_repeat_the_only_student_of_the_front() -> None:
    def sentence(points: list[TrialPoint]) -> str:
        return conclusion(SearchResults(points, STATES, [], Reference(0, 9.0), 3.0, None))

    front = [point for point in POINTS if point.on_front]
    assert len(front) > 1 and ", and the fastest " in sentence(POINTS)
    assert sentence(front[:1]).startswith("1 of 1 trained student is on the front; ")
    assert "fastest" not in sentence(front[:1])


def test_the_chart_info_has_each_trial_by_kind_and_the_front() -> None:
    results = SearchResults(
        POINTS[::-1], STATES, [120.0, 140.0], Reference(0, 100), 3.0, (100.0, 90.0)
    )
    plot = picture_data(results, "onnx, b1-text-t1")
    assert [(p.label, p.kind, p.cost, p.quality, p.front, p.named) for p in plot.points] == [
        ("t000 bag-1x16", "bag", 1, 60, True, True),
        ("t002 bilstm-48", "bilstm", 10, 80, True, True),
        ("t005 bag-1x32", "bag", 2, 50, False, True),
        ("t003 transformer-1x32", "transformer", 20, 70, False, True),
    ]
    assert plot.line == [(1, 60), (10, 60), (10, 80)]
    assert (plot.teachers, plot.limits) == ([], (("teacher's latency", 100.0),))


def test_the_front_is_empty_without_finished_trials(ready: DataAndTeacher, tmp_path: Path) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    add(study, "failed", "t000 bag-1x16 mse", 0, 0, 0, 1)
    results = search_results(study, ready, TEACHER_SPEED, SETTING)
    assert (results.points, results.states, results.hypervolume) == ([], {"failed": 1}, [])
    assert math.isnan(results.other_seconds)
    assert lines(results)[-1].startswith(
        "trials: 1 failed; hypervolume 0 points x decades, above 60.0 points ("
    )
    assert search_results(study, ready, {}, SETTING).reference == Reference(60, 1)
    draw(picture_data(results, "torch")).savefig(tmp_path / "front.png", dpi=40)
    assert (tmp_path / "front.png").stat().st_size > 0


def test_the_chart_has_a_dot_per_trial_and_a_legend_entry_per_kind() -> None:
    results = SearchResults(POINTS, STATES, [120.0, 140.0], Reference(0, 100), 3.0, (100.0, 90.0))
    figure = draw(picture_data(results, "onnx, b1-text-t1"))
    (axes,) = figure.axes
    dots = [
        tuple(dot)
        for collection in axes.collections
        if isinstance(collection, PathCollection)
        for dot in np.asarray(collection.get_offsets()).tolist()
    ]
    assert sorted(dots) == [(1, 60), (2, 50), (10, 80), (20, 70)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "transformer",
        "bilstm",
        "bag",
        "front (chosen on selection)",
        "teacher's latency",
    ]
    assert {text.get_text() for text in axes.texts} == {
        "t000 bag-1x16", "t002 bilstm-48", "t003 transformer-1x32", "t005 bag-1x32",
    }  # fmt: skip
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "latency, ms (onnx, b1-text-t1; log scale)"


@pytest.mark.parametrize("number", [3, 30, 300])
def test_no_text_of_the_chart_is_covered_or_cut_and_labels_are_counted(number: int) -> None:
    random = np.random.default_rng(number)
    kinds = ("bilstm-64", "transformer-2x32", "bag-1x64")
    points = []
    for place, latency in enumerate(sorted(np.exp(random.normal(0, 1.5, number)).tolist())):
        name, quality = f"t{place:03d} {kinds[place % 3]} kl", 70 + latency**0.5
        points.append(TrialPoint(place, name, "", quality, 0, latency, 1e5, place % 3 != 1))
    results = SearchResults(points, {}, [], Reference(0, 9.0), math.nan, (9.0, 90.0))
    figure = draw(picture_data(results, "onnx/b1-text-t1"))
    assert faults(figure) == []
    (legend,) = figure.legends
    written = len(figure.axes[0].texts)
    assert legend.get_title().get_text() == count_note(written, number) and written >= 3
    assert legend.get_texts()[-1].get_text() == "teacher's latency"


@pytest.mark.parametrize(
    ("states", "commands"),
    [
        ({"complete": 1, "failed": 4}, ["mkd promote --promote.study 'a b' ", "mkd report --st"]),
        ({"failed": 5}, ["the same command again, with --search.trials 14"]),
        ({"pruned": 7}, ["the same command again, with --search.trials 14"]),
        ({"infeasible": 7}, ["the same command again, with --search.trials 14",
                             "the same command with another --search.study and a larger budget"]),
    ],
)  # fmt: skip
def test_the_suggested_next_commands_depend_on_the_trial_states(
    states: dict[str, int], commands: list[str]
) -> None:
    points = POINTS[:1] if "complete" in states else []
    results = SearchResults(points, states, [], Reference(60, 100), math.nan, None)
    suggested = next_commands(results, SearchConfig(study="a b", trials=7))
    assert [line[: len(wanted)] for (line, _), wanted in zip(suggested, commands, strict=True)] == (
        commands
    )
