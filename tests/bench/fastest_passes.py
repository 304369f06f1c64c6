"""Compares two estimates of a student's latency: how much each varies on this machine.

    PYTHONPATH=. python tests/bench/fastest_passes.py NAME=FOLDER ... [--windows 40]

FOLDER is an exported student of the demo suite. It is called without a pause; each second is one
measurement, in five blocks. One estimate is the median over the blocks of the median call, the
other is that of mkd/evaluation/timing.py, of the fastest passes. The last line is JSON.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np

from analysis.presentation.table import markdown
from mkd.config import DataConfig
from mkd.evaluation.speed import HEADLINE_SETTING, dev_texts, setting_calls
from mkd.evaluation.timing import block_statistics, garbage_collection_off, time_block
from mkd.runtime.inference import Student
from mkd.tasks.sources import load_tasks

NUM_BLOCKS = 5
SECONDS = 1.0


def measurements(student: Student, windows: int) -> dict[str, list[float]]:
    """Returns the latency in ms of each window, by either estimate."""
    work = dev_texts(load_tasks(DataConfig()))
    calls = setting_calls(student, np.arange(1), HEADLINE_SETTING, work)
    estimates: dict[str, list[float]] = {"blocks": [], "fastest": []}
    with garbage_collection_off():
        for _ in range(windows):
            blocks = [time_block(calls, SECONDS / NUM_BLOCKS) for _ in range(NUM_BLOCKS)]
            medians = [statistics.median(block.seconds) for block in blocks]
            estimates["blocks"].append(1000 * statistics.median(medians))
            estimates["fastest"].append(block_statistics(blocks, 1)["p50_ms"])
    return estimates


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("students", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--windows", type=int, default=40)
    args = parser.parse_args()
    lines = [["student", "estimate", "median, ms", "p90 / p10", "largest / least"]]
    found = {}
    for entry in args.students:
        name, folder = entry.split("=")
        found[name] = measurements(Student.load(Path(folder), 1), args.windows)
        for estimate, values in found[name].items():
            low, high = np.percentile(values, [10, 90])
            numbers = (statistics.median(values), high / low, max(values) / min(values))
            lines.append([name, estimate, *(f"{number:.3f}" for number in numbers)])
    print("\n".join(markdown(lines)))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
