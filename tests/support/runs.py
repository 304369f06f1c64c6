"""Tiny runs of the demo suite: their settings, reports and metrics."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from experiments.settings import FinetuneSettings
from mkd.config import (
    Config,
    DataConfig,
    DemoConfig,
    ExportConfig,
    FinetuneConfig,
    LossConfig,
    SpeedConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
)
from mkd.evaluation.answers import answers_of
from mkd.evaluation.scoring import dev_logits, quality_metrics, torch_infer
from mkd.result import Report, Result, no_report
from mkd.runs.finetune import run_finetune
from mkd.storage.pretrained import load_tokenizer
from mkd.students import load_model
from mkd.tasks.sources import load_tasks
from mkd.tokenization.tokenise import tokenise_task
from mkd.tokenization.tokens import layout_of

T = TypeVar("T")
TASKS = ["sentiment", "paraphrase", "similarity"]
DEMO = DemoConfig(train_rows=60, unlabelled_rows=20, dev_rows=30)
BILSTM = StudentConfig(kind="bilstm", hidden=8, embedding=8)
SPEED = SpeedConfig(length=16, batch_size=2, threads=[1], seconds=0.1)
QUALITY = [
    *(f"quality/sentiment/{name}" for name in ("accuracy", "score", "ece")),
    *(f"quality/paraphrase/{name}" for name in ("accuracy", "f1", "score", "ece")),
    *(f"quality/similarity/{name}" for name in ("pearson", "spearman", "score")),
    "quality/mean",
]
HARD = LossConfig(hard_weight=1.0)
"""The loss of the labels alone."""


def changed(config: T, settings: Mapping[str, Any]) -> T:
    """The config with some settings changed, by their dotted names."""
    for name, value in settings.items():
        head, _, rest = name.partition(".")
        inner = changed(getattr(config, head), {rest: value}) if rest else value
        config = replace(config, **{head: inner})  # type: ignore[type-var]
    return config


def demo_config(cache: Path, settings: Mapping[str, Any] | None = None, **sections: Any) -> Config:
    """Three demo tasks, a teacher and a student trained for eight steps each, in torch alone.

    settings: changes, by their dotted names. sections: replaced as a whole.
    """
    train = TrainConfig(steps=8, batch_size=8, eval_every=4)
    config = Config(
        device="cpu",
        cache=str(cache),
        data=DataConfig(tasks=TASKS, max_length=64, demo=DEMO),
        teacher=TeacherConfig(layers=2, hidden=16, heads=2, vocabulary=400, train=train),
        student=BILSTM,
        train=train,
        speed=SPEED,
        export=ExportConfig(backends=[]),
    )
    return changed(replace(config, **sections), settings or {})


def teacher_config(cache: Path, train: Mapping[str, Any] | None = None, **sections: Any) -> Config:
    """A one-layer teacher that is trained for four steps on the tasks of tiny.py."""
    steps = TrainConfig(**({"steps": 4, "batch_size": 8, "eval_every": 2} | dict(train or {})))
    teacher = TeacherConfig(layers=1, hidden=16, heads=2, vocabulary=120, train=steps)
    data, speed = DataConfig(max_length=32), SpeedConfig(length=32)
    return Config(cache=str(cache), data=data, speed=speed, teacher=teacher, **sections)


def finetuning(
    cache: Path, student: str, tasks: list[str], loss: LossConfig, **data: Any
) -> FinetuneSettings:
    """Settings that fine-tune the student in a folder for eight steps."""
    config = demo_config(cache)
    names = [name for name in FinetuneSettings.__dataclass_fields__ if hasattr(config, name)]
    shared = {name: getattr(config, name) for name in names}
    how = FinetuneConfig(student, loss, config.train)
    return FinetuneSettings(
        **shared | {"data": replace(config.data, tasks=tasks, **data), "finetune": how}
    )


def tuned(config: FinetuneSettings, folder: Path, report: Report = no_report) -> Result:
    return run_finetune(config.core(), config.finetune, folder, report)


class RecordedReports(list[dict[str, float]]):
    """A Report that records all metrics."""

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        self.append(metrics)

    @property
    def names(self) -> list[str]:
        """All reported names, with repetitions."""
        return [name for metrics in self for name in metrics]

    def of(self, name: str) -> list[float]:
        return [metrics[name] for metrics in self if name in metrics]


def starting(metrics: Mapping[str, float], *prefixes: str) -> dict[str, float]:
    """The metrics whose names start with one of the prefixes."""
    return {name: value for name, value in metrics.items() if name.startswith(prefixes)}


def without(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics whose names start with a prefix, which is removed."""
    return {name.removeprefix(prefix): v for name, v in starting(metrics, prefix).items()}


def some(metrics: Mapping[str, float], names: Iterable[str], prefix: str = "") -> dict[str, float]:
    return {name: metrics[prefix + name] for name in names}


def reproducible(result: Result) -> dict[str, float]:
    """The metrics that do not depend on timing; those of exports are left out."""
    timed = {name for name in result.metrics if "speed/" in name or name.startswith("export/")}
    return some(result.metrics, result.metrics.keys() - timed)


def scored(config: Config, folder: Path) -> dict[str, float]:
    """The scores of a saved student on the dev rows of a run's tasks."""
    student, tokenizer = load_model(folder), load_tokenizer(folder, "")
    tasks, cache = load_tasks(config.data), Path(config.cache)
    datas = [tokenise_task(cache, task, tokenizer, config.data, config.seed) for task in tasks]
    layout = layout_of(tokenizer, student.joined, config.data.max_length)
    answers = answers_of(student, dev_logits(torch_infer(student), datas, layout))
    return quality_metrics(datas, *answers)


def same_weights(one: Path, other: Path) -> bool:
    """Whether two saved students have bit-identical weights."""
    first, second = (load_model(folder).state_dict() for folder in (one, other))
    return first.keys() == second.keys() and all(
        np.array_equal(value.numpy(), second[name].numpy()) for name, value in first.items()
    )
