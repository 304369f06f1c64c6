"""The command line of every command: YAML files, options by dotted name, one-line errors.

Importing this module and reading a command line take well under a second: slow libraries, such as
torch, are imported after the settings are read.
"""

import difflib
import gc
import json
import os
import pkgutil
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache, lru_cache, reduce
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    Namespace,
    get_loader,
    set_loader,
)

from analysis import empty_runs
from analysis.presentation import printing
from experiments.command_line import completion, config_files, help
from experiments.settings import COMMANDS, Command, command_of
from experiments.signals import end_on_signals
from mkd.config import DataConfig
from mkd.shell import COMPLETION, called_as, check_working_folder, escape_unprintable
from mkd.storage import strict_yaml
from mkd.storage.addresses import one_line
from mkd.storage.checkpoint_name import check_checkpoint_name
from mkd.storage.disk import full_disk_errors, symlink_loops_named
from mkd.storage.memory import memory_errors
from mkd.storage.owners import own_temporary_folder
from mkd.tasks import origins

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

STOPPED = "stopped; the same command continues"
"""Printed when a command ends by Ctrl-C or SIGTERM."""
SIGTERM_CODE = 128 + signal.SIGTERM
"""Exit code after SIGTERM, that of shells."""

LIBRARIES = ("torch", "pandas", "scipy.stats", "sklearn.metrics", "transformers.modeling_utils")
"""Most of the time before a command's work is spent to import these; a bar counts them."""

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
    return _with_precision(_read(argv, description, kind), log)


def _read(argv: list[str] | None, description: str, kind: type[Own]) -> Own:
    """Returns the settings of a command line as they are given: precisions may be `auto`."""
    words = sys.argv[1:] if argv is None else argv
    # First: jsonargparse would only say that it does not know the option.
    _refuse_options_of_others(words, command_of(kind))
    words, files = _with_config_files(words)
    parser = _parser(kind, description)
    try:
        with _readable_errors(kind):
            parsed = parser.parse_args(words)
        return _build(parser, parsed, kind)
    except ValueError as error:
        raise ValueError(_place(words, files, str(error)) + str(error)) from error


def _with_config_files(words: list[str]) -> tuple[list[str], list[Path]]:
    """Returns the words with the path of each file of --config, and these files, all checked."""
    replaced, files = list(words), []
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--config" and (equals or place + 1 < len(words)):
            file = config_files.config_file(value if equals else words[place + 1])
            config_files.read_config(file)
            files.append(file)
            replaced[place if equals else place + 1] = f"--config={file}" if equals else str(file)
    return replaced, files


def _check_checkpoints(config: Command) -> None:
    """Raises ValueError if a checkpoint is neither a folder nor can be a name on the hub."""
    for setting in ("teacher.checkpoint", "student.init", "student.tokenizer"):
        group, name = setting.split(".")
        value = getattr(getattr(config, group, None), name, "")
        if value:
            check_checkpoint_name(setting, value)


def _place_of(argv: list[str] | None, message: str) -> str:
    """Returns `_place` of a message of a command's work, whose settings have been read."""
    try:
        words, files = _with_config_files(sys.argv[1:] if argv is None else argv)
    except ValueError:  # a file cannot be read, which is what the message says
        return ""
    return _place(words, files, message)


def _place(words: list[str], files: list[Path], message: str) -> str:
    """Returns `FILE:LINE: ` if the setting that a message begins with stands in one of the files.

    Returns "" if the command line sets it, because that wins over files.
    """
    of_variant = VARIANT.match(message)
    named = SETTING.match(message, of_variant.end() if of_variant else 0)
    keys = named["name"].split(".") if named else []
    places = [keys]
    if of_variant:  # settings of a variant have their dotted names as one key
        variant = [*VARIANTS.split("."), of_variant["variant"]]
        places = [[*variant, ".".join(keys)], variant]
    on_line = f"--{VARIANTS if of_variant else '.'.join(keys)}"
    if not any(places) or any(word.partition("=")[0] == on_line for word in words):
        return ""
    for file in reversed(files):
        for place in places:
            if (line := config_files.line_of(file, place)) is not None:
                return f"{file}:{line}: "
    return ""


