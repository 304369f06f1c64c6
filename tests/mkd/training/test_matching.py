from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AutoModel,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    PreTrainedConfig,
    RobertaConfig,
)

from mkd.config import LossConfig, MatchConfig, SamplingConfig, StudentConfig, TrainConfig
from mkd.students import Student, load_model
from mkd.students.bag import BagStudent
from mkd.students.bilstm import BiLstmStudent
from mkd.students.heads import ModelOutput, head_configs
from mkd.students.transformer import TransformerStudent, on_encoder
from mkd.tokenization.tokens import Inputs, layout_of
from mkd.training.batches import Batch, TaskRows, joint_batches, make_batch
from mkd.training.losses import LossTerms
from mkd.training.matching import MatchedStates, Matching, layer_indices
from mkd.training.trainer import train_model
from tests.support.students import ALL, BILSTM, TRANSFORMER, inputs_of, logits, student_of
from tests.support.tiny import Datas, Tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
DOUBLED = dict.fromkeys(("single", "pair", "score"), 2.0)
LAST = MatchConfig(weight=0.5, teacher_layers=[-1], student_layers=[-1])


def states_of(
    *shape: int, teacher: str = "t", places: tuple[int, ...] = (0, 1), num_parts: int = 1
) -> MatchedStates:
    """Returns made-up states [rows, layers, width]."""
    values = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    return MatchedStates(teacher, list(places), np.array_split(values, num_parts))


def answer(student: Student, inputs: Inputs, task: str) -> ModelOutput:
    with torch.inference_mode():
        output = student(inputs, task, states=True)
    assert isinstance(output, ModelOutput)
    return output


# The loss.


def test_the_loss_by_hand() -> None:
    """Two rows, a student of width 1 and a teacher of width 2. h W + b is [2, -1] and [4, -3],
    against [2, 1] and [1, 0]. The squared error is divided by the mean variance, which is 8: 4 in
    the first dimension and 12 in the second."""
    stored = np.array(
        [[[7, 7], [2, 1]], [[7, 5], [-2, 1]], [[7, 7], [2, 1]], [[7, 5], [-2, -7]]], np.float16
    )
    known = {"a": MatchedStates("t", [1], [stored])}
    matching = Matching([3, 1], known, LAST)
    weight, bias = matching.parameters()
    weight.data[:, 0] = torch.tensor([2.0, -2.0])
    bias.data[:] = torch.tensor([0.0, 1.0])
    teacher = torch.tensor([[[9.0, 9.0], [2.0, 1.0]], [[9.0, 9.0], [1.0, 0.0]]]).half()
    terms = LossTerms(torch.tensor(3.0), {"soft": torch.tensor(1.0), "hard": torch.tensor(2.0)})
    with torch.no_grad():
        matched = matching(terms, [torch.zeros(2, 3), torch.tensor([[1.0], [2.0]])], teacher, "a")
    expected = (0 + 4 + 9 + 9) / 4 / 8
    assert (float(matched.total), float(matched.parts["match"])) == (3 + 0.5 * expected, expected)
    assert (float(matched.parts["soft"]), float(matched.parts["hard"])) == (1, 2)


def test_the_map_of_the_means_is_the_mean_of_the_maps(datas: Datas, tokenizer: Tokenizer) -> None:
    """TinyBERT maps each token. The mean of the mapped tokens of a row is the map of their mean."""
    student = student_of(TRANSFORMER, datas, tokenizer)
    assert isinstance(student, TransformerStudent)
    inputs = inputs_of(student, datas[1], tokenizer, [0, 1, 2])
    known = states_of(30, 2, 5)
    matching = Matching(student.state_widths, {"pair": known}, MatchConfig(1.0))
    target = torch.randn(3, 2, 5)
    zero = torch.zeros(())
    with torch.inference_mode():
        matched = matching(
            LossTerms(zero, {}), answer(student, inputs, "pair").states, target, "pair"
        )
        tokens = student.encoder(
            inputs.ids[:, 0],
            attention_mask=inputs.mask[:, 0],
            token_type_ids=inputs.types,
            output_hidden_states=True,
        ).hidden_states
        expected = 0.0
        for pair, layer in enumerate((0, 2)):
            weight, bias = matching.maps[0][pair].parameters()  # type: ignore[index]
            variance = known.parts[0][:, pair].astype(float).var(0).mean()
            for row in range(3):
                mapped = tokens[layer][row][inputs.mask[row, 0]] @ weight.T + bias
                expected += (
                    float(((mapped.mean(0) - target[row, pair]) ** 2).mean() / variance) / 3 / 2
                )
    assert (
        float(matched.parts["match"]) == float(matched.total) == pytest.approx(expected, rel=1e-5)
    )


