"""Each setting of each command with wrong values of its type."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from experiments.settings import COMMANDS
from tests.bench.wrong.case import FUNCTIONS, Case

NUMBERS = ["-1", "1e18", "1000000000000000000", "nan", ".inf", "abc", "[]", "{}", "1e400", "true"]
TEXTS = ["/nowhere/at/all", "x" * 300, "y" * 5000, "/dev/null", "/etc/passwd", "../..", "a\nb",
         "$(id)", "'; drop table runs; --", "\u202eabc", "<b>", "[", "damaged"]  # fmt: skip
LISTS = ["3", '["nope"]', '["a", "a"]', "{", '[""]', "[null]", "[[]]", '["' + "z" * 3000 + '"]']
DAMAGE = {
    "config.json": b"[]",
    "model.safetensors": b"version https://git-lfs.github.com/spec/v1\n",
    "tokenizer.json": b"{}",
}


def cases() -> Iterator[Case]:
    """Yields each setting with three wrong values; they vary so that all values are used."""
    for command in FUNCTIONS:
        for name, value in _settings(COMMANDS[command](), ""):
            if type(value) in (int, float):
                wrong = NUMBERS
            else:
                wrong = TEXTS if isinstance(value, str) else LISTS
            start = (len(command) + len(name)) % len(wrong)
            for step in range(3):
                text = wrong[(start + step * 3) % len(wrong)]
                yield Case(command, f"{name}={text}", [f"--{name}={text}"], _damaged)


def _settings(settings: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from _settings(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


def _damaged(folder: Path) -> None:
    """Writes the folder `damaged`, which some of the values refer to."""
    (folder / "damaged").mkdir()
    for name, content in DAMAGE.items():
        (folder / "damaged" / name).write_bytes(content)
