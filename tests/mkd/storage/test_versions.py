import json
from pathlib import Path
from typing import Any

import pytest

from mkd.config import (
    AugmentConfig,
    Config,
    DataConfig,
    DemoConfig,
    ExportConfig,
    SpeedConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
)
from mkd.pipeline import run
from mkd.selection.split import SPLIT_VERSION
from mkd.storage import versions
from mkd.storage.versions import STAGES, Stage, version_key
from mkd.teachers.contents import checkpoint_hashes, row_fingerprints
from mkd.tokenization.tokenise import token_store
from tests.support.tiny import make_tasks, make_tokenizer


def test_another_version_makes_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else has changed: rows, tokenizer and settings are the same."""
    (task,) = make_tasks(10, ["single"])
    tokenizer = make_tokenizer(tmp_path / "own", [task])

    def made() -> set[str]:
        token_store(tmp_path, task.train, task.kind, tokenizer, 32)
        return {path.parent.name for path in (tmp_path / "tokens").glob("*/manifest.json")}

    first = made()
    assert made() == first and len(first) == 1
    monkeypatch.setitem(STAGES, "tokens", STAGES["tokens"]._replace(version=99))
    assert len(made()) == 2
    monkeypatch.setattr(
        versions, "_installed", {"tokenizers": "0.0", "transformers": "0.0"}.__getitem__
    )
    assert len(made()) == 3


def test_what_a_stage_is_made_by_are_its_version_and_its_libraries() -> None:
    import torch
    import transformers

    found = version_key("teachers")["made_by"]
    assert found == {
        "version": STAGES["teachers"].version,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def test_every_store_of_a_run_tells_what_made_it(tmp_path: Path) -> None:
    """Of those that depend on code that has a version; how rows are split tells its own."""
    small = DemoConfig(train_rows=40, unlabelled_rows=0, dev_rows=10)
    teacher = TeacherConfig(layers=1, hidden=8, heads=2, vocabulary=200, train=TrainConfig(steps=2))
    student = StudentConfig(kind="bag", hidden=8, layers=1, buckets=16)
    data = DataConfig(tasks=["sentiment"], demo=small, augment=AugmentConfig(multiple=1))
    run(
        Config(
            data=data, teacher=teacher, student=student, train=TrainConfig(steps=2), baseline=False,
            threads=1, export=ExportConfig(backends=[]), speed=SpeedConfig(seconds=0),
            cache=str(tmp_path / "cache"),
        ),
        tmp_path / "run",
    )  # fmt: skip
    kinds: dict[str, list[dict[str, Any]]] = {}
    for manifest in (tmp_path / "cache").glob("*/*/manifest.json"):
        kinds.setdefault(manifest.parents[1].name, []).append(
            json.loads(manifest.read_text())["parts"]
        )
    assert {"tokens", "teachers", "logits", "tokenizers", "words"} <= set(kinds)
    for kind, found in kinds.items():
        for parts in found:
            version = parts["made_by"]["version"] if kind in STAGES else parts["version"]
            assert version == (STAGES[kind].version if kind in STAGES else SPLIT_VERSION), kind


def test_contents_are_those_of_the_files_whatever_their_names(tmp_path: Path) -> None:
    file, folder = tmp_path / "sst2.jsonl", tmp_path / "encoder"
    folder.mkdir()
    config = Config(
        teacher=TeacherConfig(checkpoint=str(folder), sources={"sst2": ["refined", str(file)]})
    )
    found = []
    for text, sizes in (("{}", "{}"), ("{ }", "{}"), ("{}", "[]"), ("{}", "{}")):
        file.write_text(text)
        (folder / "config.json").write_text(sizes)
        found.append(checkpoint_hashes(config.teacher, config.student, config.data))
    assert set(found[0]) == {"teacher.checkpoint", f"teacher.sources.sst2.{file}"}
    assert found[0] == found[3] and found[0] != found[1] != found[2] != found[0]
    assert checkpoint_hashes(TeacherConfig(), StudentConfig(), DataConfig()) == {}
    file.unlink()
    with pytest.raises(ValueError, match="teacher.sources.sst2.* no such file"):
        checkpoint_hashes(config.teacher, config.student, config.data)


def test_fingerprints_tell_swapped_labels_and_another_order() -> None:
    tasks, others = make_tasks(10, ["single"]), make_tasks(12, ["single"])
    assert (
        row_fingerprints(tasks)
        == row_fingerprints(make_tasks(10, ["single"]))
        != row_fingerprints(others)
    )
    assert (
        list(row_fingerprints(tasks)) == ["single"] and len(row_fingerprints(tasks)["single"]) == 2
    )


def test_without_libraries_the_version_alone_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "imported", Stage(7))
    assert version_key("imported") == {"made_by": {"version": 7}}
