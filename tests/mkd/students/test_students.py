import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    ElectraConfig,
    RobertaConfig,
    RobertaModel,
)

from mkd.config import StudentConfig
from mkd.storage.pretrained import load_encoder
from mkd.students import STUDENTS, load_model, make_student
from mkd.students.bag import BagStudent
from mkd.students.bilstm import BiLstm, BiLstmStudent, Maxout, attend, reversal
from mkd.students.embeddings import input_table, project
from mkd.students.heads import head_configs
from mkd.students.transformer import (
    TransformerConfig,
    TransformerStudent,
    attention_kernel,
    keep_layers,
    on_encoder,
)
from mkd.students.words import WordModel
from mkd.tokenization.tokens import Inputs
from tests.support.students import (
    ALL,
    BAG,
    BILSTM,
    FACTORISED,
    MAX,
    TRANSFORMER,
    inputs_of,
    logits,
    student_of,
)
from tests.support.tiny import MINILM, Datas, Tokenizer, padded


def bert(layers: int, **sizes: int) -> BertModel:
    torch.manual_seed(1)
    defaults: dict[str, Any] = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    model = BertModel(BertConfig(num_hidden_layers=layers, **(defaults | sizes)))
    model.train(False)
    return model


# All kinds of students.


@ALL
@pytest.mark.parametrize("place", [0, 1, 2])
def test_padding_has_no_effect(
    config: StudentConfig, place: int, datas: Datas, tokenizer: Tokenizer
) -> None:
    data = datas[place]
    student = student_of(config, datas, tokenizer)
    rows = list(range(12))
    together = inputs_of(student, data, tokenizer, rows)
    assert not together.mask.all(), "rows of different lengths"
    together_BC = logits(student, together, data.name)
    alone_BC = torch.cat(
        [logits(student, inputs_of(student, data, tokenizer, [row]), data.name) for row in rows]
    )
    torch.testing.assert_close(alone_BC, together_BC, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        logits(student, padded(together, 5), data.name), together_BC, atol=1e-5, rtol=1e-4
    )


@ALL
def test_each_head_has_the_logits_of_its_task(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer
) -> None:
    student = student_of(config, datas, tokenizer)
    shapes = [
        logits(student, inputs_of(student, data, tokenizer, [0, 1, 2]), data.name).shape
        for data in datas
    ]
    assert shapes == [(3, 2), (3, 2), (3, 1)]


@ALL
def test_the_order_of_a_pair_matters(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer
) -> None:
    student, data = student_of(config, datas, tokenizer), datas[1]
    assert data.train.b is not None
    swapped = data._replace(train=data.train._replace(a=data.train.b, b=data.train.a))
    one, other = (
        logits(student, inputs_of(student, d, tokenizer, [0, 2, 4]), "pair")
        for d in (data, swapped)
    )
    assert (one - other).abs().max() > 1e-4


