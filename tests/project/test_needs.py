"""Programs that tests need besides Python packages: found, missing, hidden, and counted."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.needs import NEEDS, counted, lacking, need, program, real_glue


@pytest.fixture(autouse=True)
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulates a machine without any of the programs and without settings."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(needs, "DEBIAN_POSTGRESQL", tmp_path / "postgresql")
    for name in ("JAVA_HOME", "MKD_HIDE", "MKD_REQUIRE_ALL", "MKD_TEST_DATA"):
        monkeypatch.delenv(name, raising=False)


def put(path: Path, prints: str = "") -> Path:
    """Writes a program that prints a text to standard error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{prints}' >&2\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chromium", "needs Chromium: no chromium and no chromedriver; apt-get install chromium "),
        ("postgresql", "needs PostgreSQL: no initdb and no pg_ctl; apt-get install postgresql"),
        ("java", "needs Java: no java; apt-get install openjdk-17-jre-headless"),
    ],
)
def test_a_missing_program_is_a_skip_with_the_command_that_installs_it(
    name: str, message: str
) -> None:
    assert lacking(name).startswith(message)
    with pytest.raises(pytest.skip.Exception) as caught:
        need(name)
    assert str(caught.value) == lacking(name)


def test_only_the_missing_program_is_named(tmp_path: Path) -> None:
    put(tmp_path / "bin" / "chromium")
    assert lacking("chromium").startswith("needs Chromium: no chromedriver; ")


def test_nothing_is_skipped_if_all_programs_are_installed(tmp_path: Path) -> None:
    for name in ("chromium", "chromedriver"):
        put(tmp_path / "bin" / name)
    for version in ("9", "15"):
        for name in ("initdb", "pg_ctl"):
            put(tmp_path / "postgresql" / version / "bin" / name)
    put(tmp_path / "bin" / "java", 'openjdk version "17.0.9" 2023-10-17')
    for name in NEEDS:
        need(name)


@pytest.mark.parametrize(
    ("version", "fits"), [("1.8.0_392", False), ("11.0.2", False), ("17.0.9", True), ("21", True)]
)
def test_an_older_java_counts_as_missing(version: str, fits: bool, tmp_path: Path) -> None:
    put(tmp_path / "bin" / "java", f'openjdk version "{version}" 2023-10-17')
    message = f"needs Java: version {version.split('.')[0]}, 17 or newer is allowed; "
    assert lacking("java") == "" if fits else lacking("java").startswith(message)


def test_java_home_has_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "bin" / "java", 'openjdk version "17.0.9"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert lacking("java").startswith("needs Java: no java")
    home = put(tmp_path / "home" / "bin" / "java", 'openjdk version "21.0.1"')
    assert program("java") == str(home) and lacking("java") == ""


def test_installed_programs_can_be_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "bin" / "java", 'openjdk version "17.0.9"')
    monkeypatch.setenv("MKD_HIDE", "chromium, java")
    expected = "needs Java: hidden by MKD_HIDE; apt-get install openjdk-17-jre-headless"
    assert lacking("java") == expected
    monkeypatch.setenv("MKD_HIDE", "browser")
    message = "^MKD_HIDE names 'browser'; allowed: chromium, postgresql, java$"
    with pytest.raises(ValueError, match=message):
        lacking("java")


def test_if_all_programs_are_required_a_skip_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKD_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="^needs PostgreSQL: no initdb and no pg_ctl; "):
        need("postgresql")


def test_real_data_is_found_or_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "BESIDE", tmp_path / "beside")
    assert real_glue() is None
    (tmp_path / "beside" / "glue").mkdir(parents=True)
    assert real_glue() == tmp_path / "beside" / "glue"
    monkeypatch.setenv("MKD_TEST_DATA", "")
    assert real_glue() is None
    monkeypatch.setenv("MKD_TEST_DATA", str(tmp_path / "said"))
    assert real_glue() is None
    (tmp_path / "said" / "glue").mkdir(parents=True)
    assert real_glue() == tmp_path / "said" / "glue"


def test_skips_are_counted_by_what_is_missing_and_other_skips_are_not_counted() -> None:
    java, postgresql = "Skipped: needs Java: no java; x", "Skipped: needs PostgreSQL: no initdb; x"
    assert counted([java, postgresql, "Skipped: one core", java, "needs real data: none"]) == (
        "skipped: 1 for want of PostgreSQL (apt-get install postgresql), "
        "2 for want of Java (apt-get install openjdk-17-jre-headless), "
        "1 for want of real data (MKD_TEST_DATA)"
    )
    assert counted([]) == counted(["Skipped: one core"]) == ""


RUN = """
import pytest
from tests.support.needs import need

@pytest.fixture(scope="module")
def chrome():
    need("chromium")

def test_one(chrome): ...
def test_two(chrome): ...
def test_three(): need("java")
@pytest.mark.real_data
def test_four(): raise AssertionError("there is no such data")
def test_five(): ...
"""


@pytest.mark.parametrize("processes", [0, 2])
def test_a_run_counts_its_skips_or_fails(processes: int, tmp_path: Path) -> None:
    (tmp_path / "test_run.py").write_text(RUN)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = real_data\n")
    environ = os.environ | {
        "PYTHONPATH": str(Path(needs.__file__).parents[2]),
        "MKD_HIDE": "java",
        "MKD_TEST_DATA": "",
    }
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "tests.support.needs", "-n", str(processes),
        "test_run.py",
    ]  # fmt: skip
    passed = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert passed.returncode == 0, passed.stdout
    assert passed.stdout.splitlines()[-2:] == [
        "skipped: 2 for want of Chromium (apt-get install chromium chromium-driver), "
        "1 for want of Java (apt-get install openjdk-17-jre-headless), "
        "1 for want of real data (MKD_TEST_DATA)",
        passed.stdout.splitlines()[-1],
    ]
    assert "1 passed, 4 skipped" in passed.stdout
    failed = subprocess.run(
        command,
        cwd=tmp_path,
        env=environ | {"MKD_REQUIRE_ALL": "1"},
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1 and "1 failed, 1 passed, 1 skipped, 2 errors" in failed.stdout
    assert (
        "needs Java: hidden by MKD_HIDE; apt-get install openjdk-17-jre-headless" in failed.stdout
    )
