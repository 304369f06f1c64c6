"""The text of --help: each setting with its meaning, the common ones first."""

import json
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import docstring_parser

from experiments.settings import COMMON
from mkd.config import Config

WIDTH = 100
"""Largest number of columns of the text."""
PLAIN = {int: "INT", float: "NUMBER", str: "TEXT", list: "LIST", dict: "MAPPING", NoneType: "null"}
"""Placeholder for a value of each type. LIST and MAPPING are written as JSON or YAML."""


class Setting(NamedTuple):
    """A setting as the help shows it; `values` describes its allowed values."""

    name: str
    values: str
    meaning: str
    default: Any


class Group(NamedTuple):
    """A group of settings with its title."""

    title: str
    settings: list[Setting]


def help_text(called: str, description: str, kind: type) -> str:
    """Returns the help of a command.

    called: the command as it was called. kind: the dataclass of its settings.
    """
    every = list(groups(kind))
    known = {setting.name: setting for group in every for setting in group.settings}
    common = [known.pop(name) for name in COMMON if name in known]
    others = [
        group._replace(settings=[each for each in group.settings if each.name in known])
        for group in every
    ]
    width = min(WIDTH, shutil.get_terminal_size().columns) - 2
    blocks = [
        f"usage: {called} [--config FILE] [--SETTING VALUE] ...",
        description.strip(),
        "options:\n" + "\n".join(_lines(each, width) for each in OPTIONS),
        *(
            f"{group.title}:\n" + "\n".join(_lines(each, width) for each in group.settings)
            for group in (Group("common settings", common), *others)
            if group.settings
        ),
    ]
    return "\n\n".join(blocks) + "\n"


OPTIONS = (
    Setting("help", "", "Shows this text; so does -h.", None),
    Setting(
        "config",
        "FILE",
        "A YAML file of settings, or the name of one in experiments/configs, such as bilstm. May "
        "be given several times; later ones win, and so do settings on the command line.",
        None,
    ),
    Setting("print_config", "", "Prints all settings as YAML, and exits.", None),
)
"""The options besides settings."""


def groups(kind: type, name: str = "") -> Iterator[Group]:
    """Yields the settings of a dataclass and of those in it, group by group.

    name: the dotted name of the group that the dataclass is.
    """
    hints, meanings = get_type_hints(kind), _meanings(Config) | _meanings(kind)
    defaults = {each.name: _default(each) for each in fields(kind)}
    plain = [each for each, default in defaults.items() if not is_dataclass(default)]
    prefix = f"{name}." if name else ""
    title = " ".join((kind.__doc__ or "").split("\n\n")[0].split()).rstrip(".")
    yield Group(
        f"{name}: {title}" if name else "the run",
        [
            Setting(prefix + each, values(hints[each]), meanings[each], defaults[each])
            for each in plain
        ],
    )
    for each, default in defaults.items():
        if is_dataclass(default):
            yield from groups(type(default), prefix + each)


def values(hint: Any) -> str:
    """Returns a description of the values of a type, such as `INT`, `{a,b}` or `NUMBER|null`."""
    if hint is bool:
        return "{true,false}"
    if get_origin(hint) is Literal:
        return "{" + ",".join(filter(None, get_args(hint))) + "}"  # "" is told as `empty`
    plain = PLAIN.get(hint) or PLAIN.get(get_origin(hint))
    return plain or "|".join(values(each) for each in get_args(hint))


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _meanings(kind: type) -> dict[str, str]:
    """Returns the docstring of each field of a dataclass and of its bases, as one line."""
    return {
        param.arg_name: " ".join((param.description or "").split())
        for owner in reversed(kind.__mro__)
        if is_dataclass(owner)
        for param in docstring_parser.parse_from_object(owner).params
    }


def _lines(setting: Setting, width: int) -> str:
    """Returns the lines of a setting: its name with its values, and below it the meaning."""
    default = setting.default if isinstance(setting.default, str) else json.dumps(setting.default)
    shown = f" Default: {default or 'empty'}." if setting not in OPTIONS else ""
    text = textwrap.fill(
        setting.meaning + shown, width, initial_indent=" " * 8, subsequent_indent=" " * 8
    )
    return f"  --{setting.name} {setting.values}".rstrip() + f"\n{text}"
