"""Converts a summary to the content of the page."""

import ast
import math
from collections.abc import Iterator
from datetime import UTC, datetime

import pandas as pd

from analysis.findings.summary import Summary
from analysis.page import page
from analysis.runs.models import BY_TASK
from analysis.runs.rows import SETTING_PREFIXES
from analysis.statistics.differences import difference_deviations
from mkd.evaluation.pareto import front
from mkd.evaluation.timing import MOST_BUSY
from mkd.storage.addresses import without_passwords

MOST_BY_TASK = 250
"""With more models than this, standard deviations by task are left out to keep the page small."""
MOST_NAMES = 20
"""Maximum number of names of left-out runs for each reason."""


def content(
    summary: Summary, pictures: list[page.Picture], links: list[page.Link]
) -> page.PageInfo:
    """Returns the content of the page.

    links: to the MLflow UI.
    """
    runs = summary.runs
    study = f"study {runs.study.name}" if runs.study else ""
    source = {"tracking store": without_passwords(runs.store), "experiment": runs.experiment} | (
        {"study": runs.study.name} if runs.study else {}
    )
    return page.PageInfo(
        title=f"Quality against speed: {study or runs.experiment}",
        source=source,
        links=links,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        latency=f"{summary.latency_in_words} ({summary.setting}), "
        f"each model in {_backends(summary.models)}",
        tasks=summary.kept.tasks,
        teachers=list(_teachers(summary)),
        baselines=list(_baselines(summary.models)),
        models=list(_models(summary)),
        deviations=row_deviations(summary),
        pictures=pictures,
        left_out=[
            page.LeftOut(reason, len(names), names[:MOST_NAMES])
            for reason, names in summary.left_out.items()
        ],
        notes=summary.notes,
    )


def _backends(models: pd.DataFrame) -> str:
    """Returns the backends of the models in words."""
    names = sorted(set(models["backend"]))
    return names[0] if len(names) == 1 else f"its fastest backend of {', '.join(names)}"


def _models(summary: Summary) -> Iterator[page.PageModel]:
    best = fronts(summary.models)
    settings = [str(name) for name in summary.models if str(name).startswith(SETTING_PREFIXES)]
    tables = {run["run_id"]: run for run in summary.kept.frame[_RUN].to_dict("records")}
    frame = summary.kept.frame
    by_run, chosen_by = (
        dict(zip(frame["run_id"], _scores(frame, prefix).to_dict("records"), strict=True))
        for prefix in ("score/", "selection/")
    )
    for model in summary.models.to_dict("records"):
        key = model["id"]
        yield page.PageModel(
            id=key,
            name=model["label"],
            student_kind=model["student_kind"],
            runs=[_run(tables[run], by_run[run], chosen_by[run]) for run in model["runs"]],
            seeds=[int(seed) for seed in model["seeds"]],
            machine=model["machine"],
            study=model["study"],
            backend=model["backend"],
            setting=model["setting"],
            latency_ms=number(model["latency_ms"]),
            rows_per_s=number(model["rows_per_s"]),
            num_bytes=number(model["num_bytes"]),
            parameters=number(model["parameters"]),
            mean=float(model["mean"]),
            selection=number(model["selection"]),
            selection_scores=by_task(model, "selection/"),
            scores=by_task(model, "score/"),
            teacher=model["teacher"],
            teacher_mean=number(model["teacher_mean"]),
            teacher_latency_ms=number(model["teacher_latency_ms"]),
            retention=number(model["retention"]),
            settings={
                key: text
                for name in settings
                for key, text in setting_texts(name, model[name]).items()
            },
            state="finished",
            front=key in best,
            lost=_lost(summary, key),
            busy=float(model["busy_share"]) > MOST_BUSY,
        )


def _lost(summary: Summary, key: str) -> dict[str, page.Interval]:
    """Returns a model's loss to its teacher by task, with "" for the mean.

    Empty if it is unknown.
    """
    if key not in summary.bootstrap.lost:
        return {}
    lost = {"": summary.bootstrap.lost[key]} | summary.bootstrap.lost_by_task[key]
    return {task: (each.points, each.low, each.high) for task, each in lost.items()}


