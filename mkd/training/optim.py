"""The optimiser: a lazy Adam for the rows of large embedding tables that a batch touches, fused AdamW for all else."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import AdamW, Optimizer, SparseAdam

from mkd.config import TrainConfig

LAZY_ROWS = 2048
"""Tables with fewer rows than this are left to AdamW: to sort the batch's ids would cost more than a pass over them."""

LAZY_BETAS = (0.0, 0.999)
"""No momentum: Adam spreads a gradient over the ten or so steps after it, in most of which a rare row is not touched again, so
that with momentum a lazy Adam would move it by a tenth of what Adam does."""


def make_optimizers(model: nn.Module, config: TrainConfig, others: Iterable[nn.Parameter] = ()) -> list[Optimizer]:
    """Optimisers that together hold each trainable parameter once; with `config.lazy` large tables get sparse gradients.

    others: parameters that are learnt beside the model's, without decay.
    Of those rows that a batch does not touch a lazy Adam moves neither weight nor moments, and they do not decay. Matrices
    elsewhere decay; biases and norms, which are vectors, do not.
    """
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding) and module.num_embeddings >= LAZY_ROWS]
    for table in tables:
        table.sparse = config.lazy
    rows = [table.weight for table in tables if config.lazy and table.weight.requires_grad]
    taken = {id(weight) for weight in rows}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
    assert config.learning_rate is not None, "mkd/rates.py has a number for it"
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [*(p for p in rest if p.ndim <= 1), *others], "weight_decay": 0.0},
    ]
    dense = AdamW(groups, lr=config.learning_rate, fused=True)
    return [dense, SparseAdam(rows, lr=config.learning_rate, betas=LAZY_BETAS)] if rows else [dense]


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Scales all gradients, sparse ones too, so that their common norm is at most the limit; no synchronisation.

    Sparse gradients become coalesced: one row for each that the batch touches.
    """
    gradients = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            gradients.append(parameter.grad._values())
        elif parameter.grad is not None:
            gradients.append(parameter.grad)
    norm = nn.utils.get_total_norm(gradients)
    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
