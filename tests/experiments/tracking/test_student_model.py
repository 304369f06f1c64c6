"""The logged model's conversion of frames to frames. Its student answers by simple arithmetic, so
that results can be checked by hand."""

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from experiments.tracking.student_model import StudentModel
from mkd.runtime.answers import Head
from mkd.runtime.encoding import Encoder
from mkd.runtime.inference import Student
from mkd.runtime.layout import Arrays, Layout

HEADS = {
    "single": Head(("bad", "good"), False, 0.0, 1.0),
    "time": Head((), True, 1.7e9, 0.5),
    "several": Head(("up", "down"), False, 0.0, 1.0, True, (0.5, 0.5)),
}


def sums(batch: Arrays, task: str) -> np.ndarray:
    """Logits: the sum of a row's ids, and minus that sum unless it is a regression."""
    sums_B = (batch.ids * batch.mask).sum((1, 2)).astype(np.float32)
    return sums_B[:, None] if task == "time" else np.stack([sums_B, -sums_B], axis=1)


@pytest.fixture
def model() -> StudentModel:
    tokenizer = Tokenizer(WordLevel({"?": 1} | {str(i): i for i in range(2, 100)}, unk_token="?"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    student_model = StudentModel()
    student_model.student = Student(
        HEADS, Layout(False, 0, 6), Encoder(tokenizer, parallel=False), sums
    )
    return student_model


FRAME = pd.DataFrame({"text": ["7", "8", "9", "10"], "text_pair": ["2", "3", "4", "5"]})


def test_answers_follow_the_order_of_the_rows_and_not_their_index(model: StudentModel) -> None:
    shuffled = FRAME.sample(frac=1, random_state=1)
    assert shuffled.index.tolist() != [0, 1, 2, 3]
    scores = model.predict(None, shuffled, {"task": "time"})["score"].tolist()
    assert scores == [
        1.7e9 + 0.5 * (int(a) + int(b))
        for a, b in zip(shuffled["text"], shuffled["text_pair"], strict=True)
    ]


def test_only_multilabel_tasks_have_a_list_of_labels(model: StudentModel) -> None:
    answers = model.predict(None, FRAME, {"task": "several"})
    assert answers["labels"].tolist() == [["up"]] * 4 and answers["label"].tolist() == ["up"] * 4
    wrong = model.predict(None, pd.DataFrame({"text": ["7", None]}), {"task": "several"})
    assert wrong["labels"].tolist() == [["up"], None] and wrong["error"][1].startswith("missing")
    other = model.predict(None, FRAME, {"task": "single"})
    assert list(other) == ["label", "score", "probabilities", "error"]


def test_a_row_below_the_confidence_has_no_label(model: StudentModel) -> None:
    """An empty text has the logits 0 and 0, so its probability is 1 / (1 + exp(-2 * 0))."""
    frame = pd.DataFrame({"text": ["7", "", None]})
    answers = model.predict(None, frame, {"task": "single", "min_confidence": 0.9})
    assert answers["label"].tolist() == ["bad", None, ""]
    assert answers["answered"].tolist() == [True, False, False]
    assert answers["score"].tolist() == [pytest.approx(1, abs=1e-5), 0.5, None]
    with pytest.raises(MlflowException, match="min_confidence is 2.0; allowed: from 0 to 1"):
        model.predict(None, frame, {"task": "single", "min_confidence": 2.0})


def test_the_logits_of_a_regression_are_scores_in_full_precision(model: StudentModel) -> None:
    logits = model.predict(None, FRAME, {"task": "time", "logits": True})["logits"].tolist()
    assert logits == [[1.7e9 + 4.5], [1.7e9 + 5.5], [1.7e9 + 6.5], [1.7e9 + 7.5]]
    assert model.predict(None, FRAME, {"task": "single", "logits": True})["logits"].tolist()[0] == [
        7.0,
        -7.0,
    ]


def test_a_text_without_logits_is_an_error(model: StudentModel) -> None:
    message = "1 texts have no logits, the first is row 0: the second text is missing"
    with pytest.raises(MlflowException, match=message):
        model.predict(None, pd.DataFrame({"text": ["7"]}), {"task": "time", "logits": True})
