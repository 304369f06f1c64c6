"""The state of a training: progress, weights, best weights, optimisers and random numbers."""

from collections import Counter

import torch
from torch import nn
from torch.optim import Optimizer

from mkd.storage.run_folder import SavedState


class TrainingState:
    """A training at one step.

    - `step`: number of optimiser steps made.
    - `drawn`: number of batches drawn, by task.
    - `best_step`, `best_score`, `best_weights`: those of the best evaluation so far.
    - `since_best`: number of evaluations after the best one.
    """

    def __init__(self, model: nn.Module, others: nn.Module, optimizers: list[Optimizer]) -> None:
        """Takes the model, other modules that are trained with it, and the optimisers of both."""
        self.modules = {"model": model, "others": others}
        self.optimizers = optimizers
        self.step = 0
        self.drawn: Counter[str] = Counter()
        self.best_step, self.best_score, self.since_best = 0, float("-inf"), 0
        self.best_weights: dict[str, torch.Tensor] = {}

    def compare(self, score: float) -> None:
        """Keeps a copy of the weights if the score is higher than all scores before."""
        self.since_best += 1
        if score > self.best_score:
            self.best_step, self.best_score, self.since_best = self.step, score, 0
            self.best_weights = {
                name: value.detach().clone()
                for name, value in self.modules["model"].state_dict().items()
            }

    def saved(self) -> SavedState:
        """Returns the complete state as tensors and JSON values, for a checkpoint."""
        tensors = {f"best/{name}": value for name, value in self.best_weights.items()}
        for role, module in self.modules.items():
            tensors |= {f"{role}/{name}": value for name, value in module.state_dict().items()}
        counts: dict[str, int] = {}
        for place, optimizer in enumerate(self.optimizers):
            for index, values in optimizer.state_dict()["state"].items():
                for name, value in values.items():
                    # AdamW counts its steps in a tensor, the lazy Adam in a plain number.
                    (tensors if isinstance(value, torch.Tensor) else counts)[
                        f"optimizer/{place}/{index}/{name}"
                    ] = value
        tensors["random/cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random/cuda"] = torch.cuda.get_rng_state()
        names = ("step", "drawn", "best_step", "best_score", "since_best")
        return SavedState(
            tensors, {"counts": counts} | {name: getattr(self, name) for name in names}
        )

    def restore(self, saved: SavedState) -> None:
        """Restores the state that `saved` has returned."""
        numbers = dict(saved.numbers)
        self.drawn = Counter(numbers.pop("drawn"))
        entries = numbers.pop("counts") | saved.tensors
        for name, value in numbers.items():
            setattr(self, name, value)
        for role, module in self.modules.items():
            module.load_state_dict(_below(saved.tensors, role))
        self.best_weights = _below(saved.tensors, "best")
        for place, optimizer in enumerate(self.optimizers):
            by_index: dict[int, dict[str, object]] = {}
            for name, value in _below(entries, f"optimizer/{place}").items():
                index, _, key = name.partition("/")
                by_index.setdefault(int(index), {})[key] = value
            optimizer.load_state_dict(
                {"state": by_index, "param_groups": optimizer.state_dict()["param_groups"]}
            )
        torch.set_rng_state(saved.tensors["random/cpu"])
        if torch.cuda.is_available() and "random/cuda" in saved.tensors:
            torch.cuda.set_rng_state(saved.tensors["random/cuda"])


def _below(values: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Returns the entries below a prefix, with the prefix removed from their names."""
    return {
        name.removeprefix(f"{prefix}/"): value
        for name, value in values.items()
        if name.startswith(f"{prefix}/")
    }
