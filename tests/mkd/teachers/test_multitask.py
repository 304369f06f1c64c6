"""Runs whose tasks are taught by checkpoints, files of logits and means of several teachers; and
notes about weak teachers."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from experiments.tracking import picture, table
from mkd.config import (
    AugmentConfig,
    Config,
    DataConfig,
    FinetuneConfig,
    LossConfig,
    SamplingConfig,
    StudentConfig,
    TrainConfig,
    TransferConfig,
)
from mkd.pipeline import run, run_teacher
from mkd.result import MODEL, Result
from mkd.runs.finetune import run_finetune
from mkd.students import load_model
from mkd.tasks import demo
from mkd.tasks.sources import load_tasks
from mkd.teachers import config_for_tasks, primary_tokenizer, weak_teacher_note
from mkd.teachers.refined import load_or_refine, refined_tokenizer
from mkd.tokenization.tokens import ModelData, TaskData
from tests.support.runs import DEMO, HARD, TASKS, RecordedReports, changed, demo_config, starting
from tests.support.tiny import Datas, Tokenizer, make_datas, make_tasks

TRAIN = TrainConfig(steps=6, batch_size=8, eval_every=3)


def config_of(folder: Path, sources: dict[str, list[str]], **changes: Any) -> Config:
    """A run with six steps per training. changes: `tasks`, `mean` (the teachers'), or sections."""
    mean, tasks = changes.pop("mean", "logits"), changes.pop("tasks", TASKS)
    settings = {
        "baseline": False, "data.tasks": tasks, "train": TRAIN, "teacher.train": TRAIN,
        "teacher.layers": 1, "teacher.sources": sources, "teacher.mean": mean,
    }  # fmt: skip
    return replace(demo_config(folder / "cache", settings), **changes)


def checkpoint(folder: Path, task: str, tokenizer: Tokenizer, name: str) -> str:
    """A tiny BERT with the task's labels in reverse order, and its own tokenizer."""
    labels = demo.DEMO_TASKS[task].labels[::-1] or ("score",)
    sizes: dict[str, Any] = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    torch.manual_seed(len(name))
    config = BertConfig(vocab_size=len(tokenizer), id2label=dict(enumerate(labels)), **sizes)
    BertForSequenceClassification(config).save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    return str(folder / name)


def gold_file(folder: Path, task: str, splits: tuple[str, ...] = ("train", "dev")) -> str:
    """A file of logits with the correct labels; rows without a label get those of label 0."""
    (loaded,) = load_tasks(DataConfig(tasks=[task], demo=DEMO))
    path = folder / f"{task}-{len(splits)}.jsonl"
    with path.open("w") as file:
        for split in splits:
            rows = (loaded.train if split == "train" else loaded.dev[""]).read()
            for number, row in enumerate(rows):
                label = row.label or 0.0
                logits = [4.0 * (label == i) for i in range(len(loaded.kind.labels))] or [label]
                file.write(json.dumps({"split": split, "row": number, "logits": logits}) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teaching")


@pytest.fixture(scope="module")
def mixed(folder: Path, tokenizer: Tokenizer) -> Result:
    """Three tasks, taught by a checkpoint, by a mean of the refined teacher and a checkpoint, and
    by a file without dev rows."""
    sources = {
        "sentiment": [checkpoint(folder, "sentiment", tokenizer, "c")],
        "paraphrase": ["refined", checkpoint(folder, "paraphrase", tokenizer, "cc")],
        "similarity": [gold_file(folder, "similarity", ("train",))],
    }
    return run(config_of(folder, sources, mean="probabilities"), folder / "mixed")


def test_one_run_can_use_every_kind_of_teacher(mixed: Result, folder: Path) -> None:
    assert mixed.teacher == "bert-1x8 + similarity-1.jsonl + bert-1x16"
    assert {"teacher/quality/sentiment/score", "agreement/paraphrase"} <= mixed.metrics.keys()
    speed = {"teacher/speed/torch/b1-text-t1/p50_ms", "speed/torch/b1-text-t1/ratio"}
    assert speed <= mixed.metrics.keys()
    (manifest,) = (folder / "cache" / "teachers").glob("*/manifest.json")
    assert list(json.loads(manifest.read_text())["parts"]["tasks"]) == ["paraphrase"]


def test_unknown_metrics_of_a_teacher_are_left_out(mixed: Result) -> None:
    kinds = ("teacher/quality", "agreement", "retention")
    absent = tuple(f"{kind}/{name}" for kind in kinds for name in ("similarity", "mean"))
    assert not [name for name in mixed.metrics if name.startswith(absent)]
    assert "quality/mean" in mixed.metrics and "quality/similarity/score" in mixed.metrics


def test_the_closing_table_shows_a_dash_for_unknown_values(mixed: Result) -> None:
    by_task = {line.split()[1]: line.split()[3::2] for line in table.result_table(mixed)[2:6]}
    assert [cell == "-" for cell in by_task["similarity"]] == [True, False, True, True]
    assert by_task["mean"][0] == "-" and by_task["sentiment"][0] != "-"
    info = picture.picture_data(mixed)
    assert np.isnan(info.scores["teacher"]).tolist() == [False, False, True, True]
    assert list(info.latency_ms) == ["student"]
    picture.draw(info).canvas.draw()


def test_file_teachers_have_scores_but_no_speed(folder: Path) -> None:
    sources = {task: [gold_file(folder, task)] for task in TASKS}
    result = run(config_of(folder, sources), folder / "files")
    assert result.metrics["teacher/quality/sentiment/accuracy"] == 100
    assert result.metrics["teacher/quality/similarity/pearson"] == pytest.approx(100)
    assert "teacher/quality/mean" in result.metrics and "retention/mean" in result.metrics
    assert not starting(result.metrics, "teacher/speed")
    assert not [name for name in result.metrics if name.endswith("/ratio")]
    assert "speed/torch/b1-text-t1/p50_ms" in result.metrics
    speed = next(line for line in table.result_table(result) if line.startswith("| ms a call"))
    assert [cell.strip() for cell in speed.split("|")[2:-1]] == ["torch"]
    assert not [note for note in result.notes if "WEAK TEACHER" in note]
    assert list(picture.picture_data(result).latency_ms) == ["student"]


def test_a_student_can_start_from_the_first_checkpoint(folder: Path, tokenizer: Tokenizer) -> None:
    sources = {task: [checkpoint(folder, task, tokenizer, f"start-{task}")] for task in TASKS}
    student = StudentConfig(kind="transformer", init="teacher", hidden=8, heads=2, layers=1)
    config = config_of(folder, sources, student=student, train=replace(TRAIN, learning_rate=1e-12))
    result = run(config, folder / "started")
    assert result.teacher == "bert-1x8" and len(result.teacher_key) == 20
    ours = load_model(folder / "started" / MODEL).get_input_embeddings().weight
    first = BertForSequenceClassification.from_pretrained(folder / "start-sentiment")
    theirs = first.get_input_embeddings().weight
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert (folder / "started" / MODEL / "tokenizer.json").is_file()


def test_labels_alone_need_no_logits(folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    reports = RecordedReports()
    sources = {task: [checkpoint(folder, task, tokenizer, f"start-{task}")] for task in TASKS}
    config = replace(config_of(folder, sources), loss=HARD, cache=str(tmp_path))
    result = run(config, tmp_path / "s", reports)
    assert not [name for name in result.metrics if name.startswith("teacher/")]
    assert not any("logits" in name for name in reports.names)


def test_added_rows_are_labelled(folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The first task gets a file's rows, and both get augmented ones. The teachers are a mean of
    two kinds and a checkpoint with its own tokenizer."""
    (tmp_path / "more.csv").write_text("body\nthe film was fine\nnobody came\n")
    sources = {
        "sentiment": ["refined", checkpoint(folder, "sentiment", tokenizer, "c")],
        "paraphrase": [checkpoint(folder, "paraphrase", tokenizer, "cc")],
    }
    config = config_of(tmp_path, sources, tasks=TASKS[:2])
    plain = run(config, tmp_path / "plain")
    transfer = [TransferConfig(str(tmp_path / "more.csv"), ["body"])]
    more = replace(config.data, transfer=transfer, augment=AugmentConfig(multiple=1))
    reports = RecordedReports()
    result = run(replace(config, data=more), tmp_path / "more", reports)
    assert result.teacher_key == plain.teacher_key
    assert not any(name.startswith("teacher/train") for name in reports.names)
    assert all(f"progress/logits of {task}" in reports.names for task in TASKS[:2])
    more_rows, rows = ([data.train_rows for data in r.datasets] for r in (result, plain))
    assert more_rows[0] > rows[0] + 2 and more_rows[1] > rows[1]
    assert all(np.isfinite(value) for value in result.metrics.values())


def test_a_finetuning_can_use_other_teachers(mixed: Result, folder: Path, tmp_path: Path) -> None:
    """The teachers cover only some of its tasks. One is a file without dev rows, and none is
    trained."""
    tasks = ["sentiment", "similarity"]
    files = {"sentiment": folder / "c", "similarity": folder / "similarity-1.jsonl"}
    sources = {task: [str(file)] for task, file in files.items()}
    student = StudentConfig(kind="bilstm", init="teacher")
    config = config_of(folder, sources, tasks=tasks, student=student)
    how = FinetuneConfig(mixed.folder, LossConfig(hard_weight=0.5), TRAIN)
    reports = RecordedReports()
    result = run_finetune(config, how, tmp_path / "s", reports)
    assert result.teacher == "bert-1x8 + similarity-1.jsonl"
    before = result.metrics["before/quality/similarity/score"]
    assert before == mixed.metrics["quality/similarity/score"]
    assert {"train/soft/similarity", "train/hard/sentiment"} <= set(reports.names)
    assert not any(name.startswith("teacher/") for name in reports.names)
    cells = {line.split()[1]: line.split()[3::2] for line in table.result_table(result)[2:5]}
    assert [cell == "-" for cell in cells["sentiment"]] == [False] * 5
    assert [cell == "-" for cell in cells["similarity"]] == [True, False, False, True, True]
    assert [cell == "-" for cell in cells["mean"]] == [True, False, False, True, True]

    alone = run_finetune(config, replace(how, loss=HARD), tmp_path / "alone")
    assert alone.teacher == ""
    assert table.result_table(alone)[0].split("|")[2:-1] == [" before ", " student "]
    gold = {task: [gold_file(folder, task, ("train",))] for task in tasks}
    gold_config = replace(config, teacher=replace(config.teacher, sources=gold))
    assert run_finetune(gold_config, how, tmp_path / "f").teacher.endswith("similarity-1.jsonl")


def test_copies_are_refused_for_file_teachers(folder: Path, tmp_path: Path) -> None:
    """The refusal comes before any row is read."""
    config = config_of(tmp_path, {"sentiment": ["a.jsonl"]})
    copied = replace(config, data=replace(config.data, augment=AugmentConfig(multiple=2)))
    message = (
        "data.augment.multiple is 2; allowed: 0, as a.jsonl of teacher.sources.sentiment has no "
        "answers for the copies"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run(copied, tmp_path / "s")
    assert not (tmp_path / "cache").exists()
    for sources in ({"sentiment": ["refined", "a.jsonl"]}, {"sentiment": ["refined"]}):
        other = replace(copied, teacher=replace(copied.teacher, sources=sources))
        assert config_for_tasks(other, load_tasks(other.data)) == other


def test_a_file_can_answer_some_rows_and_added_text(tmp_path: Path) -> None:
    """It answers 30 of the task's 80 rows, by their texts, and two of three added ones. The third
    and the rows with neither label nor answer are left out."""
    config = config_of(tmp_path, {}, tasks=["sentiment"])
    (task,) = load_tasks(config.data)
    added = ["the film was fine", "nobody came", "so it goes"]
    (tmp_path / "more.csv").write_text("\n".join(["body", *added]) + "\n")
    rows = list(task.train.read())
    answers = dict.fromkeys([row.text_a for row in rows[:30]] + added[:2], [0.9, 0.1])
    answers |= {row.text_a: [0.25, 0.75] for row in rows[:30] if row.label}
    file = tmp_path / "answers.jsonl"
    file.write_text(
        "".join(
            json.dumps({"split": "train", "text": text, "probabilities": chances}) + "\n"
            for text, chances in answers.items()
        )
    )
    transfer = [TransferConfig(str(tmp_path / "more.csv"), ["body"])]
    config = replace(
        config,
        data=replace(config.data, transfer=transfer),
        teacher=replace(config.teacher, sources={"sentiment": [str(file)]}),
    )
    reports = RecordedReports()
    result = run(config, tmp_path / "run", reports)
    (note,) = [note for note in result.notes if "the teacher answers" in note]
    (data,) = result.datasets
    counts = [int(number) for number in re.findall(r"\d+", note)]
    answered, total, alone, left_out = counts
    assert total == data.train_rows and answered + alone + left_out == total
    texts = [row.text_a for row in rows]
    assert sum(text in answers for text in texts) >= 30, "texts that occur again are answered too"
    assert 25 <= answered <= sum(text in answers for text in texts) + 2 and left_out >= 1
    assert not starting(result.metrics, "teacher/quality"), "its dev rows are not answered"
    assert math.isfinite(result.metrics["quality/mean"])
    assert {"train/soft/sentiment", "train/hard/sentiment"} <= set(reports.names)


def test_a_teacher_of_some_tasks_is_reused(folder: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path, {"similarity": [gold_file(folder, "similarity")]})
    teacher_result = run_teacher(config, tmp_path / "a")
    assert [data.task for data in teacher_result.datasets] == TASKS[:2]
    reports = RecordedReports()
    result = run(config, tmp_path / "b", reports)
    assert not any(name.startswith("teacher/train") for name in reports.names)
    score = result.metrics["teacher/quality/sentiment/score"]
    assert score == teacher_result.metrics["quality/sentiment/score"]
    assert result.teacher_key != teacher_result.teacher_key, "the file has a part in it"


def test_contradictory_teacher_settings_are_refused(folder: Path, tmp_path: Path) -> None:
    files = {task: [gold_file(folder, task)] for task in TASKS}
    tasks = load_tasks(DataConfig(tasks=TASKS, demo=DEMO))
    open_tasks = config_of(folder, {"other": ["x"]}, tasks=[])
    config = config_of(folder, files)
    started = replace(config, student=StudentConfig(kind="bilstm", init="teacher"))
    both = replace(config, teacher=replace(config.teacher, checkpoint="x"))
    for bad, message in [
        (open_tasks, "teacher.sources names 'other'; chosen: sentiment, paraphrase, similarity"),
        (started, "student.init is 'teacher'; allowed: empty or a checkpoint"),
        (both, "teacher.checkpoint is 'x'; allowed: empty, as teacher.sources names others"),
    ]:
        with pytest.raises(ValueError, match=message):
            config_for_tasks(bad, tasks)
    with pytest.raises(ValueError, match="teacher.sources names others for all tasks"):
        run_teacher(config, tmp_path)


def test_the_teachers_sampling_weights_are_for_its_own_tasks(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, {"similarity": [gold_file(folder, "similarity")]})
    weights = SamplingConfig(weights=dict.fromkeys(TASKS, 1.0))
    config = changed(config, {"teacher.train.sampling": weights})
    allowed = r"allowed: a weight for each of \['paraphrase', 'sentiment'\]"
    with pytest.raises(ValueError, match=allowed):
        run(config, tmp_path)


def test_a_bad_file_is_refused_before_any_training(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"split": "train", "row": 0, "logits": [1.0, 2.0]}) + "\n")
    reports = RecordedReports()
    with pytest.raises(ValueError, match="bad.jsonl:1: logits of row 0 of train are "):
        run(config_of(tmp_path, {"similarity": [str(bad)]}), tmp_path / "s", reports)
    assert not any("train/" in name for name in reports.names)


def test_a_teacher_below_the_majority_class_has_a_note(folder: Path, tmp_path: Path) -> None:
    path = Path(gold_file(folder, "sentiment"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    swapped = tmp_path / "swapped.jsonl"
    turned = [json.dumps(line | {"logits": line["logits"][::-1]}) for line in lines]
    swapped.write_text("".join(f"{line}\n" for line in turned))
    sources = {task: [gold_file(folder, task)] for task in TASKS[1:]}
    sources |= {"sentiment": [str(swapped), str(path)]}
    result = run(config_of(folder, sources), tmp_path / "s")
    weak = [note for note in result.notes if "WEAK TEACHER" in note]
    assert weak == [result.notes[0]], "it comes first; the good one of the two is not told of"
    assert weak[0].startswith("sentiment: WEAK TEACHER: swapped.jsonl scores 0.0 on the selection")
    assert f"note: {weak[0]}" in table.result_table(result)


def test_the_weak_teacher_note_matches_hand_computed_scores(datas: Datas) -> None:
    single, _, similarity = datas
    labels = np.array(single.train.labels)
    labels[single.selection_rows] = [1, 1, 1, 0, 1, 0, 1, 1]
    single = single._replace(train=single.train._replace(labels=labels))
    ones, zeros = np.tile([0.0, 1.0], (8, 1)), np.tile([1.0, 0.0], (8, 1))

    def note(data: TaskData, logits: np.ndarray) -> str:
        return weak_teacher_note(data, "t", logits, data.selection_rows)

    assert note(single, ones) == "", "as good as the most frequent class"
    weak = "t scores 25.0 on the selection split, always answering 'good' 75.0"
    assert weak in note(single, zeros)
    scores = similarity.train.labels[similarity.selection_rows][:, None]
    assert note(similarity, scores) == ""
    assert "t scores -100.0 on the selection split" in note(similarity, -scores)
    assert "t scores 0.0 on" in note(similarity, np.ones_like(scores))


def test_sources_do_not_change_the_keys_of_stored_teachers(
    tmp_path: Path, tasks: list[Any], tokenizer: Tokenizer
) -> None:
    """The manifest of a refined teacher has neither `sources` nor `mean`."""
    config = config_of(tmp_path, {"other": ["a", "b"]}, tasks=[], mean="probabilities")
    datas = make_datas(tmp_path, make_tasks(20, ["single"]), tokenizer)
    keys = {
        load_or_refine(
            each, config.stores, ModelData(tokenizer, datas, torch.device("cpu")), 60
        ).key
        for each in (config.teacher, replace(config.teacher, sources={}, mean="logits"))
    }
    (manifest,) = (tmp_path / "cache" / "teachers").glob("*/manifest.json")
    assert {manifest.parent.name} == keys
    assert json.loads(manifest.read_text())["parts"]["teacher"].keys() == {
        *("checkpoint", "pooling", "layers", "hidden", "heads", "vocabulary", "dropout", "train")
    }


def test_without_any_model_the_tokenizer_is_trained_on_the_tasks(folder: Path) -> None:
    config = config_of(folder, {task: [gold_file(folder, task)] for task in TASKS})
    tasks = load_tasks(config.data)
    root = config.stores.root
    learnt = refined_tokenizer(config.teacher, root, tasks)
    assert primary_tokenizer(config.teacher, root, tasks).get_vocab() == learnt.get_vocab()
