"""Wrong inputs of every command, made by a grammar: how does each of them end?

    python -m tests.bench.wrong_inputs                 # all of them; takes long
    python -m tests.bench.wrong_inputs --every 20      # one of twenty

Each runs in a process that is forked from this one, in an empty folder, for 20 seconds at most. It
is `refused` with the code 2 and one line, or `accepted`. All else is a fault: a traceback, an
abort, over 20 seconds, a run left in MLflow, or a file left behind.
"""

import argparse
import importlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from experiments import cli
from experiments.settings import COMMANDS
from tests.support.database import put_database
from tests.support.entry import tiny

SECONDS = 20
COMMAND_FUNCTIONS = {
    "distill": "distill", "teacher": "refine", "finetune": "finetune", "export": "export",
    "submit": "submit", "ablation": "ablate", "search": "search", "promote": "promote",
    "label": "label",
}  # fmt: skip
NUMBERS = ["-1", "1e18", "1000000000000000000", "nan", ".inf", "abc", "[]", "{}", "1e400", "true"]
TEXTS = ["/nowhere/at/all", "x" * 300, "y" * 5000, "/dev/null", "/etc/passwd", "../..", "a\nb",
         "$(id)", "'; drop table runs; --", "\u202eabc", "<b>", "[", "damaged"]  # fmt: skip
LISTS = ["3", '["nope"]', '["a", "a"]', "{", '[""]', "[null]", "[[]]", '["' + "z" * 3000 + '"]']
DAMAGE = {
    "config.json": b"[]",
    "model.safetensors": b"version https://git-lfs.github.com/spec/v1\n",
    "tokenizer.json": b"{}",
}


class Case(NamedTuple):
    """A command with one wrong setting."""

    command: str
    setting: str
    value: str


class Ending(NamedTuple):
    """How a case ended, and the last line that it printed."""

    kind: str
    told: str


def cases() -> Iterator[Case]:
    """Yields every setting of every command with every wrong value of its type."""
    for command in COMMAND_FUNCTIONS:
        for name, value in _settings(COMMANDS[command](), ""):
            if type(value) in (int, float):
                wrong = NUMBERS
            elif isinstance(value, str):
                wrong = TEXTS
            else:
                wrong = LISTS
            # Each setting gets three values, others in each command, so that all are tried.
            start = (len(command) + len(name)) % len(wrong)
            for step in range(3):
                yield Case(command, name, wrong[(start + step * 3) % len(wrong)])


def _settings(settings: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from _settings(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


def run(case: Case, folder: Path) -> Ending:
    """Runs a case in a forked process, in a folder that it may fill."""
    put_database(folder)
    (folder / "damaged").mkdir()
    for name, content in DAMAGE.items():
        (folder / "damaged" / name).write_bytes(content)
    before = {path.name for path in folder.iterdir()}
    process = os.fork()
    if not process:
        _child(case, folder)
    end = time.monotonic() + SECONDS
    status = None
    while status is None and time.monotonic() < end:
        done, found = os.waitpid(process, os.WNOHANG)
        status = found if done else None
        time.sleep(0.05)
    if status is None:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        return Ending("over 20 s", "")
    errors = (folder / "errors").read_text(errors="replace")
    told = (errors.strip().splitlines() or [""])[-1]
    if os.WIFSIGNALED(status):
        return Ending("abort", f"signal {os.WTERMSIG(status)}")
    code = os.WEXITSTATUS(status)
    if "Traceback" in errors or code not in (0, 2):
        return Ending("traceback", told)
    if code == 0:
        return Ending("accepted", told)
    with sqlite3.connect(folder / "mlflow.db") as database:
        if database.execute("select count(*) from runs").fetchone()[0]:
            return Ending("a run left in MLflow", told)
    left = {path.name for path in folder.iterdir()} - before - {"errors", "output", ".mkd"}
    if left or list(folder.glob(".mkd/runs/*/")):
        return Ending("left behind", ", ".join(sorted(left)) or ".mkd/runs")
    return Ending("refused", told)


def _child(case: Case, folder: Path) -> NoReturn:
    """Runs the command and ends the process."""
    code = 1
    try:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
        for number, name in ((1, "output"), (2, "errors")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        module = importlib.import_module(f"experiments.{case.command}")
        job = getattr(module, COMMAND_FUNCTIONS[case.command])
        argv = [*tiny(case.command), f"--{case.setting}={case.value}"]
        code = cli.entry(job, "", COMMANDS[case.command], argv)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Runs the cases and prints how many ended in which way, and each fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1, help="run one of so many cases")
    parser.add_argument("--from", type=int, default=0, dest="first", help="number of the first one")
    given = parser.parse_args()
    for command in COMMAND_FUNCTIONS:
        importlib.import_module(f"experiments.{command}")
    endings: Counter[str] = Counter()
    for case in list(cases())[given.first :: given.every]:
        folder = Path(tempfile.mkdtemp())
        try:
            ending = run(case, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        endings[ending.kind] += 1
        if ending.kind not in ("refused", "accepted"):
            print(json.dumps([*case._replace(value=case.value[:60]), *ending])[:400], flush=True)
    print("\n".join(["| ending | cases |", "| :-- | --: |"]))
    print("\n".join(f"| {kind} | {count} |" for kind, count in sorted(endings.items())))


if __name__ == "__main__":
    main()
