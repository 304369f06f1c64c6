"""The model card of an export, and its upload to the hub, without any real calls."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi, ModelCard

from mkd.config import HubConfig, Int8Config
from mkd.export import hub as exporter
from mkd.export.folder import export_int8, export_onnx
from mkd.export.hub import CARD, add_backend, card_data, check_push, describe_exported, push
from mkd.runtime.hub import student_manifest
from mkd.students import make_student
from tests.support.students import TRANSFORMER
from tests.support.tiny import Datas, Tokenizer

METRICS = {
    "quality/sentiment/accuracy": 91.25, "quality/sentiment/score": 91.25,
    "quality/sentiment/ece": 0.1, "quality/similarity/pearson": 50.0, "quality/mean": 70.0,
    "speed/onnx/b1-text-t1/p50_ms": 0.2, "speed/int8/b1-text-t1/p50_ms": 0.1,
}  # fmt: skip
STATED = HubConfig(license="apache-2.0", language=["en"], base_model="org/encoder")


def test_the_front_matter_has_the_stated_values_and_the_scores() -> None:
    front_matter = yaml.safe_load(
        card_data(STATED, {"sentiment": {}, "similarity": {}}, METRICS).to_yaml()
    )
    assert (front_matter["license"], front_matter["language"], front_matter["base_model"]) == (
        "apache-2.0",
        ["en"],
        "org/encoder",
    )
    assert "multi-task" in front_matter["tags"] and "datasets" not in front_matter
    (model,) = front_matter["model-index"]
    values = {
        (result["dataset"]["name"], metric["type"]): metric["value"]
        for result in model["results"]
        for metric in result["metrics"]
    }
    assert values == {("sentiment", "accuracy"): 0.9125, ("similarity", "pearsonr"): 0.5}


def test_an_exported_folder_has_the_layout_of_the_hub(
    tmp_path: Path, datas: Datas, tokenizer: Tokenizer
) -> None:
    student = make_student(replace(TRANSFORMER, layers=1), datas, len(tokenizer), 32, None)
    exports, home = tmp_path / "made", tmp_path / "home"
    export_onnx(student, tokenizer, exports / "onnx")
    export_int8(exports / "onnx", exports / "int8", Int8Config())
    for backend in ("onnx", "int8"):
        add_backend(exports / backend, backend, home)
    describe_exported(student, tokenizer, STATED, ["onnx", "int8"], METRICS, home)
    assert {file.name for file in (home / "onnx").glob("*.onnx")} == {
        "model.onnx",
        "model_int8.onnx",
    }
    assert student_manifest(home) == home / "onnx" / "student_int8.json", "the fastest"
    card = ModelCard.load(home / CARD)
    assert "| int8 | `onnx/model_int8.onnx` | 0.10 |" in card.text
    assert card.data.license == "apache-2.0" and card.data.eval_results
    assert 'mkd.Student.load("FOLDER")' in card.text and "`AutoModel` does not load it" in card.text
    assert (home / "tokenizer.json").is_file()


def test_the_tables_of_a_bag_have_their_own_folder(tmp_path: Path) -> None:
    exports, home = tmp_path / "made", tmp_path / "home"
    exports.mkdir()
    for name in ("student.npz", "student.json", "tokenizer.json"):
        (exports / name).write_text(name)
    add_backend(exports, "int8", home)
    assert [folder.name for folder in home.iterdir()] == ["int8"]
    copied = {file.name: file.read_text() for file in (home / "int8").iterdir()}
    assert copied == {name: name for name in ("student.npz", "student.json", "tokenizer.json")}


def test_a_push_creates_a_private_repository_and_uploads_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    def create(self: HfApi, name: str, **how: Any) -> str:
        sent.append({"name": name} | how)
        return "URL"

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", lambda self, **how: sent.append(how))
    assert push(tmp_path, HubConfig(push="me/small")) == "URL"
    assert sent[0] == {"name": "me/small", "private": True, "exist_ok": True}
    assert (sent[1]["repo_id"], sent[1]["folder_path"]) == ("me/small", tmp_path)


def test_an_unreachable_hub_gives_an_error_with_the_upload_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: HfApi, name: str, **how: Any) -> str:
        raise OSError("no route")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    with pytest.raises(ValueError, match=r"not taken it \(no route\).*hf upload me/small"):
        push(tmp_path, HubConfig(push="me/small"))


def test_a_push_is_checked_before_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    check_push(HubConfig())
    with pytest.raises(ValueError, match="hub.push is 'small'; allowed: USER/NAME"):
        check_push(HubConfig(push="small"))
    monkeypatch.setattr(exporter, "get_token", lambda: None)
    with pytest.raises(ValueError, match="`hf auth login`"):
        check_push(HubConfig(push="me/small"))
