"""The fenced blocks of README.md and docs/, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "docs"
README = ROOT / "README.md"


class Block(NamedTuple):
    """A fenced block of a document. line: the line number of its opening fence."""

    document: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks_of(document: Path) -> Iterator[Block]:
    """The fenced blocks of a document, indented ones included."""
    lines = document.read_text("utf-8").splitlines()
    opened: tuple[int, str, str] | None = None
    body: list[str] = []
    for number, line in enumerate(lines, 1):
        fence = re.fullmatch(r"( *)```(\w*)", line)
        if fence and opened is None:
            opened, body = (number, fence[1], fence[2]), []
        elif fence and opened is not None:
            yield Block(
                document,
                opened[0],
                opened[2],
                "\n".join(text.removeprefix(opened[1]) for text in body) + "\n",
            )
            opened = None
        elif opened is not None:
            body.append(line)
    assert opened is None, f"{document}: the block of line {opened and opened[0]} does not end"


def lines(block: Block) -> list[list[str]]:
    """The words of each line of a shell block, without comments."""
    text = block.text.replace("\\\n", " ").splitlines()
    return [words for line in text if (words := shlex.split(line, comments=True))]


def commands(block: Block) -> list[list[str]]:
    """The commands of a shell block as words, without redirections."""
    return [without_redirections(words) for words in lines(block)]


def without_redirections(words: list[str]) -> list[str]:
    return list(takewhile(lambda word: word not in ("<", ">"), words))


def project_command(words: list[str]) -> list[str]:
    """The command that `mlflow run .` builds from an entry point of MLproject and its options."""
    entry_points = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    flags = {"-e": ["main"], "-P": [], "--env-manager": [], "--experiment-name": [], "--run-id": []}
    for name, value in zip(words[::2], words[1::2], strict=True):
        assert name in flags, words
        flags[name] = [value] if name == "-e" else [*flags[name], value]
    entry_point = entry_points[flags["-e"][0]]
    parameters = dict(each.split("=", 1) for each in flags["-P"])
    declared = {
        name: about.get("default", "") for name, about in entry_point.get("parameters", {}).items()
    }
    line = entry_point["command"].format(
        **{name: shlex.quote(str(parameters.get(name, declared[name]))) for name in declared}
    )
    rest = [(f"--{name}", value) for name, value in parameters.items() if name not in declared]
    return [*shlex.split(line), *(word for option in rest for word in option)]
