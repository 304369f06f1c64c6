"""All pictures of a report, with title, caption and numbers, or the reason why one is missing."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from analysis.charts import (
    curves,
    deferral,
    frontier,
    importance,
    joint,
    marginals,
    published,
    retention,
    tasks,
    volume,
    weights,
)
from analysis.findings.budgets import loss_sentence, sentence, under
from analysis.findings.summary import Summary
from analysis.runs.runs import deferrals, metric_curves


class Chart(NamedTuple):
    """One picture.

    info: its numbers.
    figure: draws it. If it is None, the picture is missing, and the caption says why.
    """

    name: str
    title: str
    caption: str
    info: Any
    figure: Callable[[], Figure] | None


class ChartPlan(NamedTuple):
    """A picture that every report has.

    missing: the reason that is shown if `info` returns None.
    """

    name: str
    title: str
    caption: str
    missing: str
    info: Callable[[Summary], Any]
    draw: Callable[[Any], Figure]


def charts(summary: Summary) -> Iterator[Chart]:
    """Yields the pictures in the order of the report."""
    yield from (_frontier(summary, name) for name in frontier.COSTS)
    yield from (_chart(summary, plan) for plan in PLANS)
    shown = published.info(summary.front, summary.kept.tasks, summary.small)
    why = published.missing(summary.front)
    caption = "As ratios to BERT-base; crosses were not measured here."
    yield Chart(
        "published",
        "Beside published figures",
        why or caption,
        shown,
        partial(published.draw, shown) if shown else None,
    )


def _frontier(summary: Summary, name: str) -> Chart:
    answer = under(summary.answers) if name == "latency" else None
    title = (
        f"{sentence(answer)}\n{loss_sentence(answer)}" if answer else f"Mean score against {name}"
    )
    small = f"{summary.small}."
    if summary.drawn["num_bytes"].notna().any():  # else all marks have one size
        small += " A mark's area: bytes."
    plot = frontier.info(summary.drawn, name, title=title, small=small)
    if plot is None:
        return Chart(name, f"Quality against {name}", f"No run has a {name}.", None, None)
    cut = f" {plot.below} models score below the picture." if plot.below else ""
    caption = (
        "The front is chosen by the selection split, which dev has no part in, and drawn at its "
        "score on dev; others are pale. "
        f"Bars: 95 % t intervals over seeds, cut at the edge.{cut}"
    )
    return Chart(name, f"Quality against {name}", caption, plot, partial(frontier.draw, plot))


def _chart(summary: Summary, plan: ChartPlan) -> Chart:
    picture_data = plan.info(summary)
    if picture_data is None:
        return Chart(plan.name, plan.title, plan.missing, None, None)
    return Chart(
        plan.name, plan.title, plan.caption, picture_data, partial(plan.draw, picture_data)
    )


def _tasks(summary: Summary) -> tasks.Info | None:
    return tasks.info(summary.drawn, summary.kept.tasks, summary.small)


def _retention(summary: Summary) -> retention.Info | None:
    known = summary.front[summary.front["retention"].notna()]
    return retention.info(known, summary.kept.tasks, summary.small) if len(known) else None


def _deferral(summary: Summary) -> deferral.Info | None:
    return deferral.info(summary.front, partial(deferrals, summary.runs), summary.small)


def _curves(summary: Summary) -> curves.Info | None:
    return curves.info(summary.front, partial(metric_curves, summary.runs), summary.small)


def _volume(summary: Summary) -> volume.Info | None:
    return volume.info(summary.study, summary.small)


def _importance(summary: Summary) -> importance.Info | None:
    trials = summary.study.get("states", {}).get("complete")
    return importance.info(summary.study.get("importances", {}), summary.small, trials)


def _marginals(summary: Summary) -> marginals.Info | None:
    return marginals.info(
        summary.drawn, summary.study.get("importances", {}).get("quality"), summary.small
    )


def _weights(summary: Summary) -> weights.Info | None:
    return weights.info(summary.drawn, summary.kept.tasks, summary.small)


def _joint(summary: Summary) -> joint.Info | None:
    """Computes the numbers from all runs.

    Unlike the other pictures, this one compares different sets of tasks.
    """
    return joint.info(
        summary.runs.frame, f"all runs of {summary.runs.experiment}, over seeds and machines"
    )


PLANS = (
    ChartPlan(
        "tasks",
        "Each task",
        "Fronts are chosen by selection.",
        "There are no scores by task.",
        _tasks,
        tasks.draw,
    ),
    ChartPlan(
        "retention",
        "Kept of the teacher",
        "The front, the fastest first.",
        "No teacher is known.",
        _retention,
        retention.draw,
    ),
    ChartPlan(
        "deferral",
        "Deferral to the teacher",
        "A line a model of the front, the mean over tasks with classes. The confidence from which "
        "on it answers is chosen on the selection split, and what is lost is measured on dev.",
        "No run has a curve of deferral.",
        _deferral,
        deferral.draw,
    ),
    ChartPlan(
        "curves",
        "Learning curves",
        "A line a run of the front.",
        "There are no scores over the steps.",
        _curves,
        curves.draw,
    ),
    ChartPlan(
        "hypervolume",
        "Hypervolume over trials",
        "The area below the best quality under each latency, from a corner.",
        "It needs a study that has ended.",
        _volume,
        volume.draw,
    ),
    ChartPlan(
        "importance",
        "Importance of settings",
        "As Optuna estimates it from the trials.",
        "It needs a study that has ended.",
        _importance,
        importance.draw,
    ),
    ChartPlan(
        "marginals",
        "One setting at a time",
        "Other settings differ too: a line is a trend, not an effect.",
        "No setting has four values or more.",
        _marginals,
        marginals.draw,
    ),
    ChartPlan(
        "weights",
        "Task weights",
        "A line a model.",
        "There are not three weightings of the tasks.",
        _weights,
        weights.draw,
    ),
    ChartPlan(
        "joint",
        "Joint or alone",
        "Mean difference of runs that are alike but for their tasks and seed.",
        "No student was distilled both jointly and on one task alone.",
        _joint,
        joint.draw,
    ),
)
"""Pictures between those of the front and the published figures, in the order of the report."""


def json_value(value: Any) -> Any:
    """Converts a value to JSON: named tuples to dicts, and numbers that are not finite to null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): json_value(one) for key, one in value.items()}
    if hasattr(value, "_asdict"):
        return json_value(value._asdict())
    return [json_value(one) for one in value] if isinstance(value, list | tuple) else value
