"""Predicts labels of texts with an exported student, on the command line.

    mkd predict FOLDER --task sentiment < texts.tsv > answers.tsv
    mkd predict FOLDER --task paraphrase --input pairs.jsonl

`python -m mkd FOLDER` is the same command.

    mkd predict FOLDER --input tickets.csv --text body > answers.csv

A CSV, TSV or Parquet file is a table with named columns. Its text column is stated, or found as in
training. The output is the table (of Parquet: as CSV) with the columns prediction, score and error.

JSON lines, and lines of TSV from standard input or with --format tsv, are answered one by one. A
line of TSV has one text, or two for a task with pairs, and no header. A line of JSON lines is an
object with `text` and, for pairs, `text_pair`. The output has the same format and one line for each
input line: label, score and, for a line without a prediction, the error. Objects with other keys
are rows as those of a table: the keys of the texts are stated with --text, or found in a file; the
output repeats the object, with prediction, score and error. Torch is not needed.

With --min_confidence, a text whose answer is less probable gets none: its label is empty (JSON:
null), and `answered`, a column before the error, is false.
"""

import argparse
import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TextIO

from mkd.runtime.answers import Prediction, check_confidence
from mkd.runtime.inference import Student
from mkd.runtime.texts import type_words
from mkd.shell import called_as, complete
from mkd.storage.addresses import one_line
from mkd.tasks import files
from mkd.tasks.columns import LOOK_ROWS, Columns, find_text
from mkd.tasks.files import Record, Table, listed

LINES_AT_ONCE = 1024
TABLE_ENDINGS = (".csv", ".tsv", ".parquet")
"""Endings of files that are tables with named columns."""
LINE_ENDINGS = (".jsonl", ".ndjson")
"""Endings of files of JSON lines."""
TEXT_KEYS = ("text", "text_pair")
"""Keys of the texts in JSON lines."""
ANSWER_COLUMNS = ("prediction", "score", "answered", "error")
"""Columns that are added to a table; `answered` with --min_confidence alone."""


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
    parser.add_argument("--task", help="not needed for a student of one task")
    parser.add_argument(
        "--text", nargs="+", default=[], metavar="COLUMN", help="the text column; two for pairs"
    )
    parser.add_argument("--input", default="-", help="the file to read; -: standard input")
    parser.add_argument(
        "--format",
        choices=("tsv", "jsonl"),
        help="reads lines without a header; else by the file's ending, or tsv",
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="0: OMP_NUM_THREADS, or as many as it may use"
    )
    parser.add_argument(
        "--min_confidence",
        type=float,
        default=0.0,
        help="the probability below which there is no answer, from 0 to 1",
    )
    complete(parser)
    arguments = parser.parse_args(argv)
    # --format wins over the ending; standard input, "-", has none.
    ending = "" if arguments.format else Path(arguments.input).suffix.lower()
    form = arguments.format or ("jsonl" if ending in LINE_ENDINGS else "tsv")
    try:
        if sys.stdout is None:  # Python's value for a closed one
            raise ValueError("stdout is closed; allowed: a terminal, a file or a pipe")
        if ending in files.UNREAD_TABLES:
            raise ValueError(
                f"--input is {arguments.input}; allowed: a file that ends in "
                f"{', '.join((*TABLE_ENDINGS, *LINE_ENDINGS))}, or of lines, as --format states"
            )
        student = Student.load(arguments.folder, arguments.threads)
        task = arguments.task or _only_task(student)
        least = arguments.min_confidence
        check_confidence(least, student.head(task), task)
        _check_text(arguments.text, student.head(task).pair)
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        # surrogateescape lets invalid UTF-8 become an error of its own line instead of ending the
        # program. utf-8-sig drops a byte order mark at the start of the file.
        source = 0 if arguments.input == "-" else arguments.input
        keys: Sequence[str] = arguments.text or TEXT_KEYS
        # A pipe can be read only once.
        is_file = arguments.input != "-" and Path(arguments.input).is_file()
        if not arguments.text and form == "jsonl" and is_file:
            keys = _keys_of(Path(arguments.input), student.head(task).pair)
        if ending in TABLE_ENDINGS:
            bad = answer_table(
                student, task, Path(arguments.input), arguments.text, sys.stdout, least
            )
        else:
            if Path(arguments.input).is_block_device() or Path(arguments.input).is_char_device():
                raise ValueError(
                    f"--input is {arguments.input}, a device; allowed: a file or a pipe"
                )
            with open(
                source, encoding="utf-8-sig", errors="surrogateescape", newline="\n"
            ) as lines:
                bad = answer(student, task, form, lines, sys.stdout, keys, least)
    except BrokenPipeError:
        # Python flushes stdout at exit, which would raise again and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, ImportError) as error:  # a Parquet file needs pyarrow
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    if bad:
        print(f"{bad} line{' has' if bad == 1 else 's have'} no answer", file=sys.stderr)
    return 0


