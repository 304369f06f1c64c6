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
    "Prediction": "runtime.inference",
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
}
"""The module of this package that has each name."""

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Returns a name of `__all__`, or a module of this package, and imports what it needs.

    Raises AttributeError for an unknown name, and ImportError if a library is not installed.
    """
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
