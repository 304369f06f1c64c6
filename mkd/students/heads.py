"""Task heads: each model has one linear head per task on a representation that all tasks share."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig

from mkd.runtime.manifest import are_thresholds, is_temperature
from mkd.tokenization.tokens import TaskData, labelled_rows, labels_of

Model = TypeVar("Model", bound=nn.Module)


def on(model: Model, device: torch.device) -> Model:
    """Returns the model, moved to the device. The type of PreTrainedModel's own `to` is useless to
    mypy."""
    return nn.Module.to(model, device)


def head_configs(datas: list[TaskData]) -> dict[str, dict[str, Any]]:
    """Returns the settings of each task's head, as plain values for a model's config.json.

    - `labels`: the class names, in the order of the logits; empty for regression.
    - `pair`: whether the task has two texts.
    - `mean`, `std`: scale of a regression's scores.
    - `multilabel`: true for a multilabel task; other tasks do not have the key.
    - `thresholds`: of tasks that have them (mkd.evaluation.thresholds), added once they are fitted
      (`set_thresholds`): probabilities without the temperature.
    - `temperature`: of a task with classes, added once it is fitted (`set_temperatures`).
    """
    return {
        d.name: {"labels": list(d.kind.labels), "pair": d.kind.pair, "mean": d.mean, "std": d.std}
        | ({"multilabel": True} if d.kind.multilabel else {})
        for d in datas
    }


HEAD_TYPES: dict[str, tuple[type, ...]] = {
    "labels": (list,),
    "pair": (bool,),
    "mean": (int, float),
    "std": (int, float),
}
"""Types of a head's settings in config.json."""


def check_head_configs(config: PreTrainedConfig, where: str) -> None:
    """Raises ValueError, with `where` first, if a saved config's heads do not have the form of
    `head_configs`.

    `max_tokens` and `kept_tokens` are checked too.
    """
    for name in ("max_tokens", "kept_tokens"):
        value = getattr(config, name, None)
        if type(value) is not int or value < (name == "max_tokens"):
            raise ValueError(f"{where}: {name} is {value!r}; allowed: a whole number above 0")
    tasks = config.tasks
    if not isinstance(tasks, dict) or not tasks:
        raise ValueError(f"{where}: tasks is {tasks!r:.80}; allowed: the settings of each head")
    for task, head in tasks.items():
        valid = isinstance(head, dict) and all(
            type(head.get(name)) in types for name, types in HEAD_TYPES.items()
        )
        labels = head["labels"] if valid else []
        valid = valid and all(isinstance(label, str) for label in labels)
        valid = valid and type(head.get("multilabel", False)) is bool
        if valid and "thresholds" in head:
            valid = are_thresholds(head["thresholds"], len(labels))
        valid = valid and is_temperature(head.get("temperature", 1.0))
        valid = valid and math.isfinite(head["mean"]) and 0 < head["std"] < math.inf
        if not valid or len(set(labels)) < len(labels):
            raise ValueError(
                f"{where}: tasks.{task} is {head!r:.80}; allowed: labels, pair, mean and a std "
                "above 0"
            )


def set_thresholds(config: "MultiTaskConfig", thresholds: Mapping[str, np.ndarray]) -> None:
    """Stores the decision thresholds [C] of tasks, by task, in the model's config."""
    for name, thresholds_C in thresholds.items():
        config.tasks[name]["thresholds"] = thresholds_C.tolist()


def thresholds_of(config: "MultiTaskConfig") -> dict[str, np.ndarray]:
    """Returns the decision thresholds [C] of a model's tasks, where they are fitted."""
    return {
        name: np.array(head["thresholds"])
        for name, head in config.tasks.items()
        if "thresholds" in head
    }


def set_temperatures(config: "MultiTaskConfig", temperatures: Mapping[str, float]) -> None:
    """Stores the temperatures of tasks, by task, in the model's config."""
    for name, temperature in temperatures.items():
        config.tasks[name]["temperature"] = temperature


def temperatures_of(config: "MultiTaskConfig") -> dict[str, float]:
    """Returns the temperatures of a model's tasks, by task, where they are fitted."""
    return {
        name: head["temperature"] for name, head in config.tasks.items() if "temperature" in head
    }


class ModelOutput(NamedTuple):
    """A model's logits for a batch, with its hidden states.

    - `logits_BC`: of the task's head.
    - `states`: [B, D] each, the means over each row's tokens; first of the embeddings, then of each
      layer.
    """

    logits_BC: torch.Tensor
    states: list[torch.Tensor]


def token_mean(x_BLD: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
    """Returns the mean over the tokens that the mask shows [B, D]."""
    weights = mask_BL.unsqueeze(2).to(x_BLD.dtype)
    return (x_BLD * weights).sum(1) / weights.sum(1)


class MultiTaskConfig(PreTrainedConfig):
    """The settings that all multi-task models have.

    - `tasks`: head settings by task, from `head_configs`.
    - `max_tokens`: maximum number of tokens of an input in training.
    - `kept_tokens`: number of rows of a trimmed embedding table; 0: the table has all tokens.
    """

    model_type = "mkd"

    def __init__(
        self,
        tasks: dict[str, dict[str, Any]] | None = None,
        dropout: float = 0.1,
        max_tokens: int = 128,
        kept_tokens: int = 0,
        **kwargs: Any,
    ) -> None:
        self.tasks = tasks or {}
        self.dropout = dropout
        self.max_tokens = max_tokens
        self.kept_tokens = kept_tokens
        super().__init__(**kwargs)


class Heads(nn.Module):
    """One linear head for each task, from the representation [B, D] to logits [B, C]."""

    def __init__(self, width: int, config: MultiTaskConfig) -> None:
        super().__init__()
        # Sorted, as the keys in a saved config.json are: a loaded model has its heads in the same
        # order.
        self.names = sorted(config.tasks)
        self.dropout = nn.Dropout(config.dropout)
        self.linears = nn.ModuleList(
            nn.Linear(width, len(config.tasks[name]["labels"]) or 1) for name in self.names
        )

    def forward(self, pooled_BD: torch.Tensor, task: str) -> torch.Tensor:
        logits: torch.Tensor = self.linears[self.names.index(task)](self.dropout(pooled_BD))
        return logits

    def start_at_frequencies(self, datas: list[TaskData]) -> None:
        """Sets the bias of each multilabel head to the log odds of each label among the training
        rows, where both of its values count one half more than they occur.

        Most labels are rare: from a probability of one half, as random weights give, a training of
        few steps learns little but how rare they are. Source: Lin et al. 2017, section 4.1, of one
        probability for all labels.
        """
        for data in datas:
            if data.kind.multilabel:
                labels_RC = labels_of(data.train, data.kind, labelled_rows(data))
                have_C = torch.from_numpy(labels_RC.sum(0, dtype=np.int64))
                linear = self.linears[self.names.index(data.name)]
                assert isinstance(linear, nn.Linear)
                linear.bias.data.copy_(((have_C + 0.5) / (len(labels_RC) - have_C + 0.5)).log())
