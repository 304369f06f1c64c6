from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any

import pytest

from mkd.config import (
    Config,
    DataConfig,
    DemoConfig,
    LossConfig,
    SamplingConfig,
    SpeedConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
    TransferConfig,
)

TRANSFER: dict[str, Any] = {"file": "f.csv", "text": ["t"], "tasks": ["a"]}

REFUSED: list[tuple[type, dict[str, Any], str, str]] = [
    (DemoConfig, {"train_rows": 0}, "data.demo.train_rows is 0", "above 0"),
    (DemoConfig, {"unlabelled_rows": -1}, "data.demo.unlabelled_rows is -1", "0 or more"),
    (DemoConfig, {"dev_rows": 0}, "data.demo.dev_rows is 0", "above 0"),
    (DemoConfig, {"label_noise": 1.0}, "data.demo.label_noise is 1.0", "from 0 to below 1"),
    (DemoConfig, {"label_noise": float("nan")}, "data.demo.label_noise is nan", "from 0 to below 1"),
    (TransferConfig, TRANSFER | {"text": []}, "data.transfer.text is []", "one column, or two for pairs"),
    (TransferConfig, TRANSFER | {"text": list("abc")}, "data.transfer.text is ['a', 'b', 'c']", "one column, or two"),
    (TransferConfig, TRANSFER | {"tasks": []}, "data.transfer.tasks is []", "at least one task"),
    (DataConfig, {"source": "glue"}, "data.path is ''", "a path or name, for data.source=glue"),
    (DataConfig, {"path": "x"}, "data.path is 'x'", "empty for data.source=demo"),
    (DataConfig, {"tasks": ["a", "a"]}, "data.tasks is ['a', 'a']", "each task once"),
    (DataConfig, {"max_length": 7}, "data.max_length is 7", "8 or more"),
    (DataConfig, {"selection_fraction": 0.0}, "data.selection_fraction is 0.0", "between 0 and 1"),
    (DataConfig, {"selection_fraction": 1.0}, "data.selection_fraction is 1.0", "between 0 and 1"),
    (DataConfig, {"selection_rows": 0}, "data.selection_rows is 0", "above 0"),
    (SamplingConfig, {"weights": {"a": -1.0, "b": 2.0}}, "sampling.weights.a is -1.0", "0 or more"),
    (SamplingConfig, {"weights": {"a": float("inf")}}, "sampling.weights.a is inf", "0 or more"),
    (SamplingConfig, {"weights": {"a": float("nan")}}, "sampling.weights.a is nan", "0 or more"),
    (SamplingConfig, {"weights": {"a": 0.0, "b": 0.0}}, "sampling.weights is {'a': 0.0, 'b': 0.0}", "at least one above 0"),
    (TrainConfig, {"steps": 0}, "train.steps is 0", "above 0"),
    (TrainConfig, {"batch_size": -1}, "train.batch_size is -1", "above 0"),
    (TrainConfig, {"learning_rate": 0.0}, "train.learning_rate is 0.0", "above 0"),
    (TrainConfig, {"learning_rate": float("nan")}, "train.learning_rate is nan", "above 0"),
    (TrainConfig, {"clip": float("inf")}, "train.clip is inf", "above 0"),
    (TrainConfig, {"eval_every": 0}, "train.eval_every is 0", "above 0"),
    (TrainConfig, {"warmup": 1.1}, "train.warmup is 1.1", "from 0 to 1"),
    (TrainConfig, {"weight_decay": -0.1}, "train.weight_decay is -0.1", "0 or more"),
    (TrainConfig, {"patience": -1}, "train.patience is -1", "0 or more"),
    (TeacherConfig, {"layers": 0}, "teacher.layers is 0", "above 0"),
    (TeacherConfig, {"hidden": 0}, "teacher.hidden is 0", "above 0"),
    (TeacherConfig, {"heads": 0}, "teacher.heads is 0", "above 0"),
    (TeacherConfig, {"hidden": 10, "heads": 4}, "teacher.hidden is 10", "a multiple of teacher.heads=4"),
    (TeacherConfig, {"vocabulary": 99}, "teacher.vocabulary is 99", "100 or more"),
    (TeacherConfig, {"dropout": 1.0}, "teacher.dropout is 1.0", "from 0 to below 1"),
    (TeacherConfig, {"sources": {"a": []}}, "teacher.sources.a is []", "one source or more, each once"),
    (TeacherConfig, {"sources": {"a": ["x", "x"]}}, "teacher.sources.a is ['x', 'x']", "one source or more, each once"),
    (TeacherConfig, {"sources": {"a": [""]}}, "teacher.sources.a is ['']", "one source or more, each once"),
    (
        TeacherConfig,
        {"mean": "probabilities", "sources": {"a": ["x"]}},
        "teacher.mean is 'probabilities'",
        "logits, where no task",
    ),
    (StudentConfig, {"hidden": 0}, "student.hidden is 0", "above 0"),
    (StudentConfig, {"layers": 0}, "student.layers is 0", "above 0"),
    (StudentConfig, {"heads": -1}, "student.heads is -1", "above 0"),
    (StudentConfig, {"embedding": 0}, "student.embedding is 0", "above 0"),
    (StudentConfig, {"dropout": -0.1}, "student.dropout is -0.1", "from 0 to below 1"),
    (StudentConfig, {"kind": "bilstm", "keep": [0]}, "student.keep is [0]", "empty for student.kind=bilstm"),
    (StudentConfig, {"kind": "transformer", "hidden": 10, "heads": 4}, "student.hidden is 10", "a multiple of student.heads=4"),
    (StudentConfig, {"kind": "transformer", "keep": [0, 1]}, "student.keep is [0, 1]", "empty unless student.init names"),
    (
        StudentConfig,
        {"kind": "transformer", "init": "x", "layers": 2, "keep": [0]},
        "student.keep is [0]",
        "student.layers=2 layers",
    ),
    (
        StudentConfig,
        {"kind": "transformer", "init": "x", "layers": 2, "keep": [0, -1]},
        "student.keep is [0, -1]",
        "layer numbers from 0",
    ),
    (LossConfig, {"temperature": 0.0}, "loss.temperature is 0.0", "above 0"),
    (LossConfig, {"temperature": float("inf")}, "loss.temperature is inf", "above 0"),
    (LossConfig, {"kind": "mse", "temperature": 2.0}, "loss.temperature is 2.0", "1 unless loss.kind=kl"),
    (LossConfig, {"hard_weight": -0.1}, "loss.hard_weight is -0.1", "from 0 to 1"),
    (LossConfig, {"hard_weight": 1.1}, "loss.hard_weight is 1.1", "from 0 to 1"),
    (SpeedConfig, {"length": 0}, "speed.length is 0", "above 0"),
    (SpeedConfig, {"batch_size": 0}, "speed.batch_size is 0", "above 0"),
    (SpeedConfig, {"threads": 0}, "speed.threads is 0", "above 0"),
    (SpeedConfig, {"repeats": 0}, "speed.repeats is 0", "above 0"),
    (SpeedConfig, {"warmup": 0}, "speed.warmup is 0", "above 0"),
    (Config, {"seed": -1}, "seed is -1", "from 0 to 2**32 - 1"),
    (Config, {"seed": 2**32}, "seed is 4294967296", "from 0 to 2**32 - 1"),
    (Config, {"threads": -1}, "threads is -1", "0 or more"),
    (
        Config,
        {"data": DataConfig(tasks=["a"]), "teacher": TeacherConfig(sources={"b": ["x"]})},
        "teacher.sources is 'b'",
        "the tasks of data.tasks=['a']",
    ),
    (Config, {"data": DataConfig(max_length=64)}, "speed.length is 128", "at most data.max_length=64"),
]

