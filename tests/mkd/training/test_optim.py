import pytest
import torch
from torch import nn

from mkd.config import TrainConfig
from mkd.training.optim import LAZY_ROWS, clip_gradients, make_optimizers

CONFIG = TrainConfig(learning_rate=0.1, weight_decay=0.5)
LAZY = TrainConfig(learning_rate=0.1, weight_decay=0.5, lazy=True)


class Model(nn.Module):
    """A table that is large enough for the lazy Adam, and a layer."""

    def __init__(self, rows: int = LAZY_ROWS) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(rows, 3)
        self.layer = nn.Linear(3, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(self.table(ids))
        return logits


def step(model: Model, config: TrainConfig, ids: list[int], times: int = 1) -> None:
    optimizers = make_optimizers(model, config)
    for _ in range(times):
        for optimizer in optimizers:
            optimizer.zero_grad()
        # The factor makes the epsilons of the optimisers negligible.
        (1e4 * model(torch.tensor(ids)).square().sum()).backward()
        for optimizer in optimizers:
            optimizer.step()


def test_every_parameter_is_in_one_optimizer_once() -> None:
    model = Model()
    optimizers = make_optimizers(model, LAZY)
    held = [
        p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]
    ]
    assert len(optimizers) == 2
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
    assert len(make_optimizers(model, CONFIG)) == 1


def test_rows_that_a_batch_does_not_touch_stay_as_they_are() -> None:
    model = Model()
    before = model.table.weight.detach().clone()
    step(model, LAZY, [5, 7, 5], times=3)
    moved = (model.table.weight != before).any(1).nonzero().flatten().tolist()
    assert moved == [5, 7]


def test_touched_rows_move_as_with_adam_without_decay() -> None:
    lazy, dense = Model(), Model()
    step(lazy, LAZY, list(range(LAZY_ROWS)))
    step(dense, CONFIG, list(range(LAZY_ROWS)))
    decay = 0.1 * 0.5 * Model().table.weight
    torch.testing.assert_close(lazy.table.weight, dense.table.weight + decay, atol=1e-5, rtol=0)
    torch.testing.assert_close(lazy.layer.weight, dense.layer.weight)


def test_a_row_that_is_seen_once_moves_as_far_as_with_adam_in_the_steps_after_it() -> None:
    moved = []
    for config in (
        TrainConfig(learning_rate=2e-3, weight_decay=0.0),
        TrainConfig(learning_rate=2e-3, weight_decay=0.0, lazy=True),
    ):
        model = Model()
        model.layer.requires_grad_(False)
        before = model.table.weight.detach().clone()
        optimizers = make_optimizers(model, config)
        for row in [1] * 100 + [5] + [1] * 100:
            for optimizer in optimizers:
                optimizer.zero_grad()
            (1e4 * model(torch.tensor([row])).sum()).backward()
            for optimizer in optimizers:
                optimizer.step()
        moved.append((model.table.weight - before)[5].detach())
    torch.testing.assert_close(moved[1], moved[0], rtol=0.1, atol=0)


def test_several_processes_exchange_dense_gradients_and_move_the_same_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone, one_of_two = Model(), Model()
    before = alone.table.weight.detach().clone()
    step(alone, LAZY, [5, 7, 5], times=3)
    monkeypatch.setenv("WORLD_SIZE", "2")
    make_optimizers(one_of_two, LAZY)
    one_of_two(torch.tensor([5])).sum().backward()
    assert one_of_two.table.weight.grad is not None
    assert not one_of_two.table.weight.grad.is_sparse
    one_of_two.zero_grad()
    step(one_of_two, LAZY, [5, 7, 5], times=3)
    moved = (one_of_two.table.weight != before).any(1).nonzero().flatten().tolist()
    assert moved == [5, 7]
    torch.testing.assert_close(one_of_two.table.weight, alone.table.weight)


def test_a_table_whose_gradient_is_0_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    model = Model()
    before = model.table.weight.detach().clone()
    optimizers = make_optimizers(model, LAZY)
    (0 * model(torch.tensor([5])).sum()).backward()
    optimizers[1].step()
    torch.testing.assert_close(model.table.weight, before, rtol=0, atol=0)


def test_small_tables_are_left_to_adamw() -> None:
    model = Model(LAZY_ROWS - 1)
    assert len(make_optimizers(model, LAZY)) == 1
    model(torch.tensor([1])).sum().backward()
    assert model.table.weight.grad is not None and not model.table.weight.grad.is_sparse


def test_a_model_that_was_trained_lazily_can_be_trained_densely() -> None:
    model = Model()
    make_optimizers(model, LAZY)
    step(model, CONFIG, [1])
    assert model.table.weight.grad is not None and not model.table.weight.grad.is_sparse


@pytest.mark.parametrize("config", [CONFIG, LAZY], ids=["dense", "lazy"])
def test_the_common_norm_is_clipped_by_hand(config: TrainConfig) -> None:
    model = Model()
    make_optimizers(model, config)
    nn.init.ones_(model.layer.weight)
    # Row 4 is used twice: its gradient is (2, 2) @ ones = 4 in each of 3 dimensions. The gradient
    # of the layer is 2 * table[4] for the weights and 2 for the bias.
    model(torch.tensor([4, 4])).sum().backward()
    table = 2 * model.table.weight[4].detach()
    norm = (3 * 4.0**2 + 2 * table.square().sum() + 2 * 2.0**2).sqrt()
    clip_gradients(model.parameters(), 0.5)
    assert model.table.weight.grad is not None and model.layer.weight.grad is not None
    torch.testing.assert_close(
        model.table.weight.grad.to_dense()[4], torch.full((3,), 4.0) * 0.5 / norm
    )
    torch.testing.assert_close(model.layer.weight.grad, (table * 0.5 / norm).expand(2, 3))


def test_a_short_gradient_is_left_as_it_is() -> None:
    model = Model()
    model(torch.tensor([4])).sum().backward()
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    clip_gradients(model.parameters(), 1e6)
    after = [p.grad for p in model.parameters() if p.grad is not None]
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other)
