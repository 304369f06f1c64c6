"""The teacher refined on all tasks, beside one teacher a task: the claim of MT-DNN
(Liu et al. 2019, arXiv 1901.11504).

    PYTHONPATH=. python tests/bench/refinement.py OUT/NAME --tasks rte mrpc \\
        --config glue --data.path GLUE_FOLDER --teacher.checkpoint ENCODER ...

The settings are those of the joint teacher, which is refined if the store does not have it. Each of
--tasks gets a teacher of its own from the same encoder: --epochs over its training rows, with the
other settings of teacher.train. Rows and selection split are the same. The answers on dev go to
OUT/NAME, where `tests/bench/evidence.py` compares both; what is there is not done again.
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
    """Returns the settings of one task's teacher. rows: its training rows."""
    own = config.teacher.train
    steps = max(1, round(epochs * rows / own.batch_size))
    train = replace(own, steps=steps, eval_every=-(-steps // 3), sampling=SamplingConfig())
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
    """Refines what is not there yet."""
    torch.set_num_threads(config.threads)
    with progress.phase_bars() as report:
        joint = load_data_and_teacher(config, report)
    config = joint.data.config
    rows = {data.name: len(data.train_rows) for data in joint.data.student_data.datas}
    configs = {task: config_of_one(config, task, rows[task], epochs) for task in tasks}
    folder.mkdir(parents=True, exist_ok=True)
    all_file, one_file = (folder / f"{name}-0.json" for name in (ALL_TASKS, ONE_TASK))
    of = {"joint": teacher_of(joint).key, "tasks": tasks, "epochs": epochs}
    if is_done(all_file, key_of(of)) and is_done(one_file, key_of(of)):
        return
    start = time.perf_counter()
    with progress.phase_bars() as report:
        single = [load_data_and_teacher(own, report) for own in configs.values()]
    seconds = time.perf_counter() - start
    datas = [data for one in single for data in one.data.student_data.datas]
    about = about_now(config.threads) | {"key": key_of(of), "seed": 0}
    ours = teacher_of(joint).answers
    save(folder, all_file.stem, ours, datas, about | {"variant": ALL_TASKS})
    theirs = merged([teacher_of(one).answers for one in single])
    save(folder, one_file.stem, theirs, datas, about | {"variant": ONE_TASK, "seconds": seconds})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT/NAME")
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--epochs", type=float, default=3)
    given, rest = parser.parse_known_args()
    config = cli.parse(rest, "", DistillSettings).core()
    main(config, given.out, given.tasks, given.epochs)
