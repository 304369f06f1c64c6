"""Measures how fast students are in each backend compared with BERT-base, and what exports lose.

    python tests/bench/inference.py NAME=FOLDER ... --data GLUE_FOLDER [--tasks TASK] [--out OUT]

A FOLDER has a student that a run has saved (artifact `student` of its model). Each student is
exported to float32 and int8, and scored on the dev rows in each backend, in batches and row by row.
All of them and a BERT-base with random weights are timed on one thread as in
mkd/evaluation/speed.py: a row of 128 tokens, and raw sentences of SST-2's dev split with their
tokenization. The last line is JSON.
"""

import argparse
import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from analysis.presentation.table import markdown
from mkd.config import DataConfig, ExportConfig
from mkd.evaluation.scoring import dev_logits, quality_metrics, torch_infer
from mkd.evaluation.speed import (
    SpeedSetting,
    TimedModel,
    busy_note,
    dev_texts,
    embedding_token_ids,
    speed_metrics,
)
from mkd.export.backends import compare_backend, in_torch
from mkd.export.folder import export_int8, export_onnx
from mkd.runtime import inference
from mkd.storage import pretrained
from mkd.students import Student, bert_config, load_model
from mkd.students.transformer import TransformerConfig, TransformerStudent
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Task
from mkd.teachers.task_teacher import RunnableModel
from mkd.tokenization.tokenise import tokenise_task
from mkd.tokenization.tokens import ModelData, layout_of

BACKENDS = ("onnx", "int8")
ONE_ROW = SpeedSetting(1, 128, 1)
SENTENCES = SpeedSetting(32, 0, 1)


def bert_base(vocabulary: int, tasks: list[Task]) -> Student:
    """Returns BERT-base with a head for each task: 12 layers of 768, random weights."""
    sizes = bert_config(vocabulary, 12, 768, 12, 0.1, 512)
    heads = {
        task.name: {
            "labels": list(task.kind.labels),
            "pair": task.kind.pair,
            "mean": 0.0,
            "std": 1.0,
        }
        for task in tasks
    }
    return TransformerStudent(TransformerConfig(encoder=sizes, tasks=heads))


def exported(student: Student, data: ModelData, folder: Path) -> dict[str, dict[str, float]]:
    """Exports the student; returns its scores in torch, and losses and bytes of each backend."""
    layout = layout_of(data.tokenizer, student.joined, student.config.max_tokens)
    logits = dev_logits(torch_infer(student), data.datas, layout)
    export_onnx(student, data.tokenizer, folder / "onnx")
    export_int8(folder / "onnx", folder / "int8", ExportConfig())
    results = {"torch": quality_metrics(data.datas, logits)}
    for name in BACKENDS:
        size = sum(path.stat().st_size for path in (folder / name).iterdir())
        results[name] = compare_backend(
            data, logits, inference.Student.load(folder / name, 1).infer, layout
        ) | {"bytes": float(size)}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("students", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--data", required=True)
    parser.add_argument("--tasks", nargs="+", default=["sst2", "mrpc", "cola", "rte", "stsb"])
    parser.add_argument("--cache", default=".mkd")
    parser.add_argument("--out", help="folder to keep the exports in")
    parser.add_argument("--seconds", type=float, default=60, help="duration of all timing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(args.out or temporary)
        config = DataConfig(source="glue", path=args.data, tasks=args.tasks)
        tasks = load_tasks(config)
        timed: dict[str, TimedModel] = {}
        scores: dict[str, dict[str, dict[str, float]]] = {}
        for entry in args.students:
            name, folder = entry.split("=")
            student, tokenizer = (
                load_model(Path(folder)),
                pretrained.load_tokenizer(Path(folder), name),
            )
            datas = [tokenise_task(Path(args.cache), task, tokenizer, config, 0) for task in tasks]
            scores[name] = exported(
                student, ModelData(tokenizer, datas, torch.device("cpu")), root / name
            )
            timed[f"{name}/torch"] = in_torch(RunnableModel(student, tokenizer))
            for backend in BACKENDS:
                load = partial(inference.Student.load, root / name / backend)
                timed[f"{name}/{backend}"] = TimedModel(load, embedding_token_ids(student))
        bert = RunnableModel(bert_base(len(tokenizer), tasks), tokenizer)
        timed = {"bert-base/torch": in_torch(bert)} | timed
        work = {"sst2": dev_texts(tasks)["sst2"]}
        speed = speed_metrics(timed, work, [ONE_ROW, SENTENCES], args.seconds)
        row = {name: speed[f"speed/{name}/{ONE_ROW.name}/p50_ms"] for name in timed}
        texts = {name: speed[f"speed/{name}/{SENTENCES.name}/rows_per_s"] for name in timed}
        print("\n".join(busy_note(speed)))
    speeds, qualities = list(rows(scores, row, texts)), list(by_task(scores, args.tasks))
    for lines in (speeds, qualities):
        print(
            "\n".join(
                markdown(
                    [list(lines[0]), *([shown(value) for value in line.values()] for line in lines)]
                )
            ),
            end="\n\n",
        )
    print(
        json.dumps({"bert_base_ms": row["bert-base/torch"], "speed": speeds, "quality": qualities})
    )


def by_task(scores: dict[str, dict[str, dict[str, float]]], tasks: list[str]) -> Any:
    """Yields each task's score on dev, one row for each student and backend. In float32, onnx has
    the scores of torch."""
    for name, backends in scores.items():
        for backend, values in backends.items():
            yield {"student": name, "backend": backend} | {
                task: values[f"quality/{task}/score"] for task in tasks
            }


def rows(
    scores: dict[str, dict[str, dict[str, float]]], row: dict[str, float], texts: dict[str, float]
) -> Any:
    """Yields speed, scores and losses, one row for each student and backend."""
    for name, backends in scores.items():
        for backend, values in backends.items():
            key = f"{name}/{backend}"
            yield {
                "student": name, "backend": backend, "ms a row": row[key],
                "times BERT-base": row["bert-base/torch"] / row[key], "sentences/s": texts[key],
                "mean score": values["quality/mean"], "lost in batches": values.get("loss_batches"),
                "lost in single rows": values.get("loss_single_rows"),
                "largest difference": values.get("max_difference"),
                "MB": None if "bytes" not in values else values["bytes"] / 1e6,
            }  # fmt: skip


def shown(value: object) -> str:
    """Formats a number with about three digits, or two decimals if it is below 10."""
    if isinstance(value, float):
        return (
            f"{value:,.0f}"
            if value >= 1000
            else f"{value:.1f}"
            if value >= 10
            else f"{round(value, 2) + 0.0:.2f}"
        )
    return "" if value is None else str(value)


if __name__ == "__main__":
    main()
