"""The content of a report: models, front, differences, and runs that were left out."""

from typing import Any, NamedTuple

import pandas as pd

from analysis.findings.bootstrap import Bootstrap, bootstrap
from analysis.findings.budgets import BudgetAnswer, best_under
from analysis.runs.models import Comparable, averaged, comparable
from analysis.runs.rows import HEADLINE
from analysis.runs.runs import Runs
from mkd.evaluation.pareto import front
from mkd.evaluation.timing import MOST_BUSY, SPEED_PROTOCOL

SHOWN_LOSS = 0.05
"""A loss of the backends is reported from this many points of the mean score."""

MOST_NAMED = 5
"""Maximum number of models that a note names."""


class Summary(NamedTuple):
    """The content of a report.

    models: on all machines, best first.
    drawn: models on the machine that is shown.
    front: those of `drawn` on the front of latency and score on the selection split, fastest first.
    left_out: names of runs, by reason.
    notes: warnings for the reader, one sentence each.
    """

    runs: Runs
    kept: Comparable
    models: pd.DataFrame
    drawn: pd.DataFrame
    front: pd.DataFrame
    bootstrap: Bootstrap
    answers: list[BudgetAnswer]
    left_out: dict[str, list[str]]
    notes: list[str]

    @property
    def small(self) -> str:
        """The small print of all pictures: models, runs, backends, setting and machine."""
        number = len(self.drawn)
        runs = sum(len(ids) for ids in self.drawn["runs"])
        backends = ", ".join(sorted(set(self.drawn["backend"])))
        counts = f"{plural(number, 'model')}, {plural(runs, 'run')}"
        return f"{counts}, timed in {backends} ({self.setting}) on {self.kept.machine}"

    @property
    def study(self) -> dict[str, Any]:
        """The content of the study's study.json; empty without a study."""
        return self.runs.study.info if self.runs.study else {}

    @property
    def latency_in_words(self) -> str:
        """What the latency measures, in words."""
        return (
            "text in, answer out: median of one text on one thread"
            if self.setting == HEADLINE
            else "median of one row"
        )

    @property
    def setting(self) -> str:
        """The setting that all models were timed in."""
        return str(self.drawn["setting"].iloc[0])


def summarise(runs: Runs, machine: str = "") -> Summary:
    """Computes the content of a report from its runs.

    machine: the machine to show. Empty: the one with most runs.
    Raises ValueError for a machine without runs.
    """
    kept = comparable(runs.frame, machine)
    models = averaged(kept.frame)
    drawn = models[models["machine"] == kept.machine].reset_index(drop=True)
    best = drawn[front(drawn["selection"].to_numpy(), drawn["latency_ms"].to_numpy())].sort_values(
        "latency_ms", ignore_index=True
    )
    resampled = bootstrap(runs, models)
    left_out = {**runs.left_out, **kept.left_out}
    return Summary(
        runs,
        kept,
        models,
        drawn,
        best,
        resampled,
        best_under(drawn, resampled.lost),
        left_out,
        _notes(runs, kept, models, resampled),
    )


def _notes(runs: Runs, kept: Comparable, models: pd.DataFrame, resampled: Bootstrap) -> list[str]:
    """Returns the warnings for the reader."""
    notes = [
        f"{plural(number, 'run')} timed on another machine ({machine}): its latencies are in no "
        "picture."
        for machine, number in kept.others.items()
    ]
    if kept.frame["protocol"].iloc[0] != str(SPEED_PROTOCOL):
        notes.append(
            "Speed was measured by an earlier protocol: the times differ from those of new runs."
        )
    if busy := int((kept.frame["busy_share"] > MOST_BUSY).sum()):
        notes.append(
            f"{plural(busy, 'run')} timed while the machine was busy with other work: these "
            "latencies are too long."
        )
    if models["split"].iloc[0] != "dev":
        notes.append(
            "The scores are on the selection split, as the runs have none on dev: they are biased "
            "upwards, because the best steps were chosen by them."
        )
    most = float(models["backend_loss"].max())
    if most >= SHOWN_LOSS:
        notes.append(
            f"Scores are those in torch; in the backend that was timed they are up to {most:.1f} "
            "points lower."
        )
    if runs.study is not None and not runs.study.info:
        notes.append(
            "The study has no study.json: it has not ended, and its hypervolume and importances "
            "are not known."
        )
    for reason, ids in resampled.without.items():
        notes.append(f"{plural(len(ids), 'model')} without intervals of differences: {reason}.")
    notes += _chosen(models)
    if all(len(seeds) == 1 for seeds in models["seeds"]):
        notes.append(
            "Every model has one seed: an interval is of trained models on other dev rows, and "
            "says nothing of their methods."
        )
    return notes


def _chosen(models: pd.DataFrame) -> list[str]:
    """Returns notes on how the best models were chosen, and which models could not be chosen."""
    unknown = list(models.loc[models["selection"].isna(), "label"])
    among, chosen = len(models) - len(unknown), []
    if unknown:
        more = f" and {len(unknown) - MOST_NAMED} more" if len(unknown) > MOST_NAMED else ""
        chosen.append(
            f"{plural(len(unknown), 'model')} without a score on selection (made of all rows, "
            "or by an earlier version): drawn, and not chosen "
            f"({', '.join(unknown[:MOST_NAMED])}{more})."
        )
    if among > 1:
        chosen.append(
            f"The best under a budget is chosen by the selection split among {among:,} models with "
            "the seeds that they have: trained anew it may score less."
        )
    return chosen


def plural(number: int, word: str) -> str:
    """Returns a number with its noun: `1 run`, `4,500 runs`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
