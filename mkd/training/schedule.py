"""How settings move over training, as pure functions of the step."""

from dataclasses import replace

from mkd.config import LossConfig


def linear(start: float, end: float | None, share: float) -> float:
    """From start, where share is 0, straight to end, where it is 1; always start where there is no end."""
    return start if end is None else start * (1 - share) + end * share


def annealed(loss: LossConfig, step: int, steps: int) -> LossConfig:
    """The loss of `step` (from 0): its weight of the labels has `hard_weight_end` in the last step.

    From 0 to 1 it is teacher annealing (Clark et al. 2019, BAM).
    """
    if loss.hard_weight_end is None:
        return loss
    weight = linear(loss.hard_weight, loss.hard_weight_end, step / max(1, steps - 1))
    return replace(loss, hard_weight=weight, hard_weight_end=None)


def warmup_linear(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate at `step` of `steps` (from 0): up from 0 over the share `warmup`, then down to 0.

    The first step already moves: its factor is 1 / (warm-up steps + 1).
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return (steps - step) / max(1, steps - rising)
