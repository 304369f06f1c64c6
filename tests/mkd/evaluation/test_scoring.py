from dataclasses import replace

import numpy as np
import pytest
import torch

from mkd.config import StudentConfig
from mkd.evaluation import scoring
from mkd.evaluation.answers import Answers, agreement_metrics, dev_predictions
from mkd.evaluation.scoring import (
    dev_logits,
    majority_metrics,
    predict_logits,
    quality_metrics,
    retention_metrics,
    runtime_student,
    selection_scores,
    torch_infer,
)
from mkd.students import Student, make_student
from mkd.tasks.label_sets import packed_sets
from mkd.tasks.metrics import expected_calibration_error
from mkd.tasks.task import Kind, Row
from mkd.tokenization.tokens import TaskData, TokenStore, layout_of
from mkd.training.batches import batch_labels, gather_inputs
from tests.support.tiny import Datas, Tokenizer, from_texts

BILSTM = StudentConfig(kind="bilstm", hidden=8, embedding=6)
TRANSFORMER = StudentConfig(kind="transformer", hidden=16, layers=1, heads=2)
BOTH = pytest.mark.parametrize("config", [BILSTM, TRANSFORMER], ids=lambda config: config.kind)


def student_of(config: StudentConfig, datas: Datas, tokenizer: Tokenizer) -> Student:
    torch.manual_seed(0)
    return make_student(config, datas, len(tokenizer), 32, None)


