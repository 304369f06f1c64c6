import json
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from mkd.config import DataConfig
from mkd.runtime.inference import tuples
from mkd.runtime.layout import Layout
from mkd.storage.pretrained import load_tokenizer
from mkd.tasks.task import Row, Task
from mkd.tokenization import tokenise
from mkd.tokenization.tokenise import token_store, tokenise_task, tokenizer_fingerprint
from mkd.tokenization.tokens import layout_of
from mkd.training.batches import TaskRows, gather_inputs, make_batch
from tests.support.runs import RecordedReports
from tests.support.tiny import (
    MINILM,
    PAIR,
    SCORE,
    SINGLE,
    Tokenizer,
    from_texts,
    make_tasks,
    pair_rows,
    roberta_like,
    rows_of,
    score_rows,
    single_rows,
    split,
)

NAN = float("nan")


def test_a_store_holds_the_tokenizers_own_ids(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = pair_rows(25, 0)
    store = token_store(tmp_path, split(rows), PAIR, tokenizer, 100)
    assert store.b is not None
    ids = rows_of(store.a)
    assert ids == ([tokenizer(row.text_a, add_special_tokens=False)["input_ids"] for row in rows])
    expected = [tokenizer(row.text_b, add_special_tokens=False)["input_ids"] for row in rows]
    assert rows_of(store.b) == expected
    assert store.labels.tolist() == [row.label for row in rows]
    types = [array.dtype.name for array in (store.a.ids, store.a.offsets, store.labels)]
    assert types == ["int32", "int64", "float64"]


def test_a_single_text_has_no_second_one(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert token_store(tmp_path, split(single_rows(3, 0)), SINGLE, tokenizer, 100).b is None


def test_texts_are_cut_one_token_beyond_the_length(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = single_rows(25, 0)
    whole = token_store(tmp_path, split(rows), SINGLE, tokenizer, 100)
    cut = token_store(tmp_path, split(rows), SINGLE, tokenizer, 4)
    assert rows_of(cut.a) == [ids[:5] for ids in rows_of(whole.a)]
    assert whole.a.lengths().max() > 5
    assert cut.fingerprint != whole.fingerprint


def test_the_longer_text_of_a_pair_stays_the_longer(tokenizer: Tokenizer) -> None:
    lengths = [(3, 3), (5, 4), (6, 5), (9, 7), (7, 9), (9, 9), (9, 5), (9, 4), (1, 9)]
    a, b = ([" ".join(["film"] * pair[side]) for pair in lengths] for side in (0, 1))
    store = from_texts(tokenizer, a, b, 4)
    assert store.b is not None
    lengths_after = list(zip(store.a.lengths().tolist(), store.b.lengths().tolist(), strict=True))
    assert lengths_after == [(3, 3), (5, 4), (6, 5), (6, 5), (5, 5), (5, 5), (6, 5), (5, 4), (1, 5)]
    assert from_texts(tokenizer, a, None, 4).a.lengths().tolist() == [3, 5, 5, 5, 5, 5, 5, 5, 1]


def test_a_missing_label_is_nan(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [Row("a film", None, 1.0), Row("a film", None, None), Row("a film", None, 0.0)]
    labels = token_store(tmp_path, split(rows), SINGLE, tokenizer, 9).labels
    np.testing.assert_array_equal(labels, [1.0, NAN, 0.0])


def test_rows_of_several_chunks_are_stored_one_after_another(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = score_rows(25, 0)
    whole = token_store(tmp_path / "whole", split(rows), SCORE, tokenizer, 9)
    monkeypatch.setattr(tokenise, "CHUNK_ROWS", 10)
    reports = RecordedReports()
    chunked = token_store(tmp_path / "parts", split(rows), SCORE, tokenizer, 9, reports)
    assert [value for metrics in reports for value in metrics.values()] == [10, 20, 25]
    assert chunked.b is not None and whole.b is not None
    arrays = (*chunked.a, *chunked.b, chunked.labels)
    expected = (*whole.a, *whole.b, whole.labels)
    for one, other in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_long_texts_come_in_chunks_of_fewer_rows(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row("a" * 5, "the film of the s", 1.0)] * 7
    monkeypatch.setattr(tokenise, "CHUNK_CHARACTERS", 60)
    reports = RecordedReports()
    token_store(tmp_path, split(rows), SCORE, tokenizer, 9, reports)
    # A row has 22 characters.
    assert [value for metrics in reports for value in metrics.values()] == [3, 6, 7]


def test_the_error_of_a_wrong_row_is_raised_while_other_rows_are_tokenised(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> Iterator[Row]:
        yield from single_rows(45, 0)
        raise ValueError("f.csv:46: wrong")

    monkeypatch.setattr(tokenise, "CHUNK_ROWS", 10)
    with pytest.raises(ValueError, match=r"^f\.csv:46: wrong$"):
        token_store(tmp_path, split([])._replace(read=read), SINGLE, tokenizer, 9)


def test_no_more_than_a_few_chunks_are_read_ahead(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, ahead = [0], []

    def rows() -> Iterator[Row]:
        for row in single_rows(200, 0):
            read[0] += 1
            yield row

    monkeypatch.setattr(tokenise, "CHUNK_ROWS", 10)

    def report(written: int, metrics: dict[str, float]) -> None:
        ahead.append(read[0] - written)

    token_store(tmp_path, split([])._replace(read=rows), SINGLE, tokenizer, 9, report)
    assert max(ahead) == 10 * tokenise.CHUNKS_AT_ONCE


@pytest.mark.parametrize(("at_once", "parallel"), [(1, "false"), (3, "true")])
def test_the_bytes_do_not_depend_on_how_much_is_done_at_a_time(
    tmp_path: Path,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
    parallel: str,
) -> None:
    rows = split(pair_rows(95, 0))
    whole = token_store(tmp_path / "whole", rows, PAIR, tokenizer, 9).fingerprint
    monkeypatch.setattr(tokenise, "CHUNK_ROWS", 10)
    monkeypatch.setattr(tokenise, "CHUNKS_AT_ONCE", at_once)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", parallel)
    token_store(tmp_path / "parts", rows, PAIR, tokenizer, 9)
    names = ["a.int32", "a_offsets.int64", "b.int32", "b_offsets.int64", "labels.float64"]
    expected, actual = (
        [(tmp_path / name / "tokens" / whole / file).read_bytes() for file in names]
        for name in ("whole", "parts")
    )
    assert actual == expected


def test_stopping_midway_leaves_neither_a_folder_nor_a_thread(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(step: int, metrics: dict[str, float]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tokenise, "CHUNK_ROWS", 10)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        token_store(tmp_path, split(single_rows(95, 0)), SINGLE, tokenizer, 9, stop)
    assert threading.active_count() == before
    assert [path for path in (tmp_path / "tokens").iterdir() if path.is_dir()] == []


def test_the_second_call_reads_no_rows(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = split(single_rows(5, 0))
    reads = []

    def read() -> Iterator[Row]:
        reads.append(1)
        return rows.read()

    counted = rows._replace(read=read)
    first = token_store(tmp_path, counted, SINGLE, tokenizer, 9)
    second = token_store(tmp_path, counted, SINGLE, tokenizer, 9)
    assert len(reads) == 1
    assert rows_of(first.a) == rows_of(second.a)
    assert first.fingerprint == second.fingerprint


def test_a_wrong_row_leaves_nothing_behind(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="a list of rows: no rows; at least one is needed"):
        token_store(tmp_path, split([]), SINGLE, tokenizer, 9)

    def read() -> list[Row]:
        raise ValueError("f.csv:7: wrong")

    with warnings.catch_warnings(), pytest.raises(ValueError, match="f.csv:7: wrong"):
        warnings.simplefilter("error")
        token_store(tmp_path, split([])._replace(read=read), SINGLE, tokenizer, 9)  # type: ignore[arg-type]
    assert [path for path in (tmp_path / "tokens").iterdir() if path.is_dir()] == []


def test_padding_and_truncation_saved_in_a_tokenizer_do_not_reach_the_store() -> None:
    """MiniLM's tokenizer.json pads and truncates everything to 128 tokens."""
    fresh = load_tokenizer(MINILM, "teacher.checkpoint")
    before = tokenizer_fingerprint(fresh)
    texts = ["hello", "hello " * 200, ""]
    store = from_texts(load_tokenizer(MINILM, "teacher.checkpoint"), texts, None, 150)
    assert rows_of(store.a) == [[7592], [7592] * 151, []]
    fresh(["hello", "hello you"], padding=True, truncation=True, max_length=8)
    assert tokenizer_fingerprint(fresh) == before
    assert rows_of(from_texts(fresh, ["hello " * 200], None, 150).a) == [[7592] * 151]


def test_another_tokenizer_has_another_fingerprint(tokenizer: Tokenizer) -> None:
    assert tokenizer_fingerprint(tokenizer) != tokenizer_fingerprint(roberta_like())


def test_raw_pairs_become_a_store_without_labels(tokenizer: Tokenizer) -> None:
    store = from_texts(tokenizer, ["a film", "rain"], ["the sea", "songs"], 9)
    assert store.b is not None
    assert rows_of(store.b) == [
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("the sea", "songs")
    ]
    assert np.isnan(store.labels).all()


def test_layout_of_a_bert_like_template(tokenizer: Tokenizer) -> None:
    vocabulary = tokenizer.get_vocab()
    cls, sep = vocabulary["[CLS]"], vocabulary["[SEP]"]
    assert layout_of(tokenizer, True, 32) == Layout(True, 0, 32, (cls,), (sep,), (sep,), types=True)
    expected = Layout(True, 0, 32, (101,), (102,), (102,), types=True)
    assert layout_of(load_tokenizer(MINILM, ""), True, 32) == expected


def test_layout_of_a_roberta_like_template() -> None:
    expected = Layout(True, 1, 32, (0,), (2, 2), (2,), types=False)
    assert layout_of(roberta_like(), True, 32) == expected


LONG = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3} | {str(place): place for place in range(4, 40)}


def templated(single: str, pair: str | None, **names: str) -> Tokenizer:
    """Returns a word-level tokenizer with this template; without `pair`, the library's for
    pairs."""
    tokenizer = tokenizers.Tokenizer(models.WordLevel(LONG, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("<s>", 0), ("</s>", 2)]
    template = {"single": single} | ({} if pair is None else {"pair": pair})
    tokenizer.post_processor = processors.TemplateProcessing(**template, special_tokens=special)
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    options = {"pad_token": "<pad>", "unk_token": "<unk>", "model_input_names": inputs} | names
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options)


TEMPLATES: dict[str, tuple[str, str | None]] = {
    "bert": ("<s> $A </s>", "<s> $A </s> $B:1 </s>:1"),
    "roberta": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    "deberta": ("<s>:0 $A:0 </s>:0", "<s>:0 $A:0 </s>:0 $B:1 </s>:1"),
    "xlnet": ("$A:0 </s>:0 <s>:2", "$A:0 </s>:0 $B:1 </s>:1 <s>:2"),
    "t5": ("$A </s>", "$A </s> $B </s>"),
    "llama": ("<s> $A", "<s> $A <s>:1 $B:1"),
    "a template for single texts alone": ("<s> $A </s>", None),
    "others for single texts": ("</s> </s> $A <s>", "<s> $A:3 </s>:3 $B </s> </s>"),
    "no special tokens": ("$A", "$A $B"),
}


@pytest.mark.parametrize("max_length", [64, 13, 12, 9, 8])
@pytest.mark.parametrize("name", TEMPLATES)
def test_rows_are_laid_out_and_cut_as_the_tokenizer_does_it(name: str, max_length: int) -> None:
    tokenizer = templated(*TEMPLATES[name])
    rng = np.random.default_rng(max_length)
    rows = [rng.integers(4, 40, rng.integers(1, 2 * max_length)) for _ in range(600)]
    words = [" ".join(map(str, row)) for row in rows]
    layout = layout_of(tokenizer, True, max_length)
    cut = {"truncation": "longest_first", "max_length": max_length, "padding": True}
    for second in (None, words[300:]):
        store = from_texts(tokenizer, words[:300], second, max_length)
        inputs = gather_inputs(store, np.arange(300), layout)
        expected = tokenizer(words[:300], second, return_tensors="np", **cut)
        np.testing.assert_array_equal(inputs.ids[:, 0].numpy(), expected["input_ids"])
        np.testing.assert_array_equal(inputs.mask[:, 0].numpy(), expected["attention_mask"] == 1)
        types = (
            np.zeros_like(expected["input_ids"]) if inputs.types is None else inputs.types.numpy()
        )
        read = expected["token_type_ids"] * expected["attention_mask"]
        np.testing.assert_array_equal(types, read)


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_exported_layout_is_read_back_as_it_was(name: str) -> None:
    layout = layout_of(templated(*TEMPLATES[name]), True, 16)
    read = json.loads(json.dumps(layout._asdict()))
    assert Layout(**{key: tuples(value) for key, value in read.items()}) == layout


@pytest.mark.parametrize(
    ("single", "pair"),
    [
        ("<s> $A </s>", "<s> $B </s> $A </s>"),
        ("<s> $A $A </s>", "<s> $A </s> $B </s>"),
        ("<s> $A </s>", "<s> $A </s> $B </s> $A"),
    ],
)
def test_a_template_that_does_not_join_the_texts_in_order_is_refused(
    single: str, pair: str
) -> None:
    with pytest.raises(ValueError) as caught:
        layout_of(templated(single, pair, name_or_path="FOLDER"), True, 32)
    message = "the tokenizer 'FOLDER' combines two texts in an unsupported way; allowed: "
    assert str(caught.value).startswith(message)


def test_a_row_without_any_token_is_one_padding_token_if_there_are_no_special_tokens() -> None:
    tokenizer = templated("$A", "$A $B")
    store, layout = from_texts(tokenizer, ["", "4 5"], None, 8), layout_of(tokenizer, True, 8)
    inputs = gather_inputs(store, np.array([0]), layout)
    assert (inputs.ids.tolist(), inputs.mask.tolist()) == ([[[1]]], [[[True]]])


def test_layout_of_texts_that_are_kept_apart() -> None:
    assert layout_of(roberta_like(), False, 32) == Layout(False, 1, 32)


def test_scores_are_scaled_by_the_learnt_labels(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (task,) = make_tasks(40, ("score",), unlabelled=5)
    data = tokenise_task(tmp_path, task, tokenizer, DataConfig(selection_fraction=0.25), 0)
    learnt = [label for label in data.train.labels[data.train_rows].tolist() if label == label]
    assert len(learnt) == 30
    assert data.mean == pytest.approx(sum(learnt) / 30)
    expected = pytest.approx((sum((label - data.mean) ** 2 for label in learnt) / 30) ** 0.5)
    assert data.std == expected
    assert {name: len(store.labels) for name, store in data.dev.items()} == {"": 20}


LARGE = 1.7e9
"""At this size the distance between float32 numbers is 128."""


def test_large_labels_that_differ_little_keep_digits(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [row._replace(label=LARGE + place) for place, row in enumerate(score_rows(50, 0))]
    more = [row._replace(label=None) for row in score_rows(3, 1)]
    task = Task("score", SCORE, split(rows), {"": split(rows)}, added=(split(more),))
    data = tokenise_task(tmp_path, task, tokenizer, DataConfig(selection_fraction=0.2), 0)
    labels = [LARGE + place for place in range(50)]
    assert data.train.labels[:50].tolist() == data.dev[""].labels.tolist() == labels
    learnt = [int(row) for row in data.train_rows if row < 50]
    assert data.mean - LARGE == pytest.approx(sum(learnt) / 40, abs=1e-6)
    assert data.std == pytest.approx(np.std(learnt), rel=1e-9)
    source = TaskRows(data, data.train_rows, None)
    batch = make_batch(source, data.train_rows[:40], Layout(False, 0, 32))
    expected = (np.array(learnt[:40]) - np.mean(learnt)) / np.std(learnt)
    np.testing.assert_allclose(batch.labels_B[: len(learnt)].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("value", [2.0, 0.1, 1.7e9 + 0.3, 1e-9])
def test_equal_scores_have_no_spread(tmp_path: Path, tokenizer: Tokenizer, value: float) -> None:
    rows = split([row._replace(label=value) for row in score_rows(29, 0)])
    constant = Task("score", SCORE, rows, {})
    data = tokenise_task(tmp_path, constant, tokenizer, DataConfig(), 0)
    assert (data.mean, data.std) == (value, 1.0)


def test_classes_are_not_scaled(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (task,) = make_tasks(40, ("single",))
    data = tokenise_task(tmp_path, task, tokenizer, DataConfig(), 0)
    assert (data.mean, data.std) == (0.0, 1.0)


def test_added_rows_follow_and_are_tokenised_alone(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (task,) = make_tasks(40, ("pair",), unlabelled=5)
    more = [split([row._replace(label=None) for row in pair_rows(num, 7 + num)]) for num in (3, 8)]
    alone = tokenise_task(tmp_path, task, tokenizer, DataConfig(), 0)
    data = tokenise_task(tmp_path, replace(task, added=tuple(more)), tokenizer, DataConfig(), 0)
    assert alone.train.parts == ()
    assert data.train.parts[0].fingerprint == alone.train.fingerprint != data.train.fingerprint
    assert data.train.b is not None
    for side in (0, 1):
        ids_of_stores = [rows_of(store[side]) for store in (data.train, *data.train.parts)]  # type: ignore[arg-type]
        assert ids_of_stores[0] == [*ids_of_stores[1], *ids_of_stores[2], *ids_of_stores[3]]
    labels = np.concatenate([alone.train.labels, np.full(11, NAN)])
    np.testing.assert_array_equal(data.train.labels, labels)
    np.testing.assert_array_equal(data.selection_rows, alone.selection_rows)
    np.testing.assert_array_equal(data.train_rows, [*alone.train_rows, *range(45, 56)])
    arrays = (data.train.b.ids, data.train.b.offsets, data.train.labels)
    assert [array.dtype.name for array in arrays] == ["int32", "int64", "float64"]
