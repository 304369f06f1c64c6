"""One run, top to bottom: tasks, tokens, teacher, logits, student, its hard-label twin, quality, speed."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mkd import checkpoints
from mkd.batches import Source, joint_batches, probabilities
from mkd.config import Config, LossConfig
from mkd.evaluate import dev_logits, likeness, quality, retention, selection_scores
from mkd.record import Dataset, Report, Result, silent
from mkd.sources import load_tasks
from mkd.speed import hardware, size_metrics, speed_metrics
from mkd.store import key_of
from mkd.students import Student, make_student
from mkd.students.heads import on
from mkd.students.transformer import TransformerStudent
from mkd.tasks import Task
from mkd.teachers.refined import Refined, fresh_teacher, labelled, logit_store, refined_teacher, teacher_tokenizer
from mkd.tokens import TaskData, layout_of, task_data, tokenizer_fingerprint
from mkd.trainer import train


class Side(NamedTuple):
    """What one model reads: the tasks as its tokenizer gives them, and where it runs."""

    tokenizer: PreTrainedTokenizerBase
    datas: list[TaskData]
    device: torch.device


class Teacher(NamedTuple):
    """A refined teacher, and its logits and scores on dev."""

    side: Side
    refined: Refined
    dev: dict[tuple[str, str], np.ndarray]
    metrics: dict[str, float]


def run_teacher(config: Config, folder: Path, report: Report = silent) -> Result:
    """Refines the teacher (or finds it), scores it, and writes it to `folder`."""
    device = prepare(config)
    tasks = load_tasks(config.data)
    teacher = make_teacher(config, _side(config, tasks, teacher_tokenizer(config, tasks), device, "teacher", report), report)
    teacher.refined.model.save_pretrained(folder)
    teacher.side.tokenizer.save_pretrained(folder)
    metrics = teacher.metrics | size_metrics(teacher.refined.model, folder, config.speed.length)
    metrics |= speed_metrics({"": teacher.refined.model.cpu()}, config.speed, _phase(report, "", "speed"))
    return _result(metrics, tasks, "", teacher, folder)


def run(config: Config, folder: Path, report: Report = silent) -> Result:
    """Refines the teacher (or finds it), distils the student, measures both, and writes the student to `folder`."""
    device = prepare(config)
    tasks = load_tasks(config.data)
    teacher_side = _side(config, tasks, teacher_tokenizer(config, tasks), device, "teacher", report)
    side = _side(config, tasks, _student_tokenizer(config, teacher_side.tokenizer), device, "student", report)
    # A student of the teacher as it is before its refinement: what does not fit together is refused here, not in an hour.
    new_student(config, side, fresh_teacher(config, teacher_side.datas, teacher_side.tokenizer))

    teacher = make_teacher(config, teacher_side, report)
    targets = _soft_targets(config, teacher, report)
    student = distil(config, side, targets, teacher, report, "")
    student.save_pretrained(folder)
    side.tokenizer.save_pretrained(folder)

    layout = layout_of(side.tokenizer, student.joined, config.data.max_length)
    dev = dev_logits(student, side.datas, layout)
    scores = quality(side.datas, dev)
    metrics = scores | likeness(side.datas, dev, teacher.dev) | retention(scores, teacher.metrics)
    metrics |= {f"teacher/{name}": value for name, value in teacher.metrics.items()}
    if config.baseline and targets is not None:
        hard = replace(config, loss=LossConfig(hard_weight=1.0))
        twin = distil(hard, side, None, teacher, report, "baseline/")
        twin_scores = quality(side.datas, dev_logits(twin, side.datas, layout))
        metrics |= {f"baseline/{name}": value for name, value in twin_scores.items()}
    metrics |= size_metrics(student, folder, config.speed.length) | _compared_speed(config, student, teacher, report)
    return _result(metrics, tasks, config.student.name, teacher, folder)


def prepare(config: Config) -> torch.device:
    """Sets torch's threads as the config says, and chooses the device. Raises ValueError for a GPU that is not there."""
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda'; allowed: auto or cpu, as torch finds no GPU here")
    return torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")


def make_teacher(config: Config, side: Side, report: Report) -> Teacher:
    """The teacher of this config, its logits on dev and their scores."""
    probabilities([Source(data, labelled(data), None) for data in side.datas], config.teacher.train.sampling)
    probabilities([Source(data, data.train_rows, None) for data in side.datas], config.train.sampling)
    refined = refined_teacher(config, side.datas, side.tokenizer, side.device, _phase(report, "teacher/", "teacher"))
    dev = {
        (data.name, suffix): np.asarray(logit_store(Path(config.cache), refined, store, data.name))
        for data in side.datas
        for suffix, store in data.dev.items()
    }
    return Teacher(side, refined, dev, quality(side.datas, dev))


def new_student(config: Config, side: Side, teacher: TransformerStudent) -> Student:
    """The student before its training, from the weights that student.init names; the teacher is left as it is."""
    encoder: PreTrainedModel | None = None
    if config.student.init == "teacher":
        encoder = copy.deepcopy(teacher.encoder)
    elif config.student.init:
        encoder = checkpoints.load_encoder(checkpoints.resolve(config.student.init, "student.init"), "student.init")
    student = make_student(config.student, side.datas, len(side.tokenizer), config.data.max_length, encoder)
    return on(student, side.device)


