"""A candidate of a search: its cost is measured once per machine, and its scores equal those of a
run with the same settings."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mkd.config import Config, ExportConfig, LossConfig, MatchConfig, StudentConfig
from mkd.evaluation.speed import SpeedSetting, TimedModel, time_models
from mkd.pipeline import DataAndTeacher, load_data_and_teacher, run
from mkd.result import Result
from mkd.runs.candidate import StudentCost, measure_cost, run_candidate, teacher_speed
from tests.support.runs import HARD, QUALITY, TASKS, changed, demo_config, some, starting

pytestmark = pytest.mark.usefixtures("quiet")
BAG = StudentConfig(kind="bag", hidden=8, ngrams=1)
"""The kind with the fastest export."""
SETTINGS = ("b1-text-t1", "b1-l16-t1", "b2-text-t1")
TOLD = {f"{setting}/{name}" for setting in SETTINGS for name in ("calls", "rows_per_s")} | {
    f"{s}/p50_ms" for s in SETTINGS[:2]
}
SIZES = {
    f"size/{name}" for name in ("parameters", "parameters_without_embeddings", "bytes", "flops")
}


def steady(names: Iterable[str]) -> set[str]:
    """The names without percentiles, which are reported only after enough timed calls."""
    vary = ("p95_ms", "p99_ms", "b2-text-t1/p50_ms", "b3-text-t1/p50_ms")
    return {name for name in names if not name.endswith(vary)}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return demo_config(tmp_path_factory.mktemp("candidate") / "cache", baseline=False)


@pytest.fixture(scope="module")
def ready(config: Config) -> DataAndTeacher:
    return load_data_and_teacher(config)


@pytest.fixture(scope="module")
def known(config: Config, ready: DataAndTeacher) -> StudentCost:
    return measure_cost(ready.data, config, "torch")


@pytest.fixture(scope="module")
def candidate(
    config: Config,
    ready: DataAndTeacher,
    known: StudentCost,
    tmp_path_factory: pytest.TempPathFactory,
) -> Result:
    return run_candidate(ready, config, known, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def whole(config: Config, candidate: Result, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run with the same settings."""
    return run(config, tmp_path_factory.mktemp("whole"))


def stored_costs(config: Config) -> set[Path]:
    return set((Path(config.cache) / "costs").glob("*/manifest.json"))


def test_a_cost_has_the_speed_in_one_backend_and_the_size(known: StudentCost) -> None:
    expected = {f"speed/torch/{name}" for name in TOLD} | {"speed/busy_share", "speed/protocol"}
    assert steady(known.metrics) == expected | SIZES
    assert known.backend == "torch"
    assert known.latency_ms == known.metrics["speed/torch/b1-text-t1/p50_ms"] > 0


def test_a_cost_is_measured_once(config: Config, ready: DataAndTeacher, known: StudentCost) -> None:
    before = stored_costs(config)
    settings = {"seed": 3, "train.learning_rate": 0.01, "train.steps": 9, "loss.kind": "mse"}
    learnt = changed(config, settings)
    assert (
        measure_cost(ready.data, config, "torch")
        == measure_cost(ready.data, learnt, "torch")
        == known
    )
    assert stored_costs(config) == before

    others = {"student.hidden": 16, "student.min_count": 3, "speed.length": 8, "speed.seconds": 0.2}
    for number, (name, value) in enumerate(others.items(), 1):
        other = changed(config, {name: value})
        cost = measure_cost(ready.data, other, "torch")
        assert len(stored_costs(config) - before) == number
        assert measure_cost(ready.data, other, "torch") == cost and cost.metrics != known.metrics
        assert len(stored_costs(config) - before) == number


def test_a_cost_in_onnx_is_that_of_the_exported_student(
    config: Config, ready: DataAndTeacher
) -> None:
    config = replace(config, student=BAG)
    known = measure_cost(ready.data, config, "torch")
    before = stored_costs(config)
    cost = measure_cost(ready.data, config, "onnx")
    expected = {name.replace("/torch/", "/onnx/") for name in steady(known.metrics)}
    assert steady(cost.metrics) == expected | {"export/onnx/bytes"}
    assert some(cost.metrics, SIZES) == some(known.metrics, SIZES)
    assert cost.latency_ms == cost.metrics["speed/onnx/b1-text-t1/p50_ms"] > 0
    assert measure_cost(ready.data, config, "onnx") == cost
    assert len(stored_costs(config) - before) == 1


