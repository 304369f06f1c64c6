"""Inference speed and size of models, measured in alternation so that a busy machine is busy for all of them."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import psutil
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mkd import processes
from mkd.config import SpeedConfig
from mkd.record import Report, silent
from mkd.students import Student
from mkd.students.embeddings import input_table, token_of_each_row
from mkd.teachers.finetuned import Classifier
from mkd.tokens import Inputs

Timed = Student | Classifier


def speed_metrics(models: Mapping[str, Timed], config: SpeedConfig, report: Report = silent) -> dict[str, float]:
    """`<prefix>speed/torch/b<rows>-l<tokens>-t<threads>/<statistic>` of every model, by the prefix it has in `models`.

    p50_ms, p95_ms, p99_ms are of one call; rows_per_s follows from the median. One row a call gives the latency,
    config.batch_size rows the throughput. All models run in turn on the same shapes, single texts of config.length tokens.
    Of several processes the first one measures, while the others have nothing more to do.
    """
    if not processes.is_first():
        return {}
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        found: dict[str, float] = {}
        sizes = list(dict.fromkeys((1, config.batch_size)))
        for index, rows in enumerate(sizes):
            calls = {prefix: _call(model, rows, config.length) for prefix, model in models.items()}
            timed = _alternate(calls, config)
            report(index + 1, {"progress": (index + 1) / len(sizes)})
            for prefix, times_ms in timed.items():
                setting = f"{prefix}speed/torch/b{rows}-l{config.length}-t{config.threads}"
                found |= {f"{setting}/p{q}_ms": float(np.percentile(times_ms, q)) for q in (50, 95, 99)}
                found[f"{setting}/rows_per_s"] = rows * 1000 / statistics.median(times_ms)
        return found
    finally:
        torch.set_num_threads(threads)


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
    call = _call(model, 1, length)
    # Not mkldnn.flags: it sets TF32 too, which warns on every machine without an Intel GPU.
    onednn, *_ = torch.backends.mkldnn.set_flags(_enabled=False)
    try:
        with (
            FlopCounterMode(display=False) as counter,
            torch.backends.cudnn.flags(enabled=False),
            sdpa_kernel(SDPBackend.MATH),
        ):
            call()
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


def _call(model: Timed, rows: int, length: int) -> Callable[[], object]:
    """One forward pass on random tokens, ended when the device has it done."""
    device = next(model.parameters()).device
    tokens = token_of_each_row(input_table(model.model if isinstance(model, Classifier) else model))
    ids = tokens[torch.randint(1, len(tokens), (rows, 1, length), generator=torch.Generator().manual_seed(0))]
    types = torch.zeros(rows, length, dtype=torch.long) if model.joined else None
    inputs = Inputs(ids, torch.ones_like(ids, dtype=torch.bool), types).to(device)
    task = next(iter(model.config.tasks))

    def call() -> object:
        with torch.inference_mode():
            logits = model(inputs, task)
            if device.type == "cuda":
                torch.cuda.synchronize()
            return logits

    model.train(False)
    return call


def _alternate(calls: dict[str, Callable[[], object]], config: SpeedConfig) -> dict[str, list[float]]:
    """Milliseconds of each timed call, the models taking turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(config.warmup + config.repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= config.warmup:
                times[name].append((time.perf_counter() - start) * 1000)
    return times