def one_hot(choices: list[int], classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[choices]


def dev_of(data: TaskData, labels: list[float], suffixes: tuple[str, ...] = ("",)) -> TaskData:
    """Returns the task with other dev labels, on as many of its dev rows."""
    dev = data.dev[""]._replace(labels=np.array(labels, dtype=np.float32))
    return data._replace(dev=dict.fromkeys(suffixes, dev))


@BOTH
@pytest.mark.parametrize("place", [0, 1, 2])
def test_sorted_batches_give_the_logits_of_single_rows(
    config: StudentConfig,
    place: int,
    datas: Datas,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rows are in random order, in three windows of several batches each."""
    monkeypatch.setattr(scoring, "SCORING_BATCH_TOKENS", 40)
    monkeypatch.setattr(scoring, "SORT_WINDOW_ROWS", 12)
    student, data = student_of(config, datas, tokenizer), datas[place]
    layout = layout_of(tokenizer, student.joined, 32)
    rows = np.random.default_rng(0).permutation(40)[:30]
    logits = predict_logits(torch_infer(student), data.train, rows, data.name, layout)
    student.train(False)
    with torch.inference_mode():
        alone = [
            student(gather_inputs(data.train, rows[i : i + 1], layout), data.name)[0].numpy()
            for i in range(30)
        ]
    np.testing.assert_allclose(logits, np.stack(alone), atol=1e-5, rtol=1e-4)
    assert logits.dtype == np.float32


def test_prediction_switches_dropout_off(datas: Datas, tokenizer: Tokenizer) -> None:
    student = student_of(replace(BILSTM, dropout=0.5), datas, tokenizer)
    layout = layout_of(tokenizer, False, 32)
    student.train()
    one, other = (
        predict_logits(torch_infer(student), datas[0].train, np.arange(9), "single", layout)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)


def test_selection_scores_are_of_the_selection_rows(datas: Datas, tokenizer: Tokenizer) -> None:
    student = student_of(BILSTM, datas, tokenizer)
    layout = layout_of(tokenizer, False, 32)
    scores = selection_scores(student, datas, layout)
    assert list(scores) == ["single", "pair", "score", "mean"]
    data = datas[0]
    logits = predict_logits(torch_infer(student), data.train, data.selection_rows, "single", layout)
    expected = 100 * (logits.argmax(1) == data.train.labels[data.selection_rows]).mean()
    assert scores["single"] == expected
    assert scores["mean"] == pytest.approx(
        (scores["single"] + scores["pair"] + scores["score"]) / 3
    )


def test_the_most_frequent_class_has_the_scores_computed_by_hand(datas: Datas) -> None:
    """On dev, 3 of 5 rows of the single task are of class 0, and 2 of 3 pairs are of class 1. The
    F1 of the pairs is 2 * 2/3 / (1 + 2/3) = 0.8."""
    single, pair, score = datas
    single = dev_of(single, [0, 1, 0, 0, 1])._replace(
        selection_rows=np.array([0, 1, 3])
    )  # of classes 0, 1, 1
    pair = dev_of(pair, [1, 0, 1])._replace(selection_rows=np.array([0, 2]))  # both of class 0
    metrics = majority_metrics([single, pair, score])
    assert metrics["majority/quality/single/score"] == pytest.approx(60)
    assert metrics["majority/quality/pair/score"] == pytest.approx((200 / 3 + 80) / 2)
    assert metrics["majority/quality/score/score"] == 0, "a constant correlates with nothing"
    assert metrics["majority/quality/mean"] == pytest.approx((60 + (200 / 3 + 80) / 2) / 3)
    assert metrics["majority/selection/single"] == pytest.approx(200 / 3)
    assert metrics["majority/selection/pair"] == pytest.approx((100 + 0) / 2), (
        "F1 is that of class 1"
    )
    assert metrics["majority/selection/mean"] == pytest.approx((200 / 3 + 50) / 3)
    assert len(metrics) == 8


def test_each_of_two_dev_splits_has_the_same_constant_answer(datas: Datas) -> None:
    data = dev_of(datas[0], [0, 0, 1], ("", "_other"))
    data.dev["_other"] = data.dev["_other"]._replace(labels=np.array([1, 1, 1], dtype=np.float32))
    assert majority_metrics([data])["majority/quality/single/score"] == pytest.approx(
        (200 / 3 + 100) / 2
    )


def test_dev_logits_are_of_every_dev_row(datas: Datas, tokenizer: Tokenizer) -> None:
    shares: list[float] = []
    logits_of_splits = dev_logits(
        torch_infer(student_of(BILSTM, datas, tokenizer)),
        datas,
        layout_of(tokenizer, False, 32),
        lambda rows, shown: shares.append(rows / shown["progress"]),
    )
    assert set(shares) == {60}, "each report has the rows of all splits together"
    assert {key: logits.shape for key, logits in logits_of_splits.items()} == {
        ("single", ""): (20, 2),
        ("pair", ""): (20, 2),
        ("score", ""): (20, 1),
    }


def test_quality_by_hand(datas: Datas) -> None:
    """single: 3 of 4 rows are right, in the other dev split 2 of 4. pair: precision 1/2, recall 1,
    accuracy 2/3."""
    single = dev_of(datas[0], [0, 1, 1, 0], ("", "_other"))
    pair = dev_of(datas[1], [1, 0, 0])
    score = dev_of(datas[2], [1, 2, 3, 4])
    logits = {
        ("single", ""): one_hot([0, 1, 0, 0], 2),
        ("single", "_other"): one_hot([0, 1, 0, 1], 2),
        ("pair", ""): one_hot([1, 1, 0], 2),
        ("score", ""): np.array([[-1.0], [0.0], [1.0], [2.0]], dtype=np.float32),
    }
    f1 = 100 * 2 * (1 / 2) * 1 / (1 / 2 + 1)
    expected = {
        "quality/single/accuracy": 75, "quality/single/accuracy_other": 50,
        "quality/single/score": 62.5,
        "quality/single/ece": expected_calibration_error(
            logits["single", ""], single.dev[""].labels),
        "quality/pair/accuracy": 200 / 3, "quality/pair/f1": f1,
        "quality/pair/score": (200 / 3 + f1) / 2,
        "quality/pair/ece": expected_calibration_error(logits["pair", ""], pair.dev[""].labels),
        "quality/score/pearson": 100, "quality/score/spearman": 100, "quality/score/score": 100,
        "quality/mean": (62.5 + (200 / 3 + f1) / 2 + 100) / 3,
    }  # fmt: skip
    assert quality_metrics([single, pair, score], logits) == pytest.approx(expected)


def test_agreement_by_hand(datas: Datas) -> None:
    """Scores: student (0, 1, 2), teacher (1, 0, 2), means 1, so covariance 1 and variances 2."""
    student = {
        ("single", ""): one_hot([0, 1, 1, 0], 2),
        ("score", ""): np.array([[0.0], [1.0], [2.0]]),
    }
    teacher = {
        ("single", ""): 9 * one_hot([0, 1, 0, 0], 2),
        ("score", ""): np.array([[1.0], [0.0], [2.0]]),
    }
    metrics = agreement_metrics([datas[0], datas[2]], Answers(student), Answers(teacher))
    assert metrics == pytest.approx(
        {"agreement/single": 75, "agreement/score": 50, "agreement/mean": 62.5}
    )


def test_tasks_without_all_their_logits_are_left_out_and_so_is_the_mean(datas: Datas) -> None:
    single, pair, _ = datas
    halved = pair._replace(dev=pair.dev | {"_other": pair.dev[""]})
    logits = {(name, ""): one_hot([0] * 20, 2) for name in ("single", "pair")}
    whole = quality_metrics([single], logits)
    metrics = quality_metrics([single, halved], logits)
    assert metrics == ({name: value for name, value in whole.items() if name != "quality/mean"})
    assert quality_metrics([pair], {}) == {}
    expected = {"agreement/single": 100}
    assert (
        agreement_metrics(
            [single, pair], Answers(logits), Answers({("single", ""): logits["single", ""]})
        )
        == expected
    )


def test_agreement_of_scores_needs_no_metric_of_the_task(datas: Datas) -> None:
    data = datas[2]._replace(kind=replace(datas[2].kind, metrics=("spearman",)))
    logits = {("score", ""): np.array([[1.0], [0.0], [2.0]])}
    assert agreement_metrics([data], Answers(logits), Answers(logits))[
        "agreement/score"
    ] == pytest.approx(100)


def test_retention_by_hand() -> None:
    student = {
        "quality/mean": 60.0,
        "quality/a/score": 40.0,
        "quality/a/accuracy": 1.0,
        "quality/b/score": 80.0,
    }
    teacher = {
        "quality/mean": 75.0,
        "quality/a/score": 80.0,
        "quality/a/accuracy": 2.0,
        "quality/b/score": 0.0,
    }
    # A score of 0 of the teacher cannot be retained.
    assert retention_metrics(student, teacher) == {
        "retention/mean": 80.0,
        "retention/a": 50.0,
    }
    # Scores that are missing for the student or the teacher are left out.
    assert retention_metrics(student, {"quality/a/score": 80.0}) == {"retention/a": 50.0}


def test_raw_texts_get_labels_or_scores_of_the_task(datas: Datas, tokenizer: Tokenizer) -> None:
    student = student_of(BILSTM, datas, tokenizer)
    layout = layout_of(tokenizer, False, 32)
    first, second = ["a good film", "the bad sea"], ["the sea", "night and rain"]
    for answer in runtime_student(student, tokenizer).predict(first, "single"):
        assert answer.label in ("bad", "good")
        assert 0.5 <= answer.score <= 1
    store = from_texts(tokenizer, first, second, 32)
    logits = predict_logits(torch_infer(student), store, np.arange(2), "score", layout)[:, 0]
    answers = runtime_student(student, tokenizer).predict(
        list(zip(first, second, strict=True)), "score"
    )
    assert [answer.label for answer in answers] == ["", ""]
    expected = pytest.approx((logits * datas[2].std + datas[2].mean).tolist(), rel=1e-5)
    assert [answer.score for answer in answers] == expected


KEY = ("several", "")


def several() -> TaskData:
    """Returns a task with four rows with labels a and b, and one row without a label."""
    rows = [Row("", None, float(len(classes)), classes) for classes in [(0,), (1,), (0, 1), ()]] + [
        Row("", None, None)
    ]
    kind = Kind(("a", "b"), False, ("micro_f1",), None, True)
    labels = np.array([1.0, 1, 2, 0, np.nan])
    store = TokenStore(None, None, labels, "", sets=packed_sets(rows, 2))  # type: ignore[arg-type]
    assert store.sets is not None
    dev = store._replace(labels=labels[:4], sets=store.sets[:4])
    known = np.arange(4)
    return TaskData("several", kind, store, {"": dev}, np.arange(5), known, 0.0, 1.0)


def test_several_labels_are_scored_with_the_models_thresholds() -> None:
    """With thresholds of 0.5 the rows get a, none, a and a: 2 of 3 are right, of 4 true labels.
    With 0.2 for b, which is a logit of -1.39, rows 2 and 3 get b too, and all true labels are
    found."""
    data = several()
    logits = {KEY: np.array([[2.0, -3], [-2, -1], [1, -1], [0.5, -4]], dtype=np.float32)}
    thresholds = {"several": np.array([0.5, 0.2])}
    metrics = quality_metrics([data], logits)
    assert metrics["quality/several/micro_f1"] == pytest.approx(200 * 2 / (3 + 4))
    metrics = quality_metrics([data], logits, thresholds)
    assert metrics["quality/several/micro_f1"] == pytest.approx(200 * 4 / (5 + 4))
    # Rows 1 and 4 have the same labels with both thresholds.
    agreement = agreement_metrics([data], Answers(logits, thresholds), Answers(logits))
    assert agreement["agreement/several"] == 50
    columns = dev_predictions([data], Answers(logits, thresholds), Answers(logits))
    assert columns["row"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert columns["label"].tolist() == [1, 0, 0, 1, 1, 1, 0, 0]
    assert (columns["prediction"] >= 0).tolist() == [True, False, False, True] + [True, True] + [
        True,
        False,
    ]
    assert columns["teacher"].tolist() == logits[KEY].ravel().tolist()
    # Always answering a, the most frequent label: 2 of 4 answers are right, of 4 true labels.
    assert majority_metrics([data])["majority/quality/several/score"] == pytest.approx(50)


def test_a_batch_of_several_labels_has_a_column_for_each() -> None:
    labels = batch_labels(several(), np.array([2, 4, 3])).numpy()
    assert labels[[0, 2]].tolist() == [[1, 1], [0, 0]] and np.isnan(labels[1]).all()


def test_a_task_with_a_ranking_metric_stores_margins_instead_of_classes(datas: Datas) -> None:
    single = datas[0]._replace(kind=replace(datas[0].kind, metrics=("accuracy", "auc")))
    logits = np.tile(np.array([[1.0, 3.5], [2.0, -1.0]], np.float32), (10, 1))
    answers = Answers({("single", ""): logits})
    columns = dev_predictions([single], answers, answers)
    assert columns["prediction"].tolist() == columns["teacher"].tolist() == [2.5, -3.0] * 10
    accuracy = 100 * max(np.mean(single.dev[""].labels), 1 - np.mean(single.dev[""].labels))
    constant = majority_metrics([single])["majority/quality/single/score"]
    assert constant == pytest.approx((accuracy + 50) / 2), "a constant ranks as well as chance"