@ALL
def test_a_saved_student_is_read_back_as_it_was(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    student = student_of(config, datas, tokenizer)
    student.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded = load_model(tmp_path)
    assert type(loaded) is type(student)
    assert loaded.config.max_tokens == 32
    assert dict(loaded.config.tasks) == head_configs(datas)
    loaded.train(False)
    for data in datas:
        inputs = inputs_of(student, data, tokenizer, [0, 1, 2, 3])
        assert torch.equal(logits(loaded, inputs, data.name), logits(student, inputs, data.name))


@ALL
def test_the_same_seed_makes_the_same_weights(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer
) -> None:
    one, other = (student_of(config, datas, tokenizer).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_kind_of_the_config_has_a_class() -> None:
    assert STUDENTS.keys() == {"bilstm", "transformer", "bag"}


@ALL
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config, weights: weights.popitem(), "1 of its weights are missing, such as "),
        (lambda config, weights: weights.update(more=torch.zeros(1)),
         "1 of its weights are not in the model of its config.json, such as more"),
        (lambda config, weights: config.update(tasks={}), "config.json: tasks is {}; allowed"),
        (lambda config, weights: config.update(tasks="single"), "config.json: tasks is 'single'"),
        (lambda config, weights: config["tasks"]["single"].update(pair="no"),
         "config.json: tasks.single is "),
        (lambda config, weights: config["tasks"].pop("score"), "of its weights "),
        (lambda config, weights: config.update(max_tokens=10**12), "max_tokens in its config.json"),
        (lambda config, weights: config.update(kept_tokens="3"), "config.json: kept_tokens is '3'"),
        (lambda config, weights: config["tasks"]["score"].update(std=0), "config.json: tasks.s"),
        (lambda config, weights: config["tasks"]["score"].update(mean=math.inf),
         "config.json: tasks.score"),
    ],
)  # fmt: skip
def test_a_student_is_read_whole_or_refused(
    config: StudentConfig,
    change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object],
    message: str,
    datas: Datas,
    tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    student_of(config, datas, tokenizer).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    weights = load_file(tmp_path / "model.safetensors")
    change(settings, weights)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError) as caught:
        load_model(tmp_path, "export.student")
    assert str(caught.value).startswith(f"export.student is {str(tmp_path)!r}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pooling": "max"}, "config.json: pooling is 'max'; allowed: mean, first"),
        ({"max_tokens": 10**5}, "config.json: max_tokens is 100000; allowed: at most "),
    ],
)
def test_a_transformer_that_says_what_it_cannot_do_is_refused(
    values: dict[str, object], message: str, datas: Datas, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    config = StudentConfig(kind="transformer", layers=1, hidden=16, heads=2)
    student_of(config, datas, tokenizer).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | values))
    with pytest.raises(ValueError) as caught:
        load_model(tmp_path, "export.student")
    assert message in str(caught.value)


def test_a_model_of_another_type_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError) as caught:
        load_model(tmp_path)
    allowed = "mkd_bilstm, mkd_transformer, mkd_wide_bag"
    assert str(caught.value) == (
        f"the model is {str(tmp_path)!r}: it holds a model of type 'bert'; allowed: {allowed}"
    )


# The BiLSTM.


def test_the_reversed_lstm_is_a_bidirectional_lstm_on_packed_sequences() -> None:
    torch.manual_seed(0)
    ours, theirs = BiLstm(5, 4), nn.LSTM(5, 4, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for name, weight in ours.ahead.named_parameters():
            theirs.get_parameter(name).copy_(weight)
        for name, weight in ours.back.named_parameters():
            theirs.get_parameter(f"{name}_reverse").copy_(weight)
    x_BLE, lengths = torch.randn(4, 7, 5, requires_grad=True), torch.tensor([7, 1, 4, 6])
    mask_BL = torch.arange(7) < lengths[:, None]
    packed = nn.utils.rnn.pack_padded_sequence(
        x_BLE, lengths, batch_first=True, enforce_sorted=False
    )
    expected = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)[0][mask_BL]
    outputs = ours(x_BLE, reversal(mask_BL))[mask_BL]
    torch.testing.assert_close(outputs, expected)
    weights = torch.randn_like(outputs)
    (by_x,) = torch.autograd.grad((outputs * weights).sum(), x_BLE)
    (expected_by_x,) = torch.autograd.grad((expected * weights).sum(), x_BLE)
    torch.testing.assert_close(by_x, expected_by_x)


def test_reversal_reverses_the_text_and_leaves_the_padding() -> None:
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    assert reversal(mask).tolist() == [[2, 1, 0, 3, 4], [0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]


def test_attention_by_hand() -> None:
    """Products with (1, 0) are log 3 and 0, so the weights are 3/4 and 1/4. Those with (0, 0) are
    0, so both weights are 1/2."""
    x, other = (
        torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]),
        torch.tensor([[[math.log(3), 1.0], [0.0, 2.0]]]),
    )
    attended = attend(x, other, torch.tensor([[True, True]]))
    expected = torch.tensor([[[3 / 4 * math.log(3), 3 / 4 + 2 / 4], [math.log(3) / 2, 3 / 2]]])
    torch.testing.assert_close(attended, expected)
    masked = attend(x, other, torch.tensor([[True, False]]))
    torch.testing.assert_close(masked, other[:, :1].expand(1, 2, 2))


