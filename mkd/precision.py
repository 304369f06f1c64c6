"""In what matrices are multiplied on this machine, where a setting leaves that to it.

No list of a processor's abilities tells: with AVX2 alone bfloat16 takes several times as long as float32, with AVX-512 BF16 or
matrix units it is up to several times as fast. So both are timed, once on each machine.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F

from mkd import processes
from mkd.config import Config, TrainConfig
from mkd.evaluation.speed import hardware
from mkd.storage.store import key_of, stored

MARGIN = 1.2
"""bfloat16 has to be so many times as fast: it costs digits, and what is timed is not all that a model does."""
SHAPES = {"cpu": (128, 256), "cuda": (16_384, 1024)}
"""Tokens and width of the layer that is timed, by device; a GPU is idle at less."""
ROUNDS = range(3, 15)
"""The least and the most rounds of both that are timed."""
SECONDS = 0.3
"""No round begins later, but the least."""
FOLDER, FILE = "precision", "speedup.json"


def chosen(config: Config, told: Callable[[str], object] = lambda text: None) -> Config:
    """The config with what each precision that is `auto` comes to here, so that all that is stored and told depends on that.

    told: gets a line with what was measured. Several processes go by what the first one finds.
    """
    trains = (config.train, config.teacher.train, config.finetune.train)
    if not any(train.precision == "auto" for train in trains):
        return config
    device = processes.kind_of(config.device)
    processes.device_of(device)  # which joins them
    ratio = processes.from_first(lambda: speedup(Path(config.cache), device))
    precision: Literal["float32", "bfloat16"] = "bfloat16" if ratio >= MARGIN else "float32"
    told(f"precision auto: {precision}, as bfloat16 trains {ratio:.2f} times as fast as float32 here (taken from {MARGIN} on)")

    def made(train: TrainConfig) -> TrainConfig:
        return replace(train, precision=precision) if train.precision == "auto" else train

    teacher, finetune = config.teacher, config.finetune
    return replace(
        config, train=made(config.train), teacher=replace(teacher, train=made(teacher.train)),
        finetune=replace(finetune, train=made(finetune.train)),
    )  # fmt: skip


def speedup(root: Path, device: str) -> float:
    """How many times as fast as in float32 this machine trains in bfloat16; measured once and kept with the other stores."""

    def build(aside: Path) -> None:
        (aside / FILE).write_text(json.dumps(measured(device)))

    return _read(stored(root, FOLDER, _parts(device), build))


def known(root: Path, device: str) -> float | None:
    """What was measured on this machine; None where nothing was yet."""
    folder = root / FOLDER / key_of(_parts(device))
    return _read(folder) if folder.exists() else None


def measured(device: str) -> float:
    """The median over rounds of float32's time by bfloat16's, of a feed-forward layer's training step on one thread.

    The two take turns, and on a processor the time is the thread's own: so what else the machine does slows both or neither.
    """
    tokens, width = SHAPES[device]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokens_TD = torch.randn(tokens, width, device=device)
        up, down = (torch.randn(shape, device=device, requires_grad=True) for shape in ((4 * width, width), (width, 4 * width)))

    def seconds(precision: str) -> float:
        begin = _now(device)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            out_TD = F.linear(F.gelu(F.linear(tokens_TD, up)), down)
        torch.autograd.grad(out_TD.float().square().mean(), (up, down))
        return _now(device) - begin

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for precision in ("float32", "bfloat16"):
            seconds(precision)  # what is made at the first call
        ratios: list[float] = []
        begin = time.perf_counter()
        while len(ratios) < ROUNDS.start or (len(ratios) < ROUNDS.stop and time.perf_counter() - begin < SECONDS):
            ratios.append(seconds("float32") / seconds("bfloat16"))
        return statistics.median(ratios)
    finally:
        torch.set_num_threads(threads)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.thread_time()


def _parts(device: str) -> dict[str, object]:
    return {"hardware": hardware(), "device": device, "shape": list(SHAPES[device])}


def _read(folder: Path) -> float:
    ratio: float = json.loads((folder / FILE).read_text())
    return ratio


def check(config: Config) -> None:
    """Raises ValueError where a precision is still `auto`: stores would not tell apart what is made in either."""
    for name, train in (("", config.train), ("teacher.", config.teacher.train), ("finetune.", config.finetune.train)):
        if train.precision == "auto":
            raise ValueError(f"{name}train.precision is 'auto'; allowed here: what mkd.precision.chosen makes of it")
