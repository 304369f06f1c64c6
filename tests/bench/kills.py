"""Kills commands at random moments (SIGKILL), then starts them again with the same arguments.

    python -m tests.bench.kills                          # 100 kills; takes long
    python -m tests.bench.kills --kills 10 --command export --command report

Each command works in a folder that is restored before each kill. The moment is a random share of
the processor time that the undisturbed command takes. For a search, the command or a worker is
killed. The second start must finish, and leave the folder as the undisturbed command does: the same
runs, all of them ended, with the same scores and bit-identical weights, and no other files. Times
may differ.
"""

import argparse
import hashlib
import json
import os
import random
import re
import runpy
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.support.database import put_database
from tests.support.entry import Child, started, tiny
from tests.support.needs import lacking

DATA = ['--data.tasks=["sentiment", "similarity"]', "--data.max_length=32", "--speed.length=16"]
TRAINED = ["--checkpoint_seconds=0", "--train.steps=30", "--train.eval_every=5"]
SPACE = {"student.hidden": [16, 32], "student.layers": [1, 2]}
STARTS = [{"student.hidden": 16, "student.layers": 1}, {"student.hidden": 32, "student.layers": 1}]
VARIANTS = {"plain": {}, "hard": {"loss.hard_weight": 1.0}}
DISTILL = [*tiny("distill"), *DATA, *TRAINED]
SEARCH = [
    *tiny("search"), *DATA, *TRAINED, "--search.trials=2", "--search.backend=torch",
    "--search.pruning.warmup=1", "--search.heartbeat_seconds=1",
    f"--search.space={json.dumps(SPACE)}", f"--search.start={json.dumps(STARTS)}",
]  # fmt: skip
TIMED = re.compile(r"speed/|seconds|(^|[_/])ms$|rows_per_s|times_faster|latency|hypervolume|busy")
"""Metrics that differ from one run to the next."""
ID = re.compile(r"\bm-[0-9a-f]{32}\b|\b[0-9a-f]{32}\b")
STUDENT = "STUDENT"
"""Placeholder in a command line for the address of the student in the folder."""
MOST_SECONDS = 600


class Scenario(NamedTuple):
    """A command to kill. module: as for `python -m`. after: the scenario to run before it."""

    module: str
    argv: list[str]
    after: str = ""


SCENARIOS = {
    "distill": Scenario("experiments.distill", DISTILL),
    "teacher": Scenario(
        "experiments.teacher",
        [*tiny("teacher"), *DATA, "--teacher.train.steps=30", "--checkpoint_seconds=0"],
    ),
    "finetune": Scenario(
        "experiments.finetune",
        [*tiny("finetune"), *DATA, f"--finetune.student={STUDENT}", "--finetune.train.steps=30",
         "--checkpoint_seconds=0"],
        "distill",
    ),
    "export": Scenario(
        "experiments.export",
        [f"--export.student={STUDENT}", "--export.to=exported", '--export.backends=["onnx"]',
         "--threads=1"],
        "distill",
    ),
    "search": Scenario("experiments.search", SEARCH),
    "promote": Scenario(
        "experiments.promote",
        ["--threads=1", "--export.backends=[]", "--promote.study=mkd", "--checkpoint_seconds=0"],
        "search",
    ),
    "ablation": Scenario(
        "experiments.ablation",
        [*tiny("ablation"), *DATA, *TRAINED, "--ablation.seeds=[0]",
         f"--ablation.variants={json.dumps(VARIANTS)}"],
    ),
    "report": Scenario("analysis.report", ["--experiment", "mkd", "--to", "report"], "search"),
    "label": Scenario(
        "experiments.label",
        [f"--label.model={STUDENT}", "--label.task=sentiment", "--label.corpus=texts.parquet",
         "--label.output=labels", "--label.master=local[1]"],
        "distill",
    ),
}  # fmt: skip
SHARES = {"label": 8, "report": 8}
"""Number of kills of a command out of a hundred; the other commands share the rest."""


class State(NamedTuple):
    """What a command leaves: its runs, the names of its files, and the hashes of the weights."""

    runs: list[Any]
    files: Counter[str]
    weights: Counter[str]


