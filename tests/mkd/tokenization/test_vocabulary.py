import copy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import RobertaConfig, RobertaModel

from mkd.config import StudentConfig
from mkd.evaluation.speed import SpeedSetting, size_metrics, speed_metrics
from mkd.export.backends import in_torch
from mkd.students import Student, load_model, make_student
from mkd.students.bag import BagStudent
from mkd.students.embeddings import TrimmedEmbedding, input_table, rows_of, token_of_each_row, trim
from mkd.students.heads import head_configs
from mkd.students.transformer import on_encoder
from mkd.teachers.task_teacher import RunnableModel
from mkd.tokenization.tokens import Inputs, layout_of
from mkd.tokenization.vocabulary import kept_tokens, training_counts
from mkd.training.batches import gather_inputs
from tests.support.tiny import Datas, Tokenizer, padded

LEFT_OUT = ("sea", "rain")
"""Words for which the trimmed students of these tests have no row."""

BILSTM = StudentConfig(kind="bilstm", hidden=8, embedding=6)
TRANSFORMER = StudentConfig(kind="transformer", hidden=16, layers=1, heads=2)
FACTORISED = StudentConfig(kind="transformer", hidden=16, layers=1, heads=2, embedding=6)
WORDS = StudentConfig(kind="bag", hidden=8, embedding=6, ngrams=1)
BAG = StudentConfig(kind="bag", hidden=8, embedding=6, ngrams=3, buckets=500)
KINDS = [BILSTM, TRANSFORMER, FACTORISED, WORDS, BAG]
ALL = pytest.mark.parametrize("config", KINDS, ids=lambda config: f"{config.name}-{config.ngrams}")


def kept_of(datas: Datas, tokenizer: Tokenizer) -> tuple[np.ndarray, int]:
    seen, unknown = kept_tokens(datas, tokenizer, len(tokenizer), 1)
    kept = np.setdiff1d(seen, tokenizer.convert_tokens_to_ids(list(LEFT_OUT)))
    assert len(kept) == len(seen) - len(LEFT_OUT) < len(tokenizer)
    return kept, unknown


def student_of(config: StudentConfig, datas: Datas, tokenizer: Tokenizer, trimmed: bool) -> Student:
    torch.manual_seed(0)
    student = make_student(config, datas, len(tokenizer), 32, None)
    if trimmed:
        trim(student, *kept_of(datas, tokenizer))
    if isinstance(student, BagStudent) and config.ngrams > 1:
        for name in student.wide.names:
            torch.nn.init.normal_(student.wide.table(name).weight)
    student.train(False)
    return student


def logits(student: Student, inputs: Inputs, task: str) -> torch.Tensor:
    with torch.inference_mode():
        logits_BC: torch.Tensor = student(inputs, task)
    return logits_BC


def rows_with(
    datas: Datas, tokenizer: Tokenizer, student: Student, unkept: bool
) -> tuple[Inputs, torch.Tensor]:
    """Returns rows of the single task in which all, or none, have tokens that are not kept. The
    second value marks these tokens."""
    kept, _ = kept_of(datas, tokenizer)
    texts = datas[0].train.a
    has = [
        not np.isin(texts.ids[texts.offsets[row] : texts.offsets[row + 1]], kept).all()
        for row in range(40)
    ]
    rows = np.flatnonzero(np.array(has) == unkept)
    assert len(rows) > 1
    inputs = gather_inputs(datas[0].train, rows, layout_of(tokenizer, student.joined, 32))
    return inputs, torch.from_numpy(~np.isin(inputs.ids.numpy(), kept))


# Which tokens are kept.


def test_tokens_are_counted_in_all_training_rows(datas: Datas, tokenizer: Tokenizer) -> None:
    counter: Counter[int] = Counter()
    for data in datas:
        for texts in (data.train.a, data.train.b):
            for row in data.train_rows if texts is not None else []:
                assert texts is not None
                counter.update(texts.ids[texts.offsets[row] : texts.offsets[row + 1]].tolist())
    counts = training_counts(datas, len(tokenizer))
    assert {token: count for token, count in enumerate(counts.tolist()) if count} == counter


