"""`mkd init` writes a task file and overwrites nothing."""

from pathlib import Path

import pytest

from experiments.init import main
from mkd.config import DataConfig
from mkd.tasks.sources import load_tasks


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a data file."""
    rows = [f"a {word} film of {i} minutes,{word}" for i in range(9) for word in ("good", "bad")]
    (tmp_path / "films.csv").write_text("\n".join(["text,label", *rows]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_init_writes_a_valid_task_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["films.csv"]) == 0
    first, summary, following = capsys.readouterr().out.splitlines()
    assert first == "reading films.csv"
    assert summary == "films.yaml: text 'text', label 'label' (2 classes)"
    assert following.endswith("--data.path films.yaml")
    (task,) = load_tasks(DataConfig(path="films.yaml"))
    assert (task.name, task.kind.labels) == ("films", ("bad", "good"))


def test_init_accepts_a_given_kind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["films.csv", "--kind", "multilabel"]) == 0
    (task,) = load_tasks(DataConfig(path="films.yaml"))
    assert task.kind.multilabel and task.kind.labels == ("bad", "good")
    with pytest.raises(SystemExit):
        main(["films.csv", "--kind", "several"])
    assert "invalid choice: 'several'" in capsys.readouterr().err


def test_init_does_not_overwrite_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "films.yaml").write_text("mine")
    assert main(["films.csv"]) == 2
    stderr = capsys.readouterr().err
    assert stderr == "error: films.yaml is there already; it is not overwritten\n"
    assert (folder / "films.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["none.csv"], "none.csv: no such file"),
        (["films.csv", "--label", "verdict"], "no column 'verdict'"),
        (["films.csv", "--text", "text", "label", "x"], "a column's name or number, or two"),
        (["films.csv", "--kind", "regression"], "allowed for a regression: numbers"),
    ],
)
def test_a_wrong_init_prints_one_line_and_writes_nothing(
    folder: Path, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and message in shown and shown.count("\n") == 1
    assert not (folder / "films.yaml").exists()
