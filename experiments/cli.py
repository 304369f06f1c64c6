"""The command line of every entry point: YAML files, options by dotted name, one-line errors."""

import difflib
import json
import os
import re
import signal
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, is_dataclass
from functools import cache, reduce
from pathlib import Path
from typing import Any, TypeVar

import transformers
import yaml
from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    DefaultHelpFormatter,
    Namespace,
    get_loader,
    set_loader,
    set_parsing_settings,
)

from experiments.settings import COMMANDS, Command, command_of
from mkd import precision, processes
from mkd.storage import strict_yaml

REMOVED: dict[str, dict[str, tuple[object, ...]]] = {
    "speed": {"repeats": (), "warmup": ()},
    "loss": {"mixup": (0,)},
    "export": {"per_task": (False,), "calibration_rows": ()},
    "search": {"budget_bytes": (None,)},
}
"""Removed settings by group, each with the values that are still accepted; empty: every value."""

FIXED: dict[str, dict[str, tuple[object, str]]] = {
    "search": {"whole": (False, "promote.whole trains the best student on all rows")}
}
"""Settings that a command fixes, each with its value and an alternative. A file may not contradict
it. Other settings that only other commands have are ignored in files.
"""

Own = TypeVar("Own", bound=Command)


def parse(
    argv: list[str] | None,
    description: str,
    kind: type[Own],
    log: Callable[[str], object] = lambda text: None,
) -> Own:
    """Returns the settings that a command line describes.

    `kind` is the command's class of settings, and `argv` None means sys.argv. `log` receives one
    line if the numerical precision had to be measured.

    Raises ValueError if an option or a file is wrong.
    """
    # First: jsonargparse would only say that it does not know the option.
    _refuse_options_of_others(sys.argv[1:] if argv is None else argv, command_of(kind))
    parser = _parser(kind, description)
    with _readable_errors(kind):
        parsed = parser.parse_args(argv)
    return _build(parser, parsed, kind, log)


def explicit_settings(argv: list[str] | None, kind: type[Command]) -> set[str]:
    """Returns the dotted names of the settings that a command line or its files set explicitly.

    A setting that is set to its default value is included.
    """
    parsed = _parser(kind, "").parse_args(argv, defaults=False).as_flat()
    return set(vars(parsed)) - {"config"}


def with_settings(config: Own, settings: dict[str, Any]) -> Own:
    """Returns a copy of the config with some settings replaced, each given by its dotted name.

    The new values are checked like those of a command line. A value replaces a whole list or dict.
    For example, `with_settings(config, {"loss.temperature": 2.0})`.

    Raises ValueError for an unknown name or a value that is not allowed.
    """
    values, known = asdict(config), flat(config)
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"there is no setting {name!r}{_suggestion(name, type(config))}")
        *groups, last = name.split(".")
        reduce(lambda group, key: group[key], groups, values)[last] = value
    parser = _parser(type(config), "")
    with _readable_errors(type(config)):
        parsed = parser.parse_object(values)
    return _build(parser, parsed, type(config))


def from_yaml(text: str, kind: type[Own]) -> Own:
    """Returns the settings of this command from the text that `to_yaml` wrote.

    The text may come from an earlier version of the project or from another command. A missing
    setting has its default; settings of other commands are ignored.

    Raises ValueError for an unknown setting or a value that is not allowed.
    """
    parser = _parser(kind, "")
    strict_yaml.check_yaml(text)
    settings = yaml.safe_load(text)
    with _readable_errors(kind):
        parsed = parser.parse_string(yaml.safe_dump(settings))
    return _build(parser, parsed, kind)


UNKNOWN_SETTING = (
    re.compile(r"unrecognized arguments: --(?P<name>[\w.]+)"),
    re.compile(r"Group '(?P<group>[\w.]+)' does not accept option '(?P<name>[\w.]+)'"),
    re.compile(r"^Option '(?P<name>[\w.]+)' is not accepted"),
)
"""jsonargparse's messages about an unknown option or setting."""


