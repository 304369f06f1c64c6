"""Predicts labels of texts with an exported student, on the command line.

    mkd predict FOLDER --task sentiment < texts.tsv > answers.tsv
    mkd predict FOLDER --task paraphrase --input pairs.jsonl

`python -m mkd FOLDER` is the same command.

A line of TSV has one text, or two for a task with pairs. A line of JSON lines is an object with
`text` and, for pairs, `text_pair`. The output has the same format and one line for each input line:
label, score and, for a line without a prediction, the error. Torch is not needed.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from itertools import islice
from typing import Any, NoReturn, TextIO

from mkd.runtime.inference import Prediction, Student, kind_of
from mkd.shell import called_as, complete

LINES_AT_ONCE = 1024


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports a usage error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    0: success, even if some lines have no prediction. 1: the reader of the output closed it.
    2: user error, reported in one line.
    """
    parser = Parser(
        prog=called_as("predict"), allow_abbrev=False, description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folder", help="the exported student")
    parser.add_argument("--task", required=True)
    parser.add_argument("--input", default="-", help="the file to read; -: standard input")
    parser.add_argument(
        "--format",
        choices=("tsv", "jsonl"),
        help="of input and output; else by the file's ending, or tsv",
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="0: OMP_NUM_THREADS, or as many as it may use"
    )
    complete(parser)
    given = parser.parse_args(argv)
    form = given.format or ("jsonl" if given.input.endswith((".jsonl", ".ndjson")) else "tsv")
    try:
        student = Student.load(given.folder, given.threads)
        student.head(given.task)
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        # surrogateescape lets invalid UTF-8 become an error of its own line instead of ending the
        # program. utf-8-sig drops a byte order mark at the start of the file.
        source = 0 if given.input == "-" else given.input
        with open(source, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as lines:
            bad = answer(student, given.task, form, lines, sys.stdout)
    except BrokenPipeError:
        # Python flushes stdout at exit, which would raise again and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    if bad:
        print(f"{bad} lines have no answer", file=sys.stderr)
    return 0


def answer(student: Student, task: str, form: str, lines: Iterator[str], out: TextIO) -> int:
    """Writes an output line for each input line. Returns the number of lines without a prediction.

    form: `tsv` or `jsonl`.
    """
    pair = student.head(task).pair
    bad = 0
    while chunk := list(islice(lines, LINES_AT_ONCE)):
        parsed = [_parsed(line.rstrip("\r\n"), form, pair) for line in chunk]
        found = student.predict([text for text, _ in parsed], task)
        for prediction, (_, wrong) in zip(found, parsed, strict=True):
            prediction = prediction if wrong is None else prediction._replace(error=wrong)
            bad += prediction.error is not None
            out.write(_line(prediction, form))
        out.flush()
    return bad


def _parsed(line: str, form: str, pair: bool) -> tuple[Any, str | None]:
    """Returns the text or texts of a line, and an error message or None."""
    if form == "tsv":
        cells = line.split("\t")
        if len(cells) != 1 + pair:
            return None, f"the line has {len(cells)} columns; allowed: {1 + pair}"
        return tuple(cells) if pair else cells[0], None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return None, f"no JSON: {error}"
    if not isinstance(row, dict):
        return (
            None,
            f"{kind_of(row)}; allowed: an object with {'text and text_pair' if pair else 'text'}",
        )
    return (row.get("text"), row.get("text_pair")) if pair else row.get("text"), None


def _line(prediction: Prediction, form: str) -> str:
    if form == "tsv":
        error = [] if prediction.error is None else [prediction.error]
        return (
            "\t".join([prediction.label, "" if error else f"{prediction.score:.6g}", *error]) + "\n"
        )
    row = prediction._asdict() | ({"score": None} if prediction.error else {})
    if prediction.labels is None:
        del row["labels"]
    return json.dumps(row, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
