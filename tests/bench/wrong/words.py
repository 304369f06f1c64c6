"""Wrong arguments of the commands that have no settings: init, predict and report."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.bench.wrong.case import ROWS_CSV, Case, Made
from tests.bench.wrong.data import GOOD, SPECIAL, contents
from tests.bench.wrong.settings import NUMBERS, TEXTS

REPORTS = ("experiment", "study", "machine", "to")
LINES: dict[str, bytes] = {
    "nothing": b"",
    "NUL": b"a film\0\n",
    "no UTF-8": b"a \xff film\n",
    "a long line": b"a film " * 200_000 + b"\n",
    "columns": b"a\tb\tc\n",
    "blank": b"\n" * 9,
    "no last line end": b"a film",
}


def cases(prepared: Made) -> Iterator[Case]:
    """Yields each option with wrong arguments."""
    for name in REPORTS:
        for text in TEXTS:
            argv = [f"--{name}={text}", *([] if name == "experiment" else ["--experiment=mkd"])]
            yield Case("report", f"{name}={text}", argv, partial(_with_store, prepared))
            yield Case("report", f"{name}={text}, no runs", argv)
    for what, make in SPECIAL.items():
        argv = ["--experiment=mkd", "--to=to"]
        yield Case("report", f"to is {what}", argv, partial(_with_target, prepared, make))
    for what, content in (("[]", b"[]"), ("{", b"{"), ("brackets", b"[" * 10**5), ("UTF", b"\xff"),
                          ("names", b'{"files": ["../../x", 3]}')):  # fmt: skip
        yield Case("report", f"report.json is {what}", ["--experiment=mkd", "--to=to"],
                   partial(_with_report, prepared, content))  # fmt: skip
    exported = partial(_exported, prepared, {})
    for option, values in (("threads", NUMBERS), ("task", TEXTS), ("text", TEXTS),
                           ("format", TEXTS), ("input", TEXTS)):  # fmt: skip
        for value in values:
            yield Case("predict", f"{option}={value}", ["folder", f"--{option}={value}"], exported)
    for text in TEXTS:
        yield Case("predict", f"folder {text}", [text], refused=True)
        yield Case("init", f"label={text}", ["rows.csv", f"--label={text}"], _rows)
        yield Case("init", f"text={text}", ["rows.csv", "--text", text], _rows)
        yield Case("init", f"file {text}", [text], _rows)
    for ending, what, content in contents():
        argv = ["folder", f"--input=rows.{ending}"]
        write = partial(_exported, prepared, {f"rows.{ending}": content})
        yield Case("predict", f"rows.{ending} {what}", argv, write)
    for ending in GOOD:
        for what, make in SPECIAL.items():
            if what == "a FIFO" and ending == "jsonl":
                continue  # predict reads it as a pipe and waits for a writer
            argv = ["folder", f"--input=rows.{ending}"]
            yield Case("predict", f"rows.{ending} is {what}", argv,
                       partial(_exported_with, prepared, make, f"rows.{ending}"))  # fmt: skip
    for what, content in LINES.items():
        argv = ["folder", "--input=lines.txt"]
        write = partial(_exported, prepared, {"lines.txt": content})
        yield Case("predict", f"lines: {what}", argv, write)


def _rows(folder: Path) -> None:
    (folder / "rows.csv").write_text(ROWS_CSV)


def _exported(prepared: Made, files: dict[str, bytes], folder: Path) -> None:
    shutil.copytree(prepared.exported, folder / "folder")
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _exported_with(prepared: Made, make: Callable[[Path], object], name: str, folder: Path) -> None:
    _exported(prepared, {}, folder)
    make(folder / name)


def _with_store(prepared: Made, folder: Path) -> None:
    """Copies an MLflow store that has a finished run."""
    shutil.copyfile(prepared.store / "mlflow.db", folder / "mlflow.db")


def _with_target(prepared: Made, make: Callable[[Path], object], folder: Path) -> None:
    _with_store(prepared, folder)
    make(folder / "to")


def _with_report(prepared: Made, content: bytes, folder: Path) -> None:
    _with_store(prepared, folder)
    os.mkdir(folder / "to")
    (folder / "to" / "report.json").write_bytes(content)
