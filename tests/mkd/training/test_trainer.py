import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mkd.config import LossConfig, SamplingConfig, StudentConfig, TrainConfig
from mkd.evaluation.scoring import predict_logits, selection_scores, torch_infer
from mkd.runtime.layout import Layout
from mkd.students import Student, make_student
from mkd.tokenization.tokens import TaskData, layout_of
from mkd.training.batches import Batch, TaskRows, joint_batches
from mkd.training.losses import hard_loss
from mkd.training.schedule import warmup_linear
from mkd.training.trainer import TrainingOutcome, train_model
from tests.support.tiny import Datas, Tokenizer, make_datas, make_tasks

BILSTM = StudentConfig(kind="bilstm", hidden=8, embedding=8, dropout=0.1)
TRANSFORMER = StudentConfig(kind="transformer", hidden=16, layers=1, heads=2, dropout=0.1)
HARD = LossConfig(hard_weight=1.0)


class Run:
    """A student with its batches, and everything that its training reports."""

    def __init__(
        self,
        datas: Datas,
        tokenizer: Tokenizer,
        config: StudentConfig = BILSTM,
        teachers: list[np.ndarray] | None = None,
    ) -> None:
        torch.manual_seed(0)
        self.datas = datas
        self.student: Student = make_student(config, datas, len(tokenizer), 32, None)
        self.layout: Layout = layout_of(tokenizer, self.student.joined, 32)
        logits_of_tasks: Sequence[np.ndarray | None] = (
            [None] * len(datas) if teachers is None else teachers
        )
        self.sources = [
            TaskRows(d, d.train_rows, t) for d, t in zip(datas, logits_of_tasks, strict=True)
        ]
        self.reports: list[tuple[int, dict[str, float]]] = []

    def train(
        self,
        loss: LossConfig = HARD,
        scores: Callable[[], dict[str, float]] | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> TrainingOutcome:
        config = TrainConfig(
            **({"steps": 50, "batch_size": 8, "learning_rate": 0.01, "eval_every": 25} | settings)
        )

        def batches(start: int) -> Iterator[Batch]:
            return joint_batches(
                self.sources, self.layout, config.batch_size, config.sampling, seed, start=start
            )

        by_model = scores or (lambda: selection_scores(self.student, self.datas, self.layout))
        return train_model(
            self.student,
            batches,
            by_model,
            loss,
            config,
            lambda step, metrics: self.reports.append((step, metrics)),
        )

    def reported(self, name: str) -> list[float]:
        return [metrics[name] for _, metrics in self.reports if name in metrics]


def scripted(*means: float) -> Callable[[], dict[str, float]]:
    """Returns a function that returns these mean scores in turn, over and over."""
    values = cycle(means)
    return lambda: {"mean": next(values)}


@pytest.fixture(scope="module")
def enough(cache: Path, tokenizer: Tokenizer) -> TaskData:
    """Returns `single` with 48 rows to learn from: with 32, training would lack some words of
    selection."""
    (data,) = make_datas(cache, make_tasks(60, ["single"]), tokenizer)
    return data


@pytest.mark.parametrize("config", [BILSTM, TRANSFORMER], ids=lambda config: config.kind)
def test_a_separable_task_is_learnt(
    config: StudentConfig, enough: TaskData, tokenizer: Tokenizer
) -> None:
    run = Run([enough], tokenizer, config)
    trained = run.train(steps=150)
    losses = run.reported("train/loss/single")
    assert losses[-1] < min(0.2, losses[0] / 2)
    assert trained.best_score > 90
    logits = predict_logits(
        torch_infer(run.student), enough.dev[""], np.arange(30), "single", run.layout
    )
    assert (logits.argmax(1) == enough.dev[""].labels).mean() >= 0.85


def test_rows_without_labels_teach_too(enough: TaskData, tokenizer: Tokenizer) -> None:
    data = enough
    teacher = np.where(data.train.labels[:, None] == [0.0, 1.0], 2.0, -2.0).astype(np.float32)
    unlabelled = data._replace(
        train=data.train._replace(labels=np.full_like(data.train.labels, np.nan))
    )
    run = Run([unlabelled], tokenizer, teachers=[teacher])
    run.train(LossConfig(hard_weight=0.5), scripted(1, 2, 3, 4, 5, 6), steps=150)
    assert run.reported("train/hard/single") == [0.0] * 6
    soft = run.reported("train/soft/single")
    assert soft[-1] < 0.2 * soft[0]
    logits = predict_logits(
        torch_infer(run.student), data.dev[""], np.arange(30), "single", run.layout
    )
    assert (logits.argmax(1) == data.dev[""].labels).mean() >= 0.85


def test_the_weights_with_the_best_score_are_restored(datas: Datas, tokenizer: Tokenizer) -> None:
    run = Run(datas, tokenizer)
    seen: list[dict[str, torch.Tensor]] = []
    means = iter((1.0, 3.0, 3.0, 2.0))

    def scores() -> dict[str, float]:
        seen.append({name: value.clone() for name, value in run.student.state_dict().items()})
        return {"mean": next(means)}

    trained = run.train(scores=scores, steps=20, eval_every=5)
    assert trained == TrainingOutcome(best_step=10, best_score=3.0, steps=20), (
        "the first of equal scores counts"
    )
    final = run.student.state_dict()
    assert all(torch.equal(final[name], value) for name, value in seen[1].items())
    assert any(not torch.equal(final[name], value) for name, value in seen[2].items())


@pytest.mark.parametrize(
    ("patience", "means", "trained"),
    [
        (2, (3, 2, 3, 9), TrainingOutcome(4, 3, 12)),
        (1, (1, 2, 3, 2, 9), TrainingOutcome(12, 3, 16)),
        (0, (3, 2, 1, 0, 0), TrainingOutcome(4, 3, 20)),
        (2, (1, 0, 2, 1, 3), TrainingOutcome(20, 3, 20)),
    ],
)
def test_training_stops_when_patience_ends(
    patience: int,
    means: tuple[float, ...],
    trained: TrainingOutcome,
    datas: Datas,
    tokenizer: Tokenizer,
) -> None:
    outcome = Run(datas, tokenizer).train(
        scores=scripted(*means), steps=20, eval_every=4, patience=patience
    )
    assert outcome == trained


def test_what_is_reported(datas: Datas, tokenizer: Tokenizer) -> None:
    run = Run(datas, tokenizer)
    run.train(steps=60, eval_every=40, warmup=0.5)
    shown = [(step, m["progress"]) for step, m in run.reports if "progress" in m]
    assert shown[0] == (1, 1 / 60) and shown == sorted(shown), (
        "progress is reported from the first step on"
    )
    assert {(step, step / 60) for step in (25, 40, 50, 60)} <= set(shown)
    assert all(share == step / 60 for step, share in shown)
    assert [step for step, metrics in run.reports if "shown/loss" in metrics] == [1]
    logged = [step for step, metrics in run.reports if "train/learning_rate" in metrics]
    assert logged == [25, 40, 50, 60]
    expected = [0.01 * warmup_linear(step - 1, 60, 0.5) for step in (25, 40, 50, 60)]
    assert run.reported("train/learning_rate") == expected
    assert [step for step, metrics in run.reports if "selection/mean" in metrics] == [40, 60]
    assert {name for _, metrics in run.reports for name in metrics} == {
        "progress",
        "shown/loss",
        "train/learning_rate",
        *(f"train/{term}/{data.name}" for term in ("loss", "soft", "hard") for data in datas),
        *(f"selection/{name}" for name in ("single", "pair", "score", "mean")),
        *(f"sampling/{data.name}" for data in datas),
    }


def test_a_reported_loss_is_the_mean_since_the_last(datas: Datas, tokenizer: Tokenizer) -> None:
    every = Run(datas[:1], tokenizer)
    every.train(scores=scripted(1, 2, 3), steps=9, eval_every=1)
    window = Run(datas[:1], tokenizer)
    window.train(scores=scripted(1, 2, 3), steps=9, eval_every=3)
    losses = np.array(every.reported("train/loss/single"))
    assert window.reported("train/loss/single") == pytest.approx(
        losses.reshape(3, 3).mean(1).tolist()
    )


def _refusal(run: Run, **settings: Any) -> str:
    with pytest.raises(ValueError) as caught:
        run.train(learning_rate=1e30, warmup=0.0, **settings)
    return str(caught.value)


def test_a_loss_that_is_not_finite_stops_the_run(datas: Datas, tokenizer: Tokenizer) -> None:
    late = _refusal(Run(datas[:1], tokenizer), steps=20, eval_every=20)
    matched = re.match(
        r"the loss became (nan|inf) at step (\d+), task single; try a smaller train.learning_rate",
        late,
    )
    assert matched, late
    run = Run(datas[:1], tokenizer)
    at_once = _refusal(run, steps=20, eval_every=1, scores=scripted(1))
    assert at_once == late, "the step is the same if every step is checked"
    assert len(run.reported("train/loss/single")) == int(matched[2]) - 1


@pytest.mark.parametrize("place", [0, 2])
def test_a_last_step_to_weights_that_are_not_finite_is_refused(
    place: int, datas: Datas, tokenizer: Tokenizer
) -> None:
    """The reported loss is from before the step, so it is finite."""
    run, name = Run([datas[place]], tokenizer), datas[place].name
    with pytest.raises(ValueError) as caught:
        run.train(learning_rate=1e39, warmup=0.0, steps=1, eval_every=1)
    assert np.isfinite(run.reported(f"train/loss/{name}")).all()
    message = (
        f"the logits of task {name} on the selection split are not finite numbers in 8 of 8 rows"
    )
    assert str(caught.value).startswith(message)


def test_scores_that_are_not_numbers_stop_the_run(datas: Datas, tokenizer: Tokenizer) -> None:
    message = "no score on the selection split was a number up to step 4"
    with pytest.raises(ValueError, match=message):
        Run(datas, tokenizer).train(scores=scripted(float("nan")), steps=4, eval_every=2)


def test_an_exception_of_the_report_stops_the_run(datas: Datas, tokenizer: Tokenizer) -> None:
    run = Run(datas, tokenizer)

    def report(step: int, metrics: dict[str, float]) -> None:
        raise KeyboardInterrupt

    batches = joint_batches(run.sources, run.layout, 8, SamplingConfig(), 0)
    with pytest.raises(KeyboardInterrupt):
        train_model(
            run.student,
            lambda start: batches,
            scripted(1),
            HARD,
            TrainConfig(steps=50, learning_rate=2e-3),
            report,
        )


def _weights(
    datas: Datas, tokenizer: Tokenizer, config: StudentConfig, seed: int
) -> dict[str, torch.Tensor]:
    run = Run(datas, tokenizer, config)
    run.train(scores=scripted(1, 2), seed=seed, steps=20, eval_every=10)
    return run.student.state_dict()


@pytest.mark.parametrize("config", [BILSTM, TRANSFORMER], ids=lambda config: config.kind)
def test_the_same_seed_gives_the_same_weights_to_the_bit(
    config: StudentConfig, datas: Datas, tokenizer: Tokenizer
) -> None:
    first, again, other = (_weights(datas, tokenizer, config, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_head_of_a_task_not_drawn_stays(datas: Datas, tokenizer: Tokenizer) -> None:
    run = Run(datas, tokenizer)
    before = {name: value.clone() for name, value in run.student.state_dict().items()}
    sampling = SamplingConfig(weights={"single": 1, "pair": 0, "score": 1})
    run.train(steps=10, eval_every=10, sampling=sampling)
    after = run.student.state_dict()
    names = run.student.heads.names
    changed = [
        names[i]
        for i in range(3)
        if not torch.equal(after[f"heads.linears.{i}.weight"], before[f"heads.linears.{i}.weight"])
    ]
    assert sorted(changed) == ["score", "single"]


def test_a_step_is_adamw_with_decay_on_matrices(datas: Datas, tokenizer: Tokenizer) -> None:
    """AdamW's first step is w (1 - rate * decay) - rate * sign(g), up to epsilon. See Loshchilov
    and Hutter 2019."""
    moved = {}
    for decay in (0.0, 0.5):
        run = Run(
            datas[:1], tokenizer, StudentConfig(kind="bilstm", hidden=8, embedding=8, dropout=0.0)
        )
        before = {name: value.clone() for name, value in run.student.state_dict().items()}
        run.train(steps=1, eval_every=1, warmup=0.0, weight_decay=decay)
        moved[decay] = {
            name: value - before[name] for name, value in run.student.state_dict().items()
        }
    matrix, bias = "heads.linears.0.weight", "heads.linears.0.bias"
    torch.testing.assert_close(moved[0.0][bias].abs(), torch.full((2,), 0.01), rtol=1e-3, atol=0)
    assert torch.equal(moved[0.5][bias], moved[0.0][bias])
    torch.testing.assert_close(
        moved[0.5][matrix] - moved[0.0][matrix], -0.01 * 0.5 * before[matrix], rtol=1e-3, atol=1e-7
    )


def test_bfloat16_leaves_weights_and_losses_in_float32(datas: Datas, tokenizer: Tokenizer) -> None:
    for config in (BILSTM, TRANSFORMER):
        run = Run(datas, tokenizer, config)
        run.train(steps=10, eval_every=10, precision="bfloat16")
        assert {
            value.dtype for value in run.student.state_dict().values() if value.is_floating_point()
        } == {torch.float32}
        assert np.isfinite(run.reported("train/loss/single")).all()


def test_no_more_batches_are_drawn_than_there_are_steps(datas: Datas, tokenizer: Tokenizer) -> None:
    run = Run(datas, tokenizer)
    drawn: list[Batch] = []

    def counted() -> Iterator[Batch]:
        for batch in joint_batches(run.sources, run.layout, 8, SamplingConfig(), 0):
            drawn.append(batch)
            yield batch

    train_model(
        run.student,
        lambda start: counted(),
        scripted(1),
        HARD,
        TrainConfig(steps=7, learning_rate=2e-3),
    )
    assert len(drawn) == 7


def test_shares_of_batches_are_reported_at_the_end(datas: Datas, tokenizer: Tokenizer) -> None:
    run = Run(datas, tokenizer)
    run.train(steps=8, eval_every=8, sampling=SamplingConfig(order="round_robin"))
    assert [run.reported(f"sampling/{name}") for name in ("single", "pair", "score")] == [
        [3 / 8],
        [3 / 8],
        [2 / 8],
    ]


def test_annealing_begins_with_the_teacher_alone_and_ends_with_the_labels_alone(
    datas: Datas, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mkd.training.trainer.LOG_EVERY", 1)
    run = Run(
        datas[:1], tokenizer, teachers=[np.ones((len(datas[0].train.labels), 2), dtype=np.float32)]
    )
    loss = LossConfig(kind="mse", hard_weight=0.0, hard_weight_end=1.0)
    run.train(loss, scripted(1), steps=5, eval_every=5)
    total, soft, hard = (run.reported(f"train/{name}/single") for name in ("loss", "soft", "hard"))
    expected = [
        (1 - w) * s + w * h for w, s, h in zip((0, 0.25, 0.5, 0.75, 1), soft, hard, strict=True)
    ]
    assert total == pytest.approx(expected)


def test_log_variances_move_and_are_reported(datas: Datas, tokenizer: Tokenizer) -> None:
    """AdamW's first step has the size of the learning rate, without decay. A loss above 1/2 makes
    the variance grow."""
    run = Run(datas, tokenizer)
    uncertain = LossConfig(hard_weight=1.0, balance="uncertainty")
    run.train(
        uncertain, scripted(1), steps=1, eval_every=1, warmup=0.0,
        sampling=SamplingConfig(order="round_robin"),
    )  # fmt: skip
    assert run.reported("train/hard/single")[0] > 0.5
    assert run.reported("train/log_variance/single") == pytest.approx([0.01], rel=1e-3)
    assert run.reported("train/log_variance/pair") == [0]


@pytest.mark.parametrize("stated", [{"clip": 0.5}, {}], ids=["clip", "default"])
def test_losses_equal_a_plain_loop_with_dense_adamw(
    datas: Datas, tokenizer: Tokenizer, stated: dict[str, Any]
) -> None:
    """The plain loop uses the same batches, single-tensor AdamW and torch's clipping. Gradients are
    clipped to a norm of 1 unless another is stated. It is in float64: Adam divides by the size of
    the gradient, which amplifies the rounding of float32 on another processor."""
    rate, steps, clip = 0.01, 30, stated.get("clip", 1.0)
    exact = replace(BILSTM, dropout=0.0)
    ours, plain = Run(datas, tokenizer, exact), Run(datas, tokenizer, exact)
    for each in (ours, plain):
        each.student.double()
    losses: list[tuple[str, float]] = []
    norms: list[float] = []
    decayed = [p for p in plain.student.parameters() if p.ndim > 1]
    groups = [
        {"params": decayed, "weight_decay": 0.01},
        {"params": [p for p in plain.student.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, foreach=False, fused=False)
    plain.student.train()
    for step, batch in zip(
        range(steps),
        joint_batches(plain.sources, plain.layout, 8, SamplingConfig(), 0),
        strict=False,
    ):
        logits = plain.student(batch.inputs, batch.task)
        loss = hard_loss(logits, batch.labels_B)
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(plain.student.parameters(), clip)))
        for group in optimizer.param_groups:
            group["lr"] = rate * warmup_linear(step, steps, 0.1)
        optimizer.step()
        losses.append((batch.task, loss.item()))
    assert min(norms) < clip < max(norms), "some gradients are scaled down, and some are not"
    ours.train(
        scores=scripted(*range(2)), steps=steps, learning_rate=rate, eval_every=steps, **stated
    )
    window = losses[:25]  # the steps of the first report
    for task in {task for task, _ in window}:
        of_task = [value for name, value in window if name == task]
        expected = pytest.approx(sum(of_task) / len(of_task), rel=1e-5)
        assert ours.reported(f"train/loss/{task}")[0] == expected
    others = dict(plain.student.named_parameters())
    for name, parameter in ours.student.named_parameters():
        # Softmax ignores the bias: its gradient is only rounding, which Adam amplifies.
        if name != "attention.bias":
            torch.testing.assert_close(parameter, others[name], atol=1e-8, rtol=0)
