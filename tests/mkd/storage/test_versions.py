import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertModel

from mkd.config import (
    AugmentConfig,
    Config,
    DataConfig,
    DemoConfig,
    ExportConfig,
    PretrainConfig,
    SpeedConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
)
from mkd.pipeline import prepare, run, untrained_student
from mkd.pretraining import pretrain
from mkd.result import no_report
from mkd.runs.candidate import measure_cost
from mkd.selection.split import SPLIT_VERSION
from mkd.storage import versions
from mkd.storage.versions import STAGES, Stage, version_key
from mkd.teachers.contents import checkpoint_hashes, row_fingerprints
from mkd.teachers.imported import import_logits
from mkd.tokenization.tokenise import token_store
from tests.support.checkpoints import bert, saved
from tests.support.runs import demo_config
from tests.support.tiny import Tokenizer, make_tasks, make_tokenizer


def test_another_version_is_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, tokenizer and settings are the same; only versions change."""
    (task,) = make_tasks(10, ["single"])
    tokenizer = make_tokenizer(tmp_path / "own", [task])

    def stored_keys() -> set[str]:
        token_store(tmp_path, task.train, task.kind, tokenizer, 32)
        return {path.parent.name for path in (tmp_path / "tokens").glob("*/manifest.json")}

    first = stored_keys()
    assert stored_keys() == first and len(first) == 1
    monkeypatch.setitem(STAGES, "tokens", STAGES["tokens"]._replace(version=99))
    assert len(stored_keys()) == 2
    monkeypatch.setattr(
        versions, "_installed", {"tokenizers": "0.0", "transformers": "0.0"}.__getitem__
    )
    assert len(stored_keys()) == 3


def test_a_stage_is_keyed_by_its_version_and_its_libraries() -> None:
    import torch
    import transformers

    made_by = version_key("teachers")["made_by"]
    assert made_by == {
        "version": STAGES["teachers"].version,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def test_every_store_of_a_run_records_what_made_it(tmp_path: Path) -> None:
    """The stores depend on code that has a version. The selection split has its own version."""
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
    kinds = checked_kinds(tmp_path / "cache")
    assert {"tokens", "teachers", "logits", "tokenizers", "words"} <= kinds


def checked_kinds(cache: Path) -> set[str]:
    """Returns the kinds of stores in a cache, and checks that each key has a version."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for manifest in cache.glob("*/*/manifest.json"):
        kinds.setdefault(manifest.parents[1].name, []).append(
            json.loads(manifest.read_text())["parts"]
        )
    for kind, parts_of_stores in kinds.items():
        for parts in parts_of_stores:
            version = parts["made_by"]["version"] if kind in STAGES else parts["version"]
            assert version == (STAGES[kind].version if kind in STAGES else SPLIT_VERSION), kind
    return set(kinds)


@pytest.mark.usefixtures("quiet")
def test_the_stores_that_not_every_run_has_record_it_too(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    """They are from pretraining, which reads hidden states, from a measured cost and from a file of
    answers."""
    encoder = saved(BertModel(bert(("a", "b"), tokenizer)), tokenizer, tmp_path / "encoder")
    config = demo_config(
        tmp_path / "cache",
        {"teacher.checkpoint": encoder, "train.learning_rate": 1e-2},
        pretrain=PretrainConfig(steps=1),
        student=StudentConfig(kind="bag", hidden=16, embedding=16, buckets=64),
    )
    data = prepare(config)
    assert data.untrained_teacher is not None
    torch.manual_seed(0)
    student = untrained_student(config.student, 64, data.student_data, None)
    pretrain(
        config, student, data.student_data, data.teacher_data, data.untrained_teacher, no_report
    )
    measure_cost(data, config, "torch")
    task, file = data.tasks[0], tmp_path / "answers.jsonl"
    rows = [
        {"split": "train", "row": row, "logits": [0.0] * task.kind.num_logits} for row in range(9)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_logits(config.stores.root, file, task, data.student_data.datas[0])
    assert {"pretrained", "states", "costs", "imported"} <= checked_kinds(config.stores.root)


def test_contents_are_those_of_the_files_whatever_their_names(tmp_path: Path) -> None:
    file, folder = tmp_path / "sst2.jsonl", tmp_path / "encoder"
    folder.mkdir()
    config = Config(
        teacher=TeacherConfig(checkpoint=str(folder), sources={"sst2": ["refined", str(file)]})
    )
    hashes = []
    for text, sizes in (("{}", "{}"), ("{ }", "{}"), ("{}", "[]"), ("{}", "{}")):
        file.write_text(text)
        (folder / "config.json").write_text(sizes)
        hashes.append(checkpoint_hashes(config.teacher, config.student, config.data))
    assert set(hashes[0]) == {"teacher.checkpoint", f"teacher.sources.sst2.{file}"}
    assert hashes[0] == hashes[3] and hashes[0] != hashes[1] != hashes[2] != hashes[0]
    assert checkpoint_hashes(TeacherConfig(), StudentConfig(), DataConfig()) == {}
    file.unlink()
    with pytest.raises(ValueError, match="teacher.sources.sst2.* no such file"):
        checkpoint_hashes(config.teacher, config.student, config.data)


def test_fingerprints_differ_for_other_rows() -> None:
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
