"""Measures what 8-bit and 7-bit weights cost students on real tasks, and how fast they answer.

    python tests/bench/int8.py NAME=FOLDER ... --data GLUE_FOLDER [--tasks sst2 mrpc cola rte stsb]

A FOLDER has a student that a run has saved (artifact `student` of its model); those with the same
NAME are seeds of one student: their losses are reported as the mean with its 95 % interval. `full`
weights use all 8 bits and are multiplied without loss, as on a processor with VNNI, or by the
slower products of onnxruntime on other processors. `reduced` weights use 7 bits. A bag has the same
tables in both. The loss is measured in batches and in single rows. *Error* is the root of the mean
squared difference of a logit from torch's, over 64 dev rows of each task in a batch. The first
student of each name is timed on one thread with one text per call, in turn with all others in one
process. The last line is JSON.
"""

import argparse
import json
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from analysis.presentation.table import markdown
from mkd.config import DataConfig, ExportConfig
from mkd.evaluation.intervals import half_width, interval_text
from mkd.evaluation.scoring import dev_logits, quality_metrics, torch_infer
from mkd.evaluation.speed import (
    HEADLINE_SETTING,
    TimedModel,
    busy_note,
    dev_texts,
    hardware,
    speed_metrics,
)
from mkd.export.backends import compare_backend, in_torch
from mkd.export.folder import export_bag, export_int8, export_onnx
from mkd.runtime import inference
from mkd.runtime.layout import padded
from mkd.storage import pretrained
from mkd.students import load_model
from mkd.students.bag import BagStudent
from mkd.students.heads import thresholds_of
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Task
from mkd.teachers.task_teacher import RunnableModel
from mkd.tokenization.tokenise import tokenise_task
from mkd.tokenization.tokens import ModelData, TaskData, layout_of

RANGES: tuple[Literal["full", "reduced"], ...] = ("full", "reduced")
LOSSES = ("loss_batches", "loss_single_rows")
ROWS = 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("students", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--data", required=True)
    parser.add_argument("--tasks", nargs="+", default=["sst2", "mrpc", "cola", "rte", "stsb"])
    parser.add_argument("--cache", type=Path, default=Path(".mkd"))
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = DataConfig(source="glue", path=args.data, tasks=args.tasks)
    tasks = load_tasks(data)
    results: list[dict[str, Any]] = []
    timed: dict[str, TimedModel] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for number, entry in enumerate(args.students):
            name, folder = entry.split("=")
            losses, backends = of_student(
                Path(folder), tasks, data, args.cache, Path(temporary) / str(number)
            )
            results += [{"student": name} | line for line in losses]
            for backend, one in backends.items():
                timed.setdefault(f"{name}, {backend}", one)
            print(json.dumps(results[-len(losses) :]), flush=True)
        metrics = speed_metrics(timed, dev_texts(tasks), [HEADLINE_SETTING], args.seconds)
    print("\n".join(busy_note(metrics)))
    print("\n".join(markdown(table(results, metrics))))
    print(json.dumps({"hardware": hardware(), "students": results, "speed": metrics}))


def of_student(
    folder: Path, tasks: list[Task], data: DataConfig, cache: Path, to: Path
) -> tuple[list[dict[str, Any]], dict[str, TimedModel]]:
    """Returns what a student loses in each range, and its backends for timing."""
    student, tokenizer = load_model(folder), pretrained.load_tokenizer(folder, "student")
    datas = [tokenise_task(cache, task, tokenizer, data, 0) for task in tasks]
    tokenised, layout = (
        ModelData(tokenizer, datas, torch.device("cpu")),
        layout_of(tokenizer, student.joined, student.config.max_tokens),
    )
    torchs = torch_infer(student)
    logits = dev_logits(torchs, datas, layout)
    thresholds = thresholds_of(student.config)
    export_onnx(student, tokenizer, to / "onnx")
    losses: list[dict[str, Any]] = []
    for weight_range in RANGES:
        if isinstance(student, BagStudent):
            export_bag(student, tokenizer, to / weight_range)
        else:
            export_int8(to / "onnx", to / weight_range, ExportConfig(weight_range=weight_range))
        infer = inference.Student.load(to / weight_range, 1).infer
        loss = {
            "range": weight_range,
            "torch": quality_metrics(datas, logits, thresholds)["quality/mean"],
            "error": rms(torchs, infer, datas, layout),
        }
        losses.append(loss | compare_backend(tokenised, logits, infer, layout, thresholds))
    loaded = in_torch(RunnableModel(student, tokenizer))
    return losses, {
        name: loaded._replace(load=partial(inference.Student.load, to / name))
        for name in ("onnx", *RANGES)
    }


def table(losses: list[dict[str, Any]], metrics: dict[str, float]) -> list[list[str]]:
    """Returns one row for each student and range: means over seeds, and the interval of the
    loss."""
    lines = [
        ["student", "seeds", "torch", "weights", "error", "lost in batches", "lost in single rows",
         "onnx ms", "int8 ms"],
    ]  # fmt: skip
    for name in dict.fromkeys(line["student"] for line in losses):
        for weight_range in RANGES:
            seeds = [
                line for line in losses if (line["student"], line["range"]) == (name, weight_range)
            ]
            lost = [[line[key] for line in seeds] for key in LOSSES]
            intervals = [
                f" ({interval_text(statistics.mean(by_seed), half_width(by_seed))})"
                if len(by_seed) > 1
                else ""
                for by_seed in lost
            ]
            times = [
                metrics[f"speed/{name}, {backend}/{HEADLINE_SETTING.name}/p50_ms"]
                for backend in ("onnx", weight_range)
            ]
            lines.append([
                name, f"{len(seeds)}", f"{statistics.mean(line['torch'] for line in seeds):.2f}",
                weight_range,
                f"{statistics.mean(line['error'] for line in seeds):.3f}",
                *(f"{statistics.mean(by_seed):.2f}{interval}" for by_seed, interval in
                  zip(lost, intervals, strict=True)),
                *(f"{ms:.2f}" for ms in times),
            ])  # fmt: skip
    return lines


def rms(one: inference.Infer, other: inference.Infer, datas: list[TaskData], layout: Any) -> float:
    """Returns the root of the mean squared difference between their logits."""
    batches = [(padded(data.dev[""], np.arange(ROWS), layout), data.name) for data in datas]
    return float(
        np.sqrt(
            np.mean(
                np.concatenate([(one(*batch) - other(*batch)).ravel() ** 2 for batch in batches])
            )
        )
    )


if __name__ == "__main__":
    main()
