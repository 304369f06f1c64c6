"""Disks of ten sizes that are too small for a run: what is told, and does the run go on?

    python -m tests.bench.full_disks                     # takes long
    python -m tests.bench.full_disks --place cache

The cache, the tracking database, the artifacts or TMPDIR lie on a small disk (a tmpfs in a mount
namespace of its own, tests/support/disks.py). The command has to end with the code 2 and one line
with a path and bytes, and has to leave nothing half written. Then the disk grows, and the same
command has to finish, in the same run if there was one.
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
TOLD = re.compile(r"^error: .*/.*\d bytes")
"""One line that names a path and bytes."""
ARGV = [*tiny("distill"), '--data.tasks=["sentiment"]', "--cache=cache"]


class Found(NamedTuple):
    """How the command ended on the small disk, and what is wrong."""

    ended: str
    fault: str


def tried(place: str, size: int) -> Found:
    """Runs the command on a small disk and again on a large one, in a forked process."""
    with tempfile.TemporaryDirectory(prefix="disk") as name:
        told = Path(name) / "found.json"
        process = os.fork()
        if not process:
            try:
                told.write_text(json.dumps(_tried(place, size, Path(name) / "w")))
            finally:
                os._exit(0)
        os.waitpid(process, 0)
        if not told.exists():
            return Found("failed", "the trial itself failed")
        return Found(*json.loads(told.read_text()))


def _tried(place: str, size: int, work: Path) -> Found:
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
        fault = "" if TOLD.match(first.told) else f"no path and bytes: {first.told}"
    elif first.kind != ACCEPTED:
        fault = f"{first.kind}: {first.told}"
    if half := _half_written(work):
        fault = fault or f"left: {half}"
    if first.kind == ACCEPTED:
        return Found("enough room", fault)
    disks.mount(work / folder, LARGE, again=True)
    for leave in ("output", "errors"):
        (work / leave).unlink()
    again = ending(_command(), work, 100, environ)
    if again.kind != ACCEPTED:
        fault = fault or f"given again: {again.kind}: {again.told}"
    elif (ends := Counter(statuses(work / "tracker"))) != {"FINISHED": 1}:
        fault = fault or f"given again, the runs are {dict(ends)}"
    return Found("told" if not fault else "fault", fault)


def _command() -> Callable[[], int]:
    """Returns the command. It does not wait minutes for a store that is full."""

    def run() -> int:
        store.OUTAGE_SECONDS = 2
        return cli.entry(distill.distill, "", DistillSettings, ARGV)

    return run


def _half_written(work: Path) -> list[str]:
    """Returns the temporary files and folders that are left."""
    found = [*work.glob("cache/*/.*"), *work.rglob("*.aside"), *work.glob("tracker/mlflow.db-*-*")]
    return sorted(str(path.relative_to(work)) for path in (*found, *work.glob("tmp/*")))


def main() -> None:
    """Tries each place with each size; prints a table and each fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--place", action="append", choices=PLACES, default=[])
    given = parser.parse_args()
    lines = ["| small disk | KiB | enough room | told, then finished | faults |",
             "| :-- | :-- | --: | --: | --: |"]  # fmt: skip
    for place in given.place or PLACES:
        endings: Counter[str] = Counter()
        for size in SIZES:
            found = tried(place, size)
            endings[found.ended] += 1
            if found.fault:
                print(f"{place} of {size >> 10} KiB: {found.fault}"[:500], flush=True)
        told = (endings["enough room"], endings["told"], endings["fault"] + endings["failed"])
        sizes = f"{SIZES[0] >> 10} to {SIZES[-1] >> 10:,}"
        lines.append(f"| {place} | {sizes} | {' | '.join(map(str, told))} |")
        print(lines[-1], flush=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
