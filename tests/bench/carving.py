"""Does the selection split rank students as dev does? By groups of rows, and row by row.

    PYTHONPATH=. python tests/bench/carving.py OUT --data.path GLUE --teacher.checkpoint ENCODER

Runs the search of tests/bench/carving.yaml twice with the same random trials. In OUT/groups the
selection split keeps overlapping rows on one side, as MKD does; in OUT/rows it is drawn row by row.
Each has its own cache, tracker and study, and a search that was stopped goes on. The other
arguments are settings of both searches. The table has Spearman's rank correlation between the
scores on selection and on dev over the finished trials, with the 95 % interval of a bootstrap over
trials, and by how much the selection score exceeds the dev score. The last line is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from scipy.stats import bootstrap, spearmanr

from analysis.presentation.table import markdown
from experiments import cli
from mkd import names
from mkd.config import DataConfig
from mkd.selection import split
from mkd.selection.words import WordStore
from mkd.tasks.task import Task

GROUPS, ROWS = SIDES = ("groups", "rows")
SETTINGS = Path(__file__).with_suffix(".yaml")
SIDE = "CARVING_SIDE"
"""Environment variable of a search's process: its side."""


def draw_rows(
    root: Path, task: Task, words: WordStore, config: DataConfig, seed: int
) -> tuple[np.ndarray, np.ndarray, split.SplitStatistics]:
    """Draws the selected rows one by one, whatever overlaps. Arguments and results as `_select`."""
    known = np.flatnonzero(~np.isnan(words.labels))
    count = min(config.selection_rows, round(config.selection_fraction * len(known)))
    chosen = np.sort(np.random.default_rng(seed).choice(known, count, replace=False))
    level = split.LEVELS[split.LEVEL_SINGLE]
    return chosen, chosen, split.SplitStatistics("rows", len(known), 1, 0.0, level, count)


def run_search(folder: Path, side: str, settings: list[str]) -> None:
    """Runs or continues the search of a side in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(Path(__file__).resolve()), f"--config={SETTINGS.resolve()}"]
    root = str(Path(__file__).parents[2])
    environ = os.environ | {SIDE: side, "PYTHONPATH": root}
    subprocess.run([*command, *settings], cwd=folder, env=environ, check=True)


def trials(folder: Path) -> pd.DataFrame:
    """Returns the scores of the finished trials: `<task> dev`, `<task> selection` and the means."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [each.experiment_id for each in client.search_experiments()]
    where = f"tags.`{names.TAG_TRIAL}` != '' and attributes.status = 'FINISHED'"
    rows = []
    for run in client.search_runs(experiments, where):
        metrics = run.data.metrics
        row = {"dev": metrics[names.QUALITY_MEAN], "selection": metrics[names.SELECTED_MEAN]}
        for name, value in metrics.items():
            task = name.removeprefix(names.SELECTED)
            if names.quality(task) in metrics:
                row |= {f"{task} dev": metrics[names.quality(task)], f"{task} selection": value}
        rows.append(row)
    return pd.DataFrame(rows)


def line(side: str, frame: pd.DataFrame, task: str) -> dict[str, float | str]:
    """Returns the figures of a side's trials for a task; an empty name means the mean of all."""
    dev, selection = (frame[f"{task} {which}".strip()].to_numpy() for which in ("dev", "selection"))
    interval = bootstrap(
        (selection, dev),
        lambda one, other: np.nan_to_num(spearmanr(one, other).statistic),  # 0 if one is constant
        paired=True,
        vectorized=False,
        method="percentile",
        random_state=0,
    ).confidence_interval
    return {
        "selection split": side,
        "task": task or "mean",
        "trials": len(frame),
        "rank": float(spearmanr(selection, dev).statistic),
        "low": float(interval.low),
        "high": float(interval.high),
        "gap": float((selection - dev).mean()),
        "dev of the best by selection": float(dev[selection.argmax()]),
        "best dev": float(dev.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    args, settings = parser.parse_known_args()
    for side in SIDES:
        run_search(args.out / side, side, settings)
    frames = {side: trials(args.out / side) for side in SIDES}
    tasks = ["", *(name.removesuffix(" dev") for name in frames[GROUPS] if name.endswith(" dev"))]
    lines = [line(side, frame, task) for task in tasks for side, frame in frames.items()]
    head = ["task", "selection split", "trials", "rank correlation", "selection less dev",
            "dev of the best by selection", "best dev"]  # fmt: skip
    table = [
        [str(each["task"]), str(each["selection split"]), str(each["trials"]),
         f"{each['rank']:.2f} ({each['low']:.2f} to {each['high']:.2f})", f"{each['gap']:.1f}",
         f"{each['dev of the best by selection']:.1f}", f"{each['best dev']:.1f}"]
        for each in lines
    ]  # fmt: skip
    print("\n".join(markdown([head, *table])))
    print(json.dumps(lines))


if __name__ == "__main__":
    if side := os.environ.get(SIDE):
        # The search computes and caches the split before its workers start; they only read it.
        if side == ROWS:
            split._select = draw_rows
        sys.exit(cli.main("experiments.search:search", None))
    main()
