import pytest

from mkd.schedule import warmup_linear


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
def test_the_factor_rises_over_the_warmup_and_falls_to_the_end(steps: int, warmup: float, factors: list[float]) -> None:
    assert [warmup_linear(step, steps, warmup) for step in range(steps)] == pytest.approx(factors)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0])
def test_every_step_moves_and_none_goes_beyond_the_peak(warmup: float) -> None:
    assert all(0 < warmup_linear(step, 57, warmup) <= 1 for step in range(57))


def test_after_the_last_step_the_factor_is_zero() -> None:
    assert warmup_linear(10, 10, 0.2) == 0
