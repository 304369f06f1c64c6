from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BartConfig,
    BartForSequenceClassification,
    BertForSequenceClassification,
    BertModel,
    FNetConfig,
    FNetForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedConfig,
)

from mkd.students.embeddings import input_table
from mkd.tasks.metrics import accuracy
from mkd.tasks.task import Kind
from mkd.teachers import teacher_notes
from mkd.teachers.classifier import Classifier
from mkd.teachers.finetuned import label_order
from mkd.teachers.task_teacher import stores_by_split
from tests.support.checkpoints import bert, classifier, labeller, saved
from tests.support.runs import RecordedReports
from tests.support.tiny import (
    MAKERS,
    MINILM,
    PAIR,
    SCORE,
    SINGLE,
    Tokenizer,
    make_tasks,
    score_rows,
    split,
)

CPU = torch.device("cpu")
WHERE = "teacher.sources.single is 'x'"


def named(labels: Sequence[str]) -> PreTrainedConfig:
    return PreTrainedConfig(
        id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)}
    )


def direct(folder: str, name: str, num: int, seed: int) -> np.ndarray:
    """The checkpoint's own logits, row by row, computed with transformers alone."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = MAKERS[name][1](num, seed)
    inputs = [tokenizer(row.text_a, row.text_b, return_tensors="pt") for row in rows]
    with torch.inference_mode():
        return np.stack([model(**each).logits[0].numpy() for each in inputs])


@pytest.mark.parametrize(
    ("theirs", "kind", "order"),
    [
        (["bad", "good"], SINGLE, [0, 1]),
        (["GOOD", "Bad"], SINGLE, [1, 0]),
        (["Not Equivalent", "EQUIVALENT"], Kind(("equivalent", "not_equivalent"), True, ()),
         [1, 0]),
        (["contra-diction", "en tailment", "NEUTRAL"],
         Kind(("entailment", "neutral", "contradiction"), True, ()), [1, 2, 0]),
        (["LABEL_0"], SCORE, [0]),
    ],
)  # fmt: skip
def test_labels_are_mapped_by_name(theirs: list[str], kind: Kind, order: list[int]) -> None:
    assert label_order(named(theirs), kind, WHERE) == order


@pytest.mark.parametrize(
    ("theirs", "kind", "message"),
    [
        (["LABEL_0", "LABEL_1"], SINGLE,
         "its labels are 'LABEL_0', 'LABEL_1'; allowed: 'bad', 'good', in any order"),
        (["bad", "good", "so-so"], SINGLE,
         "its labels are 'bad', 'good', 'so-so'; allowed: 'bad', 'good'"),
        (["bad"], SINGLE, "its labels are 'bad'; allowed: 'bad', 'good'"),
        (["good", "GOOD"], SINGLE, "its labels are 'good', 'GOOD'; allowed: 'bad', 'good'"),
        (["a-b", "ab"], Kind(("ab", "a_b"), False, ()),
         "its labels are 'a-b', 'ab'; allowed: 'ab', 'a_b'"),
        (["low", "high"], SCORE,
         "it has 2 outputs, 'low', 'high'; allowed: one, as the task is a regression"),
    ],
)  # fmt: skip
def test_labels_that_do_not_match_are_refused(theirs: list[str], kind: Kind, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        label_order(named(theirs), kind, WHERE)
    assert str(caught.value).startswith(f"{WHERE}: {message}")
    assert "\n" not in str(caught.value)


def test_logits_are_reordered_to_the_tasks_labels(tmp_path: Path, tokenizer: Tokenizer) -> None:
    checkpoint = classifier(tmp_path, tokenizer, "same", "different")
    teacher = labeller(tmp_path, "pair", checkpoint)
    assert (teacher.name, teacher.order) == ("bert-1x16", [1, 0])
    for name, num, seed in ("train", 40, 0), ("dev", 20, 2):
        expected = direct(checkpoint, "pair", num, seed)[:, ::-1]
        np.testing.assert_allclose(teacher.logits(name), expected, atol=1e-5)


def test_scores_are_standardised_like_the_students(tmp_path: Path, tokenizer: Tokenizer) -> None:
    checkpoint = classifier(tmp_path, tokenizer, "score")
    teacher = labeller(tmp_path, "score", checkpoint)
    labels = teacher.data.train.labels[teacher.data.train_rows]
    expected = (direct(checkpoint, "score", 40, 0) - labels.mean()) / labels.std()
    np.testing.assert_allclose(teacher.logits("train"), expected, atol=1e-5)
    assert teacher.logits("train").dtype == np.float32


def test_a_decoder_reads_its_last_real_token(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Its config has no padding token, and the texts of a batch differ in length."""
    sizes: dict[str, Any] = {
        "n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": len(tokenizer), "n_positions": 64,
    }  # fmt: skip
    model = GPT2ForSequenceClassification(GPT2Config(id2label={0: "good", 1: "bad"}, **sizes))
    checkpoint = saved(model, tokenizer, tmp_path / "gpt2")
    single = AutoTokenizer.from_pretrained(checkpoint)
    single.model_input_names = ["input_ids", "attention_mask"]
    single.save_pretrained(checkpoint)
    logits = labeller(tmp_path, "single", checkpoint).logits("train")
    expected = direct(checkpoint, "single", 40, 0)[:, ::-1]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_logits_are_computed_once(tmp_path: Path, tokenizer: Tokenizer) -> None:
    checkpoint = classifier(tmp_path, tokenizer, "bad", "good")
    reports, none = RecordedReports(), RecordedReports()
    first = labeller(tmp_path, "single", checkpoint).logits("train", reports)
    again = labeller(tmp_path, "single", checkpoint).logits("train", none)
    np.testing.assert_array_equal(first, again)
    assert reports and not none


