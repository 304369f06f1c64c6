"""Imports point down only, also inside functions.

analysis and experiments import mkd, and each folder or file imports only those before it in ORDER.
"""

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
"""Packages that the modules of a package must not import."""

SHARED = {"analysis.presentation", "analysis.empty_runs"}
"""What experiments may import of analysis: tables, colours and figures, and refused runs."""

MLFLOW = {
    "experiments.tracking",
    "experiments.on_spark",
    "experiments.serve",
    "analysis.empty_runs",
    "analysis.runs.runs",
    "analysis.report",
}
"""The only modules and packages that may import mlflow: writers and readers of runs, the logged
model, its use on Spark, the search on Spark, and the report."""

COMMANDS = sorted(verb.module for verb in VERBS.values() if verb.module.startswith("experiments."))
"""The commands of experiments; each may import everything before the commands in ORDER."""
ORDER = {
    "mkd": ["mkd.names", "mkd.config", "mkd.rates", "mkd.result", "mkd.repeat",
            "mkd.progress",
            "mkd.storage", "mkd.tasks",
            "mkd.processes", "mkd.runtime", "mkd.shell", "mkd.__main__", "mkd.selection",
            "mkd.tokenization", "mkd.students", "mkd.evaluation", "mkd.training",
            "mkd.precision", "mkd.augmentation", "mkd.teachers", "mkd.pretraining", "mkd.export",
            "mkd.student_result", "mkd.pipeline", "mkd.runs"],
    "experiments": ["experiments.signals", "experiments.settings",
                    "experiments.command_line", "experiments.cli", "experiments.shipped_students",
                    "experiments.tracking", "experiments.studies", "experiments.on_spark",
                    "experiments.benchmark", *COMMANDS, "experiments.notebook",
                    "experiments.notebook_search"],
    "analysis": ["analysis.empty_runs", "analysis.presentation", "analysis.runs",
                 "analysis.statistics", "analysis.findings", "analysis.charts", "analysis.page",
                 "analysis.tables", "analysis.arguments", "analysis.report"],
}  # fmt: skip
"""The folders and files of each package in the order of the data flow. Each may import only those
before it. Modules of a folder may import each other, but not in a circle."""


def modules(root: Path) -> dict[str, Path]:
    """Returns the file of each module by its dotted name."""
    files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    return {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for file in files
    }


def imports(name: str, known: dict[str, Path]) -> set[str]:
    """Returns the dotted names that a module imports; `from a import b` is a.b if a.b is a
    module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(known[name].read_text(), str(known[name]))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            is_package = known[name].name == "__init__.py"
            parents = (
                name.split(".")[: len(name.split(".")) - node.level + is_package]
                if node.level
                else []
            )
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names.update(
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base
                for alias in node.names
            )
    return names


def unit_of(name: str) -> str:
    """Returns the folder or file of its package that a module is in."""
    return ".".join(name.split(".")[:2])


def violations(root: Path) -> list[str]:
    """Returns a line for each import that points up or sideways and module missing from ORDER."""
    known = modules(root)
    lines = []
    for name in known:
        package, unit = name.split(".")[0], unit_of(name)
        order = ORDER[package]
        if name != package and unit not in order:
            lines.append(
                f"{name}: {unit} has no place in ORDER of {HERE}: put it after all that it imports"
            )
            continue
        for target in sorted(imports(name, known)):
            top = target.split(".")[0]
            if top in FORBIDDEN[package] and unit_of(target) not in SHARED:
                lines.append(f"{name} imports {target}: {package} must not import {top}")
            elif top == "mlflow" and not MLFLOW & {name, unit}:
                lines.append(f"{name} imports {target}: only {' and '.join(sorted(MLFLOW))} may")
            elif top == package and target != package and unit_of(target) != unit:
                before = [] if name == package else order[: order.index(unit)]
                if unit_of(target) not in before:
                    lines.append(
                        f"{name} imports {target}, which does not come before it in ORDER of {HERE}"
                    )
    return lines


def circle(root: Path) -> list[str]:
    """Returns modules that import one another in a circle; empty if there are none."""
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


def test_the_order_has_exactly_the_folders_and_files_that_exist() -> None:
    units = {unit_of(name) for name in modules(ROOT)} - set(PACKAGES)
    assert sorted(units) == sorted(name for order in ORDER.values() for name in order)


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
    (line,) = violations(tmp_path)
    assert line.startswith(complaint)


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