def test_the_speed_of_a_teacher_is_measured_once(
    config: Config, ready: DataAndTeacher, candidate: Result
) -> None:
    before = stored_costs(config)
    speed = teacher_speed(ready, config.stores.root, config.speed)
    ways = {f"teacher/speed/{name}" for name in ("busy_share", "protocol")}
    assert steady(speed) == {f"teacher/speed/torch/{name}" for name in TOLD} | ways
    assert teacher_speed(ready, config.stores.root, config.speed) == speed
    assert speed == some(candidate.metrics, speed)
    assert stored_costs(config) == before


def test_measurements_on_a_busy_machine_are_reported_and_not_stored(
    config: Config, ready: DataAndTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored_costs(config)
    other = changed(config, {"student.hidden": 24, "speed.batch_size": 3})
    with monkeypatch.context() as patch:
        patch.setattr("mkd.evaluation.speed.MOST_BUSY", -1.0)
        first, again = (
            measure_cost(ready.data, other, "torch"),
            measure_cost(ready.data, other, "torch"),
        )
        teachers = teacher_speed(ready, other.stores.root, other.speed)
        notes = run_candidate(ready, other, first, tmp_path).notes
    assert stored_costs(config) == before, "each was measured anew"
    assert steady(first.metrics) == steady(again.metrics) and first != again
    assert teachers["teacher/speed/torch/b1-text-t1/p50_ms"] > 0
    assert [note.split(":")[0] for note in notes if note.startswith("the machine")] == [
        "the machine was busy when the speed was timed",
        "the machine was busy when the teacher was timed",
    ]
    kept = measure_cost(ready.data, other, "torch")
    assert (
        len(stored_costs(config) - before) == 1 and measure_cost(ready.data, other, "torch") == kept
    )


def test_a_measurement_is_made_alone_and_a_stored_cost_needs_none(
    config: Config, ready: DataAndTeacher
) -> None:
    entered: list[float] = []

    @contextmanager
    def alone() -> Iterator[None]:
        entered.append(0.0)
        begin = time.perf_counter()
        yield
        entered[-1] = time.perf_counter() - begin

    other = changed(config, {"student.hidden": 40})
    cost = measure_cost(ready.data, other, "torch", alone)
    assert measure_cost(ready.data, other, "torch", alone) == cost
    calls = cost.metrics["speed/torch/b1-text-t1/calls"]
    (seconds,) = entered
    assert seconds > 0.8 * calls * cost.latency_ms / 1000


def folder_of(model: TimedModel) -> Path | None:
    """The folder of an exported model; None for others."""
    assert isinstance(model.load, partial)
    first = model.load.args[0]
    return first if isinstance(first, Path) else None


@pytest.mark.slow
def test_a_trial_and_a_run_time_a_student_alike(
    config: Config, ready: DataAndTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts, settings with one thread, and kind of graph are the same, so that a promoted student
    meets the budget of its search."""
    seen: list[tuple[set[str], Mapping[str, Any], list[SpeedSetting], list[str]]] = []

    def watched(
        models: Mapping[str, TimedModel],
        work: Mapping[str, Any],
        asked: list[SpeedSetting],
        *other: Any,
    ) -> Any:
        folders = [folder for model in models.values() if (folder := folder_of(model)) is not None]
        files = sorted(file.name for folder in folders for file in folder.iterdir())
        seen.append((set(models), work, asked, files))
        return time_models(models, work, asked, *other)

    monkeypatch.setattr("mkd.evaluation.speed.time_models", watched)
    trial_config = changed(config, {"student": replace(BAG, layers=2), "speed.threads": [1, 2]})
    cost = measure_cost(ready.data, trial_config, "onnx")
    whole_run = run(replace(trial_config, export=ExportConfig(backends=["onnx"])), tmp_path)
    num_bytes = whole_run.metrics["export/onnx/bytes"]
    assert cost.metrics["export/onnx/bytes"] == pytest.approx(num_bytes, rel=0.01)
    (trial, trials_work, trials_asked, trials_files), (whole, work, asked, files), teacher = seen
    assert (trial, whole) == ({"onnx"}, {"torch", "onnx"})
    assert trials_work == work == teacher[1] and list(work) == TASKS
    assert trials_asked == [setting for setting in asked if setting.threads == 1]
    assert teacher[2] == asked
    assert len(asked) == len(trials_asked) + 1
    assert trials_files == files == ["model.onnx", "student.json", "tokenizer.json"]


def test_a_candidate_has_the_scores_of_its_run(candidate: Result, whole: Result) -> None:
    """They are bit-identical, although the cost was measured before on random weights."""

    def measured(result: Result) -> dict[str, float]:
        return {name: value for name, value in result.metrics.items() if "speed/" not in name}

    assert measured(candidate) == measured(whole)
    assert starting(candidate.metrics, "quality/").keys() == set(QUALITY)
    assert steady(candidate.metrics) == steady(whole.metrics)
    assert not starting(candidate.metrics, "baseline/")
    assert candidate.datasets == whole.datasets
    assert (candidate.student, candidate.teacher_key) == (whole.student, whole.teacher_key)
    assert candidate.predictions.keys() == whole.predictions.keys()
    for name, column in candidate.predictions.items():
        assert np.array_equal(column, whole.predictions[name])


def test_a_candidate_has_no_baseline_and_the_measured_speed(
    config: Config, ready: DataAndTeacher, known: StudentCost, tmp_path: Path
) -> None:
    result = run_candidate(ready, replace(config, baseline=True), known, tmp_path)
    assert not starting(result.metrics, "baseline/", "export/")
    assert some(result.metrics, known.metrics) == known.metrics
    at = "speed/torch/b1-text-t1"
    assert (
        result.metrics[f"{at}/ratio"] == result.metrics[f"teacher/{at}/p50_ms"] / known.latency_ms
    )
    assert not (tmp_path / "model").exists(), "its weights are not kept"


def test_labels_alone_need_no_teacher(config: Config, known: StudentCost, tmp_path: Path) -> None:
    alone = replace(config, loss=HARD, cache=str(tmp_path / "cache"))
    ready = load_data_and_teacher(alone)
    assert ready.teacher is None and not ready.data.teacher_data.datas
    assert teacher_speed(ready, alone.stores.root, alone.speed) == {}
    result = run_candidate(ready, alone, known, tmp_path / "run")
    assert (result.teacher, result.teacher_key) == ("", "")
    assert np.isnan(result.predictions["teacher"]).all()
    assert set(QUALITY) <= set(result.metrics)
    assert not starting(result.metrics, "teacher/", "agreement/", "retention/")
    assert not [name for name in result.metrics if name.endswith("/ratio")]
    assert not (tmp_path / "cache" / "teachers").exists()


def test_scores_follow_from_the_predictions(candidate: Result) -> None:
    column = {name: np.asarray(values) for name, values in candidate.predictions.items()}
    assert list(dict.fromkeys(column["task"])) == TASKS and len(column["task"]) == 3 * 30
    for task in ("sentiment", "paraphrase"):
        rows = column["task"] == task
        right = (column["prediction"][rows] == column["label"][rows]).mean()
        assert candidate.metrics[f"quality/{task}/accuracy"] == pytest.approx(100 * right)
        teacher_right = (column["teacher"][rows] == column["label"][rows]).mean()
        assert candidate.metrics[f"teacher/quality/{task}/accuracy"] == pytest.approx(
            100 * teacher_right
        )
        agreed = (column["teacher"][rows] == column["prediction"][rows]).mean()
        assert candidate.metrics[f"agreement/{task}"] == pytest.approx(100 * agreed)
    rows = column["task"] == "similarity"
    scores = [column[name][rows].astype(float) for name in ("prediction", "label")]
    pearson = np.corrcoef(*scores)[0, 1]
    assert candidate.metrics["quality/similarity/pearson"] == pytest.approx(100 * pearson, abs=1e-3)


def test_a_student_that_does_not_fit_is_refused(config: Config, ready: DataAndTeacher) -> None:
    before = stored_costs(config)
    deep = StudentConfig(kind="transformer", init="teacher", hidden=16, heads=2, layers=3)
    with pytest.raises(ValueError, match="layers 0 to 1"):
        measure_cost(ready.data, replace(config, student=deep), "torch")
    matched = LossConfig(match=MatchConfig(weight=1.0, teacher_layers=[-1], student_layers=[9]))
    with pytest.raises(ValueError, match=r"loss.match.student_layers"):
        measure_cost(ready.data, replace(config, loss=matched), "torch")
    assert stored_costs(config) == before
