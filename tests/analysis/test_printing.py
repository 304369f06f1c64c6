"""Standard output has the tables or, with --json, only the JSON."""

import json
import subprocess
import sys

import pytest

from analysis.presentation.printing import json_only, set_result


def test_with_json_all_else_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """This includes the output of a child process."""
    with json_only(True):
        print("a table")
        subprocess.run([sys.executable, "-c", "print('a child')"], check=True)
        set_result({"run_id": "first"})
        set_result({"run_id": "last"})
    print("after")
    out, err = capfd.readouterr()
    line, after = out.splitlines()
    assert json.loads(line) == {"run_id": "last"} and after == "after"
    assert set(err.splitlines()) == {"a table", "a child"}


def test_without_json_no_result_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with json_only(False):
        print("a table")
        set_result({"run_id": "first"})
    assert capfd.readouterr() == ("a table\n", "")


def test_a_command_that_fails_prints_no_json(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="a slip"), json_only(True):
        set_result({"run_id": "first"})
        raise ValueError("a slip")
    assert capfd.readouterr().out == ""
