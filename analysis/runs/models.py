"""Selects comparable runs, and groups runs that differ only in their seed into one model.

Example:

    kept = comparable(runs.frame)         # the tasks, split and setting of most runs
    models = averaged(kept.frame)         # one row a model: the runs' columns, and MODEL_COLUMNS
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.runs.rows import SETTING_PREFIXES
from mkd.evaluation.intervals import half_width

MODEL_COLUMNS = {
    "id": "unlike any other model's",
    "label": "unlike any other model's, as it is drawn",
    "runs": "run ids, by seed",
    "seeds": "each once",
    "means": "mean score of each run",
    "low": "of the mean's 95 % t interval over seeds; NaN for one seed",
    "high": "likewise",
}
"""Columns of a model that are added to the columns of its runs. Numbers are means over the runs,
but latencies and throughputs are medians, and busy_share is the largest.
"""
OF_A_MODEL = [
    "student",
    "variant",
    "tasks",
    "suite",
    "split",
    "drawn_by",
    "machine",
    "backend",
    "setting",
    "batch",
    "teacher",
]
"""Columns that are equal for all runs of one model. All settings are equal too."""
TIMED = ["latency_ms", "rows_per_s", "teacher_latency_ms", "teacher_rows_per_s"]
"""Columns that are averaged over a model's runs by the median."""
NUMBERS = [
    "mean",
    "selection",
    "teacher_mean",
    "baseline_mean",
    "retention",
    "agreement",
    "parameters",
    "num_bytes",
    "backend_loss",
    *TIMED,
    "trial",
]
"""Columns that are averaged over a model's runs; those of TIMED by the median."""
BY_TASK = ("score/", "teacher/", "baseline/", "retention/", "agreement/", "selection/")
"""Prefixes of the columns with one number a task."""


class Comparable(NamedTuple):
    """The runs that can be compared.

    left_out: names of the other runs, by reason.
    tasks: of the runs.
    machine: the machine that is shown, which is the one with most runs unless another was
        requested.
    others: number of runs on each other machine.
    """

    frame: pd.DataFrame
    left_out: dict[str, list[str]]
    tasks: list[str]
    machine: str
    others: dict[str, int]


def comparable(frame: pd.DataFrame, machine: str = "") -> Comparable:
    """Returns the runs that share the most frequent tasks, then split, selection and setting.

    Of several runs with the same model and seed, the newest is kept. Runs with an earlier timing
    protocol than the newest one are left out, however many they are, because their speeds are not
    comparable.

    machine: the machine to show, instead of the one with most runs.
    Raises ValueError for a machine without runs.
    """
    left_out: dict[str, list[str]] = {}
    for column, words in (
        ("suite", "other tasks: {}"),
        ("split", "scored on the {} split"),
        ("drawn_by", "selected by rows that were set apart otherwise: {}"),
        ("setting", "timed in {}"),
    ):
        most = most_frequent(frame[column])
        for other, part in frame[frame[column] != most].groupby(column):
            left_out[words.format(other)] = list(part["name"])
        frame = frame[frame[column] == most]
    earlier_way = frame[frame["protocol"] != max(frame["protocol"], key=int)]
    for protocol, part in earlier_way.groupby("protocol"):
        left_out[f"its speed was measured in an earlier way (protocol {protocol})"] = list(
            part["name"]
        )
    frame = frame.drop(earlier_way.index)
    newest_first = frame.assign(id=model_ids(frame)).sort_values(
        "started", ascending=False, kind="stable"
    )
    # duplicated() marks all but the first of equal rows, which is the newest run.
    earlier = newest_first[newest_first.duplicated(["id", "seed"])]
    if len(earlier):
        left_out["an earlier run of the same model and seed"] = list(earlier["name"])
        frame = frame.drop(earlier.index)
    machines = frame["machine"].value_counts()
    if machine and machine not in machines:
        raise ValueError(f"machine is {machine!r}; allowed: {', '.join(map(repr, machines.index))}")
    chosen = machine or most_frequent(frame["machine"])
    others = {str(name): int(count) for name, count in machines.items() if name != chosen}
    return Comparable(frame, left_out, list(frame["tasks"].iloc[0]), chosen, others)


