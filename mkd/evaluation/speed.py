"""Inference speed and size of models, measured alike in trials, runs and promoted students.

What is measured, and how (SPEED_PROTOCOL is the version; times of different versions are not
comparable):

- Settings. The headline is one row as raw text on one thread (`b1-text-t1`). Budgets, names,
  tables, pictures and the choice of the fastest backend use its median. Further settings are one
  row of 128 tokens without tokenization (`b1-l128-t1`; the length is speed.length), and calls of
  many texts for the throughput (`b32-text-t1`, `b32-text-t2`). A trial has only the settings with
  one thread.
- Texts. From the first NUM_DEV_TEXTS dev rows of each task, texts at equal steps of length, the
  tasks in turn. They are the same for all models. A pass has one call per text or batch. Only whole
  passes are timed, so that the times of a fast and of a slow model are of the same texts.
- Blocks. A block is one model in one setting, warmed up and then called back to back while no other
  model runs. Models that take turns call by call find cold caches. Blocks come in rounds, one block
  of each model in each setting, so that a busy moment of the machine affects one block of each. The
  teacher is measured after the student, in rounds of its own.
- Numbers. `p50_ms` is the median time of the calls of the fastest tenth of the passes, over all
  blocks. On a virtual machine other guests of the host slow down a pass or a second, up to twofold,
  which the machine itself cannot see; of the fastest passes this changes little. `rows_per_s` is
  that of the median of these passes. 95 of 100 calls take at most `p95_ms`, 99 of 100 at most
  `p99_ms`: these are of all calls of a block, as the median over the blocks. A percentile needs ten
  calls beyond it and is left out otherwise: p50_ms needs 20 calls, p95_ms 200, p99_ms 1,000.
  `calls` is the number of all calls.
- Threads. PyTorch uses the setting's number of threads. Idle threads of onnxruntime do not spin
  (mkd/runtime/inference.py), so that no pool takes cores from another one. Python's garbage
  collector is off.
- Seconds. `speed.seconds` are divided equally among models and settings, with at most MOST_SECONDS
  for each. A share that is too short still gets one pass. A run spends at most half the time of its
  student's training.
- A busy machine. `busy_share` is the share of the core's time that other work used
  (mkd/evaluation/timing.py). Above MOST_BUSY a note accompanies the times, and a search does not
  store them.
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

from mkd import names, processes
from mkd.config import SpeedConfig
from mkd.evaluation import timing
from mkd.evaluation.timing import CLOCK, MOST_BUSY, SPEED_PROTOCOL, Call, Clock, TimedBlock
from mkd.result import Report, no_report
from mkd.runtime import inference
from mkd.runtime.layout import Arrays
from mkd.runtime.texts import Text
from mkd.students import Student
from mkd.students.embeddings import HasInputEmbeddings, input_table, token_of_each_row
from mkd.tasks.task import Task
from mkd.tokenization.tokens import as_inputs

SPEED_ROUNDS = 5
"""Maximum number of blocks of each model in each setting."""
MOST_SECONDS = 1.0
"""Seconds for one model in one setting, over all rounds."""
NUM_DEV_TEXTS = 256
"""Rows of each task's dev split from which the texts are chosen."""

LoadModel = Callable[[int], inference.Student]
"""Loads a model that is ready to answer on a number of threads."""
TaskTexts = Mapping[str, list[Text]]
"""Raw texts by task, the shortest first."""


class SpeedSetting(NamedTuple):
    """One kind of call. `length` is in tokens per row; 0: raw text, tokenization included."""

    rows: int
    length: int
    threads: int

    @property
    def name(self) -> str:
        """The name in metrics, such as `b1-l128-t1` or `b32-text-t2`."""
        return f"b{self.rows}-{f'l{self.length}' if self.length else 'text'}-t{self.threads}"


HEADLINE_SETTING = SpeedSetting(1, 0, 1)
"""The setting whose median is used wherever one latency is needed."""


class TimedModel(NamedTuple):
    """A model in one backend. `tokens` are the ids from which random rows are drawn."""

    load: LoadModel
    tokens: np.ndarray


def speed_settings(config: SpeedConfig) -> list[SpeedSetting]:
    """Returns all settings, the headline first."""
    threads = dict.fromkeys(count or inference.cores() for count in config.threads)
    many = [SpeedSetting(config.batch_size, 0, count) for count in threads]
    return list(dict.fromkeys([HEADLINE_SETTING, SpeedSetting(1, config.length, 1), *many]))


def one_thread_settings(config: SpeedConfig) -> list[SpeedSetting]:
    """Returns the settings of a trial: one thread, since other workers may use the other cores."""
    return [setting for setting in speed_settings(config) if setting.threads == 1]


def limit_seconds(config: SpeedConfig, trained_seconds: float) -> SpeedConfig:
    """Returns the config with `seconds` limited to half of the time of the student's training."""
    return replace(config, seconds=min(config.seconds, trained_seconds / 2))


