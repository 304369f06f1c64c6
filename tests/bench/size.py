"""Measures whether memory and the time per row stay constant as the number of rows grows.

    python tests/bench/size.py --rows 100000 1000000 10000000 --task sentiment

Rows are generated, tokenized, labelled and sampled from. Each number of rows has its own process,
which starts with an empty cache. Half of the rows have a label. The teacher is a Transformer with
one layer of 32 and random weights: its logits take as long as those of a trained one. The last line
is JSON. 10 million rows take about ten minutes and 1 GB of disk, in a folder that is removed at the
end.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import NamedTuple

import numpy as np
import psutil
import torch

from analysis.presentation.table import markdown
from mkd.config import Config, DataConfig, DemoConfig, SamplingConfig, TeacherConfig
from mkd.result import Report
from mkd.tasks.demo import DEMO_TASKS
from mkd.tasks.sources import load_tasks
from mkd.teachers.refined import RefinedModel, refined_logits, refined_tokenizer, untrained_teacher
from mkd.tokenization.tokenise import tokenise_task
from mkd.tokenization.tokens import layout_of
from mkd.training.batches import TaskRows, joint_batches

BATCH_ROWS = 32
BATCHES = 2000
MIB = 1 << 20


class Measured(NamedTuple):
    """The measurements for one number of rows.

    - `tokenise_s`: includes generating the rows.
    - `first_batch_s`: includes drawing the order of the epoch.
    - `peak_mib`: largest resident memory of the process, as counted by the kernel.
    - `anonymous_mib`: largest anonymous part of it, sampled every 20 ms. The rest is pages of the
      stores and of libraries, which the kernel reclaims if memory is short.
    - `idle_mib`: resident and anonymous memory before the first row.
    """

    rows: int
    tokens: int
    tokenise_s: float
    label_s: float
    first_batch_s: float
    batches_s: float
    peak_mib: float
    anonymous_mib: float
    idle_mib: tuple[float, float]


def resident() -> tuple[float, float]:
    """Returns the resident memory of this process and its anonymous part, in MiB."""
    info = psutil.Process().memory_info()
    return info.rss / MIB, (info.rss - info.shared) / MIB


def peak_mib() -> float:
    """Returns the largest resident memory of this process so far (VmHWM)."""
    # Not ru_maxrss, which includes the memory of the parent process.
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) / 1024


@contextmanager
def watched() -> Iterator[list[float]]:
    """Yields a list whose only element becomes the largest anonymous memory in the context."""
    largest, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            largest[0] = max(largest[0], resident()[1])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield largest
    finally:
        stop.set()
        thread.join()


def printer(stage: str) -> Report:
    """Returns a report that prints the progress of a stage on one line of the terminal."""

    def report(step: int, metrics: dict[str, float]) -> None:
        print(f"\r{stage}: {step:,}", end="", file=sys.stderr)

    return report


def measure(task: str, rows: int, folder: Path) -> Measured:
    """Measures one number of rows in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    idle = resident()
    demo = DemoConfig(train_rows=rows // 2, unlabelled_rows=rows - rows // 2)
    teacher = TeacherConfig(layers=1, hidden=32, heads=2)
    config = Config(cache=str(folder), data=DataConfig(tasks=[task], demo=demo), teacher=teacher)
    # The tokenizer is learnt from the demo's usual rows. So it is the same for each number of rows,
    # and its training is not timed.
    tokenizer = refined_tokenizer(teacher, folder, load_tasks(DataConfig(tasks=[task])))
    layout = layout_of(tokenizer, True, config.data.max_length)
    clock = [time.perf_counter()]
    with watched() as anonymous:
        (one,) = load_tasks(config.data)
        data = tokenise_task(folder, one, tokenizer, config.data, config.seed, printer("tokenised"))
        clock.append(time.perf_counter())
        refined = RefinedModel(
            untrained_teacher(teacher, config.data.max_length, [data], tokenizer).eval(),
            "random",
            layout,
            "float32",
        )
        logits = refined_logits(folder, refined, data.train, task, printer("labelled"))
        clock.append(time.perf_counter())
        batches = joint_batches(
            [TaskRows(data, data.train_rows, logits)],
            layout,
            BATCH_ROWS,
            SamplingConfig(),
            config.seed,
        )
        next(batches)
        clock.append(time.perf_counter())
        deque(islice(batches, BATCHES), maxlen=0)
        clock.append(time.perf_counter())
    tokens = sum(
        int(texts.offsets[-1]) for texts in (data.train.a, data.train.b) if texts is not None
    )
    tokenise_s, label_s, first_batch_s, batches_s = np.diff(clock).tolist()
    rows = len(data.train.labels)
    return Measured(
        rows, tokens, tokenise_s, label_s, first_batch_s, batches_s, peak_mib(), anonymous[0], idle
    )


def table(results: list[Measured]) -> list[str]:
    """Returns the measurements as a Markdown table."""
    header = [
        "rows", "tokens", "made, tokenized: s", "rows/s", "labelled: s", "rows/s", "first batch: s",
        "batches/s",
    ]  # fmt: skip
    body = [
        [f"{m.rows:,}", f"{m.tokens:,}", f"{m.tokenise_s:,.1f}", f"{m.rows / m.tokenise_s:,.0f}",
         f"{m.label_s:,.1f}", f"{m.rows / m.label_s:,.0f}", f"{m.first_batch_s:.2f}",
         f"{BATCHES / m.batches_s:,.0f}",
         f"{m.peak_mib:,.0f}", f"{m.anonymous_mib:,.0f}"]
        for m in results
    ]  # fmt: skip
    return markdown([[*header, "peak: MiB", "anonymous: MiB"], *body])


def main() -> None:
    """Measures each number of rows in its own process, then prints the table and the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        default=[10**5, 10**6, 10**7],
        help="training rows, one run each",
    )
    parser.add_argument(
        "--task", choices=list(DEMO_TASKS), default="sentiment", help="a task of the demo suite"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(gettempdir()), help="where the temporary folder is made"
    )
    parser.add_argument(
        "--here", action="store_true", help="one number of rows, in this process: JSON alone"
    )
    args = parser.parse_args()
    if args.here:
        with TemporaryDirectory(dir=args.folder) as folder:
            print(json.dumps(measure(args.task, args.rows[0], Path(folder))._asdict()))
        return
    results = []
    for rows in args.rows:
        command = [
            sys.executable, __file__, "--here", "--rows", str(rows), "--task", args.task,
            "--folder", str(args.folder),
        ]  # fmt: skip
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        print(f"\n{output.strip()}", file=sys.stderr)
        results.append(Measured(**json.loads(output)))
    print("\n".join(["", *table(results), ""]))
    print(
        json.dumps(
            {
                "task": args.task,
                "batch_rows": BATCH_ROWS,
                "measured": [m._asdict() for m in results],
            }
        )
    )


if __name__ == "__main__":
    main()
