import math

import pytest
import torch

from mkd.config import LossConfig
from mkd.training.balance import Balance, check_task_weights
from mkd.training.losses import LossTerms
from tests.support.tiny import heads, make_tasks

HEADS = heads(*make_tasks(2))
TERMS = LossTerms(torch.tensor(3.0), {"soft": torch.tensor(1.0), "hard": torch.tensor(2.0)})


def test_by_default_a_loss_is_left_as_it_is() -> None:
    balance = Balance(HEADS, LossConfig())
    assert balance(TERMS, "pair") is TERMS
    assert list(balance.parameters()) == [] and balance.metrics() == {}


def test_a_fixed_weight_is_a_factor_on_the_total_alone() -> None:
    balance = Balance(HEADS, LossConfig(task_weights={"single": 0.5, "pair": 2.0, "score": 1.0}))
    assert balance(TERMS, "pair") == (torch.tensor(6.0), TERMS.parts)
    assert balance(TERMS, "single") == (torch.tensor(1.5), TERMS.parts)


@pytest.mark.parametrize("names", [["single"], ["single", "pair", "score", "other"]])
def test_weights_that_do_not_name_just_the_tasks_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        check_task_weights(
            ["single", "pair", "score"], LossConfig(task_weights=dict.fromkeys(names, 1.0))
        )
    message = (
        f"loss.task_weights names {sorted(names)}; allowed: a weight for each of ['pair', 'score', "
    )
    assert str(caught.value).startswith(message)
    check_task_weights(["single", "pair", "score"], LossConfig())


def test_uncertainty_by_hand() -> None:
    """Kendall et al. 2018 with sigma = 2. The loss is L / sigma^2 + log sigma for classes, and L /
    (2 sigma^2) + log sigma for a score."""
    balance = Balance(HEADS, LossConfig(balance="uncertainty"))
    for log_variance in balance.parameters():
        torch.nn.init.constant_(log_variance, math.log(4))
    assert balance(TERMS, "pair").total.item() == pytest.approx(3 / 4 + math.log(2))
    assert balance(TERMS, "score").total.item() == pytest.approx(3 / 8 + math.log(2))
    assert balance.metrics() == pytest.approx(
        {f"train/log_variance/{name}": math.log(4) for name in ("pair", "score", "single")}
    )


def test_uncertainty_is_the_negative_log_likelihood_of_a_gaussian() -> None:
    """Equation 5 for a score y with prediction z. -log N(y; z, sigma^2) = (y - z)^2 / (2 sigma^2) +
    log sigma + log(2 pi) / 2."""
    balance = Balance(HEADS, LossConfig(balance="uncertainty"))
    (log_variance,) = [
        p for name, p in zip(balance.places, balance.parameters(), strict=True) if name == "score"
    ]
    torch.nn.init.constant_(log_variance, -0.7)
    error = torch.tensor(1.3)
    terms = LossTerms(error**2, {})
    expected = (
        -torch.distributions.Normal(0.0, math.exp(-0.35)).log_prob(error)
        - math.log(2 * math.pi) / 2
    )
    assert balance(terms, "score").total.item() == pytest.approx(float(expected))


@pytest.mark.parametrize(("task", "variance"), [("pair", 6.0), ("score", 3.0)])
def test_the_learnt_variance_goes_to_where_the_loss_is_flat(task: str, variance: float) -> None:
    """For a constant loss L it goes to 2 L for classes and to L for a score. In both cases the
    factor of the loss is then 1 / (2 L)."""
    balance = Balance(HEADS, LossConfig(balance="uncertainty"))
    descent = torch.optim.SGD(balance.parameters(), lr=0.3)
    for _ in range(300):
        descent.zero_grad()
        balance(TERMS, task).total.backward()
        descent.step()
    learnt = balance.metrics()
    assert math.exp(learnt.pop(f"train/log_variance/{task}")) == pytest.approx(variance, rel=1e-4)
    assert set(learnt.values()) == {0.0}, "the variances of the other tasks have not moved"


def test_learnt_variances_can_be_saved_and_restored() -> None:
    balance, other = (Balance(HEADS, LossConfig(balance="uncertainty")) for _ in range(2))
    torch.nn.init.constant_(next(balance.parameters()), 0.5)
    other.load_state_dict(balance.state_dict())
    assert (
        other.metrics()
        == balance.metrics()
        != Balance(HEADS, LossConfig(balance="uncertainty")).metrics()
    )
