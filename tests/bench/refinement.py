"""Compares a teacher refined on all tasks with one teacher per task.

    PYTHONPATH=. python tests/bench/refinement.py OUT/NAME --tasks rte mrpc \\
        --config glue --data.path GLUE_FOLDER --teacher.checkpoint ENCODER ...

This is the claim of MT-DNN (Liu et al. 2019, arXiv 1901.11504). The settings are those of the joint
teacher, which is refined if the cache does not have it. Each of --tasks gets its own teacher from
the same encoder: --epochs over its training rows, with the other settings of teacher.train. Rows
and selection split are the same. The answers on dev are written to OUT/NAME, where
`tests/bench/evidence.py` compares both. Results that are there are not computed again.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from experiments import cli
from experiments.settings import DistillSettings
from mkd import progress
from mkd.config import Config, SamplingConfig
from mkd.pipeline import DataAndTeacher, load_data_and_teacher
from mkd.storage.store import key_of
from mkd.teachers.multitask import MultiTaskTeacher
from tests.bench.claims import about_now, is_done, merged, save

ALL_TASKS, ONE_TASK = "all tasks", "one task"


def config_of_one(config: Config, task: str, rows: int, epochs: float) -> Config:
    """Returns the settings of one task's teacher. rows: number of its training rows."""
    settings = config.teacher.train
    steps = max(1, round(epochs * rows / settings.batch_size))
    train = replace(settings, steps=steps, eval_every=-(-steps // 3), sampling=SamplingConfig())
    return replace(
        config,
        data=replace(config.data, tasks=[task]),
        train=replace(config.train, sampling=SamplingConfig()),
        teacher=replace(config.teacher, train=train),
    )


def teacher_of(inputs: DataAndTeacher) -> MultiTaskTeacher:
    """Returns the teacher of the inputs."""
    assert inputs.teacher is not None, "the settings have one"
    return inputs.teacher


def main(config: Config, folder: Path, tasks: list[str], epochs: float) -> None:
    """Refines the teachers that are not there yet."""
    torch.set_num_threads(config.threads)
    with progress.phase_bars() as report:
        joint = load_data_and_teacher(config, report)
    config = joint.data.config
    rows = {data.name: len(data.train_rows) for data in joint.data.student_data.datas}
    configs = {task: config_of_one(config, task, rows[task], epochs) for task in tasks}
    folder.mkdir(parents=True, exist_ok=True)
    all_file, one_file = (folder / f"{name}-0.json" for name in (ALL_TASKS, ONE_TASK))
    identity = {"joint": teacher_of(joint).key, "tasks": tasks, "epochs": epochs}
    if is_done(all_file, key_of(identity)) and is_done(one_file, key_of(identity)):
        return
    start = time.perf_counter()
    with progress.phase_bars() as report:
        single = [load_data_and_teacher(one_config, report) for one_config in configs.values()]
    seconds = time.perf_counter() - start
    datas = [data for one in single for data in one.data.student_data.datas]
    about = about_now(config.threads) | {"key": key_of(identity), "seed": 0}
    joint_answers = teacher_of(joint).answers
    save(folder, all_file.stem, joint_answers, datas, about | {"variant": ALL_TASKS})
    single_answers = merged([teacher_of(one).answers for one in single])
    save(
        folder,
        one_file.stem,
        single_answers,
        datas,
        about | {"variant": ONE_TASK, "seconds": seconds},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT/NAME")
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--epochs", type=float, default=3)
    args, rest = parser.parse_known_args()
    config = cli.parse(rest, "", DistillSettings).core()
    main(config, args.out, args.tasks, args.epochs)
