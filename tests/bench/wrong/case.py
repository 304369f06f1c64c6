"""A command with one wrong input, and the files that it reads."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from transformers import BertModel

from analysis import arguments
from experiments import cli, init
from experiments.settings import COMMANDS
from mkd import __main__ as predict
from mkd.runtime.manifest import MANIFEST
from tests.support.checkpoints import bert, saved
from tests.support.entry import command, outcome, tiny
from tests.support.forked import ACCEPTED, Ending, ending
from tests.support.tiny import make_tasks, make_tokenizer

FUNCTIONS = {
    "distill": "distill", "teacher": "refine", "finetune": "finetune", "export": "export",
    "submit": "submit", "ablation": "ablate", "search": "search", "promote": "promote",
    "label": "label",
}  # fmt: skip
"""The function of each command that has settings."""
MODEL_FILE = "MLmodel"
"""The file that every logged model has."""
ROWS = "".join(
    f"a {'good' if i % 2 else 'bad'} film of {i} songs,{'good' if i % 2 else 'bad'}\n"
    for i in range(60)
)
ROWS_CSV = f"text,label\n{ROWS}"
"""A file of rows that is accepted."""


def nothing(folder: Path) -> None:
    """Writes no file."""


class Case(NamedTuple):
    """A command with one wrong input.

    - `what`: name of the input
    - `write`: writes the files that the command reads into its folder
    - `refused`: whether the command must refuse it
    """

    command: str
    what: str
    argv: Sequence[str]
    write: Callable[[Path], None] = nothing
    refused: bool = False


class Made(NamedTuple):
    """Folders that cases copy: a student, its export, an encoder with a tokenizer, and the MLflow
    store."""

    student: Path
    exported: Path
    encoder: Path
    store: Path


def make(root: Path) -> Made:
    """Makes the folders that cases copy; the student is trained in its own process."""
    store = root / "store"
    store.mkdir()
    argv = [*tiny("distill"), '--data.tasks=["sentiment"]', '--export.backends=["onnx"]']
    result = outcome(command(store, "distill", *argv))
    model = next((store / "mlruns").rglob(f"{MODEL_FILE}")).parent
    assert result["run_id"] and (model / "artifacts").is_dir()
    tasks = make_tasks()
    tokenizer = make_tokenizer(root / "cache", tasks)
    encoder = saved(BertModel(bert([], tokenizer)), tokenizer, root / "encoder")
    (student,) = {file.parent for file in model.rglob("model.safetensors")}
    (exported,) = {file.parent for file in model.rglob(MANIFEST)}
    return Made(student, exported, Path(encoder), store)


def run(case: Case, folder: Path) -> Ending:
    """Runs a case in a forked process, in a folder that it may write to."""
    case.write(folder)
    result = ending(lambda: start(case), folder)
    if case.refused and result.kind == ACCEPTED:
        return Ending("accepted, though damaged", result.message)
    return result


def start(case: Case) -> int:
    """Runs the command of a case in this process and returns its exit code."""
    argv = list(case.argv)
    if case.command == "init":
        return init.main(argv)
    if case.command == "predict":
        return predict.main(argv)
    if case.command == "report":
        return arguments.main("", argv)
    module = importlib.import_module(f"experiments.{case.command}")
    job = getattr(module, FUNCTIONS[case.command])
    return cli.entry(job, "", COMMANDS[case.command], [*tiny(case.command), *argv])
