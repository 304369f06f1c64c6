"""Whether memory and the time a row stay as they are while the rows grow: made, tokenized, labelled
and sampled from.

    python tests/bench/size.py --rows 100000 1000000 10000000 --task sentiment

Each number of rows has a process of its own, which starts with nothing stored. Half of the rows
come with a label. The teacher is a Transformer of one layer of 32, whose weights are random: its
logits take as long as a trained one's. The last line is JSON. 10 million rows take some ten minutes
and 1 GB of disk, in a folder that is removed at the end.
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
    """One number of rows. tokenise_s: with the making of the rows. first_batch_s: with the drawing
    of the epoch's order.

    peak_mib: the process's largest resident memory, as the kernel counts it, and anonymous_mib that
    part of it that is no file's (the rest are pages of the stores and of libraries, which the
    kernel takes back when memory is short), looked at every 20 ms; idle_mib: both of them before
    the first row.
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
    """This process's resident memory now, and the anonymous part of it, in MiB."""
    info = psutil.Process().memory_info()
    return info.rss / MIB, (info.rss - info.shared) / MIB


def peak_mib() -> float:
    """VmHWM: the largest resident memory that the process ever had. (ru_maxrss counts the parent's
    in.)"""
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) / 1024


@contextmanager
def watched() -> Iterator[list[float]]:
    """The largest anonymous memory seen while it is open, as the list's only element once it is
    closed."""
    found, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            found[0] = max(found[0], resident()[1])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def told(stage: str) -> Report:
    """A report that says on the terminal how far a stage is, on one line."""

    def report(step: int, metrics: dict[str, float]) -> None:
        print(f"\r{stage}: {step:,}", end="", file=sys.stderr)

    return report


def measure(task: str, rows: int, folder: Path) -> Measured:
    """One number of rows, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    idle = resident()
    demo = DemoConfig(train_rows=rows // 2, unlabelled_rows=rows - rows // 2)
    teacher = TeacherConfig(layers=1, hidden=32, heads=2)
    config = Config(cache=str(folder), data=DataConfig(tasks=[task], demo=demo), teacher=teacher)
    # Learnt from the demo's usual rows: it is the same for each number of rows, and not what is
    # timed.
    tokenizer = refined_tokenizer(teacher, folder, load_tasks(DataConfig(tasks=[task])))
    layout = layout_of(tokenizer, True, config.data.max_length)
    clock = [time.perf_counter()]
    with watched() as anonymous:
        (one,) = load_tasks(config.data)
        data = tokenise_task(folder, one, tokenizer, config.data, config.seed, told("tokenised"))
        clock.append(time.perf_counter())
        refined = RefinedModel(
            untrained_teacher(teacher, config.data.max_length, [data], tokenizer).eval(),
            "random",
            layout,
            "float32",
        )
        logits = refined_logits(folder, refined, data.train, task, told("labelled"))
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


def table(found: list[Measured]) -> list[str]:
    """All numbers of rows, in Markdown."""
    header = [
        "rows", "tokens", "made, tokenized: s", "rows/s", "labelled: s", "rows/s", "first batch: s",
        "batches/s",
    ]  # fmt: skip
    body = [
        [f"{m.rows:,}", f"{m.tokens:,}", f"{m.tokenise_s:,.1f}", f"{m.rows / m.tokenise_s:,.0f}",
         f"{m.label_s:,.1f}", f"{m.rows / m.label_s:,.0f}", f"{m.first_batch_s:.2f}",
         f"{BATCHES / m.batches_s:,.0f}",
         f"{m.peak_mib:,.0f}", f"{m.anonymous_mib:,.0f}"]
        for m in found
    ]  # fmt: skip
    return markdown([[*header, "peak: MiB", "anonymous: MiB"], *body])


def main() -> None:
    """Each number of rows in a process of its own, then the table and the JSON."""
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
    found = []
    for rows in args.rows:
        command = [
            sys.executable, __file__, "--here", "--rows", str(rows), "--task", args.task,
            "--folder", str(args.folder),
        ]  # fmt: skip
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        print(f"\n{output.strip()}", file=sys.stderr)
        found.append(Measured(**json.loads(output)))
    print("\n".join(["", *table(found), ""]))
    print(
        json.dumps(
            {"task": args.task, "batch_rows": BATCH_ROWS, "measured": [m._asdict() for m in found]}
        )
    )


if __name__ == "__main__":
    main()
