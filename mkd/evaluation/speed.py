"""Inference speed, measured in one way for trials, runs and promoted students alike, and the size of models.

What is measured, and how (PROTOCOL counts the ways; times that were measured in different ways are not comparable):

- Settings. The headline is text in, answer out, one row, one thread (`b1-text-t1`): budgets, names, tables, pictures and the
  choice of the fastest backend go by its median. Beside it are one row of so many tokens (`b1-l128-t1`), which leaves out the
  tokenising, and the throughput of calls of many texts (`b32-text-t1`, `b32-text-t2`). A trial has those of one thread.
- Texts. Of each task's dev rows those at even steps of their length, the tasks in turn: the same for all models. A pass asks each
  of them once, and only whole passes are timed, so that a fast model's times are of the same texts as a slow one's.
- Blocks. One model in one setting, warmed up and then asked back to back while no other one runs: models that take turns call by
  call find the caches cold. Blocks come in rounds, one of each model in each setting, so that a bad moment of the machine is in
  one of them. The teacher has rounds of its own.
- Numbers. A percentile is that of a block's calls, the median over its blocks: half of the calls take no longer than `p50_ms`, 95
  of 100 no longer than `p95_ms`, 99 of 100 no longer than `p99_ms`. One that fewer than ten calls are beyond is left out: p50_ms
  needs 20 calls, p95_ms 200, p99_ms 1,000; `calls` tells how many there were. `rows_per_s` is of the median pass.
- Threads. torch works on as many as the setting says, and onnxruntime's do not spin when they have nothing to do
  (mkd/runtime/inference.py), so that no pool takes another one's cores. Python's search for garbage waits.
- Seconds. `speed.seconds` in all, an equal share for each model in each setting, at most MOST_SECONDS; where a share is too short
  for it one pass is made all the same. A run gives all of it half as long as its student's training took, if that is less.
- A busy machine. `busy_share` is the share of the time that other work had of the core (mkd/evaluation/timing.py). Above
  MOST_BUSY it is told wherever the times are, and a search does not keep them.
"""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from mkd import names, processes
from mkd.config import SpeedConfig
from mkd.evaluation import timing
from mkd.evaluation.timing import CLOCK, MOST_BUSY, PROTOCOL, Block, Call, Clock
from mkd.result import Report, silent
from mkd.runtime import inference
from mkd.runtime.layout import Arrays
from mkd.students import Student
from mkd.students.embeddings import input_table, token_of_each_row
from mkd.tasks.task import Task
from mkd.tokenization.tokens import as_inputs

ROUNDS = 5
MOST_SECONDS = 1.0
"""Of a model in a setting, in all rounds."""
TEXTS = 256
"""Of each task's dev split so many are read to choose from."""

Load = Callable[[int], inference.Student]
"""A model ready to answer on so many threads."""
Work = Mapping[str, list[inference.Text]]
"""Raw texts by task, the shortest first."""


class Setting(NamedTuple):
    """One way of asking. length: tokens of each row; 0: raw texts as they are, tokenised within the time."""

    rows: int
    length: int
    threads: int

    @property
    def name(self) -> str:
        """As in the metrics: `b1-l128-t1`, `b32-text-t2`."""
        return f"b{self.rows}-{f'l{self.length}' if self.length else 'text'}-t{self.threads}"


HEADLINE = Setting(1, 0, 1)


class Timed(NamedTuple):
    """A model in one backend. tokens: ids to draw from where tokens are given."""

    load: Load
    tokens: np.ndarray


def settings(config: SpeedConfig) -> list[Setting]:
    """All ways of asking, the headline first."""
    threads = dict.fromkeys(count or inference.cores() for count in config.threads)
    many = [Setting(config.batch_size, 0, count) for count in threads]
    return list(dict.fromkeys([HEADLINE, Setting(1, config.length, 1), *many]))


def of_one_thread(config: SpeedConfig) -> list[Setting]:
    """Those of a trial, beside which others may be at work on the other cores."""
    return [setting for setting in settings(config) if setting.threads == 1]


def within(config: SpeedConfig, trained_seconds: float) -> SpeedConfig:
    """The config of a run whose student's training took so long."""
    return replace(config, seconds=min(config.seconds, trained_seconds / 2))


