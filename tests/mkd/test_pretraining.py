"""Pretraining of a student on text before the tasks."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertModel

from mkd.config import Config, LossConfig, PretrainConfig, StudentConfig, TextFileConfig
from mkd.pipeline import prepare, run, untrained_student
from mkd.pretraining import explained_percent, pretrain, single_texts
from mkd.runtime.layout import Layout
from mkd.students import Student
from mkd.tokenization.tokens import Inputs
from mkd.training.batches import TaskRows
from tests.support.checkpoints import bert, saved
from tests.support.runs import RecordedReports, changed, demo_config, same_weights, starting
from tests.support.tiny import Datas, Tokenizer

pytestmark = pytest.mark.usefixtures("quiet")
KINDS = {
    "bilstm": StudentConfig(kind="bilstm", hidden=8),
    "transformer": StudentConfig(kind="transformer", hidden=16),
    "bag": StudentConfig(kind="bag", hidden=16, embedding=16, buckets=64),
}
STEPS = "pretraining/train/loss/text"
EXPLAINED = "pretraining/selection/mean"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A cache that contains a one-layer encoder in `encoder`."""
    folder = tmp_path_factory.mktemp("cache")
    saved(BertModel(bert(("a", "b"), tokenizer)), tokenizer, folder / "encoder")
    return folder


def config(cache: Path, steps: int, kind: str = "bilstm", **sections: object) -> Config:
    stage = {"pretrain": PretrainConfig(steps=steps), "student": KINDS[kind]} | sections
    settings = {"train.learning_rate": 1e-2, "teacher.checkpoint": str(cache / "encoder")}
    return demo_config(cache, settings, **stage)


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_learns_the_encoders_embeddings_of_texts(shared: Path, kind: str) -> None:
    """Its heads do not change, including a bag's direct weights."""
    settings, reports = config(shared, 150, kind), RecordedReports()
    data = prepare(settings)
    assert data.untrained_teacher is not None
    torch.manual_seed(0)
    student = untrained_student(settings.student, 64, data.student_data, None)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    pretrain(
        settings, student, data.student_data, data.teacher_data, data.untrained_teacher, reports
    )
    same = {name for name, value in student.state_dict().items() if value.equal(before[name])}
    heads = {name for name in before if name.startswith(("heads.", "wide."))}
    assert heads and heads <= same < before.keys()
    losses = reports.of(STEPS)
    assert losses[-1] < 0.9 * losses[0]
    assert len(reports.of(EXPLAINED)) == 1


def test_pretraining_is_cached_and_skips_the_baseline(shared: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "again", "without")]
    first, again, without = RecordedReports(), RecordedReports(), RecordedReports()
    results = [
        run(config(shared, steps), folder, reports)
        for steps, folder, reports in zip(
            (20, 20, 0), folders, (first, again, without), strict=True
        )
    ]
    assert first.of(STEPS) and not again.of(STEPS) and not without.of(STEPS)
    assert same_weights(folders[0] / "model", folders[1] / "model")
    assert not same_weights(folders[0] / "model", folders[2] / "model")
    twins = [starting(result.metrics, "baseline/quality/") for result in results]
    assert twins[0] and twins[0] == twins[1] == twins[2]


def test_pretraining_is_repeated_if_a_setting_that_it_depends_on_differs(
    shared: Path, tmp_path: Path
) -> None:
    base = changed(config(shared, 3), {"baseline": False, "speed.seconds": 0})
    settings = {
        "data.selection_rows": 3,
        "teacher.train.precision": "bfloat16",
        "train.batch_size": 7,
    }
    changes: list[dict[str, Any]] = [{name: value} for name, value in settings.items()]
    for number, change in enumerate([{}, *changes, {"train.steps": 7}]):
        reports = RecordedReports()
        run(changed(base, change), tmp_path / str(number), reports)
        assert bool(reports.of(STEPS)) == ("train.steps" not in change), change


def test_a_text_corpus_is_used_together_with_the_tasks(shared: Path, tmp_path: Path) -> None:
    file = tmp_path / "corpus.tsv"
    file.write_text("one\tother\na film of the sea\tthe rain\nsongs by night\tits people\n")
    stage = PretrainConfig(
        2, [TextFileConfig(str(file), text) for text in (["one"], ["one", "other"])]
    )
    reports = RecordedReports()
    run(config(shared, 2, pretrain=stage), tmp_path / "run", reports)
    assert reports.of(STEPS)
    wrong = TextFileConfig(str(file), ["title"])
    with pytest.raises(ValueError, match=f"^pretrain.corpus: {file}:1: no column 'title'; there"):
        run(config(shared, 2, pretrain=PretrainConfig(2, [wrong])), tmp_path / "wrong")


def test_a_missing_corpus_file_is_refused_before_the_rows_are_prepared(
    shared: Path, tmp_path: Path
) -> None:
    missing = PretrainConfig(2, [TextFileConfig("x.tsv", ["text"])])
    wrong = replace(config(shared, 2, pretrain=missing), cache=str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="^pretrain.corpus: x.tsv: no such file$"):
        prepare(wrong)
    assert not (tmp_path / "cache").exists()


def test_pretraining_settings_are_checked(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pretrain.steps is 5; allowed: 0 for loss.hard_weight=1"):
        config(shared, 5, loss=LossConfig(hard_weight=1.0))
    with pytest.raises(ValueError, match=r"pretrain.corpus is .*; allowed: empty"):
        PretrainConfig(0, [TextFileConfig("a.csv", ["text"])])
    with pytest.raises(ValueError, match=r"pretrain.steps is -1; allowed: 0 or more"):
        PretrainConfig(-1)
    with pytest.raises(ValueError, match=r"pretrain.steps is 5; allowed: 0 without teacher.check"):
        run(changed(config(shared, 5), {"teacher.checkpoint": ""}), tmp_path)


def test_the_texts_of_a_pair_become_separate_rows(datas: Datas) -> None:
    single, pair = (next(d for d in datas if d.kind.pair == wanted) for wanted in (False, True))
    (only,) = single_texts([single])
    first, second = single_texts([pair])
    assert (only.train.a, first.train.a, second.train.a) == (single.train.a, *pair.train[:2])
    assert {data.train.b for data in (only, first, second)} == {None}
    assert len({data.train.fingerprint for data in (only, first, second)}) == 3
    assert np.isnan(only.train.labels).all() and len(only.train.labels) == len(single.train.labels)


class _Answers(nn.Module):
    """A model with the same output for every row."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor([value]))

    def forward(self, inputs: Inputs, task: str) -> torch.Tensor:
        return self.value.repeat(len(inputs.ids), 1)


@pytest.mark.parametrize(("answer", "percent"), [(1.0, 0.0), (2.0, -100.0), (0.5, -25.0)])
def test_explained_percent_matches_hand_values(datas: Datas, answer: float, percent: float) -> None:
    """The targets 0 and 2 have a sum of squares of 2 around their mean. The answers 1, 2 and 0.5
    have squared errors of 2, 4 and 0.25 + 2.25."""
    data = datas[0]._replace(selection_rows=np.array([3, 1]))
    targets = np.full((len(data.train.labels), 1), np.nan, np.float32)
    targets[[1, 3]] = [[0.0], [2.0]]
    source = TaskRows(data, data.train_rows, targets)
    model = cast(Student, _Answers(answer))
    assert explained_percent(model, [source], Layout(False, 0, 64)) == pytest.approx(percent)
