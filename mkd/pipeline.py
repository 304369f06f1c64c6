"""One run, top to bottom: tasks, tokens, teacher, logits, student, its hard-label twin, quality, speed."""

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
from mkd.teachers import Refined, labelled, logit_store, refined_teacher, teacher_tokenizer
from mkd.tokens import TaskData, layout_of, task_data, tokenizer_fingerprint
from mkd.trainer import train


class Teacher(NamedTuple):
    """A refined teacher with what it reads and what it scored on dev."""

    refined: Refined
    tokenizer: PreTrainedTokenizerBase
    datas: list[TaskData]
    metrics: dict[str, float]
    dev: dict[tuple[str, str], np.ndarray]


def run_teacher(config: Config, folder: Path, report: Report = silent) -> Result:
    """Refines the teacher (or finds it), scores it, and writes it to `folder`."""
    device = prepare(config)
    tasks = load_tasks(config.data)
    teacher = make_teacher(config, tasks, device, report)
    teacher.refined.model.save_pretrained(folder)
    teacher.tokenizer.save_pretrained(folder)
    metrics = teacher.metrics | size_metrics(teacher.refined.model, folder, config.speed.length)
    metrics |= speed_metrics({"": teacher.refined.model.cpu()}, config.speed, _phase(report, "", "speed"))
    return _result(metrics, tasks, "", teacher, folder)


def run(config: Config, folder: Path, report: Report = silent) -> Result:
    """Refines the teacher (or finds it), distils the student, measures both, and writes the student to `folder`."""
    device = prepare(config)
    tasks = load_tasks(config.data)
    teacher = make_teacher(config, tasks, device, report)

    tokenizer = _student_tokenizer(config, teacher)
    datas = _all_task_data(config, tasks, tokenizer, "student tokens", report)
    targets = _soft_targets(config, teacher, report)
    student = distil(config, datas, targets, teacher, tokenizer, device, report, "")
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    layout = layout_of(tokenizer, student.joined, config.data.max_length)
    dev = dev_logits(student, datas, layout)
    scores = quality(datas, dev)
    metrics = scores | likeness(datas, dev, teacher.dev) | retention(scores, teacher.metrics)
    metrics |= {f"teacher/{name}": value for name, value in teacher.metrics.items()}
    if config.baseline and config.loss.hard_weight < 1:
        hard = replace(config, loss=LossConfig(hard_weight=1.0))
        twin = distil(hard, datas, None, teacher, tokenizer, device, report, "baseline/")
        twin_scores = quality(datas, dev_logits(twin, datas, layout))
        metrics |= {f"baseline/{name}": value for name, value in twin_scores.items()}
    metrics |= size_metrics(student, folder, config.speed.length) | _compared_speed(config, student, teacher, report)
    return _result(metrics, tasks, config.student.name, teacher._replace(datas=datas), folder)


def prepare(config: Config) -> torch.device:
    """Sets torch's threads as the config says, and chooses the device. Raises ValueError for a GPU that is not there."""
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda'; allowed: auto or cpu, as torch finds no GPU here")
    return torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")


def make_teacher(config: Config, tasks: list[Task], device: torch.device, report: Report) -> Teacher:
    """The teacher of this config, its logits on dev and their scores."""
    tokenizer = teacher_tokenizer(config, tasks)
    datas = _all_task_data(config, tasks, tokenizer, "teacher tokens", report)
    probabilities([Source(data, labelled(data), None) for data in datas], config.teacher.train.sampling)
    probabilities([Source(data, data.train_rows, None) for data in datas], config.train.sampling)
    refined = refined_teacher(config, datas, tokenizer, device, _phase(report, "teacher/", "teacher"))
    dev = {
        (data.name, suffix): np.asarray(logit_store(Path(config.cache), refined, store, data.name))
        for data in datas
        for suffix, store in data.dev.items()
    }
    return Teacher(refined, tokenizer, datas, quality(datas, dev), dev)


