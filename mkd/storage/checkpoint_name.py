"""Which names a checkpoint can have. Imports no large library, as commands check names at first."""

import re
from pathlib import Path

CHECKPOINT_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
"""The name of a checkpoint on the hub; some old ones have no user."""
NO_CHECKPOINT = (
    "{setting} is {name!r}: no such folder; allowed: a folder or a name on the Hugging Face hub"
)


def check_checkpoint_name(setting: str, name: str) -> None:
    """Raises ValueError if `name` is neither a folder nor can be a name on the hub.

    setting: name of the setting for the error message.
    """
    if not Path(name).is_dir() and not CHECKPOINT_NAME.fullmatch(name):
        raise ValueError(NO_CHECKPOINT.format(setting=setting, name=name))
