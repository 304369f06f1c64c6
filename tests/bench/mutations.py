"""Measures how many small faults in mkd/ the tests notice (mutation testing).

    PYTHONPATH=. python -m tests.bench.mutations --number 40 --out mutants.json

The bench draws faults, writes each of them alone into a copy of the repository, and runs the tests
of the changed file until one fails. The first test file is the one that mirrors the changed file.
Then come the test files of its folder that import it, those of other folders that import it, and
the rest of its folder. A fault that no test notices is printed with its line: either it changes
nothing that anybody can see, or an assertion is missing.

A fault is drawn by the hash of the seed and of its own code. Other changes of mkd/ therefore do not
change the draw. Annotations, assertions and the text of messages are left out. `--again FILE` tries
only the faults that were missed according to an earlier `--out`. The last line is JSON.
"""

import argparse
import ast
import contextlib
import gc
import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.blocks import ROOT

WARM = [
    "torch", "transformers", "onnxruntime", "onnxscript", "mlflow.pyfunc", "optuna",
    "sklearn.metrics", "datasets", "accelerate", "jsonargparse", "matplotlib.figure", "scipy.stats",
]  # fmt: skip
"""Packages that tests import and whose import takes seconds."""
SLOW = ["test_processes.py", "test_engine.py", "test_worker.py", "test_corpus.py"]
"""Tests with several processes, which are left out: they do not test a single function."""
MOST_SECONDS = 600
"""Time after which tests count as hung, and the fault as noticed."""

MOST_USERS = 10
"""If more test files of other folders import the changed file, none of them is run."""

EARLY = "ignore::pytest.PytestAssertRewriteWarning"
"""Suppresses pytest's warning that modules were imported before it could rewrite them."""

OPPOSITE = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip


class Mutant(NamedTuple):
    """One fault: `new` replaces the bytes from `start` to `end` of the file."""

    id: str
    path: str
    line: int
    kind: str
    old: str
    new: str
    start: int
    end: int


class Outcome(NamedTuple):
    """The result of trying a fault. by: the test that failed; None if none did."""

    mutant: Mutant
    by: str | None
    seconds: float