def work_of(tasks: list[Task]) -> Work:
    """The first texts of each task's dev split."""
    rows = {task.name: islice(task.dev[""].read(), TEXTS) for task in tasks}
    texts = {name: [r.text_a if r.text_b is None else (r.text_a, r.text_b) for r in found] for name, found in rows.items()}
    return {name: sorted(found, key=_length) for name, found in texts.items()}


def _length(text: inference.Text) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))


def speed_metrics(
    models: Mapping[str, Timed],
    work: Work,
    asked: list[Setting],
    seconds: float,
    prefix: str = "",
    report: Report = silent,
    clock: Clock = CLOCK,
) -> dict[str, float]:
    """`<prefix>speed/<backend>/<setting>/<statistic>` of every model, by its backend in `models`, in all that is asked.

    With them `<prefix>speed/busy_share` and `<prefix>speed/protocol`. seconds: that all may take. Of several processes the
    first one measures, while the others have nothing more to do.
    """
    if not processes.is_first() or not seconds:
        return {}
    others = timing.of_others(clock)
    found = measure(models, work, asked, seconds, report, clock)
    metrics = {
        names.speed(name, setting.name, key): value
        for (name, setting), blocks in found.items()
        for key, value in timing.statistics_of(blocks, setting.rows).items()
    }
    alone = list(chain.from_iterable(blocks for (_, setting), blocks in found.items() if setting.threads == 1))
    busy = timing.busy_share(alone, others(), timing.physical_cores())
    return names.of(prefix, metrics | {names.BUSY_SHARE: busy, names.PROTOCOL: float(PROTOCOL)})


def is_busy(metrics: Mapping[str, float]) -> bool:
    """Whether any of these times were measured on a machine that was too busy for it."""
    return any(value > MOST_BUSY for name, value in metrics.items() if name.endswith(names.BUSY_SHARE))


def busy_note(metrics: Mapping[str, float]) -> list[str]:
    """What has to be said beside the times; nothing where they are right."""
    shares = {name: value for name, value in metrics.items() if name.endswith(names.BUSY_SHARE) and value > MOST_BUSY}
    return [
        f"the machine was busy when the {'teacher' if name.startswith(names.TEACHER) else 'speed'} was timed: other work had "
        f"{100 * share:.0f} % of the core, so that the milliseconds are too many"
        for name, share in shares.items()
    ]


