"""Storage of the teacher's hidden states, and runs that match them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BartConfig, BertModel, PreTrainedTokenizerBase

from mkd.config import DataConfig, LossConfig, MatchConfig, StudentConfig
from mkd.pipeline import run
from mkd.result import Result, no_report
from mkd.students import load_model
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Row
from mkd.teachers import config_for_tasks
from mkd.teachers.refined import RefinedModel, RefinedTeacher, load_or_refine
from mkd.teachers.states import STATES_FILE, check_disk_space, check_matched_layers, matched_states
from mkd.tokenization.tokenise import join_stores, tokenise_task
from mkd.tokenization.tokens import ModelData, TaskData
from mkd.training.batches import gather_inputs
from tests.support.checkpoints import bert, classifier, labeller
from tests.support.runs import (
    TASKS,
    RecordedReports,
    changed,
    demo_config,
    finetuning,
    reproducible,
    teacher_config,
    tuned,
)
from tests.support.students import student_of
from tests.support.tiny import Datas, Tokenizer, make_tasks, single_rows, split

CPU = torch.device("cpu")
ON = LossConfig(match=MatchConfig(weight=0.5))


@pytest.fixture(scope="module")
def refined(
    tmp_path_factory: pytest.TempPathFactory,
    datas: Datas,
    tokenizer: Tokenizer,
) -> RefinedModel:
    """A teacher with one layer of width 16, trained for four steps."""
    config = teacher_config(tmp_path_factory.mktemp("refined"))
    return load_or_refine(config.teacher, config.stores, ModelData(tokenizer, datas, CPU), 60)


def stores(cache: Path) -> set[Path]:
    return {path.parent for path in (cache / "states").glob("*/manifest.json")}


def head(cache: Path, refined: RefinedModel, data: TaskData) -> RefinedTeacher:
    return RefinedTeacher("bert", refined.key, data, refined, cache, PreTrainedTokenizerBase())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_states_are_the_means_of_the_encoders_states_of_each_single_row(
    place: int, tmp_path: Path, refined: RefinedModel, datas: Datas
) -> None:
    data = datas[place]
    (matched,) = matched_states(tmp_path, [0, -1], [head(tmp_path, refined, data)], no_report)
    rows = np.arange(len(data.train.labels))
    assert matched.of(rows).dtype == np.float16 and matched.of(rows).shape == (len(rows), 2, 16)
    for row in rows:
        inputs = gather_inputs(data.train, rows[row : row + 1], refined.layout)
        with torch.inference_mode():
            states = refined.model.encoder(
                input_ids=inputs.ids[:, 0], token_type_ids=inputs.types, output_hidden_states=True
            ).hidden_states
        expected = torch.stack([state[0].mean(0) for state in states]).numpy()
        np.testing.assert_allclose(
            matched.of(rows[row : row + 1])[0], expected, atol=2e-3, rtol=1e-3
        )


def test_states_of_a_checkpoint_match_transformers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """The reference is transformers alone, with the checkpoint's tokenizer, which joins a pair."""
    checkpoint = classifier(tmp_path, tokenizer, "same", "different")
    (matched,) = matched_states(tmp_path, [-1], [labeller(tmp_path, "pair", checkpoint)], no_report)
    encoder = BertModel.from_pretrained(checkpoint).eval()
    its = AutoTokenizer.from_pretrained(checkpoint)
    (task,) = make_tasks(names=["pair"])
    for number, row in enumerate(task.train.read()):
        with torch.inference_mode():
            states = encoder(**its(row.text_a, row.text_b, return_tensors="pt")).last_hidden_state
        ours, expected = matched.of(np.array([number]))[0, 0], states[0].mean(0).numpy()
        np.testing.assert_allclose(ours, expected, atol=2e-3, rtol=1e-3)


def test_layers_with_positive_or_negative_numbers_are_stored_once(
    tmp_path: Path, refined: RefinedModel, datas: Datas
) -> None:
    teachers = [head(tmp_path, refined, data) for data in datas]
    first = matched_states(tmp_path, [0, 1], teachers, no_report)
    written = {folder: (folder / STATES_FILE).stat().st_mtime_ns for folder in stores(tmp_path)}
    assert len(written) == 3
    again = matched_states(tmp_path, [-1, 0], teachers, no_report)
    assert {
        folder: (folder / STATES_FILE).stat().st_mtime_ns for folder in stores(tmp_path)
    } == written
    assert (first[0].places, again[0].places) == ([0, 1], [1, 0])
    assert {states.teacher for states in first} == {refined.key}
    matched_states(tmp_path, [1], teachers, no_report)
    assert len(stores(tmp_path)) == 6, "one layer alone is another store"
    layout = refined.layout._replace(max_length=20)
    for other in {"precision": "bfloat16"}, {"key": "k"}, {"layout": layout}:
        matched_states(
            tmp_path, [1], [head(tmp_path, refined._replace(**other), datas[0])], no_report
        )
    assert len(stores(tmp_path)) == 9


