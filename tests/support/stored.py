"""Made-up runs as the entry points log them in MLflow; their scores follow from made-up answers to
made-up dev rows."""

import math
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Metric, Param, Run, RunTag

from analysis.statistics.resampled_metrics import FAST_METRICS
from experiments.cli import flat
from experiments.settings import DistillSettings
from mkd.config import StudentConfig
from mkd.evaluation.timing import SPEED_PROTOCOL
from mkd.tasks.demo import DEMO_TASKS
from tests.support.database import put_database

ROWS = 400
"""Dev rows of each task."""
SKILL = {
    "sentiment": 0.95,
    "acceptability": 0.8,
    "paraphrase": 0.87,
    "entailment": 0.85,
    "similarity": 0.85,
}
"""Share of the rows that the best possible model answers correctly."""
HARDWARE = {
    "cpu": "Imagined CPU @ 2.00GHz", "cores": "2", "memory_gib": "24", "gpu": "none",
    "torch": "2.13.0", "system": "Linux",
}  # fmt: skip
BACKENDS = {"torch": 2.0, "onnx": 1.0, "int8": 0.6}
"""Latency relative to onnx."""
MEASURED = {"busy_share": 0.0, "protocol": float(SPEED_PROTOCOL)}
"""How the speed was measured."""


class Made(NamedTuple):
    """The content of a made-up run."""

    name: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    predictions: pd.DataFrame | None
    curve: list[float]
    status: str = "FINISHED"


class Wish(NamedTuple):
    """The properties of a student to make up. gain: points added by its settings."""

    student: StudentConfig = StudentConfig()
    seed: int = 0
    gain: float = 0.0
    tasks: tuple[str, ...] = tuple(DEMO_TASKS)
    kind: str = "distill"
    settings: dict[str, Any] = {}
    tags: dict[str, str] = {}


def size_of(student: StudentConfig) -> tuple[float, float, float]:
    """Milliseconds in onnx, parameters, and skill as a share of the best model's (0 to 1)."""
    layers = {"transformer": student.layers, "bilstm": 2, "bag": 0.02}[student.kind]
    work = layers * (student.hidden / 48) ** 1.6
    milliseconds = 0.08 + 0.55 * work
    parameters = 1000 * student.embedding_width + 12 * student.layers * student.hidden**2
    ceiling = {"transformer": 0.93, "bilstm": 0.92, "bag": 0.9}[student.kind]
    return milliseconds, parameters, ceiling - 0.2 * math.exp(-1.3 * (work + 0.4))


def synthetic_run(wish: Wish) -> Made:
    """The run of a wish; deterministic."""
    config = DistillSettings(seed=wish.seed, student=wish.student)
    params = {name: str(value) for name, value in (flat(config) | wish.settings).items()}
    milliseconds, parameters, share = size_of(wish.student)
    rng = np.random.default_rng(
        [wish.seed, *wish.student.name.encode(), int(1000 * abs(wish.gain))]
    )
    share = min(share + wish.gain / 100 + rng.normal(0, 0.005), 1.0)
    answers = {task: _answers(rng, task, share) for task in wish.tasks}
    teacher = {task: truth(task)[1] for task in wish.tasks}
    twin = {task: _answers(rng, task, share - 0.03) for task in wish.tasks}
    metrics = _quality("", answers) | _quality("teacher/", teacher) | _quality("baseline/", twin)
    metrics |= _beside(metrics, answers, teacher) | _speed(milliseconds, parameters, rng)
    metrics |= {
        "size/parameters": parameters,
        "size/bytes": 4 * parameters,
        "size/flops": 2e8 * milliseconds,
    }
    metrics |= {
        "search/quality": metrics["quality/mean"] - 0.4,
        "selected/mean": metrics["quality/mean"] - 0.4,
    } | {
        f"{kind}/{t}": metrics[f"quality/{t}/score"]
        for t in answers
        for kind in ("selection", "selected")
    }
    tags = {
        "mkd.kind": wish.kind,
        "mkd.student": wish.student.name,
        "mkd.teacher": "4x160 from scratch",
        "mkd.teacher_key": "k",
    }
    tags |= (
        {"mkd.tasks": ",".join(wish.tasks)}
        | {f"mkd.hardware.{name}": value for name, value in HARDWARE.items()}
        | wish.tags
    )
    curve = [metrics["quality/mean"] * (1 - 0.5 * math.exp(-step / 2)) for step in range(1, 9)]
    name = f"{wish.student.name} kl T={params['loss.temperature']} all demo tasks"
    return Made(name, params, metrics, tags, _predictions(answers, teacher), curve)