def test_a_single_text_attends_to_itself(datas: Datas, tokenizer: Tokenizer) -> None:
    student = student_of(BILSTM, datas, tokenizer)
    single = inputs_of(student, datas[0], tokenizer, [0, 1, 2])
    twice = Inputs(single.ids.expand(-1, 2, -1), single.mask.expand(-1, 2, -1), None)
    torch.testing.assert_close(logits(student, twice, "single"), logits(student, single, "single"))


def test_the_texts_of_a_pair_attend_to_each_other(datas: Datas, tokenizer: Tokenizer) -> None:
    """The states of the first text depend on the second before the poolings are joined."""
    student = student_of(BILSTM, datas, tokenizer)
    seen: list[torch.Tensor] = []
    assert isinstance(student, BiLstmStudent)
    student.integrator.register_forward_hook(lambda module, args, out: seen.append(out))
    pair = inputs_of(student, datas[1], tokenizer, [0])
    other = pair._replace(
        ids=torch.cat([pair.ids[:, :1], pair.ids[:, 1:].roll(1, 2) * 0 + 6], dim=1)
    )
    logits(student, pair, "pair")
    logits(student, other, "pair")
    text = pair.mask[0, 0]
    assert (seen[0][0, text] - seen[1][0, text]).abs().max() > 1e-5


def test_maxout_by_hand() -> None:
    maxout = Maxout(2, 2)
    with torch.no_grad():
        maxout.linear.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 3.0]]))
        maxout.linear.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -1.0]))
    outputs = maxout(torch.tensor([[2.0, 1.0], [-3.0, 0.25]]))
    assert outputs.tolist() == [[2.0, 2.0], [3.0, 0.25]]


def test_pooling_by_hand(datas: Datas, tokenizer: Tokenizer) -> None:
    """Max, mean, min and the attentive mean are over the first two tokens; the third is padding."""
    student = student_of(StudentConfig(kind="bilstm", hidden=1, embedding=2), datas, tokenizer)
    assert isinstance(student, BiLstmStudent)
    with torch.no_grad():
        student.attention.weight.copy_(torch.tensor([[math.log(3), 0.0]]))
    x_BLD = torch.tensor([[[1.0, 4.0], [0.0, -2.0], [9.0, 9.0]]])
    pooled = student._pool(x_BLD, torch.tensor([[True, True, False]]))
    expected = torch.tensor([[1.0, 4.0, 0.5, 1.0, 0.0, -2.0, 3 / 4, 3 / 4 * 4 - 1 / 4 * 2]])
    torch.testing.assert_close(pooled, expected)


def test_without_attention_the_largest_values_count(datas: Datas, tokenizer: Tokenizer) -> None:
    """Compares the input of the first maxout layer with torch's bidirectional LSTM over each text
    alone."""
    student = student_of(MAX, datas, tokenizer)
    assert isinstance(student, BiLstmStudent) and not hasattr(student, "integrator")
    seen: list[torch.Tensor] = []
    student.maxouts[0].register_forward_hook(lambda module, args, out: seen.append(args[0]))
    two_way = nn.LSTM(6, 8, batch_first=True, bidirectional=True)
    ahead, back = student.encoder.ahead.state_dict(), student.encoder.back.state_dict()
    two_way.load_state_dict(ahead | {f"{name}_reverse": value for name, value in back.items()})
    pair = inputs_of(student, datas[1], tokenizer, [0])
    logits(student, pair, "pair")
    with torch.inference_mode():
        texts = [pair.ids[0, side][pair.mask[0, side]] for side in (0, 1)]
        u, v = (
            two_way(F.relu(student.feed_forward(student.embeddings(ids))))[0].amax(0)
            for ids in texts
        )
    torch.testing.assert_close(seen[0], torch.cat([u, v, (u - v).abs(), u * v]).unsqueeze(0))