SETTING = re.compile(r"(?:there is no setting ')?(?P<name>[a-z_]+(?:\.[\w-]+)*)(?:'| is )")
"""The start of a message about a setting."""
VARIANTS = "ablation.variants"
VARIANT = re.compile(rf"{re.escape(VARIANTS)}\.(?P<variant>\w[\w .-]*)(?:: | has | is )")
"""The start of a message about a variant of an ablation; a setting may follow."""


def explicit_settings(argv: list[str] | None, kind: type[Command]) -> set[str]:
    """Returns the dotted names of the settings that a command line or its files set explicitly.

    A setting that is set to its default value is included.
    """
    words, _ = _with_config_files(sys.argv[1:] if argv is None else argv)
    parsed = _parser(kind, "").parse_args(words, defaults=False).as_flat()
    return set(vars(parsed)) - {"config", "json"}


def with_settings(config: Own, settings: dict[str, Any]) -> Own:
    """Returns a copy of the config with some settings replaced, each given by its dotted name.

    The new values are checked like those of a command line. A value replaces a whole list or dict.
    For example, `with_settings(config, {"loss.temperature": 2.0})`.

    Raises ValueError for an unknown name or a value that is not allowed.
    """
    kind, known = type(config), flat(config)
    for name in settings:
        if name not in known:
            raise ValueError(f"there is no setting {name!r}{_suggestion(name, kind)}")
    # The others have been checked, and to parse hundreds takes as long as a trial's preparation.
    parser = _parser_of_settings(command_of(kind), tuple(settings))
    with _readable_errors(kind):
        parsed = parser.parse_object(_nested(settings))
        parser.validate(parsed, skip_unset=False)  # parsing accepts null for every setting
    new_config: Own = _replaced(config, parser.instantiate(parsed))
    return _with_precision(new_config)


@lru_cache(maxsize=1000)
def _parser_of_settings(command: str, names: tuple[str, ...]) -> ArgumentParser:
    """Returns a parser of these settings alone; it has no defaults."""
    _read_strictly()
    parser = ArgumentParser(exit_on_error=False)
    for name in names:
        *groups, last = name.split(".")
        kind = reduce(lambda kind, key: get_type_hints(kind)[key], groups, COMMANDS[command])
        parser.add_argument(f"--{name}", type=get_type_hints(kind)[last])
    return parser


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings by dotted name as a mapping for each group."""
    values: dict[str, Any] = {}
    for name, value in settings.items():
        *groups, last = name.split(".")
        reduce(lambda group, key: group.setdefault(key, {}), groups, values)[last] = value
    return values


def _replaced(config: Any, values: Namespace) -> Any:
    """Returns a copy of the settings, or of a group of them, with some replaced and all checked."""
    changes = {
        name: _replaced(group, value) if is_dataclass(group := getattr(config, name)) else value
        for name, value in vars(values).items()
    }
    return replace(config, **changes)


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
    return _with_precision(_build(parser, parsed, kind))


UNKNOWN_SETTING = (
    re.compile(r"unrecognized arguments: --(?P<name>[\w.]+)"),
    re.compile(r"Group '(?P<group>[\w.]+)' does not accept option '(?P<name>[\w.]+)'"),
    re.compile(r"^Option '(?P<name>[\w.]+)' is not accepted"),
)
"""jsonargparse's messages about an unknown option or setting."""
UNKNOWN_WORD = re.compile(r"unrecognized arguments: (?P<word>\S+)")
"""argparse's message about a word that belongs to no option."""
WRONG_VALUE = re.compile(
    r'Parser key "(?P<name>[\w.]+)": '
    r"(?:Expected a .*?\. Got value|Does not validate .* Given value): (?P<value>.*)"
)
"""jsonargparse's message about a value of the wrong type."""
LONGEST_VALUE = 60
"""Number of characters that a message shows of a wrong value."""