def _only_task(student: Student) -> str:
    if len(student.heads) > 1:
        raise ValueError(f"--task is not given; allowed: {', '.join(student.heads)}")
    return next(iter(student.heads))


def _check_text(text: Sequence[str], pair: bool) -> None:
    if text and len(text) != 1 + pair:
        allowed = "two columns" if pair else "one column"
        raise ValueError(f"--text is {' '.join(text)}; allowed for this task: {allowed}")


def _keys_of(path: Path, pair: bool) -> Sequence[str]:
    """Returns the keys of the texts in a file of JSON lines: TEXT_KEYS, or those that are found.

    Found keys are printed on standard error. Raises ValueError if the rows have no `text` and no
    other key fits.
    """
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as lines:
        looked = [_parsed(line, "jsonl", TEXT_KEYS)[2] for line in islice(lines, LOOK_ROWS)]
    rows = [row for row in looked if row]  # a wrong line has its error in the output
    names = tuple(dict.fromkeys(key for row in rows for key in row))
    if not rows or TEXT_KEYS[0] in names:
        return TEXT_KEYS

    def read(columns: tuple[str, ...]) -> Iterator[Record]:
        return enumerate(([row.get(column) for column in columns] for row in rows), 1)

    texts = find_text(Columns(str(path), names, read, lambda columns: ""), pair, "--text")
    print(f"text of {path}: {listed(texts)}", file=sys.stderr)
    return texts


def answer_table(
    student: Student,
    task: str,
    path: Path,
    text: Sequence[str],
    out: TextIO,
    least: float = 0.0,
) -> int:
    """Writes a table with its answers. Returns the number of rows with an error.

    path: a CSV, TSV or Parquet file. text: its text columns; empty: they are found, and printed on
        standard error. least: as --min_confidence.

    Raises ValueError if the file is no table, if a column is missing or stands twice, or if no text
    is found.
    """
    names = tuple(files.column_names(path))
    for name, num in Counter(names).items():
        if num > 1:
            raise ValueError(f"{path}:1: {num} columns {name!r}; allowed: one")

    def read(columns: tuple[str, ...]) -> Iterator[Record]:
        return files.read_table(Table(path, columns, None))

    pair = student.head(task).pair
    for column in text:
        if column not in names:
            raise ValueError(f"{path}: no column {column!r}; there are: {listed(names)}")
    table = Columns(str(path), names, read, lambda columns: "")
    texts = tuple(text) or find_text(table, pair, "--text")
    if not text:
        print(f"text of {path}: {listed(texts)}", file=sys.stderr)
    write = _table_writer(path.suffix.lower(), out)
    write([*names, *(_unused(name, names) for name in _columns(least))])
    places = [names.index(column) for column in texts]
    records = table.read(names)
    bad = empty = 0
    while chunk := [cells for _, cells in islice(records, LINES_AT_ONCE)]:
        inputs = [tuple(cells[place] for place in places) for cells in chunk]
        predictions = student.predict(
            inputs if pair else [cells[0] for cells in inputs], task, least
        )
        empty += sum(map(_is_empty, inputs))
        for cells, prediction in zip(chunk, predictions, strict=True):
            bad += prediction.error is not None
            write([*cells, *_cells(prediction, least)])
        out.flush()
    _tell_empty(empty)
    return bad


def _is_empty(texts: Sequence[Any]) -> bool:
    """Returns whether one of a row's texts has no visible character."""
    return any(isinstance(text, str) and not text.strip() for text in texts)


def _tell_empty(number: int) -> None:
    if number:
        one, more = "text is empty: its answer means", "texts are empty: their answers mean"
        print(f"{number:,} {more if number > 1 else one} nothing", file=sys.stderr)