def test_tasks_of_one_teacher_share_its_maps_and_others_have_their_own() -> None:
    known = {
        "a": states_of(4, 2, 5, teacher="one"),
        "b": states_of(4, 2, 5, teacher="one"),
        "c": states_of(4, 1, 7, teacher="other", places=(0, 0)),
    }
    matching = Matching([6, 8, 8], known, MatchConfig(1.0))
    assert matching.teachers == {"a": 0, "b": 0, "c": 1}
    assert [tuple(p.shape) for p in matching.parameters() if p.ndim == 2] == [
        (5, 6),
        (5, 8),
        (7, 6),
        (7, 8),
    ]
    again = Matching([6, 8, 8], known, MatchConfig(1.0))
    again.load_state_dict(matching.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), matching.parameters(), strict=True)
    )


def test_layers_are_counted_from_the_embeddings_or_from_the_last() -> None:
    assert layer_indices([0, 1, -1, -3], 3, "s", "it") == [0, 1, 2, 0]
    for layer in (3, -4):
        message = rf"s is \[{layer}\]; allowed: from -3 to 2, where 0 is"
        with pytest.raises(ValueError, match=message):
            layer_indices([layer], 3, "s", "the student")
    problem = r"loss.match.student_layers is \[3\]; allowed: from -3 to 2"
    with pytest.raises(ValueError, match=problem):
        Matching([1, 1, 1], {"a": states_of(2, 1, 4)}, MatchConfig(1.0, [0], [3]))


@pytest.mark.parametrize("num_parts", [1, 3])
def test_states_of_rows_do_not_depend_on_the_parts_they_are_stored_in(num_parts: int) -> None:
    whole, cut = states_of(10, 2, 3), states_of(10, 2, 3, num_parts=num_parts)
    rows = np.array([9, 0, 3, 4, 3, 7])
    assert len(cut.parts) == num_parts
    np.testing.assert_array_equal(cut.of(rows), whole.parts[0][rows])
    assert cut.of(rows).dtype == np.float16


def test_predicting_the_mean_state_has_a_loss_of_one_at_any_scale_of_the_teacher() -> None:
    for scale in (1, 30):
        values = (scale * np.random.default_rng(0).normal(3.0, 1.0, size=(50, 1, 4))).astype(
            np.float16
        )
        known = MatchedStates("t", [0], np.array_split(values, 3))
        matching = Matching([2], {"a": known}, MatchConfig(1.0, [0], [0]))
        weight, bias = matching.parameters()
        nn.init.zeros_(weight)
        bias.data[:] = torch.from_numpy(values[:, 0].astype(np.float32).mean(0))
        zero = torch.zeros(())
        with torch.no_grad():
            matched = matching(
                LossTerms(zero, {}), [torch.ones(50, 2)], torch.from_numpy(values), "a"
            )
        assert float(matched.parts["match"]) == pytest.approx(1, rel=1e-4)


def test_states_that_never_vary_do_no_harm() -> None:
    known = {"a": MatchedStates("t", [0], [np.ones((1, 1, 4), np.float16)])}
    assert torch.isfinite(1 / Matching([2], known, MatchConfig(1.0, [0], [0])).variance_TP).all()


# What students expose.


@ALL
@pytest.mark.parametrize("place", [0, 1])
def test_states_do_not_change_the_logits_and_have_the_stated_widths(
    config: StudentConfig, place: int, datas: Datas, tokenizer: Tokenizer
) -> None:
    """The logits are equal except for rounding. Without states, a Transformer's last layer computes
    only what its head reads, so sums have another order. In float64 such differences are far below
    all others."""
    student, data = student_of(config, datas, tokenizer).double(), datas[place]
    inputs = inputs_of(student, data, tokenizer, [0, 1, 2, 3])
    output = answer(student, inputs, data.name)
    alone = logits(student, inputs, data.name)
    assert alone.dtype == torch.float64
    torch.testing.assert_close(output.logits_BC, alone, rtol=1e-12, atol=1e-12)
    expected = [(4, width) for width in student.state_widths]
    assert [tuple(state.shape) for state in output.states] == expected
    assert len(output.states) >= 2


