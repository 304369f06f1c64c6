"""Outputs that a run recognises as its own after it has put them in place."""

import shutil
from pathlib import Path

from mkd.storage.written import earlier_output, put_in_place


def test_a_run_knows_its_own_output_and_no_other(tmp_path: Path) -> None:
    run, aside, target = tmp_path / "run", tmp_path / "aside", tmp_path / "target"
    run.mkdir()
    aside.mkdir()
    (aside / "file").write_text("content")
    assert earlier_output(target, run) is None
    put_in_place(aside, target, run, {"rows": 3})
    assert earlier_output(target, run) == {"rows": 3} and not aside.exists()
    assert [path.name for path in run.iterdir()] == ["written.json"]
    copied = tmp_path / "copied"
    shutil.copytree(target, copied)
    assert earlier_output(copied, run) is None
    assert earlier_output(tmp_path / "none", run) is None