def dev_texts(tasks: list[Task]) -> TaskTexts:
    """Returns the first NUM_DEV_TEXTS texts of each task's dev split, the shortest first."""
    rows = {task.name: islice(task.dev[""].read(), NUM_DEV_TEXTS) for task in tasks}
    texts = {
        name: [r.text_a if r.text_b is None else (r.text_a, r.text_b) for r in task_rows]
        for name, task_rows in rows.items()
    }
    return {name: sorted(task_texts, key=_length) for name, task_texts in texts.items()}


def _length(text: Text) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))


def speed_metrics(
    models: Mapping[str, TimedModel],
    work: TaskTexts,
    settings: list[SpeedSetting],
    seconds: float,
    prefix: str = "",
    report: Report = no_report,
    clock: Clock = CLOCK,
) -> dict[str, float]:
    """Returns the speed of every model in every setting.

    - `models`: models by the name of their backend
    - `settings`: settings to measure in
    - `seconds`: time for the whole measurement; 0: none is made
    - `prefix`: prefix of all names, such as `teacher/`

    The metrics are `<prefix>speed/<backend>/<setting>/<statistic>`, `<prefix>speed/busy_share` and
    `<prefix>speed/protocol`. If there are several processes, only the first one measures; the
    others return no metrics.
    """
    if not processes.is_first() or not seconds:
        return {}
    others = timing.start_load_meter(clock)
    blocks_of_models = time_models(models, work, settings, seconds, report, clock)
    metrics = {
        names.speed(name, setting.name, key): value
        for (name, setting), blocks in blocks_of_models.items()
        for key, value in timing.block_statistics(blocks, setting.rows).items()
    }
    # With several threads, a thread that waits for another one would look like other work.
    alone = list(
        chain.from_iterable(
            blocks for (_, setting), blocks in blocks_of_models.items() if setting.threads == 1
        )
    )
    busy = timing.busy_share(alone, others(), timing.physical_cores())
    return names.of(
        prefix, metrics | {names.BUSY_SHARE: busy, names.PROTOCOL: float(SPEED_PROTOCOL)}
    )


def ratio_text(ratio: float, busy: bool) -> str:
    """Returns a ratio of times for display. That of a busy machine is not precise, and says so.

    The page of the report has the same rule (`ratioText` in analysis/page/template/format.js).
    """
    digits = 0 if busy and ratio >= 1 else 1
    return f"{'about ' if busy else ''}{ratio:.{digits}f}"


def is_busy(metrics: Mapping[str, float]) -> bool:
    """Returns whether any of these times were measured on a machine that was too busy."""
    return any(
        value > MOST_BUSY for name, value in metrics.items() if name.endswith(names.BUSY_SHARE)
    )


def busy_note(metrics: Mapping[str, float]) -> list[str]:
    """Returns the notes for times from a busy machine; none if the machine was idle."""
    shares = {
        name: value
        for name, value in metrics.items()
        if name.endswith(names.BUSY_SHARE) and value > MOST_BUSY
    }
    return [
        f"the machine was busy when the {'teacher' if name.startswith(names.TEACHER) else 'speed'} "
        "was timed: other work had "
        f"{100 * share:.0f} % of the core, so the times are too long"
        for name, share in shares.items()
    ]