def test_counting_in_small_chunks_gives_the_same(
    datas: Datas, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training_counts(datas, len(tokenizer))
    monkeypatch.setattr("mkd.tokenization.vocabulary.CHUNK_TOKENS", 7)
    assert training_counts(datas, len(tokenizer)).tolist() == whole.tolist()


def test_frequent_and_special_tokens_are_kept(datas: Datas, tokenizer: Tokenizer) -> None:
    counts = training_counts(datas, len(tokenizer))
    kept, unknown = kept_tokens(datas, tokenizer, len(tokenizer), 30)
    special = set(tokenizer.all_special_ids)
    expected = [token for token in range(len(tokenizer)) if counts[token] >= 30 or token in special]
    assert kept.tolist() == expected
    assert len(special) < len(kept) < len(special) + np.count_nonzero(counts)
    assert unknown == tokenizer.convert_tokens_to_ids("[UNK]")
    assert {unknown, tokenizer.pad_token_id, tokenizer.mask_token_id} <= set(kept.tolist())
    all_seen, _ = kept_tokens(datas, tokenizer, len(tokenizer), 1)
    assert set(all_seen.tolist()) == set(np.flatnonzero(counts).tolist()) | special


def test_a_min_count_that_no_token_reaches_is_refused(datas: Datas, tokenizer: Tokenizer) -> None:
    most = int(training_counts(datas, len(tokenizer)).max())
    kept_tokens(datas, tokenizer, len(tokenizer), most)
    message = f"student.min_count is {most + 1}; allowed: at most {most}, the most frequent"
    with pytest.raises(ValueError, match=message):
        kept_tokens(datas, tokenizer, len(tokenizer), most + 1)


def test_a_tokenizer_needs_an_unknown_token(datas: Datas, tokenizer: Tokenizer) -> None:
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.unk_token = None
    message = "student.min_count is 2; allowed: 0, as the student's tokenizer has no unknown token"
    with pytest.raises(ValueError, match=message):
        kept_tokens(datas, tokenizer, len(tokenizer), 2)


# What a trimmed student does.


def test_a_trimmed_table_by_hand(datas: Datas) -> None:
    student = make_student(BILSTM, datas, 6, 32, None)
    whole = input_table(student).weight.detach().clone()
    trim(student, np.array([0, 2, 5]), 2)
    table = input_table(student)
    ids = torch.arange(6)
    assert rows_of(table, ids).tolist() == [0, 1, 1, 1, 1, 2]
    assert torch.equal(table.weight, whole[[0, 2, 5]])
    assert torch.equal(table(ids), whole[[0, 2, 2, 2, 2, 5]])
    tokens = token_of_each_row(table)
    assert rows_of(table, tokens).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "config", [BILSTM, TRANSFORMER, FACTORISED, WORDS], ids=lambda config: config.name
)
def test_texts_of_kept_tokens_get_the_same_logits_as_untrimmed(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer
) -> None:
    """This does not hold for n-grams, which are hashed by rows instead of ids."""
    whole, trimmed = (student_of(config, datas, tokenizer, t) for t in (False, True))
    inputs, unkept = rows_with(datas, tokenizer, whole, False)
    assert not unkept.any()
    assert torch.equal(logits(trimmed, inputs, "single"), logits(whole, inputs, "single"))


@ALL
def test_a_token_that_is_not_kept_counts_as_the_unknown_token(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer
) -> None:
    student = student_of(config, datas, tokenizer, True)
    inputs, unkept = rows_with(datas, tokenizer, student, True)
    known = inputs._replace(ids=inputs.ids.masked_fill(unkept, tokenizer.unk_token_id))
    assert not torch.equal(known.ids, inputs.ids)
    assert torch.equal(logits(student, inputs, "single"), logits(student, known, "single"))
    whole = student_of(config, datas, tokenizer, False)
    assert (logits(whole, inputs, "single") - logits(whole, known, "single")).abs().max() > 1e-4


