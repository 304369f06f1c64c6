"""What every model here shares: a linear head for each task on top of one representation of the text."""

from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from transformers import PreTrainedConfig

from mkd.tokenization.tokens import TaskData

Model = TypeVar("Model", bound=nn.Module)


def on(model: Model, device: torch.device) -> Model:
    """The model, moved to the device; PreTrainedModel's own `to` has a type that says nothing."""
    return nn.Module.to(model, device)


def head_configs(datas: list[TaskData]) -> dict[str, dict[str, Any]]:
    """Each task's head as plain values for a model's config.json: its labels, arity and scale of a score."""
    return {d.name: {"labels": list(d.kind.labels), "pair": d.kind.pair, "mean": d.mean, "std": d.std} for d in datas}


class Answer(NamedTuple):
    """What a model says of a batch, and how it came to it.

    logits_BC: of a task's head. states: [B, D] each, in the mean over the row's tokens: of the embeddings, then of each layer.
    """

    logits_BC: torch.Tensor
    states: list[torch.Tensor]


def token_mean(x_BLD: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
    """The mean over the tokens that the mask shows [B, D]."""
    weights = mask_BL.unsqueeze(2).to(x_BLD.dtype)
    return (x_BLD * weights).sum(1) / weights.sum(1)


class MultiTaskConfig(PreTrainedConfig):
    """Settings that all multi-task models have.

    tasks: by name, as head_configs gives them. max_tokens: the longest input, as it was trained. kept_tokens: rows of a
    table of word embeddings that is trimmed; 0: it has a row for every token.
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
    """One linear head a task: representation [B, D] -> logits [B, C].

    The heads are in the order of the tasks' names: a saved config.json has its keys sorted.
    """

    def __init__(self, width: int, config: MultiTaskConfig) -> None:
        super().__init__()
        self.names = sorted(config.tasks)
        self.dropout = nn.Dropout(config.dropout)
        self.linears = nn.ModuleList(nn.Linear(width, len(config.tasks[name]["labels"]) or 1) for name in self.names)

    def forward(self, pooled_BD: torch.Tensor, task: str) -> torch.Tensor:
        logits: torch.Tensor = self.linears[self.names.index(task)](self.dropout(pooled_BD))
        return logits
