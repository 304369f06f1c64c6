"""What a student is trained on: soft targets from the teacher, hard labels, and their mixture.

Axes: B rows of a batch, C classes (1 for regression).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from mkd.config import LossConfig

LABELLED = ("hard",)
"""The terms that are means over the rows that have a label; all others are means over all rows."""


class LossTerms(NamedTuple):
    """Scalars. total: what is minimised. parts: by name the terms that it is made of."""

    total: torch.Tensor
    parts: dict[str, torch.Tensor]


def logit_mse(student_BC: torch.Tensor, teacher_BC: torch.Tensor) -> torch.Tensor:
    """Mean squared error between logits, over rows and classes: logit_sse / C."""
    return F.mse_loss(student_BC.float(), teacher_BC.float())


def logit_sse(student_BC: torch.Tensor, teacher_BC: torch.Tensor) -> torch.Tensor:
    """||z_T - z_S||^2, mean over rows (Liu et al. 2019, the distillation objective)."""
    return F.mse_loss(student_BC.float(), teacher_BC.float(), reduction="sum") / len(student_BC)


def softened_kl(student_BC: torch.Tensor, teacher_BC: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over rows (Hinton et al. 2015, section 2)."""
    student = F.log_softmax(student_BC.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_BC.float() / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def hard_loss(logits_BC: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, or squared error where C is 1, mean over the rows whose label is not NaN; 0 where there is none."""
    known_B = ~labels_B.isnan()
    target_B = labels_B.nan_to_num(0.0)
    if logits_BC.shape[1] == 1:
        loss_B = (logits_BC.float()[:, 0] - target_B) ** 2
    else:
        loss_B = F.cross_entropy(logits_BC.float(), target_B.long(), reduction="none")
    return (loss_B * known_B).sum() / known_B.sum().clamp(min=1)


def distillation(
    logits_BC: torch.Tensor, teacher_BC: torch.Tensor | None, labels_B: torch.Tensor, config: LossConfig
) -> LossTerms:
    """The loss of one task's batch; without a teacher its hard loss.

    total is the mean over rows of w * hard + (1 - w) * soft, where w is hard_weight in rows that have a label and 0 in
    those that have none. So a row without a label learns from the teacher at full weight, also when the weight moves to
    the labels over training: text without labels goes on to count by its share of the rows.
    """
    hard = hard_loss(logits_BC, labels_B)
    if teacher_BC is None:
        return LossTerms(hard, {"soft": torch.zeros_like(hard), "hard": hard})
    soft = _soft_loss(logits_BC, teacher_BC, config)
    parts = {"soft": soft, "hard": hard}
    if config.hard_weight == 0:
        return LossTerms(soft, parts)
    known_B = ~labels_B.isnan()
    # A row that has the teacher's own logits has no soft loss.
    soft_of_known = _soft_loss(torch.where(known_B[:, None], logits_BC.float(), teacher_BC), teacher_BC, config)
    return LossTerms(soft + config.hard_weight * (hard * known_B.float().mean() - soft_of_known), parts)


def _soft_loss(logits_BC: torch.Tensor, teacher_BC: torch.Tensor, config: LossConfig) -> torch.Tensor:
    if config.kind == "mse" or logits_BC.shape[1] == 1:
        return logit_mse(logits_BC, teacher_BC)
    if config.kind == "sse":
        return logit_sse(logits_BC, teacher_BC)
    return softened_kl(logits_BC, teacher_BC, config.temperature)
