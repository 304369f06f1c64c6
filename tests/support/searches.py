"""A tiny search and its results, for several test files."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
from mlflow.entities import Run

from tests.support.entry import runs, tiny

SPACE: dict[str, Any] = {
    "student.kind": {"choices": {"bag": {"student.layers": {"low": 1, "high": 2}},
                                 "transformer": {"student.hidden": [16, 32]}}},
    "loss.kind": {"choices": {"mse": {},
                              "kl": {"loss.temperature": {"low": 1.0, "high": 8.0, "log": True}}}},
    "train.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    "train.sampling.weights": "simplex",
}  # fmt: skip
START = {
    "student.kind": "bag",
    "loss.kind": "kl",
    "loss.temperature": 4.0,
    "train.sampling.weights": {"sentiment": 3, "similarity": 1},
}
SEARCH = [
    *tiny("search"), '--data.tasks=["sentiment", "similarity"]', "--data.max_length=32",
    "--speed.length=16", "--speed.batch_size=2", "--train.eval_every=2", "--search.backend=torch",
    "--search.pruning.warmup=1", "--search.space", json.dumps(SPACE),
]  # fmt: skip


def study_of(folder: Path, name: str = "mkd") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'optuna.db'}")


def trial_runs(folder: Path, name: str = "mkd") -> list[Run]:
    """The runs of a study's trials, in the order of their numbers."""
    trials = [
        run
        for run in runs(folder)
        if run.data.tags.get("mkd.study") == name and run.data.tags["mkd.kind"] == "trial"
    ]
    return sorted(trials, key=lambda run: int(run.data.tags["mkd.trial"]))


def states(folder: Path, name: str = "mkd") -> Counter[tuple[str, str]]:
    return Counter(
        (run.info.status, run.data.tags["mkd.state"]) for run in trial_runs(folder, name)
    )
