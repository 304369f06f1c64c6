"""The runtime: with logits that a function makes up, with an exported student, and where neither
torch nor the rest is there."""

import csv
import hashlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pytest
import tokenizers
from datasets import Dataset
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from mkd.__main__ import answer, main
from mkd.config import MOST_THREADS, StudentConfig
from mkd.export.folder import export_onnx
from mkd.runtime import inference
from mkd.runtime.answers import Head, Prediction, confidence, head_of, prediction, predictions
from mkd.runtime.encoding import Encoder
from mkd.runtime.inference import BATCH_TOKENS, Infer, Student, by_length
from mkd.runtime.layout import Arrays, Layout
from mkd.runtime.manifest import MANIFEST, TOKENIZER, digest_of
from mkd.student_result import save_model
from mkd.students import make_student
from tests.support.tiny import Datas, Tokenizer

ROOT = Path(__file__).parents[3]
HEADS = {
    "single": Head(("bad", "good"), False, 0.0, 1.0),
    "pair": Head(("other", "same"), True, 0.0, 1.0),
    "score": Head((), False, 2.0, 0.5),
    "several": Head(("up", "down"), False, 0.0, 1.0, True, (math.log(7 / 3), math.log(3 / 7))),
}
APART = Layout(False, 0, 6)
JOINED = Layout(True, 0, 8, (2,), (3,), (3,))
BAG = StudentConfig(kind="bag", hidden=4, ngrams=1)


class Made:
    """Logits that can be told by hand: a row's sum of ids, and minus that. It keeps the batches
    that it has seen."""

    def __init__(self) -> None:
        self.seen: list[Arrays] = []

    def __call__(self, batch: Arrays, task: str) -> np.ndarray:
        self.seen.append(batch)
        sums = (batch.ids * batch.mask).sum((1, 2)).astype(np.float32) / 10
        return sums[:, None] if task == "score" else np.stack([sums, -sums], axis=1)


def words(most: int = 4000) -> tokenizers.Tokenizer:
    """`7` is token 7; all else is token 1."""
    tokenizer = tokenizers.Tokenizer(
        WordLevel({"?": 1} | {str(i): i for i in range(2, most)}, unk_token="?")
    )
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return tokenizer


def tiny_student(layout: Layout = APART, infer: Infer | None = None) -> Student:
    return Student(HEADS, layout, Encoder(words(), parallel=False), infer or Made())


def test_probabilities_are_a_softmax_and_the_label_is_the_most_probable_one() -> None:
    (result,) = tiny_student().predict(["4 6"], "single")
    first = np.exp(1.0) / (np.exp(1.0) + np.exp(-1.0))
    assert (result.label, result.error) == ("bad", None)
    assert result.score == result.probabilities[0] == pytest.approx(first)
    assert sum(result.probabilities) == pytest.approx(1)


def test_each_label_of_several_has_a_sigmoid_and_a_threshold() -> None:
    """Logits 1 and -1: probabilities 0.731 and 0.269. Then 0.5 and -0.5: 0.622 and 0.378."""
    sigmoid = 1 / (1 + np.exp(-1.0))
    both = tiny_student().predict(["4 6", "5"], "several")
    alone = tiny_student().predict(["4 6"], "several") + tiny_student().predict(["5"], "several")
    assert both == alone
    first, second = both
    assert first.probabilities == pytest.approx([sigmoid, 1 - sigmoid])
    assert (first.labels, first.label, first.score) == (["up"], "up", first.probabilities[0])
    assert (second.labels, second.label) == (["down"], "down")
    rows = np.array([[3e38, 3e38], [-3e38, -3e38]], np.float32)
    student = tiny_student(infer=lambda batch, task: rows[: len(batch.ids)])
    everything, nothing = student.predict(["4", "4"], "several")
    assert everything == Prediction("up,down", 1.0, [1.0, 1.0], None, ["up", "down"])
    assert nothing == Prediction("", 0.0, [0.0, 0.0], None, [])


def test_a_temperature_softens_probabilities_and_changes_no_label() -> None:
    """Logits 1 and -1, then 0.5 and -0.5, at temperature 2; of several labels the threshold 0.7
    is at the logit log(7 / 3)."""
    stated = {"labels": ["up", "down"], "pair": False, "mean": 0.0, "std": 1.0, "temperature": 2.0}
    several = stated | {"multilabel": True, "thresholds": [0.7, 0.3]}
    student = tiny_student()
    student.heads = {"single": head_of(stated), "several": head_of(several)}
    for ask in (["4 6"], ["4 6", "5"]):
        first = student.predict(ask, "single")[0]
        assert first.probabilities == pytest.approx([np.e / (1 + np.e), 1 / (1 + np.e)])
        assert student.predict(ask, "several")[0].probabilities == pytest.approx(
            [1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(0.5))]
        )
    texts = [str(number) for number in range(2, 30)]
    plain = tiny_student()
    plain.heads = {"single": HEADS["single"]._replace(labels=("up", "down"))} | {
        "several": HEADS["several"]
    }
    for task in ("single", "several"):
        warm = [each.label for each in student.predict(texts, task)]
        assert warm == [each.label for each in plain.predict(texts, task)]
    assert len(set(warm)) > 1


