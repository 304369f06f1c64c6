"""Imports point down only, also inside functions: analysis and experiments import mkd, and each
room those before it."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from mkd.shell import VERBS

ROOT = Path(__file__).parents[2]
HERE = "tests/project/test_layers.py"
PACKAGES = ("mkd", "experiments", "analysis")

FORBIDDEN = {
    "mkd": {"experiments", "analysis", "mlflow", "optuna", "matplotlib"},
    "experiments": {"analysis"},
    "analysis": {"experiments"},
}
"""What the modules of a package must not import."""

SHARED = "analysis.presentation"
"""The one package of analysis that experiments may import: tables, colours and figures."""

MLFLOW = {
    "experiments.empty_runs",
    "experiments.tracking",
    "experiments.on_spark",
    "experiments.serve",
    "analysis.runs.runs",
    "analysis.report",
}
"""The only modules and packages that may import mlflow: the writers of runs, the model that is
logged as code, its use on Spark, the search's engine there, the reader of runs, and the writer of
reports."""

COMMANDS = sorted(verb.module for verb in VERBS.values() if verb.module.startswith("experiments."))
"""The commands of experiments: each imports what comes before all of them."""
ORDER = {
    "mkd": ["mkd.names", "mkd.config", "mkd.rates", "mkd.result", "mkd.repeat",
            "mkd.progress",
            "mkd.storage", "mkd.tasks",
            "mkd.processes", "mkd.runtime", "mkd.shell", "mkd.__main__", "mkd.selection",
            "mkd.tokenization", "mkd.students", "mkd.evaluation", "mkd.training",
            "mkd.precision", "mkd.augmentation", "mkd.teachers", "mkd.pretraining", "mkd.export",
            "mkd.student_result", "mkd.pipeline", "mkd.runs"],
    "experiments": ["experiments.empty_runs", "experiments.signals", "experiments.settings",
                    "experiments.command_line", "experiments.cli",
                    "experiments.tracking", "experiments.studies", "experiments.on_spark",
                    "experiments.benchmark", *COMMANDS, "experiments.notebook"],
    "analysis": ["analysis.presentation", "analysis.runs", "analysis.statistics",
                 "analysis.findings", "analysis.charts", "analysis.page", "analysis.tables",
                 "analysis.arguments", "analysis.report"],
}  # fmt: skip
"""The folders and files of each package, in the order in which data flows through them: each
may import only those before it. Within a folder modules import each other as they like, but in
no circle."""


def modules(root: Path) -> dict[str, Path]:
    """Every module's dotted name and its file."""
    files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    return {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for file in files
    }


