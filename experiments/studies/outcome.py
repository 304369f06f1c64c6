"""The results of a search: tables, a picture, and what is logged to the study's run."""

import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import optuna
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from analysis.presentation import front_plot
from analysis.presentation.figure import add_legend, fix_layout, new_figure
from analysis.presentation.front_plot import (
    FrontPlot,
    draw_front,
    front_legend,
    front_line,
    label_front,
)
from analysis.presentation.table import markdown
from experiments.settings import Search
from experiments.studies import study as studies
from experiments.studies import trials
from experiments.studies.study import Outcome
from mkd import names
from mkd.evaluation.pareto import Reference, front, hypervolumes
from mkd.evaluation.scoring import majority_selection_scores
from mkd.evaluation.speed import busy_note
from mkd.evaluation.timing import MOST_BUSY, SPEED_PROTOCOL
from mkd.export.backends import TORCH
from mkd.pipeline import DataAndTeacher

LEAST = "always the most frequent class"
"""What defines the lowest quality that counts in a hypervolume. A worse model is useless."""


MILLISECONDS = (
    "ms: median for one text on one thread, tokenising included; "
    "times faster: than the teacher in torch, likewise"
)
"""Explains the units below the table."""


class Point(NamedTuple):
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


class Found(NamedTuple):
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

    points: list[Point]
    states: dict[str, int]
    hypervolume: list[float]
    reference: Reference
    other_seconds: float
    teacher: tuple[float, float] | None


def found_by(
    optuna_study: optuna.Study, ready: DataAndTeacher, teacher_speed: dict[str, float], setting: str
) -> Found:
    """Computes the results from the study's trials, including those copied from another study."""
    ended = studies.ended(optuna_study)
    # The hypervolume follows the order in which trials finished, which is not that of their
    # numbers.
    done = sorted(
        ((t, told) for t, told in ended if t.state == TrialState.COMPLETE),
        key=lambda pair: pair[0].datetime_complete or 0,
    )
    quality, latency = (
        np.array([told.costs[name] for _, told in done]) for name in ("quality", "latency")
    )
    own = front(quality, latency)
    points = [_point(t, told, bool(on)) for (t, told), on in zip(done, own, strict=True)]
    teacher_ms = teacher_speed.get(names.TEACHER + names.speed(TORCH, setting, names.P50))
    teacher_score = None if ready.teacher is None else ready.teacher.metrics.get(names.QUALITY_MEAN)
    least = majority_selection_scores(ready.data.student_data.datas)["mean"]
    reference = Reference(least, max(latency, default=1.0) if teacher_ms is None else teacher_ms)
    teacher = None if teacher_ms is None or teacher_score is None else (teacher_ms, teacher_score)
    states = Counter(told.state for t, told in ended if studies.FROM not in t.user_attrs)
    own_seconds = [_other_seconds(t, told) for t, told in done if studies.FROM not in t.user_attrs]
    other = float(np.mean(own_seconds)) if own_seconds else math.nan
    return Found(
        points, dict(states), hypervolumes(quality, latency, reference), reference, other, teacher
    )


def _point(trial: FrozenTrial, told: Outcome, on_front: bool) -> Point:
    """Returns a completed trial as a point."""
    assert told.dev is not None, "a complete trial has been scored"
    costs = told.costs
    return Point(
        trial.number,
        told.name,
        told.run,
        costs["quality"],
        told.dev,
        costs["latency"],
        costs["bytes"],
        on_front,
    )


def _other_seconds(trial: FrozenTrial, told: Outcome) -> float:
    """Returns the time of a trial outside measuring, training and scoring."""
    assert trial.duration is not None, "it has ended"
    return trial.duration.total_seconds() - sum(told.seconds.values())


def lines(found: Found) -> list[str]:
    """Returns the front as a Markdown table, fastest first, and a line on how the trials ended."""
    rows = [["on the front", "selection", "dev", "ms", "times faster", "MB"]]
    for point in sorted((p for p in found.points if p.on_front), key=lambda p: p.latency_ms):
        faster = f"{found.teacher[0] / point.latency_ms:.1f}" if found.teacher else ""
        # the last word is the latency, which has its own column
        name = " ".join(point.name.split(" ")[:-1])
        sizes = [f"{point.latency_ms:.3g}", faster, f"{point.num_bytes / 1e6:.2f}"]
        rows.append([name, f"{point.quality:.1f}", f"{point.dev:.1f}", *sizes])
    if found.teacher:
        rows.append(
            ["teacher (torch)", "", f"{found.teacher[1]:.1f}", f"{found.teacher[0]:.3g}", "1.0", ""]
        )
    states = ", ".join(f"{number} {state}" for state, number in sorted(found.states.items()))
    volume = f"{found.hypervolume[-1]:.1f}" if found.hypervolume else "0"
    reference = found.reference
    corner = f"above {reference.quality:.1f} points ({LEAST}) and below {reference.cost:.3g} ms"
    told = f"trials: {states}; hypervolume {volume} points x decades, {corner}"
    return [*markdown(rows), "", MILLISECONDS, told]