def test_only_the_states_of_added_rows_are_computed(
    tmp_path: Path, refined: RefinedModel, tokenizer: Tokenizer
) -> None:
    """The states of the other rows are not written again."""
    (task,) = make_tasks(names=["single"])
    added = split([Row(row.text_a, None, None) for row in single_rows(7, 5)])
    data = DataConfig(max_length=32)
    plain = tokenise_task(tmp_path, task, tokenizer, data, 0)
    more = tokenise_task(tmp_path, replace(task, added=(added,)), tokenizer, data, 0)
    assert len(more.train.labels) == 47
    (alone,) = matched_states(tmp_path, [1], [head(tmp_path, refined, plain)], no_report)
    before = stores(tmp_path)
    (matched,) = matched_states(tmp_path, [1], [head(tmp_path, refined, more)], no_report)
    (new,) = stores(tmp_path) - before
    assert (new / STATES_FILE).stat().st_size == 2 * 7 * 16
    rows = np.array([46, 0, 40, 39])
    np.testing.assert_array_equal(matched.of(rows)[[1, 3]], alone.of(rows[[1, 3]]))
    joined = join_stores(tmp_path, list(more.train.parts))
    copied = more._replace(train=joined._replace(parts=(), fingerprint="other"))
    (together,) = matched_states(tmp_path, [1], [head(tmp_path, refined, copied)], no_report)
    ours, theirs = (states.of(rows).astype(float) for states in (matched, together))
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_their_size_is_reported_first(tmp_path: Path, refined: RefinedModel, datas: Datas) -> None:
    teachers = [head(tmp_path, refined, data) for data in datas]
    there: list[bool] = []
    reports = RecordedReports()

    def report(step: int, metrics: dict[str, float]) -> None:
        reports(step, metrics)
        there.append(bool(stores(tmp_path)))

    matched_states(tmp_path, [0, 1], teachers, report)
    size = sum((folder / STATES_FILE).stat().st_size for folder in stores(tmp_path))
    assert size == 3 * 40 * 2 * 16 * 2
    name = f"progress/hidden states, 0.0 MB in {tmp_path}"
    assert reports[:2] == [{"states/bytes": size}, {name: 0.0}]
    assert there[:2] == [False, False]
    assert reports.of(name) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    again = RecordedReports()
    matched_states(tmp_path, [0, 1], teachers, again)
    assert again == [{"states/bytes": size}], "nothing is to be written"


def test_a_full_disk_is_refused_with_both_sizes(tmp_path: Path) -> None:
    check_disk_space(tmp_path, 1)
    with pytest.raises(ValueError) as caught:
        check_disk_space(tmp_path, 2**80)
    message = f"loss.match needs 1,208,925,819,614,629,174,706,176 bytes in {tmp_path}"
    assert str(caught.value).startswith(message)


def test_states_beyond_float16_are_refused(
    tmp_path: Path, refined: RefinedModel, datas: Datas
) -> None:
    large = load_model_like(refined)
    for name, parameter in large.model.named_parameters():
        if name.endswith("layer.0.output.LayerNorm.bias"):
            torch.nn.init.constant_(parameter, 1e5)
    with pytest.raises(ValueError, match=r"states of layers \[1\] exceed 65,504"):
        matched_states(tmp_path, [0, 1], [head(tmp_path, large, datas[0])], no_report)
    assert not stores(tmp_path)


def load_model_like(refined: RefinedModel) -> RefinedModel:
    """A copy of the teacher under another key, to be modified."""
    model = type(refined.model)(refined.model.config)
    model.load_state_dict(refined.model.state_dict())
    return refined._replace(model=model, key="changed")


