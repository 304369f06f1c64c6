"""Runs the shell and Python blocks of a documentation page in order, in one folder and one process,
with small settings.

Placeholders of the page, such as ENCODER, are replaced by values from the test.
"""

import ast
import json
import runpy
import sys
from collections.abc import Mapping
from contextlib import ExitStack, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import mlflow.cli
import pytest
import yaml

import mkd.config
from experiments import cli, notebook
from mkd.shell import VERBS
from tests.support.blocks import ROOT, Block, blocks_of, lines, project_command
from tests.support.blocks import without_redirections as plain
from tests.support.entry import runs
from tests.support.runs import changed

SMALL: dict[str, Any] = {
    "data.demo.train_rows": 40, "data.demo.unlabelled_rows": 10, "data.demo.dev_rows": 20,
    "teacher.layers": 1, "teacher.hidden": 16, "teacher.heads": 2, "teacher.vocabulary": 200,
    "teacher.train.steps": 4, "teacher.train.eval_every": 4, "teacher.train.precision": "float32",
    "student.hidden": 16, "student.embedding": 16, "student.heads": 2, "student.layers": 1,
    "student.buckets": 50, "train.steps": 4, "train.eval_every": 4, "train.precision": "float32",
    "finetune.train.steps": 4, "finetune.train.eval_every": 4, "speed.length": 16,
    "speed.seconds": 0.02, "speed.threads": [1], "data.max_length": 16, "threads": 1,
    "device": "cpu", "baseline": False, "export.backends": [], "export.max_loss": 100,
    "search.trials": 2, "search.backend": "torch", "ablation.seeds": [0],
    "ablation.variants": {"plain": {}, "hidden states": {"loss.match.weight": 1.0}},
}  # fmt: skip
"""Settings that make a command fast. Each command or call gets those that it accepts and that the
page does not set."""
UNLIKE: dict[str, dict[str, Any]] = {
    "export": {"export.backends": ["onnx", "int8"]},
    # search.yaml has students that take the layers of its own teacher.
    "search": {
        "teacher.layers": 3, "teacher.hidden": 256, "teacher.heads": 8, "student.embedding": 0,
    },
}  # fmt: skip
"""Exceptions for single commands."""
NOT_RUN = {
    "README.md": {
        "make run": "installs from PyPI",
        "make test": "runs this test",
        "source .venv/bin/activate": "is of a shell",
        "mlflow ui": "is a server without an end",
    },
    "docs/how-to/deferral.md": {"curl": "asks a server without an end"},
    "docs/how-to/export.md": {
        "hf auth login": "asks the hub",
        "mkd export --hub.push": "uploads to the hub; tests/mkd/export/test_hub.py",
        "pip install": "installs from PyPI",
        "mkd serve": "is a server without an end; tests/experiments/tracking/test_serving.py",
        "curl": "asks that server",
    },
    "docs/how-to/machines.md": {
        "pip install": "installs from PyPI",
        "export MLFLOW_TRACKING_URI": "is of a shell",
        "mkd search": "needs PostgreSQL; tests/experiments/studies/test_worker.py",
        "accelerate launch": "needs two GPUs; tests/mkd/test_processes.py",
    },
    "docs/how-to/report.md": {"mlflow run report": "is the first command again"},
    "docs/how-to/search.md": {
        "mlflow run search": "is the first command again",
        "mkd search search_glue": "its students are for an encoder that is 384 wide",
    },
    "docs/how-to/spark.md": {
        "pip install": "installs from PyPI",
        "mkd label": "needs Java; tests/experiments/on_spark/test_corpus.py",
    },
    "docs/how-to/tracking.md": {"mlflow ui": "is a server without an end"},
}
"""Commands of a page that are parsed but not run, each with the reason. An entry is the first word
of the command, then prefixes of other words."""


def is_not_run(page: str, words: list[str]) -> str | None:
    """The entry of NOT_RUN that matches a command, if any."""
    while "=" in words[0]:
        words = words[1:]
    for entry in NOT_RUN.get(page, {}):
        first, *rest = entry.split()
        if words[0] == first and all(
            any(word.startswith(part) for word in words[1:]) for part in rest
        ):
            return entry
    return None


