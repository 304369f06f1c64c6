"""Names what a user gives to state something of a task, for messages: text to paste or to write."""

from typing import Protocol

SETTINGS = ("text", "label", "kind", "dev")
"""Keys of a task that are settings too, as `data.text`."""


class Stated(Protocol):
    """Names what states a key of a task. The value is empty where a message does not know it."""

    def __call__(self, key: str, value: str = "") -> str: ...


def by_settings(key: str, value: str = "") -> str:
    """Names the setting of a key: as an option of the command line if there is a value."""
    if key not in SETTINGS:
        return f"`{key}` in a task file, which `mkd init` drafts"
    return f"--data.{key}={value}" if value else f"data.{key}"


def in_task_file(path: str, task: str) -> Stated:
    """Returns a function that names a line of a task file, and where it belongs."""

    def stated(key: str, value: str = "") -> str:
        return f"`{f'{key}: {value}' if value else key}` under {task} in {path}"

    return stated


def in_python(key: str, value: str = "") -> str:
    """Names the argument of a key, for a task of rows in memory."""
    return f"{f'{key}={value!r}' if value else key} in mkd.task_from_data"
