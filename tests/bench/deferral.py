"""Measures what deferral to the teacher loses, with students of several seeds of one teacher.

    PYTHONPATH=. python tests/bench/deferral.py --seeds 0 1 2 --picture deferral.png \\
        --config bag --data.path TASKS.yaml ...

Settings of a distillation are given by their dotted names. A seed decides a student's weights,
batches and dropout; teacher, tokens and selection split have the seed of the config. The table has
for each task the scores of teacher and student, and the calibration error of the student without
and with its temperature. For each budget it has the share of the dev rows that the student answers
and the points that are lost. Values are means over the seeds with 95 % t intervals. The picture is
that of a run, with the means over the seeds at each share. The last line is JSON.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.presentation.figure import image_bytes
from analysis.presentation.table import markdown
from experiments import cli
from experiments.settings import DistillSettings
from experiments.tracking import deferral
from mkd import names
from mkd.config import Config
from mkd.evaluation.answers import answers_of, calibration_metrics
from mkd.evaluation.deferral import (
    BUDGETS,
    Point,
    chosen,
    deferral_columns,
    deferral_metrics,
)
from mkd.evaluation.intervals import half_width
from mkd.evaluation.scoring import dev_logits, quality_metrics, selection_logits, torch_infer
from mkd.pipeline import DataAndTeacher, load_data_and_teacher
from mkd.teachers.multitask import deferral_curves, soft_targets
from mkd.tokenization.tokens import layout_of
from tests.bench.claims import student_of

Curves = dict[str, list[Point]]


def measured(inputs: DataAndTeacher, seed: int) -> tuple[Curves, dict[str, float]]:
    """Returns the curves and the metrics of one student."""
    data, teacher = inputs.data.student_data, inputs.teacher
    config = inputs.data.config
    targets = soft_targets(
        config.loss, config.stores.root, data, teacher, lambda step, values: None
    )
    student = student_of(replace(config, seed=seed), inputs, targets)
    layout = layout_of(data.tokenizer, student.joined, student.config.max_tokens)
    answers = answers_of(student, dev_logits(torch_infer(student), data.datas, layout))
    curves = deferral_curves(
        data.datas, selection_logits(student, data.datas, layout), answers, teacher, targets
    )
    metrics = quality_metrics(data.datas, *answers) | calibration_metrics(data.datas, answers)
    return curves, metrics | deferral_metrics(curves)


def mean_curves(curves_of_seeds: list[Curves]) -> Curves:
    """Returns the mean over seeds of each task's points; a threshold is the median."""
    return {
        task: [
            Point(
                points[0].share,
                float(np.median([point.min_confidence for point in points])),
                *(
                    float(np.mean([getattr(point, name) for point in points]))
                    for name in Point._fields[2:]
                ),
            )
            for points in zip(*(curves[task] for curves in curves_of_seeds), strict=True)
        ]
        for task in curves_of_seeds[0]
    }


def _cell(values: Iterable[float]) -> str:
    """Returns the mean and half the width of its 95 % t interval as text."""
    values = list(values)
    half = half_width(values)
    return f"{statistics.mean(values):z.1f}" + ("" if half is None else f" ± {half:.1f}")


def table(
    curves_of_seeds: list[Curves], metrics: list[dict[str, float]], teacher: dict[str, float]
) -> list[str]:
    """Returns a table with a row for each task and one for the mean over tasks."""
    header = ["dev", "teacher", "student", "ECE without, with temperature"]
    header += [f"{budget}: {what}" for budget in BUDGETS for what in ("answered %", "lost")]
    rows = [header]
    for task in [*curves_of_seeds[0], names.MEAN]:
        score = names.QUALITY_MEAN if task == names.MEAN else names.quality(task)
        error = "-"
        if task != names.MEAN:
            error = ", ".join(
                f"{statistics.mean(each[name] for each in metrics):.3f}"
                for name in (
                    names.calibration(task, names.ECE_BEFORE),
                    names.quality(task, names.CALIBRATION_ERROR),
                )
            )
        cells = [
            _cell(each[names.deferral(task, budget, what)] for each in metrics)
            for budget in BUDGETS
            for what in (names.ANSWERED, names.LOST)
        ]
        student_score = _cell(each[score] for each in metrics)
        rows.append([task, f"{teacher[score]:.1f}", student_score, error, *cells])
    return markdown(rows)


def main(config: Config, seeds: list[int], file: str) -> None:
    """Trains all students, prints the table and draws the picture."""
    inputs = load_data_and_teacher(config)
    assert inputs.teacher is not None, "loss.hard_weight is below 1"
    curves_of_seeds: list[Curves] = []
    metrics: list[dict[str, float]] = []
    for seed in seeds:
        curves, values = measured(inputs, seed)
        curves_of_seeds.append(curves)
        metrics.append(values)
        thresholds = {task: chosen(points, 0.0) for task, points in curves.items()}
        print(seed, thresholds, file=sys.stderr)
    print("\n".join(table(curves_of_seeds, metrics, inputs.teacher.metrics)))
    together = mean_curves(curves_of_seeds)
    if file:
        # The title has the thresholds of each seed, the marks those of the mean curve.
        means: dict[str, Any] = {
            name: statistics.mean(each[name] for each in metrics)
            for name in metrics[0]
            if all(name in each for each in metrics)
        }
        figure = deferral.draw(deferral.picture_data(deferral_columns(together), means))
        Path(file).write_bytes(image_bytes(figure, "png"))
    print(json.dumps({"curves": curves_of_seeds, "metrics": metrics}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--picture", default="")
    args, rest = parser.parse_known_args()
    main(cli.parse(rest, "", DistillSettings).core(), args.seeds, args.picture)
