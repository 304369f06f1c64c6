"""All pictures of a report: each with its title, its caption, its numbers, and the file's text; or why it is missing."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from analysis import curves, frontier, importance, joint, marginals, published, retention, tasks, volume, weights
from analysis.answers import loss_sentence, sentence, under
from analysis.runs import curves as curves_of
from analysis.summary import Summary


class Sheet(NamedTuple):
    """One picture. figure: draws it; None where it is missing, and the caption says why."""

    name: str
    title: str
    caption: str
    info: Any
    figure: Callable[[], Figure] | None


def album(summary: Summary) -> Iterator[Sheet]:
    """The pictures in the order of the report."""
    drawn, small, names = summary.drawn, summary.small, summary.kept.tasks
    study = summary.runs.study.info if summary.runs.study else {}
    importances = study.get("importances", {})
    for name, words in (("latency", "latency"), ("throughput", "throughput"), ("size", "size")):
        yield _frontier(summary, name, words)
    yield _sheet("tasks", "Each task", "Score against latency, with a front of its own.", tasks.info(drawn, names, small), tasks.draw, "No scores by task.")
    yield _sheet("retention", "Kept of the teacher", "The front's models, the fastest first.", _retention(summary), retention.draw, "No teacher's scores are known.")
    chosen = curves.shown(summary.front)
    points = curves_of(summary.runs, [run for runs in chosen["runs"] for run in runs])
    yield _sheet("curves", "Learning curves", "The front's models; every seed is a line.", curves.info(chosen, points, small), curves.draw, "No scores over the steps.")
    yield _sheet("hypervolume", "Hypervolume over trials", "The best quality under a latency, over all latencies.", volume.info(study, small), volume.draw, "Of a study only.")
    yield _sheet("importance", "Importance of settings", "As Optuna estimates it (fANOVA).", importance.info(importances, small), importance.draw, "Of a study only.")
    panels = marginals.info(drawn, importances.get("quality"), small)
    yield _sheet("marginals", "One setting at a time", "All else differs too, so a line is a trend, not an effect.", panels, marginals.draw, "No setting with four values or more.")
    yield _sheet("weights", "Task weights", "A line a model.", weights.info(drawn, names, small), weights.draw, "Fewer than three weightings of the tasks.")
    yield _sheet("joint", "Joint or alone", "Mean difference of runs that are alike but for their tasks and seed.", joint.info(summary.runs.frame), joint.draw, "No student was distilled both jointly and on one task alone.")  # fmt: skip
    why = published.missing(summary.front)
    yield _sheet("published", "Beside published figures", "As ratios to BERT-base.", published.info(summary.front, names, small), published.draw, why)


def _frontier(summary: Summary, name: str, words: str) -> Sheet:
    title = f"Mean score against {words}"
    small = f"{summary.small}. A mark's area: bytes."
    if name == "latency":
        answer = under(summary.answers)
        title = f"{sentence(answer)}\n{loss_sentence(answer)}" if answer else title
    found = frontier.info(summary.drawn, name, title=title, small=small)
    cut = f" {found.below} models score below the picture." if found.below else ""
    caption = f"Dominated models are pale. Bars: 95 % intervals over seeds.{cut}"
    return Sheet(name, f"Quality against {words}", caption, found, lambda: frontier.draw(found))


def _retention(summary: Summary) -> retention.Info | None:
    known = summary.front[summary.front["retention"].notna()]
    return retention.info(known, summary.kept.tasks, summary.small) if len(known) else None


def _sheet(name: str, title: str, caption: str, info: Any, draw: Callable[[Any], Figure], missing: str) -> Sheet:
    if info is None:
        return Sheet(name, title, missing, None, None)
    return Sheet(name, title, caption, info, lambda: draw(info))


def plain(value: Any) -> Any:
    """Tuples with names as dicts, and what is no finite number as null: as JSON takes it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value
