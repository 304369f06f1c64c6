"""The objective of a training step: the model's loss with all parameters learnt for it."""

import torch
from torch import nn

from mkd.config import LossConfig
from mkd.students import Student
from mkd.training.balance import Balance
from mkd.training.batches import Batch
from mkd.training.losses import LossTerms, distillation
from mkd.training.matching import Matching


class Objective(nn.Module):
    """Computes the loss of a batch.

    It is one module, so that distributed training averages the gradients of all its parameters.

    - `extra_modules`: modules that are trained with the model and discarded afterwards.
    """

    def __init__(self, model: Student, loss: LossConfig, matching: Matching | None) -> None:
        super().__init__()
        self.model = model
        self.balance = Balance(model.config.tasks, loss).to(next(model.parameters()).device)
        self.matching = matching
        self.extra_modules = nn.ModuleList(
            [self.balance] if matching is None else [self.balance, matching]
        )

    def forward(self, batch: Batch, loss: LossConfig, precision: str) -> dict[str, torch.Tensor]:
        """Returns by name the `loss` that is minimised and the terms that it consists of.

        - `loss`: the loss settings of this step.
        - `precision`: `bfloat16` runs the model under autocast; the loss is always in float32.
        """
        device = next(self.model.parameters()).device
        inputs, labels_B = batch.inputs.to(device), batch.labels_B.to(device)
        teacher_BC = None if batch.teacher_BC is None else batch.teacher_BC.to(device)
        taught_B = None if batch.taught_B is None else batch.taught_B.to(device)
        states: list[torch.Tensor] = []
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            if self.matching is None:
                logits_BC = self.model(inputs, batch.task)
            else:
                logits_BC, states = self.model(inputs, batch.task, states=True)
        terms: LossTerms = distillation(logits_BC, teacher_BC, labels_B, loss, taught_B)
        if self.matching is not None:
            terms = self.matching(terms, states, batch.states_BKD, batch.task)
        terms = self.balance(terms, batch.task)
        return {"loss": terms.total} | terms.parts