@pytest.mark.parametrize("temperature", [1e-5, 0.05, 1.0, 20.0, 1e5])
def test_labels_are_those_of_the_logits_where_the_probabilities_round_to_0_and_1(
    temperature: float,
) -> None:
    """0.3 and 0.7 are the logits -0.847 and 0.847, and the difference from which on the second of
    two classes is given is 0.847."""
    stated = {"labels": ["up", "down"], "pair": False, "mean": 0.0, "std": 1.0} | {
        "temperature": temperature, "thresholds": [0.3, 0.7],
    }  # fmt: skip
    logits = np.array([[-0.85, 0.84], [-0.84, 0.85], [0.0, 0.84], [0.0, 0.85], [2.0, -3.0]])
    expected = {
        True: ["", "up,down", "up", "up,down", "up"],
        False: ["down"] * 2 + ["up", "down", "up"],
    }
    for multilabel, labels in expected.items():
        head = head_of(stated | {"multilabel": multilabel})
        assert head.cuts == pytest.approx((-0.8472979, 0.8472979))
        answers = predictions(logits, head)
        assert [each.label for each in answers] == labels
        assert [prediction(row, head).label for row in logits.tolist()] == labels
        assert all(0 <= confidence(each, head) <= 1 for each in answers)


def test_below_the_confidence_there_is_no_answer() -> None:
    """Probabilities 0.881 of `4 6` and 0.731 of `5`; of several labels the product of 0.731 of
    `up` and 1 - 0.269 of no `down`, and of 0.378 of no `up` and of `down`."""
    several = tiny_student().predict(["4 6", "5"], "several", 0.5)
    assert [(each.label, each.labels, each.answered) for each in several] == [
        ("up", ["up"], True), (None, None, False),
    ]  # fmt: skip
    student = tiny_student()
    sure, unsure, wrong = student.predict(["4 6", "5", None], "single", 0.8)  # type: ignore[list-item]
    assert (sure.label, sure.answered) == ("bad", True)
    assert (unsure.label, unsure.answered, unsure.error) == (None, False, None)
    assert unsure.score == pytest.approx(np.e / (1 + np.e)) and len(unsure.probabilities) == 2
    assert (wrong.label, wrong.answered) == ("", False) and wrong.error
    assert student.predict(["5"], "single", 0.8) == [unsure] == student.predict(["5"], "single", 1)
    assert student.predict(["5"], "single", unsure.score)[0].answered, "from this confidence on"
    assert all(each.answered for each in student.predict(["5", ""], "single"))


def test_a_confidence_is_a_probability_and_a_regression_has_none() -> None:
    message = "min_confidence is 1.5; allowed: from 0 to 1"
    with pytest.raises(ValueError, match=message):
        tiny_student().predict(["5"], "single", 1.5)
    with pytest.raises(ValueError, match="as a regression has no confidence"):
        tiny_student().predict(["5"], "score", 0.5)
    for wrong in ("0.5", None, True, [0.5]):
        with pytest.raises(ValueError) as caught:
            tiny_student().predict(["5"], "single", wrong)  # type: ignore[arg-type]
        assert str(caught.value) == (f"min_confidence is {wrong!r}; allowed: a number, from 0 to 1")
    assert tiny_student().predict(["5"], "single", np.float32(0.5))[0].answered  # type: ignore[arg-type]
    assert tiny_student().predict(["5"], "score", 0.0)[0].answered


def test_large_logits_do_not_overflow() -> None:
    student = tiny_student(infer=lambda batch, task: np.array([[3e38, -3e38]], np.float32))
    (result,) = student.predict(["4"], "single")
    assert result == Prediction("bad", 1.0, [1.0, 0.0])


def test_a_score_is_on_the_tasks_own_scale() -> None:
    results = tiny_student().predict(["4 6", ""], "score")
    assert [prediction.score for prediction in results] == pytest.approx([1.0 * 0.5 + 2, 2.0])
    assert all(prediction._replace(score=0.0) == Prediction("", 0.0, []) for prediction in results)


@pytest.mark.parametrize(
    "layout", [APART, JOINED._replace(max_length=64), APART._replace(max_length=64)]
)
@pytest.mark.parametrize("task", ["single", "pair"])
def test_answers_keep_the_order_of_the_texts(layout: Layout, task: str) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(2, 4000, size=rng.integers(0, 40)) for _ in range(700)]
    texts = [" ".join(map(str, row)) for row in rows]
    asked: list[Any] = texts if task == "single" else list(zip(texts, reversed(texts), strict=True))
    infer = Made()
    student = tiny_student(layout, infer)
    logits, errors = student.logits(asked, task)
    assert errors == [None] * 700 and len(infer.seen) > 2
    assert sum(len(batch.ids) for batch in infer.seen) == 700, "every row once"
    assert max(batch.ids.size for batch in infer.seen) <= BATCH_TOKENS
    alone = np.concatenate([student.logits([text], task)[0] for text in asked[::50]])
    np.testing.assert_array_equal(logits[::50], alone)
    if task == "single" and not layout.joined:
        sums = [sum(int(i) for i in text.split()[: layout.max_length]) / 10 for text in texts]
        np.testing.assert_allclose(logits[:, 0], sums, rtol=1e-6)


def test_a_row_longer_than_a_batch_may_be_is_a_batch_of_its_own() -> None:
    batches = [rows.tolist() for rows in by_length(np.array([5, 3000, 1, 5, 0]), 12)]
    assert batches == [[1], [0, 3], [4, 2]]