@lru_cache
def truth(task: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of the dev rows, the teacher's answers, and each row's difficulty from 0 to 1."""
    rng = np.random.default_rng([*task.encode()])
    hard = rng.random(ROWS)
    labels = (
        rng.integers(0, len(DEMO_TASKS[task].labels), ROWS).astype(float)
        if DEMO_TASKS[task].labels
        else (5 * rng.random(ROWS)).round(1)
    )
    return labels, _answer(rng, task, labels, hard < SKILL[task], 0.5), hard


def _answers(rng: np.random.Generator, task: str, share: float) -> np.ndarray:
    labels, _, hard = truth(task)
    known = hard + rng.normal(0, 0.08, ROWS) < SKILL[task] * share
    return _answer(rng, task, labels, known, 0.5 + 2.5 * (1 - share))


def _answer(
    rng: np.random.Generator, task: str, labels: np.ndarray, known: np.ndarray, noise: float
) -> np.ndarray:
    if not DEMO_TASKS[task].labels:
        return labels + rng.normal(0, 0.6 + noise, ROWS) * np.where(known, 0.5, 1.5)
    classes = len(DEMO_TASKS[task].labels)
    return np.where(known, labels, (labels + rng.integers(1, classes, ROWS)) % classes)


def _quality(prefix: str, answers: dict[str, np.ndarray]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    scores = []
    for task, answer in answers.items():
        labels, one = truth(task)[0], np.ones((ROWS, 1))
        values = {
            name: float(FAST_METRICS[name](one, labels, answer)[0])
            for name in DEMO_TASKS[task].metrics
        }
        scores.append(sum(values.values()) / len(values))
        values |= {"score": scores[-1]} | ({"ece": 0.05} if DEMO_TASKS[task].labels else {})
        metrics |= {f"{prefix}quality/{task}/{name}": value for name, value in values.items()}
    return metrics | {f"{prefix}quality/mean": sum(scores) / len(scores)}


def _beside(
    metrics: dict[str, float], answers: dict[str, np.ndarray], teacher: dict[str, np.ndarray]
) -> dict[str, float]:
    names = {task: f"quality/{task}/score" for task in answers} | {"mean": "quality/mean"}
    ratios = {
        f"retention/{name}": 100 * metrics[key] / metrics[f"teacher/{key}"]
        for name, key in names.items()
    }
    return ratios | {
        f"agreement/{task}": 100 * float((answers[task] == teacher[task]).mean())
        for task in answers
    }


def _speed(milliseconds: float, parameters: float, rng: np.random.Generator) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for rows, work in ((1, 1.0), (32, 18.0)):
        for text in ("l128", "text"):
            setting, teacher = f"b{rows}-{text}-t1", 7.5 * work * float(rng.normal(1, 0.02))
            for name, times in {
                f"speed/{b}": milliseconds * f * work for b, f in BACKENDS.items()
            }.items():
                metrics |= _timed(f"{name}/{setting}", times * float(rng.normal(1, 0.02)), rows)
                metrics[f"{name}/{setting}/ratio"] = teacher / metrics[f"{name}/{setting}/p50_ms"]
            metrics |= _timed(f"teacher/speed/torch/{setting}", teacher, rows)
    exported = {"onnx": 4.0, "int8": 1.1}
    metrics |= {
        f"{whose}speed/{name}": value
        for whose in ("", "teacher/")
        for name, value in MEASURED.items()
    }
    return metrics | {
        f"export/{name}/{key}": value
        for name, factor in exported.items()
        for key, value in _export(factor * parameters).items()
    }


def _timed(name: str, p50: float, rows: int) -> dict[str, float]:
    return {
        f"{name}/{key}": value
        for key, value in (("p50_ms", p50), ("p95_ms", 1.1 * p50), ("p99_ms", 1.3 * p50))
    } | {f"{name}/rows_per_s": 1000 * rows / p50}


def _export(num_bytes: float) -> dict[str, float]:
    return {"bytes": num_bytes, "offered": 1.0, "loss": 0.01}


def _predictions(answers: dict[str, np.ndarray], teacher: dict[str, np.ndarray]) -> pd.DataFrame:
    frames = [
        pd.DataFrame(
            {
                "task": task, "split": "", "row": np.arange(ROWS), "label": truth(task)[0],
                "prediction": answer, "teacher": teacher[task],
            }
        )
        for task, answer in answers.items()
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def logged(client: mlflow.MlflowClient, experiment_id: str, run: Made) -> str:
    """Logs the run and returns its id."""
    created = client.create_run(experiment_id, run_name=run.name)
    run_id = str(created.info.run_id)
    params = [Param(key, value) for key, value in run.params.items()]
    for start in range(0, len(params), 100):
        client.log_batch(run_id, params=params[start : start + 100])
    metrics = [Metric(key, value, 0, 0) for key, value in run.metrics.items()]
    metrics += [
        Metric("selection/mean", value, 0, 250 * (index + 1))
        for index, value in enumerate(run.curve)
    ]
    client.log_batch(
        run_id, metrics=metrics, tags=[RunTag(key, value) for key, value in run.tags.items()]
    )
    if run.predictions is not None:
        write_predictions(created, run.predictions)
    if run.status != "RUNNING":
        client.set_terminated(run_id, run.status)
    return run_id


def write_predictions(run: Run, predictions: pd.DataFrame) -> None:
    """Writes predictions.parquet of a run whose artifacts lie in a local folder."""
    folder = Path(str(run.info.artifact_uri).removeprefix("file://"))
    folder.mkdir(parents=True, exist_ok=True)
    predictions.to_parquet(folder / "predictions.parquet")


def opened(folder: Path) -> mlflow.MlflowClient:
    """A new store in the folder."""
    put_database(folder)
    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def experiment(client: mlflow.MlflowClient, folder: Path, name: str) -> str:
    """Creates an experiment whose artifacts lie in the folder, and returns its id."""
    return str(
        client.create_experiment(name, artifact_location=(folder / "artifacts" / name).as_uri())
    )


def with_two_students(folder: Path) -> mlflow.MlflowClient:
    """Creates the folder and a store whose experiment `mkd` has runs of two students."""
    folder.mkdir()
    client = opened(folder)
    place = experiment(client, folder, "mkd")
    for hidden in (16, 96):
        logged(client, place, synthetic_run(Wish(StudentConfig(hidden=hidden))))
    return client


def log_json(client: mlflow.MlflowClient, run_id: str, name: str, text: str) -> None:
    """Logs a text artifact of a run."""
    with tempfile.TemporaryDirectory() as aside:
        (Path(aside) / name).write_text(text)
        client.log_artifact(run_id, str(Path(aside) / name))


def students(number: int) -> Iterator[tuple[StudentConfig, float, float]]:
    """Students of all kinds and sizes, each with a temperature and the points that it gains."""
    rng = np.random.default_rng(0)
    for _ in range(number):
        kind = rng.choice(["transformer", "transformer", "bilstm", "bag"])
        hidden = int(rng.choice([16, 24, 32, 48, 64, 96, 128]))
        layers = int(rng.integers(1, 5)) if kind == "transformer" else 1
        temperature = round(float(np.exp(rng.uniform(0, np.log(8)))), 2)
        gain = -1.2 * (math.log(temperature) - math.log(2.5)) ** 2 + float(rng.normal(0, 0.8)) - 1
        yield StudentConfig(kind=str(kind), hidden=hidden, layers=layers), temperature, gain  # type: ignore[arg-type]
