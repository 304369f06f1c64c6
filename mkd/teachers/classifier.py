"""A sequence classifier that was fine-tuned elsewhere, with the interface of a student.

Axes: B rows of a batch, C classes (1 for regression), L tokens.
"""

import torch
from torch import nn
from transformers import PreTrainedModel

from mkd.students.heads import ModelOutput, MultiTaskConfig, head_configs, token_mean
from mkd.tokenization.tokens import Inputs, TaskData


class Classifier(nn.Module):
    """A sequence classifier with the interface of a student, in the order of the task's labels."""

    joined = True

    def __init__(
        self, model: PreTrainedModel, order: list[int], data: TaskData, max_tokens: int
    ) -> None:
        super().__init__()
        self.model = model
        self.order = order
        self.config = MultiTaskConfig(tasks=head_configs([data]), max_tokens=max_tokens)
        # Token types are for models that have an embedding for the second text of a pair.
        self.typed = getattr(model.config, "type_vocab_size", 0) > 1

    def get_input_embeddings(self) -> nn.Module:
        """Returns the checkpoint's table of word embeddings."""
        return self.model.get_input_embeddings()

    def forward(
        self, inputs: Inputs, task: str, states: bool = False
    ) -> torch.Tensor | ModelOutput:
        """Returns logits [B, C], in the units of a regression; with `states`, a ModelOutput."""
        types = {"token_type_ids": inputs.types} if self.typed and inputs.types is not None else {}
        mask_BL, options = inputs.mask[:, 0], {"output_hidden_states": True} if states else {}
        output = self.model(input_ids=inputs.ids[:, 0], attention_mask=mask_BL, **types, **options)
        logits_BC: torch.Tensor = output.logits[:, self.order]
        return (
            ModelOutput(logits_BC, [token_mean(state, mask_BL) for state in output.hidden_states])
            if states
            else logits_BC
        )