@contextmanager
def _readable_errors(kind: type[Command]) -> Iterator[None]:
    """Converts jsonargparse's errors to a ValueError of one line.

    If a setting is unknown, the message ends with the most similar one.
    """
    try:
        yield
    except (ArgumentError, TypeError) as error:
        raise ValueError(_readable(one_line(error), kind)) from error


def _readable(message: str, kind: type[Command]) -> str:
    """Returns a message of jsonargparse in the project's words."""
    unknown = next(
        (match for pattern in UNKNOWN_SETTING if (match := pattern.search(message))), None
    )
    if unknown is not None:
        name = ".".join(part for part in unknown.groups() if part)
        return f"there is no setting {name!r}{_suggestion(name, kind)}"
    if wrong := WRONG_VALUE.match(message):
        value = textwrap.shorten(wrong["value"], LONGEST_VALUE, placeholder=" ...")
        return f"{wrong['name']} is {value!r}; allowed: {_values(wrong['name'], kind)}"
    if word := UNKNOWN_WORD.match(message):
        return f"{word['word']!r} is no setting; allowed: --SETTING VALUE, as --seed 1"
    return message


def _suggestion(name: str, kind: type[Command]) -> str:
    """Returns the end of a message about an unknown setting: the settings that may be meant."""
    command = command_of(kind)
    known = ["config", "json", *sorted(setting_names(command))]
    near = (
        [each for each in known if each.endswith(f".{name}")]
        or [each for each in known if each.startswith(name) and each not in _groups(command)]
        or difflib.get_close_matches(name, known, 1)
    )
    if 0 < len(near) <= MOST_NAMED:
        return f"; did you mean {' or '.join(near)}?"
    return f"; {called_as(command)} --help lists all settings"


LONGEST_PRINTED = 200
"""Maximum number of characters of a printed list or mapping."""
MOST_NAMED = 3
"""Maximum number of settings that a message names."""


class _Parser(ArgumentParser):
    """A command's parser. Settings of other commands in a file are ignored."""

    command = ""

    def format_help(self, formatter: object = None) -> str:
        """Overrides jsonargparse's method."""
        description = self.description or ""
        return help.help_text(called_as(self.command), description, COMMANDS[self.command])

    def parse_string(
        self, content: str, path: str | os.PathLike[str] = "", *args: Any, **more: Any
    ) -> Namespace:
        """Overrides jsonargparse's method, which also parses the files of --config."""
        with suppress(yaml.YAMLError):  # parse_string of the base class reports it
            settings = get_loader("yaml")(content, str(path))
            if isinstance(settings, dict):
                _check_fixed(settings, self.command)
                command_settings = _without_others(_without_removed(settings), self.command)
                content = yaml.safe_dump(command_settings)
        parsed: Namespace = super().parse_string(content, path, *args, **more)
        return parsed


def _parser(kind: type[Command], description: str) -> _Parser:
    return _parser_of(command_of(kind), description)


@cache
def _parser_of(command: str, description: str) -> _Parser:
    _read_strictly()
    parser = _Parser(
        prog=called_as(command), description=description, exit_on_error=False, allow_abbrev=False
    )
    parser.command = command
    parser.add_class_arguments(COMMANDS[command])
    parser.add_argument("--config", action="config")
    parser.add_argument("--json", action="store_true")
    if COMPLETION in os.environ:
        completion.complete_values(parser, COMMANDS[command])
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


@cache
def _groups(command: str) -> frozenset[str]:
    """Returns the names of the groups of a command's settings."""
    names = setting_names(command)
    return frozenset(name.rpartition(".")[0] for name in names) & names


def _values(name: str, kind: type[Command]) -> str:
    """Returns the allowed values of a setting, in words."""
    values = {each.name: each.values for group in help.groups(kind) for each in group.settings}
    words = values.get(name, "a value of another type").split("|")
    return " or ".join(WORDS.get(word, word.strip("{}").replace(",", ", ")) for word in words)


WORDS = {
    "INT": "an integer",
    "NUMBER": "a number",
    "TEXT": "a text",
    "LIST": "a list",
    "MAPPING": "a mapping",
}
"""Names in messages for the types of values in --help."""