def imports(name: str, known: dict[str, Path]) -> set[str]:
    """Dotted names that a module imports; `from a import b` is a.b where that is a module of ours,
    else a."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(known[name].read_text(), str(known[name]))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            is_package = known[name].name == "__init__.py"
            parents = (
                name.split(".")[: len(name.split(".")) - node.level + is_package]
                if node.level
                else []
            )
            base = ".".join([*parents, *([node.module] if node.module else [])])
            found.update(
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base
                for alias in node.names
            )
    return found


def room(name: str) -> str:
    """The folder or file of its package that a module is in; of a package itself its name."""
    return ".".join(name.split(".")[:2])


def violations(root: Path) -> list[str]:
    """One line for every import that points up or sideways, and for every module whose room has no
    place in ORDER."""
    known = modules(root)
    found = []
    for name in known:
        package, own = name.split(".")[0], room(name)
        order = ORDER[package]
        if name != package and own not in order:
            found.append(
                f"{name}: {own} has no place in ORDER of {HERE}: put it after all that it imports"
            )
            continue
        for target in sorted(imports(name, known)):
            top = target.split(".")[0]
            if top in FORBIDDEN[package] and room(target) != SHARED:
                found.append(f"{name} imports {target}: {package} must not import {top}")
            elif top == "mlflow" and not MLFLOW & {name, own}:
                found.append(f"{name} imports {target}: only {' and '.join(sorted(MLFLOW))} may")
            elif top == package and target != package and room(target) != own:
                before = [] if name == package else order[: order.index(own)]
                if room(target) not in before:
                    found.append(
                        f"{name} imports {target}, which does not come before it in ORDER of {HERE}"
                    )
    return found


def circle(root: Path) -> list[str]:
    """Modules that import one another in a circle; empty: there is none."""
    known = modules(root)
    try:
        TopologicalSorter(
            {name: imports(name, known) & known.keys() - {name} for name in known}
        ).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_imports_point_down_only() -> None:
    names = modules(ROOT)
    assert {"mkd.config", "mkd.pipeline", "experiments.distill", "analysis.report"} <= names.keys()
    assert violations(ROOT) == []


def test_no_modules_import_one_another_in_a_circle(tmp_path: Path) -> None:
    assert circle(ROOT) == []
    (tmp_path / "mkd" / "students").mkdir(parents=True)
    (tmp_path / "mkd" / "students" / "bag.py").write_text(
        "def f():\n    from mkd.students.heads import Heads"
    )
    (tmp_path / "mkd" / "students" / "heads.py").write_text("from mkd.students import bag")
    assert set(circle(tmp_path)) == {"mkd.students.bag", "mkd.students.heads"}


def test_every_room_of_the_order_is_there() -> None:
    rooms = {room(name) for name in modules(ROOT)} - set(PACKAGES)
    assert sorted(rooms) == sorted(name for order in ORDER.values() for name in order)


@pytest.mark.parametrize(
    ("file", "code", "complaint"),
    [
        ("mkd/config.py", "def f():\n    import mlflow.pyfunc",
         "mkd.config imports mlflow.pyfunc: mkd must not import mlflow"),
        ("mkd/config.py", "from experiments import cli",
         "mkd.config imports experiments: mkd must not import experiments"),
        ("mkd/config.py", "import mkd.pipeline",
         "mkd.config imports mkd.pipeline, which does not come before it"),
        ("mkd/config.py", "from mkd import pipeline",
         "mkd.config imports mkd.pipeline, which does not come before it"),
        ("mkd/config.py", "from .pipeline import run",
         "mkd.config imports mkd.pipeline, which does not come before it"),
        ("mkd/__init__.py", "from . import config",
         "mkd imports mkd.config, which does not come before it"),
        ("mkd/students/bilstm.py", "from .. import pipeline",
         "mkd.students.bilstm imports mkd.pipeline, which does not"),
        ("mkd/other.py", "", "mkd.other: mkd.other has no place in ORDER"),
        ("experiments/cli.py", "from analysis.report import write",
         "experiments.cli imports analysis.report: experiments must not"),
        ("experiments/cli.py", "import mlflow", "experiments.cli imports mlflow: only"),
        ("experiments/cli.py", "from experiments import distill",
         "experiments.cli imports experiments.distill, which does not"),
        ("analysis/report.py", "import experiments",
         "analysis.report imports experiments: analysis must not import experiments"),
    ],
)  # fmt: skip
def test_an_import_up_is_found(tmp_path: Path, file: str, code: str, complaint: str) -> None:
    others = (
        "mkd/__init__.py",
        "mkd/config.py",
        "mkd/pipeline.py",
        "mkd/students/__init__.py",
        "experiments/distill.py",
    )
    for other in (*others, "analysis/report.py", file):
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).touch()
    (tmp_path / file).write_text(code)
    (found,) = violations(tmp_path)
    assert found.startswith(complaint)


def test_imports_that_point_down_are_allowed(tmp_path: Path) -> None:
    sources = {
        "mkd/__init__.py": "",
        "mkd/config.py": "import torch",
        "mkd/students/__init__.py": "from .bilstm import BiLSTM\nfrom mkd.config import Config",
        "mkd/students/bilstm.py": "from ..config import Config\nfrom .. import config",
        "mkd/pipeline.py": "import mkd.students\nfrom .students.bilstm import BiLSTM",
        "analysis/report.py": "import mlflow\nfrom mkd.config import Config",
        "experiments/cli.py": "from mkd import pipeline\nfrom analysis.presentation import table",
        "analysis/presentation/table.py": "",
        "experiments/distill.py": "from experiments import cli",
    }
    for file, code in sources.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(code)
    assert violations(tmp_path) == [] == circle(tmp_path)


def test_tests_import_no_other_tests() -> None:
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert len(files) > 100
    for file in files:
        matches = re.findall(r"^(?:from|import) (tests\.\S+)", file.read_text(), re.MULTILINE)
        assert all(name.startswith(("tests.support", "tests.bench")) for name in matches), file
