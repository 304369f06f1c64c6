"""What weights of 8 bits, and of 7, cost students on real tasks, in batches and in single rows, and
how fast they answer.

    python tests/bench/int8.py NAME=FOLDER ... --data GLUE_FOLDER [--tasks sst2 mrpc cola rte stsb]

A folder is one that a run has saved a student in (artifact `student` of its model); those of one
name are seeds of one student: what they lose is told in the mean, with its 95 % interval. `full`
weights take all 8 bits and are multiplied without loss, as a processor with VNNI does it, or
onnxruntime's slower products where there is none; `reduced` ones take 7 bits. A bag has the same
tables in both. *Error* is the root
of the mean squared difference of a logit from torch's, over 64 dev rows of each task in a batch.
The first student of each name is timed, with all others in turn in one process, on one thread: one
text a call. The last line is JSON.
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
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = DataConfig(source="glue", path=given.data, tasks=given.tasks)
    tasks = load_tasks(data)
    found: list[dict[str, Any]] = []
    timed: dict[str, TimedModel] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for number, entry in enumerate(given.students):
            name, folder = entry.split("=")
            own, backends = of_student(
                Path(folder), tasks, data, given.cache, Path(temporary) / str(number)
            )
            found += [{"student": name} | line for line in own]
            for backend, one in backends.items():
                timed.setdefault(f"{name}, {backend}", one)
            print(json.dumps(found[-len(own) :]), flush=True)
        metrics = speed_metrics(timed, dev_texts(tasks), [HEADLINE_SETTING], given.seconds)
    print("\n".join(busy_note(metrics)))
    print("\n".join(markdown(table(found, metrics))))
    print(json.dumps({"hardware": hardware(), "students": found, "speed": metrics}))


def of_student(
    folder: Path, tasks: list[Task], data: DataConfig, cache: Path, to: Path
) -> tuple[list[dict[str, Any]], dict[str, TimedModel]]:
    """What a student loses in each range, and its backends to be timed."""
    student, tokenizer = load_model(folder), pretrained.load_tokenizer(folder, "student")
    datas = [tokenise_task(cache, task, tokenizer, data, 0) for task in tasks]
    side, layout = (
        ModelData(tokenizer, datas, torch.device("cpu")),
        layout_of(tokenizer, student.joined, student.config.max_tokens),
    )
    torchs = torch_infer(student)
    dev = dev_logits(torchs, datas, layout)
    thresholds = thresholds_of(student.config)
    export_onnx(student, tokenizer, to / "onnx")
    found: list[dict[str, Any]] = []
    for weight_range in RANGES:
        if isinstance(student, BagStudent):
            export_bag(student, tokenizer, to / weight_range)
        else:
            export_int8(to / "onnx", to / weight_range, ExportConfig(weight_range=weight_range))
        infer = inference.Student.load(to / weight_range, 1).infer
        own = {
            "range": weight_range,
            "torch": quality_metrics(datas, dev, thresholds)["quality/mean"],
            "error": rms(torchs, infer, datas, layout),
        }
        found.append(own | compare_backend(side, dev, infer, layout, thresholds))
    loaded = in_torch(RunnableModel(student, tokenizer))
    return found, {
        name: loaded._replace(load=partial(inference.Student.load, to / name))
        for name in ("onnx", *RANGES)
    }


def table(found: list[dict[str, Any]], metrics: dict[str, float]) -> list[list[str]]:
    """One row a student and range: the mean over seeds, with the interval of the loss."""
    lines = [
        ["student", "seeds", "torch", "weights", "error", "lost in batches", "lost in single rows",
         "onnx ms", "int8 ms"],
    ]  # fmt: skip
    for name in dict.fromkeys(line["student"] for line in found):
        for weight_range in RANGES:
            seeds = [
                line for line in found if (line["student"], line["range"]) == (name, weight_range)
            ]
            lost = [[line[key] for line in seeds] for key in LOSSES]
            intervals = [
                f" ({interval_text(statistics.mean(own), half_width(own))})" if len(own) > 1 else ""
                for own in lost
            ]
            times = [
                metrics[f"speed/{name}, {backend}/{HEADLINE_SETTING.name}/p50_ms"]
                for backend in ("onnx", weight_range)
            ]
            lines.append([
                name, f"{len(seeds)}", f"{statistics.mean(line['torch'] for line in seeds):.2f}",
                weight_range,
                f"{statistics.mean(line['error'] for line in seeds):.3f}",
                *(f"{statistics.mean(own):.2f}{interval}" for own, interval in
                  zip(lost, intervals, strict=True)),
                *(f"{ms:.2f}" for ms in times),
            ])  # fmt: skip
    return lines


def rms(one: inference.Infer, other: inference.Infer, datas: list[TaskData], layout: Any) -> float:
    """The root of the mean squared difference between their logits."""
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
