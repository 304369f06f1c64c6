"""Wrong inputs of every command, made by a grammar: how does each of them end?

    python -m tests.bench.wrong_inputs                 # all of them; takes long
    python -m tests.bench.wrong_inputs --every 20      # one of twenty

Each runs in a process that is forked from this one, in an empty folder, for 20 seconds at most
(tests/support/forked.py).
"""

import argparse
import importlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments import cli
from experiments.settings import COMMANDS
from tests.support.entry import tiny
from tests.support.forked import Ending, ending

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
    (folder / "damaged").mkdir()
    for name, content in DAMAGE.items():
        (folder / "damaged" / name).write_bytes(content)
    module = importlib.import_module(f"experiments.{case.command}")
    job = getattr(module, COMMAND_FUNCTIONS[case.command])
    argv = [*tiny(case.command), f"--{case.setting}={case.value}"]
    return ending(lambda: cli.entry(job, "", COMMANDS[case.command], argv), folder)


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
            found = run(case, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        endings[found.kind] += 1
        if not found.good:
            print(json.dumps([*case._replace(value=case.value[:60]), *found])[:400], flush=True)
    print("\n".join(["| ending | cases |", "| :-- | --: |"]))
    print("\n".join(f"| {kind} | {count} |" for kind, count in sorted(endings.items())))


if __name__ == "__main__":
    main()
