"""The processes that train one model together, as `accelerate launch` starts them; mostly there is one.

Every process does the same and sees the same batches, of which each learns from its share; the first one alone writes.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import NamedTuple, TypeVar

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import broadcast_object_list
from torch import nn

from mkd.tokenization.tokens import Inputs
from mkd.training.batches import Batch

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


class Parts(NamedTuple):
    """What a process's share of a batch counts for.

    of_mean: factor on its loss that makes the mean over processes of the gradients that of the whole batch.
    of_terms: factors on its LossTerms, whose sum over processes is that of the whole batch: the part of the rows that are its
    own, for `hard` of the rows that have a label.
    """

    of_mean: float
    of_terms: torch.Tensor


ALL = Parts(1.0, torch.ones(4))


def share(batch: Batch) -> tuple[Batch, Parts]:
    """This process's rows of the batch; where there are too few, one that counts nothing."""
    if count() == 1:
        return batch, ALL
    rows = torch.arange(len(batch.labels_B))[int(os.environ["RANK"]) :: count()]
    taken = rows if len(rows) else torch.zeros(1, dtype=torch.long)
    types = None if batch.inputs.types is None else batch.inputs.types[taken]
    inputs = Inputs(batch.inputs.ids[taken], batch.inputs.mask[taken], types)
    teacher_BC = None if batch.teacher_BC is None else batch.teacher_BC[taken]
    states_BKD = None if batch.states_BKD is None else batch.states_BKD[taken]
    part = len(rows) / len(batch.labels_B)
    known_B = ~batch.labels_B.isnan()
    of_known = float(known_B[rows].sum() / known_B.sum().clamp(min=1))
    own = Batch(batch.task, inputs, batch.labels_B[taken], teacher_BC, states_BKD)
    return own, Parts(part * count(), torch.tensor([part, part, of_known, part]))
