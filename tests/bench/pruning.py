"""Computes what pruning would have saved in a study that was made without it.

    python tests/bench/pruning.py --storage sqlite:///optuna.db --study STUDY --least 52.3

The pruning rule is applied to the recorded scores of each trial. The study must have been made with
--search.pruning.warmup 1. Each trial is compared with those before it, as if one worker had made
them. A trial that is stopped is not part of the front. The last line is JSON. By margin (points) it
has the share of all steps that is saved, how many trials are stopped, how many of them are on the
study's front, and the remaining hypervolume in percent of that without pruning. `--least` is the
quality of the hypervolume's reference point: the score of always answering the most frequent class,
which study.json has (reference, quality).
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
    """Prints the table and the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--storage", required=True)
    parser.add_argument("--study", required=True)
    parser.add_argument("--least", type=float, required=True)
    parser.add_argument("--warmup", type=float, default=PruningConfig().warmup)
    args = parser.parse_args()
    study = optuna.load_study(study_name=args.study, storage=args.storage)
    trials = [
        (
            Progress(record["latency_ms"], {int(s): v for s, v in record["scores"].items()}),
            result.costs["quality"],
        )
        for trial in study.trials
        if (record := trial.user_attrs.get(PROGRESS))
        and (result := result_of(trial)) is not None
        and result.state == "complete"
    ]
    replays = [
        replayed(trials, PruningConfig(margin, args.warmup), args.least) for margin in MARGINS
    ]
    rows = [
        ["margin", "steps saved %", "stopped", "of the front",
         f"hypervolume above {args.least:g} left %"],
    ]  # fmt: skip
    rows += [
        [f"{margin:g}", *(f"{value:.4g}" for value in row.values())]
        for margin, row in zip(MARGINS, replays, strict=True)
    ]
    print("\n".join(markdown(rows)))
    print(
        json.dumps(
            {
                "study": args.study,
                "trials": len(trials),
                "margins": dict(zip(map(str, MARGINS), replays, strict=True)),
            }
        )
    )


def replayed(
    trials: list[tuple[Progress, float]], pruning: PruningConfig, least: float
) -> dict[str, float]:
    """Applies the rule to trials that all ran to their end.

    - `trials`: the progress and the final quality of each
    """
    steps_made: list[int] = []
    seen: list[Progress] = []
    for trial, _ in trials:
        steps = max(trial.scores)
        ended = next(
            (
                at
                for at in sorted(trial.scores)
                if is_behind(_until(trial, at), seen, at, steps, pruning)
            ),
            steps,
        )
        steps_made.append(ended)
        seen.append(_until(trial, ended))
    every = [max(trial.scores) for trial, _ in trials]
    kept = np.array(steps_made) == np.array(every)
    quality, latency = (
        np.array([quality for _, quality in trials]),
        np.array([trial.latency_ms for trial, _ in trials]),
    )
    reference = Reference(least, float(latency.max()))
    left = hypervolume(quality[kept], latency[kept], reference) / hypervolume(
        quality, latency, reference
    )
    lost = int((front(quality, latency) & ~kept).sum())
    saved = 100 * (1 - sum(steps_made) / sum(every))
    return {
        "saved": saved,
        "stopped": float((~kept).sum()),
        "of_front": float(lost),
        "hypervolume": 100 * left,
    }


def _until(progress: Progress, step: int) -> Progress:
    return progress._replace(
        scores={at: score for at, score in progress.scores.items() if at <= step}
    )


if __name__ == "__main__":
    main()
