"""`import mkd` is fast and loads its public names on first use."""

import subprocess
import sys
from pathlib import Path

import pytest

import mkd
from mkd.config import Config
from mkd.pipeline import run
from mkd.runtime.inference import Student

ROOT = Path(__file__).parents[2]
TRAINING = ("torch", "transformers", "datasets", "pandas", "mlflow", "optuna", "matplotlib")
"""Libraries that are not part of an installation for inference."""


def in_new_process(code: str) -> list[str]:
    """The words that the code prints in a new Python process without the training libraries."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({TRAINING}))\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_mkd_loads_no_submodules_and_no_libraries() -> None:
    code = "import mkd; print(*(m for m in sys.modules if m.split('.')[0] in ('mkd', 'numpy')))"
    assert in_new_process(code) == ["mkd"]


def test_a_student_needs_only_the_inference_libraries() -> None:
    code = "import mkd; print(mkd.Student.__name__, mkd.runtime.__name__, mkd.__version__)"
    assert in_new_process(code) == ["Student", "mkd.runtime", mkd.__version__]


def test_distil_says_what_to_install_without_a_clone_or_libraries() -> None:
    code = (
        "import mkd\ntry: mkd.distil\nexcept ImportError as error: print('install' in str(error))"
    )
    assert in_new_process(code) == ["True"]


def test_public_names_are_the_objects_of_their_modules() -> None:
    assert (mkd.Config, mkd.run, mkd.Student) == (Config, run, Student)
    assert all(getattr(mkd, name) is not None for name in mkd.__all__)
    assert set(dir(mkd)) == set(mkd.__all__)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'mkd' has no attribute 'distill'"):
        mkd.distill  # noqa: B018
