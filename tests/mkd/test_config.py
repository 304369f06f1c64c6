from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any

import pytest

from experiments.settings import COMMANDS, RegistryConfig
from mkd.config import (
    AugmentConfig,
    Config,
    DataConfig,
    DemoConfig,
    ExportConfig,
    LossConfig,
    MatchConfig,
    SamplingConfig,
    SpeedConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
    TransferConfig,
)

NOTHING: dict[str, Any] = {"mask": 0.0, "replace": 0.0, "ngram": 0.0}
TRANSFER: dict[str, Any] = {"file": "f.csv", "text": ["t"], "tasks": ["a"]}


def _all_configs(config: Any) -> list[Any]:
    inner = [getattr(config, field.name) for field in fields(config)]
    return [
        config,
        *(
            inner_config
            for value in inner
            if is_dataclass(value)
            for inner_config in _all_configs(value)
        ),
    ]


def _groups(commands: Mapping[str, type]) -> list[Any]:
    """One instance of each config class in the settings of all commands."""
    by_type = {
        type(each): each
        for settings_type in commands.values()
        for each in _all_configs(settings_type())
    }
    return [*by_type.values(), TransferConfig(**TRANSFER)]


REFUSED: list[tuple[type, dict[str, Any], str, str]] = [
    (DemoConfig, {"train_rows": 0}, "data.demo.train_rows is 0", "above 0"),
    (DemoConfig, {"unlabelled_rows": -1}, "data.demo.unlabelled_rows is -1", "0 or more"),
    (DemoConfig, {"dev_rows": 0}, "data.demo.dev_rows is 0", "above 0"),
    (DemoConfig, {"label_noise": 1.0}, "data.demo.label_noise is 1.0", "from 0 to below 1"),
    (DemoConfig, {"label_noise": float("nan")}, "data.demo.label_noise is nan",
     "from 0 to below 1"),
    (TransferConfig, TRANSFER | {"text": []}, "data.transfer.text is []",
     "one column, or two for pairs"),
    (TransferConfig, TRANSFER | {"text": list("abc")}, "data.transfer.text is ['a', 'b', 'c']",
     "one column, or two"),
    (TransferConfig, TRANSFER | {"tasks": ["a", "a"]}, "data.transfer.tasks is ['a', 'a']",
     "each task once"),
    (DataConfig, {"source": "glue"}, "data.path is ''", "a path or name, for data.source=glue"),
    (DataConfig, {"source": "demo", "path": "x"}, "data.path is 'x'",
     "empty for data.source=demo"),
    (DataConfig, {"text": ["a", "b", "c"]}, "data.text is ['a', 'b', 'c']",
     "one column, or two for pairs"),
    (DataConfig, {"dev": 1.0}, "data.dev is 1.0", "a file, a split, or a share between 0 and 1"),
    (DataConfig, {"tasks": ["a", "a"]}, "data.tasks is ['a', 'a']", "each task once"),
    (DataConfig, {"max_length": 7}, "data.max_length is 7", "8 or more"),
    (DataConfig, {"selection_fraction": 0.0}, "data.selection_fraction is 0.0", "between 0 and 1"),
    (DataConfig, {"selection_fraction": 1.0}, "data.selection_fraction is 1.0", "between 0 and 1"),
    (DataConfig, {"selection_rows": 0}, "data.selection_rows is 0", "above 0"),
    (AugmentConfig, {"multiple": -1}, "data.augment.multiple is -1", "0 or more"),
    (AugmentConfig, {"multiple": 1} | NOTHING, "data.augment.multiple is 1",
     "0 unless mask, replace or ngram is above 0"),
    (AugmentConfig, {"mask": -0.1}, "data.augment.mask is -0.1", "from 0 to 1"),
    (AugmentConfig, {"replace": 1.1}, "data.augment.replace is 1.1", "from 0 to 1"),
    (AugmentConfig, {"ngram": float("nan")}, "data.augment.ngram is nan", "from 0 to 1"),
    (AugmentConfig, {"mask": 0.5, "replace": 0.6}, "data.augment.replace is 0.6",
     "at most 1 less data.augment.mask=0.5"),
    (AugmentConfig, {"longest": 0}, "data.augment.longest is 0", "above 0"),
    (AugmentConfig, {"neighbours": 0}, "data.augment.neighbours is 0", "above 0"),
    (AugmentConfig, {"replace": 0.0, "embeddings": "x"}, "data.augment.embeddings is 'x'",
     "empty for data.augment.replace=0"),
    (SamplingConfig, {"weights": {"a": -1.0, "b": 2.0}}, "sampling.weights.a is -1.0", "from 0 to"),
    (SamplingConfig, {"weights": {"a": float("inf")}}, "sampling.weights.a is inf", "from 0 to"),
    (SamplingConfig, {"weights": {"a": float("nan")}}, "sampling.weights.a is nan", "from 0 to"),
    (SamplingConfig, {"weights": {"a": 0.0, "b": 0.0}}, "sampling.weights is {'a': 0.0, 'b': 0.0}",
     "at least one above 0"),
    (SamplingConfig, {"alpha": float("nan")}, "sampling.alpha is nan", "from -10 to 10"),
    (SamplingConfig, {"alpha_end": float("inf")}, "sampling.alpha_end is inf", "from -10 to 10"),
    (SamplingConfig, {"alpha_end": 0.0, "weights": {"a": 1.0}}, "sampling.alpha_end is 0.0",
     "null unless alpha decides"),
    (SamplingConfig, {"alpha_end": 0.0, "order": "round_robin"}, "sampling.alpha_end is 0.0",
     "null unless alpha decides"),
    (SamplingConfig, {"weights": {"a": 1.0}, "order": "round_robin"},
     "sampling.weights is {'a': 1.0}", "empty for"),
    (TrainConfig, {"steps": 0}, "train.steps is 0", "above 0"),
    (TrainConfig, {"batch_size": -1}, "train.batch_size is -1", "above 0"),
    (TrainConfig, {"learning_rate": 0.0}, "train.learning_rate is 0.0", "above 0"),
    (TrainConfig, {"learning_rate": float("nan")}, "train.learning_rate is nan", "above 0"),
    (TrainConfig, {"clip": float("inf")}, "train.clip is inf", "at most 1,0"),
    (TrainConfig, {"eval_every": 0}, "train.eval_every is 0", "above 0"),
    (TrainConfig, {"warmup": 1.1}, "train.warmup is 1.1", "from 0 to 1"),
    (TrainConfig, {"weight_decay": -0.1}, "train.weight_decay is -0.1", "0 or more"),
    (TrainConfig, {"patience": -1}, "train.patience is -1", "0 or more"),
    (TeacherConfig, {"layers": 0}, "teacher.layers is 0", "above 0"),
    (TeacherConfig, {"hidden": 0}, "teacher.hidden is 0", "above 0"),
    (TeacherConfig, {"heads": 0}, "teacher.heads is 0", "above 0"),
    (TeacherConfig, {"hidden": 10, "heads": 4}, "teacher.hidden is 10",
     "a multiple of teacher.heads=4"),
    (TeacherConfig, {"vocabulary": 99}, "teacher.vocabulary is 99", "100 or more"),
    (TeacherConfig, {"dropout": 1.0}, "teacher.dropout is 1.0", "from 0 to below 1"),
    (TeacherConfig, {"sources": {"a": []}}, "teacher.sources.a is []",
     "one source or more, each once"),
    (TeacherConfig, {"sources": {"a": ["x", "x"]}}, "teacher.sources.a is ['x', 'x']",
     "one source or more, each once"),
    (TeacherConfig, {"sources": {"a": [""]}}, "teacher.sources.a is ['']",
     "one source or more, each once"),
    (TeacherConfig, {"mean": "probabilities", "sources": {"a": ["x"]}},
     "teacher.mean is 'probabilities'", "logits, where no task"),
    (StudentConfig, {"hidden": 0}, "student.hidden is 0", "above 0"),
    (StudentConfig, {"layers": 0}, "student.layers is 0", "above 0"),
    (StudentConfig, {"heads": -1}, "student.heads is -1", "above 0"),
    (StudentConfig, {"ngrams": -1}, "student.ngrams is -1", "from 0 to 16"),
    (StudentConfig, {"buckets": 0}, "student.buckets is 0", "above 0"),
    (StudentConfig, {"embedding": -1}, "student.embedding is -1", "0 or more"),
    (StudentConfig, {"min_count": -1}, "student.min_count is -1", "0 or more"),
    (StudentConfig, {"init": "x", "embedding": 32}, "student.embedding is 32",
     "0 or student.hidden=48, as student.init=x takes layers"),
    (StudentConfig, {"kind": "bag", "keep": [0]}, "student.keep is [0]",
     "empty for student.kind=bag"),
    (StudentConfig, {"dropout": -0.1}, "student.dropout is -0.1", "from 0 to below 1"),
    (StudentConfig, {"kind": "bilstm", "keep": [0]}, "student.keep is [0]",
     "empty for student.kind=bilstm"),
    (StudentConfig, {"kind": "transformer", "hidden": 10, "heads": 4}, "student.hidden is 10",
     "a multiple of student.heads=4"),
    (StudentConfig, {"kind": "transformer", "keep": [0, 1]}, "student.keep is [0, 1]",
     "empty unless student.init names"),
    (StudentConfig, {"kind": "transformer", "init": "x", "layers": 2, "keep": [0]},
     "student.keep is [0]", "student.layers=2 layers"),
    (StudentConfig, {"kind": "transformer", "init": "x", "layers": 2, "keep": [0, -1]},
     "student.keep is [0, -1]", "layer numbers from 0"),
    (LossConfig, {"temperature": 0.0}, "loss.temperature is 0.0", "above 0"),
    (LossConfig, {"temperature": float("inf")}, "loss.temperature is inf", "at most 1,0"),
    (LossConfig, {"kind": "mse", "temperature": 2.0}, "loss.temperature is 2.0",
     "1 unless loss.kind=kl"),
    (LossConfig, {"hard_weight": -0.1}, "loss.hard_weight is -0.1", "from 0 to 1"),
    (LossConfig, {"hard_weight": 1.1}, "loss.hard_weight is 1.1", "from 0 to 1"),
    (LossConfig, {"hard_weight_end": 1.1}, "loss.hard_weight_end is 1.1", "from 0 to 1, or null"),
    (LossConfig, {"task_weights": {"a": 0.0}}, "loss.task_weights.a is 0.0", "above 0"),
    (LossConfig, {"task_weights": {"a": float("inf")}}, "loss.task_weights.a is inf", "above 0"),
    (LossConfig, {"task_weights": {"a": 1.0}, "balance": "uncertainty"},
     "loss.task_weights is {'a': 1.0}", "empty for"),
    (LossConfig, {"match": MatchConfig(1.0), "hard_weight": 1.0}, "loss.match.weight is 1.0",
     "0 for loss.hard_weight=1"),
    (MatchConfig, {"weight": -1.0}, "loss.match.weight is -1.0", "0 or more"),
    (MatchConfig, {"weight": float("nan")}, "loss.match.weight is nan", "0 or more"),
    (MatchConfig, {"teacher_layers": []}, "loss.match.teacher_layers is []", "at least one layer"),
    (MatchConfig, {"teacher_layers": [1]}, "loss.match.student_layers is [0, -1]",
     "one layer for each of loss.match.teacher"),
    (SpeedConfig, {"length": -1}, "speed.length is -1", "0 or more"),
    (SpeedConfig, {"batch_size": 0}, "speed.batch_size is 0", "above 0"),
    (SpeedConfig, {"threads": [1, -1]}, "speed.threads is -1", "from 0 to 512"),
    (SpeedConfig, {"seconds": -1}, "speed.seconds is -1", "0 or more"),
    (ExportConfig, {"backends": ["onnx", "onnx"]}, "export.backends is ['onnx', 'onnx']",
     "each backend once"),
    (ExportConfig, {"backends": ["int8"]}, "export.backends is ['int8']", "onnx with the others"),
    (ExportConfig, {"max_loss": -1}, "export.max_loss is -1", "0 or more"),
    (RegistryConfig, {"name": "a/b"}, "registry.name is 'a/b'",
     "a name of at most 200 characters, without /, : and"),
    (RegistryConfig, {"alias": "best"}, "registry.alias is 'best'", "empty without registry.name"),
    (RegistryConfig, {"name": "a", "alias": "v2"}, "registry.alias is 'v2'", "letters, digits"),
    (RegistryConfig, {"name": "a", "alias": "x y"}, "registry.alias is 'x y'", "letters, digits"),
    (Config, {"seed": -1}, "seed is -1", "from 0 to 2**32 - 1"),
    (Config, {"seed": 2**32}, "seed is 4294967296", "from 0 to 2**32 - 1"),
    (Config, {"threads": -1}, "threads is -1", "0 or more"),
    (Config, {"data": DataConfig(tasks=["a"]), "teacher": TeacherConfig(sources={"b": ["x"]})},
     "teacher.sources is 'b'", "the tasks of data.tasks=['a']"),
    (Config, {"data": DataConfig(max_length=64), "speed": SpeedConfig(length=65)},
     "speed.length is 65", "at most data.max_length=64"),
    (Config, {"speed": SpeedConfig(seconds=0)}, "speed.seconds is 0",
     "above 0 with export.backends, of which the fastest"),
]  # fmt: skip

