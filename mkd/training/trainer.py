"""The training loop: teacher refinement, distillation and hard-label training share it.

They differ only in their batches and loss settings.
"""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from mkd import names, processes
from mkd.config import LossConfig, TrainConfig
from mkd.result import Report, no_report
from mkd.storage.run_folder import Checkpoint
from mkd.students import Student
from mkd.tasks.metrics import NotFinite
from mkd.training.batches import Batch
from mkd.training.matching import Matching
from mkd.training.objective import Objective
from mkd.training.optim import clip_gradients, make_optimizers
from mkd.training.schedule import annealed, warmup_linear
from mkd.training.shares import BatchShare, split_batch
from mkd.training.state import TrainingState

LOG_EVERY = 25
"""Steps between reports of the losses. A loss that is not finite is detected at each report."""
SHOWN_SECONDS = 0.1
"""Seconds between reports that only move a progress bar. A report at each step of a small student
would take a sixth of its time."""


class TrainingOutcome(NamedTuple):
    """The outcome of a training.

    - `best_step`: the step whose weights were kept.
    - `best_score`: its mean score on the selection split.
    - `steps`: number of steps made, fewer than train.steps after early stopping.
    """

    best_step: int
    best_score: float
    steps: int


class TrainingStep(NamedTuple):
    """The task of one step, its loss and terms by name, and this process's share of the batch."""

    task: str
    terms: dict[str, torch.Tensor]
    share: BatchShare


BatchStream = Callable[[int], Iterator[Batch]]
"""Returns an iterator over batches that skips the given number of first batches."""


def train_model(
    model: Student,
    batches: BatchStream,
    scores: Callable[[], dict[str, float]],
    loss: LossConfig,
    config: TrainConfig,
    report: Report = no_report,
    checkpoint: Checkpoint | None = None,
    matching: Matching | None = None,
) -> TrainingOutcome:
    """Trains the model in place and restores the weights of its best evaluation.

    - `scores`: returns each task's score and their `mean` on the selection split.
    - `report`: receives the share of the steps from the first step on, a few times a second, and
      `train/...` and `selection/...` during training. At the end it receives
      `sampling/<task>`, the share of batches that came from the task.
    - `checkpoint`: where the state is saved. A saved state is resumed, and the resumed training
      ends with the same weights as an uninterrupted one.
    - `matching`: on the model's device; None if no hidden states are matched.

    Gradients of the model are clipped; those of `matching` and of the learnt task weights are not.

    Raises ValueError if a loss or the logits on the selection split are not finite; the message
    names the step and the task. Raises ValueError too if no score on that split is a number.
    """
    device = next(model.parameters()).device
    peak = config.learning_rate
    assert peak is not None, "mkd/rates.py has a number for it"
    objective = Objective(model, loss, matching)
    optimizers = make_optimizers(model, config, objective.extra_modules.parameters())
    joined = processes.distributed(objective, device.type)
    state = TrainingState(model, objective.extra_modules, optimizers)
    if checkpoint is not None and (saved := checkpoint.load()):
        state.restore(saved)
    # The order of batches depends on the seed alone, so a resumed training skips those already
    # drawn.
    stream = batches(state.drawn.total())
    window: list[TrainingStep] = []
    first, next_shown = state.drawn.total() + 1, 0.0

    def going() -> bool:
        return state.step < config.steps and (
            config.patience == 0 or state.since_best < config.patience
        )

    while going():
        joined.train()
        for optimizer in optimizers:
            optimizer.zero_grad()
        batch = next(stream)
        process_batch, batch_share = split_batch(batch)
        terms = joined(process_batch, annealed(loss, state.step, config.steps), config.precision)
        (terms["loss"] * batch_share.factor()).backward()
        # Terms stay on the device until the next report: reading one here would wait for the
        # device.
        window.append(
            TrainingStep(
                batch.task, {name: term.detach() for name, term in terms.items()}, batch_share
            )
        )
        state.drawn[batch.task] += 1
        clip_gradients(model.parameters(), config.clip)
        rate = peak * warmup_linear(state.step, config.steps, config.warmup)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

        state.step += 1
        if (now := time.monotonic()) >= next_shown:
            next_shown = now + SHOWN_SECONDS
            shown = {names.SHARE: state.step / config.steps}
            if state.drawn.total() == first:
                # One value to show until the first losses are reported; it waits for the device.
                shown[names.SHOWN_LOSS] = float(terms["loss"].detach())
            report(state.step, shown)
        due = state.step % config.eval_every == 0 or state.step == config.steps
        if state.step % LOG_EVERY == 0 or due:
            progress = {names.LEARNING_RATE: rate, names.SHARE: state.step / config.steps}
            losses = _losses(window, state.step)
            report(state.step, losses | objective.balance.metrics() | progress)
            window = []
            if due:
                # All processes use the same scores, so that they keep the same weights and stop at
                # the same step.
                scored = processes.from_first(lambda: _scored(scores, state.step))
                report(state.step, names.of(names.SELECTION, scored))
                state.compare(scored["mean"])
            if (
                checkpoint is not None
                and processes.is_first()
                and (checkpoint.due() or not going())
            ):
                checkpoint.save(state.saved())
    shares = {task: count / state.drawn.total() for task, count in state.drawn.items()}
    report(state.step, names.of(names.SAMPLING, shares))
    if not state.best_weights:
        raise ValueError(
            f"no score on the selection split was a number up to step {state.step}; try a smaller "
            "train.learning_rate"
        )
    model.load_state_dict(state.best_weights)
    return TrainingOutcome(state.best_step, state.best_score, state.step)


def _scored(scores: Callable[[], dict[str, float]], step: int) -> dict[str, float]:
    """Returns the scores.

    Raises ValueError, with the step, if the model's outputs are not finite. The loss alone does not
    show this for the last update before an evaluation.
    """
    try:
        return scores()
    except NotFinite as error:
        raise ValueError(
            f"{error}, at step {step}; try a smaller train.learning_rate, or a smaller train.clip"
        ) from None


def _losses(window: list[TrainingStep], done: int) -> dict[str, float]:
    """Returns the mean losses by task over the window of steps that ends with step `done`.

    Raises ValueError for the first step whose loss or terms are not finite.
    """
    terms = list(window[0].terms)
    # All values are read with one synchronisation for the whole window.
    means = torch.stack([torch.stack([step.terms[term] for term in terms]) for step in window])
    shares = torch.tensor([[step.share.of(term) for term in terms] for step in window])
    values = processes.sum_over_processes(means * shares.to(means.device)).tolist()
    by_task: dict[str, list[list[float]]] = {}
    for place, (step, row) in enumerate(zip(window, values, strict=True)):
        if not all(abs(value) < float("inf") for value in row):
            raise ValueError(
                f"the loss became {row[0]} at step {done - (len(window) - 1 - place)}, task "
                f"{step.task}; "
                "try a smaller train.learning_rate, or a smaller train.clip"
            )
        by_task.setdefault(step.task, []).append(row)
    return {
        names.train(term, task): sum(row[i] for row in rows) / len(rows)
        for task, rows in by_task.items()
        for i, term in enumerate(terms)
    }
