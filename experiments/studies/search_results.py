"""The results of a search, computed from the trials of its study: the front, tables and JSON."""

import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from analysis.presentation.table import markdown
from experiments.settings import SearchSettings
from experiments.studies.attributes import COPIED_FROM
from experiments.studies.trial_results import TrialResult, ended_trials
from mkd import names
from mkd.evaluation.pareto import Reference, front, hypervolumes
from mkd.evaluation.scoring import majority_selection_scores
from mkd.evaluation.speed import busy_note, ratio_text
from mkd.evaluation.timing import MOST_BUSY, SPEED_PROTOCOL
from mkd.export.backends import TORCH
from mkd.pipeline import DataAndTeacher

LOWEST_QUALITY = "always the most frequent class"
"""Description of the baseline whose quality is the reference of a hypervolume."""

UNITS_NOTE = (
    "selection, dev: the mean over tasks, of which each scores the mean of its metrics; "
    "ms: median for one text on one thread, tokenizing included; "
    "times faster: than the teacher in torch, likewise"
)
"""Explains the units below the table."""


class TrialPoint(NamedTuple):
    """A finished trial.

    quality: on the selection split.
    dev: on dev; both in points.
    latency_ms: in the search's backend.
    """

    number: int
    name: str
    run: str
    quality: float
    dev: float
    latency_ms: float
    num_bytes: float
    on_front: bool


class SearchResults(NamedTuple):
    """The results of a search.

    states: number of trials by the way in which they ended.
    hypervolume: after each finished trial, in the order in which they finished.
    reference: the corner that the hypervolume is measured from. Its quality is the score on the
        selection split of a model that always predicts the most frequent class. Its latency is the
        teacher's or, if the teacher was not timed, that of the slowest trial.
    other_seconds: mean time of a trial outside measuring, training and scoring; NaN without own
        trials.
    teacher: latency in ms and mean score on dev, or None if either is unknown.
    """

    points: list[TrialPoint]
    states: dict[str, int]
    hypervolume: list[float]
    reference: Reference
    other_seconds: float
    teacher: tuple[float, float] | None


def search_results(
    optuna_study: optuna.Study, ready: DataAndTeacher, teacher_speed: dict[str, float], setting: str
) -> SearchResults:
    """Computes the results from the study's trials, including those copied from another study.

    setting: the setting in which latencies are compared.
    """
    ended = ended_trials(optuna_study)
    # The hypervolume follows the order in which trials finished, which is not that of their
    # numbers.
    complete = sorted(
        ((trial, result) for trial, result in ended if trial.state == TrialState.COMPLETE),
        key=lambda pair: pair[0].datetime_complete or 0,
    )
    quality, latency = (
        np.array([result.costs[name] for _, result in complete]) for name in ("quality", "latency")
    )
    on_front = front(quality, latency)
    points = [
        _point(trial, result, bool(is_on_front))
        for (trial, result), is_on_front in zip(complete, on_front, strict=True)
    ]
    teacher_ms = teacher_speed.get(names.TEACHER + names.speed(TORCH, setting, names.P50))
    teacher_score = None if ready.teacher is None else ready.teacher.metrics.get(names.QUALITY_MEAN)
    lowest = majority_selection_scores(ready.data.student_data.datas)["mean"]
    reference = Reference(lowest, max(latency, default=1.0) if teacher_ms is None else teacher_ms)
    teacher = None if teacher_ms is None or teacher_score is None else (teacher_ms, teacher_score)
    not_copied = [(trial, result) for trial, result in ended if COPIED_FROM not in trial.user_attrs]
    states = Counter(result.state for _, result in not_copied)
    seconds = [
        _other_seconds(trial, result)
        for trial, result in complete
        if COPIED_FROM not in trial.user_attrs
    ]
    other = float(np.mean(seconds)) if seconds else math.nan
    return SearchResults(
        points, dict(states), hypervolumes(quality, latency, reference), reference, other, teacher
    )


def _point(trial: FrozenTrial, result: TrialResult, on_front: bool) -> TrialPoint:
    """Returns a completed trial as a point."""
    assert result.dev is not None, "a complete trial has been scored"
    costs = result.costs
    return TrialPoint(
        trial.number,
        result.name,
        result.run,
        costs["quality"],
        result.dev,
        costs["latency"],
        costs["bytes"],
        on_front,
    )


def _other_seconds(trial: FrozenTrial, result: TrialResult) -> float:
    """Returns the time of a trial outside measuring, training and scoring."""
    assert trial.duration is not None, "it has ended"
    return trial.duration.total_seconds() - sum(result.seconds.values())