ALLOWED: list[tuple[type, dict[str, Any]]] = [
    (DemoConfig, {"unlabelled_rows": 0, "label_noise": 0.0}),
    (TransferConfig, TRANSFER | {"text": ["a", "b"]}),
    (TransferConfig, TRANSFER | {"tasks": []}),
    (DataConfig, {"source": "files", "path": "tasks.yaml", "max_length": 8}),
    (SamplingConfig, {"weights": {"a": 0.0, "b": 0.5}}),
    (AugmentConfig, {"multiple": 20, "mask": 0.5, "replace": 0.5, "ngram": 1.0}),
    (AugmentConfig, NOTHING),
    (SamplingConfig, {"alpha": 0.0}),
    (TrainConfig, {"warmup": 0.0, "weight_decay": 0.0}),
    (TrainConfig, {"warmup": 1.0}),
    (TeacherConfig, {"mean": "probabilities", "sources": {"a": ["x", "refined"]}}),
    (StudentConfig, {"kind": "transformer", "init": "teacher", "layers": 2, "keep": [3, 0]}),
    (StudentConfig, {"hidden": 10}),
    (StudentConfig, {"embedding": 0, "min_count": 0}),
    (StudentConfig, {"init": "x", "embedding": 48}),
    (StudentConfig, {"kind": "bag", "init": "x", "embedding": 32, "ngrams": 1, "buckets": 1}),
    (LossConfig, {"temperature": 4.0, "hard_weight": 1.0}),
    (LossConfig, {"kind": "mse"}),
    (LossConfig, {"hard_weight": 1.0, "hard_weight_end": 0.0, "task_weights": {"a": 0.5}}),
    (SamplingConfig, {"alpha": 0.5, "alpha_end": 0.5}),
    (SamplingConfig, {"order": "round_robin", "alpha": 0.5}),
    (Config, {"seed": 2**32 - 1}),
    (Config, {"data": DataConfig(max_length=64), "speed": SpeedConfig(length=64)}),
]


