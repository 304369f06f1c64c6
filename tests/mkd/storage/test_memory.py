"""Models and arrays that do not fit into memory."""

import numpy as np
import pytest
import torch
from torch import nn

from mkd.storage.memory import check_fits, memory_errors


def test_a_model_that_cannot_fit_is_refused_before_it_is_made() -> None:
    check_fits(lambda: nn.Linear(10, 10), "the sizes")
    with pytest.raises(ValueError) as caught:
        check_fits(lambda: nn.Linear(10**6, 10**6), "the sizes")
    message = (
        "the sizes describe a model of 1,000,001,000,000 weights, whose training takes 16,000 GB"
    )
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "fill",
    [lambda: torch.empty(10**15), lambda: torch.empty(2**62, 2**62), lambda: np.empty(10**16),
     lambda: 10.0**400, lambda: torch.tensor(2**70), lambda: np.empty(2**62)],
    ids=["torch", "overflow in torch", "numpy", "overflow", "a number", "an array"],
)  # fmt: skip
def test_a_memory_error_is_one_line(fill: object) -> None:
    message = "the memory does not suffice, or a number is too large"
    with pytest.raises(OSError, match=message), memory_errors():
        fill()  # type: ignore[operator]


def test_other_errors_are_unchanged() -> None:
    with pytest.raises(RuntimeError, match="something else"), memory_errors():
        raise RuntimeError("something else")
    with pytest.raises(ValueError, match="something else"), memory_errors():
        raise ValueError("something else")
