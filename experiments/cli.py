"""The command line of every entry point: a config file, any field by its dotted name, and mistakes told in one line."""

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import transformers
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from mkd.config import Config


def parse(argv: list[str] | None, description: str) -> Config:
    """The Config that the command line describes. Raises ValueError or jsonargparse's ArgumentError where it is wrong."""
    parser = ArgumentParser(prog="python -m experiments", description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="a YAML file of settings; may be given several times, later ones win")
    parser.add_class_arguments(Config)
    values = parser.instantiate(parser.parse_args(argv))
    return Config(**{name: getattr(values, name) for name in Config.__dataclass_fields__})


def flat(config: Config) -> dict[str, Any]:
    """Every setting by its dotted name; lists and dicts of no fixed keys as they are."""
    return _flat(asdict(config), "")


def overrides(config: Config) -> dict[str, Any]:
    """The settings that differ from their defaults, by dotted name."""
    defaults = flat(Config())
    return {name: value for name, value in flat(config).items() if value != defaults[name]}


def to_yaml(config: Config) -> str:
    """The whole config as YAML; given back with --config it makes the same Config."""
    return yaml.safe_dump(asdict(config), sort_keys=False)


def entry(job: Callable[[Config], None], description: str, argv: list[str] | None = None) -> int:
    """Parses, prints what differs from the defaults, and does the job; the exit code. A user's mistake is one line and 2."""
    signal.signal(signal.SIGTERM, _ended)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # what it warns of is refused here, or is no fault
    try:
        config = parse(argv, description)
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
    free = {"weights", "task_weights", "sources"}
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = prefix + key
        found |= _flat(value, f"{name}.") if isinstance(value, dict) and key not in free else {name: value}
    return found
