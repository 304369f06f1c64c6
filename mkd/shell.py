"""The command `mkd`: one verb for each command of the project.

    mkd distill --data.path reviews.yaml --teacher.checkpoint ENCODER
    mkd predict FOLDER --task sentiment < texts.tsv > answers.tsv

`mkd VERB --help` explains a verb. Without a clone of the project, as installed from a wheel, only
`mkd predict` works. `mkd VERB` is `python -m` with the verb's module.
"""

import argparse
import difflib
import importlib.util
import os
import runpy
import sys
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple


class Verb(NamedTuple):
    """A verb: its module, which `python -m` runs too, and what it does."""

    module: str
    does: str


PREDICT = "predict"
VERBS = {
    "init": Verb("experiments.init", "write a task file for a file of rows"),
    "distill": Verb("experiments.distill", "distil a teacher into a small student; measure both"),
    "teacher": Verb("experiments.teacher", "refine a teacher on all tasks, for later students"),
    "search": Verb("experiments.search", "find the best students at each latency"),
    "promote": Verb("experiments.promote", "retrain and register the best student of a search"),
    "ablation": Verb("experiments.ablation", "compare variants of settings over several seeds"),
    "finetune": Verb("experiments.finetune", "train a student further, on new data or tasks"),
    "export": Verb("experiments.export", "write a student to a folder, for deployment"),
    PREDICT: Verb("mkd", "predict labels of texts with an exported student"),
    "serve": Verb("experiments.serve", "answer HTTP requests with a logged student"),
    "label": Verb("experiments.label", "predict labels of a large corpus with Spark"),
    "report": Verb("analysis.report", "draw quality against speed of an experiment's runs"),
    "submit": Verb("experiments.submit", "write a submission to the GLUE leaderboard"),
    "throughput": Verb("experiments.throughput", "time the training loop against others"),
}
"""All verbs, in the order of the help."""
TRAINING_LIBRARIES = ("jsonargparse", "mlflow", "torch", "transformers")
"""Some libraries of the extra `train`, which each verb but `predict` needs."""


def main(argv: list[str] | None = None) -> int:
    """Runs a verb. Returns the exit code if no verb was run: 0, or 2 after a user's mistake.

    A verb ends the process with its own exit code. argv: the words after `mkd`, or None for those
    of sys.argv.
    """
    if COMPLETION in os.environ:
        return _complete_line(os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])].split(" "))
    verb, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help"):
        print(help_text())
        return 0
    if verb not in VERBS:
        return _refused(f"there is no verb {verb!r}; {suggestion(verb, VERBS)}")
    module = VERBS[verb].module
    if verb != PREDICT and not all(map(_installed, [module.split(".")[0], *TRAINING_LIBRARIES])):
        return _refused(
            f"mkd {verb} needs a clone of MKD with its training libraries; "
            "there, `pip install -e '.[train]'` installs both"
        )
    sys.argv[1:] = rest
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    raise AssertionError(f"{module} ends the process")


def escape_unprintable() -> None:
    """Makes stdout escape the characters that its encoding lacks, as stderr does."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


COMPLETION = "_ARGCOMPLETE"
"""Environment variable by which a shell requests completions (argcomplete). Its value is the number
of words that start the program."""


def check_working_folder() -> None:
    """Raises ValueError if the working folder was deleted, as some libraries then end the
    process."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ValueError("the working folder was deleted; change to one that exists") from None


def complete(parser: argparse.ArgumentParser) -> None:
    """Answers a shell that asks for completions and ends the process; else does nothing."""
    if COMPLETION in os.environ and _installed("argcomplete"):
        import argcomplete

        argcomplete.autocomplete(parser)


def _complete_line(words: list[str]) -> int:
    """Completes the last word of a command line, which is a verb or one of a verb's settings."""
    if len(words) > 2 and words[1] in VERBS:
        os.environ[COMPLETION] = "2"  # `mkd VERB` is the program
        runpy.run_module(VERBS[words[1]].module, run_name="__main__", alter_sys=True)
    parser = argparse.ArgumentParser(prog="mkd")
    parser.add_argument("verb", choices=list(VERBS))
    complete(parser)
    return 0


def help_text() -> str:
    """Returns the help of `mkd` itself: all verbs with what they do."""
    lines = [f"  {name:<12}{verb.does}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: mkd VERB ...",
            "",
            *lines,
            "",
            "mkd VERB --help explains a verb and lists its settings",
        ]
    )


def called_as(verb: str) -> str:
    """Returns the command as it was called: `mkd VERB`, or `python -m MODULE`."""
    script = Path(sys.orig_argv[1]).name if len(sys.orig_argv) > 1 else ""
    return f"mkd {verb}" if script == "mkd" else f"python -m {VERBS[verb].module}"


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """Returns the end of a message about an unknown word: the most similar allowed word, or all."""
    known = list(allowed)
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else f"allowed: {', '.join(known)}"


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _refused(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
