"""Runs a distillation on disks of ten sizes that are too small for it, and then on a large disk.

    python -m tests.bench.full_disks                     # takes long
    python -m tests.bench.full_disks --place cache

The cache, the tracking database, the artifacts or TMPDIR is on a small disk (a tmpfs in its own
mount namespace, tests/support/disks.py). The command must end with the exit code 2 and one line
with a path and a number of bytes, and must leave no partial files. Then the disk grows, and the
same command must finish, in the same run if there was one.
"""

import argparse
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from experiments import cli, distill
from experiments.settings import DistillSettings
from experiments.tracking import store
from tests.support import disks
from tests.support.entry import tiny
from tests.support.forked import ACCEPTED, REFUSED, ending, statuses

PLACES = ("cache", "tracker", "artifacts", "tmp")
SIZES = [2**power for power in range(14, 24)]
"""16 KiB to 8 MiB."""
LARGE = 1 << 28
FULL_DISK_ERROR = re.compile(r"^error: .*/.*\d bytes")
"""One line that names a path and a number of bytes."""
ARGV = [*tiny("distill"), '--data.tasks=["sentiment"]', "--cache=cache"]


class Result(NamedTuple):
    """How the command ended on the small disk; fault: what is wrong, or empty."""

    ended: str
    fault: str


def tried(place: str, size: int) -> Result:
    """Runs the command on a small disk and again on a large one, in a forked process."""
    with tempfile.TemporaryDirectory(prefix="disk") as name:
        file = Path(name) / "found.json"
        process = os.fork()
        if not process:
            try:
                file.write_text(json.dumps(_tried(place, size, Path(name) / "w")))
            finally:
                os._exit(0)
        os.waitpid(process, 0)
        if not file.exists():
            return Result("failed", "the trial itself failed")
        return Result(*json.loads(file.read_text()))


def _tried(place: str, size: int, work: Path) -> Result:
    disks.own_mounts()
    for each in (*PLACES, "mlruns"):
        (work / each).mkdir(parents=True)
    folder = {"artifacts": "mlruns"}.get(place, place)
    disks.mount(work / folder, size)
    uri = f"sqlite:///{work}/tracker/mlflow.db"
    environ = {"MLFLOW_TRACKING_URI": uri, "TMPDIR": str(work / "tmp")}
    first = ending(_command(), work, 100, environ)
    fault = ""
    if first.kind == REFUSED:
        fault = (
            "" if FULL_DISK_ERROR.match(first.message) else f"no path and bytes: {first.message}"
        )
    elif first.kind != ACCEPTED:
        fault = f"{first.kind}: {first.message}"
    if half := _half_written(work):
        fault = fault or f"left: {half}"
    if first.kind == ACCEPTED:
        return Result("enough room", fault)
    disks.mount(work / folder, LARGE, again=True)
    for log in ("output", "errors"):
        (work / log).unlink()
    again = ending(_command(), work, 100, environ)
    if again.kind != ACCEPTED:
        fault = fault or f"given again: {again.kind}: {again.message}"
    elif (ends := Counter(statuses(work / "tracker"))) != {"FINISHED": 1}:
        fault = fault or f"given again, the runs are {dict(ends)}"
    return Result("told" if not fault else "fault", fault)


def _command() -> Callable[[], int]:
    """Returns the command, which does not wait minutes for a full store."""

    def run() -> int:
        store.OUTAGE_SECONDS = 2
        return cli.entry(distill.distill, "", DistillSettings, ARGV)

    return run


def _half_written(work: Path) -> list[str]:
    """Returns the temporary files and folders that were left behind."""
    stored = [*work.glob("cache/*/.*"), *work.rglob("*.aside"), *work.glob("tracker/mlflow.db-*-*")]
    return sorted(str(path.relative_to(work)) for path in (*stored, *work.glob("tmp/*")))


def main() -> None:
    """Tries each place with each size; prints each fault and a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--place", action="append", choices=PLACES, default=[])
    args = parser.parse_args()
    lines = ["| small disk | KiB | enough room | told, then finished | faults |",
             "| :-- | :-- | --: | --: | --: |"]  # fmt: skip
    for place in args.place or PLACES:
        endings: Counter[str] = Counter()
        for size in SIZES:
            result = tried(place, size)
            endings[result.ended] += 1
            if result.fault:
                print(f"{place} of {size >> 10} KiB: {result.fault}"[:500], flush=True)
        counts = (endings["enough room"], endings["told"], endings["fault"] + endings["failed"])
        sizes = f"{SIZES[0] >> 10} to {SIZES[-1] >> 10:,}"
        lines.append(f"| {place} | {sizes} | {' | '.join(map(str, counts))} |")
        print(lines[-1], flush=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