def _commands_with(name: str) -> list[str]:
    return [command for command in COMMANDS if name in setting_names(command)]


def _check_fixed(settings: dict[str, Any], command: str) -> None:
    """Raises ValueError if a file contradicts a setting that the command fixes."""
    for name, (value, alternative) in FIXED.get(command, {}).items():
        if settings.get(name, value) != value:
            raise ValueError(
                f"{name} is {settings[name]!r}; allowed for {_short(command)}: {value!r}, "
                f"{alternative}"
            )


def _short(command: str) -> str:
    """Returns the name of a command in messages: `mkd VERB` or `experiments.VERB`, as it was
    called."""
    return called_as(command).removeprefix("python -m ")


def _refuse_options_of_others(argv: list[str], command: str) -> None:
    """Raises ValueError, with the commands that have it, for an option of other commands only."""
    for word in argv:
        name = word.removeprefix("--").split("=")[0]
        if (
            word.startswith("--")
            and name not in setting_names(command)
            and (others := _commands_with(name))
        ):
            raise ValueError(f"--{name} is a setting of {', '.join(map(_short, others))}")


def _without_others(values: dict[str, Any], command: str, prefix: str = "") -> dict[str, Any]:
    """Returns a file's settings without those that only other commands have.

    A setting that no command has is kept, so that the parser rejects it.
    """
    kept: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if _is_group(name) and not isinstance(value, dict):
            raise ValueError(f"{name} is {value!r}; allowed: a mapping of settings")
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


def _build(parser: ArgumentParser, parsed: Namespace, kind: type[Own]) -> Own:
    with _readable_errors(kind):
        parser.validate(parsed, skip_unset=False)  # parsing accepts null for every setting
    values = parser.instantiate(parsed)
    return kind(**{field.name: getattr(values, field.name) for field in fields(kind)})


def _with_precision(config: Own, log: Callable[[str], object] = lambda text: None) -> Own:
    """Returns the settings with each precision `auto` replaced by the faster one here."""
    leaves = _flat(config, "")
    if not any(name.endswith(".precision") and leaves[name] == "auto" for name in leaves):
        return config
    from mkd import precision  # imports torch

    return precision.resolve_precision(config, config.core(), log)


def flat(config: Command) -> dict[str, Any]:
    """Returns all settings by dotted name, for display and logging.

    Settings that are open by default (a learning rate of null) have their resolved values, and
    passwords are hidden. Lists, and dicts without fixed keys, are kept whole.
    """
    return _flat(config.shown(), "")


def overrides(config: Command) -> dict[str, Any]:
    """Returns the settings that were set to something else than their defaults, by dotted name.

    A setting that is open by default, and follows from others, is not among them.
    """
    defaults, values = _flat(type(config)(), ""), _flat(config, "")
    return {name: value for name, value in flat(config).items() if values[name] != defaults[name]}