class Place:
    """A folder in which a command works; it can be restored to its state before the command."""

    def __init__(self, root: Path, name: str) -> None:
        self.name, self.scenario = name, SCENARIOS[name]
        self.work, self.kept, self.tmp = (root / folder for folder in ("w", "kept", "t"))
        self.work.mkdir(parents=True)
        self.tmp.mkdir()
        put_database(self.work)
        if self.scenario.after:
            before = SCENARIOS[self.scenario.after]
            done = self._start(before.module, before.argv).end()
            assert done.returncode == 0, done.stderr[-2000:]
        if name == "label":
            import pandas as pd

            frame = pd.DataFrame({"text": [f"a film of {i} songs" for i in range(50)]})
            frame.to_parquet(self.work / "texts.parquet", row_group_size=10)
        self.argv = [word.replace(STUDENT, self._student()) for word in self.scenario.argv]
        shutil.copytree(self.work, self.kept, symlinks=True)
        self.begun = self._runs()

    def put_back(self) -> None:
        """Restores the folder to its state before the command."""
        for folder in (self.work, self.tmp):
            shutil.rmtree(folder)
        shutil.copytree(self.kept, self.work, symlinks=True)
        self.tmp.mkdir()

    def start(self) -> Child:
        """Starts the command."""
        return self._start(self.scenario.module, self.argv)

    def _start(self, module: str, argv: list[str]) -> Child:
        return started(self.work, at_work, module, *argv, TMPDIR=str(self.tmp))

    def has_ended(self) -> bool:
        """Returns whether the command had ended its runs when it was killed."""
        new = [run for run in self._runs() if run not in self.begun]
        return bool(new) and all(status == "FINISHED" for _, status in new)

    def _runs(self) -> list[tuple[str, str]]:
        return self._asked("select run_uuid, status from runs where lifecycle_stage = 'active'")

    def _asked(self, query: str) -> list[Any]:
        with sqlite3.connect(self.work / "mlflow.db", timeout=60) as database:
            return database.execute(query).fetchall()

    def _student(self) -> str:
        query = "select run_uuid from tags where key = 'mkd.kind' and value = 'distill'"
        return f"runs:/{rows[0][0]}/student" if (rows := self._asked(query)) else ""

    def state(self) -> State:
        """Returns what the command has left."""
        kinds = dict(self._asked("select run_uuid, value from tags where key = 'mkd.kind'"))
        of_run: dict[str, dict[str, float]] = {}
        for run, key, value in self._asked("select run_uuid, key, value from latest_metrics"):
            if not TIMED.search(key):
                of_run.setdefault(run, {})[key] = value
        runs = sorted(
            [kinds.get(run, ""), status, sorted(of_run.get(run, {}).items())]
            for run, status in self._runs()
        )
        # A deleted model keeps its row in the table.
        pending = self._asked(
            "select name from logged_models where status != 2 and lifecycle_stage = 'active'"
        )
        runs += [["pending model", name] for (name,) in pending]
        paths = [path for root in (self.work, self.tmp) for path in root.rglob("*")]
        named = {path: ID.sub("ID", str(path.relative_to(self.work.parent))) for path in paths}
        weights = Counter(
            f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
            for path, name in named.items()
            if path.suffix in (".safetensors", ".onnx", ".npz") and path.is_file()
        )
        return State(runs, Counter(name for name in named.values() if _counts(name)), weights)


def _counts(name: str) -> bool:
    """Returns whether there must be as many such files as the undisturbed command leaves.

    Locks, a database's own files and the parts of Spark's output may differ. So may stored
    latencies: the first command that needs them measures them, and does not store them on a busy
    machine.
    """
    return not re.search(r"\.lock$|\.db-(wal|shm|journal)$|part-\d|/costs(/|$)|\.crc$", name)


