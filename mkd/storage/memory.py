"""Memory of models: checked before a model is made; a full memory is an error of one line."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

TRAINING_BYTES = 16
"""Bytes of a weight in training: itself, its gradient, and two moments of Adam, in float32."""
ALLOCATOR = re.compile(
    r"not enough memory|can't allocate memory|out of memory|bad_alloc|bad allocation"
    r"|Storage size calculation overflowed|invalid storage size",
    re.IGNORECASE,
)
"""Messages of the allocators of torch and onnxruntime, in their RuntimeErrors."""
OVERFLOW = re.compile(r"^(Overflow when unpacking|array is too big|Maximum allowed dimension)")
"""Messages of torch and numpy, in their ValueErrors."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """Converts the errors of a full memory, and of numbers that are too large, to an OSError."""
    try:
        yield
    except (MemoryError, OverflowError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        known = {RuntimeError: ALLOCATOR, ValueError: OVERFLOW}
        of = next((known[kind] for kind in known if isinstance(error, kind)), None)
        if of is not None and not of.search(said):
            raise
        raise OSError(
            "the memory does not suffice, or a number is too large: take smaller sizes or batches "
            f"({said[:200] or type(error).__name__})"
        ) from error


def check_fits(make: Callable[[], "nn.Module"], setting: str) -> None:
    """Raises ValueError if the machine has too little memory to train the model that `make` makes.

    The model is made without memory for its weights first.

    - `setting`: the settings that its size follows from, for the message.
    """
    import torch  # here, as reading a command line must not wait for it

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        weights = sum(weight.numel() for weight in make().parameters())
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if weights * TRAINING_BYTES > there:
        raise ValueError(
            f"{setting} describe a model of {weights:,} weights, whose training takes "
            f"{weights * TRAINING_BYTES / 1e9:,.0f} GB; allowed: what fits into the "
            f"{there / 1e9:,.0f} GB of this machine"
        )
