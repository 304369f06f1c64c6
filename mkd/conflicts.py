"""Gradients of several tasks that pull the shared layers apart, made to agree (PCGrad).

Axes: T tasks.
"""

from collections.abc import Iterable

import torch
from torch import nn


def projection_weights(gram_TT: torch.Tensor, order_TT: torch.Tensor) -> torch.Tensor:
    """Weights a_T such that sum_k a_k g_k is the sum of the tasks' gradients after PCGrad (Yu et al. 2020, algorithm 1).

    gram_TT: inner products <g_i, g_j>. order_TT: row i is the order in which task i meets the tasks, itself among them.
    Task i starts as g_i; at each task j whose g_j it conflicts with (a negative product) it loses its part along g_j.
    It stays a combination of the gradients all the while, so its row of coefficients and their products are enough.
    """
    tasks = torch.arange(len(gram_TT), device=gram_TT.device)
    mixed_TT = torch.eye(len(gram_TT), dtype=gram_TT.dtype, device=gram_TT.device)
    squares_T = gram_TT.diagonal().clamp(min=torch.finfo(gram_TT.dtype).tiny)
    for met_T in order_TT.T:
        products_T = (mixed_TT @ gram_TT)[tasks, met_T]
        # No task meets itself.
        mixed_TT[tasks, met_T] -= torch.where(met_T == tasks, 0, products_T.clamp(max=0)) / squares_T[met_T]
    return mixed_TT.sum(0)


class TaskGradients:
    """The shared layers' gradients of each task, gathered over the batches of one step and merged at its end.

    Nothing of it outlives a step. The tasks' order is drawn from torch's own generator, as dropout is.
    """

    def __init__(self, shared: Iterable[nn.Parameter]) -> None:
        self.shared = [parameter for parameter in shared if parameter.requires_grad]
        self.by_task: dict[str, list[torch.Tensor]] = {}

    def take(self, task: str) -> None:
        """Moves what a backward pass has left in the shared layers to the task's account."""
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.shared]
        for parameter in self.shared:
            parameter.grad = None
        before = self.by_task.get(task)
        self.by_task[task] = found if before is None else [a + b for a, b in zip(before, found, strict=True)]

    def merge(self) -> None:
        """Puts the sum of the projected gradients into the shared layers, and forgets all accounts."""
        by_task = list(self.by_task.values())
        order_TT = torch.stack([torch.randperm(len(by_task)) for _ in by_task]).to(by_task[0][0].device)
        gram_TT = sum(_products([gradients[place] for gradients in by_task]) for place in range(len(self.shared)))
        assert isinstance(gram_TT, torch.Tensor), "a model has shared layers"
        weights = projection_weights(gram_TT, order_TT).unbind()
        for place, parameter in enumerate(self.shared):
            first, *others = (weight * gradients[place] for weight, gradients in zip(weights, by_task, strict=True))
            parameter.grad = sum(others, first)
        self.by_task = {}


def _products(gradients: list[torch.Tensor]) -> torch.Tensor:
    """Inner products of one parameter's gradients by all tasks [T, T]; row-sparse ones are never made dense."""
    if not gradients[0].is_sparse:
        rows = torch.stack([gradient.flatten() for gradient in gradients])
        return rows @ rows.T
    return torch.stack([torch.stack([(a * b).sum() for b in gradients]) for a in gradients])
