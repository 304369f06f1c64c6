"""Data-parallel training with several processes, started by `accelerate launch`. Usually one.

All processes run the same program and build the same batches. Each trains on its share of a batch.
Only the first process writes files and reports.
"""

import atexit
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
"""Timeout of collective operations. It is long, because the other processes wait while the first
one works alone, for example when it labels rows."""


def count() -> int:
    """Returns the number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Returns whether this is the first process, which writes files and reports."""
    return int(os.environ.get("RANK", "0")) == 0


@cache
def accelerator(device: str) -> Accelerator:
    """Returns the Accelerator that connects the processes; created once. device: `cpu`, `cuda`."""
    # A batch has rows of one task, so the heads of all other tasks get no gradient in that step.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    connected = Accelerator(
        cpu=device == "cpu", kwargs_handlers=[unused, InitProcessGroupKwargs(timeout=WAIT)]
    )
    # Else a process may abort at its end: it destroys gloo's threads while they run.
    atexit.register(connected.end_training)
    return connected


def device_kind(device: str) -> str:
    """Resolves the setting `device` to `cpu` or `cuda` on this machine."""
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def device_of(name: str) -> torch.device:
    """Returns the device of this process. name: `cpu` or `cuda`."""
    return accelerator(name).device if count() > 1 else torch.device(name)


def distributed(module: nn.Module, device: str) -> nn.Module:
    """Wraps the module so that its gradients are the mean over all processes."""
    if count() == 1:
        return module
    prepared: nn.Module = accelerator(device).prepare_model(module)
    return prepared


def from_first(make: Callable[[], T]) -> T:
    """Calls make() in the first process only, and returns its result in all processes."""
    if count() == 1:
        return make()
    values = [make() if is_first() else None]
    broadcast_object_list(values)
    return values[0]  # type: ignore[return-value]


def wait() -> None:
    """Blocks until all processes have called it."""
    from_first(lambda: None)


def sum_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Replaces values, in place, by their sum over all processes, and returns them."""
    if count() > 1:
        torch.distributed.all_reduce(values)
    return values