BAD: list[tuple[Any, str | None]] = [
    ("", None),
    ("7 " * 10_000, None),
    ("7" * 100_000, None),
    ("\U0001f600 مرحبا 你好 ελληνικά e\u0301 \u202e\ufeff", None),
    ("a\x00b", None),
    (" \t\r\n ", None),
    (None, "missing; allowed: a string"),
    (3, "of type int; allowed: a string"),
    (float("nan"), "of type float; allowed: a string"),
    (b"7", "of type bytes; allowed: a string"),
    (("7", "8"), "of type tuple; allowed: a string"),
    (["7"], "of type list; allowed: a string"),
    ("\ud800", "not valid Unicode; allowed: text that UTF-8 can hold"),
]
BAD_PAIRS: list[tuple[Any, str | None]] = [
    (("", ""), None),
    (("7 " * 10_000, "8 " * 10_000), None),
    (["7", "8"], None),
    (("你好", "\x00"), None),
    ("78", "of type str; allowed: two texts"),
    (None, "missing; allowed: two texts"),
    (7, "of type int; allowed: two texts"),
    (("7",), "1 texts; allowed: two"),
    (("7", "8", "9"), "3 texts; allowed: two"),
    (("7", None), "the second text is missing; allowed: a string"),
    ((None, "7"), "the first text is missing; allowed: a string"),
    (("7", 3.5), "the second text is of type float; allowed: a string"),
    (("7", "\udcff"), "the second text is not valid Unicode; allowed: text that UTF-8 can hold"),
]


@pytest.mark.parametrize(
    ("task", "items", "good"), [("single", BAD, "4 6"), ("pair", BAD_PAIRS, ("4", "6"))]
)
@pytest.mark.parametrize("layout", [APART, JOINED])
def test_each_bad_item_has_its_error_at_its_place_and_all_others_an_answer(
    task: str, items: list[tuple[Any, str | None]], good: Any, layout: Layout
) -> None:
    texts = [text for item, _ in items for text in (good, item)]
    results = tiny_student(layout).predict(texts, task)
    (expected,) = tiny_student(layout).predict([good], task)
    assert results[::2] == [expected] * len(items)
    assert [answered.error for answered in results[1::2]] == [error for _, error in items]
    for answered in results[1::2]:
        if answered.error is None:
            assert answered.label in HEADS[task].labels
            assert np.isfinite(answered.probabilities).all()
        else:
            assert (answered.label, answered.probabilities) == ("", [])
            assert np.isnan(answered.score)


def test_numbers_that_are_not_finite_are_an_error_of_their_text_alone() -> None:
    def infer(batch: Arrays, task: str) -> np.ndarray:
        logits = Made()(batch, task)
        logits[batch.ids[:, 0, 0] == 8, 0] = np.nan
        logits[batch.ids[:, 0, 0] == 9, 0] = np.inf
        return logits

    for task in ("single", "score"):
        results = tiny_student(infer=infer).predict(["7", "8", "9"], task)
        message = "the model's numbers for it are not finite"
        assert [prediction.error for prediction in results] == [None, message, message]
        assert results[0] == tiny_student().predict(["7"], task)[0]


def test_nothing_asked_is_nothing_answered() -> None:
    infer = Made()
    for task in HEADS:
        assert tiny_student(infer=infer).predict([], task) == []
        assert tiny_student(infer=infer).logits([], task)[0].shape == (
            0,
            len(HEADS[task].labels) or 1,
        )
    assert infer.seen == []


@pytest.mark.parametrize("texts", [["7"], []])
def test_an_unknown_task_is_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="^task is 'sst2'; allowed: single, pair, score, several$"):
        tiny_student().predict(texts, "sst2")
    with pytest.raises(ValueError, match=r"^task is \['single'\]; allowed: single, pair, score"):
        tiny_student().predict(texts, ["single"])  # type: ignore[arg-type]


def test_a_student_of_one_task_needs_no_name() -> None:
    student = tiny_student()
    with pytest.raises(ValueError, match="^task is ''; allowed: single, pair, score, several$"):
        student.predict(["7"])
    student.heads = {"single": student.heads["single"]}
    assert student.predict(["7"]) == student.predict(["7"], "single")


def shuffled(texts: list[Any]) -> pd.Series:
    """A column of these texts in this order, whose index has another: what sample() and
    sort_values() leave."""
    return pd.Series(texts, index=[(place * 3 + 1) % len(texts) for place in range(len(texts))])


FORMS: list[Callable[[list[Any]], Any]] = [
    tuple, iter, shuffled, lambda texts: pd.Series(texts, index=["columns"] * len(texts)),
    lambda texts: np.array(texts, dtype=object), np.array,
    lambda texts: Dataset.from_dict({"text": texts})["text"],
    lambda texts: dict.fromkeys(texts).keys(), lambda texts: (text for text in texts),
    lambda texts: pa.array(list(map(list, texts)) if isinstance(texts[0], tuple) else texts),
    lambda texts: pa.table({"text": texts if isinstance(texts[0], str) else list(map(list, texts))})
    ["text"],
]  # fmt: skip


