import pytest
import torch
from torch import nn

from mkd.conflicts import TaskGradients, projection_weights


def algorithm_1(gradients: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """PCGrad on the gradients themselves [T, P], word for word after the paper; their sum [P]."""
    changed = gradients.clone()
    for i in range(len(gradients)):
        for j in order[i].tolist():
            product = changed[i] @ gradients[j]
            if j != i and product < 0:
                changed[i] -= product / (gradients[j] @ gradients[j]) * gradients[j]
    return changed.sum(0)


def order_of(tasks: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(tasks, generator=generator) for _ in range(tasks)])


def test_two_conflicting_gradients_by_hand() -> None:
    """g = (1, 0), h = (-1, 1): g loses -1/2 h and is (1/2, 1/2); h loses -1 g and is (0, 1)."""
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    weights = projection_weights(gradients @ gradients.T, order_of(2, 0))
    assert (weights @ gradients).tolist() == [0.5, 1.5]


def test_gradients_that_agree_are_just_added() -> None:
    gradients = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    assert projection_weights(gradients @ gradients.T, order_of(3, 0)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("tasks", [1, 2, 3, 6])
def test_the_weights_give_what_the_papers_algorithm_gives(tasks: int, seed: int) -> None:
    """Few directions for many tasks, so that most of them conflict."""
    gradients = torch.randn(tasks, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    order = order_of(tasks, seed)
    found = projection_weights(gradients @ gradients.T, order) @ gradients
    torch.testing.assert_close(found, algorithm_1(gradients, order))


def test_a_task_without_any_gradient_changes_nothing() -> None:
    gradients = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    weights = projection_weights(gradients @ gradients.T, order_of(2, 0))
    assert (weights @ gradients).tolist() == [1, 0]


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_of_a_models_layers_are_merged_as_one_vector(sparse: bool) -> None:
    """Rows 0 and 1 for task a, 1 and 2 for task b, in two batches of a and one of b, through a table and a linear layer."""
    torch.manual_seed(0)
    table, linear = nn.Embedding(4, 3, sparse=sparse), nn.Linear(3, 1, bias=False)
    shared = TaskGradients([*table.parameters(), *linear.parameters()])
    by_task: dict[str, torch.Tensor] = {}
    for task, ids, sign in (("a", [0, 1, 1], 1), ("b", [1, 2, 1], -1), ("a", [0, 0], 1)):
        (sign * linear(table(torch.tensor(ids))).sum()).backward()
        grads = [p.grad.to_dense().flatten() for p in shared.shared if p.grad is not None]
        by_task[task] = by_task.get(task, torch.zeros(15)) + torch.cat(grads)
        shared.take(task)
        assert table.weight.grad is None and linear.weight.grad is None
    shared.merge()
    gradients = torch.stack(list(by_task.values()))
    assert gradients[0] @ gradients[1] < 0
    found = [p.grad for p in shared.shared if p.grad is not None]
    assert found[0].is_sparse == sparse
    torch.testing.assert_close(torch.cat([g.to_dense().flatten() for g in found]), algorithm_1(gradients, order_of(2, 0)))
    assert shared.by_task == {}


def test_a_layer_that_a_task_does_not_reach_has_no_gradient_of_it() -> None:
    both, one = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    shared = TaskGradients([both, one])
    both.sum().backward()
    shared.take("a")
    (both * one).sum().backward()
    shared.take("b")
    shared.merge()
    assert both.grad is not None and one.grad is not None
    assert (both.grad.tolist(), one.grad.tolist()) == ([2, 2], [1, 1])