@ALL
@pytest.mark.parametrize("place", [0, 1])
def test_padding_has_no_effect_on_states(
    config: StudentConfig, place: int, datas: Datas, tokenizer: Tokenizer
) -> None:
    student, data = student_of(config, datas, tokenizer), datas[place]
    together = answer(
        student, inputs_of(student, data, tokenizer, list(range(6))), data.name
    ).states
    alone = [
        answer(student, inputs_of(student, data, tokenizer, [row]), data.name).states
        for row in range(6)
    ]
    for layer, state in enumerate(together):
        torch.testing.assert_close(
            torch.cat([each[layer] for each in alone]), state, atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize(
    "config",
    [AlbertConfig(embedding_size=8, **SIZES), RobertaConfig(**SIZES),
     ElectraConfig(embedding_size=8, **SIZES),
     ModernBertConfig(pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1,
                      sep_token_id=2, **SIZES),
     DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32)],
    ids=lambda config: str(config.model_type),
)  # fmt: skip
def test_every_kind_exposes_embeddings_and_layers(config: PreTrainedConfig, datas: Datas) -> None:
    shared = {"tasks": head_configs(datas[:1]), "dropout": 0.0, "max_tokens": 6}
    model = on_encoder(AutoModel.from_config(config), "mean", shared)
    inputs = Inputs(
        torch.arange(5, 17).reshape(2, 1, 6), torch.ones(2, 1, 6, dtype=torch.bool), None
    )
    assert [tuple(state.shape) for state in answer(model, inputs, "single").states] == [(2, 16)] * 3
    assert model.state_widths == [16] * 3


def test_the_bilstms_first_state_is_a_mean_embedding(datas: Datas, tokenizer: Tokenizer) -> None:
    for config in (BILSTM, StudentConfig(kind="bag", hidden=8, embedding=6, ngrams=1)):
        student = student_of(config, datas, tokenizer)
        assert isinstance(student, BiLstmStudent | BagStudent)
        data, store = datas[1], datas[1].train
        assert store.b is not None
        state = answer(student, inputs_of(student, data, tokenizer, [3, 5]), "pair").states[0]
        for place, row in enumerate([3, 5]):
            ids = np.concatenate(
                [text.ids[text.offsets[row] : text.offsets[row + 1]] for text in (store.a, store.b)]
            )
            expected = student.embeddings.weight[torch.from_numpy(ids).long()].mean(0)
            torch.testing.assert_close(state[place], expected.detach(), atol=1e-6, rtol=1e-5)


# Training.


class Trained:
    """A student trained for some steps on one task, whose teacher has made-up logits and states."""

    def __init__(
        self,
        datas: Datas,
        tokenizer: Tokenizer,
        config: StudentConfig,
        loss: LossConfig,
        **settings: Any,
    ) -> None:
        data = datas[0]
        self.student = student_of(config, datas, tokenizer)
        rows = len(data.train.labels)
        generator = np.random.default_rng(1)
        # The states of the two classes differ, so a student can learn them.
        states = generator.normal(size=(2, 1, 5))[
            np.nan_to_num(data.train.labels).astype(int)
        ].astype(np.float16)
        self.states = MatchedStates("t", [0], [states])
        source = TaskRows(
            data, data.train_rows, generator.normal(size=(rows, 2)).astype(np.float32), self.states
        )
        self.layout = layout_of(tokenizer, self.student.joined, 32)
        self.matching = Matching(self.student.state_widths, {data.name: self.states}, loss.match)
        self.reports: list[dict[str, float]] = []
        train = TrainConfig(
            **({"steps": 60, "batch_size": 8, "learning_rate": 0.01, "eval_every": 60} | settings)
        )

        def batches(start: int) -> Iterator[Batch]:
            return joint_batches([source], self.layout, 8, SamplingConfig(), 0, start=start)

        def report(step: int, metrics: dict[str, float]) -> None:
            self.reports.append(metrics)

        matching = self.matching if loss.match.weight else None
        before = torch.get_rng_state()
        torch.manual_seed(0)
        train_model(
            self.student, batches, lambda: {"mean": 1.0}, loss, train, report, matching=matching
        )
        torch.set_rng_state(before)

    def losses(self, name: str) -> list[float]:
        return [metrics[name] for metrics in self.reports if name in metrics]


@ALL
def test_matching_moves_the_students_states_to_the_teachers(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer
) -> None:
    run = Trained(datas, tokenizer, config, LossConfig(match=MatchConfig(1.0, [-1], [-1])))
    losses = run.losses("train/match/single")
    assert losses[-1] < losses[0] / 2
    assert all(run.losses(f"train/{name}/single") for name in ("loss", "soft", "hard"))


