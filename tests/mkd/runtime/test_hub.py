"""The manifest that a student is loaded from: stated, found in an export, or downloaded."""

import json
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from mkd.runtime.hub import FILES, student_manifest
from mkd.runtime.manifest import MANIFEST


def test_a_folder_of_a_backend_or_of_an_export_is_found(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"backend": "int8"}))
    (tmp_path / "int8").mkdir()
    (tmp_path / "int8" / MANIFEST).touch()
    assert student_manifest(tmp_path) == tmp_path / "int8" / MANIFEST
    assert student_manifest(str(tmp_path / "int8")) == tmp_path / "int8" / MANIFEST


def test_one_of_several_backends_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"backend": "int8"}))
    graphs = tmp_path / "onnx"
    graphs.mkdir()
    (graphs / "student_int8.json").touch()
    assert student_manifest(tmp_path) == graphs / "student_int8.json"
    assert student_manifest(tmp_path / "int8") == graphs / "student_int8.json"
    assert student_manifest(tmp_path / "onnx") == graphs / MANIFEST
    assert student_manifest(tmp_path / "other") == tmp_path / "other" / MANIFEST, "a typing error"
    monkeypatch.chdir(tmp_path.parent)
    where = f"{tmp_path.name}/int8"
    assert student_manifest(where) == Path(tmp_path.name) / "onnx" / "student_int8.json"
    # A folder of the backend has priority, as in a student of an earlier version.
    (tmp_path / "int8").mkdir()
    (tmp_path / "int8" / MANIFEST).touch()
    assert student_manifest(tmp_path) == tmp_path / "int8" / MANIFEST


def test_the_config_of_another_model_names_no_backend(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert student_manifest(tmp_path) == tmp_path / MANIFEST


@pytest.mark.parametrize("content", ["[]", "{", '{"backend": "../other"}', '{"backend": 1}'])
def test_a_damaged_config_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="config.json is damaged"):
        student_manifest(tmp_path)


@pytest.mark.parametrize("backend", ["n" * 300, "n\0", "\ud800"])
def test_a_backend_that_no_file_can_be_named_after_is_refused(tmp_path: Path, backend: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"backend": backend}))
    with pytest.raises(ValueError, match="config.json is damaged"):
        student_manifest(tmp_path)


@pytest.mark.parametrize(
    ("where", "stated"),
    [("n" * 300, f"'{'n' * 79}: File name too long"), ("n\0", r"'n\x00'"), (None, "None")],
)
def test_a_folder_that_cannot_be_is_refused(where: Any, stated: str) -> None:
    allowed = "allowed: an exported folder, or USER/NAME on the Hugging Face hub"
    with pytest.raises(ValueError) as caught:
        student_manifest(where)
    assert str(caught.value) == f"folder is {stated}; {allowed}"


def test_a_name_on_the_hub_is_downloaded_unless_it_is_a_folder_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    assert student_manifest("me/small") == tmp_path / "cache" / MANIFEST
    assert asked == [("me/small", FILES)]
    (tmp_path / "me" / "small").mkdir(parents=True)
    assert student_manifest("me/small") == Path("me/small") / MANIFEST
    assert student_manifest("me/other") == Path("me/other") / MANIFEST, (
        "a typing error in a local path"
    )
    assert student_manifest(Path("you/small")) == Path("you/small") / MANIFEST
    assert len(asked) == 1


def test_a_student_that_is_not_on_the_hub_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, allow_patterns: list[str]) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ValueError, match="^you/small is no folder here, and the Hugging Face hub"):
        student_manifest("you/small")


def test_without_the_library_of_the_hub_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="`pip install huggingface-hub`"):
        student_manifest("you/small")
