"""What the search's pruning would have saved in a study that was made without: its rule on the
recorded scores of each trial.

    python tests/bench/pruning.py --storage sqlite:///optuna.db --study STUDY --least 52.3

The study was made with --search.pruning.warmup 1. Each trial is held against those before it, as
one worker would have made them. A trial that is stopped has no part in the front. The last line
printed is JSON: by margin (points), the share of all steps that is saved, how many trials are
stopped, how many of them are on the study's front, and the hypervolume that is left, in percent of
that without pruning. `--least` is what it is measured from: the points of always the most frequent
class, as the study's study.json tells them (reference, quality).
"""

import argparse
import json

import numpy as np
import optuna

from analysis.presentation.table import markdown
from experiments.settings import PruningConfig
from experiments.studies.attributes import PROGRESS
from experiments.studies.pruning import Progress, is_behind
from experiments.studies.trial_results import result_of
from mkd.evaluation.pareto import Reference, front, hypervolume

MARGINS = (0.0, 2.5, 5.0, 10.0)


def main() -> None:
    """The table and the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--storage", required=True)
    parser.add_argument("--study", required=True)
    parser.add_argument("--least", type=float, required=True)
    parser.add_argument("--warmup", type=float, default=PruningConfig().warmup)
    given = parser.parse_args()
    study = optuna.load_study(study_name=given.study, storage=given.storage)
    trials = [
        (
            Progress(told["latency_ms"], {int(s): v for s, v in told["scores"].items()}),
            done.costs["quality"],
        )
        for trial in study.trials
        if (told := trial.user_attrs.get(PROGRESS))
        and (done := result_of(trial)) is not None
        and done.state == "complete"
    ]
    found = [
        replayed(trials, PruningConfig(margin, given.warmup), given.least) for margin in MARGINS
    ]
    rows = [
        ["margin", "steps saved %", "stopped", "of the front",
         f"hypervolume above {given.least:g} left %"],
    ]  # fmt: skip
    rows += [
        [f"{margin:g}", *(f"{value:.4g}" for value in row.values())]
        for margin, row in zip(MARGINS, found, strict=True)
    ]
    print("\n".join(markdown(rows)))
    print(
        json.dumps(
            {
                "study": given.study,
                "trials": len(trials),
                "margins": dict(zip(map(str, MARGINS), found, strict=True)),
            }
        )
    )


def replayed(
    trials: list[tuple[Progress, float]], pruning: PruningConfig, least: float
) -> dict[str, float]:
    """What the rule does to trials that were all made to their end, with the quality that each came
    to."""
    taken: list[int] = []
    seen: list[Progress] = []
    for own, _ in trials:
        steps = max(own.scores)
        ended = next(
            (
                at
                for at in sorted(own.scores)
                if is_behind(_until(own, at), seen, at, steps, pruning)
            ),
            steps,
        )
        taken.append(ended)
        seen.append(_until(own, ended))
    every = [max(own.scores) for own, _ in trials]
    kept = np.array(taken) == np.array(every)
    quality, latency = (
        np.array([quality for _, quality in trials]),
        np.array([own.latency_ms for own, _ in trials]),
    )
    reference = Reference(least, float(latency.max()))
    left = hypervolume(quality[kept], latency[kept], reference) / hypervolume(
        quality, latency, reference
    )
    lost = int((front(quality, latency) & ~kept).sum())
    saved = 100 * (1 - sum(taken) / sum(every))
    return {
        "saved": saved,
        "stopped": float((~kept).sum()),
        "of_front": float(lost),
        "hypervolume": 100 * left,
    }


def _until(own: Progress, step: int) -> Progress:
    return own._replace(scores={at: score for at, score in own.scores.items() if at <= step})


if __name__ == "__main__":
    main()
