"""Which task and rows each training step sees, and their assembly into tensors without a loop over rows.

Axes: B rows of a batch, C classes; N draws of a task, T tasks.
"""

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, cycle
from typing import NamedTuple

import numpy as np
import torch

from mkd.config import SamplingConfig
from mkd.runtime.layout import Layout, padded, sequence_lengths
from mkd.tokenization.tokens import Inputs, TaskData, TokenStore, as_inputs
from mkd.training.matching import States
from mkd.training.schedule import linear

POOL_BATCHES = 64
"""Rows are sorted by length within pools of so many batches: like lengths together, yet drawn anew every epoch."""

ORDER_BLOCK = 1024
"""Tasks are drawn so many at a time."""


class Batch(NamedTuple):
    """Rows of one task. labels_B: NaN where there is none, regression scores on the model's scale.

    states_BKD: the teacher's hidden states of K layers, in half precision, where they are to be matched.
    """

    task: str
    inputs: Inputs
    labels_B: torch.Tensor
    teacher_BC: torch.Tensor | None
    states_BKD: torch.Tensor | None = None


class Source(NamedTuple):
    """A task's rows to draw from, with the teacher's logits for all rows of its train store, or None for hard labels.

    states: the teacher's hidden states for the same rows, where they are to be matched.
    """

    data: TaskData
    rows: np.ndarray
    teacher: np.ndarray | None
    states: States | None = None


def check_weights(tasks: list[str], config: SamplingConfig) -> None:
    """Raises ValueError where the explicit weights do not name just the tasks there are."""
    if config.weights and sorted(config.weights) != sorted(tasks):
        raise ValueError(f"sampling.weights names {sorted(config.weights)}; allowed: a weight for each of {sorted(tasks)}")


def probabilities(sources: list[Source], config: SamplingConfig, share: float = 0.0) -> np.ndarray:
    """How likely each task is drawn when `share` of the training is done: rows**alpha, or the weights, over their sum [T].

    Raises ValueError where the explicit weights do not name just the tasks there are.
    """
    names = [source.data.name for source in sources]
    check_weights(names, config)
    if config.weights:
        weights = np.array([config.weights[name] for name in names], dtype=float)
        weights /= weights.max()  # the sum of large ones would be infinite
    else:
        logs = np.log([len(source.rows) for source in sources])
        alpha = linear(config.alpha, config.alpha_end, share)
        # By the likeliest task: whatever alpha is, its power is 1, and none of the others overflows.
        logs -= logs.max() if alpha > 0 else logs.min()
        with np.errstate(over="ignore"):
            weights = np.exp(alpha * logs)
    chances: np.ndarray = weights / weights.sum()
    return chances


def joint_batches(
    sources: list[Source], layout: Layout, batch_size: int, sampling: SamplingConfig, seed: int, draws: int = 1, start: int = 0
) -> Iterator[Batch]:
    """Batches without end, each of one task; the order depends on the seed alone.

    draws: how many batches the training takes, over which alpha moves where it does. start: batches that are passed over,
    without being put together.
    """
    streams = [_row_batches(source, layout, batch_size, seed) for source in sources]
    for place, index in enumerate(task_order(sources, sampling, seed, draws, batch_size)):
        rows = next(streams[index])
        if place >= start:
            yield assemble(sources[index], rows, layout)


def task_order(sources: list[Source], sampling: SamplingConfig, seed: int, draws: int, batch_size: int) -> Iterator[int]:
    """Which task each batch is of, without end: by its probabilities, each in turn, or as often an epoch as it has batches.

    draws: as in joint_batches.
    """
    if sampling.order == "round_robin":
        yield from cycle(range(len(sources)))
    if sampling.order == "epoch":
        yield from _epochs([-(-len(source.rows) // batch_size) for source in sources], seed)
    generator = np.random.default_rng([seed, 1])
    for start in count(0, ORDER_BLOCK):
        moving = ORDER_BLOCK if sampling.alpha_end is not None else 1
        shares = np.minimum(1.0, (start + np.arange(moving)) / max(1, draws - 1))
        chances_NT = np.stack([probabilities(sources, sampling, share) for share in shares])
        ends_NT = chances_NT.cumsum(axis=1)
        ends_NT /= ends_NT[:, -1:]
        yield from (generator.random(ORDER_BLOCK)[:, None] >= ends_NT).sum(axis=1).tolist()


def _epochs(num_batches: list[int], seed: int) -> Iterator[int]:
    """Each task as often as it has batches, shuffled, epoch after epoch: drawn without replacement (Liu et al. 2019)."""
    tasks = np.repeat(np.arange(len(num_batches)), num_batches)
    for epoch in count():
        yield from np.random.default_rng([seed, 1, epoch]).permutation(tasks).tolist()


def _row_batches(source: Source, layout: Layout, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """Every row once an epoch, in batches of like length, epoch after epoch."""
    lengths = partial(sequence_lengths, source.data.train, layout)
    task = zlib.crc32(source.data.name.encode())
    epoch = 0
    while True:
        yield from epoch_batches(source.rows, lengths, batch_size, np.random.default_rng([seed, 2, task, epoch]))
        epoch += 1


def epoch_batches(
    rows: np.ndarray, lengths: Callable[[np.ndarray], np.ndarray], batch_size: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """The rows once each: shuffled, sorted by length within a pool, cut into batches, which come in random order.

    As few batches as hold the rows, whose sizes differ by one at most: a batch's loss is the mean over its rows, and so a row
    of a short one would weigh more. Which ones are a row short is drawn anew, as it must not be the longest rows' each time.
    lengths: of some rows; asked for one pool at a time, so that of all rows nothing but their order is held.
    """
    shuffled = generator.permutation(rows)
    num_batches = -(-len(rows) // batch_size)
    least, rest = divmod(len(rows), max(1, num_batches))
    bounds = np.zeros(num_batches + 1, dtype=rows.dtype)
    np.cumsum(least + (generator.permutation(num_batches) < rest), out=bounds[1:])
    for first in range(0, num_batches, POOL_BATCHES):
        ends = bounds[first : first + POOL_BATCHES + 1]
        pool = shuffled[ends[0] : ends[-1]]
        pool = pool[np.argsort(lengths(pool), kind="stable")]
        ends = ends - ends[0]
        for batch in generator.permutation(len(ends) - 1):
            yield pool[ends[batch] : ends[batch + 1]]


def assemble(source: Source, rows: np.ndarray, layout: Layout) -> Batch:
    """The batch of these rows of the task's train store."""
    data = source.data
    labels = (data.train.labels[rows] - data.mean) / data.std
    teacher = None if source.teacher is None else torch.from_numpy(source.teacher[rows])
    states = None if source.states is None else torch.from_numpy(source.states.of(rows))
    return Batch(data.name, gather(data.train, rows, layout), torch.from_numpy(labels.astype(np.float32)), teacher, states)


def gather(store: TokenStore, rows: np.ndarray, layout: Layout) -> Inputs:
    """Rows of a store as padded tensors, as the layout wants them."""
    return as_inputs(padded(store, rows, layout))