def distil(
    config: Config,
    datas: list[TaskData],
    targets: list[np.ndarray] | None,
    teacher: Teacher,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    report: Report,
    prefix: str,
) -> Student:
    """A student trained jointly on all tasks; without targets, on their labels alone."""
    torch.manual_seed(config.seed)
    student = make_student(config.student, datas, len(tokenizer), config.data.max_length, _init(config, teacher))
    student = on(student, device)
    layout = layout_of(tokenizer, student.joined, config.data.max_length)
    if targets is None:
        sources = [Source(data, labelled(data), None) for data in datas]
    else:
        sources = [Source(data, data.train_rows, logits) for data, logits in zip(datas, targets, strict=True)]
    batches = joint_batches(sources, layout, config.train.batch_size, config.train.sampling, config.seed)

    def scores() -> dict[str, float]:
        return selection_scores(student, datas, layout)

    train(student, batches, scores, config.loss, config.train, _phase(report, prefix, f"{prefix}student"))
    student.train(False)
    return student


def _all_task_data(
    config: Config, tasks: list[Task], tokenizer: PreTrainedTokenizerBase, phase: str, report: Report
) -> list[TaskData]:
    told = _phase(report, "", phase)
    datas = []
    for index, task in enumerate(tasks):
        datas.append(task_data(Path(config.cache), task, tokenizer, config.data, config.seed))
        told(index + 1, {"progress": (index + 1) / len(tasks)})
    return datas


def _soft_targets(config: Config, teacher: Teacher, report: Report) -> list[np.ndarray] | None:
    if config.loss.hard_weight == 1:
        return None
    root = Path(config.cache)
    return [
        logit_store(root, teacher.refined, data.train, data.name, _phase(report, "", f"logits of {data.name}"))
        for data in teacher.datas
    ]


def _student_tokenizer(config: Config, teacher: Teacher) -> PreTrainedTokenizerBase:
    if config.student.tokenizer:
        setting, name = "student.tokenizer", config.student.tokenizer
    elif config.student.init not in ("", "teacher"):
        setting, name = "student.init", config.student.init
    else:
        return teacher.tokenizer
    tokenizer = checkpoints.load_tokenizer(checkpoints.resolve(name, setting), setting)
    init = config.student.init
    if config.student.tokenizer and init:
        own = teacher.tokenizer
        if init != "teacher":
            own = checkpoints.load_tokenizer(checkpoints.resolve(init, "student.init"), "student.init")
        if tokenizer_fingerprint(tokenizer) != tokenizer_fingerprint(own):
            raise ValueError(f"{setting} is {name!r}; allowed: that of student.init={init}, whose embeddings are by its tokens")
    return tokenizer


def _init(config: Config, teacher: Teacher) -> PreTrainedModel | None:
    """A copy of the encoder that the student's weights come from."""
    if config.student.init == "":
        return None
    if config.student.init == "teacher":
        copy = TransformerStudent(teacher.refined.model.config)
        copy.load_state_dict(teacher.refined.model.state_dict())
        return copy.encoder
    return checkpoints.load_encoder(checkpoints.resolve(config.student.init, "student.init"), "student.init")


def _compared_speed(config: Config, student: Student, teacher: Teacher, report: Report) -> dict[str, float]:
    """Both models' speed on the CPU, and `speed/.../ratio`: how many times faster than the teacher the student is."""
    models: dict[str, Student] = {"": student.cpu(), "teacher/": teacher.refined.model.cpu()}
    found = speed_metrics(models, config.speed, _phase(report, "", "speed"))
    settings = [name.removesuffix("/p50_ms") for name in found if name.startswith("speed/") and name.endswith("/p50_ms")]
    return found | {f"{s}/ratio": found[f"teacher/{s}/p50_ms"] / found[f"{s}/p50_ms"] for s in settings}


def _result(metrics: dict[str, float], tasks: list[Task], student: str, teacher: Teacher, folder: Path) -> Result:
    datasets = [_dataset(task, data) for task, data in zip(tasks, teacher.datas, strict=True)]
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