def at_work(module: str, *argv: str) -> None:
    """Runs a module like `python -m MODULE`."""
    tempfile.tempdir = None  # Forgets the folder of the parent: this process has its own TMPDIR.
    sys.argv[1:] = argv
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def processor_seconds(process: psutil.Process) -> float:
    """Returns the processor time of a process and all its descendants."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def undisturbed(place: Place) -> tuple[float, State]:
    """Runs the command to its end; returns its processor time and what it leaves."""
    child, used = place.start(), 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(child.process.pid)
        while child.process.is_alive():
            used = max(used, processor_seconds(process))
            time.sleep(0.05)
    done = child.end()
    assert done.returncode == 0, done.stderr[-3000:]
    return used, place.state()


def kill(place: Place, at: float, draw: random.Random) -> str:
    """Starts the command, kills it after `at` seconds of processor time, and returns what was
    killed. Empty: the command had ended before."""
    child = place.start()
    process = psutil.Process(child.process.pid)
    with suppress(psutil.NoSuchProcess):
        while child.process.is_alive() and processor_seconds(process) < at:
            time.sleep(0.01)
    printed = child.stdout.read_text()
    workers = re.findall(r"^process ids of the workers: ([\d, ]+)$", printed, re.MULTILINE)
    target, what = child.process.pid, "command"
    if workers and draw.random() < 0.5:
        target, what = int(draw.choice(workers[0].split(", "))), "worker"
    assert target is not None, "it was started"
    below = process.children(recursive=True) if child.process.is_alive() else []
    try:
        os.kill(target, signal.SIGKILL)
    except ProcessLookupError:
        what = ""
    done = child.end()
    _, left = psutil.wait_procs(below, timeout=60)  # workers end if their command is gone
    for each in left:
        each.kill()
    if left:
        return f"{what}; {len(left)} processes stayed"
    return what if done.returncode else ""


def disturbed(place: Place, expected: State, at: float, draw: random.Random) -> tuple[str, str]:
    """Kills the command and starts it again. Returns what was killed, and the fault or ''."""
    place.put_back()
    what = kill(place, at, draw)
    if not what or (what == "command" and place.has_ended()):
        return "ended", ""
    if "stayed" in what:
        return "command", what
    done = place.start().end()
    if done.returncode:
        return what, f"given again: {(done.stderr.strip().splitlines() or [''])[-1]}"
    return what, difference(expected, place.state())


def difference(expected: State, actual: State) -> str:
    """Returns what differs, in one line; empty if nothing does."""
    differences = []
    for name, one, other in zip(("files", "weights"), expected[1:], actual[1:], strict=True):
        if more := other - one:
            differences.append(f"{name} that are left: {sorted(more)[:3]}")
        elif less := one - other:
            differences.append(f"{name} that lack: {sorted(less)[:3]}")
    if expected.runs != actual.runs:
        only = [run for run in actual.runs if run not in expected.runs]
        lacks = [run for run in expected.runs if run not in actual.runs]
        differences.append(f"runs: {str(only)[:150]}; expected {str(lacks)[:150]}")
    return "; ".join(differences)


def main() -> None:
    """Kills the commands; prints each fault, and a table of how they continued."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="append", choices=list(SCENARIOS), default=[])
    args = parser.parse_args()
    wanted = args.command or list(SCENARIOS)
    if "label" in wanted and (why := lacking("java")):
        print(f"label is left out: {why}")
        wanted.remove("label")
    plain = [name for name in wanted if name not in SHARES]
    few = {name: max(1, args.kills * SHARES[name] // 100) for name in wanted if name in SHARES}
    rest = args.kills - sum(few.values()) if plain else 0
    draw = random.Random(args.seed)
    lines = ["| command | kills | of a worker | went on to the same end | faults |",
             "| :-- | --: | --: | --: | --: |"]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="k") as folder:
        root = Path(folder)
        for index, name in enumerate(wanted):
            short = root / str(index)  # paths of sockets, which are made below it, are limited
            place = Place(short, name)
            used, expected = undisturbed(place)
            number = few.get(name) or rest // len(plain) + (index < rest % len(plain))
            kinds, faults = Counter[str](), 0
            while kinds["command"] + kinds["worker"] < number:
                at = draw.uniform(0, used)
                what, fault = disturbed(place, expected, at, draw)
                kinds[what] += 1
                if fault:
                    faults += 1
                    print(f"{name} {what} at {at:.2f} of {used:.2f} s: {fault}"[:500], flush=True)
            lines.append(
                f"| {name} | {number} | {kinds['worker']} | {number - faults} | {faults} |"
            )
            print(lines[-1], flush=True)
            shutil.rmtree(short)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