ALLOWED: list[tuple[type, dict[str, Any]]] = [
    (DemoConfig, {"unlabelled_rows": 0, "label_noise": 0.0}),
    (TransferConfig, TRANSFER | {"text": ["a", "b"]}),
    (DataConfig, {"source": "files", "path": "tasks.yaml", "max_length": 8}),
    (SamplingConfig, {"weights": {"a": 0.0, "b": 0.5}}),
    (SamplingConfig, {"alpha": 0.0}),
    (TrainConfig, {"warmup": 0.0, "weight_decay": 0.0}),
    (TrainConfig, {"warmup": 1.0}),
    (TeacherConfig, {"mean": "probabilities", "sources": {"a": ["x", "refined"]}}),
    (StudentConfig, {"kind": "transformer", "init": "teacher", "layers": 2, "keep": [3, 0]}),
    (StudentConfig, {"hidden": 10}),
    (LossConfig, {"temperature": 4.0, "hard_weight": 1.0}),
    (LossConfig, {"kind": "mse"}),
    (Config, {"seed": 2**32 - 1}),
    (Config, {"data": DataConfig(max_length=64), "speed": SpeedConfig(length=64)}),
]


@pytest.mark.parametrize(("make", "settings", "named", "allowed"), REFUSED)
def test_a_refusal_names_setting_value_and_what_is_allowed(
    make: type, settings: dict[str, Any], named: str, allowed: str
) -> None:
    with pytest.raises(ValueError) as caught:
        make(**settings)
    message = str(caught.value)
    assert message.startswith(f"{named}; allowed: {allowed}")
    assert "\n" not in message


@pytest.mark.parametrize(("make", "settings"), ALLOWED)
def test_the_edges_are_allowed(make: type, settings: dict[str, Any]) -> None:
    made = make(**settings)
    assert all(getattr(made, name) == value for name, value in settings.items())


def _all_configs(config: Any) -> list[Any]:
    inner = [getattr(config, field.name) for field in fields(config)]
    return [config, *(found for value in inner if is_dataclass(value) for found in _all_configs(value))]


def test_no_setting_can_be_changed_after_the_check() -> None:
    configs = _all_configs(Config())
    assert len(configs) == 11, "the classes above but TransferConfig, TrainConfig twice and SamplingConfig twice"
    for config in configs:
        with pytest.raises(FrozenInstanceError):
            setattr(config, fields(config)[0].name, None)
