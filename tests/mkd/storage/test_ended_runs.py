"""Runs that end on purpose: what becomes of their folders."""

from pathlib import Path

import pytest

from mkd.result import Ended
from mkd.storage.run_folder import path_of, run_folder


def test_the_folder_of_a_run_that_ended_for_good_is_gone(tmp_path: Path) -> None:
    config = {"cache": str(tmp_path)}
    with (
        pytest.raises(Ended, match="behind the others") as caught,
        run_folder(config, "trial") as folder,
    ):
        (folder / "student.safetensors").touch()
        raise Ended("pruned", "behind the others")
    assert caught.value.state == "pruned"
    assert folder == path_of(config, "trial") and not folder.exists()
    with run_folder(config, "trial") as again:
        assert list(again.iterdir()) == [], "the same settings begin anew"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_runs_folder_is_kept(error: type[BaseException], tmp_path: Path) -> None:
    config = {"cache": str(tmp_path)}
    with pytest.raises(error), run_folder(config, "trial") as folder:
        (folder / "student.safetensors").write_text("as far as it was")
        raise error
    with run_folder(config, "trial") as again:
        assert (again / "student.safetensors").read_text() == "as far as it was"
    assert not folder.exists()


def test_a_run_that_was_interrupted_and_then_ended_for_good_leaves_nothing(tmp_path: Path) -> None:
    config = {"cache": str(tmp_path)}
    with pytest.raises(KeyboardInterrupt), run_folder(config, "trial") as folder:
        (folder / "student.safetensors").touch()
        raise KeyboardInterrupt
    with pytest.raises(Ended), run_folder(config, "trial"):
        raise Ended("infeasible", "too slow")
    assert not folder.exists()
