"""A sample of the wrong inputs of tests/bench/wrong_inputs.py: each prints one line and leaves no
files."""

import json
from pathlib import Path
from random import Random

from tests.bench.wrong import data, settings, task_files
from tests.bench.wrong.case import Case, run
from tests.support.entry import started

NUMBER = 4
"""Cases per part of the grammar."""


def chosen() -> list[Case]:
    """Only cases that are refused, as an accepted one takes a whole run."""
    refused = [case for case in data.cases() if case.command == "init"]
    wrong = ("1e400", "abc", "[null]", "[[]]", "damaged", "/nowhere/at/all", "[")
    values = [case for case in settings.cases() if case.what.endswith(wrong)]
    files = [case for case in task_files.cases() if "kind: " in case.what or "file a" in case.what]
    draw = Random(0)
    return [case for part in (refused, values, files) for case in draw.sample(part, NUMBER)]


def try_all(root: Path) -> None:
    """Prints each case and how it ended, as JSON lines."""
    for number, case in enumerate(chosen()):
        folder = root / str(number)
        folder.mkdir()
        print(json.dumps([case.command, case.what, *run(case, folder)]), flush=True)


def test_wrong_inputs_print_one_line_and_leave_no_files(tmp_path: Path) -> None:
    folder = tmp_path / "tried"
    folder.mkdir()
    done = started(folder, try_all, folder).end()
    assert done.returncode == 0, done.stderr[-2000:]
    endings = [json.loads(line) for line in done.stdout.splitlines()]
    faults = [each for each in endings if each[2] not in ("refused", "accepted")]
    assert len(endings) == 3 * NUMBER and not faults, faults
    assert sum(each[2] == "refused" for each in endings) > NUMBER, "the inputs are wrong"
