"""How much each task's loss counts: alike, by fixed factors, or by factors that are learnt from the tasks' uncertainty."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from mkd import names
from mkd.config import LossConfig
from mkd.training.losses import LossTerms


def check_task_weights(tasks: Iterable[str], config: LossConfig) -> None:
    """Raises ValueError where loss.task_weights does not name just the tasks there are."""
    known = sorted(tasks)
    if config.task_weights and sorted(config.task_weights) != known:
        raise ValueError(f"loss.task_weights names {sorted(config.task_weights)}; allowed: a weight for each of {known}")


class Balance(nn.Module):
    """Turns the total of a task's batch into what is minimised.

    With `uncertainty` each task has a learnt s = log(variance), 0 at first, and its loss L becomes (Kendall et al. 2018,
    equations 7 and 10) exp(-s) L + s / 2 for classification, exp(-s) L / 2 + s / 2 for regression. So a task whose loss
    stays large counts less. A task's s moves in steps that have a batch of it, as its head does.
    """

    def __init__(self, tasks: Mapping[str, Mapping[str, Any]], config: LossConfig) -> None:
        """tasks: by name, as a model's config has them."""
        super().__init__()
        learnt = sorted(tasks) if config.balance == "uncertainty" else []
        self.places = {name: place for place, name in enumerate(learnt)}
        self.halved = {name: 1.0 if tasks[name]["labels"] else 0.5 for name in learnt}
        self.factors = config.task_weights
        self.log_variances = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in learnt)

    def forward(self, terms: LossTerms, task: str) -> LossTerms:
        """The terms with another total."""
        if self.places:
            log_variance = self.log_variances[self.places[task]]
            return terms._replace(total=self.halved[task] * (-log_variance).exp() * terms.total + log_variance / 2)
        return terms._replace(total=self.factors[task] * terms.total) if self.factors else terms

    def metrics(self) -> dict[str, float]:
        """`train/log_variance/<task>` of those that are learnt."""
        values = torch.stack(list(self.log_variances)).tolist() if self.places else []
        return {names.train(names.LOG_VARIANCE, name): value for name, value in zip(self.places, values, strict=True)}