@ALL
def test_padding_has_no_effect_on_a_trimmed_student(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer
) -> None:
    student = student_of(config, datas, tokenizer, True)
    inputs = gather_inputs(datas[1].train, np.arange(6), layout_of(tokenizer, student.joined, 32))
    torch.testing.assert_close(
        logits(student, padded(inputs, 3), "pair"),
        logits(student, inputs, "pair"),
        atol=1e-5,
        rtol=1e-4,
    )


@ALL
def test_a_trimmed_student_is_read_back_as_it_was(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    student = student_of(config, datas, tokenizer, True)
    student.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded = load_model(tmp_path)
    loaded.train(False)
    table = input_table(loaded)
    assert isinstance(table, TrimmedEmbedding) and table.place_V.dtype == torch.int32
    saved = student.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in loaded.state_dict().items())
    for data in datas:
        inputs = gather_inputs(data.train, np.arange(5), layout_of(tokenizer, student.joined, 32))
        assert torch.equal(logits(loaded, inputs, data.name), logits(student, inputs, data.name))


@ALL
def test_a_trimmed_student_is_smaller_by_exactly_the_removed_rows(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    sizes = {}
    for trimmed in (False, True):
        student = student_of(config, datas, tokenizer, trimmed)
        student.save_pretrained(tmp_path / str(trimmed))
        sizes[trimmed] = size_metrics(student, tmp_path / str(trimmed), 8)
    kept, _ = kept_of(datas, tokenizer)
    # The wide part has a row of scores for each word, for each single-text task.
    wide = config.kind == "bag" or config.kind == "bilstm" and config.words
    single = [data for data in datas if wide and not data.kind.pair]
    scores = sum(len(data.kind.labels) or 1 for data in single)
    gone = (len(tokenizer) - len(kept)) * (config.embedding_width + scores)
    assert sizes[False]["size/parameters"] - sizes[True]["size/parameters"] == gone
    for name in ("size/parameters_without_embeddings", "size/flops"):
        assert sizes[False][name] == sizes[True][name]
    places = 4 * len(tokenizer)
    assert sizes[False]["size/bytes"] - sizes[True]["size/bytes"] == pytest.approx(
        4 * gone - places, abs=200
    ), "equal except for the headers"


def test_a_trimmed_student_is_timed_on_its_own_rows(datas: Datas, tokenizer: Tokenizer) -> None:
    student = student_of(BAG, datas, tokenizer, True)
    seen: list[torch.Tensor] = []
    input_table(student).register_forward_hook(lambda module, args, out: seen.append(args[0]))
    speed_metrics(
        {"": in_torch(RunnableModel(student, tokenizer))},
        {"a": ["a film"]},
        [SpeedSetting(1, 500, 1)],
        0.1,
    )
    kept, _ = kept_of(datas, tokenizer)
    rows = rows_of(input_table(student), seen[0])
    assert set(rows.flatten().tolist()) == set(range(1, len(kept))), (
        "all rows except that of padding"
    )


def test_trimming_does_not_change_positions_that_depend_on_the_padding_token(datas: Datas) -> None:
    """RoBERTa counts positions from the ids that are not padding, so it must see the ids instead of
    their rows."""
    torch.manual_seed(0)
    sizes = RobertaConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, pad_token_id=1,
    )  # fmt: skip
    shared = {"tasks": head_configs(datas), "dropout": 0.0, "max_tokens": 32}
    student = on_encoder(RobertaModel(sizes), "mean", shared)
    student.train(False)
    ids = torch.tensor([[[0, 7, 9, 2, 1, 1]], [[0, 9, 9, 7, 7, 2]]])
    inputs = Inputs(ids, ids != 1, None)
    before = logits(student, inputs, "single")
    trim(student, np.array([0, 1, 2, 3, 7, 9]), 3)
    torch.testing.assert_close(logits(student, inputs, "single"), before)
