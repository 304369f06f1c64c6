"""Checks that the code allows what README.md and docs/ tell a reader to type, and that links work.

Every command of a shell block is parsed; tests/docs/test_pages.py runs those of README.md and
docs/how-to/. Placeholders are words in capitals, such as ENCODER.
"""

import ast
import importlib
import inspect
import re
import tomllib
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from analysis import arguments
from experiments import cli, serve
from experiments.settings import COMMANDS, DistillSettings
from mkd import __main__ as runtime
from mkd.config import Config
from mkd.shell import VERBS
from mkd.tasks import task_file
from tests.support.blocks import README, ROOT, SITE, Block, blocks_of, commands, project_command

TYPED = [README, *sorted(SITE.rglob("*.md"))]
"""The documents with blocks that a reader may type."""
DOCUMENTS = [*TYPED, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
MOST_WORDS = 1500
"""Maximum number of words in README.md."""
OURS = ("mkd", "experiments", "analysis", "tests")
NO_COMMANDS = (
    "__init__",
    "cli",
    "notebook",
    "notebook_search",
    "printing",
    "settings",
    "signals",
    "shipped_students",
)
"""Files of experiments/ that are not commands."""
BLOCKS = [block for document in TYPED for block in blocks_of(document)]


def blocks_in(*languages: str) -> list[Any]:
    """Returns the blocks in these languages as parameters of a test."""
    return [pytest.param(block, id=block.name) for block in BLOCKS if block.language in languages]


def text_alone(document: Path) -> str:
    """Returns the document without its blocks and inline code."""
    return re.sub(
        r"`[^`\n]*`", "", re.sub(r"(?ms)^ *```.*?^ *```$", "", document.read_text("utf-8"))
    )


def headings(document: Path) -> set[str]:
    """Returns the anchors of the headings, like those of MkDocs and GitHub for plain words."""
    lines = re.sub(r"(?ms)^ *```.*?^ *```$", "", document.read_text("utf-8"))
    matches = re.findall(r"(?m)^#+ +(.+)$", lines)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in matches
    }


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents the measurement of bfloat16's speed when a config is parsed."""
    monkeypatch.setattr("mkd.precision.bfloat16_speedup", lambda root, device: 1.0)


def test_readme_is_short() -> None:
    assert len(README.read_text("utf-8").split()) <= MOST_WORDS


def test_there_are_blocks_of_each_language() -> None:
    assert {"sh", "python", "yaml", "json"} <= {block.language for block in BLOCKS}
    assert {block.language for block in BLOCKS} <= {"sh", "python", "yaml", "json", ""}


@pytest.mark.parametrize(
    "document", [pytest.param(each, id=str(each.relative_to(ROOT))) for each in DOCUMENTS]
)
def test_links_and_their_anchors_exist(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", text_alone(document))
    for link in links:
        if re.match(r"https?://", link):
            continue
        place, _, anchor = link.partition("#")
        target = (document.parent / place).resolve() if place else document
        assert target.exists(), f"{document.name} links to {link}"
        assert not anchor or anchor in headings(target), (
            f"{document.name} links to {link}: allowed are {sorted(headings(target))}"
        )


@pytest.mark.parametrize(
    "document", [pytest.param(each, id=str(each.relative_to(ROOT))) for each in DOCUMENTS]
)
def test_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text("utf-8")
    named = set(re.findall(rf"(?<![\w/.-])((?:{'|'.join(OURS)}|docs)/[\w/.-]*[\w/])", text))
    missing = sorted(
        name for name in named if not (ROOT / name).exists() and Path(name).stem != "NAME"
    )
    assert missing == []


@pytest.mark.parametrize(
    "document", [pytest.param(each, id=str(each.relative_to(ROOT))) for each in DOCUMENTS]
)
def test_tables_are_complete(document: Path) -> None:
    tables = re.findall(r"(?m)(?:^\|.*\n)+", text_alone(document))
    # The second line of a table is its separator.
    assert all(re.match(r".*\n\|[ :|-]+\|\n", table) for table in tables)


@pytest.mark.parametrize("block", blocks_in("sh"))
def test_commands_are_allowed(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "config.yaml").write_text(
        cli.to_yaml(DistillSettings())
    )  # like the config of a run
    lines = commands(block)
    assert lines
    for words in lines:
        check_command(words)


def check_command(words: list[str]) -> None:
    """Raises an error if a command of this project would be refused before it reads any data."""
    while re.fullmatch(r"\w+=\S*", words[0]):
        words = words[1:]
    program = words[0]
    if program == "make":
        assert re.search(rf"(?m)^{words[1]}:", (ROOT / "Makefile").read_text()), words
    elif program == "mlflow" and words[1:3] == ["run", "."]:
        check_command(project_command(words[3:]))
    elif "-m" in words and program in ("python", "accelerate"):
        flag = words.index("-m")
        check_module(words[flag + 1], words[flag + 2 :])
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
            f"a command that no test checks: {words}"
        )


