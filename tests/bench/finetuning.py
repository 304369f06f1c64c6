"""Measures what fine-tuning a distilled student on a new task gains over training a new student.

    PYTHONPATH=. python tests/bench/finetuning.py OUT TASKS.yaml --rows 200 1000 0 \\
        --start NAME=FOLDER NAME=FOLDER ... --config bag --student.init ENCODER

Each task is learnt alone, from so many of its training rows (0: all). A FOLDER has a distilled
student, for example from tests/bench/claims.py; those with the same NAME are its seeds. Each is
compared with two new students of the same size: one with random weights, and one with the
embeddings of student.init, which has the settings that are given. All have the same rows, steps and
seed; the new ones have the default learning rate of a new student. Each training writes its scores
to OUT and is not repeated; other settings or students are refused. The table has means over the
seeds, and the difference between fine-tuning and the embeddings, with a 95 % t interval over the
seeds. It is printed, and written to OUT/finetuning.md.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
import yaml

from analysis.presentation.table import markdown
from experiments import cli
from experiments.settings import DistillSettings
from mkd import names
from mkd.config import DataConfig, FinetuneConfig, PretrainConfig
from mkd.evaluation.intervals import half_width, interval_text
from mkd.evaluation.scoring import quality_metrics
from mkd.evaluation.speed import hardware
from mkd.pipeline import load_data_and_teacher
from mkd.runs.finetune import run_finetune
from mkd.storage.run_folder import result_settings
from mkd.storage.store import file_hash, key_of
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Row, Task
from tests.bench.claims import answers, commit, is_done, student_of

TEXTS = ("text_a", "text_b")
RANDOM, EMBEDDINGS, FINETUNED = SIDES = ("random weights", "teacher's embeddings", "fine-tuned")


def write_rows(rows: list[Row], file: Path) -> None:
    """Writes rows as JSON lines with the columns text_a, text_b and label."""
    with file.open("w") as lines:
        for row in rows:
            print(json.dumps(row._asdict()), file=lines)


def task_file(task: Task, rows: int, seed: int, folder: Path) -> Path:
    """Writes a task with `rows` of its training rows, drawn by the seed; 0: all."""
    train = [row for row in task.train.read() if row.label is not None]
    write_rows(Random(seed).sample(train, rows) if rows else train, folder / "train.jsonl")
    write_rows(list(task.dev[""].read()), folder / "dev.jsonl")
    kind = task.kind
    described: dict[str, Any] = {
        "train": str(folder / "train.jsonl"),
        "dev": str(folder / "dev.jsonl"),
        "text": list(TEXTS) if kind.pair else TEXTS[0],
        "label": "label",
        "labels": list(range(len(kind.labels))),
        "metrics": list(kind.metrics),
    }
    file = folder / "task.yaml"
    file.write_text(yaml.safe_dump({task.name: described}))
    return file


def starts_of(entries: list[str]) -> Iterator[tuple[str, int, Path]]:
    """Yields name, seed and folder of each student."""
    seeds: dict[str, int] = {}
    for entry in entries:
        name, _, folder = entry.partition("=")
        yield name, seeds.get(name, 0), Path(folder)
        seeds[name] = seeds.get(name, 0) + 1


def table(results: list[dict[str, Any]]) -> list[str]:
    """Returns a row for each student, task and number of rows, and for the mean over the tasks."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for one in results:
        groups.setdefault((one["student"], one["task"], one["rows"]), []).append(one)
    for student, rows in dict.fromkeys((one["student"], one["rows"]) for one in results):
        alike = [one for one in results if (one["student"], one["rows"]) == (student, rows)]
        seeds = dict.fromkeys(one["seed"] for one in alike)
        groups[student, "mean", rows] = [
            {side: statistics.mean(o[side] for o in alike if o["seed"] == seed) for side in SIDES}
            for seed in seeds
        ]
    body = []
    for (student, task, rows), group in groups.items():
        means = [f"{statistics.mean(one[side] for one in group):.1f}" for side in SIDES]
        differences = [one[FINETUNED] - one[EMBEDDINGS] for one in group]
        middle = statistics.mean(differences)
        body.append(
            [student, task, f"{rows:,}" if rows else "all", str(len(group)), *means]
            + [f"{middle:+.1f}", interval_text(middle, half_width(differences))]
        )
    head = ["student", "task", "rows", "seeds", *SIDES, "difference", "95 % interval"]
    return markdown([head, *body])


def both_ways(settings: DistillSettings, folder: Path, name: str) -> dict[str, float]:
    """Fine-tunes the student in a folder, and trains one from random weights."""
    finetune = FinetuneConfig(student=str(folder))
    with tempfile.TemporaryDirectory() as work:
        metrics = run_finetune(settings.core(), finetune, Path(work)).metrics
    quality = names.quality(name)
    return {FINETUNED: metrics[quality], RANDOM: metrics[names.ANEW + quality]}


def from_embeddings(settings: DistillSettings, folder: Path, name: str) -> dict[str, float]:
    """Trains a new student that has the embeddings of student.init."""
    defaults = FinetuneConfig()
    config = replace(
        settings.core(), loss=defaults.loss, train=defaults.train, pretrain=PretrainConfig()
    )
    inputs = load_data_and_teacher(config)
    data = inputs.data.student_data
    predictions = answers(student_of(inputs.data.config, inputs, None), data)
    return {EMBEDDINGS: quality_metrics(data.datas, *predictions)[names.quality(name)]}


def measured(
    settings: DistillSettings, folder: Path, task: Task, rows: int, seed: int, out: Path
) -> dict[str, Any]:
    """Returns the scores of all variants on the task's dev rows, from `out` if they are there."""
    scores: dict[str, Any] = {"task": task.name, "rows": rows, "seed": seed}
    for trained in (both_ways, from_embeddings):
        file = out / f"{task.name}-{rows}-{seed}-{trained.__name__}.json"
        of = {"settings": result_settings(asdict(replace(settings, seed=seed).core()))}
        key = key_of(of | {"student": file_hash(folder / "model.safetensors")})
        if not is_done(file, key):
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as work:
                path = str(task_file(task, rows, seed, Path(work)))
                data = replace(settings.data, source="files", path=path)
                variant_scores = trained(replace(settings, data=data, seed=seed), folder, task.name)
            about = {"key": key, "seconds": time.perf_counter() - start, "commit": commit()}
            about |= hardware()
            file.write_text(json.dumps(about | variant_scores))
        scores |= json.loads(file.read_text())
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("tasks", help="the YAML file of the tasks")
    parser.add_argument(
        "--only", nargs="*", default=[], help="names of the tasks to use; none: all"
    )
    parser.add_argument("--rows", nargs="+", type=int, default=[0])
    parser.add_argument("--start", nargs="+", required=True, metavar="NAME=FOLDER")
    args, rest = parser.parse_known_args()
    settings = cli.parse(rest, "", DistillSettings)
    settings = replace(
        settings,
        export=replace(settings.export, backends=[]),
        speed=replace(settings.speed, seconds=1.0),
    )
    torch.set_num_threads(settings.threads)
    tasks = load_tasks(DataConfig(source="files", path=args.tasks, tasks=args.only))
    results = []
    for name, seed, folder in starts_of(args.start):
        (args.out / name).mkdir(parents=True, exist_ok=True)
        for task in tasks:
            for rows in args.rows:
                scores = measured(settings, folder, task, rows, seed, args.out / name)
                results.append(scores | {"student": name})
                print(results[-1], flush=True)
    lines = table(results)
    (args.out / "finetuning.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