def row_deviations(summary: Summary) -> page.RowDeviations:
    """Returns the standard deviations over dev rows of scores and of differences of two models.

    With more than page.MANY models, only models on the front are included.
    """
    known, best = summary.bootstrap.models, fronts(summary.models)
    ids = [
        key
        for key in summary.models["id"]
        if key in known and (len(summary.models) <= page.MANY or key in best)
    ]
    if not ids:
        return page.RowDeviations([], {}, {})
    rows = {"": [known[key].mean.rows for key in ids]}
    if len(summary.models) <= MOST_BY_TASK:
        rows |= {task: [known[key].tasks[task].rows for key in ids] for task in known[ids[0]].tasks}
    # Integers in thousandths of a point are shorter in JSON than decimal numbers.
    model_deviations = {
        task: [_thousandths(float(score[1:].std(ddof=1))) for score in scores]
        for task, scores in rows.items()
    }
    between = {task: difference_deviations(scores) for task, scores in rows.items()}
    pairs = {
        task: [[*map(_thousandths, row[:place])] for place, row in enumerate(deviation)]
        for task, deviation in between.items()
    }
    return page.RowDeviations(ids, model_deviations, pairs)


def _thousandths(points: float) -> int:
    """Rounds points to thousandths."""
    return round(1000 * points)


_RUN = ["run_id", "name", "link", "seed", "mean", "selection"]
"""Columns of a run that the page shows."""


def _run(run: dict[str, object], scores: dict[str, float], chosen_by: dict[str, float]) -> page.Run:
    mean, selection = (number(float(str(run[name]))) for name in ("mean", "selection"))
    return page.Run(
        str(run["run_id"]),
        str(run["name"]),
        str(run["link"]),
        int(str(run["seed"])),
        mean,
        scores,
        selection,
        chosen_by,
    )


def fronts(models: pd.DataFrame) -> set[str]:
    """Returns the ids of the models on the front of their machine.

    The front is that of latency and score on the selection split.
    """
    ids: set[str] = set()
    # Latencies of different machines cannot be compared.
    for _, part in models.groupby("machine"):
        ids |= set(part["id"][front(part["selection"].to_numpy(), part["latency_ms"].to_numpy())])
    return ids


def _teachers(summary: Summary) -> Iterator[page.Teacher]:
    """Yields each teacher on each machine, with the medians of its measurements."""
    known = summary.models[
        (summary.models["teacher"] != "") & summary.models["teacher_mean"].notna()
    ]
    for (name, machine), part in known.groupby(["teacher", "machine"]):
        middle = part[
            [
                c
                for c in part
                if c in ("teacher_mean", "teacher_latency_ms", "teacher_rows_per_s")
                or c.startswith("teacher/")
            ]
        ]
        cells = middle.median().to_dict()
        yield page.Teacher(
            name=str(name),
            machine=str(machine),
            mean=number(cells["teacher_mean"]),
            scores=by_task(cells, "teacher/"),
            latency_ms=number(cells["teacher_latency_ms"]),
            rows_per_s=number(cells["teacher_rows_per_s"]),
        )


def _baselines(models: pd.DataFrame) -> Iterator[page.Baseline]:
    """Yields the hard-label twins of the models."""
    for model in models[models["baseline_mean"].notna()].to_dict("records"):
        yield page.Baseline(
            name=f"{model['label']}, labels alone",
            model=model["id"],
            machine=model["machine"],
            mean=float(model["baseline_mean"]),
            scores=by_task(model, "baseline/"),
            latency_ms=number(model["latency_ms"]),
            rows_per_s=number(model["rows_per_s"]),
            num_bytes=number(model["num_bytes"]),
        )


def setting_texts(setting: str, value: object) -> dict[str, str]:
    """Returns a setting as text, or nothing if it is unknown.

    A setting with one value a task becomes one setting a task.
    """
    if not isinstance(value, str):
        return {}
    try:
        # MLflow stores a dict as its Python representation.
        task_values = ast.literal_eval(value) if value.startswith("{") else None
    except (ValueError, SyntaxError):
        task_values = None
    return (
        {f"{setting}.{key}": str(part) for key, part in task_values.items()}
        if task_values
        else {setting: value}
    )


def _scores(frame: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """Returns the columns with one number a task, named by the task."""
    assert prefix in BY_TASK, prefix
    columns = {
        name: str(name).removeprefix(prefix) for name in frame if str(name).startswith(prefix)
    }
    return frame[list(columns)].rename(columns=columns)


def by_task(cells: dict[str, float], prefix: str) -> dict[str, float]:
    """Returns the known cells with this prefix, by task."""
    values = {
        name.removeprefix(prefix): value for name, value in cells.items() if name.startswith(prefix)
    }
    return {
        task: float(value)
        for task, value in values.items()
        if value is not None and not math.isnan(value)
    }


def number(value: float | None) -> float | None:
    """Returns None for an unknown value."""
    return None if value is None or math.isnan(value) else float(value)
