"""The processes that train one model together, as `accelerate launch` starts them; mostly there is one.

Every process does the same and sees the same batches, of which each learns from its share; the first one alone writes.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import broadcast_object_list
from torch import nn

T = TypeVar("T")
WAIT = timedelta(days=7)
"""The others wait as long as the first one is at what it does alone, such as labelling."""


def count() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the one that writes and tells."""
    return int(os.environ.get("RANK", "0")) == 0


@cache
def accelerator(device: str) -> Accelerator:
    """What joins them, made once. device: `cpu` or `cuda`."""
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # a batch has one task, and each task its head
    return Accelerator(cpu=device == "cpu", kwargs_handlers=[unused, InitProcessGroupKwargs(timeout=WAIT)])


def kind_of(device: str) -> str:
    """`cpu` or `cuda`, as the setting `device` comes to here."""
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def device_of(name: str) -> torch.device:
    """The device of this process. name: `cpu` or `cuda`."""
    return accelerator(name).device if count() > 1 else torch.device(name)


def joined(module: nn.Module, device: str) -> nn.Module:
    """The module with gradients that are the mean over all processes."""
    if count() == 1:
        return module
    found: nn.Module = accelerator(device).prepare_model(module)
    return found


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, in all of them."""
    if count() == 1:
        return make()
    values = [make() if is_first() else None]
    broadcast_object_list(values)
    return values[0]  # type: ignore[return-value]


def wait() -> None:
    """Until all are here."""
    from_first(lambda: None)


def total(values: torch.Tensor) -> torch.Tensor:
    """The sum over all processes."""
    if count() > 1:
        torch.distributed.all_reduce(values)
    return values