def check_module(module: str, argv: list[str]) -> None:
    """Raises an error if the options are not those of `python -m MODULE`."""
    if module == "mkd":
        # An unknown option would raise an error.
        assert runtime.main(argv) == 2, "FOLDER does not exist"
    elif module == "analysis.report":
        arguments.parse(argv, "")
    elif module == "experiments.serve":
        serve.parse(argv)
    elif module.startswith("tests.bench."):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
    else:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file() and module.startswith(
            "experiments."
        ), module
        kind = COMMANDS[module.removeprefix("experiments.")]
        cli.parse(argv, "", kind)


@pytest.mark.parametrize("block", blocks_in("yaml"))
def test_settings_and_tasks_are_allowed(block: Block, tmp_path: Path) -> None:
    (tmp_path / "block.yaml").write_text(block.text)
    keys = set(yaml.safe_load(block.text))
    if kinds := [kind for command, kind in COMMANDS.items() if keys <= cli.setting_names(command)]:
        cli.parse(["--config", str(tmp_path / "block.yaml")], "", kinds[0])
    else:
        assert task_file.read_task_file(tmp_path / "block.yaml")


@pytest.mark.parametrize("block", blocks_in("python"))
def test_names_in_python_blocks_exist(block: Block) -> None:
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
    """Returns the value of a dotted name of this project, or None for other names. Raises
    AttributeError if there is no such name."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := resolved(node.value, known)) is not None:
        return getattr(owner, node.attr)
    return None


def test_every_section_of_the_settings_is_in_the_reference() -> None:
    page = (SITE / "reference" / "settings.md").read_text("utf-8")
    named = re.findall(r"::: ((?:mkd\.config\.\w+|experiments\.settings)\.\w+)", page)
    kinds: list[type] = [Config, *COMMANDS.values()]
    assert sorted(named) == sorted({name for kind in kinds for name in sections(kind)})


def sections(section: type) -> set[str]:
    """Returns the names of a dataclass of settings and all nested ones, with their modules."""
    names = {f"{section.__module__}.{section.__name__}"}
    for hint in get_type_hints(section).values():
        for kind in (hint, *get_args(hint)):
            if is_dataclass(kind):
                assert isinstance(kind, type)
                names |= sections(kind)
    return names


def test_every_entry_point_is_in_the_reference() -> None:
    page = (SITE / "reference" / "command-line.md").read_text("utf-8")
    commands_of_experiments = {
        f"experiments.{file.stem}"
        for file in (ROOT / "experiments").glob("*.py")
        if file.stem not in NO_COMMANDS
    }
    assert commands_of_experiments
    assert (
        set(re.findall(r"`python -m (experiments\.\w+)`", page))
        == commands_of_experiments
        == set(re.findall(r"::: (experiments\.\w+)", page))
    )