def most_frequent(values: pd.Series) -> str:
    """Returns the most frequent value.

    Among equally frequent values, the first in alphabetical order.
    """
    counted = values.value_counts()
    return str(min(counted.index[counted == counted.max()]))


def averaged(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the models of these runs, best mean score first."""
    keys = model_ids(frame)
    frame = frame.assign(id=keys).sort_values(["seed", "started", "run_id"])
    numbers = [name for name in frame if name in NUMBERS or str(name).startswith(BY_TASK)]
    frame[numbers] = frame[numbers].apply(pd.to_numeric)
    grouped = frame.groupby("id", sort=False)
    texts = [name for name in frame if name not in numbers and name != "id"]
    # The first run's texts stand for the model. Most are equal for all of its runs.
    models = grouped[texts].first().join(grouped[numbers].mean())
    timed = [name for name in TIMED if name in numbers]
    models[timed] = grouped[timed].median()
    chosen_by = [name for name in numbers if str(name).startswith("selection")]
    # The mean over some of the seeds is not comparable: unknown unless all seeds have a score.
    models[chosen_by] = models[chosen_by].where(
        grouped[chosen_by].count().eq(grouped.size(), axis=0)
    )
    # The columns were set one by one; a copy puts them together again.
    models = models.copy().assign(
        runs=grouped["run_id"].agg(list),
        seeds=grouped["seed"].agg(lambda seeds: sorted(set(seeds))),
        busy_share=grouped["busy_share"].max(),
    )
    models = models.assign(means=grouped["mean"].agg(list)).reset_index()
    halves = np.array(
        [half_width(means) for means in models["means"]], dtype=float
    )  # None becomes NaN
    models = models.assign(low=models["mean"] - halves, high=models["mean"] + halves)
    models = models.sort_values(
        ["mean", "latency_ms", "id"], ascending=[False, True, True], ignore_index=True
    )
    return models.assign(label=labels(models))


def model_ids(frame: pd.DataFrame) -> list[str]:
    """Returns the id of each run's model.

    It is a hash of the settings except the seed, and of OF_A_MODEL.
    """
    columns = [
        name for name in frame if name in OF_A_MODEL or str(name).startswith(SETTING_PREFIXES)
    ]
    settings = frame[columns].fillna("").astype(str)
    # A fine-tuned student also depends on the student that it started from.
    settings["parent"] = frame["parent"].where(frame["kind"] == "finetune", "")
    return [f"{number:016x}" for number in pd.util.hash_pandas_object(settings, index=False)]


def differing(frame: pd.DataFrame) -> list[str]:
    """Returns the settings that differ between these rows."""
    names = [str(name) for name in frame if str(name).startswith(SETTING_PREFIXES)]
    return [name for name in names if frame[name].nunique(dropna=False) > 1]


def labels(models: pd.DataFrame) -> list[str]:
    """Returns a unique label for each model: its student and variant, and what else is needed.

    Models with the same student get the trial's number, or up to two settings that differ, or the
    backend. If labels are still equal, the start of the model's id is added.
    """
    first = [
        f"{student} {variant}".strip()
        for student, variant in zip(models["student"], models["variant"], strict=True)
    ]
    texts = pd.Series(first, index=models.index)
    for _, part in models.groupby(texts):
        if len(part) > 1:
            texts[part.index] = [
                f"{texts[place]} {difference}".strip() for place, difference in _apart(part).items()
            ]
    twice = texts.duplicated(keep=False)
    texts[twice] = [
        f"{label} {key[:4]}"
        for label, key in zip(texts[twice], models.loc[twice, "id"], strict=True)
    ]
    return list(texts)


def _apart(models: pd.DataFrame) -> dict[int, str]:
    """Returns what distinguishes models with the same student, by their index."""
    if models["trial"].notna().all():
        return {place: f"#{number:.0f}" for place, number in models["trial"].items()}
    names = differing(models)[:2]
    if not names:
        return dict(zip(models.index, models["backend"], strict=True))
    short = [name.rpartition(".")[2] for name in names]
    rows = models[names].fillna("").itertuples(index=True, name=None)
    return {
        place: " ".join(f"{key}={value}" for key, value in zip(short, values, strict=True))
        for place, *values in rows
    }
