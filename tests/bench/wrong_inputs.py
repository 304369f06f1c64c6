"""Tests how each command ends on wrong inputs, which are generated from a grammar.

    python -m tests.bench.wrong_inputs                   # all of them; takes hours
    python -m tests.bench.wrong_inputs --number 400      # 400 of them, of all kinds
    python -m tests.bench.wrong_inputs --only predict --number 50

The inputs are settings (tests/bench/wrong/settings.py), files of rows (data.py), task files,
checkpoints and exported folders (folders.py), and the arguments of init, predict and report
(words.py). Each case runs in a process that is forked from this one, in an empty folder, for at
most 20 seconds (tests/support/forked.py).
"""

import argparse
import importlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.bench.wrong import data, folders, settings, task_files, words
from tests.bench.wrong.case import FUNCTIONS, Case, Made, make, run


def cases(prepared: Made) -> list[Case]:
    """Returns all cases in a fixed order that mixes the kinds."""
    all_cases = [*settings.cases(), *data.cases(), *task_files.cases(), *folders.cases(prepared),
             *words.cases(prepared)]  # fmt: skip
    Random(0).shuffle(all_cases)
    return all_cases


def faults(chosen: Sequence[Case], root: Path, printed: bool = True) -> Counter[tuple[str, str]]:
    """Runs the cases in folders below `root`, and counts them by command and ending.

    - `printed`: whether each fault is printed as JSON
    """
    endings: Counter[tuple[str, str]] = Counter()
    for case in chosen:
        folder = Path(tempfile.mkdtemp(dir=root))
        try:
            result = run(case, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        endings[case.command, result.kind.partition(":")[0]] += 1
        if printed and not result.good:
            print(json.dumps([case.command, case.what[:80], *result])[:500], flush=True)
    return endings


def table(endings: Counter[tuple[str, str]]) -> list[str]:
    """Returns the counts as a table, with a row for each command and a column for each ending."""
    kinds = sorted({kind for _, kind in endings}, key=lambda kind: (kind != "refused", kind))
    commands = sorted({command for command, _ in endings})
    rows = [["command", *kinds], [":--", *["--:"] * len(kinds)]]
    rows += [[each, *(str(endings[each, kind]) for kind in kinds)] for each in commands]
    total = Counter[str]()
    for (_, kind), count in endings.items():
        total[kind] += count
    rows.append([f"all {endings.total()}", *(str(total[kind]) for kind in kinds)])
    return [f"| {' | '.join(row)} |" for row in rows]


def main() -> None:
    """Runs the cases; prints each fault, and counts by command and ending."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, default=0, help="number of cases to run; 0: all")
    parser.add_argument("--skip", type=int, default=0, help="number of cases to skip at the start")
    parser.add_argument("--only", default="", help="a command, or part of an input's name")
    args = parser.parse_args()
    for command in FUNCTIONS:
        importlib.import_module(f"experiments.{command}")
    importlib.import_module("analysis.report")
    with tempfile.TemporaryDirectory(prefix="wrong-") as name:
        prepared = make(Path(name))
        chosen = [
            case
            for case in cases(prepared)
            if args.only in ("", case.command) or args.only in case.what
        ]
        number = args.number or len(chosen)
        print(f"{len(chosen)} cases, of which {number} are run", flush=True)
        endings = faults(chosen[args.skip : args.skip + number], Path(name))
    print("\n".join(table(endings)))


if __name__ == "__main__":
    main()
