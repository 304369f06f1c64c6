"""In what matrices are multiplied on this machine, where a setting leaves that to it."""

from dataclasses import replace
from typing import Literal

import torch

from mkd import processes
from mkd.config import Config, TrainConfig


def fastest(device: str) -> Literal["float32", "bfloat16"]:
    """What a device multiplies matrices fastest in. device: `cpu` or `cuda`.

    On a processor with AVX2 alone bfloat16 takes several times as long as float32, on one with matrix units (AMX) mostly less;
    what lies between has not been measured, and keeps float32.
    """
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if torch.cpu.get_capabilities().get("amx_bf16", False) else "float32"


def chosen(config: Config) -> Config:
    """The config with what each precision that is `auto` comes to here, so that all that is stored and told depends on that."""

    def made(train: TrainConfig) -> TrainConfig:
        return replace(train, precision=fastest(processes.kind_of(config.device))) if train.precision == "auto" else train

    teacher, finetune = config.teacher, config.finetune
    return replace(
        config, train=made(config.train), teacher=replace(teacher, train=made(teacher.train)),
        finetune=replace(finetune, train=made(finetune.train)),
    )  # fmt: skip


def check(config: Config) -> None:
    """Raises ValueError where a precision is still `auto`: stores would not tell apart what is made in either."""
    for name, train in (("", config.train), ("teacher.", config.teacher.train), ("finetune.", config.finetune.train)):
        if train.precision == "auto":
            raise ValueError(f"{name}train.precision is 'auto'; allowed here: what mkd.precision.chosen makes of it")
