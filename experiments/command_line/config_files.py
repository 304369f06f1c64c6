"""The files of --config: found by path or by name, and the line that a setting stands in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mkd.storage.strict_yaml import check_yaml

CONFIGS = Path(__file__).parents[1] / "configs"
"""The folder of the files that can be given by name."""


def config_file(path_or_name: str) -> Path:
    """Returns the file that a value of --config stands for: a path, or a name in CONFIGS.

    Raises ValueError if there is none.
    """
    file, named = Path(path_or_name), CONFIGS / f"{path_or_name}.yaml"
    if file.is_file():  # no folder, and no device or pipe, which may never end
        return file
    if Path(path_or_name).name == path_or_name and named.is_file():
        return named
    names = ", ".join(sorted(each.stem for each in CONFIGS.glob("*.yaml")))
    raise ValueError(
        f"config is {path_or_name!r}, which is no file; allowed: a YAML file, or {names}"
    )


def read_config(file: Path) -> dict[str, Any]:
    """Returns the settings of a YAML file.

    Raises ValueError, with the file and perhaps the line, if it is not a mapping. No message shows
    the file's content, which may hold passwords.
    """
    try:
        text = file.read_text("utf-8")
        check_yaml(text, str(file))
        settings = yaml.safe_load(text)
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not text in UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{file}{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: not valid YAML") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{file}: not a mapping; allowed: settings by name, such as `seed: 1`")
    for name in settings:
        if not isinstance(name, str):
            raise ValueError(f"{file}: the key {name!r} is no text; allowed: names of settings")
    return settings


def line_of(file: Path, keys: Sequence[str]) -> int | None:
    """Returns the line of a setting in a YAML file, from 1; None if it is not there.

    keys: the keys of its groups, then its own.
    """
    node = yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader)
    line = None
    for part in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        nodes = [(key, value) for key, value in pairs if key.value == part]
        if not nodes:
            return None
        key, node = nodes[-1]
        line = key.start_mark.line + 1
    return line
