"""Trains students of several seeds and variants on one teacher, to measure the claims.

    PYTHONPATH=. python tests/bench/claims.py OUT/NAME --seeds 0 1 2 \\
        --config bag --data.path TASKS.yaml --teacher.checkpoint ENCODER ...

All variants have the settings that are given:

- `distilled`: one student for all tasks, from the teacher's logits.
- `labels alone`: the same student from the labels, without the teacher.
- `one by one`: a distilled student for each task, each with all the steps. It stops early after
  train.patience evaluations, or after 3 if that is not set.
- `text first`: distilled after pretraining on text (needs pretrain.steps). The other variants are
  not pretrained.

A seed decides a student's weights, batches and dropout; teacher, tokens and selection split have
the seed of the config. Each training writes its answers on dev and its scores to OUT/NAME. It is
not repeated, so a bench that was stopped can be continued. `tests/bench/evidence.py` makes tables
and pictures of OUT.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from experiments import cli
from experiments.settings import DistillSettings
from mkd import names, progress
from mkd.config import Config, MatchConfig, PretrainConfig, SamplingConfig
from mkd.evaluation.answers import NO_ANSWERS, Answers, answers_of, dev_predictions
from mkd.evaluation.scoring import dev_logits, quality_metrics, torch_infer
from mkd.evaluation.speed import hardware
from mkd.pipeline import DataAndTeacher, distil, load_data_and_teacher
from mkd.storage.run_folder import result_settings
from mkd.storage.store import key_of
from mkd.student_result import save_model
from mkd.students import Student
from mkd.teachers.multitask import TaskTarget, soft_targets
from mkd.tokenization.tokens import ModelData, TaskData, layout_of

DISTILLED, ALONE, ONE_BY_ONE, TEXT_FIRST = VARIANTS = (
    "distilled",
    "labels alone",
    "one by one",
    "text first",
)
TEACHER = "teacher"
PATIENCE = 3


class Training(NamedTuple):
    """The inputs that all variants and seeds share. targets: the teacher's, one for each task."""

    inputs: DataAndTeacher
    targets: list[TaskTarget]


def commit() -> str:
    """Returns the commit of the code, with a + if files differ from it."""
    root = Path(__file__).parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def variant_config(config: Config, variant: str, seed: int) -> Config:
    """Returns the settings of a variant's student."""
    if variant != TEXT_FIRST:
        config = replace(config, pretrain=PretrainConfig())
    if variant == ALONE:
        loss = replace(config.loss, hard_weight=1.0, hard_weight_end=None, match=MatchConfig())
        config = replace(config, loss=loss)
    if variant == ONE_BY_ONE:
        patience = config.train.patience or PATIENCE
        config = replace(
            config, train=replace(config.train, patience=patience, sampling=SamplingConfig())
        )
    return replace(config, seed=seed)


def student_of(config: Config, inputs: DataAndTeacher, targets: list[TaskTarget] | None) -> Student:
    """Trains a student on the tasks of the inputs. targets: None for labels alone."""
    with tempfile.TemporaryDirectory() as folder, progress.phase_bars() as report:
        file = Path(folder) / "student.safetensors"
        return distil(config, inputs, targets, report, file)


def of_one_task(training: Training, task: int) -> Training:
    """Returns the inputs and targets of one task. task: its position."""
    data = training.inputs.data
    one = data.student_data._replace(datas=[data.student_data.datas[task]])
    inputs = training.inputs._replace(data=data._replace(student_data=one))
    return Training(inputs, [training.targets[task]])


def answers(student: Student, data: ModelData) -> Answers:
    """Returns the student's answers on the dev splits of these tasks."""
    layout = layout_of(data.tokenizer, student.joined, student.config.max_tokens)
    with progress.phase_bars() as report:
        logits = dev_logits(torch_infer(student), data.datas, layout, report)
    return answers_of(student, logits)


def merged(answers_of_tasks: list[Answers]) -> Answers:
    """Merges the answers of one student per task into those of one student."""
    return Answers(
        {key: logits for part in answers_of_tasks for key, logits in part.logits.items()},
        {name: each for part in answers_of_tasks for name, each in part.thresholds.items()},
        {name: each for part in answers_of_tasks for name, each in part.temperatures.items()},
    )


