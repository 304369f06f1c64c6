"""Writes a task file for a file of rows, with the reason of each line.

    mkd init tickets.csv
    mkd init train.tsv dev.tsv --text premise hypothesis --label gold
    mkd init tickets.csv --kind multilabel

The columns, the kind and the labels are inferred from names and content. The task file is written
to the working folder, and is not overwritten. Then train with --data.path NAME.yaml.
"""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from mkd.shell import called_as, complete
from mkd.storage.addresses import one_line
from mkd.tasks.origins import check_columns
from mkd.tasks.task_file import KINDS, text_columns


class _Parser(argparse.ArgumentParser):
    """Reports a usage error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def _option(key: str, value: str = "") -> str:
    """Names the option that states a key of the task."""
    return f"--{key} {value}".rstrip()


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns the exit code: 0, or 2 after a user's mistake."""
    parser = _Parser(
        prog=called_as("init"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("train", type=Path, help="a CSV, TSV, JSONL or Parquet file of train rows")
    parser.add_argument("dev", type=Path, nargs="?", help="a file of rows that are scored")
    parser.add_argument("--text", nargs="+", default=[], metavar="COLUMN", help="one, or a pair")
    parser.add_argument("--label", default="", metavar="COLUMN", help="the column of the label")
    parser.add_argument("--kind", default="", choices=KINDS, help="the kind of the task")
    complete(parser)
    arguments = parser.parse_args(argv)
    files = [arguments.train, *([arguments.dev] if arguments.dev else [])]
    print(f"reading {' and '.join(map(str, files))}", flush=True)
    try:
        text = text_columns(arguments.text, "--text") if arguments.text else ()
        check_columns(arguments.train, text, arguments.label, _option)
        from mkd.tasks.draft import draft_task  # takes long to import

        draft = draft_task(files, Path.cwd(), text, arguments.label, arguments.kind, _option)
        target = Path(f"{draft.name}.yaml")
        with target.open("x", encoding="utf-8") as file:
            file.write(draft.text)
    except FileExistsError as error:
        print(f"error: {error.filename} is there already; it is not overwritten", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    print(f"{target}: {draft.summary}")
    print(f"next: {called_as('distill')} --data.path {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
