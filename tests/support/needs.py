"""What some tests need beside Python's packages: Chromium, PostgreSQL's server, Java; and real
data, which only adds tests.

A test that asks for a program which is not there is skipped. The reason has the command that
installs it, and the end of the run counts such skips in one line. With MKD_REQUIRE_ALL=1, as in
.ci/run, the test fails instead.

To see what is skipped where a program is missing, hide it: MKD_HIDE=chromium,postgresql,java make
test. Chromium and Java are also hidden by a PATH (and JAVA_HOME) without them.

Real data: a test marked `real_data` reads the folder that MKD_TEST_DATA names, else the one beside
the checkout. It is skipped where there is none; MKD_TEST_DATA= (empty) hides what is there. No
property of the code is tested by such a test alone.
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
"""Where Debian has PostgreSQL's programs, a folder for each version; they are not in PATH."""
JAVA_VERSION = 17
"""The oldest that Spark runs on."""
REAL_DATA = "needs real data: there is no `glue` in MKD_TEST_DATA, or beside the checkout"


class Need(NamedTuple):
    """title: as a reader knows it. programs: all of them have to be there. packages: Debian's."""

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
    """Where a program is: in PATH, in JAVA_HOME where that is set, or in Debian's folder of the
    newest PostgreSQL."""
    if name == "java" and os.environ.get("JAVA_HOME"):
        return shutil.which(name, path=os.path.join(os.environ["JAVA_HOME"], "bin"))
    folders = [str(folder) for folder in sorted(DEBIAN_POSTGRESQL.glob("*/bin"), reverse=True)]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))


def lacking(name: str) -> str:
    """Why what has this name in NEEDS cannot be used; empty where it can."""
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
    """Skips the test, or whatever asks for the fixture, where the program is missing; fails it with
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
    """The folder of GLUE's own files, where there is one."""
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
    """One line about the skips whose reason is something that a test needs; empty where there is
    none."""
    titles = {need.title: f"{need.title} ({need.install})" for need in NEEDS.values()} | {
        "real data": "real data (MKD_TEST_DATA)"
    }
    found = [re.match(r"(?:Skipped: )?needs ([^:]+): ", reason) for reason in reasons]
    by_title = Counter(match[1] for match in found if match)
    parts = [
        f"{by_title[title]} for want of {told}" for title, told in titles.items() if by_title[title]
    ]
    return f"skipped: {', '.join(parts)}" if parts else ""


def _java_version() -> int:
    """The first number of what `java -version` tells, as 17; 0 where it tells none."""
    path = program("java")
    assert path, "asked for where there is one"
    told = subprocess.run([path, "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', told)
    return int(found[1]) if found else 0
