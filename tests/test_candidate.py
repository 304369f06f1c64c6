"""One candidate of a search: what it costs, once on each machine, and what it scores, as a run of the same settings does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_pipeline import BILSTM, QUALITY, TASKS, config_of

from mkd.candidate import Cost, cost, run_candidate, teacher_speed
from mkd.config import Config, ExportConfig, LossConfig, MatchConfig, SpeedConfig, StudentConfig
from mkd.pipeline import Ready, prepared, run
from mkd.record import Result

STATISTICS = ("p50_ms", "p95_ms", "p99_ms", "rows_per_s")
SETTINGS = [f"b{rows}-{length}-t1" for rows in (1, 2) for length in ("l16", "text")]
SIZES = {f"size/{name}" for name in ("parameters", "parameters_without_embeddings", "bytes", "flops")}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return config_of(tmp_path_factory.mktemp("candidate") / "cache", baseline=False)


@pytest.fixture(scope="module")
def ready(config: Config) -> Ready:
    return prepared(config)


@pytest.fixture(scope="module")
def known(config: Config, ready: Ready) -> Cost:
    return cost(ready.rows, config, "torch")


@pytest.fixture(scope="module")
def made(config: Config, ready: Ready, known: Cost, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run_candidate(ready, config, known, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def whole(config: Config, made: Result, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run of the same settings."""
    return run(config, tmp_path_factory.mktemp("whole"))


def stored_costs(config: Config) -> set[Path]:
    return set((Path(config.cache) / "costs").glob("*/manifest.json"))


def test_a_cost_is_speed_in_one_backend_and_size(known: Cost) -> None:
    expected = {f"speed/torch/{setting}/{name}" for setting in SETTINGS for name in STATISTICS} | SIZES
    assert known.metrics.keys() == expected
    assert (known.backend, known.setting) == ("torch", "b1-l16-t1")
    assert known.latency_ms == known.metrics["speed/torch/b1-l16-t1/p50_ms"] > 0


def test_a_cost_is_measured_once_for_each_architecture_backend_and_way_of_measuring(
    config: Config, ready: Ready, known: Cost
) -> None:
    before = stored_costs(config)
    learnt = replace(config, seed=3, train=replace(config.train, learning_rate=0.01, steps=9), loss=LossConfig(kind="mse"))
    assert cost(ready.rows, config, "torch") == cost(ready.rows, learnt, "torch") == known
    assert stored_costs(config) == before

    others = [
        replace(config, student=replace(BILSTM, hidden=16)),
        replace(config, student=replace(BILSTM, min_count=3)),
        replace(config, speed=replace(config.speed, length=8)),
        replace(config, speed=SpeedConfig(length=16, batch_size=2, threads=[1], repeats=3, warmup=1)),
    ]
    for number, other in enumerate(others, 1):
        found = cost(ready.rows, other, "torch")
        assert len(stored_costs(config) - before) == number
        assert cost(ready.rows, other, "torch") == found and found.metrics != known.metrics
        assert len(stored_costs(config) - before) == number


def test_a_cost_in_onnx_is_that_of_the_exported_student(config: Config, ready: Ready, known: Cost) -> None:
    before = stored_costs(config)
    found = cost(ready.rows, config, "onnx")
    assert found.metrics.keys() == {name.replace("/torch/", "/onnx/") for name in known.metrics}
    assert {name: found.metrics[name] for name in SIZES} == {name: known.metrics[name] for name in SIZES}
    assert found.latency_ms == found.metrics["speed/onnx/b1-l16-t1/p50_ms"] > 0
    assert cost(ready.rows, config, "onnx") == found
    cost(ready.rows, replace(config, export=ExportConfig(backends=[], per_task=True)), "onnx")
    assert len(stored_costs(config) - before) == 2, "graphs of one task each are others than one of all tasks"


def test_a_teacher_s_speed_is_measured_once(config: Config, ready: Ready, made: Result) -> None:
    before = stored_costs(config)
    found = teacher_speed(ready, config)
    assert found.keys() == {f"teacher/speed/torch/{setting}/{name}" for setting in SETTINGS for name in STATISTICS}
    assert teacher_speed(ready, replace(config, student=replace(BILSTM, hidden=16))) == found
    assert found == {name: made.metrics[name] for name in found}
    assert stored_costs(config) == before