def test_the_words_of_a_bag_stand_beside_the_lstm(datas: Datas, tokenizer: Tokenizer) -> None:
    """The last inputs of the first maxout layer are those of a bag with the same embeddings."""
    student, bag = (student_of(config, datas, tokenizer) for config in (BILSTM, BAG))
    assert isinstance(student, BiLstmStudent) and isinstance(bag, BagStudent)
    bag.embeddings.load_state_dict(student.embeddings.state_dict())
    seen: list[torch.Tensor] = []
    for layer in (student.maxouts[0], bag.layers[0]):
        layer.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    for data in datas:
        for model in (student, bag):
            logits(model, inputs_of(model, data, tokenizer, [0, 1, 2]), data.name)
        lstm, words = seen[-2].split([8 * 2 * 8, 6 * 6 + 1], dim=1)
        assert lstm.abs().max() <= 1
        assert torch.equal(words, seen[-1])


@pytest.mark.parametrize("attention", [True, False])
def test_a_bilstm_has_the_wide_part_of_a_bag(
    attention: bool, datas: Datas, tokenizer: Tokenizer
) -> None:
    config = replace(BILSTM, ngrams=3, attention=attention)
    added = []
    for model in (student_of(config, datas, tokenizer), student_of(BAG, datas, tokenizer)):
        assert isinstance(model, WordModel)
        inputs = inputs_of(model, datas[0], tokenizer, [0, 1, 2])
        without = logits(model, inputs, "single")
        generator = torch.Generator().manual_seed(0)
        model.wide.table("single").weight.data.normal_(generator=generator)
        added.append(logits(model, inputs, "single") - without)
    assert added[1].abs().min() > 0.1
    torch.testing.assert_close(added[0], added[1])


def test_without_words_a_bilstm_has_no_part_of_a_bag(datas: Datas, tokenizer: Tokenizer) -> None:
    student = student_of(MAX, datas, tokenizer)
    assert isinstance(student, BiLstmStudent)
    assert not list(student.wide.parameters())
    assert student.maxouts[0].linear.in_features == 4 * 2 * 8  # type: ignore[union-attr]


# Embeddings from the table of another model.


def test_a_projection_to_the_full_width_only_rotates_the_table() -> None:
    table = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    centred = table - table.mean(0)
    projected = project(table, 6)
    torch.testing.assert_close(projected @ projected.T, centred @ centred.T, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("width", [1, 3, 5])
def test_a_projection_is_the_best_approximation_of_its_rank_at_the_mean_length(width: int) -> None:
    """Uses singular values (Eckart and Young 1936); `project` uses eigenvectors of the
    covariance."""
    table = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [5.0, 4.0, 3.0, 2.0, 1.0, 0.5]
    )
    centred = table - table.mean(0)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    best = u[:, :width] * s[:width]
    projected = project(table, width)
    assert projected.shape == (40, width)
    scale = centred.norm(dim=1).mean() / best.norm(dim=1).mean()
    torch.testing.assert_close(
        projected @ projected.T, (best @ best.T) * scale**2, atol=1e-3, rtol=1e-3
    )
    expected = pytest.approx(float(centred.norm(dim=1).mean()), rel=1e-4)
    assert float(projected.norm(dim=1).mean()) == expected


def test_a_width_beyond_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="student.embedding is 7; allowed: at most 6"):
        project(torch.zeros(9, 6), 7)


@pytest.mark.parametrize("config", [BILSTM, BAG], ids=lambda config: config.kind)
def test_words_can_start_from_an_encoders_embeddings(config: StudentConfig, datas: Datas) -> None:
    encoder = bert(1)
    student = make_student(config, datas, 50, 32, encoder)
    weight = student.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    table = project(encoder.embeddings.word_embeddings.weight.detach(), 6)
    assert torch.equal(weight, table / table.std())


