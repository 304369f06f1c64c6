"""How settings move over training, as pure functions of the step."""


def warmup_linear(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate at `step` of `steps` (from 0): up from 0 over the share `warmup`, then down to 0.

    The first step already moves: its factor is 1 / (warm-up steps + 1).
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return (steps - step) / max(1, steps - rising)