def test_only_the_logits_of_added_rows_are_computed(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """In a regression, as the added rows must use the scale of the labelled ones."""
    checkpoint = classifier(tmp_path, tokenizer, "score")
    (task,) = make_tasks(names=["score"])
    alone = labeller(tmp_path, task, checkpoint).logits("train")
    added = [[row._replace(label=None) for row in score_rows(num, num)] for num in (7, 9)]
    more = tuple(split(rows) for rows in added)
    done: list[int] = []
    teacher = labeller(tmp_path, replace(task, added=more), checkpoint)
    teacher_logits = teacher.logits("train", lambda step, metrics: done.append(step))
    assert done == [7, 9]
    np.testing.assert_array_equal(teacher_logits[:40], alone)
    logits = np.concatenate([direct(checkpoint, "score", num, num) for num in (7, 9)])
    expected = (logits - teacher.data.mean) / teacher.data.std
    np.testing.assert_allclose(teacher_logits[40:], expected, atol=1e-5)


def test_weights_and_label_order_change_the_key(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = BertForSequenceClassification(bert(["bad", "good"], tokenizer))
    keys = [labeller(tmp_path, "single", saved(model, tokenizer, tmp_path / "a")).key]
    model.config.id2label = {0: "good", 1: "bad"}
    keys.append(labeller(tmp_path, "single", saved(model, tokenizer, tmp_path / "b")).key)
    model.classifier.bias.data += 1
    keys.append(labeller(tmp_path, "single", saved(model, tokenizer, tmp_path / "c")).key)
    assert len(set(keys)) == 3


def test_an_encoder_without_a_classifier_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    checkpoint = saved(BertModel(bert(["bad", "good"], tokenizer)), tokenizer, tmp_path / "c")
    teacher = labeller(tmp_path, "single", checkpoint)
    with pytest.raises(ValueError, match=".single is '.*': 2 of its weights are missing, such as"):
        teacher.logits("train")


def test_texts_beyond_its_positions_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    checkpoint = classifier(tmp_path, tokenizer, "bad", "good", max_position_embeddings=31)
    with pytest.raises(ValueError, match="data.max_length is 32; allowed: at most 31"):
        labeller(tmp_path, "single", checkpoint)


def test_a_tokenizer_without_padding_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    checkpoint = classifier(tmp_path, tokenizer, "bad", "good")
    unpadded = AutoTokenizer.from_pretrained(checkpoint)
    unpadded.pad_token = None
    unpadded.save_pretrained(checkpoint)
    with pytest.raises(ValueError, match=".single is '.*': its tokenizer has no padding token"):
        labeller(tmp_path, "single", checkpoint)


@pytest.mark.parametrize("checkpoint", ["no/such/folder", "nowhere.csv/x/y"])
def test_a_missing_checkpoint_is_refused_by_name(checkpoint: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f".single is {checkpoint!r}: no such folder"):
        labeller(tmp_path, "single", checkpoint)


def test_reversed_labels_of_a_real_checkpoint_are_reordered(tmp_path: Path) -> None:
    """MiniLM with a head, fitted by least squares, whose labels are `good`, `bad`; the task's are
    `bad`, `good`."""
    model = AutoModelForSequenceClassification.from_pretrained(
        MINILM, id2label={0: "GOOD", 1: "BAD"}, num_labels=2
    )
    tokenizer = AutoTokenizer.from_pretrained(MINILM)
    (task,) = make_tasks(100, ["single"])
    rows = list(task.train.read())
    batch = tokenizer([row.text_a for row in rows], padding=True, return_tensors="pt")
    with torch.inference_mode():
        features = model.eval().bert(**batch).pooler_output
    is_good = torch.tensor([row.label for row in rows]) * 2 - 1
    ridge = features.T @ features + 0.1 * torch.eye(features.shape[1])
    weight = torch.linalg.solve(ridge, features.T @ is_good)
    model.classifier.weight.data = torch.stack([weight, -weight])
    model.classifier.bias.data.zero_()
    teacher = labeller(tmp_path, task, saved(model, tokenizer, tmp_path / "c"))
    dev = stores_by_split(teacher.data)["dev"]
    assert accuracy(teacher.logits("dev"), dev.labels) > 75
    assert accuracy(teacher.logits("dev")[:, ::-1], dev.labels) < 25


def test_a_model_with_one_segment_gets_no_segments(tokenizer: Tokenizer, tmp_path: Path) -> None:
    checkpoint = classifier(tmp_path, tokenizer, "different", "same", type_vocab_size=1)
    teacher = labeller(tmp_path, "pair", checkpoint)
    assert teacher.layout.types and np.isfinite(teacher.logits("train")).all()


def test_bfloat16_logits_differ_and_are_stored_apart(tmp_path: Path, tokenizer: Tokenizer) -> None:
    checkpoint = classifier(tmp_path, tokenizer, "bad", "good")
    exact = labeller(tmp_path, "single", checkpoint)
    (task,) = make_tasks(names=["single"])
    half = labeller(tmp_path, task, checkpoint, "bfloat16")
    assert half.key != exact.key, "a mean of several is stored by their keys"
    assert 0 < np.abs(half.logits("train") - exact.logits("train")).max() < 0.05


def test_a_teacher_gives_a_classifier_for_its_task(tmp_path: Path, tokenizer: Tokenizer) -> None:
    checkpoint = classifier(tmp_path, tokenizer, "same", "different")
    model = labeller(tmp_path, "pair", checkpoint).model()
    assert isinstance(model, Classifier) and not model.training
    assert model.config.tasks["pair"]["labels"] == list(PAIR.labels)
    assert input_table(model.model).weight.shape == (len(tokenizer), 16)


def test_a_checkpoint_that_reads_padding_has_a_note(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """FNet mixes all positions, including padding. The stored note needs no weights."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32,
        "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    model = FNetForSequenceClassification(FNetConfig(id2label={0: "bad", 1: "good"}, **sizes))
    with torch.no_grad():  # a checkpoint's embedding of padding need not be zero, as a new one is
        input_table(model).weight[tokenizer.pad_token_id] += 1
    checkpoint = saved(model, tokenizer, tmp_path / "fnet")
    teacher = labeller(tmp_path, "single", checkpoint)
    teacher.logits("train")
    (Path(checkpoint) / "model.safetensors").unlink()
    (note,) = [text for text in teacher_notes(teacher.data, teacher) if "padding" in text]
    assert note.startswith("single: fnet-1x16 reads padding: its logits for a text depend on the")


def test_a_checkpoint_that_ignores_padding_has_no_note(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    """For BERT with segments of pairs, and for BART with an end token in each row."""
    bert_like = classifier(tmp_path, tokenizer, "different", "same")
    assert labeller(tmp_path, "pair", bert_like).notes == []
    sizes: dict[str, Any] = {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
        "vocab_size": len(tokenizer), "max_position_embeddings": 64, "bos_token_id": 1,
        "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.sep_token_id,
        "decoder_start_token_id": tokenizer.sep_token_id,
    }  # fmt: skip
    model = BartForSequenceClassification(BartConfig(id2label={0: "bad", 1: "good"}, **sizes))
    single = AutoTokenizer.from_pretrained(bert_like)
    single.model_input_names = ["input_ids", "attention_mask"]
    assert labeller(tmp_path, "single", saved(model, single, tmp_path / "bart")).notes == []