@pytest.mark.parametrize(("make", "settings", "named", "allowed"), REFUSED)
def test_a_refusal_names_setting_value_and_allowed_values(
    make: type, settings: dict[str, Any], named: str, allowed: str
) -> None:
    with pytest.raises(ValueError) as caught:
        make(**settings)
    message = str(caught.value)
    assert message.startswith(f"{named}; allowed: {allowed}")
    assert "\n" not in message


NUMBERS = [
    (type(config), field.name, kind)
    for config in _groups(COMMANDS)
    for field in fields(config)
    for kind in (int, float)
    if field.type in (kind, kind | None) and field.name != "learning_rate"
]
"""Every numeric setting, with its class, except learning rates: a large one takes no memory, and
the training reports the step at which it fails."""


@pytest.mark.parametrize(
    ("make", "name", "kind"), NUMBERS, ids=[f"{make.__name__}.{name}" for make, name, _ in NUMBERS]
)
def test_every_number_has_a_bound(make: type, name: str, kind: type) -> None:
    needed = TRANSFER if make is TransferConfig else {}
    for value in (10**18, -(10**18)):
        with pytest.raises(ValueError, match=f"{name} is .*; allowed: "):
            make(**needed | {name: kind(value)})


@pytest.mark.parametrize(("make", "settings"), ALLOWED)
def test_boundary_values_are_allowed(make: type, settings: dict[str, Any]) -> None:
    config = make(**settings)
    assert all(getattr(config, name) == value for name, value in settings.items())


@pytest.mark.parametrize(
    ("student", "name"),
    [
        (StudentConfig(kind="bilstm", hidden=128), "bilstm-128"),
        (StudentConfig(kind="bilstm", hidden=128, embedding=128), "bilstm-128"),
        (StudentConfig(kind="bilstm", hidden=128, attention=False), "bilstm-128-max"),
        (StudentConfig(kind="bilstm", hidden=128, words=False), "bilstm-128-alone"),
        (StudentConfig(kind="transformer", layers=3, hidden=384, min_count=2),
         "transformer-3x384-min2"),
        (StudentConfig(kind="transformer", layers=2, hidden=128, embedding=32),
         "transformer-2x128-e32"),
        (StudentConfig(kind="bag", hidden=64, embedding=32, min_count=5), "bag-1x64-e32-min5"),
    ],
)  # fmt: skip
def test_a_students_name_has_its_kind_and_sizes(student: StudentConfig, name: str) -> None:
    assert student.name == name


def test_settings_are_immutable() -> None:
    configs = _all_configs(Config())
    assert len(configs) == 15, "but those of text files; TrainConfig and SamplingConfig twice"
    for config in configs:
        with pytest.raises(FrozenInstanceError):
            setattr(config, fields(config)[0].name, None)
