"""The speed of MKD's training loop compared with common loops.

All loops have the same student, rows, batch size and loss.

Axes: B rows of a batch, C classes.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mkd import names
from mkd.config import (
    Config,
    LossConfig,
    SamplingConfig,
    StudentConfig,
    ThroughputConfig,
    TrainConfig,
)
from mkd.evaluation.scoring import predict_logits, torch_infer
from mkd.evaluation.speed import flops
from mkd.pipeline import set_up_device
from mkd.rates import with_learning_rates
from mkd.result import Report, no_report
from mkd.runtime.layout import Layout, sequence_lengths
from mkd.students import Student, make_student
from mkd.students.heads import on
from mkd.students.transformer import TransformerStudent
from mkd.tasks.sources import load_tasks
from mkd.teachers.refined import refined_tokenizer, untrained_teacher
from mkd.tokenization.tokenise import tokenise_task
from mkd.tokenization.tokens import Inputs, TaskData, layout_of
from mkd.training.batches import Batch, TaskRows, batch_labels, gather_inputs, joint_batches
from mkd.training.losses import distillation
from mkd.training.trainer import train_model

LOOP_STUDENTS = {
    "3x384": StudentConfig(kind="transformer", layers=3, hidden=384, heads=12, pooling="first"),
    "2x128": StudentConfig(kind="transformer", layers=2, hidden=128, heads=2, pooling="first"),
    "bilstm": StudentConfig(kind="bilstm", attention=False, words=False, hidden=128, embedding=128),
    "biattentive": StudentConfig(kind="bilstm", words=False, hidden=128, embedding=128),
}
"""The students that are trained, from random weights, by throughput.students."""
LOOP_LOSS = LossConfig(kind="mse")
WARMUP_STEPS = 2
"""Steps before the clock starts."""


class LoopWork(NamedTuple):
    """The work of every loop: train a new student on these rows once, on the teacher's logits.

    `student` makes the new student. `logits` are the teacher's stored logits for all rows of train.
    """

    data: TaskData
    rows: np.ndarray
    student: Callable[[], Student]
    layout: Layout
    teacher: TransformerStudent
    teachers_layout: Layout
    logits: np.ndarray
    train: TrainConfig


class Seconds(NamedTuple):
    """`cpu` is the CPU time of all threads, `wall` the wall-clock time."""

    cpu: float
    wall: float


class LoopTiming(NamedTuple):
    """The median of a loop over the rounds.

    - `ratio`: median over rounds of the CPU seconds of `plain` divided by those of the loop
    - `matrix_share`: floating-point operations of the student's matrix products per CPU second, as
      a share of those of one large product
    """

    student: str
    loop: str
    seconds: Seconds
    ratio: float
    matrix_share: float


class LoopTimings(NamedTuple):
    """All timings.

    - `rows`: number of rows that each loop trains on
    - `teacher`: time of the teacher's one pass over these rows
    """

    timings: list[LoopTiming]
    rows: int
    teacher: Seconds


def time_loops(
    config: Config, settings: ThroughputConfig, report: Report = no_report
) -> LoopTimings:
    """Times the loops in turn on the first task of the config.

    Raises ValueError if this is a task of text pairs.
    """
    device = set_up_device(config)
    task = load_tasks(config.data)[0]
    if task.kind.pair:
        raise ValueError(f"data.tasks: the first is {task.name}; allowed: a task of single texts")
    tokenizer = refined_tokenizer(config.teacher, config.stores.root, [task])
    data = tokenise_task(config.stores.root, task, tokenizer, config.data, config.seed)
    teacher = on(
        untrained_teacher(config.teacher, config.data.max_length, [data], tokenizer), device
    ).eval()
    joined = layout_of(tokenizer, True, config.data.max_length)
    count = settings.batches * config.train.batch_size
    rows = np.random.default_rng(config.seed).choice(data.train_rows, count, replace=False)
    start = _now()
    logits = np.zeros((len(data.train.labels), data.kind.num_logits), dtype=np.float32)
    logits[rows] = predict_logits(torch_infer(teacher), data.train, rows, data.name, joined)
    pass_ = _since(start)

    timings = []
    peak = _matrix_rate()
    for place, name in enumerate(settings.students):

        def student(sizes: StudentConfig = LOOP_STUDENTS[name]) -> Student:
            torch.manual_seed(config.seed)
            return on(
                make_student(sizes, [data], len(tokenizer), config.data.max_length, None), device
            )

        layout = layout_of(tokenizer, student().joined, config.data.max_length)
        work = LoopWork(
            data, rows, student, layout, teacher, joined, logits, with_learning_rates(config).train
        )
        seconds: dict[str, list[Seconds]] = {loop: [] for loop in LOOPS}
        for loop in VARYING_LENGTH_LOOPS:
            LOOPS[loop](work)
        for turn in range(settings.rounds):
            for loop, run in LOOPS.items():
                seconds[loop].append(run(work))
            done = place * settings.rounds + turn + 1
            report(
                done,
                {names.progress("throughput"): done / len(settings.students) / settings.rounds},
            )
        timings += _timings(name, seconds, _flops(work), peak)
    return LoopTimings(timings, count, pass_)


def plain_loop(work: LoopWork, width: int | None, online: bool) -> Seconds:
    """Runs a common training loop: dense AdamW, shuffled batches, and the loss read in every step.

    - `width`: tokens to which every batch is padded; None: those of its longest row
    - `online`: whether the teacher runs in every step; otherwise its stored logits are used
    """
    student = work.student().train()
    if isinstance(student, TransformerStudent):
        student.whole = True  # compute all tokens of the last layer, like transformers
    assert work.train.learning_rate is not None, "mkd/rates.py has a number for it"
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=work.train.learning_rate, weight_decay=work.train.weight_decay
    )
    order = np.random.default_rng(0).permutation(work.rows)
    size = work.train.batch_size
    starts = [*WARMUP_STEPS * [0], *range(0, len(order), size)]
    losses = []
    for step, place in enumerate(starts):
        if step == WARMUP_STEPS:
            began = _now()
        rows = order[place : place + size]
        inputs = _padded(gather_inputs(work.data.train, rows, work.layout), width, work.layout.pad)
        if online:
            read = _padded(
                gather_inputs(work.data.train, rows, work.teachers_layout),
                width,
                work.teachers_layout.pad,
            )
            with torch.no_grad():
                teacher_BC = work.teacher(read, work.data.name)
        else:
            teacher_BC = torch.from_numpy(work.logits[rows])
        labels_B = batch_labels(work.data, rows)
        loss = distillation(student(inputs, work.data.name), teacher_BC, labels_B, LOOP_LOSS).total
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), work.train.clip)
        optimizer.step()
        losses.append(loss.item())
    return _since(began)


def mkd_loop(work: LoopWork, precision: Literal["float32", "bfloat16"]) -> Seconds:
    """Runs MKD's loop: stored logits, batches of similar length, row-sparse embedding gradients."""
    source = TaskRows(work.data, work.rows, work.logits)
    config = work.train
    size, sampling = config.batch_size, SamplingConfig()
    # Warm-up batches of another seed, so that each row of the timed epoch comes once.
    warm = islice(
        joint_batches([source], work.layout, size, sampling, 1, WARMUP_STEPS), WARMUP_STEPS
    )
    steps = WARMUP_STEPS + -(-len(work.rows) // size)
    batches = chain(warm, joint_batches([source], work.layout, size, sampling, 0, steps))
    clock: list[Seconds] = []

    # The trainer has no clock: read the time when it asks for a batch, and at the evaluation after
    # the last step.
    def ticking() -> Iterator[Batch]:
        for batch in batches:
            clock.append(_now())
            yield batch

    def scores() -> dict[str, float]:
        clock.append(_now())
        return {"mean": 0.0}

    settings = TrainConfig(
        steps=steps,
        eval_every=steps,
        batch_size=size,
        learning_rate=config.learning_rate,
        clip=config.clip,
        weight_decay=config.weight_decay,
        lazy=True,
        precision=precision,
    )
    train_model(work.student(), lambda start: ticking(), scores, LOOP_LOSS, settings)
    return Seconds(
        clock[-1].cpu - clock[WARMUP_STEPS].cpu, clock[-1].wall - clock[WARMUP_STEPS].wall
    )


LOOPS: dict[str, Callable[[LoopWork], Seconds]] = {
    "plain": lambda work: plain_loop(work, work.layout.max_length, True),
    "padded to the longest": lambda work: plain_loop(work, None, True),
    "and stored logits": lambda work: plain_loop(work, None, False),
    "mkd, float32": lambda work: mkd_loop(work, "float32"),
    "mkd, bfloat16": lambda work: mkd_loop(work, "bfloat16"),
}
"""The loops by name, from the common one to MKD's."""
VARYING_LENGTH_LOOPS = [loop for loop in LOOPS if loop != "plain"]
"""Loops whose batches vary in length.

Code is compiled for each new length, which a long training pays once; so each of these loops runs
once before it is timed. All batches of `plain` have the same length, which its warm-up covers.
"""


def _timings(
    student: str, rounds_by_loop: dict[str, list[Seconds]], flops_: int, peak: float
) -> list[LoopTiming]:
    timings = []
    for loop, rounds in rounds_by_loop.items():
        seconds = Seconds(*(statistics.median(values) for values in zip(*rounds, strict=True)))
        ratios = [
            first.cpu / round_seconds.cpu
            for first, round_seconds in zip(rounds_by_loop["plain"], rounds, strict=True)
        ]
        timings.append(
            LoopTiming(
                student, loop, seconds, statistics.median(ratios), flops_ / seconds.cpu / peak
            )
        )
    return timings


def _padded(inputs: Inputs, width: int | None, pad: int) -> Inputs:
    missing = 0 if width is None else width - inputs.ids.shape[2]
    types = None if inputs.types is None else F.pad(inputs.types, (0, missing))
    return Inputs(
        F.pad(inputs.ids, (0, missing), value=pad), F.pad(inputs.mask, (0, missing)), types
    )


def _flops(work: LoopWork) -> int:
    """Returns the operations of the student's training on the rows, without padding.

    A backward pass counts as two forward passes.
    """
    special = work.layout.num_special(pair=False)
    lengths = np.minimum(
        sequence_lengths(work.data.train, work.layout, work.rows) + special, work.layout.max_length
    )
    student = work.student()
    counted = zip(*np.unique(lengths, return_counts=True), strict=True)
    return 3 * sum(int(count) * flops(student, int(length)) for length, count in counted)


def _matrix_rate(width: int = 1024, repeats: int = 20) -> float:
    """Returns the operations per CPU second of one large float32 matrix product."""
    a = torch.randn(width, width)
    a @ a
    start = _now()
    for _ in range(repeats):
        a @ a
    return repeats * 2 * width**3 / _since(start).cpu


def _now() -> Seconds:
    return Seconds(time.process_time(), time.perf_counter())


def _since(start: Seconds) -> Seconds:
    now = _now()
    return Seconds(now.cpu - start.cpu, now.wall - start.wall)
