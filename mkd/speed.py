"""Inference speed and size of models, measured in alternation so that a busy machine is busy for all of them."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from mkd import processes, runtime
from mkd.batches import as_inputs
from mkd.config import SpeedConfig
from mkd.layout import Arrays
from mkd.record import Report, silent
from mkd.students import Student
from mkd.students.embeddings import input_table, token_of_each_row
from mkd.tasks import Task

LEAST_CALLS = 5
"""Timed calls that are made however long they take."""
TEXTS = 256
"""Texts of each task that are answered in turn where tokenising is timed too."""

Load = Callable[[int], runtime.Student]
"""A model ready to answer on so many threads."""
Work = Mapping[str, list[runtime.Text]]
"""Raw texts by task."""


class Setting(NamedTuple):
    """One way of asking. length: tokens of each row; 0: raw texts as they are, tokenised within the time."""

    rows: int
    length: int
    threads: int

    @property
    def name(self) -> str:
        """As in the metrics: `b1-l128-t1`, `b32-text-t2`."""
        return f"b{self.rows}-{f'l{self.length}' if self.length else 'text'}-t{self.threads}"


class Timed(NamedTuple):
    """A model in one backend. tokens: ids to draw from where tokens are given."""

    load: Load
    tokens: np.ndarray


def settings(config: SpeedConfig, texts: bool) -> list[Setting]:
    """All ways of asking: one row and a batch, of tokens and, with `texts`, of raw texts, on each number of threads."""
    rows = dict.fromkeys((1, config.batch_size))
    lengths = (config.length, 0) if texts else (config.length,)
    threads = dict.fromkeys(count or runtime.cores() for count in config.threads)
    return [Setting(size, length, count) for count in threads for length in lengths for size in rows]


def work_of(tasks: list[Task]) -> Work:
    """The first texts of each task's dev split."""
    rows = {task.name: islice(task.dev[""].read(), TEXTS) for task in tasks}
    return {name: [r.text_a if r.text_b is None else (r.text_a, r.text_b) for r in found] for name, found in rows.items()}


def speed_metrics(models: Mapping[str, Timed], work: Work, config: SpeedConfig, report: Report = silent) -> dict[str, float]:
    """`<model>/<setting>/<statistic>` of every model, by its name in `models`, in every setting.

    work: raw texts; none: no setting of raw texts. Of several processes the first one measures, while the others have nothing
    more to do.
    """
    if not processes.is_first():
        return {}
    found: dict[str, float] = {}
    wanted = settings(config, bool(work))
    for index, setting in enumerate(wanted):
        times_ms = measure(models, setting, work, config)
        for name, times in times_ms.items():
            found |= {f"{name}/{setting.name}/{key}": value for key, value in told(times, setting.rows).items()}
        report(index + 1, {"progress": (index + 1) / len(wanted)})
    return found


def told(times_ms: list[float], rows: int) -> dict[str, float]:
    """p50_ms, p95_ms, p99_ms of one call of so many rows, and rows_per_s, which follows from the median."""
    quantiles = {f"p{q}_ms": float(np.percentile(times_ms, q)) for q in (50, 95, 99)}
    return quantiles | {"rows_per_s": rows * 1000 / statistics.median(times_ms)}


def measure(models: Mapping[str, Timed], setting: Setting, work: Work, config: SpeedConfig) -> dict[str, list[float]]:
    """Milliseconds of each timed call of each model in one setting, the models taking turns at the same rows.

    Tokens are single texts; raw texts are those of `work`, task after task.
    """
    with _threads(setting.threads):
        calls = {name: _calls(timed, setting, work) for name, timed in models.items()}
        times: dict[str, list[float]] = {name: [] for name in calls}
        begun = time.perf_counter()
        for turn in range(config.warmup + config.repeats):
            if turn >= config.warmup + LEAST_CALLS and time.perf_counter() - begun > config.seconds:
                break
            for name, call in calls.items():
                work_now = next(call)
                start = time.perf_counter()
                work_now()
                if turn >= config.warmup:
                    times[name].append((time.perf_counter() - start) * 1000)
        return times


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """torch's threads, set to so many meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _calls(timed: Timed, setting: Setting, work: Work) -> Iterator[Callable[[], object]]:
    """What is to be timed, turn by turn."""
    student = timed.load(setting.threads)
    if setting.length:
        batch = random_batch(timed.tokens, setting.rows, setting.length, student.layout.types)
        task = next(iter(student.heads))
        return cycle([lambda: student.infer(batch, task)])
    return _answers(student, setting.rows, work)


def _answers(student: runtime.Student, rows: int, work: Work) -> Iterator[Callable[[], object]]:
    """Predictions of the next rows of each task in turn."""
    texts = {task: cycle(found) for task, found in work.items()}
    for task in cycle(texts):
        now = list(islice(texts[task], rows))
        yield lambda task=task, now=now: student.predict(now, task)  # type: ignore[misc]


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
        "size/parameters": float(total),
        "size/parameters_without_embeddings": float(total - embeddings),
        "size/bytes": float(sum(path.stat().st_size for path in folder.glob("*.safetensors"))),
        "size/flops": float(flops(model, length)),
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
