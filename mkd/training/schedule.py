"""Schedules of settings over training, as pure functions of the step."""

from dataclasses import replace

from mkd.config import LossConfig


def linear(start: float, end: float | None, share: float) -> float:
    """Returns the value at `share` (0 to 1) between `start` and `end`; `start` if end is None."""
    return start if end is None else start * (1 - share) + end * share


def annealed(loss: LossConfig, step: int, steps: int) -> LossConfig:
    """Returns the loss settings of `step` (from 0): hard_weight moves linearly to hard_weight_end.

    From 0 to 1 this is teacher annealing (Clark et al. 2019, BAM).
    """
    if loss.hard_weight_end is None:
        return loss
    weight = linear(loss.hard_weight, loss.hard_weight_end, step / max(1, steps - 1))
    return replace(loss, hard_weight=weight, hard_weight_end=None)


def warmup_linear(step: int, steps: int, warmup: float) -> float:
    """Returns the factor on the learning rate at `step` of `steps` (from 0).

    The factor rises linearly during the first `warmup` (a share of the steps), then falls linearly
    towards 0. The first step is not lost: its factor is 1 / (warm-up steps + 1).
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return (steps - step) / max(1, steps - rising)
