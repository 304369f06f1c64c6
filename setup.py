"""Leaves `experiments` and `analysis` out of a wheel; all else is in pyproject.toml.

An editable installation, as the Makefile makes it, has them: there they are the clone's own.
"""

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildRuntime(build_py):
    """Copies the modules of `mkd` alone, unless the installation is editable."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if not self.editable_mode:
            self.packages = [name for name in self.packages if name.split(".")[0] == "mkd"]


setup(cmdclass={"build_py": BuildRuntime})
