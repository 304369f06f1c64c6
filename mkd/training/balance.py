"""Weights of the tasks' losses: equal, fixed factors, or factors learnt from task uncertainty."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from mkd import names
from mkd.config import LossConfig
from mkd.training.losses import LossTerms


def check_task_weights(tasks: Iterable[str], config: LossConfig) -> None:
    """Raises ValueError if loss.task_weights does not have exactly one weight for each task."""
    known = sorted(tasks)
    if config.task_weights and sorted(config.task_weights) != known:
        raise ValueError(
            f"loss.task_weights names {sorted(config.task_weights)}; allowed: a weight for each of "
            f"{known}"
        )


class Balance(nn.Module):
    """Computes the loss that is minimised from the loss of one task's batch.

    With `loss.balance=fixed`, the loss is multiplied by the task's factor in loss.task_weights (1
    by default).

    With `loss.balance=uncertainty`, each task has a learnt parameter s = log(variance), which
    starts at 0. The loss L becomes (Kendall et al. 2018, equations 7 and 10) exp(-s) L + s / 2 for
    classification and exp(-s) L / 2 + s / 2 for regression. A task whose loss stays large therefore
    gets a smaller weight. Like a task's head, its s is updated only in steps with a batch of that
    task.
    """

    def __init__(self, tasks: Mapping[str, Mapping[str, Any]], config: LossConfig) -> None:
        """Takes the tasks' head settings by name, as in a model's config."""
        super().__init__()
        learnt = sorted(tasks) if config.balance == "uncertainty" else []
        self.places = {name: place for place, name in enumerate(learnt)}
        self.halved = {name: 1.0 if tasks[name]["labels"] else 0.5 for name in learnt}
        self.factors = config.task_weights
        self.log_variances = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in learnt)

    def forward(self, terms: LossTerms, task: str) -> LossTerms:
        """Returns the terms with the weighted total; the single terms stay unweighted."""
        if self.places:
            log_variance = self.log_variances[self.places[task]]
            return terms._replace(
                total=self.halved[task] * (-log_variance).exp() * terms.total + log_variance / 2
            )
        return terms._replace(total=self.factors[task] * terms.total) if self.factors else terms

    def metrics(self) -> dict[str, float]:
        """Returns `train/log_variance/<task>` by task; empty unless the factors are learnt."""
        values = torch.stack(list(self.log_variances)).tolist() if self.places else []
        return {
            names.train(names.LOG_VARIANCE, name): value
            for name, value in zip(self.places, values, strict=True)
        }