def test_a_narrower_table_is_projected_to_the_width_of_the_layers(datas: Datas) -> None:
    student = make_student(FACTORISED, datas, 50, 32, None)
    assert isinstance(student, TransformerStudent)
    assert input_table(student).weight.shape == (50, 6)
    assert student.get_parameter("encoder.embeddings_project.weight").shape == (16, 6)
    assert student.encoder.config.model_type == "electra"


def test_a_table_as_wide_as_the_layers_is_bert_without_a_projection(datas: Datas) -> None:
    for embedding in (0, 16):
        student = make_student(replace(TRANSFORMER, embedding=embedding), datas, 50, 32, None)
        assert isinstance(student, TransformerStudent)
        assert student.encoder.config.model_type == "bert"


def test_the_layers_behind_a_projection_are_berts(datas: Datas) -> None:
    """They accept BERT's weights by name, and compute BERT's states from the same input."""
    students = [
        make_student(replace(FACTORISED, embedding=width), datas, 50, 32, None) for width in (6, 16)
    ]
    factorised, plain = (student.train(False).get_submodule("encoder") for student in students)
    names = factorised.state_dict().keys() ^ plain.state_dict().keys()
    assert names == {"embeddings_project.weight", "embeddings_project.bias"}
    states_BLD = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    layers, known = factorised.get_submodule("encoder"), plain.get_submodule("encoder")
    layers.load_state_dict(known.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(
            *(each(states_BLD, None).last_hidden_state for each in (layers, known))
        )


# Layers from another encoder.


def test_the_kept_layers_are_those_that_are_named() -> None:
    encoder, whole = bert(4), bert(4)
    keep_layers(encoder, [3, 1])
    assert encoder.config.num_hidden_layers == 2
    for new, old in enumerate((3, 1)):
        kept, known = encoder.encoder.layer[new].state_dict(), whole.encoder.layer[old].state_dict()
        assert kept.keys() == known.keys()
        assert all(torch.equal(kept[name], known[name]) for name in kept)


def test_a_layer_that_is_not_there_is_refused() -> None:
    message = r"layers \[4, 7\] are not there: the checkpoint has layers 0 to 3 \(student.layers"
    with pytest.raises(ValueError, match=message):
        keep_layers(bert(4), [4, 0, 7])


def test_layers_that_are_one_and_the_same_are_refused() -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "embedding_size": 8,
    }
    albert = AlbertModel(AlbertConfig(vocab_size=50, num_hidden_layers=3, **sizes))
    message = "student.init names a albert model, whose layers cannot be taken one by one"
    with pytest.raises(ValueError, match=message):
        keep_layers(albert, [0])


def test_minilms_first_layers_give_minilms_states(datas: Datas, tmp_path: Path) -> None:
    config = StudentConfig(kind="transformer", init=str(MINILM), hidden=384, heads=12, layers=3)
    whole = load_encoder(MINILM, "student.init").eval()
    student = make_student(config, datas, 30522, 32, load_encoder(MINILM, "student.init"))
    student.train(False)
    ids = torch.randint(1000, 2000, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = whole(input_ids=ids, output_hidden_states=True).hidden_states[3]
        assert isinstance(student, TransformerStudent)
        states = student.encoder(input_ids=ids).last_hidden_state
    torch.testing.assert_close(states, expected)
    student.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    loaded.train(False)
    inputs = Inputs(ids[:, None], torch.ones(2, 1, 9, dtype=torch.bool), None)
    assert torch.equal(logits(loaded, inputs, "single"), logits(student, inputs, "single"))


@pytest.mark.parametrize(
    ("hidden", "heads", "setting"),
    [(32, 2, "hidden is 32; allowed: 16"), (16, 4, "heads is 4; allowed: 2")],
)
def test_another_width_is_refused(hidden: int, heads: int, setting: str, datas: Datas) -> None:
    config = StudentConfig(kind="transformer", init="x", hidden=hidden, heads=heads, layers=1)
    message = f"student.{setting}, as in the checkpoint that student.init names"
    with pytest.raises(ValueError, match=message):
        make_student(config, datas, 50, 32, bert(2))


def test_inputs_longer_than_the_checkpoints_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="data.max_length is 33; allowed: at most 32"):
        on_encoder(bert(1, max_position_embeddings=32), "mean", {"max_tokens": 33})