def about_now(threads: int) -> dict[str, Any]:
    """Returns commit, date, threads and hardware for a record."""
    return {"commit": commit(), "date": str(date.today()), "threads": threads} | hardware()


def save(
    folder: Path, name: str, model_answers: Answers, datas: list[TaskData], about: dict[str, Any]
) -> None:
    """Writes predictions, then scores of a model. The second file marks both as complete."""
    pd.DataFrame(dev_predictions(datas, model_answers, NO_ANSWERS)).to_parquet(
        folder / f"{name}.parquet"
    )
    metrics = quality_metrics(datas, *model_answers)
    scores = {data.name: metrics[names.quality(data.name)] for data in datas}
    official = {
        data.name: [metric + suffix for suffix in data.dev for metric in data.kind.metrics]
        for data in datas
    }
    record = about | {"scores": scores, "metrics": official}
    temporary = folder / f"{name}.json.new"
    temporary.write_text(json.dumps(record, indent=1))
    temporary.replace(folder / f"{name}.json")
    print(name, f"mean {metrics[names.QUALITY_MEAN]:.2f}", flush=True)


def is_done(file: Path, key: str) -> bool:
    """Returns whether a training is done. Exits if it was done with other settings."""
    if not file.exists():
        return False
    if json.loads(file.read_text())["key"] != key:
        sys.exit(f"{file} is of other settings or another model; give another folder")
    return True


def main(config: Config, folder: Path, seeds: list[int], variants: list[str]) -> None:
    """Trains all students that are not in the folder yet."""
    if config.pretrain.steps == 0 and TEXT_FIRST in variants:
        sys.exit(f"--variants has {TEXT_FIRST!r}; it needs pretrain.steps")
    torch.set_num_threads(config.threads)
    with progress.phase_bars() as report:
        inputs = load_data_and_teacher(config, report)
    config, teacher, data = inputs.data.config, inputs.teacher, inputs.data.student_data
    if teacher is None:
        sys.exit("the settings have no teacher; distillation needs one")
    with progress.phase_bars() as report:
        targets = soft_targets(config.loss, config.stores.root, data, teacher, report)
    if targets is None:
        sys.exit("loss.hard_weight is 1; distillation needs a smaller one")
    training = Training(inputs, targets)
    folder.mkdir(parents=True, exist_ok=True)
    machine = about_now(config.threads)
    if not is_done(folder / f"{TEACHER}.json", teacher.key):
        if teacher.refined is not None:
            tokenizer = inputs.data.teacher_data.tokenizer
            save_model(teacher.refined.model, tokenizer, folder / TEACHER)
        save(folder, TEACHER, teacher.answers, data.datas, machine | {"key": teacher.key})
    for seed in seeds:
        for variant in variants:
            settings = variant_config(config, variant, seed)
            identity = result_settings(asdict(settings)) | {"teacher": teacher.key}
            name, key = f"{variant}-{seed}", key_of(identity)
            if is_done(folder / f"{name}.json", key):
                continue
            start = time.perf_counter()
            if variant == ONE_BY_ONE:
                trainings = [of_one_task(training, number) for number in range(len(data.datas))]
            else:
                trainings = [training]
            students = [
                student_of(settings, one.inputs, None if variant == ALONE else one.targets)
                for one in trainings
            ]
            about = {"key": key, "variant": variant, "seed": seed}
            about |= {"seconds": time.perf_counter() - start, "load": os.getloadavg()[0]}
            answers_of_parts = [
                answers(student, one.inputs.data.student_data)
                for student, one in zip(students, trainings, strict=True)
            ]
            if variant in (DISTILLED, TEXT_FIRST):
                save_model(students[0], data.tokenizer, folder / name)
            save(folder, name, merged(answers_of_parts), data.datas, machine | about)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT/NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[DISTILLED, ALONE])
    args, rest = parser.parse_known_args()
    main(cli.parse(rest, "", DistillSettings).core(), args.out, args.seeds, args.variants)
