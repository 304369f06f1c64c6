"""The report's tables in Markdown, and all models as a data frame for CSV."""

import math

import pandas as pd

from analysis.findings.budgets import BudgetAnswer
from analysis.presentation.table import markdown
from analysis.statistics.differences import Difference

NOTE = (
    "Chosen by the selection split, scores on dev in points, ± the 95 % t interval over seeds. "
    "A task's score is the mean of its metrics. "
    "Lost: the teacher's mean less the model's, its 95 % interval over dev rows and seeds; of one "
    "seed over rows alone: of these two models, not of the method"
)
"""Explains the columns, below the tables."""


def front_lines(front: pd.DataFrame, tasks: list[str], lost: dict[str, Difference]) -> list[str]:
    """Returns the table of the front, fastest model first.

    lost: what each model loses to its teacher, by the model's id.
    """
    scored = [task for task in tasks if f"score/{task}" in front]
    header = [
        "on the front",
        "ms",
        "rows/s",
        "MB",
        "backend",
        "selection",
        "dev",
        "seeds",
        "lost to the teacher",
        *scored,
    ]
    return markdown(
        [
            header,
            *(_front_row(model, scored, lost.get(model["id"])) for _, model in front.iterrows()),
        ]
    )


def _front_row(model: pd.Series, tasks: list[str], lost: Difference | None) -> list[str]:
    error = model["high"] - model["mean"]
    mean = f"{model['mean']:.1f}" + ("" if math.isnan(error) else f" ± {error:.1f}")
    numbers = [
        shown(model["latency_ms"], ".3g"),
        shown(model["rows_per_s"], ",.0f"),
        shown(model["num_bytes"] / 1e6, ".2f"),
    ]
    scores = [shown(model[f"score/{task}"], ".1f") for task in tasks]
    numbers += [model["backend"], shown(model["selection"], ".1f")]
    return [model["label"], *numbers, mean, str(len(model["seeds"])), loss(lost), *scores]


def budget_lines(answers: list[BudgetAnswer]) -> list[str]:
    """Returns the table of the best model under each budget."""
    header = ["best under", "model", "ms", "selection", "dev", "seeds", "lost to the teacher"]
    return markdown([header, *(_budget_row(answer) for answer in answers)])


def _budget_row(answer: BudgetAnswer) -> list[str]:
    known = answer.lost is not None and not math.isnan(answer.lost.low)
    seeds = str(answer.lost.seeds) if answer.lost is not None and known else "-"
    numbers = [f"{answer.latency_ms:.3g}", f"{answer.selection:.1f}", f"{answer.mean:.1f}"]
    return [f"{answer.budget_ms:g} ms", answer.label, *numbers, seeds, loss(answer.lost)]


def loss(lost: Difference | None) -> str:
    """Returns a loss in points with its interval.

    If the interval contains 0, `no clear difference` follows. An unknown loss is a dash.
    """
    if lost is None:
        return "-"
    if math.isnan(lost.low):
        return f"{lost.points:z.1f}"
    return f"{lost.points:z.1f} ({lost.low:z.1f} to {lost.high:z.1f})" + (
        "" if lost.is_one else " no clear difference"
    )


def shown(value: float, form: str) -> str:
    """Returns a number in the given format, or a dash if it is unknown."""
    return "-" if value is None or math.isnan(value) else format(value, form)


def left_out_lines(left_out: dict[str, list[str]]) -> list[str]:
    """Returns one line a reason with its number of runs, most frequent reason first."""
    ordered = sorted(left_out.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        f"left out: {len(names)} run{'s' * (len(names) != 1)}, {reason}"
        for reason, names in ordered
    ]


def for_csv(models: pd.DataFrame, lost: dict[str, Difference], front: set[str]) -> pd.DataFrame:
    """Returns the table of all models with plain cells. Lists become text.

    lost: what each model loses to its teacher, by id.
    front: ids of the models on the front.
    """
    table = models.drop(columns=["run_id", "artifacts", "link", "name", "means"]).copy()
    for column in ("tasks", "runs", "seeds"):
        table[column] = table[column].map(lambda cells: " ".join(map(str, cells)))
    table["front"] = table["id"].isin(list(front))
    for field in Difference._fields:
        table[f"lost_{field}"] = [
            getattr(lost[key], field) if key in lost else math.nan for key in table["id"]
        ]
    first = ["id", "label", "front", "mean", "low", "high", "latency_ms", "rows_per_s", "num_bytes"]
    return table[[*first, *(column for column in table if column not in first)]]
