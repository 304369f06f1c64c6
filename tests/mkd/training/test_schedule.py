import pytest

from mkd.config import LossConfig
from mkd.training.schedule import annealed, linear, warmup_linear


@pytest.mark.parametrize(
    ("steps", "warmup", "factors"),
    [
        (4, 0.0, [1, 3 / 4, 2 / 4, 1 / 4]),
        (6, 1 / 3, [1 / 3, 2 / 3, 1, 3 / 4, 2 / 4, 1 / 4]),
        (4, 1.0, [1 / 5, 2 / 5, 3 / 5, 4 / 5]),
        (1, 0.0, [1]),
        (1, 1.0, [1 / 2]),
        (2, 0.1, [1, 1 / 2]),
    ],
)
def test_the_factor_rises_and_falls(steps: int, warmup: float, factors: list[float]) -> None:
    assert [warmup_linear(step, steps, warmup) for step in range(steps)] == pytest.approx(factors)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0])
def test_every_step_moves_and_none_goes_beyond_the_peak(warmup: float) -> None:
    assert all(0 < warmup_linear(step, 57, warmup) <= 1 for step in range(57))


def test_after_the_last_step_the_factor_is_zero() -> None:
    assert warmup_linear(10, 10, 0.2) == 0


def test_a_line_goes_from_its_start_to_its_end() -> None:
    assert [linear(1.0, 0.2, share) for share in (0.0, 0.25, 1.0)] == pytest.approx([1, 0.8, 0.2])
    assert linear(0.3, None, 0.7) == 0.3


def test_annealing_goes_from_the_teacher_to_the_labels() -> None:
    loss = LossConfig(kind="mse", hard_weight=0.0, hard_weight_end=1.0)
    assert [annealed(loss, step, 5).hard_weight for step in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert annealed(loss, 0, 1).hard_weight == 0
    assert annealed(loss, 2, 5).kind == "mse"


def test_a_weight_without_an_end_stays() -> None:
    loss = LossConfig(hard_weight=0.3)
    assert all(annealed(loss, step, 5) is loss for step in range(5))
