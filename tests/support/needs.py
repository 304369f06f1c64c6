"""Optional requirements of some tests: Chromium, a PostgreSQL server, Java, and real data.

A test that needs a missing program is skipped. The reason shows the command that installs the
program, and one line at the end of the run counts these skips. With MKD_REQUIRE_ALL=1, as in
.ci/run, the test fails instead.

To see what is skipped without a program, hide it: MKD_HIDE=chromium,postgresql,java make test-all.
A PATH (and JAVA_HOME) without Chromium and Java hides them too.

A test marked `real_data` reads the folder in MKD_TEST_DATA, or else the one beside the checkout,
and is skipped if there is none; MKD_TEST_DATA= (empty) hides an existing folder. No property of
the code is tested only by such tests.
"""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
BESIDE = ROOT.parent / "shared" / "data"
DEBIAN_POSTGRESQL = Path("/usr/lib/postgresql")
"""Debian's folder of PostgreSQL's programs, with a subfolder per version; it is not in PATH."""
JAVA_VERSION = 17
"""The oldest version that Spark supports."""
REAL_DATA = "needs real data: there is no `glue` in MKD_TEST_DATA, or beside the checkout"


class Need(NamedTuple):
    """A requirement. title: its usual name. programs: all are required. packages: Debian's."""

    title: str
    programs: tuple[str, ...]
    packages: str

    @property
    def install(self) -> str:
        return f"apt-get install {self.packages}"


NEEDS = {
    "chromium": Need("Chromium", ("chromium", "chromedriver"), "chromium chromium-driver"),
    "postgresql": Need("PostgreSQL", ("initdb", "pg_ctl"), "postgresql"),
    "java": Need("Java", ("java",), "openjdk-17-jre-headless"),
}


def program(name: str) -> str | None:
    """The path of a program: from PATH, from JAVA_HOME if set (Java only), or from Debian's folder
    of the newest PostgreSQL."""
    if name == "java" and os.environ.get("JAVA_HOME"):
        return shutil.which(name, path=os.path.join(os.environ["JAVA_HOME"], "bin"))
    folders = [str(folder) for folder in sorted(DEBIAN_POSTGRESQL.glob("*/bin"), reverse=True)]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))


def lacking(name: str) -> str:
    """Why this entry of NEEDS cannot be used; empty if it can."""
    need = NEEDS[name]
    if name in hidden():
        return f"needs {need.title}: hidden by MKD_HIDE; {need.install}"
    if missing := [each for each in need.programs if program(each) is None]:
        return f"needs {need.title}: no {' and no '.join(missing)}; {need.install}"
    if name == "java" and (version := _java_version()) < JAVA_VERSION:
        allowed = f"{JAVA_VERSION} or newer is allowed"
        return f"needs {need.title}: version {version}, {allowed}; {need.install}"
    return ""


def need(name: str) -> None:
    """Skips the calling test or fixture if the program is missing; fails it with
    MKD_REQUIRE_ALL=1."""
    if why := lacking(name):
        if os.environ.get("MKD_REQUIRE_ALL") == "1":
            pytest.fail(why, pytrace=False)
        pytest.skip(why)


def hidden() -> list[str]:
    names = [name.strip() for name in os.environ.get("MKD_HIDE", "").split(",") if name.strip()]
    if unknown := [name for name in names if name not in NEEDS]:
        raise ValueError(f"MKD_HIDE names {unknown[0]!r}; allowed: {', '.join(NEEDS)}")
    return names


def real_glue() -> Path | None:
    """The folder of the real GLUE files, if there is one."""
    named = os.environ.get("MKD_TEST_DATA")
    if named == "":
        return None
    folder = (BESIDE if named is None else Path(named)) / "glue"
    return folder if folder.is_dir() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if real_glue() is None:
        for item in items:
            if item.get_closest_marker("real_data"):
                item.add_marker(pytest.mark.skip(reason=REAL_DATA))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if line := counted(
        [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])]
    ):
        terminalreporter.write_line(line, yellow=True)


def counted(reasons: list[str]) -> str:
    """One line that counts the skips due to missing requirements; empty if there are none."""
    titles = {need.title: f"{need.title} ({need.install})" for need in NEEDS.values()} | {
        "real data": "real data (MKD_TEST_DATA)"
    }
    matches = [re.match(r"(?:Skipped: )?needs ([^:]+): ", reason) for reason in reasons]
    by_title = Counter(match[1] for match in matches if match)
    counts = [
        f"{by_title[title]} for want of {label}"
        for title, label in titles.items()
        if by_title[title]
    ]
    return f"skipped: {', '.join(counts)}" if counts else ""


def _java_version() -> int:
    """The major version that `java -version` prints, such as 17; 0 if it prints none."""
    path = program("java")
    assert path, "asked for where there is one"
    output = subprocess.run([path, "-version"], capture_output=True, text=True).stderr
    version = re.search(r'version "(\d+)', output)
    return int(version[1]) if version else 0
