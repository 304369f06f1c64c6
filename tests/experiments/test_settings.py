"""Settings that are unset by default follow others; set ones stay."""

from dataclasses import replace
from typing import Any

import pytest

from experiments import cli
from experiments.ablation import plan
from experiments.export import with_run_settings
from experiments.settings import (
    COMMANDS,
    AblationConfig,
    AblationSettings,
    Command,
    DistillSettings,
    ExportSettings,
    LabelConfig,
    with_open_length,
)
from mkd.config import Config, DataConfig, LengthConfig, SpeedConfig

TIMED = [name for name, kind in COMMANDS.items() if hasattr(kind(), "speed")]
LENGTHS = [(32, 0, 32), (128, 0, 128), (512, 0, 128), (32, 8, 8), (512, 200, 200), (64, 64, 64)]
"""(data.max_length, speed.length, the timed length)"""


def parsed(command: str, *argv: str) -> Command:
    return cli.parse(list(argv), "", COMMANDS[command])


def test_the_commands_with_speed_settings_are_found() -> None:
    assert {"distill", "teacher", "finetune", "search", "promote", "ablation"} <= set(TIMED)


@pytest.mark.parametrize(("most", "length", "timed"), LENGTHS)
def test_the_timed_length_follows_max_length_unless_set(most: int, length: int, timed: int) -> None:
    config = Config(data=DataConfig(max_length=most), speed=SpeedConfig(length=length, seconds=7))
    assert config.timing == SpeedConfig(length=timed, seconds=7)
    assert config.speed.length == length, "it stays open"


@pytest.mark.parametrize("command", TIMED)
def test_a_short_max_length_alone_is_accepted_and_the_timed_length_is_shown(command: str) -> None:
    config = parsed(command, "--data.max_length=64")
    assert cli.flat(config)["speed.length"] == 64
    assert cli.overrides(config) == {"data.max_length": 64}
    assert cli.flat(parsed(command))["speed.length"] == 128


@pytest.mark.parametrize("command", TIMED)
def test_a_timed_length_above_max_length_is_refused(command: str) -> None:
    message = "speed.length is 65; allowed: at most data.max_length=64"
    with pytest.raises(ValueError, match=message):
        parsed(command, "--data.max_length=64", "--speed.length=65")


def test_a_variant_can_shorten_max_length_if_the_timed_length_is_unset() -> None:
    def planned(**changes: Any) -> list[int]:
        variants: dict[str, dict[str, Any]] = {"long": {}, "short": {"data.max_length": 64}}
        config = replace(AblationSettings(ablation=AblationConfig(variants, [0])), **changes)
        return [trial.config.timing.length for trial in plan(config)]

    assert planned() == [128, 64]
    with pytest.raises(ValueError, match="ablation.variants.short: .*speed.length is 100"):
        planned(speed=LengthConfig(length=100))


@pytest.mark.parametrize(
    ("most", "length", "expected"), [(128, 0, 64), (512, 0, 64), (32, 0, 64), (128, 16, 16)]
)
def test_the_timed_length_of_an_exported_run_follows_a_new_max_length_unless_set(
    most: int, length: int, expected: int
) -> None:
    """An export reads the settings of its run, where the length is always a number."""
    run = DistillSettings(data=DataConfig(max_length=most), speed=SpeedConfig(length=length))
    text = cli.to_yaml(run)
    assert "length: 0" not in text
    asked = ExportSettings(data=DataConfig(max_length=64))
    read = cli.from_yaml(text, DistillSettings)
    assert with_run_settings(asked, read).core().timing.length == expected
    assert with_open_length(read).speed.length == length


@pytest.mark.parametrize("model", ["student", "http://127.0.0.1:9/x", "runs:ID"])
def test_a_model_to_label_with_is_one_of_mlflow(model: str) -> None:
    with pytest.raises(ValueError, match="label.model is .*; allowed: runs:/RUN_ID/student, or "):
        LabelConfig(model=model)


@pytest.mark.parametrize("master", ["", " ", "local[0]", "local[-1]", "local[x]", "localhost"])
def test_a_spark_master_that_cannot_be_is_refused(master: str) -> None:
    with pytest.raises(ValueError, match="label.master is .*; allowed: "):
        LabelConfig(master=master)


@pytest.mark.parametrize(
    "master", ["local", "local[*]", "local[4]", "local[4,2]", "local-cluster[2,1,1024]", "yarn"]
)
def test_a_spark_master_is_allowed(master: str) -> None:
    assert LabelConfig(master=master).master == master