def test_the_student_learns_from_the_match(datas: Datas, tokenizer: Tokenizer) -> None:
    """The gradient of the match reaches the embeddings, but not the heads."""
    student = student_of(BILSTM, datas, tokenizer).train()
    matching = Matching(student.state_widths, {"single": states_of(2, 1, 5, places=(0,))}, LAST)
    output = student(inputs_of(student, datas[0], tokenizer, [0, 1]), "single", states=True)
    zero = torch.zeros(())
    matching(LossTerms(zero, {}), output.states, torch.ones(2, 1, 5), "single").total.backward()
    assert isinstance(student, BiLstmStudent)
    assert student.embeddings.weight.grad is not None
    assert student.embeddings.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in student.heads.parameters())


@pytest.mark.parametrize(
    "extra", [{"balance": "uncertainty"}, {"hard_weight": 0.5}, {"task_weights": DOUBLED}]
)
def test_matching_goes_with_the_other_losses(
    extra: dict[str, Any], datas: Datas, tokenizer: Tokenizer
) -> None:
    run = Trained(datas, tokenizer, BILSTM, LossConfig(match=LAST, **extra))
    losses = run.losses("train/match/single")
    assert losses[-1] < losses[0]


def test_the_match_is_a_part_of_the_total(datas: Datas, tokenizer: Tokenizer) -> None:
    run = Trained(datas, tokenizer, BILSTM, LossConfig(hard_weight=0.0, match=LAST), steps=3)
    loss, soft, match = (
        run.losses(f"train/{name}/single")[0] for name in ("loss", "soft", "match")
    )
    assert loss == pytest.approx(soft + 0.5 * match, rel=1e-6)
    doubled = LossConfig(hard_weight=0.0, match=LAST, task_weights=DOUBLED)
    run = Trained(datas, tokenizer, BILSTM, doubled, steps=1, eval_every=1)
    loss, soft, match = (
        run.losses(f"train/{name}/single")[0] for name in ("loss", "soft", "match")
    )
    # The weight of a task is a factor on its whole loss.
    assert loss == pytest.approx(2 * (soft + 0.5 * match), rel=1e-6)


def test_in_bfloat16_the_match_is_in_float32(datas: Datas, tokenizer: Tokenizer) -> None:
    run = Trained(datas, tokenizer, TRANSFORMER, LossConfig(match=LAST), precision="bfloat16")
    losses = run.losses("train/match/single")
    assert losses[-1] < losses[0]
    zero = torch.zeros(())
    states = [
        state.bfloat16() for state in (torch.ones(1, width) for width in run.student.state_widths)
    ]
    assert (
        run.matching(LossTerms(zero, {}), states, torch.ones(1, 1, 5).half(), "single")
        .parts["match"]
        .dtype
        == torch.float32
    )


def test_training_with_a_tiny_weight_equals_training_without_matching(
    datas: Datas, tokenizer: Tokenizer
) -> None:
    """The maps influence the student only by the loss: batches, logits and clipping are the
    same."""
    off, on = (
        Trained(
            datas, tokenizer, BILSTM, LossConfig(match=MatchConfig(weight, [-1], [-1])), steps=5
        ).student
        for weight in (0.0, 1e-30)
    )
    for (name, a), (_, b) in zip(off.named_parameters(), on.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5, msg=name)


def test_without_matching_no_match_is_reported(datas: Datas, tokenizer: Tokenizer) -> None:
    run = Trained(datas, tokenizer, BILSTM, LossConfig(), steps=2)
    assert run.losses("train/soft/single") and not run.losses("train/match/single")


def test_maps_are_not_saved(datas: Datas, tokenizer: Tokenizer, tmp_path: Path) -> None:
    run = Trained(datas, tokenizer, BILSTM, LossConfig(match=LAST), steps=2)
    run.student.save_pretrained(tmp_path)
    expected = student_of(BILSTM, datas, tokenizer).state_dict().keys()
    assert load_model(tmp_path).state_dict().keys() == expected


# Batches.


def test_a_batch_has_the_states_of_its_rows(datas: Datas, tokenizer: Tokenizer) -> None:
    data = datas[0]
    states = states_of(len(data.train.labels), 2, 4, num_parts=2)
    layout = layout_of(tokenizer, False, 32)

    def batches() -> Iterator[Batch]:
        yield make_batch(
            TaskRows(data, data.train_rows, None, states), np.array([5, 2, 30]), layout
        )
        yield make_batch(TaskRows(data, data.train_rows, None), np.array([5, 2, 30]), layout)

    first, second = batches()
    assert first.states_BKD is not None and second.states_BKD is None
    np.testing.assert_array_equal(
        first.states_BKD.numpy(), np.concatenate(states.parts)[[5, 2, 30]]
    )