def brief(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings for one printed line; long lists and mappings are replaced by their size."""
    return {
        name: f"{len(value)} entries"
        if isinstance(value, list | dict) and len(json.dumps(value)) > LONGEST_PRINTED
        else value
        for name, value in settings.items()
    }


def to_yaml(config: Command) -> str:
    """Returns the whole config as YAML, which --config reads back to equivalent settings.

    An open learning rate is written as its resolved number. Passwords are left out.
    """
    return yaml.safe_dump(asdict(config.shown()), sort_keys=False)


def main(job: str, description: str | None, complete: str = "") -> int:
    """Runs the command whose work is the function `job`, by its name as `MODULE:FUNCTION`.

    The module is imported after the settings are read and printed, because that takes seconds.
    Returns the exit code; see `entry`. description: the module's docstring. complete: the name of
    the function that is `complete` in `entry`, or "".
    """
    command = job.partition(":")[0].rpartition(".")[2]

    def work(config: Command) -> object:
        return pkgutil.resolve_name(job)(config)

    def completed(config: Command, explicit: set[str]) -> tuple[Command, str]:
        result: tuple[Command, str] = pkgutil.resolve_name(complete)(config, explicit)
        return result

    code = entry(
        work,
        description or "",
        COMMANDS[command],
        complete=completed if complete else None,
        modules=(*LIBRARIES, job.partition(":")[0]),
    )
    gc.freeze()  # else the process takes seconds to end, as it visits all that was imported
    return code


def _importing(modules: Sequence[str]) -> AbstractContextManager[None]:
    """Returns a context that imports modules; the first process shows a bar until it ends."""
    from mkd import progress  # imports numpy, which --help does not need

    if _is_first_process():
        return progress.importing(modules)
    for module in modules:
        import_module(module)
    return nullcontext()


def entry(
    job: Callable[[Own], object],
    description: str,
    kind: type[Own],
    argv: list[str] | None = None,
    complete: Callable[[Own, set[str]], tuple[Own, str]] | None = None,
    modules: Sequence[str] = (),
) -> int:
    """Runs a command: reads its settings, prints those that differ from the defaults, calls `job`.

    complete: fills in settings that follow from others; it gets the settings and the names of the
    explicit ones, and returns the settings and a line for the user, or "".
    modules: those that take seconds to import and that `job` needs.

    Returns the exit code: 0, 2 after an error of the user (printed in one line), or 130 after
    Ctrl-C.
    """
    end_on_signals(_handle_sigterm, SystemExit)
    escape_unprintable()
    tell: Callable[[str], object] = print if _is_first_process() else lambda text: None
    try:
        with printing.json_only("--json" in (sys.argv[1:] if argv is None else argv)):
            check_working_folder()
            empty_runs.refuse_stored_passwords(sys.argv[1:] if argv is None else argv)
            config = _read(argv, description, kind)
            _check_encodable(config)
            tell(f"settings that differ from the defaults: {json.dumps(brief(overrides(config)))}")
            sys.stdout.flush()
            if isinstance(data := getattr(config, "data", None), DataConfig):
                origins.check_file(data)  # now: the imports of the job take seconds
            _check_checkpoints(config)
            kept: list[str] = []  # a line beside a bar would not be read
            with _importing(modules):
                if complete is not None:
                    config, line = complete(config, explicit_settings(argv, kind))
                    kept += [line] if line else []
                config = _with_precision(config, kept.append)
                _silence_transformers()
            for line in kept:
                tell(line)
            with (
                full_disk_errors(_written(config)),
                symlink_loops_named(),
                own_temporary_folder(),
                memory_errors(),
            ):
                job(config)
    except (ValueError, OSError) as error:
        message = one_line(error)
        message = _place_of(argv, message) + message
        print(f"error: {message}", file=sys.stderr)
        empty_runs.discard_own_run(message)
        return 2
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 130
    except SystemExit as end:
        if end.code == SIGTERM_CODE:
            print(STOPPED, file=sys.stderr)
        raise
    return 0


def _check_encodable(config: Command) -> None:
    """Raises ValueError for a setting that no database can hold, such as a path in Latin-1."""
    for name, value in flat(config).items():
        try:
            str(value).encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} is {value!r}; allowed: text in UTF-8") from None


def _written(config: Command) -> list[Path]:
    """Returns the folders that a command writes to, as far as they are known."""
    database = os.environ.get("MLFLOW_TRACKING_URI", "").partition("sqlite:///")[2]
    files = [getattr(config, "cache", ""), str(Path(database).parent) if database else ""]
    return [Path(), Path("mlruns"), *(Path(each) for each in files if each)]


def _is_first_process() -> bool:
    """As mkd.processes.is_first, without its imports."""
    return int(os.environ.get("RANK", "0")) == 0


def _silence_transformers() -> None:
    """Turns off the messages and progress bars of transformers: harmless, or an error of ours."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def _handle_sigterm(number: int, frame: object) -> None:
    """Handles SIGTERM: raises SystemExit, so that open runs and files are closed."""
    raise SystemExit(SIGTERM_CODE)


def _flat(settings: Any, prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, plain in asdict(settings).items():
        value = getattr(settings, name)
        inner = _flat(value, f"{prefix}{name}.") if is_dataclass(value) else {prefix + name: plain}
        values |= inner
    return values