def distil(
    config: Config, side: Side, targets: list[np.ndarray] | None, teacher: Teacher, report: Report, prefix: str
) -> Student:
    """A student trained jointly on all tasks; without targets, on their labels alone."""
    torch.manual_seed(config.seed)
    student = new_student(config, side, teacher.refined.model)
    layout = layout_of(side.tokenizer, student.joined, config.data.max_length)
    if targets is None:
        sources = [Source(data, labelled(data), None) for data in side.datas]
    else:
        sources = [Source(data, data.train_rows, logits) for data, logits in zip(side.datas, targets, strict=True)]
    batches = joint_batches(sources, layout, config.train.batch_size, config.train.sampling, config.seed)

    def scores() -> dict[str, float]:
        return selection_scores(student, side.datas, layout)

    train(student, batches, scores, config.loss, config.train, _phase(report, prefix, f"{prefix}student"))
    student.train(False)
    return student


def _side(
    config: Config, tasks: list[Task], tokenizer: PreTrainedTokenizerBase, device: torch.device, role: str, report: Report
) -> Side:
    told = _phase(report, "", f"{role} tokens")
    datas = []
    for index, task in enumerate(tasks):
        datas.append(task_data(Path(config.cache), task, tokenizer, config.data, config.seed))
        told(index + 1, {"progress": (index + 1) / len(tasks)})
    return Side(tokenizer, datas, device)


def _soft_targets(config: Config, teacher: Teacher, report: Report) -> list[np.ndarray] | None:
    if config.loss.hard_weight == 1:
        return None
    root = Path(config.cache)
    return [
        logit_store(root, teacher.refined, data.train, data.name, _phase(report, "", f"logits of {data.name}"))
        for data in teacher.side.datas
    ]


def _student_tokenizer(config: Config, teachers_own: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer that student.tokenizer names, else that of student.init, else the teacher's.

    Raises ValueError for one that is not of the embeddings which student.init names.
    """
    init, name = config.student.init, config.student.tokenizer
    own = teachers_own
    if init not in ("", "teacher"):
        own = checkpoints.load_tokenizer(checkpoints.resolve(init, "student.init"), "student.init")
    if not name:
        return own
    tokenizer = checkpoints.load_tokenizer(checkpoints.resolve(name, "student.tokenizer"), "student.tokenizer")
    if init and tokenizer_fingerprint(tokenizer) != tokenizer_fingerprint(own):
        raise ValueError(
            f"student.tokenizer is {name!r}; allowed: that of student.init={init}, whose embeddings are by its tokens"
        )
    return tokenizer


def _compared_speed(config: Config, student: Student, teacher: Teacher, report: Report) -> dict[str, float]:
    """Both models' speed on the CPU, and `speed/.../ratio`: how many times faster than the teacher the student is."""
    models: dict[str, Student] = {"": student.cpu(), "teacher/": teacher.refined.model.cpu()}
    found = speed_metrics(models, config.speed, _phase(report, "", "speed"))
    settings = [name.removesuffix("/p50_ms") for name in found if name.startswith("speed/") and name.endswith("/p50_ms")]
    return found | {f"{s}/ratio": found[f"teacher/{s}/p50_ms"] / found[f"{s}/p50_ms"] for s in settings}


def _result(metrics: dict[str, float], tasks: list[Task], student: str, teacher: Teacher, folder: Path) -> Result:
    datasets = [_dataset(task, data) for task, data in zip(tasks, teacher.side.datas, strict=True)]
    notes = [f"{task.name}: {note}" for task in tasks for note in task.notes]
    notes += [
        f"{d.task}: {d.unlabelled_rows:,} of {d.train_rows:,} training rows have no label and serve distillation only"
        for d in datasets
        if d.unlabelled_rows
    ]
    encoder = teacher.refined.model.encoder.config
    name = f"{encoder.model_type}-{encoder.num_hidden_layers}x{encoder.hidden_size}"
    return Result(metrics, datasets, notes, hardware(), student, name, teacher.refined.key, str(folder))


def _dataset(task: Task, data: TaskData) -> Dataset:
    unlabelled = int(np.isnan(data.train.labels[data.train_rows]).sum())
    dev_rows = sum(len(store.labels) for store in data.dev.values())
    fingerprint = key_of({"train": task.train.fingerprint, "dev": {name: split.fingerprint for name, split in task.dev.items()}})
    return Dataset(
        task.name, task.train.source, fingerprint, len(data.train_rows), unlabelled, len(data.selection_rows), dev_rows
    )


def _phase(report: Report, prefix: str, name: str) -> Report:
    """A report whose metrics get the prefix, and whose `progress` the phase's name."""

    def told(step: int, metrics: dict[str, float]) -> None:
        report(step, {f"progress/{name}" if key == "progress" else prefix + key: value for key, value in metrics.items()})

    return told
