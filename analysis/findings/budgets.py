"""Which model is best under each budget, and what it loses to its teacher, in numbers and in words."""

import math
from typing import NamedTuple

import pandas as pd

from analysis.statistics.differences import Difference

BUDGETS_MS = (1.0, 2.0, 5.0, 10.0)
MAIN_MS = 5.0
"""The budget that the main picture's title is about."""

ONE_SEED = "one seed: of these two models, not of the method"
"""What is said beside an interval of one seed."""


class Answer(NamedTuple):
    """The model with the best score on the selection split that takes no more than a budget; mean is its score on dev.

    among: how many it was chosen from. lost: its teacher's mean less its own; its interval is NaN where it is not known, and it
    is None where the teacher is not.
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


def best_under(models: pd.DataFrame, lost: dict[str, Difference], budgets: tuple[float, ...] = BUDGETS_MS) -> list[Answer]:
    """An answer for each budget that some model keeps to. Of models that are equally good the faster one is best.

    One without a score on the selection split is not chosen: to choose by dev, and to tell dev's score, would flatter.
    """
    known = models[models["selection"].notna()]
    found = []
    for budget in budgets:
        under = known[known["latency_ms"] <= budget].sort_values(["selection", "latency_ms"], ascending=[False, True])
        if len(under):
            found.append(_answer(budget, under.iloc[0], len(under), lost))
    return found


def _answer(budget: float, model: pd.Series, among: int, lost: dict[str, Difference]) -> Answer:
    teacher = float(model["teacher_mean"])
    plain = None if math.isnan(teacher) else Difference(teacher - model["mean"], math.nan, math.nan)
    return Answer(
        budget, model["id"], model["label"], float(model["latency_ms"]), float(model["selection"]), among, float(model["mean"]),
        model["teacher"], float(model["teacher_latency_ms"]), lost.get(model["id"], plain),
    )  # fmt: skip


def sentence(answer: Answer) -> str:
    """Which model it is."""
    what = f"{answer.label}, {answer.mean:.1f} points on dev in {answer.latency_ms:.3g} ms"
    return f"Best on selection under {answer.budget_ms:g} ms: {what}"


def loss_sentence(answer: Answer) -> str:
    """What it loses, and whether that is a difference at all; empty where no teacher is known."""
    if answer.lost is None:
        return "No score of a teacher is known"
    points, low, high, seeds = answer.lost
    ahead = f"{abs(points):.1f} points {'below' if points >= 0 else 'above'} its teacher"
    beside = "" if math.isnan(answer.teacher_latency_ms) else f", which takes {answer.teacher_latency_ms:.3g} ms"
    if math.isnan(low):
        return f"{ahead}{beside}"
    over = f"over rows and {seeds} seeds" if answer.lost.is_of_methods else "over rows"
    alone = "" if answer.lost.is_of_methods else f"; {ONE_SEED}"
    if not answer.lost.is_one:
        interval = f"{-points:+.1f} points, 95 % interval {-high:+.1f} to {-low:+.1f} {over}"
        return f"No difference to its teacher that holds ({interval}){beside}{alone}"
    edges = sorted((abs(low), abs(high)))
    return f"{ahead} (95 % interval {edges[0]:.1f} to {edges[1]:.1f} {over}){beside}{alone}"


def under(answers: list[Answer], budget_ms: float = MAIN_MS) -> Answer | None:
    """The answer for a budget, else that for the next larger one, else the last."""
    return next((one for one in answers if one.budget_ms >= budget_ms), answers[-1] if answers else None)
