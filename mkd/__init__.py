"""Multi-task knowledge distillation of language models.

The names in `__all__` are the ones that users need. Each is imported when it is first used: an
installation for inference has no torch, and `import mkd` loads nothing else. The modules of the
package are found in the same way, such as `mkd.runtime`.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Student": "runtime.inference",
    "Prediction": "runtime.answers",
    "Config": "config",
    "DataConfig": "config",
    "TeacherConfig": "config",
    "StudentConfig": "config",
    "LossConfig": "config",
    "TrainConfig": "config",
    "SpeedConfig": "config",
    "ExportConfig": "config",
    "run": "pipeline",
    "Result": "result",
    "Task": "tasks.task",
    "load_tasks": "tasks.sources",
    "task_from_data": "tasks.frames",
}
"""The module of this package that has each name."""

_CALLS = {"distil": "experiments.notebook", "search": "experiments.notebook_search"}
"""The module of each call of a notebook. They choose settings and record runs in MLflow, which is
the work of `experiments`; the modules of this package do not know it."""

__all__ = ["__version__", *_CALLS, *_HOMES]


def __getattr__(name: str) -> Any:
    """Returns a name of `__all__`, or a module of this package, and imports what it needs.

    Raises AttributeError for an unknown name, and ImportError if a library is not installed.
    """
    if name in _CALLS:
        return _call(name)
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _call(name: str) -> Any:
    try:
        return getattr(import_module(_CALLS[name]), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"mkd.{name} needs a clone of MKD with its training libraries ({error}); there, "
            "`pip install -e '.[train]'` installs both"
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
