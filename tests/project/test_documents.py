"""What README.md and docs/ tell a reader to type is allowed by the code as it is, and what they
link to is there.

Every command of a shell block is parsed and none is run; README.md's example of own data and that
in Python are run on a few rows. Placeholders are words in capitals, such as ENCODER.
"""

import ast
import csv
import importlib
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import pytest
import yaml

import mkd
from analysis import arguments
from experiments import cli, notebook, serve
from experiments.settings import COMMANDS, DistillSettings
from mkd import __main__ as runtime
from mkd.config import Config
from mkd.shell import VERBS
from mkd.tasks import task_file
from tests.support.entry import command, outcome
from tests.support.tiny import MINILM

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "docs"
README = ROOT / "README.md"
TYPED = [README, *sorted(SITE.rglob("*.md"))]
"""The documents whose blocks a reader may type."""
DOCUMENTS = [*TYPED, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "RESULTS.md"]
MOST_WORDS = 1500
"""Of README.md."""
OURS = ("mkd", "experiments", "analysis", "tests")
HUB = "sentence-transformers/all-MiniLM-L6-v2"
FEW = {
    "teacher.train.steps": 4, "train.steps": 4, "teacher.train.eval_every": 4,
    "train.eval_every": 4, "student.hidden": 16, "data.max_length": 16, "speed.length": 16,
    "speed.seconds": 0.1, "speed.threads": [1], "threads": 1, "export.backends": [],
    "baseline": False,
}  # fmt: skip
"""Settings with which an example of README.md takes seconds."""


NO_COMMANDS = ("__init__", "cli", "notebook", "printing", "settings", "signals", "slips")
"""Files beside those of the commands."""


class Block(NamedTuple):
    """A fenced block of a document. line: of its fence."""

    document: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks_of(document: Path) -> Iterator[Block]:
    """The fenced blocks, also those that are indented."""
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


BLOCKS = [block for document in TYPED for block in blocks_of(document)]


def of(*languages: str) -> list[Any]:
    """The blocks in these languages, as parameters of a test."""
    return [pytest.param(block, id=block.name) for block in BLOCKS if block.language in languages]


def commands(block: Block) -> list[list[str]]:
    """The commands of a shell block as words, without comments and what goes into or comes out of
    files."""
    lines = block.text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [list(takewhile(lambda word: word not in ("<", ">"), found)) for found in words if found]


def text_alone(document: Path) -> str:
    """The document without its blocks and its code within lines."""
    return re.sub(
        r"`[^`\n]*`", "", re.sub(r"(?ms)^ *```.*?^ *```$", "", document.read_text("utf-8"))
    )