@contextmanager
def _readable_errors(kind: type[Command]) -> Iterator[None]:
    """Converts jsonargparse's errors to a ValueError of one line.

    If a setting is unknown, the message ends with the most similar one.
    """
    try:
        yield
    except ArgumentError as error:
        message = one_line(error)
        unknown = next(
            (match for pattern in UNKNOWN_SETTING if (match := pattern.search(message))), None
        )
        if unknown is None:
            raise ValueError(message) from error
        name = ".".join(part for part in unknown.groups() if part)
        raise ValueError(f"there is no setting {name!r}{_suggestion(name, kind)}") from error


def _suggestion(name: str, kind: type[Command]) -> str:
    """Returns the end of a message about an unknown setting: the setting that is most similar."""
    command = command_of(kind)
    near = difflib.get_close_matches(name, ["config", *sorted(setting_names(command))], 1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; python -m experiments.{command} --help lists all settings"


class _HelpFormatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the lines of the description, which contains commands to copy."""


class _Parser(ArgumentParser):
    """A command's parser. Settings of other commands in a file are ignored."""

    command = ""

    def parse_string(
        self, content: str, path: str | os.PathLike[str] = "", *args: Any, **more: Any
    ) -> Namespace:
        """Overrides jsonargparse's method, which also parses the files of --config."""
        with suppress(yaml.YAMLError):  # parse_string of the base class reports it
            settings = get_loader("yaml")(content, str(path))
            if isinstance(settings, dict):
                _check_fixed(settings, self.command)
                own = _without_others(_without_removed(settings), self.command)
                content = yaml.safe_dump(own)
        parsed: Namespace = super().parse_string(content, path, *args, **more)
        return parsed


def _parser(kind: type[Command], description: str) -> _Parser:
    return _parser_of(command_of(kind), description)


@cache
def _parser_of(command: str, description: str) -> _Parser:
    _read_strictly()
    # The help of a setting is the docstring below its field.
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = _Parser(
        prog=f"python -m experiments.{command}",
        usage="%(prog)s [--config FILE] [--SETTING VALUE] ...",  # the default lists all settings
        description=description,
        formatter_class=_HelpFormatter,
        exit_on_error=False,
    )
    parser.command = command
    parser.add_class_arguments(COMMANDS[command])
    parser.add_argument(
        "--config",
        action="config",
        help="a YAML file of settings; may be given several times, later ones win",
    )
    return parser


@cache
def setting_names(command: str) -> frozenset[str]:
    """Returns the dotted names of a command's settings and of their groups."""

    def named(settings: Any, prefix: str) -> list[str]:
        inner = {prefix + field.name: getattr(settings, field.name) for field in fields(settings)}
        below = [
            name
            for group, value in inner.items()
            if is_dataclass(value)
            for name in named(value, f"{group}.")
        ]
        return [*inner, *below]

    return frozenset(named(COMMANDS[command](), ""))


def _commands_with(name: str) -> list[str]:
    return [command for command in COMMANDS if name in setting_names(command)]


def _check_fixed(settings: dict[str, Any], command: str) -> None:
    """Raises ValueError if a file contradicts a setting that the command fixes."""
    for name, (value, alternative) in FIXED.get(command, {}).items():
        if settings.get(name, value) != value:
            raise ValueError(
                f"{name} is {settings[name]!r}; allowed for experiments.{command}: {value!r}, "
                f"{alternative}"
            )


def _refuse_options_of_others(argv: list[str], command: str) -> None:
    """Raises ValueError, with the commands that have it, for an option of other commands only."""
    for word in argv:
        name = word.removeprefix("--").split("=")[0]
        if (
            word.startswith("--")
            and name not in setting_names(command)
            and (others := _commands_with(name))
        ):
            raise ValueError(
                f"--{name} is a setting of {', '.join(f'experiments.{other}' for other in others)}"
            )


def _without_others(values: dict[str, Any], command: str, prefix: str = "") -> dict[str, Any]:
    """Returns a file's settings without those that only other commands have.

    A setting that no command has is kept, so that the parser rejects it.
    """
    kept: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and _is_group(name):
            inner = _without_others(value, command, f"{name}.")
            kept |= {key: inner} if inner or name in setting_names(command) else {}
        elif name in setting_names(command) or not _commands_with(name):
            kept[key] = value
    return kept


def _is_group(name: str) -> bool:
    return any(
        other.startswith(f"{name}.") for command in COMMANDS for other in setting_names(command)
    )


@cache
def _read_strictly() -> None:
    """Makes jsonargparse reject duplicate keys, in files and in values of the command line."""
    read = get_loader("yaml")

    def strict(text: str, path: str = "") -> Any:
        # jsonargparse changes into the file's folder while it reads it: make the path absolute.
        strict_yaml.check_yaml(text, str(Path(path).absolute()) if path else "")
        return read(text)

    set_loader("yaml", strict, (yaml.YAMLError,))


def _without_removed(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a config's settings without removed ones.

    Raises ValueError if a removed setting has a value that had an effect.
    """
    for group, removed in REMOVED.items():
        settings = config.get(group)
        for name, accepted in removed.items():
            if isinstance(settings, dict) and name in settings:
                if accepted and settings[name] not in accepted:
                    raise ValueError(
                        f"{group}.{name} is {settings[name]!r}; "
                        f"allowed: {accepted[0]!r}, because the setting was removed"
                    )
                del settings[name]
    return config


def _build(
    parser: ArgumentParser,
    parsed: Namespace,
    kind: type[Own],
    log: Callable[[str], object] = lambda text: None,
) -> Own:
    try:
        parser.validate(parsed, skip_unset=False)  # parsing accepts null for every setting
    except TypeError as error:
        raise ValueError(one_line(error)) from error
    values = parser.instantiate(parsed)
    config = kind(**{field.name: getattr(values, field.name) for field in fields(kind)})
    return precision.resolve_precision(config, config.core(), log)


def flat(config: Command) -> dict[str, Any]:
    """Returns all settings by dotted name, for display and logging.

    Settings that are open by default (a learning rate of null) have their resolved values, and
    passwords are hidden. Lists, and dicts without fixed keys, are kept whole.
    """
    return _flat(config.shown(), "")


def overrides(config: Command) -> dict[str, Any]:
    """Returns the settings that differ from their defaults, by dotted name."""
    defaults = flat(type(config)())
    return {name: value for name, value in flat(config).items() if value != defaults[name]}


def to_yaml(config: Command) -> str:
    """Returns the whole config as YAML, which --config reads back to equivalent settings.

    An open learning rate is written as its resolved number. Passwords are left out.
    """
    return yaml.safe_dump(asdict(config.shown()), sort_keys=False)


def entry(
    job: Callable[[Own], object], description: str, kind: type[Own], argv: list[str] | None = None
) -> int:
    """Runs a command: parses its settings, prints those that differ from the defaults, calls `job`.

    Returns the exit code: 0, 2 after an error of the user (printed in one line), or 130 after
    Ctrl-C.
    """
    signal.signal(signal.SIGTERM, _handle_sigterm)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # harmless, or an error of our own
    try:
        config = parse(
            argv, description, kind, print if processes.is_first() else lambda text: None
        )
        if processes.is_first():
            print(
                "settings that differ from the defaults:", json.dumps(overrides(config)), flush=True
            )
        job(config)
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def one_line(error: BaseException) -> str:
    """Returns the error's message on one line."""
    return " ".join(str(error).split())


def _handle_sigterm(number: int, frame: object) -> None:
    """Handles SIGTERM: raises SystemExit, so that open runs and files are closed."""
    raise SystemExit(128 + number)


def _flat(settings: Any, prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, plain in asdict(settings).items():
        value = getattr(settings, name)
        inner = _flat(value, f"{prefix}{name}.") if is_dataclass(value) else {prefix + name: plain}
        values |= inner
    return values
