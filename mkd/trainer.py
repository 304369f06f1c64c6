"""The one training loop: a teacher's refinement, distillation and hard-label training differ in batches and loss only."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from torch import nn

from mkd.balance import Balance
from mkd.batches import Batch
from mkd.config import LossConfig, TrainConfig
from mkd.conflicts import TaskGradients
from mkd.losses import LossTerms, between, distillation
from mkd.matching import Matching
from mkd.optim import clip_gradients, make_optimizers
from mkd.record import Report, silent
from mkd.resume import Checkpoint
from mkd.schedule import annealed, warmup_linear
from mkd.state import State
from mkd.students import Student

LOG_EVERY = 25
"""Steps between reports of the losses, and between looks for one that is not a number."""


class Trained(NamedTuple):
    """The step whose weights were kept, its mean score on the selection split, and the steps that were made."""

    best_step: int
    best_score: float
    steps: int


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
    Raises ValueError at a loss that is not finite, naming step and task.
    """
    device = next(model.parameters()).device
    balance = Balance(model.config.tasks, loss).to(device)
    beside = nn.ModuleList([balance] if matching is None else [balance, matching])
    optimizers = make_optimizers(model, config, beside.parameters())
    shared = TaskGradients(p for name, p in model.named_parameters() if not name.startswith("heads."))
    state = State(model, beside, optimizers)
    if checkpoint is not None and (saved := checkpoint.load()):
        state.restore(saved)
    stream = batches(state.drawn.total())
    window: list[tuple[str, torch.Tensor]] = []

    def going() -> bool:
        return state.step < config.steps and (config.patience == 0 or state.since_best < config.patience)

    while going():
        model.train()
        for optimizer in optimizers:
            optimizer.zero_grad()
        for batch in islice(stream, loss.batches_per_step):
            terms = _loss(model, batch, annealed(loss, state.step, config.steps), config.precision, matching)
            terms = balance(terms, batch.task)
            (terms.total / loss.batches_per_step).backward()
            if loss.pcgrad:
                shared.take(batch.task)
            window.append((batch.task, torch.stack([term for term in terms if term is not None]).detach()))
            state.drawn[batch.task] += 1
        if loss.pcgrad:
            shared.merge()
        clip_gradients(model.parameters(), config.clip)
        rate = config.learning_rate * warmup_linear(state.step, config.steps, config.warmup)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

        state.step += 1
        due = state.step % config.eval_every == 0 or state.step == config.steps
        if state.step % LOG_EVERY == 0 or due:
            told = {"train/learning_rate": rate, "progress": state.step / config.steps}
            report(state.step, _losses(window, state.step, loss.batches_per_step) | balance.metrics() | told)
            window = []
            if due:
                found = scores()
                report(state.step, {f"selection/{name}": value for name, value in found.items()})
                state.compare(found["mean"])
            if checkpoint is not None and (checkpoint.due() or not going()):
                checkpoint.save(state.saved())
    report(state.step, {f"sampling/{task}": count / state.drawn.total() for task, count in state.drawn.items()})
    if not state.best_weights:
        raise ValueError(
            f"no score on the selection split was a number up to step {state.step}; try a smaller train.learning_rate"
        )
    model.load_state_dict(state.best_weights)
    return Trained(state.best_step, state.best_score, state.step)


def _loss(model: Student, batch: Batch, loss: LossConfig, precision: str, matching: Matching | None) -> LossTerms:
    """The loss of a batch; of one whose rows are mixed, the mean of those by the labels of either row."""
    device = next(model.parameters()).device
    inputs, labels_B = batch.inputs.to(device), batch.labels_B.to(device)
    teacher_BC = None if batch.teacher_BC is None else batch.teacher_BC.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits_BC, states = model(inputs, batch.task, states=True) if matching else (model(inputs, batch.task), [])
    terms = distillation(logits_BC, teacher_BC, labels_B, loss)
    if inputs.mix is not None:
        terms = between(terms, distillation(logits_BC, teacher_BC, labels_B[inputs.mix.partner_B], loss), inputs.mix.share)
    return matching(terms, states, batch.states_BKD, batch.task) if matching else terms


def _losses(window: list[tuple[str, torch.Tensor]], done: int, per_step: int) -> dict[str, float]:
    """Mean losses by task over the window of batches that ends with step `done`; one synchronisation for all of them."""
    values = torch.stack([terms for _, terms in window]).tolist()
    by_task: dict[str, list[list[float]]] = {}
    for place, ((task, _), terms) in enumerate(zip(window, values, strict=True)):
        if not all(abs(value) < float("inf") for value in terms):
            step = done - (len(window) - 1 - place) // per_step
            raise ValueError(
                f"the loss became {terms[0]} at step {step}, task {task}; "
                "try a smaller train.learning_rate, or a smaller train.clip"
            )
        by_task.setdefault(task, []).append(terms)
    return {
        f"train/{name}/{task}": sum(row[i] for row in rows) / len(rows)
        for task, rows in by_task.items()
        for i, name in enumerate(("loss", "soft", "hard", "match")[: len(rows[0])])
    }
