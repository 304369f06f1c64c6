"""Draws the task and the rows of each training step, and builds tensors without a loop over rows.

Axes: B rows of a batch, C classes, N draws of a task, T tasks.
"""

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, cycle
from typing import NamedTuple, Protocol

import numpy as np
import torch

from mkd.config import SamplingConfig
from mkd.runtime.layout import Layout, padded, sequence_lengths
from mkd.tokenization.tokens import Inputs, TaskData, TokenStore, as_inputs, labels_of
from mkd.training.matching import MatchedStates
from mkd.training.schedule import linear

POOL_BATCHES = 64
"""Number of batches in a pool. Rows are sorted by length within a pool, which keeps padding short.
Each epoch shuffles the rows into new pools."""

ORDER_BLOCK = 1024
"""Number of task draws that are computed at once."""


class Batch(NamedTuple):
    """Rows of one task.

    - `labels_B`: NaN for rows without a label. Regression scores are on the model's scale. For a
      multilabel task [B, C] of 0 and 1; a row without a label has NaN in each place.
    - `teacher_BC`: the teacher's logits; None for training on hard labels.
    - `taught_B`: which rows the teacher has an answer for; None if it has one for each. The logits
      of the others are NaN.
    - `states_BKD`: the teacher's hidden states of K layers in half precision; None unless they are
      matched.
    """

    task: str
    inputs: Inputs
    labels_B: torch.Tensor
    teacher_BC: torch.Tensor | None
    states_BKD: torch.Tensor | None = None
    taught_B: torch.Tensor | None = None


class OfRows(Protocol):
    """An array [R, C], or an object that reads rows on demand."""

    def __getitem__(self, rows_B: np.ndarray, /) -> np.ndarray: ...


class TaskRows(NamedTuple):
    """The rows of a task that training draws from.

    - `rows`: row numbers in the task's train store.
    - `teacher`: the teacher's logits for all rows of the train store, perhaps read on demand; None
      for training on hard labels.
    - `states`: the teacher's hidden states for the same rows; None unless they are matched.
    - `taught`: which of these rows the teacher has an answer for; None if it has one for each.
    """

    data: TaskData
    rows: np.ndarray
    teacher: OfRows | None
    states: MatchedStates | None = None
    taught: np.ndarray | None = None


def check_sampling_weights(tasks: list[str], config: SamplingConfig) -> None:
    """Raises ValueError if sampling.weights does not have exactly one weight for each task."""
    if config.weights and sorted(config.weights) != sorted(tasks):
        raise ValueError(
            f"sampling.weights names {sorted(config.weights)}; allowed: a weight for each of "
            f"{sorted(tasks)}"
        )


def task_probabilities(
    sources: list[TaskRows], config: SamplingConfig, share: float = 0.0
) -> np.ndarray:
    """Returns the probability of each task [T] after a `share` of the training, from 0 to 1.

    A task's probability is proportional to rows**alpha, or to its weight in sampling.weights.

    Raises ValueError if sampling.weights does not have exactly one weight for each task.
    """
    names = [source.data.name for source in sources]
    check_sampling_weights(names, config)
    if config.weights:
        weights = np.array([config.weights[name] for name in names], dtype=float)
        # The sum of very large weights would be infinite.
        weights /= weights.max()
    else:
        logs = np.log([len(source.rows) for source in sources])
        alpha = linear(config.alpha, config.alpha_end, share)
        # Relative to the most likely task, whose power is then 1 for any alpha. No other power
        # overflows.
        logs -= logs.max() if alpha > 0 else logs.min()
        with np.errstate(over="ignore"):
            weights = np.exp(alpha * logs)
    chances: np.ndarray = weights / weights.sum()
    return chances


def joint_batches(
    sources: list[TaskRows],
    layout: Layout,
    batch_size: int,
    sampling: SamplingConfig,
    seed: int,
    draws: int = 1,
    start: int = 0,
) -> Iterator[Batch]:
    """Yields batches without end, each of one task. The order depends on the seed alone.

    - `draws`: number of batches in the whole training, over which alpha moves if alpha_end is set.
    - `start`: number of first batches to skip; they are not assembled.
    """
    streams = [_row_batches(source, layout, batch_size, seed) for source in sources]
    for place, index in enumerate(task_order(sources, sampling, seed, draws, batch_size)):
        rows = next(streams[index])
        # Skipped batches still draw their rows, so that each task's stream is where it was.
        if place >= start:
            yield make_batch(sources[index], rows, layout)


