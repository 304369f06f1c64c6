"""Default learning rates: lower for pretrained layers. Set rates stay, and default ones are shown
as numbers."""

from pathlib import Path

import pytest
from transformers import BertModel

from experiments import cli
from experiments.settings import DistillSettings, FinetuneSettings
from experiments.tracking.run import folder_of
from mkd.config import Config, StudentConfig, TeacherConfig, TrainConfig
from mkd.pipeline import run
from mkd.rates import with_finetuning_rate, with_learning_rates
from tests.support.checkpoints import bert, saved
from tests.support.runs import RecordedReports, demo_config
from tests.support.tiny import Tokenizer

SAID = TrainConfig(learning_rate=3e-5)


def rates(config: Config) -> tuple[float | None, ...]:
    resolved = with_learning_rates(config)
    return tuple(train.learning_rate for train in (resolved.teacher.train, resolved.train))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Config(), (6e-4, 2e-3)),
        (Config(teacher=TeacherConfig(checkpoint="x")), (1e-4, 2e-3)),
        (Config(student=StudentConfig(init="teacher")), (6e-4, 2e-4)),
        (Config(student=StudentConfig(kind="bag", init="teacher")), (6e-4, 2e-3)),
        (Config(student=StudentConfig(kind="bilstm", init="x")), (6e-4, 2e-3)),
        (Config(teacher=TeacherConfig(checkpoint="x", train=SAID)), (3e-5, 2e-3)),
        (Config(train=SAID), (6e-4, 3e-5)),
    ],
)
def test_default_rates_depend_on_models(config: Config, expected: tuple[float, ...]) -> None:
    assert rates(config) == expected
    assert with_learning_rates(with_learning_rates(config)) == with_learning_rates(config)


def test_finetuning_has_the_rate_of_a_new_student() -> None:
    assert with_finetuning_rate(TrainConfig()).learning_rate == 2e-3
    assert with_finetuning_rate(SAID) == SAID


def test_a_variant_with_another_model_has_the_rate_of_that_model() -> None:
    config = cli.parse([], "", DistillSettings)
    variant = {"teacher.checkpoint": "x", "student.init": "teacher"}
    assert rates(cli.with_settings(config, variant)) == (1e-4, 2e-4)
    said = cli.parse(["--teacher.train.learning_rate=8e-4"], "", DistillSettings)
    assert rates(cli.with_settings(said, {"teacher.checkpoint": "x"}))[0] == 8e-4


def test_shown_settings_and_keys_have_the_rate_as_a_number() -> None:
    config = cli.parse(["--teacher.checkpoint=x"], "", DistillSettings)
    assert config.teacher.train.learning_rate is None
    assert cli.flat(config)["teacher.train.learning_rate"] == 1e-4
    assert cli.overrides(config) == {"teacher.checkpoint": "x"}, "what was set, and nothing else"
    assert cli.from_yaml(cli.to_yaml(config), DistillSettings) == config.shown()
    assert folder_of(config, "distill") == folder_of(config.shown(), "distill")
    further = FinetuneSettings().shown()
    assert further.teacher.train.learning_rate == 6e-4
    assert further.finetune.train.learning_rate == 2e-3


def test_pretrained_layers_have_lower_rates(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """The first of two steps is the warm-up, and the second reports the peak rate."""
    checkpoint = saved(BertModel(bert([], tokenizer)), tokenizer, tmp_path / "bert")
    student = StudentConfig(kind="transformer", init="teacher", hidden=16, heads=2, layers=1)
    reports = RecordedReports()
    how = TrainConfig(steps=2, batch_size=4, warmup=0.5)
    teacher = TeacherConfig(checkpoint=checkpoint, train=how)
    models = {"teacher": teacher, "student": student}
    run(demo_config(tmp_path / "cache", models, train=how, baseline=False), tmp_path / "s", reports)
    assert reports.of("teacher/train/learning_rate")[-1] == 1e-4
    assert reports.of("train/learning_rate")[-1] == 2e-4
