"""The one training loop: a teacher's refinement, distillation and hard-label training differ in batches and loss only."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from mkd import names, processes
from mkd.config import LossConfig, TrainConfig
from mkd.result import Report, silent
from mkd.storage.run_folder import Checkpoint
from mkd.students import Student
from mkd.tasks.metrics import NotFinite
from mkd.training.batches import Batch
from mkd.training.matching import Matching
from mkd.training.objective import Objective
from mkd.training.optim import clip_gradients, make_optimizers
from mkd.training.schedule import annealed, warmup_linear
from mkd.training.shares import Share, share
from mkd.training.state import State

LOG_EVERY = 25
"""Steps between reports of the losses, and between looks for one that is not a number."""


class Trained(NamedTuple):
    """The step whose weights were kept, its mean score on the selection split, and the steps that were made."""

    best_step: int
    best_score: float
    steps: int


class Step(NamedTuple):
    """One step's task, its loss and terms by name, and how much of the batch was this process's."""

    task: str
    terms: dict[str, torch.Tensor]
    share: Share


Batches = Callable[[int], Iterator[Batch]]
"""Of a number: all batches but so many first ones, which were drawn before."""


def train(
    model: Student,
    batches: Batches,
    scores: Callable[[], dict[str, float]],
    loss: LossConfig,
    config: TrainConfig,
    report: Report = silent,
    checkpoint: Checkpoint | None = None,
    matching: Matching | None = None,
) -> Trained:
    """Trains the model in place and leaves it with the weights of its best scoring.

    scores: each task's score and their `mean` on the selection split. report gets `train/...` and `selection/...`,
    and at the end `sampling/<task>`, the share of the batches that were of the task. checkpoint: where the state is kept;
    what an earlier process has left there is gone on from, and ends with the same weights as if it had not been stopped.
    matching: what learns along, on the model's device, where hidden states are matched.
    Raises ValueError at a loss, or at logits on the selection split, that are not finite, naming step and task.
    """
    device = next(model.parameters()).device
    peak = config.learning_rate
    assert peak is not None, "mkd/rates.py has a number for it"
    objective = Objective(model, loss, matching)
    optimizers = make_optimizers(model, config, objective.beside.parameters())
    joined = processes.joined(objective, device.type)
    state = State(model, objective.beside, optimizers)
    if checkpoint is not None and (saved := checkpoint.load()):
        state.restore(saved)
    stream = batches(state.drawn.total())
    window: list[Step] = []

    def going() -> bool:
        return state.step < config.steps and (config.patience == 0 or state.since_best < config.patience)

    while going():
        joined.train()
        for optimizer in optimizers:
            optimizer.zero_grad()
        batch = next(stream)
        own, part = share(batch)
        terms = joined(own, annealed(loss, state.step, config.steps), config.precision)
        (terms["loss"] * part.factor()).backward()
        window.append(Step(batch.task, {name: term.detach() for name, term in terms.items()}, part))
        state.drawn[batch.task] += 1
        clip_gradients(model.parameters(), config.clip)
        rate = peak * warmup_linear(state.step, config.steps, config.warmup)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

        state.step += 1
        due = state.step % config.eval_every == 0 or state.step == config.steps
        if state.step % LOG_EVERY == 0 or due:
            told = {names.LEARNING_RATE: rate, names.SHARE: state.step / config.steps}
            report(state.step, _losses(window, state.step) | objective.balance.metrics() | told)
            window = []
            if due:
                found = processes.from_first(lambda: _scored(scores, state.step))
                report(state.step, names.of(names.SELECTION, found))
                state.compare(found["mean"])
            if checkpoint is not None and processes.is_first() and (checkpoint.due() or not going()):
                checkpoint.save(state.saved())
    shares = {task: count / state.drawn.total() for task, count in state.drawn.items()}
    report(state.step, names.of(names.SAMPLING, shares))
    if not state.best_weights:
        raise ValueError(
            f"no score on the selection split was a number up to step {state.step}; try a smaller train.learning_rate"
        )
    model.load_state_dict(state.best_weights)
    return Trained(state.best_step, state.best_score, state.step)


def _scored(scores: Callable[[], dict[str, float]], step: int) -> dict[str, float]:
    """The scores. Raises ValueError where a step that followed on the last loss has left the model without numbers."""
    try:
        return scores()
    except NotFinite as error:
        raise ValueError(f"{error}, at step {step}; try a smaller train.learning_rate, or a smaller train.clip") from None


def _losses(window: list[Step], done: int) -> dict[str, float]:
    """Mean losses by task over the window of steps that ends with step `done`; one synchronisation for all of them."""
    terms = list(window[0].terms)
    means = torch.stack([torch.stack([step.terms[term] for term in terms]) for step in window])
    shares = torch.tensor([[step.share.of(term) for term in terms] for step in window])
    values = processes.total(means * shares.to(means.device)).tolist()
    by_task: dict[str, list[list[float]]] = {}
    for place, (step, found) in enumerate(zip(window, values, strict=True)):
        if not all(abs(value) < float("inf") for value in found):
            raise ValueError(
                f"the loss became {found[0]} at step {done - (len(window) - 1 - place)}, task {step.task}; "
                "try a smaller train.learning_rate, or a smaller train.clip"
            )
        by_task.setdefault(step.task, []).append(found)
    return {
        names.train(term, task): sum(row[i] for row in rows) / len(rows)
        for task, rows in by_task.items()
        for i, term in enumerate(terms)
    }
