import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mkd.config import Config, DataConfig, SamplingConfig, TeacherConfig, TrainConfig
from mkd.evaluation.scoring import predict_logits, torch_infer
from mkd.result import Report, no_report
from mkd.storage.pretrained import load_encoder, load_tokenizer
from mkd.students.transformer import TransformerStudent
from mkd.tasks.task import Row, Task
from mkd.teachers.refined import (
    RefinedModel,
    load_or_refine,
    refined_logits,
    refined_teachers,
    refined_tokenizer,
    with_limited_steps,
)
from mkd.tokenization.tokens import ModelData, TaskData, labelled_rows
from tests.support.runs import RecordedReports, changed, teacher_config
from tests.support.tiny import (
    MINILM,
    Datas,
    Tokenizer,
    make_datas,
    make_tasks,
    make_tokenizer,
    pair_rows,
    split,
)

CPU = torch.device("cpu")


def load_refined(
    config: Config, datas: Datas, tokenizer: Tokenizer, report: Report = no_report
) -> RefinedModel:
    side = ModelData(tokenizer, datas, CPU)
    return load_or_refine(config.teacher, config.stores, side, config.checkpoint_seconds, report)


def refine(
    config: Config, datas: Datas, tokenizer: Tokenizer
) -> tuple[TransformerStudent, str, bool]:
    """The teacher, its key, and whether it was trained by this call."""
    reports = RecordedReports()
    refined = load_refined(config, datas, tokenizer, reports)
    return refined.model, refined.key, any(name.startswith("train/") for name in reports.names)


def relabelled(data: TaskData, row: int, label: float) -> TaskData:
    labels = np.array(data.train.labels)
    labels[row] = label
    return data._replace(train=data.train._replace(labels=labels))


def test_a_teacher_is_trained_once(tmp_path: Path, datas: Datas, tokenizer: Tokenizer) -> None:
    first, key, trained = refine(teacher_config(tmp_path), datas, tokenizer)
    assert trained
    again, same_key, trained = refine(teacher_config(tmp_path), datas, tokenizer)
    assert not trained
    assert key == same_key and not first.training and not again.training
    second = again.state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.state_dict().items())
    assert load_tokenizer(tmp_path / "teachers" / key, "").get_vocab() == tokenizer.get_vocab()
    parts = json.loads((tmp_path / "teachers" / key / "manifest.json").read_text())["parts"]
    assert not {"sources", "mean"} & parts["teacher"].keys()