def headings(document: Path) -> set[str]:
    """The anchors of its headings, as MkDocs and the pages of a forge make them of plain words."""
    lines = re.sub(r"(?ms)^ *```.*?^ *```$", "", document.read_text("utf-8"))
    found = re.findall(r"(?m)^#+ +(.+)$", lines)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in found}


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configs that leave the precision to the machine: parsing would time it."""
    monkeypatch.setattr("mkd.precision.bfloat16_speedup", lambda root, device: 1.0)


def test_readme_is_short() -> None:
    assert len(README.read_text("utf-8").split()) <= MOST_WORDS


def test_there_are_blocks_of_each_language() -> None:
    assert {"sh", "python", "yaml", "json"} <= {block.language for block in BLOCKS}
    assert {block.language for block in BLOCKS} <= {"sh", "python", "yaml", "json", ""}


@pytest.mark.parametrize(
    "document", [pytest.param(each, id=str(each.relative_to(ROOT))) for each in DOCUMENTS]
)
def test_links_and_their_anchors_are_there(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", text_alone(document))
    for link in links:
        if re.match(r"https?://", link):
            continue
        place, _, anchor = link.partition("#")
        target = (document.parent / place).resolve() if place else document
        assert target.exists(), f"{document.name} links to {link}"
        read = ROOT / "RESULTS.md" if target == SITE / "results.md" else target
        assert not anchor or anchor in headings(read), (
            f"{document.name} links to {link}: allowed are {sorted(headings(read))}"
        )


@pytest.mark.parametrize(
    "document", [pytest.param(each, id=str(each.relative_to(ROOT))) for each in DOCUMENTS]
)
def test_files_that_are_named_are_there(document: Path) -> None:
    text = document.read_text("utf-8")
    named = set(re.findall(rf"(?<![\w/.-])((?:{'|'.join(OURS)}|docs)/[\w/.-]*[\w/])", text))
    missing = sorted(
        name for name in named if not (ROOT / name).exists() and Path(name).stem != "NAME"
    )
    assert missing == []


@pytest.mark.parametrize(
    "document", [pytest.param(each, id=str(each.relative_to(ROOT))) for each in DOCUMENTS]
)
def test_tables_are_whole(document: Path) -> None:
    tables = re.findall(r"(?m)(?:^\|.*\n)+", text_alone(document))
    # A table's second line is its rule.
    assert all(re.match(r".*\n\|[ :|-]+\|\n", table) for table in tables)


@pytest.mark.parametrize("block", of("sh"))
def test_commands_are_allowed(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "config.yaml").write_text(cli.to_yaml(DistillSettings()))  # as that of a run
    found = commands(block)
    assert found
    for words in found:
        check_command(words)


def check_command(words: list[str]) -> None:
    """Raises where a command of ours would be refused for what it is, before it has looked at any
    data."""
    while re.fullmatch(r"\w+=\S*", words[0]):
        words = words[1:]
    program = words[0]
    if program == "make":
        assert re.search(rf"(?m)^{words[1]}:", (ROOT / "Makefile").read_text()), words
    elif program == "mlflow" and words[1:3] == ["run", "."]:
        check_project(words[3:])
    elif "-m" in words and program in ("python", "accelerate"):
        at = words.index("-m")
        check_module(words[at + 1], words[at + 2 :])
    elif program == "python":
        assert (ROOT / words[1]).is_file(), words
    elif program == "pip":
        extras = re.findall(r"\[([\w,]+)\]", " ".join(words))
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
            "optional-dependencies"
        ]
        assert all(extra in known for each in extras for extra in each.split(",")), words
    elif program == "mkd":
        assert words[1] in VERBS, words
        check_module(VERBS[words[1]].module, words[2:])
    elif program == ".ci/run":
        assert (ROOT / program).is_file()
    else:
        assert program in ("source", "export", "curl", "hf", "mlflow"), (
            f"a command that no test looks at: {words}"
        )


def check_module(module: str, argv: list[str]) -> None:
    """The options are those of `python -m MODULE`."""
    if module == "mkd":
        assert runtime.main(argv) == 2, "FOLDER is not there"  # an unknown option would have raised
    elif module == "analysis.report":
        arguments.parse(argv, "")
    elif module == "experiments.serve":
        serve.parse(argv)
    else:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file() and module.startswith(
            "experiments."
        ), module
        kind = COMMANDS[module.removeprefix("experiments.")]
        cli.parse(argv, "", kind)


def check_project(words: list[str]) -> None:
    """`mlflow run .`: the entry point is one of MLproject's, and what it makes of the parameters is
    a command that is allowed."""
    entry_points = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    flags = {"-e": ["main"], "-P": [], "--env-manager": [], "--experiment-name": [], "--run-id": []}
    for name, value in zip(words[::2], words[1::2], strict=True):
        assert name in flags, words
        flags[name] = [value] if name == "-e" else [*flags[name], value]
    entry_point = entry_points[flags["-e"][0]]
    given = dict(each.split("=", 1) for each in flags["-P"])
    declared = {
        name: about.get("default", "") for name, about in entry_point.get("parameters", {}).items()
    }
    line = entry_point["command"].format(
        **{name: shlex.quote(str(given.get(name, declared[name]))) for name in declared}
    )
    rest = [
        part
        for name, value in given.items()
        if name not in declared
        for part in (f"--{name}", value)
    ]
    check_command([*shlex.split(line), *rest])


@pytest.mark.parametrize("block", of("yaml"))
def test_settings_and_tasks_are_allowed(block: Block, tmp_path: Path) -> None:
    (tmp_path / "block.yaml").write_text(block.text)
    given = set(yaml.safe_load(block.text))
    if kinds := [kind for command, kind in COMMANDS.items() if given <= cli.setting_names(command)]:
        cli.parse(["--config", str(tmp_path / "block.yaml")], "", kinds[0])
    else:
        assert task_file.read_task_file(tmp_path / "block.yaml")


@pytest.mark.parametrize("block", of("python"))
def test_python_names_what_is_there(block: Block) -> None:
    tree = ast.parse(block.text, block.name)
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in OURS:
                    assert alias.asname is None
                    importlib.import_module(alias.name)
                    known[alias.name.split(".")[0]] = importlib.import_module(
                        alias.name.split(".")[0]
                    )
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
            module = importlib.import_module(node.module)
            known |= {
                alias.asname or alias.name: getattr(module, alias.name) for alias in node.names
            }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            resolved(node, known)
        elif isinstance(node, ast.Call) and (function := resolved(node.func, known)) is not None:
            inspect.signature(function).bind(
                *node.args, **{each.arg or "": each.value for each in node.keywords}
            )


def resolved(node: ast.AST, known: dict[str, Any]) -> Any:
    """What a dotted name of ours stands for; None for all else. Raises AttributeError where there
    is no such name."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := resolved(node.value, known)) is not None:
        return getattr(owner, node.attr)
    return None