def time_models(
    models: Mapping[str, TimedModel],
    work: TaskTexts,
    settings: list[SpeedSetting],
    seconds: float,
    report: Report = no_report,
    clock: Clock = CLOCK,
) -> dict[tuple[str, SpeedSetting], list[TimedBlock]]:
    """Returns the blocks of each model in each setting.

    A model that has used its share of the seconds in a setting gets no further blocks.
    """
    share = min(seconds / (len(models) * len(settings)), MOST_SECONDS)
    # The tokenizer's thread pool is created once per process, with the first student: give it the
    # largest number of threads of any setting.
    os.environ.setdefault("RAYON_NUM_THREADS", str(max(setting.threads for setting in settings)))
    pairs = [(name, setting) for setting in settings for name in models]
    spent = dict.fromkeys(pairs, 0.0)
    loaded: dict[tuple[str, int], inference.Student] = {}
    calls: dict[tuple[str, SpeedSetting], list[Call]] = {}
    blocks: dict[tuple[str, SpeedSetting], list[TimedBlock]] = {pair: [] for pair in pairs}
    report(0, {names.SHARE: 0.0})
    for number in range(SPEED_ROUNDS):
        for place, pair in enumerate(pairs):
            left, begun = share - spent[pair], clock.wall()
            # The first round always runs: also a model that is too slow for its share gets a pass.
            if number == 0 or left > 0:
                name, setting = pair
                with _threads(setting.threads), timing.garbage_collection_off():
                    if number == 0:
                        key = (name, setting.threads)
                        loaded[key] = loaded.get(key) or with_missing_heads(
                            models[name].load(setting.threads), work
                        )
                        calls[pair] = setting_calls(loaded[key], models[name].tokens, setting, work)
                    # What is left of its share is spread evenly over the remaining rounds.
                    blocks[pair].append(
                        timing.time_block(calls[pair], left / (SPEED_ROUNDS - number), clock)
                    )
            spent[pair] += clock.wall() - begun
            done = number * len(pairs) + place + 1
            report(done, {names.SHARE: done / (SPEED_ROUNDS * len(pairs))})
    return blocks


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Sets PyTorch's number of threads within the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def setting_calls(
    student: inference.Student, tokens: np.ndarray, setting: SpeedSetting, work: TaskTexts
) -> list[Call]:
    """Returns the calls of one pass.

    With one row per call there are at least as many as the median needs. With many raw texts per
    call there is one call per task. `tokens` is as in TimedModel.
    """
    least = timing.min_calls(50)
    if setting.length:
        batch = random_batch(tokens, setting.rows, setting.length, student.layout.types)
        return [partial(student.infer, batch, next(iter(student.heads)))] * least
    if setting.rows > 1:
        return [
            partial(student.predict, evenly_spaced(texts, setting.rows), task)
            for task, texts in work.items()
        ]
    texts_by_task = {
        task: evenly_spaced(texts, -(-least // len(work))) for task, texts in work.items()
    }
    turns = zip(*texts_by_task.values(), strict=True)
    return [
        partial(student.predict, [text], task)
        for texts in turns
        for task, text in zip(texts_by_task, texts, strict=True)
    ]


def evenly_spaced(texts: Sequence[Text], count: int) -> list[Text]:
    """Returns `count` texts at equal steps; some are repeated if there are fewer texts."""
    return [texts[int((place + 0.5) * len(texts) / count)] for place in range(count)]


def with_missing_heads(student: inference.Student, work: TaskTexts) -> inference.Student:
    """Returns a student that has a head for each task.

    A missing head is replaced by one that exists: the time of a call does not depend on the head.
    """
    if work.keys() <= student.heads.keys():
        return student
    substitute = next(iter(student.heads))
    pairs = {task: isinstance(texts[0], tuple) for task, texts in work.items()}
    heads = {
        task: student.heads.get(task, student.heads[substitute]._replace(pair=pair))
        for task, pair in pairs.items()
    }

    def infer(batch: Arrays, task: str) -> np.ndarray:
        return student.infer(batch, task if task in student.heads else substitute)

    return inference.Student(heads, student.layout, student.encode, infer)


def random_batch(tokens: np.ndarray, rows: int, length: int, types: bool) -> Arrays:
    """Returns rows of one text, of ids drawn uniformly from all but the first of `tokens`."""
    ids = tokens[np.random.default_rng(0).integers(1, len(tokens), size=(rows, 1, length))]
    return Arrays(ids, np.ones_like(ids, dtype=bool), np.zeros_like(ids[:, 0]) if types else None)


def embedding_token_ids(model: HasInputEmbeddings) -> np.ndarray:
    """Returns one token id for each row of the model's table of word embeddings."""
    return token_of_each_row(input_table(model)).numpy()


def size_metrics(model: Student, folder: Path, length: int) -> dict[str, float]:
    """Returns the size of the model.

    - `size/parameters` and `size/parameters_without_embeddings`: numbers of parameters
    - `size/bytes`: bytes of the weights on disk, in the safetensors files of `folder`
    - `size/flops`: floating-point operations for one row of `length` tokens
    """
    total = sum(p.numel() for p in model.parameters())
    embeddings = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Embedding))
    return {
        names.SIZE_PARAMETERS: float(total),
        names.SIZE_PARAMETERS_WITHOUT_EMBEDDINGS: float(total - embeddings),
        names.SIZE_BYTES: float(sum(path.stat().st_size for path in folder.glob("*.safetensors"))),
        names.SIZE_FLOPS: float(flops(model, length)),
    }


def flops(model: Student, length: int) -> int:
    """Returns the floating-point operations for one text of `length` tokens.

    Matrix products and attention are counted, a multiply-add as 2. Fused LSTMs and attention are
    switched off meanwhile, because the counter does not see the matrix products inside them.
    """
    inputs = as_inputs(random_batch(embedding_token_ids(model), 1, length, types=False)).to(
        next(model.parameters()).device
    )
    # Detached: the counter asks weights that modules pass to each other, such as the positions of
    # DeBERTa, for their gradient.
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    model.train(False)
    # Not mkldnn.flags: it also sets TF32, which warns on every machine without an Intel GPU.
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
    """Returns a description of the machine: everything that a time depends on besides the model."""
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
        [
            line.split(":")[1].strip()
            for line in path.read_text().splitlines()
            if line.startswith("model name")
        ]
        if path.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()
