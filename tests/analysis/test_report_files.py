"""The folder that a report is written to, and content that its files must not have."""

from pathlib import Path

import mlflow
import pytest

from analysis import arguments
from analysis.runs import runs as runs_module
from tests.support import disks, stored
from tests.support.entry import entry_point, started

PASSWORD = "s3cret-word"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a folder whose name has an apostrophe, with a store of two students that this process
    uses."""
    folder = tmp_path / "it's a folder"
    stored.with_two_students(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    return folder


def test_no_file_of_a_report_has_the_password_of_the_store(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The store reports an address with a password, from which links and tables are made."""
    address = f"http://mkd:{PASSWORD}@host:5000"
    real = runs_module.connect
    clients: list[mlflow.MlflowClient] = []

    class Client(mlflow.MlflowClient):
        tracking_uri = address

    def connect(store: str = "") -> mlflow.MlflowClient:
        client = real("" if store == address else store)
        client.__class__ = Client
        clients.append(client)
        return client

    monkeypatch.setattr(runs_module, "connect", connect)
    monkeypatch.setattr("analysis.report.connect", connect)
    to = folder / "my report's"
    assert arguments.main(None, ["--experiment", "mkd", "--json", "--to", str(to)]) == 0
    printed = capsys.readouterr()
    texts = {
        path.name: path.read_text("utf-8")
        for path in to.rglob("*")
        if path.suffix in (".html", ".json", ".csv", ".md")
    }
    assert clients and {"report.html", "report.json", "runs.csv", "front.md"} <= set(texts)
    assert any("mkd:***@host:5000" in text for text in texts.values()), "the address is in a link"
    for name, text in {**texts, "stdout": printed.out, "stderr": printed.err}.items():
        assert PASSWORD not in text, name


def to_a_read_only_disk(to: str, *argv: str) -> None:
    """Makes a report like the command, with a disk that cannot be written to."""
    disks.own_mounts()
    disks.mount(Path("read-only"), 1 << 16, read_only=True)
    entry_point("analysis.report", "--to", to, *argv)


@pytest.mark.parametrize("to", ["read-only", "read-only/new"])
def test_a_read_only_folder_is_refused_before_anything_is_read(folder: Path, to: str) -> None:
    disks.skip_without_mounts(folder)
    (folder / "read-only").mkdir()
    store = f"sqlite:///{folder / 'mlflow.db'}"
    ended = started(
        folder, to_a_read_only_disk, to, "--experiment", "mkd", MLFLOW_TRACKING_URI=store
    ).end()
    assert ended.returncode == 2, ended.stderr[-2000:]
    message = f"error: to is {to!r}; allowed: a folder that can be written to, or made"
    assert ended.stderr.strip().splitlines()[-1] == message
    assert mlflow.MlflowClient().search_runs(["1"], "tags.`mkd.kind` = 'report'") == []