def measure(
    models: Mapping[str, Timed],
    work: Work,
    asked: list[Setting],
    seconds: float,
    report: Report = silent,
    clock: Clock = CLOCK,
) -> dict[tuple[str, Setting], list[Block]]:
    """The blocks of each model in each setting. One whose share of the seconds is used up has no more of them."""
    share = min(seconds / (len(models) * len(asked)), MOST_SECONDS)
    # The tokenizer has those of the first student that a process loads: the most that any setting has.
    os.environ.setdefault("RAYON_NUM_THREADS", str(max(setting.threads for setting in asked)))
    pairs = [(name, setting) for setting in asked for name in models]
    spent = dict.fromkeys(pairs, 0.0)
    loaded: dict[tuple[str, int], inference.Student] = {}
    calls: dict[tuple[str, Setting], list[Call]] = {}
    found: dict[tuple[str, Setting], list[Block]] = {pair: [] for pair in pairs}
    for number in range(ROUNDS):
        for place, pair in enumerate(pairs):
            left, begun = share - spent[pair], clock.wall()
            if number == 0 or left > 0:
                name, setting = pair
                with _threads(setting.threads), timing.uncollected():
                    if number == 0:
                        key = (name, setting.threads)
                        loaded[key] = loaded.get(key) or answering(models[name].load(setting.threads), work)
                        calls[pair] = calls_of(loaded[key], models[name].tokens, setting, work)
                    found[pair].append(timing.block(calls[pair], left / (ROUNDS - number), clock))
            spent[pair] += clock.wall() - begun
            done = number * len(pairs) + place + 1
            report(done, {names.SHARE: done / (ROUNDS * len(pairs))})
    return found


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """torch's threads, set to so many meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def calls_of(student: inference.Student, tokens: np.ndarray, setting: Setting, work: Work) -> list[Call]:
    """One pass: of one row at least as many as the median needs, of many rows one a task. tokens: as in Timed."""
    least = timing.least_calls(50)
    if setting.length:
        batch = random_batch(tokens, setting.rows, setting.length, student.layout.types)
        return [partial(student.infer, batch, next(iter(student.heads)))] * least
    if setting.rows > 1:
        return [partial(student.predict, even(texts, setting.rows), task) for task, texts in work.items()]
    each = {task: even(texts, -(-least // len(work))) for task, texts in work.items()}
    turns = zip(*each.values(), strict=True)
    return [partial(student.predict, [text], task) for texts in turns for task, text in zip(each, texts, strict=True)]


def even(texts: Sequence[inference.Text], count: int) -> list[inference.Text]:
    """So many of the texts, at even steps; some more than once where there are fewer."""
    return [texts[int((place + 0.5) * len(texts) / count)] for place in range(count)]


def answering(student: inference.Student, work: Work) -> inference.Student:
    """The model with a head for each task. For one that it does not have another one stands in: a text takes as long with any."""
    if work.keys() <= student.heads.keys():
        return student
    own = next(iter(student.heads))
    pairs = {task: isinstance(texts[0], tuple) for task, texts in work.items()}
    heads = {task: student.heads.get(task, student.heads[own]._replace(pair=pair)) for task, pair in pairs.items()}

    def infer(batch: Arrays, task: str) -> np.ndarray:
        return student.infer(batch, task if task in student.heads else own)

    return inference.Student(heads, student.layout, student.tokenizer, infer, student.threads)


def random_batch(tokens: np.ndarray, rows: int, length: int, types: bool) -> Arrays:
    """Rows of one text each, of tokens drawn evenly from `tokens` but for the first."""
    ids = tokens[np.random.default_rng(0).integers(1, len(tokens), size=(rows, 1, length))]
    return Arrays(ids, np.ones_like(ids, dtype=bool), np.zeros_like(ids[:, 0]) if types else None)


def tokens_of(model: PreTrainedModel) -> np.ndarray:
    """A token of each row of the model's table of word embeddings."""
    return token_of_each_row(input_table(model)).numpy()


def size_metrics(model: Student, folder: Path, length: int) -> dict[str, float]:
    """`size/parameters`, `size/parameters_without_embeddings`, `size/bytes` on disk (weights), `size/flops` of one row."""
    total = sum(p.numel() for p in model.parameters())
    embeddings = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Embedding))
    return {
        names.SIZE_PARAMETERS: float(total),
        names.SIZE_PARAMETERS_WITHOUT_EMBEDDINGS: float(total - embeddings),
        names.SIZE_BYTES: float(sum(path.stat().st_size for path in folder.glob("*.safetensors"))),
        names.SIZE_FLOPS: float(flops(model, length)),
    }


def flops(model: Student, length: int) -> int:
    """Floating-point operations (2 a multiply-add) of one text of `length` tokens: matrix products and attention.

    Fused LSTMs and attention are switched off while counting, so that their matrix products are seen.
    """
    inputs = as_inputs(random_batch(tokens_of(model), 1, length, types=False)).to(next(model.parameters()).device)
    # Detached: the counter asks each weight that is handed from module to module, as DeBERTa's positions are, for its gradient.
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    model.train(False)
    # Not mkldnn.flags: it sets TF32 too, which warns on every machine without an Intel GPU.
    onednn, *_ = torch.backends.mkldnn.set_flags(_enabled=False)
    try:
        with (
            FlopCounterMode(display=False) as counter,
            torch.backends.cudnn.flags(enabled=False),
            sdpa_kernel(SDPBackend.MATH),
            torch.inference_mode(),
        ):
            functional_call(model, weights, (inputs, next(iter(model.config.tasks))))
    finally:
        torch.backends.mkldnn.set_flags(_enabled=onednn)
    return int(counter.get_total_flops())


def hardware() -> dict[str, str]:
    """The machine in words: what a measured time depends on besides the model."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "cpu": _cpu_name(),
        "cores": str(os.cpu_count()),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.0f}",
        "gpu": device,
        "torch": torch.__version__,
        "system": platform.platform(terse=True),
    }


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in path.read_text().splitlines() if line.startswith("model name")]
        if path.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()
