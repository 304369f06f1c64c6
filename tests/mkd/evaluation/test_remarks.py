"""Notes about students that are no better than a constant, and about input that models do not
read."""

from pathlib import Path

import numpy as np
import pytest

from mkd.config import DataConfig
from mkd.evaluation.answers import Answers
from mkd.evaluation.remarks import (
    ConstantBaseline,
    chance_margin,
    constant_baseline,
    input_coverage,
    num_truncated,
    weak_student_notes,
)
from mkd.runtime.layout import Layout
from mkd.tasks.metrics import METRICS, MULTILABEL_METRICS, score
from mkd.tasks.task import GLUE, Kind, Row, Task
from mkd.tokenization.tokenise import tokenise_task
from mkd.tokenization.tokens import TaskData, TokenStore
from tests.support.tiny import PAIR, SCORE, SINGLE, Tokenizer, from_texts, split

BERT = Layout(True, 0, 12, (101,), (102,), (102,), types=True)
APART = Layout(False, 0, 4)


def task_with(kind: Kind, labels: list[float]) -> TaskData:
    """Returns a task of which only the dev labels are used."""
    store = TokenStore(None, None, np.array(labels), "")  # type: ignore[arg-type]
    return TaskData("task", kind, store, {"": store}, np.arange(0), np.arange(0), 0.0, 1.0)


def answers(choices: list[int]) -> Answers:
    return Answers({("task", ""): np.eye(2, dtype=np.float32)[choices]})


def test_the_constant_baseline_by_hand() -> None:
    assert constant_baseline(SINGLE, np.array([1.0, 0, 1, 1])) == ConstantBaseline(
        "good", {"accuracy": 75.0}
    )
    baseline = constant_baseline(PAIR, np.array([1.0, 0, 1, 1]))
    assert baseline.label == "same"
    assert baseline.scores == pytest.approx({"accuracy": 75.0, "f1": 100 * 2 * 0.75 / 1.75})
    baseline = constant_baseline(PAIR, np.array([0.0, 0, 0, 1, 1]))
    assert baseline.label == "same", "F1 is of class 1"
    assert baseline.scores == pytest.approx({"accuracy": 40.0, "f1": 100 * 2 * 0.4 / 1.4})
    assert constant_baseline(GLUE["cola"], np.array([1.0, 0, 1])) == ConstantBaseline(
        "acceptable", {"matthews": 0.0}
    )
    assert constant_baseline(SCORE, np.array([1.0, 2.0])) == ConstantBaseline(
        "", {"pearson": 0.0, "spearman": 0.0}
    )


def test_the_baseline_of_several_labels_is_the_best_of_all_constants() -> None:
    """The constants are the most frequent label, the two most frequent, and so on."""
    rng = np.random.default_rng(0)
    labels = (rng.random((50, 5)) < [0.1, 0.7, 0.4, 0.0, 0.2]).astype(np.uint8)
    order = np.argsort(-labels.sum(0, dtype=int), kind="stable")
    for metrics in (("micro_f1",), ("macro_f1",), MULTILABEL_METRICS):
        kind = Kind(tuple("abcde"), False, metrics, None, True)
        known = []
        for count in range(1, 6):
            logits = np.full((50, 5), -1.0)
            logits[:, order[:count]] = 1
            known.append(score(kind, logits, labels))
        best = max(range(5), key=lambda place: sum(known[place].values()))
        baseline = constant_baseline(kind, labels)
        assert baseline.scores == pytest.approx(known[best])
        assert baseline.label == ",".join("abcde"[place] for place in order[: best + 1])
    assert constant_baseline(kind, np.ones((3, 5), dtype=np.uint8)).label == "every label"


