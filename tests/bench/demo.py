"""Checks that the demo suite can show what distillation does.

    PYTHONPATH=. python tests/bench/demo.py                  # rows, linear model, teacher, students
    PYTHONPATH=. python tests/bench/demo.py --students bag   # the teacher and these
    PYTHONPATH=. python tests/bench/demo.py --students none --teacher.train.steps 500

Rows must differ, no text of dev may be in train, counts of words must not be enough to predict the
labels, and faster students must score less. Settings of mkd/config/ are given by their dotted
names. The students have the settings of `distill`, except for those in STUDENTS. Latency is the
median for one text on one thread with its tokenization: of students in ONNX Runtime, of the teacher
in torch. The last line is JSON.
"""

import argparse
import json
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.presentation.table import markdown
from experiments import cli
from experiments.settings import DistillSettings
from mkd.config import Config, DemoConfig, LossConfig, SpeedConfig
from mkd.pipeline import load_data_and_teacher
from mkd.runs.candidate import measure_cost, run_candidate
from mkd.tasks import demo
from mkd.tasks.demo.lexicon import NAMES
from tests.support.linear import effective, linear_score, texts_of

STUDENTS: dict[str, dict[str, Any]] = {
    "bag 1-grams": {"kind": "bag", "hidden": 32, "embedding": 16, "ngrams": 1},
    "bag 3-grams": {"kind": "bag", "hidden": 64, "embedding": 32, "ngrams": 3},
    "bilstm-max 24": {
        "kind": "bilstm",
        "hidden": 24,
        "embedding": 32,
        "attention": False,
        "words": False,
    },
    "transformer 1x48": {},
    "transformer 1x48, hard labels": {},
    "transformer 2x64": {"layers": 2, "hidden": 64},
    "bilstm 48": {"kind": "bilstm", "hidden": 48, "embedding": 64, "words": False},
    "transformer 3x96": {"layers": 3, "hidden": 96},
}
SETTING = "b1-text-t1/p50_ms"


def of_rows(task: str, config: DemoConfig) -> dict[str, float]:
    """Returns statistics of a task's rows that need no network."""
    train, dev = (list(demo.demo_rows(task, split, config)) for split in ("train", "dev"))
    unnamed = [re.sub("|".join(NAMES), "NAME", "\n".join(texts_of([row]))) for row in dev]
    return {
        "effective": effective(row[:2] for row in dev),
        "names alike": effective(unnamed),
        "texts twice in train": len(texts_of(train)) - len(set(texts_of(train))),
        "dev texts in train": len(set(texts_of(train)) & set(texts_of(dev))),
        "words": sum(len(text.split()) for text in texts_of(dev)) / len(dev),
        "linear": linear_score(
            train[: config.train_rows], dev, demo.DEMO_TASKS[task], (1, 3, 10, 30, 100)
        ),
    }


def scored(config: Config, wanted: str) -> dict[str, dict[str, float]]:
    """Returns by model its scores by task, their mean and its latency."""
    ready = load_data_and_teacher(config)
    assert ready.teacher is not None, "the students of all settings but one learn from it"
    results: dict[str, dict[str, float]] = {}
    metrics: dict[str, float] = {}
    for name, settings in STUDENTS.items():
        if not name.startswith(wanted):
            continue
        now = replace(config, student=replace(config.student, **settings))
        if name.endswith("hard labels"):
            now = replace(now, loss=LossConfig(hard_weight=1.0))
        with tempfile.TemporaryDirectory() as folder:
            metrics = run_candidate(
                ready, now, measure_cost(ready.data, now, "onnx"), Path(folder)
            ).metrics
        results[name] = _scores_and_latency(metrics, "", "onnx")
        print(name, results[name], file=sys.stderr)
    if metrics:
        results["teacher"] = _scores_and_latency(metrics, "teacher/", "torch")
    else:
        results["teacher"] = _scores_and_latency(
            ready.teacher.metrics | {f"teacher/speed/torch/{SETTING}": float("nan")},
            "teacher/",
            "torch",
        )
    return results


def _scores_and_latency(metrics: dict[str, float], prefix: str, backend: str) -> dict[str, float]:
    scores = {task: metrics[f"{prefix}quality/{task}/score"] for task in demo.DEMO_TASKS}
    return scores | {
        "mean": metrics[f"{prefix}quality/mean"],
        "ms": metrics[f"{prefix}speed/{backend}/{SETTING}"],
    }


def _table(head: str, values: dict[str, dict[str, float]], digits: int) -> str:
    rows = [[head, *next(iter(values.values()))]]
    rows += [
        [name, *(f"{value:.{2 if key == 'ms' else digits}f}" for key, value in of.items())]
        for name, of in values.items()
    ]
    return "\n".join(markdown(rows))


def main(config: Config, students: str) -> None:
    """Prints the tables and the JSON."""
    statistics = {task: of_rows(task, config.data.demo) for task in demo.DEMO_TASKS}
    mean = sum(row["linear"] for row in statistics.values()) / len(statistics)
    print(_table("task", statistics, 1), f"\nmean of the linear model: {mean:.1f}\n", flush=True)
    models = scored(replace(config, speed=SpeedConfig(threads=[1], seconds=1)), students)
    print(_table("model", models, 1))
    print(json.dumps({"rows": statistics, "linear": mean, "models": models}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--students", default="", help="train only students whose names start with this"
    )
    args, rest = parser.parse_known_args()
    main(cli.parse(rest, "", DistillSettings).core(), args.students)