def test_pooling_takes_the_mean_over_tokens_or_the_first(datas: Datas) -> None:
    states, mask = (
        torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]]),
        torch.tensor([[True, True, False]]),
    )
    for pooling, expected in (("mean", [[2.0, 4.0]]), ("first", [[1.0, 2.0]])):
        config = TransformerConfig(
            encoder=bert(1).config.to_dict(), pooling=pooling, tasks=head_configs(datas)
        )
        assert TransformerStudent(config)._pool(states, mask).tolist() == expected


@pytest.mark.parametrize("kind", [BertConfig, RobertaConfig, ElectraConfig])
def test_a_last_layer_of_the_first_token_equals_the_whole(kind: Any, datas: Datas) -> None:
    sizes = {
        "num_hidden_layers": 2,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 50,
    }
    encoder = kind(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).to_dict()
    tasks = head_configs(datas)
    student = TransformerStudent(
        TransformerConfig(encoder=encoder, pooling="first", tasks=tasks, dropout=0.0)
    )
    ids = torch.randint(5, 50, (3, 1, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 0, 4:] = False
    widths: list[int] = []
    outputs = []
    (last,) = student.shortened
    last.output.register_forward_hook(lambda module, args, out: widths.append(out.shape[1]))
    for student.whole in (False, True):
        student.zero_grad()
        answer = student(Inputs(ids, mask, None), "single")
        answer.square().sum().backward()
        outputs.append(
            (answer, {name: p.grad for name, p in student.named_parameters() if p.grad is not None})
        )
    assert widths == [1, 7]
    torch.testing.assert_close(*outputs)


def test_layers_of_another_architecture_are_left_whole(datas: Datas) -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "embedding_size": 8,
    }
    config = TransformerConfig(
        encoder=AlbertConfig(**sizes).to_dict(), pooling="first", tasks=head_configs(datas)
    )
    assert TransformerStudent(config).shortened == []


def test_gradients_in_bfloat16_are_near_float32s(datas: Datas, tokenizer: Tokenizer) -> None:
    student = student_of(TRANSFORMER, datas, tokenizer)
    inputs = inputs_of(student, datas[1], tokenizer, [0, 1, 2, 3])
    assert not inputs.mask.all()
    gradients = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            model = student(inputs, datas[1].name)
        by_weights = torch.autograd.grad(
            model.float().square().sum(), list(student.parameters()), allow_unused=True
        )
        gradients.append(torch.cat([g.flatten() for g in by_weights if g is not None]))
    exact, rounded = gradients
    assert 0 < (rounded - exact).norm() < 0.03 * exact.norm()


def test_only_training_in_half_precision_on_a_cpu_does_without_fused_attention() -> None:
    def fused(device: str) -> bool:
        with attention_kernel(device):
            enabled: bool = torch.backends.cuda.flash_sdp_enabled()
            return enabled

    assert fused("cpu")
    with torch.autocast("cpu", torch.bfloat16):
        assert not fused("cpu") and fused("cuda")
        with torch.inference_mode():
            assert fused("cpu")
    assert fused("cpu")


def test_positions_that_roberta_reserves_for_padding_are_not_for_tokens() -> None:
    sizes = RobertaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    with pytest.raises(ValueError, match="data.max_length is 33; allowed: at most 32"):
        on_encoder(RobertaModel(sizes), "mean", {"max_tokens": 33})
    model = on_encoder(
        RobertaModel(sizes), "mean", {"max_tokens": 32, "tasks": {"a": {"labels": ["x", "y"]}}}
    )
    ids = torch.full((1, 1, 32), 5)
    assert model(Inputs(ids, torch.ones_like(ids).bool(), None), "a").isfinite().all()
