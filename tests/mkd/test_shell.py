"""The command `mkd`: its verbs, and messages if a verb cannot run."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.settings import COMMANDS
from mkd import shell
from mkd.shell import VERBS, called_as, help_text, main

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "mlflow", "optuna", "datasets", "pandas", "matplotlib")
"""Libraries with slow imports."""


def mkd(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs `mkd` in a process that cannot import slow libraries."""
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in HEAVY)
    code = (
        f"import sys; from mkd import shell; shell._installed = lambda package: True; {blocked}; "
        "sys.exit(shell.main())"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT
    )


def test_there_is_a_verb_for_each_command() -> None:
    assert set(VERBS) == {*COMMANDS, "init", "report", "predict", "serve"}
    assert all(VERBS[name].module == f"experiments.{name}" for name in COMMANDS)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown == help_text() + "\n"
    assert all(f"  {name} " in shown and verb.does in shown for name, verb in VERBS.items())


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("distil", "there is no verb 'distil'; did you mean distill?"),
        ("xyz", f"there is no verb 'xyz'; allowed: {', '.join(VERBS)}"),
    ],
)
def test_an_unknown_verb_is_refused(
    word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word]) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


@pytest.mark.parametrize("missing", ["experiments", "mlflow"])
def test_the_error_without_a_clone_or_its_libraries_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shell, "_installed", lambda package: package != missing)
    assert main(["distill"]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: mkd distill needs a clone of MKD with its training libraries")
    assert "pip install -e '.[train]'" in stderr and stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["distill", "search", "report"])
def test_help_imports_no_slow_library(verb: str) -> None:
    done = mkd(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ") and "--" in done.stdout


def test_a_refusal_imports_no_slow_library() -> None:
    done = mkd("distill", "--train.steps", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: train.steps is 0; allowed: above 0\n"


def test_the_settings_are_printed_before_slow_imports() -> None:
    done = mkd("distill", "--seed", "7", "--train.precision", "auto")
    assert done.stdout == (
        'settings that differ from the defaults: {"seed": 7, "train.precision": "auto"}\n'
    )
    assert "ModuleNotFoundError" in done.stderr, "the next line of work needs torch"


def test_messages_name_the_command_as_the_user_typed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "/somewhere/bin/mkd", "search"])
    assert called_as("search") == "mkd search"
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "experiments.search"])
    assert called_as("search") == "python -m experiments.search"
    assert called_as("predict") == "python -m mkd"


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("mkd di", ["distill "]),
        ("mkd search --search.budget_m", ["--search.budget_ms "]),
        ("mkd distill --student.kind b", ["bilstm", "bag"]),
        ("mkd distill --config bi", ["bilstm "]),
        ("mkd report --st", ["--study "]),
    ],
)
def test_a_shell_completes_verbs_settings_and_values(
    line: str, completions: list[str], tmp_path: Path
) -> None:
    asked = {
        "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9",
        "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "found"),
    }  # fmt: skip
    code = "import sys; from mkd.shell import main; sys.exit(main())"
    environ = dict(os.environ) | asked
    subprocess.run([sys.executable, "-c", code], env=environ, cwd=ROOT, check=True)
    assert (tmp_path / "found").read_text().split("\n") == completions


def test_predict_without_stdout_says_so() -> None:
    line = f"{shlex.quote(sys.executable)} -m mkd nowhere >&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "error: stdout is closed; allowed: a terminal, a file or a pipe\n"


@pytest.mark.parametrize("module", ["experiments.distill", "analysis.report"])
def test_a_deleted_working_folder_is_refused(module: str, tmp_path: Path) -> None:
    script = f'cd "{tmp_path}" && rmdir "{tmp_path}" && exec {sys.executable} -m {module}'
    process = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    message = "error: the working folder was deleted; change to one that exists\n"
    assert (process.returncode, process.stderr) == (2, message)
