"""Resolves the precision `auto` to float32 or bfloat16, by a measurement on this machine.

A processor's feature flags do not predict which is faster. With AVX2 only, bfloat16 takes several
times as long as float32. With AVX-512 BF16 or matrix units it is up to several times as fast.
Therefore both are timed, once on each machine.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F

from mkd import processes
from mkd.config import Config, TrainConfig
from mkd.evaluation.speed import hardware
from mkd.storage.store import cached_folder, key_of

MIN_SPEEDUP = 1.2
"""Minimum speedup for which `auto` selects bfloat16.

It is above 1 because bfloat16 loses precision, and because only part of a model is timed.
"""
LAYER_SHAPES = {"cpu": (128, 256), "cuda": (16_384, 1024)}
"""Number of tokens and width of the timed layer, by device. Smaller sizes do not fill a GPU."""
NUM_ROUNDS = range(3, 15)
"""Minimum (start) and maximum (stop) number of timed rounds. A round times both precisions."""
MAX_SECONDS = 0.3
"""Time after which no new round starts, once the minimum number of rounds is done."""
SPEEDUP_FOLDER, SPEEDUP_FILE = "precision", "speedup.json"

AnySettings = TypeVar("AnySettings")


def resolve_precision(
    settings: AnySettings, config: Config, notify: Callable[[str], object] = lambda text: None
) -> AnySettings:
    """Returns the settings with each precision `auto` replaced by the faster one on this machine.

    Call it first, so that cache keys and logs hold the resolved precision.

    settings: a dataclass of settings that can hold TrainConfig objects at any depth.
    config: its device is measured, and its cache folder stores the measurement.
    notify: called with one line that reports the measurement.

    With several processes, all use the measurement of the first one.
    """
    if not any(train.precision == "auto" for train in _trains(settings)):
        return settings
    device = processes.device_kind(config.device)
    processes.device_of(device)  # connects the processes, which from_first() needs
    ratio = processes.from_first(lambda: bfloat16_speedup(Path(config.cache), device))
    precision: Literal["float32", "bfloat16"] = "bfloat16" if ratio >= MIN_SPEEDUP else "float32"
    notify(
        f"precision auto: {precision}, as bfloat16 trains {ratio:.2f} times as fast as float32 "
        f"here (chosen from {MIN_SPEEDUP} on)"
    )
    resolved: AnySettings = _with(settings, precision)
    return resolved


def _trains(settings: Any) -> list[TrainConfig]:
    """Returns all TrainConfig objects in a dataclass of settings."""
    if isinstance(settings, TrainConfig):
        return [settings]
    inner = [getattr(settings, each.name) for each in fields(settings)]
    return [train for value in inner if is_dataclass(value) for train in _trains(value)]


def _with(settings: Any, precision: Literal["float32", "bfloat16"]) -> Any:
    """Returns the settings with each precision `auto` replaced."""
    if isinstance(settings, TrainConfig):
        return replace(settings, precision=precision) if settings.precision == "auto" else settings
    inner = {each.name: getattr(settings, each.name) for each in fields(settings)}
    return replace(
        settings,
        **{name: _with(value, precision) for name, value in inner.items() if is_dataclass(value)},
    )


def bfloat16_speedup(root: Path, device: str) -> float:
    """Returns the speedup of training in bfloat16 over float32 on this machine.

    The speedup is measured once and stored in the cache folder `root`.
    """

    def build(aside: Path) -> None:
        (aside / SPEEDUP_FILE).write_text(json.dumps(measure_speedup(device)))

    return _read(cached_folder(root, SPEEDUP_FOLDER, _key_values(device), build))


def stored_speedup(root: Path, device: str) -> float | None:
    """Returns the stored speedup of this machine, or None if it was not measured yet."""
    folder = root / SPEEDUP_FOLDER / key_of(_key_values(device))
    return _read(folder) if folder.exists() else None


def measure_speedup(device: str) -> float:
    """Measures the speedup of bfloat16 over float32 in a training step of a feed-forward layer.

    Returns the median over rounds of time in float32 / time in bfloat16, on one thread. The two
    precisions take turns, and on a CPU the thread's CPU time is used, so that other load on the
    machine has little effect on the ratio.
    """
    tokens, width = LAYER_SHAPES[device]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokens_TD = torch.randn(tokens, width, device=device)
        up, down = (
            torch.randn(shape, device=device, requires_grad=True)
            for shape in ((4 * width, width), (width, 4 * width))
        )

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
            seconds(precision)  # warm-up: the first call allocates and selects kernels
        ratios: list[float] = []
        begin = time.perf_counter()
        while len(ratios) < NUM_ROUNDS.start or (
            len(ratios) < NUM_ROUNDS.stop and time.perf_counter() - begin < MAX_SECONDS
        ):
            ratios.append(seconds("float32") / seconds("bfloat16"))
        return statistics.median(ratios)
    finally:
        torch.set_num_threads(threads)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()  # kernels run asynchronously
        return time.perf_counter()
    return time.thread_time()


def _key_values(device: str) -> dict[str, object]:
    return {"hardware": hardware(), "device": device, "shape": list(LAYER_SHAPES[device])}


def _read(folder: Path) -> float:
    ratio: float = json.loads((folder / SPEEDUP_FILE).read_text())
    return ratio


def check_precision_resolved(train: TrainConfig, setting: str) -> None:
    """Raises ValueError if a precision is still `auto`.

    Cache keys would then be equal for results in float32 and bfloat16. setting: name of `train`.
    """
    if train.precision == "auto":
        raise ValueError(
            f"{setting}.precision is 'auto'; allowed here: float32 or bfloat16, as returned by "
            "mkd.precision.resolve_precision"
        )
