"""The command line of the report: its settings, read before slow imports."""

import pkgutil
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import docstring_parser

from analysis import empty_runs
from analysis.presentation import printing
from mkd.shell import called_as, check_working_folder, complete, escape_unprintable, suggestion
from mkd.storage.addresses import one_line
from mkd.storage.disk import full_disk_errors, symlink_loops_named
from mkd.storage.owners import own_temporary_folder


@dataclass(frozen=True)
class ReportSettings:
    """The settings of a report."""

    experiment: str = ""
    """Name of the MLflow experiment. Empty: that of the study, or the only one with finished runs
    of students.
    """
    study: str = ""
    """Name of a study (mkd.study). Only its trials are reported. Empty: all runs of the
    experiment.
    """
    to: str = ""
    """Folder that the report is also written to. It replaces an earlier report there; other
    files stay. Empty: the report is only logged to MLflow.
    """
    machine: str = ""
    """Machine whose latencies are shown, by its name in the report. Empty: the one with most
    runs.
    """


JSON = "--json"
JOB = "analysis.report:command"
"""The function that makes the report. Its module takes seconds to import."""


class _Parser(ArgumentParser):
    """Raises ValueError where argparse prints several lines and exits."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parse(argv: list[str] | None, description: str) -> ReportSettings:
    """Returns the settings of a command line. Raises ValueError if one is wrong."""
    parser = _Parser(
        prog=called_as("report"),
        description=description,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    names = []
    for field in docstring_parser.parse_from_object(ReportSettings).params:
        names.append(field.arg_name)
        meaning = " ".join((field.description or "").split())
        parser.add_argument(f"--{field.arg_name}", metavar="TEXT", default="", help=meaning)
    parser.add_argument(JSON, action="store_true", help="Prints the result as JSON alone.")
    complete(parser)
    values, unknown = parser.parse_known_args(argv)
    if unknown:
        word = unknown[0].removeprefix("--").partition("=")[0]
        raise ValueError(f"there is no setting {word!r}; {suggestion(word, names)}")
    return ReportSettings(**{name: getattr(values, name) for name in names})


def main(description: str | None, argv: list[str] | None = None) -> int:
    """Runs the command and returns the exit code.

    It is 0, or 2 after a user's mistake, which is printed in one line.
    """
    escape_unprintable()
    try:
        with printing.json_only(JSON in (sys.argv[1:] if argv is None else argv)):
            check_working_folder()
            settings = parse(argv, description or "")
            print(
                f"reading the runs of {settings.study or settings.experiment or 'MLflow'}",
                flush=True,
            )
            with (
                full_disk_errors([Path(), Path(settings.to)]),
                symlink_loops_named(),
                own_temporary_folder(),
            ):
                pkgutil.resolve_name(JOB)(settings)
    except (ValueError, OSError) as error:
        message = one_line(error)
        print(f"error: {message}", file=sys.stderr)
        empty_runs.discard_own_run(message)
        return 2
    return 0
