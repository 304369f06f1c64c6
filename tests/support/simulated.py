"""Simulated models with known true scores on random dev rows, to check statistical claims against
the truth.

A row is answered correctly if skill + row effect + row-by-model effect + row-by-run effect > 0. The
three effects are normal, and their variances add up to 1, so two runs of one model make mostly the
same mistakes. Axes: T repetitions, M models, S seeds, R rows, B resamples, preceded by the original
rows [1 + B].
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from analysis.statistics.differences import RESAMPLES, Difference, Measured, difference

ROWS = 1000
AT_ONCE = 50
"""Repetitions drawn at a time."""
OF_ALL, OF_A_MODEL = 0.5, 0.3
"""Variance shares of the row effect and of the row-by-model effect; the rest is the run's."""


class Drawn(NamedTuple):
    """truth_TMS: each trained model's accuracy on infinitely many rows, in points. scores_TMSB: on
    the dev rows and their resamples."""

    truth_TMS: np.ndarray
    scores_TMSB: np.ndarray

    def measured(self, repetition: int, model: int, first_seed: int = 0) -> Measured:
        """A model in the report's form; its seeds are numbered from `first_seed`."""
        scores_SB = self.scores_TMSB[repetition, model]
        return Measured(
            scores_SB.mean(0),
            {first_seed + seed: float(score[0]) for seed, score in enumerate(scores_SB)},
        )


def runs(
    rng: np.random.Generator, repetitions: int, accuracies: list[float], seeds: int, sd: float,
    alike: bool, rows: int = ROWS, resampled: int = RESAMPLES,
) -> Drawn:  # fmt: skip
    """Simulates runs. accuracies: each method's, in points. sd: between seeds, in points. alike:
    all are runs of one model."""
    truth_TMS = np.array(accuracies)[:, None] + sd * rng.normal(
        size=(repetitions, len(accuracies), seeds)
    )
    counts_RB = resamples(rng, rows, resampled)
    chunks = [truth_TMS[start : start + AT_ONCE] for start in range(0, repetitions, AT_ONCE)]
    return Drawn(
        truth_TMS,
        np.concatenate([scored(answered(rng, part, alike, rows), counts_RB) for part in chunks]),
    )


def resamples(rng: np.random.Generator, rows: int, resampled: int = RESAMPLES) -> np.ndarray:
    """How often each resample has each row; the original rows come first [R, 1 + B]."""
    drawn = rng.multinomial(rows, np.full(rows, 1 / rows), size=resampled)
    return np.concatenate([np.ones((1, rows)), drawn]).T.astype(np.float32)


def answered(rng: np.random.Generator, truth_TMS: np.ndarray, alike: bool, rows: int) -> np.ndarray:
    """Whether each row is answered correctly [T, M, S, R]."""
    repetitions, models, seeds = truth_TMS.shape

    def normal(share: float, *shape: int) -> np.ndarray:
        return math.sqrt(share) * rng.standard_normal((repetitions, *shape, rows), dtype=np.float32)

    of_rows = normal(OF_ALL, 1, 1) + normal(OF_A_MODEL, 1 if alike else models, 1)
    right: np.ndarray = (
        of_rows + normal(1 - OF_ALL - OF_A_MODEL, models, seeds)
        > -ndtri(truth_TMS / 100)[..., None]
    )
    return right


def scored(right_TMSR: np.ndarray, counts_RB: np.ndarray) -> np.ndarray:
    """Accuracy on the rows and on each resample, in points [T, M, S, 1 + B]."""
    scores_TMSB: np.ndarray = (right_TMSR.astype(np.float32) @ counts_RB).astype(np.float64) * (
        100 / len(counts_RB)
    )
    return scores_TMSB


def compared(drawn: Drawn, paired: bool) -> list[Difference]:
    """The first model minus the second, per repetition. paired: both have the same seeds."""
    first = 0 if paired else 100
    return [
        difference(drawn.measured(t, 0), drawn.measured(t, 1, first))
        for t in range(len(drawn.scores_TMSB))
    ]


class Claims(NamedTuple):
    """Percentages of the repetitions. methods: a difference between methods is claimed. trained: a
    difference between trained models is claimed.

    held: the interval contains the true difference: of the methods, or with one seed each, of the
    two trained models.
    """

    methods: float
    trained: float
    held: float


def claims(drawn: Drawn, paired: bool) -> Claims:
    """The claims about two models whose methods are equally good."""
    gaps = compared(drawn, paired)
    one_seed = drawn.truth_TMS.shape[2] == 1
    truth = (
        drawn.truth_TMS.mean(2)[:, 0] - drawn.truth_TMS.mean(2)[:, 1]
        if one_seed
        else np.zeros(len(gaps))
    )
    methods = [each.is_one and each.is_of_methods for each in gaps]
    held = [each.low <= true <= each.high for each, true in zip(gaps, truth, strict=True)]
    return Claims(
        *(100 * float(np.mean(share)) for share in (methods, [each.is_one for each in gaps], held))
    )


class Best(NamedTuple):
    """The model chosen as the best of many. reported: mean reported loss on dev. truly:
    mean true loss of the chosen trained models.

    held: how often the interval contains the true loss, in percent. anew: how often it contains
    the method's loss over new seeds.
    """

    reported: float
    truly: float
    held: float
    anew: float


def best_of_many(
    rng: np.random.Generator,
    repetitions: int,
    models: int,
    seeds: int,
    sd: float,
    by_dev: bool,
    lost: float = 2.0,
) -> Best:
    """Simulates models that all lose `lost` points to a teacher of 85 points; the best is chosen on
    a selection split, or on dev itself."""
    counts_RB = resamples(rng, ROWS)
    outcomes = []
    for _ in range(repetitions):
        truth_TMS = np.full((1, 1 + models, seeds), 85.0)
        truth_TMS[:, 1:] += sd * rng.normal(size=(models, seeds)) - lost
        right_TMSR = answered(rng, truth_TMS, False, ROWS)
        right_TMSR[0, 0] = right_TMSR[0, 0, :1]  # one teacher for all seeds
        other_TMSR = right_TMSR if by_dev else answered(rng, truth_TMS, False, ROWS)
        chosen = 1 + int(other_TMSR[0, 1:].mean((1, 2)).argmax())
        drawn = Drawn(truth_TMS[:, [0, chosen]], scored(right_TMSR[:, [0, chosen]], counts_RB))
        gap = difference(drawn.measured(0, 0), drawn.measured(0, 1))
        truly = 85.0 - float(truth_TMS[0, chosen].mean())
        outcomes.append(
            (
                gap.points,
                truly,
                100 * (gap.low <= truly <= gap.high),
                100 * (gap.low <= lost <= gap.high),
            )
        )
    return Best(*np.mean(outcomes, axis=0).tolist())