def run_page(page: str, values: Mapping[str, str]) -> None:
    """Runs the blocks of a page in the working folder. values: of its placeholders.

    A YAML block, which describes tasks, is written to a file named after its first task.
    """
    known: dict[str, Any] = {"small": small_config}
    patch = pytest.MonkeyPatch()  # not undone, as the process ends with the page
    patch.setattr(notebook, "distil", small_distil)
    patch.setattr(mkd, "distil", small_distil, raising=False)
    patch.setattr(mkd, "search", small_search, raising=False)
    for block in blocks_of(ROOT / page):
        text = block.text
        for name, value in values.items():
            text = text.replace(name, value)
        if "RUN_ID" in text:
            text = text.replace("RUN_ID", latest_run())
        block = block._replace(text=text)
        print(f"{block.name}\n{text}", flush=True)
        if block.language == "yaml":
            (first, *_) = yaml.safe_load(text)
            Path(f"{first}.yaml").write_text(text)
        elif block.language == "sh":
            for words in lines(block):
                if is_not_run(page, words) is None:
                    run_command(words)
        elif block.language == "python":
            run_python(block, known)


def latest_run() -> str:
    """The id of the newest distillation of the working folder."""
    distillations = [run for run in runs(Path.cwd()) if run.data.tags.get("mkd.kind") == "distill"]
    return str(max(distillations, key=lambda run: run.info.start_time).info.run_id)


def run_command(words: list[str]) -> None:
    """Runs a command of a shell line in this process, with its redirections."""
    argv = plain(words)
    with ExitStack() as files:
        if "<" in words:
            files.callback(setattr, sys, "stdin", sys.stdin)
            sys.stdin = files.enter_context(open(words[words.index("<") + 1], encoding="utf-8"))
        if ">" in words:
            out = Path(words[words.index(">") + 1])
            files.enter_context(redirect_stdout(files.enter_context(out.open("w"))))
        code = exit_code(argv)
    assert code in (0, None), f"{argv} ended with {code}"


def exit_code(argv: list[str]) -> Any:
    if argv[:3] == ["mlflow", "run", "."]:
        argv = project_command(argv[3:])
    if argv[:2] == ["mlflow", "artifacts"]:
        return mlflow.cli.cli(argv[1:], standalone_mode=False)
    module = VERBS[argv[1]].module if argv[0] == "mkd" else argv[2]
    assert argv[0] == "mkd" or argv[:2] == ["python", "-m"], argv
    rest = argv[2:] if argv[0] == "mkd" else argv[3:]
    sys.argv[1:] = [*rest, *small_options(module, rest)]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code
    raise AssertionError(f"{module} ends the process")


def small(command: str) -> dict[str, Any]:
    """The small settings of a command."""
    settings = SMALL | UNLIKE.get(command, {})
    return {name: value for name, value in settings.items() if name in cli.setting_names(command)}


def small_options(module: str, options: list[str]) -> list[str]:
    """The small settings of a command as options, without those in `options`."""
    package, _, command = module.rpartition(".")
    if package != "experiments":
        return []
    set_by_page = {word.split("=")[0] for word in options}
    return [
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in small(command).items()
        if f"--{name}" not in set_by_page
    ]


_distil = notebook.distil


def small_distil(data: Any, **arguments: Any) -> Any:
    """mkd.distil with small settings and an ONNX export, which answers are computed with."""
    return _distil(data, **arguments, settings=small("distill") | {"export.backends": ["onnx"]})


def small_search(data: Any, **arguments: Any) -> Any:
    """mkd.search with small settings."""
    settings = small("search") | {
        "search.space": {"student.kind": ["bag"]}, "search.start": [], "student.init": "",
    }  # fmt: skip
    # Not at the top: the commands that a page runs are then not imported twice.
    search = import_module("experiments.notebook_search").search
    return search(data, **arguments, settings=settings)


def small_config() -> mkd.config.Config:
    return changed(mkd.config.Config(), small("distill"))


def run_python(block: Block, known: dict[str, Any]) -> None:
    """Runs a block; if its last line is an expression, its value must not be empty."""
    tree = ast.parse(block.text.replace("Config()", "small()"), block.name)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, block.name, "exec"), known)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), block.name, "eval"), known)
        print(value, flush=True)
        assert not hasattr(value, "__len__") or len(value), block.name