def _unused(name: str, names: Sequence[str]) -> str:
    """Returns the name of an added column, which differs from those that are there."""
    while name in names:
        name += "_"
    return name


def _table_writer(ending: str, out: TextIO) -> Callable[[list[Any]], object]:
    """Returns what writes a row: as TSV for TSV, which has no quotes, and else as CSV."""
    if ending == ".tsv":
        return lambda cells: out.write("\t".join(map(str, cells)) + "\n")
    return csv.writer(out, lineterminator="\n").writerow


def answer(
    student: Student,
    task: str,
    form: str,
    lines: Iterator[str],
    out: TextIO,
    keys: Sequence[str] = TEXT_KEYS,
    least: float = 0.0,
) -> int:
    """Writes an output line for each input line. Returns the number of lines with an error.

    form: `tsv` or `jsonl`. keys: those of the texts in JSON lines. With others than TEXT_KEYS, the
        output repeats the objects. least: as --min_confidence.
    """
    pair = student.head(task).pair
    bad = empty = 0
    while chunk := list(islice(lines, LINES_AT_ONCE)):
        parsed = [_parsed(line.rstrip("\r\n"), form, keys[: 1 + pair]) for line in chunk]
        predictions = student.predict([text for text, _, _ in parsed], task, least)
        texts = [text for text, _, _ in parsed if text is not None]
        empty += sum(_is_empty(text if pair else [text]) for text in texts)
        for prediction, (_, wrong, row) in zip(predictions, parsed, strict=True):
            prediction = prediction if wrong is None else prediction._replace(error=wrong)
            bad += prediction.error is not None
            repeated = form == "jsonl" and keys != TEXT_KEYS
            if repeated:
                out.write(_repeated(row, prediction, least))
            else:
                out.write(_line(prediction, form, least))
        out.flush()
    _tell_empty(empty)
    return bad


def _parsed(line: str, form: str, keys: Sequence[str]) -> tuple[Any, str | None, dict[str, Any]]:
    """Returns the text or texts of a line, an error message or None, and the object of JSON."""
    pair = len(keys) == 2
    if form == "tsv":
        cells = line.split("\t")
        if len(cells) != 1 + pair:
            return None, f"the line has {len(cells)} columns; allowed: {1 + pair}", {}
        return tuple(cells) if pair else cells[0], None, {}
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return None, f"no JSON: {error}", {}
    if not isinstance(row, dict):
        return (
            None,
            f"{type_words(row)}; allowed: an object with {' and '.join(keys)}",
            {},
        )
    texts = tuple(row.get(key) for key in keys)
    return texts if pair else texts[0], None, row


def _columns(least: float) -> list[str]:
    """Returns the columns that are added to a table, for --min_confidence."""
    return [name for name in ANSWER_COLUMNS if least or name != "answered"]


def _cells(prediction: Prediction, least: float) -> list[str]:
    """Returns the texts of `_columns` for a prediction."""
    score = f"{prediction.score:.6g}" if prediction.error is None else ""
    answered = [str(prediction.answered).lower()] if least else []
    return [prediction.label or "", score, *answered, prediction.error or ""]


def _repeated(row: dict[str, Any], prediction: Prediction, least: float) -> str:
    """Returns an object of JSON with its prediction, as a row of a table has it."""
    score = None if prediction.error else prediction.score
    answers = dict(
        zip(
            ANSWER_COLUMNS,
            (prediction.label, score, prediction.answered, prediction.error),
            strict=True,
        )
    )
    whole = row | {_unused(name, tuple(row)): answers[name] for name in _columns(least)}
    shown = json.dumps(whole, ensure_ascii=False)
    half = any("\ud800" <= letter <= "\udfff" for letter in shown)  # cannot be written as UTF-8
    return (json.dumps(whole) if half else shown) + "\n"


def _line(prediction: Prediction, form: str, least: float) -> str:
    if form == "tsv":
        cells = _cells(prediction, least)
        return "\t".join(cells if prediction.error else cells[:-1]) + "\n"
    row = prediction._asdict() | ({"score": None} if prediction.error else {})
    if prediction.labels is None:
        del row["labels"]
    if not least:
        del row["answered"]
    return json.dumps(row, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
