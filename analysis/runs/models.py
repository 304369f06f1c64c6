"""Runs that can be compared, and the models that they are runs of: what differs in its seed only is one model.

kept = comparable(runs.frame)         # of the tasks, split and setting that most runs have
models = averaged(kept.frame)         # one row a model: the columns of its runs, and MODEL_COLUMNS
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.runs.rows import SETTINGS
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
"""What a model's row has besides the columns of its runs (means over them; of latencies and throughputs the median)."""
OF_A_MODEL = ["student", "variant", "tasks", "suite", "split", "drawn_by", "machine", "backend", "setting", "batch", "teacher"]
"""What two runs have in common that are of one model, next to all settings."""
TIMED = ["latency_ms", "rows_per_s", "teacher_latency_ms", "teacher_rows_per_s"]
NUMBERS = [
    "mean", "selection", "teacher_mean", "baseline_mean", "retention", "agreement", "parameters", "num_bytes", "backend_loss",
    *TIMED, "trial",
]  # fmt: skip
BY_TASK = ("score/", "teacher/", "baseline/", "retention/", "agreement/", "selection/")


class Comparable(NamedTuple):
    """left_out: names of the runs that do not go with the others, by reason. machine: that most runs were timed on.

    others: runs on each other machine.
    """

    frame: pd.DataFrame
    left_out: dict[str, list[str]]
    tasks: list[str]
    machine: str
    others: dict[str, int]


def comparable(frame: pd.DataFrame, machine: str = "") -> Comparable:
    """The runs with the tasks, the split, the selection and then the setting that most have; of a model and seed the newest.

    Speed that was measured in an earlier way than that of others is not comparable: these are left out, however many they are.
    machine: the one to draw, instead of the most used. Raises ValueError for a machine that no run was timed on.
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
        left_out[f"its speed was measured in an earlier way (protocol {protocol})"] = list(part["name"])
    frame = frame.drop(earlier_way.index)
    newest_first = frame.assign(id=model_ids(frame)).sort_values("started", ascending=False, kind="stable")
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
    """Of values that are as frequent as each other the first by name."""
    counted = values.value_counts()
    return str(min(counted.index[counted == counted.max()]))


def averaged(frame: pd.DataFrame) -> pd.DataFrame:
    """The models of these runs, the best mean score first."""
    keys = model_ids(frame)
    frame = frame.assign(id=keys).sort_values(["seed", "started", "run_id"])
    numbers = [name for name in frame if name in NUMBERS or str(name).startswith(BY_TASK)]
    frame[numbers] = frame[numbers].apply(pd.to_numeric)
    grouped = frame.groupby("id", sort=False)
    texts = [name for name in frame if name not in numbers and name != "id"]
    found = grouped[texts].first().join(grouped[numbers].mean())
    timed = [name for name in TIMED if name in numbers]
    found[timed] = grouped[timed].median()
    chosen_by = [name for name in numbers if str(name).startswith("selection")]
    found[chosen_by] = found[chosen_by].where(grouped[chosen_by].count().eq(grouped.size(), axis=0))  # of all seeds, or unknown
    found = found.assign(runs=grouped["run_id"].agg(list), seeds=grouped["seed"].agg(lambda seeds: sorted(set(seeds))))
    found = found.assign(means=grouped["mean"].agg(list)).reset_index()
    halves = np.array([half_width(means) for means in found["means"]], dtype=float)  # None becomes NaN
    found = found.assign(low=found["mean"] - halves, high=found["mean"] + halves)
    found = found.sort_values(["mean", "latency_ms", "id"], ascending=[False, True, True], ignore_index=True)
    return found.assign(label=labels(found))


def model_ids(frame: pd.DataFrame) -> list[str]:
    """By run, of all that its model is told by."""
    columns = [name for name in frame if name in OF_A_MODEL or str(name).startswith(SETTINGS)]
    told = frame[columns].fillna("").astype(str)
    # A fine-tuned student is of the one that it was made from too.
    told["parent"] = frame["parent"].where(frame["kind"] == "finetune", "")
    return [f"{number:016x}" for number in pd.util.hash_pandas_object(told, index=False)]


def differing(frame: pd.DataFrame) -> list[str]:
    """The settings that are not the same for all these rows."""
    names = [str(name) for name in frame if str(name).startswith(SETTINGS)]
    return [name for name in names if frame[name].nunique(dropna=False) > 1]


def labels(models: pd.DataFrame) -> list[str]:
    """Each model's student, and what tells those of one student apart: the variant, the trial's number, or up to two settings."""
    first = [f"{student} {variant}".strip() for student, variant in zip(models["student"], models["variant"], strict=True)]
    found = pd.Series(first, index=models.index)
    for _, part in models.groupby(found):
        if len(part) > 1:
            found[part.index] = [f"{found[place]} {told}".strip() for place, told in _apart(part).items()]
    twice = found.duplicated(keep=False)
    found[twice] = [f"{label} {key[:4]}" for label, key in zip(found[twice], models.loc[twice, "id"], strict=True)]
    return list(found)


def _apart(models: pd.DataFrame) -> dict[int, str]:
    if models["trial"].notna().all():
        return {place: f"#{number:.0f}" for place, number in models["trial"].items()}
    names = differing(models)[:2]
    if not names:
        return dict(zip(models.index, models["backend"], strict=True))
    short = [name.rpartition(".")[2] for name in names]
    rows = models[names].fillna("").itertuples(index=True, name=None)
    return {place: " ".join(f"{key}={value}" for key, value in zip(short, values, strict=True)) for place, *values in rows}
