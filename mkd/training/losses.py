"""Losses of a student: soft targets from the teacher, hard labels, and their mixture.

Axes: B rows of a batch, C classes (1 for regression). Labels of a multilabel task are [B, C]; those
of all others are [B].
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from mkd.config import LossConfig

LABELLED = ("hard",)
"""Names of the terms that are means over labelled rows. All other terms are means over all rows."""


class LossTerms(NamedTuple):
    """Scalar losses of a batch: the `total` that is minimised, and its `parts` by name."""

    total: torch.Tensor
    parts: dict[str, torch.Tensor]


def logit_mse(student_BC: torch.Tensor, teacher_BC: torch.Tensor) -> torch.Tensor:
    """Returns the mean squared error between logits over rows and classes: logit_sse / C."""
    return F.mse_loss(student_BC.float(), teacher_BC.float())


def logit_sse(student_BC: torch.Tensor, teacher_BC: torch.Tensor) -> torch.Tensor:
    """Returns ||z_T - z_S||^2, the mean over rows (Liu et al. 2019, the distillation objective)."""
    return F.mse_loss(student_BC.float(), teacher_BC.float(), reduction="sum") / len(student_BC)


def softened_kl(
    student_BC: torch.Tensor, teacher_BC: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Returns T^2 KL(softmax(teacher / T) || softmax(student / T)), the mean over rows.

    Source: Hinton et al. 2015, section 2, for the factor T^2 and the temperature T.
    """
    student = F.log_softmax(student_BC.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_BC.float() / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def softened_binary_kl(
    student_BC: torch.Tensor, teacher_BC: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Returns T^2 sum_c KL(sigmoid(teacher_c / T) || sigmoid(student_c / T)), the mean over rows.

    Each label of a multilabel task is a distribution over two values. The sum over labels is the
    divergence of the joint distributions, as labels are independent given the row. Its gradient in
    the student is that of the cross-entropy with the teacher's probabilities as soft targets.
    """
    student = student_BC.float() / temperature
    teacher = teacher_BC.float() / temperature
    chance = teacher.sigmoid()
    kl_BC = chance * (F.logsigmoid(teacher) - F.logsigmoid(student)) + (1 - chance) * (
        F.logsigmoid(-teacher) - F.logsigmoid(-student)
    )
    return temperature**2 * kl_BC.sum() / len(student_BC)


def has_label(labels_B: torch.Tensor) -> torch.Tensor:
    """Returns which rows have a label [B]."""
    return ~(labels_B if labels_B.ndim == 1 else labels_B[:, 0]).isnan()


def hard_loss(logits_BC: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
    """Returns the cross-entropy with the labels, or the squared error if C is 1.

    For labels [B, C] of a multilabel task it is the sum over labels of the binary cross-entropy:
    the negative log-likelihood of the row's labels, as in the other tasks.

    It is the mean over the rows whose label is not NaN, and 0 if there is no such row.
    """
    known_B = has_label(labels_B)
    # Rows without a label are masked, not removed: all shapes are known without waiting for the
    # device. Their NaN has to go first, as NaN * 0 is NaN.
    target_B = labels_B.nan_to_num(0.0)
    if labels_B.ndim == 2:
        loss_B = F.binary_cross_entropy_with_logits(
            logits_BC.float(), target_B, reduction="none"
        ).sum(1)
    elif logits_BC.shape[1] == 1:
        loss_B = (logits_BC.float()[:, 0] - target_B) ** 2
    else:
        loss_B = F.cross_entropy(logits_BC.float(), target_B.long(), reduction="none")
    return (loss_B * known_B).sum() / known_B.sum().clamp(min=1)


def distillation(
    logits_BC: torch.Tensor,
    teacher_BC: torch.Tensor | None,
    labels_B: torch.Tensor,
    config: LossConfig,
    taught_B: torch.Tensor | None = None,
) -> LossTerms:
    """Returns the loss of one task's batch; without a teacher it is the hard loss.

    The total is the mean over rows of w * hard + (1 - w) * soft. w is hard_weight for a row with a
    label and an answer of the teacher, 0 for a row without a label, and 1 for a row without an
    answer. So a row without a label always learns from the teacher with full weight. This holds
    also when hard_weight moves towards the labels during training.

    - taught_B: which rows have an answer; None: all.
    """
    hard = hard_loss(logits_BC, labels_B)
    if teacher_BC is None:
        return LossTerms(hard, {"soft": torch.zeros_like(hard), "hard": hard})
    multilabel = labels_B.ndim == 2
    if taught_B is not None:
        # With the student's own logits for the teacher's, a row's soft loss and gradient are 0.
        teacher_BC = torch.where(taught_B[:, None], teacher_BC, logits_BC.float().detach())
    soft = _soft_loss(logits_BC, teacher_BC, config, multilabel)
    terms = {"soft": soft, "hard": hard}
    known_B = has_label(labels_B)
    total = soft
    if taught_B is not None:
        # Rows without an answer have the hard loss alone, and the others share hard_weight.
        alone_B = known_B & ~taught_B
        total = total + hard_loss(logits_BC, _only(labels_B, alone_B)) * alone_B.float().mean()
        hard = hard_loss(logits_BC, _only(labels_B, taught_B))
        known_B = known_B & taught_B
    if config.hard_weight == 0:
        return LossTerms(total, terms)
    # With the teacher's own logits, rows without a label have a soft loss of 0. What is left is the
    # soft loss of the labelled rows, divided by the number of all rows.
    soft_of_known = _soft_loss(
        torch.where(known_B[:, None], logits_BC.float(), teacher_BC), teacher_BC, config, multilabel
    )
    return LossTerms(
        total + config.hard_weight * (hard * known_B.float().mean() - soft_of_known), terms
    )


def _only(labels_B: torch.Tensor, rows_B: torch.Tensor) -> torch.Tensor:
    """Returns the labels of some rows, with NaN for the others."""
    return labels_B.where(rows_B.view(-1, *[1] * (labels_B.ndim - 1)), torch.nan)


def _soft_loss(
    logits_BC: torch.Tensor, teacher_BC: torch.Tensor, config: LossConfig, multilabel: bool
) -> torch.Tensor:
    if config.kind == "mse" or (logits_BC.shape[1] == 1 and not multilabel):
        return logit_mse(logits_BC, teacher_BC)
    if config.kind == "sse":
        return logit_sse(logits_BC, teacher_BC)
    if multilabel:
        return softened_binary_kl(logits_BC, teacher_BC, config.temperature)
    return softened_kl(logits_BC, teacher_BC, config.temperature)