@pytest.mark.parametrize("task", ["single", "pair"])
@pytest.mark.parametrize("form", FORMS)
def test_any_container_keeps_its_order(form: Callable[[list[Any]], Any], task: str) -> None:
    texts = [" ".join(["7"] * (place % 9)) + f" {place + 2}" for place in range(50)]
    asked: list[Any] = texts if task == "single" else list(zip(texts, texts[::-1], strict=True))
    assert tiny_student().predict(form(asked), task) == tiny_student().predict(asked, task)


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        ("7 8", "str"),
        (b"7 8", "bytes"),
        ({"7": 1, "8": 2}, "dict"),
        ({"7", "8"}, "set"),
        (frozenset(["7"]), "frozenset"),
        (pd.DataFrame({"text": ["7", "8"]}), "DataFrame"),
        (pa.table({"text": ["7", "8"]}), "Table"),
        (Dataset.from_dict({"text": ["7"]}), "Dataset"),
        (7, "int"),
    ],
)
def test_what_has_no_order_or_gives_no_texts_is_refused(texts: Any, kind: str) -> None:
    expected = (
        f"^texts is of type {kind}; allowed: a list, of one text or more, or a column of a table$"
    )
    with pytest.raises(ValueError, match=expected):
        tiny_student().predict(texts, "single")
    with pytest.raises(ValueError, match=expected):
        tiny_student().logits(texts, "pair")


def test_an_array_without_a_dimension_and_no_texts_at_all_are_refused() -> None:
    message = "^texts is an array without a dimension; allowed: a list, of one text or more$"
    with pytest.raises(ValueError, match=message):
        tiny_student().predict(np.array("7 8"), "single")
    with pytest.raises(ValueError, match="^texts is missing; allowed: a list"):
        tiny_student().predict(None, "single")  # type: ignore[arg-type]


def answered(lines: str, task: str, form: str) -> tuple[list[str], int]:
    out = io.StringIO()
    bad = answer(tiny_student(), task, form, iter(io.StringIO(lines, newline="\n")), out)
    return out.getvalue().splitlines(), bad


def test_lines_of_tsv_are_answered_line_by_line() -> None:
    output, bad = answered("4 6\r\n\n7\t8\n\udcff\n9", "single", "tsv")
    assert [line.split("\t") for line in output] == [
        ["bad", "0.880797"],
        ["bad", "0.5"],
        ["", "", "the line has 2 columns; allowed: 1"],
        ["", "", "not valid Unicode; allowed: text that UTF-8 can hold"],
        ["bad", "0.858149"],
    ]
    assert bad == 2
    lines = ["other\t0.880797", "\t\tthe line has 1 columns; allowed: 2"]
    assert answered("4\t6\n\n", "pair", "tsv") == (lines, 1)
    assert answered("4 6\n", "score", "tsv") == (["\t2.5"], 0)


def test_lines_of_json_are_answered_line_by_line() -> None:
    lines = [
        '{"text": "4 6"}', "{", "", "[1]", '{"other": 1}', '{"text": 3}', '{"text": "\\ud800"}',
        "[" * 100_000, '{"text": "\\u0000"}', '{"text": NaN}',
    ]  # fmt: skip
    output, bad = answered("\r\n".join(lines), "single", "jsonl")
    rows = [json.loads(line, parse_constant=pytest.fail) for line in output]  # NaN is no JSON
    assert [row["error"] is None for row in rows] == [True, *7 * [False], True, False] and bad == 8
    probabilities = pytest.approx([0.880797, 0.119203], abs=1e-6)
    assert rows[0].pop("probabilities") == probabilities
    assert rows[0] == {"label": "bad", "score": pytest.approx(0.880797), "error": None}
    assert rows[1]["error"].startswith("no JSON: ") and rows[2]["error"].startswith("no JSON: ")
    assert rows[1] | {"error": ""} == {"label": "", "score": None, "probabilities": [], "error": ""}
    assert rows[3]["error"] == "of type list; allowed: an object with text"
    assert rows[4]["error"] == "missing; allowed: a string"
    assert rows[5]["error"] == "of type int; allowed: a string"
    pairs, bad = answered('{"text": "4", "text_pair": "6"}\n{"text": "4"}\n', "pair", "jsonl")
    assert json.loads(pairs[0])["label"] == "other"
    assert json.loads(pairs[1])["error"] == "the second text is missing; allowed: a string"


def test_more_lines_than_are_read_at_once_come_in_their_order() -> None:
    output, bad = answered("".join(f"{i}\n" for i in range(2, 2502)), "score", "tsv")
    assert [line.strip() for line in output] == [f"{i / 10 * 0.5 + 2:.6g}" for i in range(2, 2502)]
    assert bad == 0


# An exported student.


