"""Imports point down only, also inside functions: experiments -> mkd, and within mkd each module -> those before it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mkd", "experiments", "analysis")

FORBIDDEN = {
    "mkd": {"experiments", "analysis", "mlflow", "optuna", "matplotlib"},
    "experiments": {"analysis"},
    "analysis": {"experiments"},
}
"""What the modules of a package must not import."""

MLFLOW = {
    "experiments.run", "experiments.logged", "experiments.tracking", "experiments.trials", "experiments.student_model",
    "experiments.corpus", "experiments.spark",
    "analysis.runs", "analysis.report",
}  # fmt: skip
"""The only modules that may import mlflow: the writers of runs, the model that is logged as code, its use on Spark, the search's
engine there, the reader of runs, and what leaves a report beside them."""

ORDER = [
    "mkd.config",
    "mkd.rates",
    "mkd.record",
    "mkd.pareto",
    "mkd.timing",
    "mkd.stages",
    "mkd.intervals",
    "mkd.store",
    "mkd.tasks",
    "mkd.demo.draw",
    "mkd.demo.lexicon",
    "mkd.demo.forms",
    "mkd.demo.sentiment",
    "mkd.demo.acceptability",
    "mkd.demo.paraphrase",
    "mkd.demo.entailment",
    "mkd.demo.similarity",
    "mkd.demo",
    "mkd.files",
    "mkd.metrics",
    "mkd.parts",
    "mkd.strictyaml",
    "mkd.taskfile",
    "mkd.sources",
    "mkd.wordpiece",
    "mkd.layout",
    "mkd.runtime",
    "mkd.__main__",
    "mkd.tokens",
    "mkd.words",
    "mkd.overlap",
    "mkd.selection",
    "mkd.tokenise",
    "mkd.remarks",
    "mkd.schedule",
    "mkd.losses",
    "mkd.balance",
    "mkd.matching",
    "mkd.optim",
    "mkd.resume",
    "mkd.state",
    "mkd.checkpoints",
    "mkd.neighbours",
    "mkd.augment",
    "mkd.vocabulary",
    "mkd.students.embeddings",
    "mkd.students.heads",
    "mkd.students.bilstm",
    "mkd.students.bag",
    "mkd.students.transformer",
    "mkd.students",
    "mkd.students.adoption",
    "mkd.batches",
    "mkd.mixup",
    "mkd.processes",
    "mkd.objective",
    "mkd.trainer",
    "mkd.evaluate",
    "mkd.export",
    "mkd.teachers.labeller",
    "mkd.teachers.finetuned",
    "mkd.teachers.imported",
    "mkd.contents",
    "mkd.teachers.mean",
    "mkd.teachers.refined",
    "mkd.teachers",
    "mkd.teachers.states",
    "mkd.teaching",
    "mkd.speed",
    "mkd.precision",
    "mkd.architectures",
    "mkd.backends",
    "mkd.pipeline",
    "mkd.candidate",
    "mkd.finetune",
    "mkd.delivery",
    "mkd.leaderboard",
    "mkd.submission",
    "mkd.throughput",
]
"""The core in the order in which data flows through it: a module may import only those before it."""


def modules(root: Path) -> dict[str, Path]:
    """Every module's dotted name and its file."""
    files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    return {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(name: str, known: dict[str, Path]) -> set[str]:
    """Dotted names that a module imports; `from a import b` is a.b where that is a module of ours, else a."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(known[name].read_text(), str(known[name]))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            is_package = known[name].name == "__init__.py"
            parents = name.split(".")[: len(name.split(".")) - node.level + is_package] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            found.update(f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names)
    return found


def violations(root: Path) -> list[str]:
    """One line for every import that points up or sideways, and for every module of the core without a place in ORDER."""
    known = modules(root)
    found = []
    for name in known:
        package = name.split(".")[0]
        if package == "mkd" and name != "mkd" and name not in ORDER:
            found.append(f"{name} has no place in ORDER of tests/test_layers.py: put it after all that it imports")
            continue
        for target in sorted(imports(name, known)):
            top = target.split(".")[0]
            if top in FORBIDDEN[package]:
                found.append(f"{name} imports {target}: {package} must not import {top}")
            elif top == "mlflow" and name not in MLFLOW:
                found.append(f"{name} imports {target}: only {' and '.join(sorted(MLFLOW))} may")
            elif package == top == "mkd" and target != "mkd" and (name == "mkd" or target not in ORDER[: ORDER.index(name)]):
                found.append(f"{name} imports {target}, which does not come before it in ORDER of tests/test_layers.py")
    return found


def test_imports_point_down_only() -> None:
    names = modules(ROOT)
    assert {"mkd.config", "mkd.tasks", "experiments"} <= names.keys()
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "code", "complaint"),
    [
        ("mkd/tasks.py", "def f():\n    import mlflow.pyfunc", "mkd.tasks imports mlflow.pyfunc: mkd must not import mlflow"),
        ("mkd/tasks.py", "from experiments import cli", "mkd.tasks imports experiments: mkd must not import experiments"),
        ("mkd/tasks.py", "import mkd.tokens", "mkd.tasks imports mkd.tokens, which does not come before it"),
        ("mkd/tasks.py", "from mkd import tokens", "mkd.tasks imports mkd.tokens, which does not come before it"),
        ("mkd/tasks.py", "from .tokens import read", "mkd.tasks imports mkd.tokens, which does not come before it"),
        ("mkd/__init__.py", "from . import tokens", "mkd imports mkd.tokens, which does not come before it"),
        ("mkd/students/bilstm.py", "from .. import students", "mkd.students.bilstm imports mkd.students, which does not"),
        ("mkd/other.py", "", "mkd.other has no place in ORDER"),
        ("experiments/cli.py", "from analysis.runs import rows", "experiments.cli imports analysis.runs: experiments must not"),
        ("experiments/cli.py", "import mlflow", "experiments.cli imports mlflow: only"),
        ("analysis/runs.py", "import experiments", "analysis.runs imports experiments: analysis must not import experiments"),
    ],
)
def test_an_import_that_points_up_is_found(tmp_path: Path, file: str, code: str, complaint: str) -> None:
    for other in ("mkd/__init__.py", "mkd/tokens.py", "mkd/students/__init__.py", file):
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).touch()
    (tmp_path / file).write_text(code)
    (found,) = violations(tmp_path)
    assert found.startswith(complaint)


def test_imports_that_point_down_are_allowed(tmp_path: Path) -> None:
    sources = {
        "mkd/__init__.py": "",
        "mkd/tasks.py": "import torch",
        "mkd/tokens.py": "import mkd.tasks\nfrom mkd import tasks\nfrom .tasks import Row",
        "mkd/students/__init__.py": "from .bilstm import BiLSTM\nfrom mkd.tokens import TokenStore",
        "mkd/students/bilstm.py": "from ..tasks import Kind\nfrom .. import tokens",
        "experiments/tracking.py": "import mlflow\nfrom mkd.tasks import Kind",
        "experiments/distill.py": "from experiments import tracking",
    }
    for file, code in sources.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(code)
    assert violations(tmp_path) == []
