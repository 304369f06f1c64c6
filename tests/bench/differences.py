"""Measures how often the report's statements about differences are wrong, on simulated models.

    python tests/bench/differences.py --repetitions 2000

The true scores of the models are known; the metric is accuracy on 1,000 dev rows
(tests/support/simulated.py describes the simulation). The first table has how often two groups of
runs are reported to differ, if they are of one model or of two equally good models. The second
takes the best of 30 models that all lose 2.0 points to their teacher, chosen by dev and by the
selection split, and has the reported loss. The third has how far the end of an interval moves
between two draws of the resamples. The last line is JSON.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from analysis.presentation.table import markdown  # noqa: E402
from analysis.statistics.differences import Measured, difference  # noqa: E402
from mkd.evaluation.intervals import TAIL  # noqa: E402
from tests.support.simulated import Best, Claims, answered, best_of_many, claims, runs  # noqa: E402

SDS = (0.0, 1.0, 2.0)
SEEDS = (1, 2, 3, 5)
AT_ONCE = 100
"""Number of repetitions that share their resamples."""


def mean_claims(
    rng: np.random.Generator, repetitions: int, seeds: int, sd: float, alike: bool, paired: bool
) -> Claims:
    """Returns the mean of the claims over draws of the resamples."""
    draws = [
        claims(runs(rng, AT_ONCE, [85.0, 85.0], seeds, sd, alike), paired)
        for _ in range(repetitions // AT_ONCE)
    ]
    return Claims(*np.mean(draws, axis=0).tolist())


def by_satterthwaite(rng: np.random.Generator, repetitions: int, seeds: int, sd: float) -> float:
    """Returns how often, in percent, a t interval of the summed variances finds a difference. Both
    groups of runs are of one model, so each difference that is found is an error."""
    significant = []
    for _ in range(repetitions // AT_ONCE):
        drawn = runs(rng, AT_ONCE, [85.0, 85.0], seeds, sd, True)
        less_TSB = drawn.scores_TMSB[:, 0] - drawn.scores_TMSB[:, 1]
        of_seeds_T = less_TSB[..., 0].var(1, ddof=1) / seeds
        summed_T = of_seeds_T + less_TSB.mean(1)[:, 1:].var(1, ddof=1)
        freedom_T = (seeds - 1) * (summed_T / np.maximum(of_seeds_T, 1e-9)) ** 2
        significant.append(
            abs(less_TSB[..., 0].mean(1)) > stdtrit(freedom_T, TAIL) * np.sqrt(summed_T)
        )
    return 100 * float(np.mean(significant))


def moved(rng: np.random.Generator, resamples: int, rows: int = 1000, draws: int = 200) -> float:
    """Returns how far the end of an interval moves between two draws, as a share of its half width.
    It is the 95th percentile over pairs of draws."""
    right = answered(rng, np.array([[[85.0], [83.0]]]), False, rows)[0, :, 0]
    halves = []
    for _ in range(draws):
        drawn = rng.multinomial(rows, np.full(rows, 1 / rows), size=resamples)
        scores = [np.concatenate([[100 * one.mean()], 100 * drawn @ one / rows]) for one in right]
        gap = difference(*(Measured(score, {0: float(score[0])}) for score in scores))
        halves.append(gap.high - gap.points)
    apart = np.abs(np.subtract.outer(halves, halves))[np.triu_indices(draws, 1)]
    return float(np.quantile(apart, 0.95) / np.mean(halves))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=2000)
    repetitions = parser.parse_args().repetitions
    rng = np.random.default_rng(0)
    outcome: dict[str, object] = {}
    rows = [["told to differ, %", *(f"{n} seed{'s' * (n > 1)} a side" for n in SEEDS)]]
    for name, alike, paired in (
        ("one model, the same seeds", True, True),
        ("one model, other seeds", True, False),
        ("two models, equally good", False, True),
    ):
        for sd in SDS:
            claims_by_seeds = [
                mean_claims(rng, repetitions, seeds, sd, alike, paired) for seeds in SEEDS
            ]
            rows.append(
                [
                    f"{name}, sd {sd:g}",
                    *(f"{one.methods:.1f} (holds {one.held:.1f})" for one in claims_by_seeds),
                ]
            )
            outcome[rows[-1][0]] = [one._asdict() for one in claims_by_seeds]
    for sd in SDS:
        shares = [by_satterthwaite(rng, repetitions, seeds, sd) for seeds in SEEDS[1:]]
        rows.append(
            [f"by Satterthwaite's freedom, sd {sd:g}", "-", *(f"{share:.1f}" for share in shares)]
        )
        outcome[rows[-1][0]] = shares
    print("\n".join(markdown(rows)), end="\n\n")
    rows = [["best of 30 that lose 2.0", "told", "truly", "interval holds that, %", "holds 2.0, %"]]
    for by_dev in (True, False):
        for seeds, sd in ((1, 0.0), (1, 1.0), (3, 0.0), (3, 1.0)):
            best: Best = best_of_many(rng, repetitions // 2, 30, seeds, sd, by_dev)
            name = (
                f"by {'dev' if by_dev else 'selection'}, {seeds} seed{'s' * (seeds > 1)}, sd {sd:g}"
            )
            rows.append(
                [
                    name,
                    f"{best.reported:.2f}",
                    f"{best.truly:.2f}",
                    f"{best.held:.1f}",
                    f"{best.anew:.1f}",
                ]
            )
            outcome[name] = best._asdict()
    print("\n".join(markdown(rows)), end="\n\n")
    ends = {resamples: moved(rng, resamples) for resamples in (200, 400, 500, 800)}
    rows = [
        ["resamples", "an end moves by, % of the half width"],
        *([str(n), f"{100 * share:.1f}"] for n, share in ends.items()),
    ]
    print("\n".join(markdown(rows)))
    print(json.dumps(outcome | {"moved": ends}))


if __name__ == "__main__":
    main()
