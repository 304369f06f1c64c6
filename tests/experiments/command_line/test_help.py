"""The text of --help for each setting."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from experiments.command_line.help import groups, help_text, values
from experiments.settings import COMMANDS, COMMON, DistillSettings, FinetuneSettings


@dataclass(frozen=True)
class Inner:
    """Inner settings.

    More about them.
    """

    rate: float | None = None
    """A rate, in
    parts.
    """


@dataclass(frozen=True)
class Outer:
    """Outer settings."""

    seed: int = 3
    kind: Literal["a", "b"] = "a"
    """A kind."""
    words: list[str] = field(default_factory=list)
    """Words."""
    inner: Inner = field(default_factory=Inner)


def test_the_whole_help_of_a_small_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    shown = help_text("mkd outer", "Does it.\n\n    mkd outer\n", Outer)
    usage, description, example, options, common, run, inner = shown.split("\n\n")
    assert usage == "usage: mkd outer [--config FILE] [--SETTING VALUE] ..."
    assert (description, example) == ("Does it.", "    mkd outer")
    assert options.startswith("options:\n  --help\n        Shows this text; so does -h.\n")
    # `seed` has no docstring here, so that of Config is shown.
    assert common == (
        "common settings:\n"
        "  --seed INT\n"
        "        Seed of all random numbers except the rows of the demo suite\n"
        "        (data.demo.seed). Default: 3."
    )
    assert run == (
        "the run:\n"
        "  --kind {a,b}\n"
        "        A kind. Default: a.\n"
        "  --words LIST\n"
        "        Words. Default: []."
    )
    assert inner == (
        "inner: Inner settings:\n"
        "  --inner.rate NUMBER|null\n"
        "        A rate, in parts. Default: null.\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_has_a_meaning_and_its_allowed_values(command: str) -> None:
    settings = [each for group in groups(COMMANDS[command]) for each in group.settings]
    assert settings
    assert [each.name for each in settings if not each.meaning or not each.values] == []


def test_required_settings_come_first() -> None:
    shown = help_text("", "", FinetuneSettings)
    assert shown.index("--finetune.student ") < shown.index("--data.path ") < shown.index("seed")


def test_the_common_settings_exist() -> None:
    known = {
        each.name for kind in COMMANDS.values() for group in groups(kind) for each in group.settings
    }
    assert len(set(COMMON)) == len(COMMON) and set(COMMON) <= known


def test_each_setting_is_shown_once() -> None:
    shown = help_text("", "", DistillSettings).splitlines()
    names = [line.split()[0] for line in shown if line.startswith("  --")]
    assert len(set(names)) == len(names)


def test_the_allowed_values_of_types() -> None:
    assert values(bool) == "{true,false}"
    assert values(dict[str, list[str]]) == "MAPPING"
    assert values(str | None) == "TEXT|null"
    assert values(Literal["", "a"]) == "{a}", "that it may be empty is told as its default"
