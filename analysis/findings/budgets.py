"""The best model under each latency budget, and its loss to its teacher."""

import math
from typing import NamedTuple

import pandas as pd

from analysis.statistics.differences import Difference

BUDGETS_MS = (1.0, 2.0, 5.0, 10.0)
"""Latency budgets of the report, in milliseconds, if some model takes more than the first."""

ONE_SEED_NOTE = "one seed: of these two models, not of the method"
"""Follows an interval of one seed."""


class BudgetAnswer(NamedTuple):
    """The best model under a budget: the one with the highest score on the selection split.

    among: number of models that it was chosen from.
    mean: its score on dev.
    lost: its teacher's mean score less its own. The interval is NaN if it is unknown. It is None if
        the teacher's score is unknown.
    """

    budget_ms: float
    id: str
    label: str
    latency_ms: float
    selection: float
    among: int
    mean: float
    teacher: str
    teacher_latency_ms: float
    lost: Difference | None


def budgets_ms(slowest_ms: float) -> tuple[float, ...]:
    """Returns BUDGETS_MS, or a power of ten of them if all models are faster than the first.

    Budgets that every model meets would be useless.

    slowest_ms: latency of the slowest model.
    """
    if not 0 < slowest_ms < BUDGETS_MS[0]:
        return BUDGETS_MS
    decades = 1 - math.ceil(math.log10(slowest_ms))
    return tuple(budget / 10**decades for budget in BUDGETS_MS)


def best_under(
    models: pd.DataFrame,
    lost: dict[str, Difference],
    budgets: tuple[float, ...] | None = None,
) -> list[BudgetAnswer]:
    """Returns the best model under each budget. Budgets without a model are left out.

    Of models with equal scores, the faster one is better. A model without a score on the selection
    split is never chosen: choosing by dev and reporting the dev score would be biased upwards.

    lost: loss of each model to its teacher, by id.
    budgets: in milliseconds. None: those of `budgets_ms`.
    """
    known = models[models["selection"].notna()]
    budgets = budgets_ms(float(known["latency_ms"].max())) if budgets is None else budgets
    best = []
    for budget in budgets:
        under = known[known["latency_ms"] <= budget].sort_values(
            ["selection", "latency_ms"], ascending=[False, True]
        )
        if len(under):
            best.append(_answer(budget, under.iloc[0], len(under), lost))
    return best


def _answer(
    budget: float, model: pd.Series, among: int, lost: dict[str, Difference]
) -> BudgetAnswer:
    teacher = float(model["teacher_mean"])
    # Without logged predictions, the loss is known but its interval is not.
    plain = None if math.isnan(teacher) else Difference(teacher - model["mean"], math.nan, math.nan)
    return BudgetAnswer(
        budget,
        model["id"],
        model["label"],
        float(model["latency_ms"]),
        float(model["selection"]),
        among,
        float(model["mean"]),
        model["teacher"],
        float(model["teacher_latency_ms"]),
        lost.get(model["id"], plain),
    )


def sentence(answer: BudgetAnswer) -> str:
    """Returns a sentence that names the model."""
    what = f"{answer.label}, {answer.mean:.1f} points on dev in {answer.latency_ms:.3g} ms"
    return f"Best on selection under {answer.budget_ms:g} ms: {what}"


def loss_sentence(answer: BudgetAnswer) -> str:
    """Returns a sentence on the model's loss to its teacher.

    It says whether the interval excludes 0, and if so by how much the model is behind or ahead.
    """
    if answer.lost is None:
        return "No score of a teacher is known"
    points, low, high, seeds = answer.lost
    ahead = f"{abs(points):.1f} points {'below' if points >= 0 else 'above'} its teacher"
    teacher_latency = (
        ""
        if math.isnan(answer.teacher_latency_ms)
        else f", which takes {answer.teacher_latency_ms:.3g} ms"
    )
    if math.isnan(low):
        return f"{ahead}{teacher_latency}"
    over = f"over rows and {seeds} seeds" if answer.lost.is_of_methods else "over rows"
    alone = "" if answer.lost.is_of_methods else f"; {ONE_SEED_NOTE}"
    if not answer.lost.is_one:
        # Signs are reversed: the sentence gives the model's score less its teacher's.
        interval = f"{-points:+z.1f} points, 95 % interval {-high:+z.1f} to {-low:+z.1f} {over}"
        return f"No difference to its teacher that holds ({interval}){teacher_latency}{alone}"
    edges = sorted((abs(low), abs(high)))
    return (
        f"{ahead} (95 % interval {edges[0]:.1f} to {edges[1]:.1f} {over}){teacher_latency}{alone}"
    )


def under(answers: list[BudgetAnswer]) -> BudgetAnswer | None:
    """Returns the answer for half of the largest budget, or for the next larger one.

    The title of the main picture uses it: 5 ms of 1, 2, 5 and 10. Returns None without answers.
    """
    return next((one for one in answers if 2 * one.budget_ms >= answers[-1].budget_ms), None)