def test_every_section_of_the_settings_is_in_the_reference() -> None:
    page = (SITE / "reference" / "settings.md").read_text("utf-8")
    named = re.findall(r"::: ((?:mkd\.config|experiments\.settings)\.\w+)", page)
    kinds: list[type] = [Config, *COMMANDS.values()]
    assert sorted(named) == sorted({name for kind in kinds for name in sections(kind)})


def sections(section: type) -> set[str]:
    """Names of a dataclass of settings and of all below it, with their modules."""
    found = {f"{section.__module__}.{section.__name__}"}
    for hint in get_type_hints(section).values():
        for part in (hint, *get_args(hint)):
            if is_dataclass(part):
                assert isinstance(part, type)
                found |= sections(part)
    return found


def test_every_entry_point_is_in_the_reference() -> None:
    page = (SITE / "reference" / "command-line.md").read_text("utf-8")
    there = {
        f"experiments.{file.stem}"
        for file in (ROOT / "experiments").glob("*.py")
        if file.stem not in NO_COMMANDS
    }
    assert there
    assert (
        set(re.findall(r"`python -m (experiments\.\w+)`", page))
        == there
        == set(re.findall(r"::: (experiments\.\w+)", page))
    )


def example(language: str) -> str:
    """README.md's one block in a language that names its file of reviews."""
    (text,) = [
        block.text
        for block in blocks_of(README)
        if block.language == language and "reviews" in block.text
    ]
    return text


def write_reviews(folder: Path) -> None:
    """The YAML file of README.md, and files as it describes them."""
    (folder / "reviews.yaml").write_text(example("yaml"))
    for name, num in (("train.csv", 60), ("dev.csv", 20)):
        with (folder / name).open("w", newline="") as file:
            labels = [("bad", "negative"), ("good", "positive")]
            rows = [
                [
                    f"a {labels[i % 2][0]} film number {i}",
                    labels[i % 2][1] if i % 5 or name == "dev.csv" else "",
                ]
                for i in range(num)
            ]
            csv.writer(file).writerows([["review", "verdict"], *rows])


def test_the_readme_example_of_own_data_runs(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    write_reviews(folder)
    (folder / "train.csv").rename(folder / "tickets.csv")
    (block,) = [
        block
        for block in blocks_of(README)
        if block.language == "sh" and "tickets.csv" in block.text
    ]
    (words,) = [words for words in commands(block) if words[:2] == ["mkd", "distill"]]
    argv = [str(MINILM) if word == HUB else word for word in words[2:]]
    assert str(MINILM) in argv
    few = [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in FEW.items()
    ]
    done = command(folder, words[1], *argv, *few)
    assert "quality/tickets/macro_f1" in outcome(done)["metrics"]


def test_the_readme_example_in_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_reviews(tmp_path)
    monkeypatch.chdir(tmp_path)
    small = {"student.embedding": 16, "export.backends": ["onnx"], "export.max_loss": 100}
    monkeypatch.setattr(notebook, "distil", partial(notebook.distil, settings=FEW | small))
    exec(compile(example("python").replace(HUB, str(MINILM)), str(README), "exec"), {})
    printed = capsys.readouterr().out
    assert "hard labels" in printed
    assert re.search(r"label='(negative|positive)'", printed)
    answers = mkd.Student.load("reviews-student").predict(["a good film"], "task")
    assert answers[0].error is None