@pytest.fixture(scope="module")
def exported(datas: Datas, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest bag; one of its labels is not of ASCII."""
    student = make_student(BAG, datas, len(tokenizer), 32, None)
    student.config.tasks["single"]["labels"] = ["mauvais", "très bon"]
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    export_onnx(student, tokenizer, folder)
    return folder


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


@pytest.mark.slow
def test_threads_are_asked_for_or_stated(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0))
    cases = [("3", 0, 3), ("3", 2, 2), ("2,4", 0, 2), ("", 1, 1), ("", 0, cores)]
    for stated, asked, used in cases:
        monkeypatch.setenv("OMP_NUM_THREADS", stated)
        monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
        student = Student.load(exported, asked)
        assert os.environ["RAYON_NUM_THREADS"] == str(used)
        assert student.encode.parallel == (used > 1)
    assert inference.MOST_THREADS == MOST_THREADS == 512
    for wrong in (-1, 513, 100_000):
        with pytest.raises(ValueError, match=f"^threads is {wrong}; allowed: from 0 to 512$"):
            Student.load(exported, wrong)
    for kind in (2.0, 1.5, "2", None, True):
        with pytest.raises(ValueError) as caught:
            Student.load(exported, kind)  # type: ignore[arg-type]
        message = f"threads is {kind!r}; allowed: a whole number, from 0 to 512"
        assert str(caught.value) == message
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    with pytest.raises(ValueError, match="^OMP_NUM_THREADS is 100000; allowed: at most 512$"):
        Student.load(exported)
    assert Student.load(exported, 1).heads, "a stated number comes first"


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def restate(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes what the manifest says, and makes it hold together again."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["digest"]
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest | {"digest": digest_of(manifest)}))


def reworded(folder: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace("mauvais", "mauvait"))


def replaced(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    restate(folder, lambda manifest: manifest["files"].update({name: digest}))


def newer_graph(folder: Path) -> None:
    """One that is as it was written, but that this onnxruntime does not know."""
    replaced(folder, "model.onnx", b"no graph")


def outside(folder: Path) -> None:
    """The weights of the graph lie in a file that no digest covers, here and in the process's own
    folder."""
    graph = onnx.load_from_string((folder / "model.onnx").read_bytes())
    file = folder / "aside" / "model.onnx"
    file.parent.mkdir()
    onnx.save_model(graph, file, save_as_external_data=True, location="weights", size_threshold=0)
    for place in (folder, Path.cwd()):
        shutil.copy(file.with_name("weights"), place)
    replaced(folder, "model.onnx", file.read_bytes())


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no graph": (lambda f: (f / "model.onnx").unlink(),
                 "model.onnx: No such file or directory; export the student again"),
    "no tokenizer": (lambda f: (f / TOKENIZER).unlink(),
                     f"{TOKENIZER}: No such file or directory; export the student again"),
    "a flipped bit": (lambda f: flip(f / "model.onnx"),
                      "model.onnx is not as it was exported: export the student again"),
    "a cut tokenizer": (lambda f: os.truncate(f / TOKENIZER, 99),
                        f"{TOKENIZER} is not as it was exported: export the"),
    "a cut manifest": (lambda f: os.truncate(f / MANIFEST, 99),
                       f"{MANIFEST} is damaged: export the student again"),
    "no text": (lambda f: (f / MANIFEST).write_bytes(b"\xff\xfe"),
                f"{MANIFEST} is damaged: export the student again"),
    "a list": (lambda f: (f / MANIFEST).write_text("[1]"),
               f"{MANIFEST} is damaged: export the student again"),
    "deep": (lambda f: (f / MANIFEST).write_text("[" * 100_000),
             f"{MANIFEST} is damaged: export the student again"),
    "another label": (reworded, f"{MANIFEST} is damaged: export the student again"),
    "a newer format": (lambda f: restate(f, lambda m: m.update(format=4)),
                       f"{MANIFEST} is of format 4; allowed: 1, 2, 3, which"),
    "a path outside": (lambda f: restate(f, lambda m: m["files"].update({"../secret": "0"})),
                       f"{MANIFEST} is damaged: export the student again"),
    "no head": (lambda f: restate(f, lambda m: m.update(tasks={})),
                f"{MANIFEST} is damaged: `tasks` has no head"),
    "a head without a scale": (lambda f: restate(f, lambda m: m["tasks"]["single"].pop("std")),
                               f"{MANIFEST} is damaged: `tasks.single` is no head"),
    "a label for a list": (lambda f: restate(f, lambda m: m["tasks"]["single"].update(labels="b")),
                           f"{MANIFEST} is damaged: `tasks.single` is no head"),
    "a file without a digest": (lambda f: restate(f, lambda m: m["files"].pop("model.onnx")),
                                f"{MANIFEST} is damaged: `tasks."),
    "no tokenizer stated": (lambda f: restate(f, lambda m: m["files"].pop(TOKENIZER)),
                            f"{MANIFEST} is damaged: `files` has no digest of {TOKENIZER}"),
    "no layout": (lambda f: restate(f, lambda m: m.pop("layout")),
                  f"{MANIFEST} is damaged: `layout` is none"),
    "a layout of something else": (lambda f: restate(f, lambda m: m["layout"].update(size=3)),
                                   f"{MANIFEST} is damaged: `layout` is none"),
    "a length of a million millions": (
        lambda f: restate(f, lambda m: m["layout"].update(max_length=10**12)),
        f"{MANIFEST} is damaged: `layout` is none"),
    "a scale beyond any float": (
        lambda f: restate(f, lambda m: m["tasks"]["single"].update(std=10**400)),
        f"{MANIFEST}: `tasks.single.std` is 10000000... (401 digits); allowed: from -1e+38 to"),
    "a temperature beyond any float": (
        lambda f: restate(f, lambda m: m["tasks"]["single"].update(temperature=10**400)),
        f"{MANIFEST}: `tasks.single.temperature` is 10000000... (401 digits); allowed: from 1e-38"),
    "a temperature of zero": (
        lambda f: restate(f, lambda m: m["tasks"]["single"].update(temperature=0)),
        f"{MANIFEST}: `tasks.single.temperature` is 0; allowed: from 1e-38 to 1e+38"),
    "a regression of several labels": (
        lambda f: restate(f, lambda m: m["tasks"]["score"].update(multilabel=True)),
        f"{MANIFEST}: `tasks.score.multilabel` is true; allowed: false, as a regression has no"),
    "a long name": (
        lambda f: restate(f, lambda m: m["files"].update({"n" * 300: "0"})),
        f"{MANIFEST} is damaged: export the student again; `files` has 'nnnn"),
    "a name with a zero byte": (
        lambda f: restate(f, lambda m: m["files"].update({"n\0": "0"})),
        f"{MANIFEST} is damaged: export the student again; `files` has 'n\\x00'; allowed: "),
    "a name that is no text": (
        lambda f: restate(f, lambda m: m["files"].update({"\ud800": "0"})),
        f"{MANIFEST} is damaged: export the student again; `files` has '\\ud800'; allowed: "),
    "more special tokens than tokens": (
        lambda f: restate(f, lambda m: m["layout"].update(joined=True, suffix=[3] * 10**5)),
        f"{MANIFEST}: `layout.max_length` is 32; allowed: more than 100000, the number of special"),
    "a long prefix": (
        lambda f: restate(f, lambda m: m["layout"].update(joined=True, prefix=[3] * 500)),
        f"{MANIFEST}: `layout.max_length` is 32; allowed: more than 500, the number of special"),
    "a padding token of no text": (
        lambda f: restate(f, lambda m: m["layout"].update(pad=2**31 - 1)),
        f"{MANIFEST}: `layout.pad` has the token 2147483647; allowed: the ids of the "),
    "a special token of no text": (
        lambda f: restate(f, lambda m: m["layout"].update(single=[[2], [10**6]])),
        f"{MANIFEST}: `layout.single` has the token 1000000; allowed: the ids of the "),
    "types of other tokens": (
        lambda f: restate(f, lambda m: m["layout"].update(joined=True, pair_types=[1, 2, 3])),
        f"{MANIFEST}: `layout.pair_types` has 3 token types; allowed: none, or 2, one for each"),
    "more classes than the graph": (
        lambda f: restate(f, lambda m: m["tasks"]["single"].update(labels=list("abcdefghij"))),
        f"{MANIFEST}: its files do not belong together, by its head 'single'"),
    "weights outside of the graph": (outside,
                                     "model.onnx cannot be read by the onnxruntime that is"),
    "a graph of nothing": (newer_graph,
                           "model.onnx cannot be read by the onnxruntime that is installed: "),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_refused_by_name(
    name: str, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    damage, message = DAMAGE[name]
    Student.load(copied)
    damage(copied)
    with pytest.raises(ValueError) as caught:
        Student.load(copied)
    assert str(caught.value).startswith(f"{copied}/{message}")


def test_a_tokenizer_that_pads_or_truncates_does_neither(copied: Path) -> None:
    """To pad to a thousand million tokens would end the process."""
    texts = ["a film", "a good, long film of rain " * 3, ""]
    expected = Student.load(copied).logits(texts, "single")[0]
    rules = json.loads((copied / TOKENIZER).read_text())
    padding = {
        "strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    truncation = {
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    stated = json.dumps(rules | {"padding": padding, "truncation": truncation})
    replaced(copied, TOKENIZER, stated.encode())
    np.testing.assert_array_equal(Student.load(copied).logits(texts, "single")[0], expected)


def test_a_folder_of_the_first_format_is_read_as_it_was(copied: Path) -> None:
    expected = Student.load(copied).logits(["a film", ""], "single")[0]
    later = ("single", "pair_types", "single_types")
    restate(copied, lambda m: (m.update(format=1), [m["layout"].pop(key) for key in later]))
    np.testing.assert_array_equal(
        Student.load(copied).logits(["a film", ""], "single")[0], expected
    )


def test_what_is_no_exported_student_is_refused_by_name(
    datas: Datas, tokenizer: Tokenizer, exported: Path, tmp_path: Path
) -> None:
    in_torch = tmp_path / "torch"
    save_model(make_student(BAG, datas, len(tokenizer), 32, None), tokenizer, in_torch)
    for folder in (in_torch, tmp_path / "nowhere", exported / MANIFEST):
        with pytest.raises(ValueError) as caught:
            Student.load(folder)
        assert str(caught.value) == f"{folder} is no exported student: there is no {MANIFEST} in it"


# The command line, in this process and, where what is at stake is the process, in its own.

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "pandas", "mlflow", "scipy", "sklearn",
                                  "onnx", "safetensors"}:
            raise ImportError(name + " is not installed")
sys.meta_path.insert(0, Blocked())
from mkd.__main__ import main
sys.exit(main())
"""


def process(*argv: str, stdin: bytes = b"", **more: str) -> tuple[int, bytes, str]:
    """The command line where none of the training's packages can be imported."""
    environ = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more
    command = [sys.executable, "-c", BLOCKED, *argv]
    done = subprocess.run(command, input=stdin, capture_output=True, env=environ, timeout=600)
    return done.returncode, done.stdout, done.stderr.decode()


def test_it_runs_without_torch_and_answers_standard_input_in_utf8(exported: Path) -> None:
    stdin = "\ufeffa good film\r\n\nbad \x00 你好\n".encode() + b"\xff\xfe\nlast"
    argv = [str(exported), "--task", "single"]
    code, out, err = process(*argv, stdin=stdin, PYTHONIOENCODING="ascii")
    rows = [line.split("\t") for line in out.decode().splitlines()]
    message = "1 text is empty: its answer means nothing\n1 line has no answer\n"
    assert (code, err, len(rows)) == (0, message, 5)
    assert rows[3] == ["", "", "not valid Unicode; allowed: text that UTF-8 can hold"]
    texts = ["a good film", "", "bad \x00 你好", "last"]
    expected = [
        [p.label, f"{p.score:.6g}"] for p in Student.load(exported).predict(texts, "single")
    ]
    assert [row for place, row in enumerate(rows) if place != 3] == expected
    assert {"mauvais", "très bon"} >= {label for label, *_ in rows if label}


def test_mistakes_are_told_in_one_line_and_the_code_2(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, missing = str(exported), "nowhere.tsv: no such file"
    for argv, message in [
        ([str(tmp_path)], f"{tmp_path} is no exported student: there is no {MANIFEST} in it"),
        ([known, "--task", "sst2"], "task is 'sst2'; allowed: pair, score, single"),
        ([known, "--input", "nowhere.tsv"], missing),
        ([known, "--threads", "-1"], "threads is -1; allowed: from 0 to 512"),
        ([known, "--threads", "100000"], "threads is 100000; allowed: from 0 to 512"),
    ]:
        assert main(argv if "--task" in argv else [*argv, "--task", "single"]) == 2
        assert capsys.readouterr() == ("", f"error: {message}\n")


def test_a_mistake_is_told_by_the_process_too(exported: Path) -> None:
    message = "error: task is 'sst2'; allowed: pair, score, single\n"
    assert process(str(exported), "--task", "sst2") == (2, b"", message)


def test_a_files_ending_tells_its_form(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, pairs, texts = str(exported), tmp_path / "pairs.jsonl", tmp_path / "texts.tsv"
    pairs.write_text('{"text": "a film", "text_pair": "a good film"}\n{"text": 1}')
    texts.write_text("a film\ta good film\n")
    assert main([known, "--task", "pair", "--input", str(pairs)]) == 0
    out, err = capsys.readouterr()
    first, second = (json.loads(line) for line in out.splitlines())
    (answer,) = Student.load(exported).predict([("a film", "a good film")], "pair")
    expected = answer._asdict()
    assert expected.pop("labels") is None, "of tasks with several labels a row alone"
    assert expected.pop("answered"), "with a confidence alone"
    assert first == expected
    assert second["error"] == "the first text is of type int; allowed: a string"
    assert err == "1 line has no answer\n"
    assert main([known, "--task", "score", "--format", "tsv", "--input", str(texts)]) == 0
    (answer,) = Student.load(exported).predict([("a film", "a good film")], "score")
    assert capsys.readouterr() == (f"\t{answer.score:.6g}\n", "")
    assert main([known, "--task", "single", "--format", "jsonl", "--input", str(texts)]) == 0
    assert json.loads(capsys.readouterr().out)["error"].startswith("no JSON: ")


@pytest.mark.parametrize("name", ["rows.json", "rows.XLSX", "rows.xls", "rows.csv.gz", "rows.zip"])
def test_a_table_that_cannot_be_read_is_no_lines_of_text(
    name: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text("a film\n")
    asked = [str(exported), "--task", "single", "--input", str(path)]
    assert main(asked) == 2
    allowed = "a file that ends in .csv, .tsv, .parquet, .jsonl, .ndjson, or of lines, as --format"
    assert capsys.readouterr() == ("", f"error: --input is {path}; allowed: {allowed} states\n")
    assert main([*asked, "--format", "tsv"]) == 0, "as it is stated"


def test_lines_and_tables_tell_which_rows_have_no_answer(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, texts = str(exported), tmp_path / "texts.jsonl"
    texts.write_text('{"text": "a film"}\n{"text": 1}\n')
    asked = [known, "--task", "single", "--min_confidence"]
    (answer,) = Student.load(exported).predict(["a film"], "single")
    score = f"{answer.score:.6g}"
    lines, table = tmp_path / "lines", tmp_path / "table.csv"
    lines.write_text("a film\n")
    table.write_text("body\na film\n")
    for least, label in (("1", None), ("0.01", answer.label)):
        assert main([*asked, least, "--input", str(texts)]) == 0
        first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
        assert (first["label"], first["answered"]) == (label, label is not None)
        assert not second["answered"]
        cells = (label or "", score, str(label is not None).lower())
        assert main([*asked, least, "--input", str(lines)]) == 0
        assert capsys.readouterr().out == "\t".join(cells) + "\n"
        assert main([*asked, least, "--input", str(table)]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "body,prediction,score,answered,error", f"a film,{','.join(cells)},",
        ]  # fmt: skip
    assert main([known, "--task", "score", "--min_confidence", "0.5"]) == 2
    assert capsys.readouterr().err == (
        "error: min_confidence is 0.5; allowed for score: 0, as a regression has no confidence\n"
    )


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_a_table_is_answered_row_by_row_with_its_columns(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    path = tmp_path / f"tickets.{ending}"
    texts = ["a film of the sea", "", "a good, long film of rain"]
    frame = pd.DataFrame({"id": ["1", "2", "3"], "what they say": texts, "score": ["x", "y", "x"]})
    if ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    assert main([str(exported), "--task", "single", "--input", str(path)]) == 0
    out, err = capsys.readouterr()
    answers = Student.load(exported).predict(texts, "single")
    separator = "\t" if ending == "tsv" else ","
    header, *rows = csv.reader(io.StringIO(out), delimiter=separator)
    assert header == ["id", "what they say", "score", "prediction", "score_", "error"]
    assert [row[1] for row in rows] == texts
    assert [row[3] for row in rows] == [answer.label for answer in answers]
    assert err.startswith(f"text of {path}: 'what they say'\n1 text is empty: its answer means ")
    stated = [str(exported), "--task", "single", "--input", str(path), "--text", "what they say"]
    assert main(stated) == 0
    assert capsys.readouterr()[0] == out


@pytest.mark.parametrize("ending", ["jsonl", "ndjson", "JSONL"])
def test_objects_with_other_keys_are_repeated_with_their_answers(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    path = tmp_path / f"tickets.{ending}"
    texts = ["a film of the sea", "", "a good, long film of rain, très bon"]
    rows = [{"id": n, "what they say": text, "score": {"x": 1}} for n, text in enumerate(texts)]
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join([*lines, "{", '{"id": "\\ud800"}', ""]))
    assert main([str(exported), "--task", "single", "--input", str(path)]) == 0
    out, err = capsys.readouterr()
    answers = Student.load(exported).predict(texts, "single")
    objects = [json.loads(line) for line in out.splitlines()]
    assert objects[:3] == [
        row | {"prediction": answer.label, "score_": answer.score, "error": None}
        for row, answer in zip(rows, answers, strict=True)
    ]
    assert "très bon" in out
    assert objects[3].pop("error").startswith("no JSON: ")
    assert objects[3] == {"prediction": "", "score": None}
    assert objects[4].pop("error") == "missing; allowed: a string"
    assert objects[4] == {"id": "\ud800", "prediction": "", "score": None}
    message = "1 text is empty: its answer means nothing\n2 lines have no answer\n"
    assert err == f"text of {path}: 'what they say'\n{message}"
    stated = [str(exported), "--task", "single", "--input", str(path), "--text", "what they say"]
    assert main(stated) == 0
    assert capsys.readouterr() == (out, message)


def test_texts_of_objects_that_are_not_clear_are_refused(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"a": "a film of rain", "b": "a film of the sea"}\n')
    assert main([str(exported), "--task", "single", "--input", str(path)]) == 2
    message = f"error: {path}: the text may be 'a' or 'b'; state --text; columns: 'a', 'b'\n"
    assert capsys.readouterr() == ("", message)


def test_texts_of_a_table_that_are_not_clear_are_refused(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs.csv"
    rows = "a film of rain,a film of the sea,songs of the rain\n" * 3
    path.write_text(f"a,b,c\n{rows}")
    for argv, message in [
        (
            ["--task", "single"],
            f"{path}: the text may be 'a' or 'b' or 'c'; state --text; columns: 'a', 'b', 'c'",
        ),
        (["--task", "single", "--text", "d"], f"{path}: no column 'd'; there are: 'a', 'b', 'c'"),
        (["--task", "pair", "--text", "a"], "--text is a; allowed for this task: two columns"),
        ([], "--task is not given; allowed: pair, score, single"),
    ]:
        assert main([str(exported), "--input", str(path), *argv]) == 2
        assert capsys.readouterr() == ("", f"error: {message}\n")
    assert main([str(exported), "--task=pair", "--input", str(path), "--text", "c", "a"]) == 0
    capsys.readouterr()
    path.write_text(f"a,b,b\n{rows}")
    assert main([str(exported), "--task=single", "--input", str(path), "--text", "a"]) == 2
    assert capsys.readouterr() == ("", f"error: {path}:1: 2 columns 'b'; allowed: one\n")


@pytest.mark.slow
def test_a_plain_installation_has_no_torch_and_runs_it(exported: Path, tmp_path: Path) -> None:
    """From a copy, as pip leaves its build beside what it installs."""
    source, venv = tmp_path / "source", tmp_path / "venv"
    for name in ("mkd", "experiments"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    # What is installed beside this test must not be found there.
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environ = {name: value for name, value in os.environ.items() if name not in hidden}

    def run(*command: str, stdin: str = "") -> str:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=environ, cwd=tmp_path,
            timeout=500,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    python = str(venv / "bin" / "python")
    run(sys.executable, "-m", "venv", "--without-pip", str(venv))  # a pip takes longer than mkd
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(*pip, "install", "--quiet", "--no-compile", str(source))
    listed = run(*pip, "list", "--format=freeze").splitlines()
    installed = {line.split("==")[0].lower() for line in listed}
    assert {"mkd-distill", "numpy", "onnxruntime", "tokenizers"} <= installed
    assert not installed & {"torch", "transformers", "mlflow", "pandas"}
    command, text = str(venv / "bin" / "mkd"), "a good film\n"
    out = run(command, "predict", str(exported), "--task", "single", stdin=text)
    (expected,) = Student.load(exported).predict(["a good film"], "single")
    assert out == f"{expected.label}\t{expected.score:.6g}\n"
    refused = subprocess.run(
        [command, "distill"], capture_output=True, text=True, env=environ, cwd=tmp_path
    )
    assert refused.returncode == 2 and "mkd distill needs a clone of MKD" in refused.stderr


def test_a_wrong_argument_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["FOLDER", "--format", "csv", "--task", "single"])
    assert stopped.value.code == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: argument --format: invalid choice: 'csv'")
    assert stderr.count("\n") == 1


def test_onnxruntimes_threads_do_not_spin_and_are_as_many_as_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Any] = []

    def session(graph: bytes, options: Any, providers: list[str]) -> None:
        opened.append(options)

    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    inference._session(b"", 3, exact=False)
    (options,) = opened
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == 3