def test_a_candidate_scores_what_a_run_of_the_same_settings_does(made: Result, whole: Result) -> None:
    """To the last bit, although its cost was measured on a student with random weights in between."""

    def measured(result: Result) -> dict[str, float]:
        return {name: value for name, value in result.metrics.items() if "speed/" not in name}

    assert measured(made) == measured(whole)
    assert {name for name in made.metrics if name.startswith("quality/")} == {f"quality/{name}" for name in QUALITY}
    assert made.metrics.keys() == whole.metrics.keys() and not any(name.startswith("baseline/") for name in made.metrics)
    assert made.datasets == whole.datasets and (made.student, made.teacher_key) == (whole.student, whole.teacher_key)
    assert made.predictions.keys() == whole.predictions.keys()
    assert all(np.array_equal(column, whole.predictions[name]) for name, column in made.predictions.items())


def test_a_candidate_has_no_twin_whatever_the_settings_say_and_is_as_fast_as_was_measured(
    config: Config, ready: Ready, known: Cost, tmp_path: Path
) -> None:
    found = run_candidate(ready, replace(config, baseline=True), known, tmp_path)
    assert not any(name.startswith(("baseline/", "export/")) for name in found.metrics)
    assert {name: found.metrics[name] for name in known.metrics} == known.metrics
    at = "speed/torch/b1-l16-t1"
    assert found.metrics[f"{at}/ratio"] == found.metrics[f"teacher/{at}/p50_ms"] / known.latency_ms
    assert not (tmp_path / "model").exists(), "its weights are not kept"


def test_a_candidate_of_labels_alone_has_no_teacher(config: Config, known: Cost, tmp_path: Path) -> None:
    alone = replace(config, loss=LossConfig(hard_weight=1.0), cache=str(tmp_path / "cache"))
    ready = prepared(alone)
    assert ready.teacher is None and not ready.rows.taught.datas and teacher_speed(ready, alone) == {}
    found = run_candidate(ready, alone, known, tmp_path / "run")
    assert (found.teacher, found.teacher_key) == ("", "") and np.isnan(found.predictions["teacher"]).all()
    scored = {name for name in found.metrics if not name.startswith(("speed/", "size/"))}
    assert scored == {f"quality/{name}" for name in QUALITY} and not (tmp_path / "cache" / "teachers").exists()


def test_its_answers_give_its_scores(made: Result) -> None:
    column = {name: np.asarray(values) for name, values in made.predictions.items()}
    assert list(dict.fromkeys(column["task"])) == TASKS and len(column["task"]) == 3 * 30
    for task in ("sentiment", "paraphrase"):
        rows = column["task"] == task
        right = (column["prediction"][rows] == column["label"][rows]).mean()
        assert made.metrics[f"quality/{task}/accuracy"] == pytest.approx(100 * right)
        taught = (column["teacher"][rows] == column["label"][rows]).mean()
        assert made.metrics[f"teacher/quality/{task}/accuracy"] == pytest.approx(100 * taught)
        agreed = (column["teacher"][rows] == column["prediction"][rows]).mean()
        assert made.metrics[f"agreement/{task}"] == pytest.approx(100 * agreed)
    rows = column["task"] == "similarity"
    pearson = np.corrcoef(column["prediction"][rows].astype(float), column["label"][rows].astype(float))[0, 1]
    assert made.metrics["quality/similarity/pearson"] == pytest.approx(100 * pearson, abs=1e-3)


def test_a_student_that_does_not_fit_is_refused_before_it_is_measured(config: Config, ready: Ready) -> None:
    before = stored_costs(config)
    deep = StudentConfig(kind="transformer", init="teacher", hidden=16, heads=2, layers=3)
    with pytest.raises(ValueError, match="layers 0 to 1"):
        cost(ready.rows, replace(config, student=deep), "torch")
    matched = LossConfig(match=MatchConfig(weight=1.0, teacher_layers=[-1], student_layers=[9]))
    with pytest.raises(ValueError, match=r"loss.match.student_layers"):
        cost(ready.rows, replace(config, loss=matched), "torch")
    assert stored_costs(config) == before