def busy_notes(optuna_study: optuna.Study, teacher_speed: dict[str, float]) -> list[str]:
    """Returns warnings about times that were measured while other work used the processor core."""
    busy = [
        told
        for _, told in studies.ended(optuna_study)
        if told.costs.get("busy_share", 0.0) > MOST_BUSY
    ]
    trials = (
        [f"{len(busy)} trials were timed on a busy machine: their times are too long"]
        if busy
        else []
    )
    return busy_note(teacher_speed) + trials


def info(found: Found, axis: str) -> FrontPlot:
    """Computes the picture's numbers: all trials, with their numbers on the front.

    axis: backend and setting that latency was measured in.
    """
    # A trial's name is `t012 KIND-SIZE LOSS LATENCY`.
    points = [
        front_plot.ModelPoint(
            label=point.name.split(" ")[0],
            kind=point.name.split(" ")[1].split("-")[0],
            cost=point.latency_ms,
            quality=point.quality,
            area=46.0,
            front=point.on_front,
            named=point.on_front,
        )
        for point in sorted(found.points, key=lambda p: (not p.on_front, p.latency_ms))
    ]
    return FrontPlot(
        points,
        line=front_line([(point.cost, point.quality) for point in points if point.front]),
        teachers=[],
        twins=[],
        cost=f"latency, ms ({axis}; log scale)",
        quality="mean score on the selection split (points)",
        # The teacher's score is that on dev, so that only its latency is comparable.
        limits=(("teacher's latency", found.teacher[0]),) if found.teacher else (),
    )


def draw(info: FrontPlot) -> Figure:
    """Draws quality on the selection split against latency, with a legend below."""
    figure = new_figure(8, 5.4)
    axes = figure.subplots()
    draw_front(axes, info)
    add_legend(figure, front_legend(info))
    fix_layout(figure)
    label_front(axes, info)
    return figure


def conclude(
    config: Search,
    optuna_study: optuna.Study,
    ready: DataAndTeacher,
    teacher_speed: dict[str, float],
    setting: str,
    seconds: float,
) -> None:
    """Logs the results to the study's run, tags the runs on the front, and prints the results.

    seconds: the time that the trials took.
    """
    found = found_by(optuna_study, ready, teacher_speed, setting)
    shares = studies.importances(optuna_study, list(config.search.objectives))
    axis = f"{config.search.backend}, {setting}"
    told = told_of(config, optuna_study, found, shares, setting)
    summary = {names.trials(state): float(number) for state, number in found.states.items()}
    summary |= {
        names.importance(name, key): share
        for name, own in shares.items()
        for key, share in own.items()
    }
    summary[names.SEARCH_SECONDS] = seconds
    notes = [f"note: {note}" for note in busy_notes(optuna_study, teacher_speed)]
    summary |= (
        {names.SEARCH_OTHER_SECONDS: found.other_seconds}
        if math.isfinite(found.other_seconds)
        else {}
    )
    trials.mark_front({point.run: point.on_front for point in found.points})
    trials.conclude_search(
        summary, found.hypervolume, lines(found) + notes, draw(info(found, axis)), told
    )


def told_of(
    config: Search,
    optuna_study: optuna.Study,
    found: Found,
    shares: dict[str, dict[str, float]],
    setting: str,
) -> dict[str, Any]:
    """Returns the whole study as JSON values, which the report's charts read."""
    rows = []
    for trial, told in studies.ended(optuna_study):
        rows.append(
            {
                "number": trial.number,
                "name": told.name,
                "state": told.state,
                "run_id": told.run,
                "quality": told.costs.get("quality"),
                "dev": told.dev,
                "latency_ms": told.costs.get("latency"),
                "seconds": trial.duration.total_seconds() if trial.duration else None,
                "settings": told.settings,
                "weights": told.settings.get("train.sampling.weights"),
                "error": told.error,
            }
        )
    return {
        "study": config.search.study,
        "backend": config.search.backend,
        "setting": setting,
        "protocol": SPEED_PROTOCOL,
        "objectives": list(config.search.objectives),
        "reference": {
            "quality": found.reference.quality,
            "latency_ms": found.reference.cost,
            "words": LEAST,
        },
        "importances": shares,
        "space": config.search.space,
        "states": found.states,
        "trials": rows,
        "hypervolume": found.hypervolume,
        "front": [point._asdict() for point in found.points if point.on_front],
    }