def test_the_baseline_of_a_metric_without_a_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metric is the share of rows with exactly their labels: two of four have only b, one a and
    b."""

    def exact(margins: np.ndarray, labels: np.ndarray) -> float:
        return 100 * float(((margins >= 0) == (labels > 0)).all(1).mean())

    monkeypatch.setitem(METRICS, "exact", exact)
    labels = np.array([[0, 1], [0, 1], [1, 1], [0, 0]], dtype=np.uint8)
    baseline = constant_baseline(Kind(("a", "b"), False, ("exact",), None, True), labels)
    assert baseline == ConstantBaseline("b", {"exact": 50.0})


def test_the_margin_is_two_standard_errors() -> None:
    expected = pytest.approx(2 * 100 * (0.75 * 0.25 / 400) ** 0.5)
    assert chance_margin(constant_baseline(SINGLE, np.array([1.0, 0, 1, 1])), 400) == expected
    assert chance_margin(constant_baseline(SCORE, np.array([1.0])), 400) == pytest.approx(
        2 * 100 / 20
    )


@pytest.mark.parametrize("share", [0.5, 0.7, 0.95])
def test_a_student_that_is_right_by_chance_is_reported(share: float) -> None:
    """The answers are random, but right as often as the most frequent label on average, in 300
    draws of 500 rows."""
    rng, num_notes = np.random.default_rng(0), 0
    for _ in range(300):
        labels = (rng.random(500) < share).astype(int)
        right = rng.random(500) < share
        num_notes += len(
            weak_student_notes(
                [task_with(SINGLE, labels.tolist())],
                answers(np.where(right, labels, 1 - labels).tolist()),
            )
        )
    assert num_notes / 300 > 0.85


def test_a_student_is_reported_if_it_may_equal_the_most_frequent_label_by_chance() -> None:
    """60 of 100 rows are good, so the margin is 2 * sqrt(60 * 40 / 100) = 9.8 points."""
    labels = [1.0] * 60 + [0.0] * 40
    message = (
        "task: WEAK STUDENT: it scores {} on dev, always answering 'good' 60.0; "
        "with 100 rows, a difference below 9.8 points can be chance"
    )
    for right, expected in [(60, True), (50, True), (69, True), (70, False), (100, False)]:
        choices = [
            int(label) if place < right else 1 - int(label) for place, label in enumerate(labels)
        ]
        notes = weak_student_notes([task_with(SINGLE, labels)], answers(choices))
        assert notes == ([message.format(f"{right:.1f}")] if expected else [])


def test_a_student_of_scores_has_to_correlate() -> None:
    """With 100 rows, a correlation of 20 points is distinguishable from none."""
    data, rng = task_with(SCORE, np.arange(100.0).tolist()), np.random.default_rng(0)
    noise = {("task", ""): rng.normal(size=(100, 1))}
    assert weak_student_notes([data], Answers({("task", ""): np.arange(100.0)[:, None]})) == []
    (note,) = weak_student_notes([data], Answers(noise))
    assert note.endswith(
        "on dev, a constant 0.0; with 100 rows, a difference below 20.0 points can be chance"
    )


def words(*counts: int) -> list[str]:
    return [" ".join(["film"] * count) for count in counts]


def test_rows_are_cut_where_a_model_of_this_layout_cuts_them(tokenizer: Tokenizer) -> None:
    """12 positions minus 2 special tokens leave 10 for a single text; minus 3 leave 9 for a pair.
    Texts that are kept apart have 4 each."""
    single = from_texts(tokenizer, words(1, 9, 10, 11, 40), None, 12)
    assert num_truncated(single, BERT) == 2
    assert num_truncated(from_texts(tokenizer, words(1, 3, 4, 5, 40), None, 4), APART) == 2
    pairs = from_texts(tokenizer, words(1, 4, 5, 9, 40), words(1, 5, 5, 1, 40), 12)
    assert num_truncated(pairs, BERT) == 3
    assert num_truncated(from_texts(tokenizer, words(1, 4, 5, 1), words(1, 4, 1, 5), 4), APART) == 2
    assert (
        num_truncated(
            from_texts(tokenizer, words(12, 13), None, 12), BERT._replace(prefix=(), suffix=())
        )
        == 1
    )


def test_one_percent_of_unread_input_is_reported(tmp_path: Path, tokenizer: Tokenizer) -> None:
    def data(name: str, texts: list[str]) -> TaskData:
        task = Task(
            name, SINGLE, split([Row(text, None, float(i % 2)) for i, text in enumerate(texts)]), {}
        )
        return tokenise_task(tmp_path, task, tokenizer, DataConfig(max_length=12), 0)

    short, few = ["film film"] * 198, words(*[1] * 199, 30)
    datas = [
        data("many", short + words(30, 40)),
        data("few", few),
        data("unknown", short + ["\u4f60 film", "\u4f60 \u4f60 \u4f60"]),
    ]
    coverage = input_coverage(datas, tokenizer, BERT)
    assert coverage.metrics == pytest.approx(
        {"data/many/cut": 1.0, "data/many/unknown": 0.0, "data/few/cut": 0.5,
         "data/few/unknown": 0.0, "data/unknown/cut": 0.0,
         "data/unknown/unknown": 100 * 4 / (2 * 198 + 5)},
    )  # fmt: skip
    assert coverage.notes == [
        "many: 1 % of the training rows are truncated at data.max_length=12 tokens"
    ]
    more = input_coverage(
        [data("unknown", ["\u4f60 film"] * 20)], tokenizer, BERT._replace(max_length=4)
    )
    assert more.notes == ["unknown: 50 % of the training rows' tokens are unknown to the tokenizer"]


def test_a_tokenizer_without_an_unknown_token_has_none(tokenizer: Tokenizer) -> None:
    store = from_texts(tokenizer, ["\u4f60"], None, 12)
    data = task_with(SINGLE, [0.0])._replace(train=store)

    class Bytes:
        unk_token_id = None

    assert input_coverage([data], Bytes(), BERT).metrics["data/task/unknown"] == 0.0  # type: ignore[arg-type]