# Refusals.


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x.jsonl"], "x.jsonl has only logits"),
        (["refined", "x.parquet"], "x.parquet has only logits"),
        (["refined", "some/checkpoint"], "2 teachers have no hidden states in common"),
    ],
)
def test_teachers_without_states_are_refused(
    names: list[str], message: str, tmp_path: Path
) -> None:
    config = demo_config(tmp_path, {"teacher.sources": {"paraphrase": names}}, loss=ON)
    with pytest.raises(ValueError) as caught:
        run(config, tmp_path / "s")
    expected = "loss.match.weight is 0.5; allowed: 0, as of teacher.sources.paraphrase"
    assert str(caught.value) == f"{expected} {message}"
    assert not any(tmp_path.iterdir()), "nothing is stored"
    off = replace(config, loss=LossConfig())
    assert config_for_tasks(off, load_tasks(config.data)) == off


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ({"teacher_layers": [0, 3]},
         "loss.match.teacher_layers is [0, 3]; allowed: from -3 to 2, where 0 is"),
        ({"teacher_layers": [-4, 0]},
         "loss.match.teacher_layers is [-4, 0]; allowed: from -3 to 2, where 0 is"),
        ({"student_layers": [0, 3]},
         "loss.match.student_layers is [0, 3]; allowed: from -3 to 2, where 0 is"),
    ],
)  # fmt: skip
def test_missing_layers_are_refused(match: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = demo_config(tmp_path / "cache", loss=LossConfig(match=MatchConfig(1.0, **match)))
    with pytest.raises(ValueError) as caught:
        run(config, tmp_path / "s")
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "cache" / "teachers").exists()


def test_configs_give_the_layer_counts(tmp_path: Path, datas: Datas, tokenizer: Tokenizer) -> None:
    student = student_of(StudentConfig(kind="bilstm", hidden=8, embedding=8), datas, tokenizer)
    settings, match = teacher_config(tmp_path).teacher, MatchConfig(1.0, [2], [0])
    bert(["bad", "good"], tokenizer).save_pretrained(tmp_path / "one-layer")
    BartConfig().save_pretrained(tmp_path / "bart")
    for name, message in {
        "one-layer": "loss.match.teacher_layers is [2]; allowed: from -2 to 1, where 0 is",
        "bart": "loss.match.weight is 1.0; allowed: 0, as {name} has the states of an encoder",
    }.items():
        folder = str(tmp_path / name)
        for teacher in {"sources": {"single": [folder]}}, {"checkpoint": folder}:
            with pytest.raises(ValueError) as caught:
                check_matched_layers(
                    changed(settings, teacher), match, make_tasks(names=["single"]), student
                )
            assert str(caught.value).startswith(message.format(name=folder))


# Whole runs.


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matching")


@pytest.fixture(scope="module")
def plain(shared: Path) -> Result:
    return run(demo_config(shared / "cache"), shared / "plain")


def test_matching_changes_only_the_student(plain: Result, shared: Path, tmp_path: Path) -> None:
    reports = RecordedReports()
    matched = run(demo_config(shared / "cache", loss=ON), tmp_path / "s", reports)
    reported = set(reports.names)
    assert {"states/bytes", *(f"train/match/{task}" for task in TASKS)} <= reported
    others = ("baseline/train/match", "teacher/train/match")
    assert not any(name.startswith(others) for name in reported)
    # There is no min_confidence if the teacher answers everything.
    missing = matched.metrics.keys() ^ plain.metrics.keys()
    assert all(name.endswith("/min_confidence") for name in missing)
    assert matched.teacher_key == plain.teacher_key
    for name in ("baseline/quality/mean", "teacher/quality/mean", "size/parameters", "size/bytes"):
        assert matched.metrics[name] == plain.metrics[name]
    ours, theirs = (load_model(Path(result.folder)).state_dict() for result in (matched, plain))
    assert ours.keys() == theirs.keys()
    assert any(not torch.equal(value, theirs[name]) for name, value in ours.items())
    again = run(demo_config(shared / "cache", loss=ON), tmp_path / "again")
    assert reproducible(again) == reproducible(matched)


@pytest.mark.parametrize(
    "student",
    [
        StudentConfig(kind="bag", hidden=8, layers=2),
        StudentConfig(kind="transformer", init="teacher", hidden=16, layers=1),
    ],
    ids=lambda student: student.kind,
)
def test_every_kind_matches_in_bf16(student: StudentConfig, shared: Path, tmp_path: Path) -> None:
    half = {"train.precision": "bfloat16", "baseline": False}
    reports = RecordedReports()
    run(demo_config(shared / "cache", half, loss=ON, student=student), tmp_path, reports)
    losses = reports.of(f"train/match/{TASKS[0]}")
    assert losses and all(np.isfinite(losses))


def test_a_finetuning_can_match_states(plain: Result, shared: Path, tmp_path: Path) -> None:
    reports = RecordedReports()
    config = finetuning(shared / "cache", plain.folder, TASKS, replace(ON, hard_weight=0.5))
    tuned(config, tmp_path / "s", reports)
    assert "train/match/similarity" in reports.names
    bad = changed(config, {"finetune.loss": LossConfig(match=MatchConfig(1.0, [0], [5]))})
    with pytest.raises(ValueError, match=r"match.student_layers is \[5\]; allowed: from -3 to 2"):
        tuned(bad, tmp_path / "bad")
