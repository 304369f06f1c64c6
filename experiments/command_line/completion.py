"""Shell completion of the value of a setting: its choices, a shipped config, or a file."""

from argparse import ArgumentParser
from functools import partial
from typing import Any

from experiments.command_line.config_files import CONFIGS
from experiments.command_line.help import groups


def complete_values(parser: ArgumentParser, kind: type) -> None:
    """Sets the completer of each setting of a parser.

    kind: the dataclass of its settings.
    """
    from argcomplete.completers import FilesCompleter  # only a shell that asks has a use for it

    values = {each.name: each.values for group in groups(kind) for each in group.settings}
    values["config"] = "{" + ",".join(sorted(file.stem for file in CONFIGS.glob("*.yaml"))) + "}"
    for action in parser._actions:
        shown = values.get(action.dest, "")
        words = shown.strip("{}").split(",") if shown.startswith("{") else []
        files = FilesCompleter() if action.dest == "config" or not words else None
        action.completer = partial(_completions, words, files)  # type: ignore[attr-defined]


def _completions(words: list[str], files: Any, prefix: str, **rest: Any) -> list[str]:
    """Returns the words and the files that begin with the prefix."""
    matches = [word for word in words if word.startswith(prefix)]
    return matches + (list(files(prefix, **rest)) if files else [])