def task_order(
    sources: list[TaskRows], sampling: SamplingConfig, seed: int, draws: int, batch_size: int
) -> Iterator[int]:
    """Yields the index of each batch's task, without end, in the order that sampling.order says.

    - `random`: drawn by the tasks' probabilities.
    - `round_robin`: each task in turn.
    - `epoch`: once per epoch for each batch of the task, in random order.

    `draws` is as in `joint_batches`.
    """
    # The first two orders never end, so the code below them runs for `random` alone.
    if sampling.order == "round_robin":
        yield from cycle(range(len(sources)))
    if sampling.order == "epoch":
        yield from _epochs([-(-len(source.rows) // batch_size) for source in sources], seed)
    generator = np.random.default_rng([seed, 1])
    for start in count(0, ORDER_BLOCK):
        # With a constant alpha one row of probabilities serves all draws of a block.
        moving = ORDER_BLOCK if sampling.alpha_end is not None else 1
        shares = np.minimum(1.0, (start + np.arange(moving)) / max(1, draws - 1))
        chances_NT = np.stack([task_probabilities(sources, sampling, share) for share in shares])
        ends_NT = chances_NT.cumsum(axis=1)
        # Rounding could leave the last bound below 1, and a draw above it would have no task.
        ends_NT /= ends_NT[:, -1:]
        yield from (generator.random(ORDER_BLOCK)[:, None] >= ends_NT).sum(axis=1).tolist()


def _epochs(num_batches: list[int], seed: int) -> Iterator[int]:
    """Yields each task as often as it has batches, shuffled, for each epoch (Liu et al. 2019)."""
    tasks = np.repeat(np.arange(len(num_batches)), num_batches)
    for epoch in count():
        yield from np.random.default_rng([seed, 1, epoch]).permutation(tasks).tolist()


def _row_batches(
    source: TaskRows, layout: Layout, batch_size: int, seed: int
) -> Iterator[np.ndarray]:
    """Yields batches of rows of similar length without end; each epoch has every row once."""
    lengths = partial(sequence_lengths, source.data.train, layout)
    # Seeded by the task's name: a task's batches stay the same if other tasks are added.
    task = zlib.crc32(source.data.name.encode())
    epoch = 0
    while True:
        yield from epoch_batches(
            source.rows, lengths, batch_size, np.random.default_rng([seed, 2, task, epoch])
        )
        epoch += 1


def epoch_batches(
    rows: np.ndarray,
    lengths: Callable[[np.ndarray], np.ndarray],
    batch_size: int,
    generator: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Yields batches that hold each row once, in random order, each of rows of similar length.

    The rows are shuffled, sorted by length within a pool, and cut into batches. There are as few
    batches as can hold the rows, and their sizes differ by at most one. The loss of a batch is a
    mean over its rows, so a row of a much shorter batch would have more weight. The batches that
    are one row short are drawn anew in each call; otherwise the longest rows would always be in
    them.

    - `lengths`: returns the lengths of the given rows. It is called for one pool at a time, so that
      only the order of the rows is in memory.
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


def make_batch(source: TaskRows, rows: np.ndarray, layout: Layout) -> Batch:
    """Returns the batch of the given rows of a task's train store."""
    data = source.data
    teacher = None if source.teacher is None else torch.from_numpy(source.teacher[rows])
    states = None if source.states is None else torch.from_numpy(source.states.of(rows))
    taught = None if source.taught is None else torch.from_numpy(source.taught[rows])
    return Batch(
        data.name,
        gather_inputs(data.train, rows, layout),
        batch_labels(data, rows),
        teacher,
        states,
        taught,
    )


def batch_labels(data: TaskData, rows: np.ndarray) -> torch.Tensor:
    """Returns the labels of rows of a task's train store, as Batch has them."""
    labels_B = data.train.labels[rows]
    if data.train.sets is None:
        return torch.from_numpy(((labels_B - data.mean) / data.std).astype(np.float32))
    labels_BC = labels_of(data.train, data.kind, rows).astype(np.float32)
    labels_BC[np.isnan(labels_B)] = np.nan
    return torch.from_numpy(labels_BC)


def gather_inputs(store: TokenStore, rows: np.ndarray, layout: Layout) -> Inputs:
    """Returns rows of a store as padded tensors in the model's layout."""
    return as_inputs(padded(store, rows, layout))
