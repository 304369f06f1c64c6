"""The command line of every entry point: a config file, any field by its dotted name, and mistakes told in one line."""

import difflib
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, reduce
from pathlib import Path
from typing import Any

import transformers
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace, get_loader, set_loader

from mkd import precision, processes
from mkd.config import Config, without_password
from mkd.rates import resolved
from mkd.storage import strict_yaml

GONE: dict[str, dict[str, tuple[object, ...]]] = {
    "speed": {"repeats": (), "warmup": ()},
    "loss": {"mixup": (0,)},
    "export": {"per_task": (False,)},
    "search": {"budget_bytes": (None,)},
}
"""By group the settings that earlier versions had, with the values at which they did nothing; empty: whatever the value."""


def parse(argv: list[str] | None, description: str, told: Callable[[str], object] = lambda text: None) -> Config:
    """The Config that the command line describes. Raises ValueError or jsonargparse's ArgumentError where it is wrong.

    told: gets what was measured to make it, in a line.
    """
    parser = _parser(description)
    return _made(parser, parser.parse_args(argv), told)


def said(argv: list[str] | None = None) -> set[str]:
    """The settings that a command line or its files name, by their dotted names, also where they say what is the default."""
    named = _parser("").parse_args(argv, defaults=False).as_flat()
    return set(vars(named)) - {"config"}


def with_settings(config: Config, settings: dict[str, Any]) -> Config:
    """The config with other values of some settings, each by its dotted name; checked as those of a command line are.

    A value takes the place of the whole list or dict that was there. Raises ValueError for a name that there is not, or a value
    that is not allowed.
    """
    values, known = asdict(config), flat(config)
    for name, value in settings.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 3) or sorted(known)
            raise ValueError(f"there is no setting {name!r}; allowed: {', '.join(near)}")
        *groups, last = name.split(".")
        reduce(lambda group, key: group[key], groups, values)[last] = value
    parser = _parser("")
    try:
        return _made(parser, parser.parse_object(values))
    except ArgumentError as error:
        raise ValueError(one_line(error)) from error


def from_yaml(text: str) -> Config:
    """The config that `to_yaml` has written, by this or an earlier state of the project: what it lacks has its default."""
    parser = _parser("")
    strict_yaml.check(text)
    settings = yaml.safe_load(text)
    try:
        return _made(parser, parser.parse_string(yaml.safe_dump(settings)))
    except ArgumentError as error:
        raise ValueError(one_line(error)) from error


@cache
def _parser(description: str) -> ArgumentParser:
    _read_strictly()
    parser = ArgumentParser(prog="python -m experiments", description=description, exit_on_error=False)
    parser.add_class_arguments(Config)
    parser.add_argument("--config", action="config", help="a YAML file of settings; may be given several times, later ones win")
    return parser


@cache
def _read_strictly() -> None:
    """Has jsonargparse refuse a key that stands twice, in files and in values of the command line."""
    read = get_loader("yaml")

    def strict(text: str, path: str = "") -> Any:
        # It reads a file from that file's own folder.
        strict_yaml.check(text, str(Path(path).absolute()) if path else "")
        return _without_gone(read(text))

    set_loader("yaml", strict, (yaml.YAMLError,))


def _without_gone(found: Any) -> Any:
    """A config's settings less those that are gone. Raises ValueError where one has a value at which it did something."""
    if not isinstance(found, dict):
        return found
    for group, names in GONE.items():
        settings = found.get(group)
        for name, idle in names.items():
            if isinstance(settings, dict) and name in settings:
                if idle and settings[name] not in idle:
                    raise ValueError(f"{group}.{name} is {settings[name]!r}; allowed: {idle[0]!r}, as the setting is gone")
                del settings[name]
    return found


def _made(parser: ArgumentParser, parsed: Namespace, told: Callable[[str], object] = lambda text: None) -> Config:
    try:
        parser.validate(parsed, skip_unset=False)  # null, which parsing lets pass for every setting
    except TypeError as error:
        raise ValueError(one_line(error)) from error
    values = parser.instantiate(parsed)
    return precision.chosen(Config(**{name: getattr(values, name) for name in Config.__dataclass_fields__}), told)


def flat(config: Config) -> dict[str, Any]:
    """Every setting by its dotted name, to be shown, with what those that are open come to; lists and dicts of no fixed keys
    as they are."""
    return _flat(_shown(config), "")


def overrides(config: Config) -> dict[str, Any]:
    """The settings that differ from their defaults, by dotted name."""
    defaults = flat(Config())
    return {name: value for name, value in flat(config).items() if value != defaults[name]}


def to_yaml(config: Config) -> str:
    """The whole config as YAML; given back with --config it makes a Config that does the same.

    A learning rate that is open is a number in it; a password it has not.
    """
    return yaml.safe_dump(_shown(config), sort_keys=False)


def _shown(config: Config) -> dict[str, Any]:
    values = asdict(resolved(config))
    values["search"]["storage"] = without_password(config.search.storage)
    return values


def entry(job: Callable[[Config], None], description: str, argv: list[str] | None = None) -> int:
    """Parses, prints what differs from the defaults, and does the job; the exit code. A user's mistake is one line and 2."""
    signal.signal(signal.SIGTERM, _ended)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # what it warns of is refused here, or is no fault
    try:
        config = parse(argv, description, print if processes.is_first() else lambda text: None)
        if processes.is_first():
            print("settings that differ from the defaults:", json.dumps(overrides(config)), flush=True)
        job(config)
    except (ValueError, ArgumentError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def one_line(error: BaseException) -> str:
    """The error's message with its line ends folded."""
    return " ".join(str(error).split())


def _ended(number: int, frame: object) -> None:
    """SIGTERM leaves by an exception, so that what is open is closed."""
    raise SystemExit(128 + number)


def _flat(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    free = {"weights", "task_weights", "sources", "variants", "space"}
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = prefix + key
        found |= _flat(value, f"{name}.") if isinstance(value, dict) and key not in free else {name: value}
    return found