def lines(results: SearchResults, busy: bool = False) -> list[str]:
    """Returns the front as a Markdown table, fastest first, and a line on how the trials ended.

    busy: whether times were measured on a busy machine, so that their ratios are not precise.
    """
    rows = [["on the front", "selection", "dev", "ms", "times faster", "MB"]]
    for point in sorted((p for p in results.points if p.on_front), key=lambda p: p.latency_ms):
        ratio = results.teacher[0] / point.latency_ms if results.teacher else 0.0
        faster = ratio_text(ratio, busy) if results.teacher else ""
        # the last word is the latency, which has its own column
        name = " ".join(point.name.split(" ")[:-1])
        sizes = [f"{point.latency_ms:.3g}", faster, f"{point.num_bytes / 1e6:.2f}"]
        rows.append([name, f"{point.quality:.1f}", f"{point.dev:.1f}", *sizes])
    if results.teacher:
        rows.append(
            [
                "teacher (torch)",
                "",
                f"{results.teacher[1]:.1f}",
                f"{results.teacher[0]:.3g}",
                "1.0",
                "",
            ]
        )
    states = ", ".join(f"{number} {state}" for state, number in sorted(results.states.items()))
    volume = f"{results.hypervolume[-1]:.1f}" if results.hypervolume else "0"
    reference = results.reference
    corner = (
        f"above {reference.quality:.1f} points ({LOWEST_QUALITY}) and below {reference.cost:.3g} ms"
    )
    summary = f"trials: {states or 'none'}; hypervolume {volume} points x decades, {corner}"
    return [*markdown(rows), "", UNITS_NOTE, summary]


def conclusion(results: SearchResults) -> str:
    """Returns a sentence on the best students of the front."""
    on_front = sorted((p for p in results.points if p.on_front), key=lambda p: p.quality)
    if not on_front:
        return "No trial was trained to its end."
    best = on_front[-1]
    kept = ""
    if results.teacher:
        latency, score = results.teacher
        kept = f" (the teacher: {score:.1f} points and {latency:.3g} ms)"
    trained = f"{len(results.points)} trained student{'s' * (len(results.points) > 1)}"
    fastest = f", and the fastest {on_front[0].dev:.1f} in {on_front[0].latency_ms:.3g} ms"
    return (
        f"{len(on_front)} of {trained} {'is' if len(on_front) == 1 else 'are'} on the front; the "
        f"best on the selection split scores {best.dev:.1f} points on dev in {best.latency_ms:.3g} "
        f"ms a text{kept}{fastest * (len(on_front) > 1)}; one seed each."
    )


def busy_warnings(optuna_study: optuna.Study, teacher_speed: dict[str, float]) -> list[str]:
    """Returns warnings about times that were measured while other work used the processor core."""
    busy = [
        result
        for _, result in ended_trials(optuna_study)
        if result.costs.get("busy_share", 0.0) > MOST_BUSY
    ]
    trials = (
        [
            f"{len(busy)} trial{' was' if len(busy) == 1 else 's were'} timed on a busy machine: "
            "the times are too long"
        ]
        if busy
        else []
    )
    return busy_note(teacher_speed) + trials


def results_json(
    config: SearchSettings,
    optuna_study: optuna.Study,
    results: SearchResults,
    shares: dict[str, dict[str, float]],
    setting: str,
) -> dict[str, Any]:
    """Returns the whole study as JSON values, which the report's charts read."""
    rows = []
    for trial, result in ended_trials(optuna_study):
        rows.append(
            {
                "number": trial.number,
                "name": result.name,
                "state": result.state,
                "run_id": result.run,
                "quality": result.costs.get("quality"),
                "dev": result.dev,
                "latency_ms": result.costs.get("latency"),
                "seconds": trial.duration.total_seconds() if trial.duration else None,
                "settings": result.settings,
                "weights": result.settings.get("train.sampling.weights"),
                "error": result.error,
            }
        )
    return {
        "study": config.search.study,
        "backend": config.search.backend,
        "setting": setting,
        "protocol": SPEED_PROTOCOL,
        "objectives": list(config.search.objectives),
        "reference": {
            "quality": results.reference.quality,
            "latency_ms": results.reference.cost,
            "words": LOWEST_QUALITY,
        },
        "importances": shares,
        "space": config.search.space,
        "states": results.states,
        "trials": rows,
        "hypervolume": results.hypervolume,
        "front": [point._asdict() for point in results.points if point.on_front],
    }
