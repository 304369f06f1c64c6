"""Half precision is chosen where a device has units for it, and never left open for what is stored."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

from mkd.config import Config, FinetuneConfig, TeacherConfig, TrainConfig
from mkd.pipeline import prepare
from mkd.precision import chosen, fastest

AUTO = TrainConfig(precision="auto")
SETTINGS = [
    ("train", Config(train=AUTO)),
    ("teacher.train", Config(teacher=TeacherConfig(train=AUTO))),
    ("finetune.train", Config(finetune=FinetuneConfig(train=AUTO))),
]


@pytest.mark.parametrize(
    ("has", "told"),
    [({"amx_bf16": True}, "bfloat16"), ({"amx_bf16": False, "avx512_bf16": True}, "float32"), ({"neon": True}, "float32")],
)
def test_a_processor_without_matrix_units_keeps_float32(
    monkeypatch: pytest.MonkeyPatch, has: Mapping[str, bool], told: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert fastest("cpu") == told
    for _, config in SETTINGS:
        made = chosen(replace(config, device="cpu"))
        precisions = [train.precision for train in (made.train, made.teacher.train, made.finetune.train)]
        assert sorted(precisions) == sorted([told, "float32", "float32"])


def test_this_processor_is_known() -> None:
    assert fastest("cpu") in ("float32", "bfloat16") and torch.cpu.get_capabilities()["architecture"]


def test_what_is_said_stays() -> None:
    config = Config(train=TrainConfig(precision="bfloat16"))
    assert chosen(config) == config


@pytest.mark.parametrize(("name", "config"), SETTINGS)
def test_a_run_with_an_open_precision_is_refused(name: str, config: Config) -> None:
    with pytest.raises(ValueError, match=f"^{name}.precision is 'auto'; allowed here"):
        prepare(config)
    prepare(chosen(config))
