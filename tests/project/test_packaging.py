"""Checks that pyproject.toml, requirements.txt, conda.yaml, MLproject and the environment agree."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME: list[str] = PROJECT["dependencies"]
TRAIN: list[str] = PROJECT["optional-dependencies"]["train"]
DEPENDENCIES: dict[str, Requirement] = {
    canonicalize_name(Requirement(line).name): Requirement(line) for line in RUNTIME + TRAIN
}
LINES = (ROOT / "requirements.txt").read_text().splitlines()


def pins() -> list[Requirement]:
    return [Requirement(line) for line in LINES[:-1]]


def pin(name: str) -> str:
    """Returns the version that requirements.txt pins for a package."""
    (only,) = [requirement for requirement in pins() if canonicalize_name(requirement.name) == name]
    (specifier,) = only.specifier
    return specifier.version


def conda_dependencies() -> list[Any]:
    dependencies: list[Any] = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    return dependencies


def mlproject() -> dict[str, Any]:
    project: dict[str, Any] = yaml.safe_load((ROOT / "MLproject").read_text())
    return project


def test_pyproject_names_each_dependency_once() -> None:
    assert DEPENDENCIES
    assert len(DEPENDENCIES) == len(RUNTIME) + len(TRAIN)


def test_the_base_install_is_what_the_runtime_imports() -> None:
    assert {Requirement(line).name for line in RUNTIME} == {"numpy", "onnxruntime", "tokenizers"}


def test_requirements_are_exact_pins_and_then_the_project_itself() -> None:
    assert LINES[-1] == "-e .[train]"
    for requirement in pins():
        (specifier,) = requirement.specifier
        assert (
            specifier.operator == "=="
            and "*" not in specifier.version
            and "+" not in specifier.version
        ), requirement
        assert requirement.url is None and requirement.marker is None and not requirement.extras, (
            requirement
        )


def test_requirements_pin_each_package_once() -> None:
    names = [canonicalize_name(requirement.name) for requirement in pins()]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_a_dependency_is_pinned_within_its_range(name: str) -> None:
    assert DEPENDENCIES[name].specifier.contains(pin(name)), (
        f"{DEPENDENCIES[name]} is pinned to {pin(name)}"
    )


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_the_installed_version_is_the_pinned_one(name: str) -> None:
    assert SpecifierSet(f"=={pin(name)}").contains(version(name)), (
        f"{name} {version(name)} is installed, {pin(name)} pinned"
    )


def test_torch_is_the_same_exact_version_everywhere() -> None:
    assert str(DEPENDENCIES["torch"].specifier) == "==2.13.0"
    assert pin("torch") == "2.13.0"


def test_conda_takes_its_packages_only_from_requirements() -> None:
    (pip,) = [
        dependency["pip"] for dependency in conda_dependencies() if isinstance(dependency, dict)
    ]
    assert pip == ["-r requirements.txt"]


def test_conda_has_an_exact_python_that_pyproject_allows() -> None:
    names = [
        dependency.split("=")[0]
        for dependency in conda_dependencies()
        if isinstance(dependency, str)
    ]
    assert names == ["python", "pip"]
    _, python = conda_dependencies()[0].split("=")
    assert len(python.split(".")) == 3
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)


def test_mlproject_uses_conda_yaml() -> None:
    assert mlproject()["name"] == "mkd"
    assert mlproject()["conda_env"] == "conda.yaml"


def test_every_entry_point_of_mlproject_is_a_module() -> None:
    entry_points = mlproject()["entry_points"]
    assert "main" in entry_points
    for entry_point in entry_points.values():
        python, flag, module, *_ = shlex.split(entry_point["command"])
        assert (python, flag) == ("python", "-m")
        assert importlib.util.find_spec(module) is not None, f"no module {module}"


def test_a_wheel_has_only_mkd_and_its_command(tmp_path: Path) -> None:
    """It is built from a copy: setuptools leaves its build folder next to the source."""
    source = tmp_path / "source"
    for name in ("mkd", "experiments", "analysis"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith("mkd_distill-")
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        (scripts,) = [name for name in names if name.endswith("entry_points.txt")]
        assert files.read(scripts).decode().split("\n")[:2] == [
            "[console_scripts]",
            "mkd = mkd.shell:main",
        ]
    assert {name.split("/")[0] for name in names} == {"mkd", scripts.split("/")[0]}
    assert "mkd/runtime/inference.py" in names


def test_a_folder_of_the_same_name_beside_a_script_does_not_hide_the_installation(
    tmp_path: Path,
) -> None:
    """Such as a clone: without `__init__.py` it is a namespace package to Python."""
    (tmp_path / "mkd" / "docs").mkdir(parents=True)
    script = tmp_path / "script.py"
    script.write_text("import mkd, experiments\nprint(mkd.__version__, mkd.distil.__name__)\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.stdout.split()[1:] == ["distil"], run.stderr
