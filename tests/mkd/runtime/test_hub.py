"""The folder that a student is loaded from: given, found in an export, or downloaded."""

import json
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from mkd.runtime.hub import FILES, student_folder

MANIFEST = "student.json"


def test_a_folder_of_a_backend_or_of_an_export_is_found(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"backend": "int8"}))
    (tmp_path / "int8").mkdir()
    (tmp_path / "int8" / MANIFEST).touch()
    assert student_folder(tmp_path, MANIFEST) == tmp_path / "int8"
    assert student_folder(str(tmp_path / "int8"), MANIFEST) == tmp_path / "int8"


def test_the_config_of_another_model_names_no_backend(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert student_folder(tmp_path, MANIFEST) == tmp_path


@pytest.mark.parametrize("content", ["[]", "{", '{"backend": "../other"}', '{"backend": 1}'])
def test_a_damaged_config_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="config.json is damaged"):
        student_folder(tmp_path, MANIFEST)


def test_a_name_on_the_hub_is_downloaded_unless_it_is_a_folder_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    assert student_folder("me/small", MANIFEST) == tmp_path / "cache"
    assert asked == [("me/small", FILES)]
    (tmp_path / "me" / "small").mkdir(parents=True)
    assert student_folder("me/small", MANIFEST) == Path("me/small")
    assert student_folder("me/other", MANIFEST) == Path("me/other"), "a slip in a local path"
    assert student_folder(Path("you/small"), MANIFEST) == Path("you/small")
    assert len(asked) == 1


def test_a_hub_that_does_not_have_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, allow_patterns: list[str]) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ValueError, match="^you/small is no folder here, and the Hugging Face hub"):
        student_folder("you/small", MANIFEST)


def test_without_the_library_of_the_hub_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="`pip install huggingface-hub`"):
        student_folder("you/small", MANIFEST)
