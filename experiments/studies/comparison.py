"""An ablation's comparison of variants over seeds: statistics, table and picture."""

import statistics
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from analysis.presentation.figure import fix_layout, names_width, new_figure, style_axes
from analysis.presentation.palette import ACCENT, GREY, INK
from analysis.presentation.table import markdown
from experiments.tracking.outputs import Outputs
from mkd import names
from mkd.evaluation.intervals import half_width, interval_text

INTERVAL_NOTE = (
    "a variant differs from it if the t interval excludes 0; one in twenty does so by chance"
)
ONE_SEED_NOTE = "with one seed, differences may be chance"


class VariantRow(NamedTuple):
    """One variant over all seeds, with scores in points. With one seed, sd and half are None.

    mean, sd: of the mean score over tasks, sd with n - 1.
    difference: mean of `differences`.
    half: half the width of its 95 % t interval.
    differences: to the first variant, seed by seed.
    tasks: each task's mean score.
    seconds: mean training time of the student.
    """

    variant: str
    mean: float
    sd: float | None
    difference: float
    half: float | None
    differences: list[float]
    tasks: dict[str, float]
    seconds: float


def compare_variants(metrics: dict[str, list[dict[str, float]]]) -> list[VariantRow]:
    """Computes the rows of all variants.

    metrics: by variant, the final metrics of its trials, in the same order of seeds for all
        variants. The first variant is the reference.
    """
    first = [each[names.QUALITY_MEAN] for each in next(iter(metrics.values()))]
    return [_row(variant, each, first) for variant, each in metrics.items()]


def _row(variant: str, trials: list[dict[str, float]], first: list[float]) -> VariantRow:
    means = [trial[names.QUALITY_MEAN] for trial in trials]
    # Paired by seed: what a seed does to all variants alike cancels out.
    differences = [mean - other for mean, other in zip(means, first, strict=True)]
    scores = {task: name for name in trials[0] if (task := names.task_of_score(name))}
    return VariantRow(
        variant,
        statistics.fmean(means),
        _sd(means),
        statistics.fmean(differences),
        half_width(differences),
        differences,
        {task: statistics.fmean(trial[name] for trial in trials) for task, name in scores.items()},
        statistics.fmean(trial[names.SECONDS_STUDENT] for trial in trials),
    )


def _sd(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def summary(rows: list[VariantRow]) -> dict[str, float]:
    """Returns the metrics that are logged: `mean/<variant>` and `difference/<variant>`."""
    means = {names.variant_mean(row.variant): row.mean for row in rows}
    return means | {names.variant_difference(row.variant): row.difference for row in rows}


def lines(rows: list[VariantRow]) -> list[str]:
    """Returns the table in Markdown, one row a variant."""
    first, seeds = rows[0], len(rows[0].differences)
    header = ["variant", "mean", "sd", "difference", "95 % interval", *first.tasks, "training s"]
    body = [
        [row.variant, f"{row.mean:.2f}", _two_decimals(row.sd), *_difference_cells(row, first)]
        for row in rows
    ]
    scores = [
        [*(f"{row.tasks[task]:.1f}" for task in first.tasks), f"{row.seconds:.1f}"] for row in rows
    ]
    table = markdown([header, *(left + right for left, right in zip(body, scores, strict=True))])
    what = (
        f"score on dev in points, means over {seeds} seed{'s' * (seeds > 1)}; "
        f"difference to {first.variant}, paired by seed"
    )
    return [*table, "", f"{what}; {INTERVAL_NOTE if seeds > 1 else ONE_SEED_NOTE}"]


def conclusion(rows: list[VariantRow]) -> str:
    """Returns which variants differ from the first, in one sentence."""
    first, others = rows[0], rows[1:]
    seeds = len(first.differences)
    if seeds == 1:
        best = max(rows, key=lambda row: row.mean)
        return f"{best.variant} scores highest ({best.mean:.1f}), but {ONE_SEED_NOTE}."
    differ = [
        f"{row.variant} scores {abs(row.difference):.1f} points "
        f"{'more' if row.difference > 0 else 'less'}"
        for row in others
        if row.half is not None and abs(row.difference) > row.half
    ]
    if not differ:
        return f"No variant differs from {first.variant} beyond chance, over {seeds} seeds."
    rest = "; the others do not differ beyond chance" if len(differ) < len(others) else ""
    return f"{' and '.join(differ)} than {first.variant}, over {seeds} seeds{rest}."


def _difference_cells(row: VariantRow, first: VariantRow) -> list[str]:
    return (
        ["", ""]
        if row is first
        else [f"{row.difference:+z.2f}", interval_text(row.difference, row.half)]
    )


def _two_decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def outputs(rows: list[VariantRow], trials: list[dict[str, Any]], reused: int) -> Outputs:
    """Returns what an ablation logs and prints.

    trials: variant, seed and run id of each trial.
    reused: the number of trials that an earlier ablation has run.
    """
    result = {"variants": [row._asdict() for row in rows], "trials": trials, "reused": reused}
    return Outputs(
        summary(rows),
        conclusion(rows),
        lines(rows),
        result,
        jsons={"comparison.json": result},
        figures={"comparison.png": draw(picture_data(rows))},
    )


class PictureData(NamedTuple):
    """The numbers of the picture, from top to bottom, without the first variant.

    halves: half widths of the 95 % t intervals, 0 if unknown.
    differences: in points, seed by seed.
    """

    first: str
    variants: list[str]
    means: list[float]
    halves: list[float]
    differences: list[list[float]]


def picture_data(rows: list[VariantRow]) -> PictureData:
    """Computes the picture's numbers. An unknown interval is drawn with width 0."""
    others = rows[1:]
    halves = [row.half or 0.0 for row in others]
    return PictureData(
        rows[0].variant,
        [r.variant for r in others],
        [r.difference for r in others],
        halves,
        [r.differences for r in others],
    )


def draw(picture_data: PictureData) -> Figure:
    """Draws one line a variant: small dots for seeds, and their mean with its 95 % t interval."""
    figure = new_figure(
        names_width(picture_data.variants) + 6, 1.4 + 0.34 * len(picture_data.variants)
    )
    axes = figure.subplots()
    places = range(len(picture_data.variants))
    for place, differences in zip(places, picture_data.differences, strict=True):
        axes.scatter(differences, [place] * len(differences), s=14, color=GREY, zorder=2)
    axes.errorbar(
        picture_data.means,
        places,
        xerr=picture_data.halves,
        fmt="o",
        color=ACCENT,
        markersize=7,
        capsize=3,
        zorder=3,
    )
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(places, picture_data.variants)
    axes.invert_yaxis()
    axes.set_xlabel(
        f"mean score on dev less that of {picture_data.first} "
        "(points; bar: 95 % t interval over seeds)"
    )
    style_axes(axes, "x")
    fix_layout(figure)
    return figure