@pytest.mark.parametrize(
    ("checkpoint", "epochs", "steps"),
    [
        ("", 0, 5000),
        ("", None, 5000),
        ("", 100, 400),
        ("", 100.1, 401),
        ("", 75, 300),
        ("", 2, 300),
        ("", 1e6, 5000),
        ("encoder", None, 300),
        ("encoder", 0, 5000),
        ("encoder", 200, 800),
    ],
)
def test_the_steps_exceed_no_maximum_of_epochs(
    datas: Datas, checkpoint: str, epochs: float | None, steps: int
) -> None:
    """The labelled rows are 4 times a batch. Fewer than 300 steps are not taken."""
    num_rows = sum(len(labelled_rows(data)) for data in datas)
    assert num_rows % 4 == 0
    train = TrainConfig(steps=5000, batch_size=num_rows // 4)
    settings = TeacherConfig(checkpoint=checkpoint, max_epochs=epochs, train=train)
    limited = with_limited_steps(settings, datas)
    assert limited == replace(settings, train=replace(train, steps=steps))
    few = replace(settings, train=replace(train, steps=50))
    assert with_limited_steps(few, datas) == few


def test_a_teacher_from_a_checkpoint_makes_eight_passes(datas: Datas) -> None:
    num_rows = sum(len(labelled_rows(data)) for data in datas)
    train = TrainConfig(steps=5000, batch_size=1)
    limited = with_limited_steps(TeacherConfig(checkpoint="encoder", train=train), datas)
    assert limited.train.steps == 8 * num_rows > 300


def test_a_maximum_of_epochs_makes_the_teacher_of_so_many_steps(
    tmp_path: Path, datas: Datas, tokenizer: Tokenizer
) -> None:
    """One that changes nothing is not in the key."""
    config = changed(teacher_config(tmp_path), {"teacher.train.steps": 301})
    _, key, _ = refine(config, datas, tokenizer)
    _, same_key, trained = refine(changed(config, {"teacher.max_epochs": 1e6}), datas, tokenizer)
    assert same_key == key and not trained
    _, other_key, _ = refine(changed(config, {"teacher.max_epochs": 1e-6}), datas, tokenizer)
    fewer = changed(config, {"teacher.train.steps": 300})
    assert other_key != key and refine(fewer, datas, tokenizer)[1:] == (other_key, False)


def test_a_teacher_labels_in_the_precision_of_its_training(
    tmp_path: Path, datas: Datas, tokenizer: Tokenizer
) -> None:
    """Half precision is up to 2.8 times as fast on processors that support it."""
    for precision in ("float32", "bfloat16"):
        refined = load_refined(teacher_config(tmp_path, {"precision": precision}), datas, tokenizer)
        side = ModelData(tokenizer, datas, CPU)
        logits = refined_teachers(refined, tmp_path, side)[0].logits("dev")
        store = datas[0].dev[""]
        answers = {
            each: predict_logits(
                torch_infer(refined.model, each),
                store,
                np.arange(len(store.labels)),
                datas[0].name,
                refined.layout,
            )
            for each in ("float32", "bfloat16")
        }
        np.testing.assert_array_equal(logits, answers.pop(precision))
        (other,) = answers.values()
        assert not np.array_equal(logits, other)


def test_training_is_deterministic(tmp_path: Path, datas: Datas, tokenizer: Tokenizer) -> None:
    models = [refine(teacher_config(tmp_path / n), datas, tokenizer)[0] for n in ("one", "other")]
    one, other = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_unlabelled_rows_do_not_change_the_teacher(
    tmp_path: Path, tasks: list[Task], tokenizer: Tokenizer
) -> None:
    config = teacher_config(tmp_path)
    _, key, _ = refine(config, make_datas(tmp_path, tasks, tokenizer), tokenizer)
    more = make_datas(tmp_path, make_tasks(unlabelled=9), tokenizer)
    assert [len(data.train_rows) for data in more] == [41] * 3
    assert [len(labelled_rows(data)) for data in more] == [32] * 3
    assert refine(config, more, tokenizer)[1:] == (key, False)


def test_keys_cover_settings_and_rows(tmp_path: Path, datas: Datas, tokenizer: Tokenizer) -> None:
    config = teacher_config(tmp_path)
    row = int(datas[0].train_rows[0])
    others = [relabelled(datas[0], row, 1 - datas[0].train.labels[row]), *datas[1:]]
    unlabelled = [relabelled(datas[0], row, float("nan")), *datas[1:]]
    moved = datas[0]._replace(train_rows=datas[0].train_rows[1:])
    renamed = datas[0]._replace(name="other")
    keys = [
        refine(each, data, tokenizer)[1]
        for each, data in [
            (config, datas),
            (config, others),
            (config, unlabelled),
            (config, [renamed, *datas[1:]]),
            (config, datas[:2]),
            (teacher_config(tmp_path, seed=1), datas),
            (teacher_config(tmp_path, train={"steps": 5}), datas),
            (teacher_config(tmp_path, train={"sampling": SamplingConfig(alpha_end=0.0)}), datas),
            (
                teacher_config(tmp_path, train={"sampling": SamplingConfig(order="round_robin")}),
                datas,
            ),
            (changed(config, {"teacher.pooling": "first"}), datas),
            (replace(config, data=DataConfig(max_length=40)), datas),
        ]
    ]
    assert len(set(keys)) == len(keys)
    # An unlabelled row has no effect.
    assert refine(config, [moved, *datas[1:]], tokenizer)[1] == keys[2]


def test_the_key_ignores_the_student(tmp_path: Path, datas: Datas, tokenizer: Tokenizer) -> None:
    config = teacher_config(tmp_path)
    _, key, _ = refine(config, datas, tokenizer)
    settings = {"train.steps": 1, "student.hidden": 4, "baseline": False}
    assert refine(changed(config, settings), datas, tokenizer)[1:] == (key, False)


def test_stored_logits_are_the_teachers(tmp_path: Path, datas: Datas, tokenizer: Tokenizer) -> None:
    teacher = load_refined(teacher_config(tmp_path), datas, tokenizer)
    for data in datas:
        stored = refined_logits(tmp_path, teacher, data.train, data.name)
        rows = np.arange(40)[::-1].copy()
        direct = predict_logits(
            torch_infer(teacher.model), data.train, rows, data.name, teacher.layout
        )
        np.testing.assert_allclose(stored[::-1], direct, atol=1e-5)
        assert stored.shape == (40, data.kind.num_logits)


def test_logits_are_computed_once(tmp_path: Path, datas: Datas, tokenizer: Tokenizer) -> None:
    teacher = load_refined(teacher_config(tmp_path), datas, tokenizer)
    reports, none = RecordedReports(), RecordedReports()
    first = refined_logits(tmp_path, teacher, datas[0].train, "single", reports)
    assert reports.of("progress")[-1] == 1
    again = refined_logits(tmp_path, teacher, datas[0].train, "single", none)
    np.testing.assert_array_equal(again, first)
    assert none == []


def test_only_the_logits_of_added_rows_are_computed(
    tmp_path: Path, tasks: list[Task], datas: Datas, tokenizer: Tokenizer
) -> None:
    teacher = load_refined(teacher_config(tmp_path), datas, tokenizer)
    alone = refined_logits(tmp_path, teacher, datas[1].train, "pair")
    more = tuple(split([row._replace(label=None) for row in pair_rows(num, num)]) for num in (7, 9))
    (data,) = make_datas(tmp_path, [replace(tasks[1], added=more)], tokenizer)
    done: list[int] = []
    logits = refined_logits(
        tmp_path, teacher, data.train, "pair", lambda step, _: done.append(step)
    )
    assert done == [7, 9], "the rows of either split, in one batch each"
    np.testing.assert_array_equal(logits[:40], alone)
    direct = predict_logits(
        torch_infer(teacher.model), data.train, np.arange(56), "pair", teacher.layout
    )
    np.testing.assert_allclose(logits, direct, atol=1e-5)


def test_added_text_does_not_change_the_teacher(
    tmp_path: Path, tasks: list[Task], tokenizer: Tokenizer
) -> None:
    config = teacher_config(tmp_path)
    texts = [[row._replace(label=None) for row in task.dev[""].read()] for task in tasks]
    more = [replace(t, added=(split(rows),)) for t, rows in zip(tasks, texts, strict=True)]
    assert refined_tokenizer(config.teacher, tmp_path, more).get_vocab() == tokenizer.get_vocab()
    _, key, _ = refine(config, make_datas(tmp_path, tasks, tokenizer), tokenizer)
    assert refine(config, make_datas(tmp_path, more, tokenizer), tokenizer)[1:] == (key, False)


def test_teachers_have_their_own_logits(tmp_path: Path, datas: Datas, tokenizer: Tokenizer) -> None:
    logits = []
    for seed in (0, 1):
        teacher = load_refined(teacher_config(tmp_path, seed=seed), datas, tokenizer)
        for task in ("pair", "score"):
            logits.append(np.array(refined_logits(tmp_path, teacher, datas[1].train, task)))
    assert not np.allclose(logits[0], logits[2])
    assert not np.allclose(logits[1], logits[3])


def test_a_teacher_can_be_refined_from_a_checkpoint(tmp_path: Path, datas: Datas) -> None:
    """One step with a tiny learning rate leaves MiniLM's layers unchanged."""
    steps = {"steps": 1, "batch_size": 2, "learning_rate": 1e-12, "weight_decay": 0.0}
    config = changed(teacher_config(tmp_path, steps), {"teacher.checkpoint": str(MINILM)})
    tokenizer = refined_tokenizer(config.teacher, tmp_path, [])
    minilm = make_datas(tmp_path, make_tasks(20), tokenizer)
    teacher, _, _ = refine(config, minilm, tokenizer)
    whole = load_encoder(MINILM, "teacher.checkpoint").state_dict()
    expected = {name: v for name, v in whole.items() if not name.startswith("pooler.")}
    torch.testing.assert_close(dict(teacher.encoder.state_dict()), expected, atol=1e-6, rtol=1e-5)


ROOT = Path(__file__).resolve().parents[3]
LEARN = """
import sys
from pathlib import Path
from tests.support.tiny import make_tasks, make_tokenizer
make_tokenizer(Path(sys.argv[1]), make_tasks(100))
"""


@pytest.mark.slow
def test_a_trained_tokenizer_is_the_same_in_every_process(tmp_path: Path) -> None:
    make_tokenizer(tmp_path / "here", make_tasks(100))
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", LEARN, str(tmp_path / "there")]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here, there = ((tmp_path / name).rglob("tokenizer.json") for name in ("here", "there"))
    assert next(here).read_bytes() == next(there).read_bytes()


def test_a_trained_tokenizer_knows_its_words(tmp_path: Path, tasks: list[Task]) -> None:
    rows = split([Row("Film film film sea", None, 0.0), Row("sea Sea", None, None)])
    task = Task("t", tasks[0].kind, rows, {})
    tokenizer = refined_tokenizer(TeacherConfig(vocabulary=100), tmp_path, [task])
    assert tokenizer.tokenize("FILM sea Zebra") == ["film", "sea", "[UNK]"]
    pair = tokenizer("film", "sea")
    assert tokenizer.decode(pair["input_ids"]) == "[CLS] film [SEP] sea [SEP]"
    assert pair["token_type_ids"] == [0, 0, 0, 1, 1]
    assert tokenizer.pad_token_id == 0


@pytest.mark.parametrize("num", [1, 3])
def test_a_tokenizer_is_trained_once(num: int, tmp_path: Path) -> None:
    reads = []
    (task,) = make_tasks(10, ("single",))

    def read() -> Iterator[Row]:
        reads.append(1)
        return task.train.read()

    counted = replace(task, train=task.train._replace(read=read))
    for _ in range(num):
        refined_tokenizer(TeacherConfig(vocabulary=120), tmp_path, [counted])
    assert len(reads) == 2, "once for the letters, once for the merges"