def mutations(node: ast.AST) -> Iterator[tuple[str, ast.AST, ast.AST]]:
    """Yields the faults of one node: their kind, the node to replace, and its replacement."""
    match node:
        case ast.Compare(ops=[op], left=left, comparators=comparators):
            for kind, table in (("comparison", OPPOSITE), ("boundary", BOUNDARY)):
                if type(op) in table:
                    yield kind, node, ast.Compare(left, [table[type(op)]()], comparators)
        case ast.BinOp(op=op, left=left, right=right) if type(op) in ARITHMETIC:
            if not any(isinstance(side, ast.Constant | ast.JoinedStr) and not _is_number(side)
                       for side in (left, right)):  # fmt: skip
                yield "arithmetic", node, ast.BinOp(left, ARITHMETIC[type(op)](), right)
        case ast.BoolOp(op=op, values=values):
            yield "and/or", node, ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(),
                                             values)  # fmt: skip
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not dropped", node, operand
        case ast.Constant(value=bool(value)):
            yield "constant", node, ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield "constant", node, ast.Constant(value + 1)
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield "return", value, ast.Constant(None)
        case ast.Call(func=func, args=args, keywords=[*rest, ast.keyword(arg=str())]):
            yield "argument dropped", node, ast.Call(func, args, rest)


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def walk(node: ast.AST, scope: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Yields the nodes below `node` that can have faults, each with its qualified name."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.Assert | ast.JoinedStr):
                within = f"{scope}.{child.name}" if hasattr(child, "name") else scope
                yield within, child
                yield from walk(child, within)


def mutants_of(path: str, source: str, seed: int) -> list[Mutant]:
    """Returns all faults of a file."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    mutants: list[Mutant] = []
    seen: dict[str, int] = {}
    for scope, node in walk(ast.parse(source)):
        for kind, at, value in mutations(node):
            assert isinstance(at, ast.expr) and at.end_lineno and at.end_col_offset is not None
            start = starts[at.lineno - 1] + at.col_offset
            end = starts[at.end_lineno - 1] + at.end_col_offset
            old, new = source.encode()[start:end].decode(), f"({ast.unparse(value)})"
            text = f"{seed} {path} {scope} {kind} {old} {new}"
            seen[text] = seen.get(text, 0) + 1
            key = hashlib.sha256(f"{text} {seen[text]}".encode()).hexdigest()[:10]
            mutants.append(Mutant(key, path, at.lineno, kind, old, new, start, end))
    return mutants


def drawn(root: Path, number: int, seed: int) -> list[Mutant]:
    """Draws `number` faults of mkd/, each with the same probability."""
    files = sorted((root / "mkd").rglob("*.py"))
    mutants = [
        mutant
        for file in files
        for mutant in mutants_of(str(file.relative_to(root)), file.read_text(), seed)
    ]
    return sorted(mutants)[:number]


def stages(root: Path, path: str) -> list[list[str]]:
    """Returns groups of test files for a changed file, the most specific group first."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    package, _, name = module.rpartition(".")
    names = rf"from {package} import [^#\n]*\b{name}\b|from {module} import|import {module}\b"
    folder = root / "tests" / Path(path).parent
    files = [file for file in (root / "tests").rglob("test_*.py") if file.name not in SLOW]
    users = {file for file in files if re.search(names, file.read_text())}
    local = {file for file in files if file.parent == folder}
    mirror = {folder / f"test_{Path(path).name}"} & local
    rest = set[Path]() if folder.name == "mkd" else local
    order = [mirror, users & local, users if len(users - local) <= MOST_USERS else set(), rest]
    included: set[Path] = set()
    groups = []
    for group in order:
        groups.append([str(file.relative_to(root)) for file in sorted(group - included)])
        included |= group
    return [group for group in groups if group]


def run_tests(root: Path, files: list[str]) -> str | None:
    """Runs tests in a forked process and returns the first that fails, or None."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        os.close(read)
        code = 1
        try:
            null = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(null, number)
            os.chdir(root)
            sys.path[0] = str(root)
            os.environ |= {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
            sys.dont_write_bytecode = True
            for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
                del sys.modules[name]
            first = FirstFailure()
            options = ["-x", "-q", "-p", "no:cacheprovider", "--rootdir", str(root), "-W", EARLY]
            code = int(pytest.main([*options, *files], plugins=[first]) != 0)
            if code:
                os.write(write, (first.name or "collection").encode())
        finally:
            os._exit(code)
    os.close(write)
    end = time.monotonic() + MOST_SECONDS
    done, status = 0, 0
    while not done and time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not done:
        os.waitpid(child, 0)
    with open(read, encoding="utf-8") as pipe:
        name = pipe.read() if done else "hung"
    return (name or "crashed") if status or not done else None


class FirstFailure:
    """A pytest plug-in that records the first test that failed."""

    name: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.name = self.name or report.nodeid


def tried(root: Path, mutant: Mutant) -> Outcome:
    """Tries a fault in the copy of the repository, which is restored afterwards."""
    file, begin = root / mutant.path, time.monotonic()
    source = file.read_bytes()
    file.write_bytes(source[: mutant.start] + mutant.new.encode() + source[mutant.end :])
    try:
        by = next(
            (by for files in stages(root, mutant.path) if (by := run_tests(root, files))), None
        )
    finally:
        file.write_bytes(source)
    return Outcome(mutant, by, time.monotonic() - begin)


def main() -> None:
    """Tries the faults, prints a line for each, and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    chosen = drawn(ROOT, args.number, args.seed)
    if args.again:
        missed = {one["id"] for one in json.loads(args.again.read_text()) if one["by"] is None}
        chosen = [mutant for mutant in chosen if mutant.id in missed]
    for name in WARM:
        importlib.import_module(name)
    gc.freeze()
    tries: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "mkd"
        hidden = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "site", "mlruns", "*.db")
        shutil.copytree(ROOT, root, ignore=hidden)
        assert run_tests(root, ["tests/mkd/training/test_schedule.py"]) is None, (
            "nothing is changed"
        )
        for mutant in chosen:
            tries.append(outcome := tried(root, mutant))
            what = f"{mutant.kind}: {mutant.old} -> {mutant.new}".replace("\n", " ")
            print(f"{mutant.id} {mutant.path}:{mutant.line} {what[:150]}")
            print(f"  {outcome.by or 'MISSED'} ({outcome.seconds:.0f} s)", flush=True)
            rows = [one.mutant._asdict() | {"by": one.by, "seconds": one.seconds} for one in tries]
            args.out.write_text(json.dumps(rows, indent=1))
    caught = sum(one.by is not None for one in tries)
    print(json.dumps({"faults": len(tries), "caught": caught}))


if __name__ == "__main__":
    main()
