"""Optimisers: a lazy Adam for large embedding tables, and fused AdamW for all other parameters.

A lazy Adam updates only the rows of a table that a batch contains.
"""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import AdamW, Optimizer, SparseAdam

from mkd import processes
from mkd.config import TrainConfig

LAZY_ROWS = 2048
"""Smaller tables are left to AdamW: sorting the ids of a batch would cost more than updating all
rows."""

LAZY_BETAS = (0.0, 0.999)
"""The lazy Adam has no momentum. With momentum, Adam spreads a gradient over about ten steps. Most
of these steps do not contain a rare row again, so a lazy Adam would move it by a tenth of what
Adam does."""


class LazyAdam(SparseAdam):
    """Adam that updates only the rows of a table that have a gradient."""

    def step(self) -> None:  # type: ignore[override]
        """Updates the tables. Of a dense gradient the rows that are not 0 count."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None and not table.grad.is_sparse:
                    table.grad = _sparse_rows(table.grad)
        super().step()  # type: ignore[no-untyped-call]


def _sparse_rows(gradient_RE: torch.Tensor) -> torch.Tensor:
    """Returns the rows that are not 0 as a coalesced sparse tensor of the same shape."""
    rows = gradient_RE.any(1).nonzero().flatten()
    return torch.sparse_coo_tensor(
        rows.unsqueeze(0),
        gradient_RE[rows],
        gradient_RE.shape,
        is_coalesced=True,
        check_invariants=False,  # `nonzero` gives sorted rows of the table
    )


def make_optimizers(
    model: nn.Module, config: TrainConfig, others: Iterable[nn.Parameter] = ()
) -> list[Optimizer]:
    """Returns optimisers that together hold each trainable parameter once.

    With `config.lazy`, large embedding tables get a lazy Adam and, in a single process, sparse
    gradients. Rows that are not in a batch then keep weight and moments, and no row of such a table
    decays. Of the other parameters matrices decay; vectors, that is biases and norms, do not.

    - `others`: parameters trained with the model that do not belong to it; they do not decay.
    """
    tables = [
        module
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings >= LAZY_ROWS
    ]
    for table in tables:
        # Processes average dense gradients: the sparse all-reduce of torch 2.13 with gloo crashed
        # after 18,000 steps of a loop, where dense gradients made 60,000.
        table.sparse = config.lazy and processes.count() == 1
    rows = [table.weight for table in tables if config.lazy and table.weight.requires_grad]
    taken = {id(weight) for weight in rows}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
    assert config.learning_rate is not None, "mkd/rates.py has a number for it"
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [*(p for p in rest if p.ndim <= 1), *others], "weight_decay": 0.0},
    ]
    dense = AdamW(groups, lr=config.learning_rate, fused=True)
    return [dense, LazyAdam(rows, lr=config.learning_rate, betas=LAZY_BETAS)] if rows else [dense]


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Scales all gradients, dense and sparse, so that their common norm is at most `limit`.

    Sparse gradients become coalesced: they have one entry for each row in the batch.
    """
    gradients = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            gradients.append(parameter.grad._values())
        elif parameter.grad is not None:
            gradients.append(parameter.grad)
    # The factor stays on the device and is always applied: a comparison here would wait for the
    # device.
    norm = nn.utils.get_total_norm(gradients)
    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
