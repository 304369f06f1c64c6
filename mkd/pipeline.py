"""One run, top to bottom: tasks, tokens, teacher, logits, student, its hard-label twin, quality, speed."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mkd import checkpoints
from mkd.augment import augmented
from mkd.balance import check_task_weights
from mkd.batches import Source, joint_batches, probabilities
from mkd.config import Config, StudentConfig
from mkd.evaluate import dev_logits, likeness, predict, quality, retention, selection_scores
from mkd.mixup import mixed_batches
from mkd.parts import joined
from mkd.record import Dataset, Report, Result, silent
from mkd.sources import load_tasks
from mkd.speed import Timed, hardware, size_metrics, speed_metrics
from mkd.store import key_of
from mkd.students import Student, load_model, make_student
from mkd.students.adoption import adopted, known_tasks
from mkd.students.embeddings import input_table, trim
from mkd.students.heads import on
from mkd.students.transformer import TransformerStudent
from mkd.tasks import Task
from mkd.teachers import REFINED, Known, labeller, other_labellers, refined_tasks, settled, tokenizer_of, weakness, weaknesses
from mkd.teachers.finetuned import Classifier, FineTuned
from mkd.teachers.labeller import Labeller
from mkd.teachers.refined import Head, Refined, fresh_teacher, labelled, refined_teacher
from mkd.tokens import TaskData, layout_of, task_data, tokenizer_fingerprint
from mkd.trainer import train
from mkd.vocabulary import kept_tokens


class Side(NamedTuple):
    """What one model reads: the tasks as its tokenizer gives them, and where it runs."""

    tokenizer: PreTrainedTokenizerBase
    datas: list[TaskData]
    device: torch.device


class Teacher(NamedTuple):
    """What teaches each task, with its logits and scores on dev, as far as they are known.

    name, key: of all that teaches. labellers: one a task, in their order. refined: the multi-task teacher, where a task has
    it. model: the one that the student's speed is measured against, the refined teacher or else the first checkpoint.
    """

    name: str
    key: str
    labellers: list[Labeller]
    refined: Refined | None
    model: TransformerStudent | Classifier | None
    dev: dict[tuple[str, str], np.ndarray]
    metrics: dict[str, float]


def run_teacher(config: Config, folder: Path, report: Report = silent) -> Result:
    """Refines the teacher (or finds it), scores it, and writes it to `folder`."""
    device = prepare(config)
    tasks = load_tasks(config.data)
    config = settled(config, tasks)
    tokenizer = tokenizer_of(config, tasks)
    tasks = refined_tasks(config, tasks)
    if not tasks:
        raise ValueError("teacher.sources names others for all tasks; allowed: at least one task for the refined teacher")
    config = replace(config, teacher=replace(config.teacher, sources={}, mean="logits"))
    side = _side(config, tasks, tokenizer, device, "teacher", report)
    teacher = make_teacher(config, tasks, side, side, report)
    assert teacher.refined is not None, "every task has the refined teacher"
    model = teacher.refined.model
    model.save_pretrained(folder)
    side.tokenizer.save_pretrained(folder)
    found = [(d, predict(model, d.train, d.selection_rows, d.name, teacher.refined.layout)) for d in side.datas]
    weak = [weakness(data, teacher.name, logits) for data, logits in found]
    metrics = teacher.metrics | size_metrics(model, folder, config.speed.length)
    metrics |= speed_metrics({"": model.cpu()}, config.speed, _phase(report, "", "speed"))
    return _result(metrics, tasks, side.datas, [note for note in weak if note], "", teacher, folder)


def run(config: Config, folder: Path, report: Report = silent) -> Result:
    """Refines the teacher (or finds it), distils the student, measures both, and writes the student to `folder`."""
    device = prepare(config)
    tasks = load_tasks(config.data)
    config = settled(config, tasks)
    tasks = augmented(config, tasks, _phase(report, "", "augmentation"))
    teacher_side = _side(config, refined_tasks(config, tasks), tokenizer_of(config, tasks), device, "teacher", report)
    side = _side(config, tasks, _student_tokenizer(config, teacher_side.tokenizer), device, "student", report)
    check_names(config, side.datas)
    # A student of the teacher as it is before its refinement: what does not fit together is refused here, not in an hour.
    new_student(config, side, fresh_teacher(config, teacher_side.datas, teacher_side.tokenizer) if teacher_side.datas else None)

    teacher = make_teacher(config, tasks, teacher_side, side, report)
    targets = _soft_targets(config, side, teacher, report)
    student = distil(config, side, targets, teacher, report, "")
    student.save_pretrained(folder)
    side.tokenizer.save_pretrained(folder)

    layout = layout_of(side.tokenizer, student.joined, config.data.max_length)
    dev = dev_logits(student, side.datas, layout)
    scores = quality(side.datas, dev)
    metrics = scores | _beside(teacher, side.datas, dev, scores)
    if config.baseline and targets is not None:
        hard = replace(config, loss=replace(config.loss, hard_weight=1.0, hard_weight_end=None))
        twin = distil(hard, side, None, teacher, report, "baseline/")
        twin_scores = quality(side.datas, dev_logits(twin, side.datas, layout))
        metrics |= {f"baseline/{name}": value for name, value in twin_scores.items()}
    metrics |= size_metrics(student, folder, config.speed.length) | _compared_speed(config, student, teacher, report)
    return _result(metrics, tasks, side.datas, _weak(side, teacher, targets), config.student.name, teacher, folder)


def run_finetune(config: Config, folder: Path, report: Report = silent) -> Result:
    """Trains the student that config.finetune names on the tasks of config.data, scores it before and after, and writes it.

    `before/quality/...` are its scores as it came, of the tasks that it knew.
    """
    device = prepare(config)
    # What a new student would be does not matter, and must not be refused for the teacher's sake.
    config = replace(config, loss=config.finetune.loss, train=config.finetune.train, student=StudentConfig())
    origin, tokenizer = _origin(config)
    tasks = load_tasks(config.data)
    if not config.loss.from_labels_alone:
        config = settled(config, tasks)
    tasks = augmented(config, tasks, _phase(report, "", "augmentation"))
    side = _side(config, tasks, tokenizer, device, "student", report)
    check_names(config, side.datas)
    torch.manual_seed(config.seed)
    student = on(adopted(origin, side.datas), device)
    layout = layout_of(tokenizer, student.joined, config.data.max_length)
    known = [data for data in side.datas if data.name in known_tasks(origin, side.datas)]
    before = quality(known, dev_logits(student, known, layout)) if known else {}

    teacher = None
    if not config.loss.from_labels_alone:
        taught = _side(config, refined_tasks(config, tasks), tokenizer_of(config, tasks), device, "teacher", report)
        teacher = make_teacher(config, tasks, taught, side, report)
    targets = _soft_targets(config, side, teacher, report)
    # Once more: a teacher that had to be made has drawn numbers, one that was found has not.
    torch.manual_seed(config.seed)
    fit(config, student, side, targets, report, "")
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    dev = dev_logits(student, side.datas, layout)
    metrics = quality(side.datas, dev)
    metrics |= _beside(teacher, side.datas, dev, metrics)
    # The mean over fewer tasks would not be comparable.
    metrics |= {f"before/{name}": v for name, v in before.items() if name != "quality/mean" or len(known) == len(tasks)}
    metrics |= size_metrics(student, folder, config.speed.length) | _compared_speed(config, student, teacher, report)
    name = f"{origin.config.model_type.removeprefix('mkd_')} finetuned"
    return _result(metrics, tasks, side.datas, _weak(side, teacher, targets), name, teacher, folder)


def _origin(config: Config) -> tuple[Student, PreTrainedTokenizerBase]:
    """The student that fine-tuning starts from, and its tokenizer."""
    folder = Path(config.finetune.student)
    if not (folder / "config.json").is_file():
        raise ValueError(f"finetune.student is {config.finetune.student!r}; allowed: a folder that holds a distilled student")
    student = load_model(folder)
    if config.data.max_length > student.config.max_tokens:
        length, most = config.data.max_length, student.config.max_tokens
        raise ValueError(f"data.max_length is {length}; allowed: at most {most}, as finetune.student was trained")
    return student, checkpoints.load_tokenizer(folder, "finetune.student")


def prepare(config: Config) -> torch.device:
    """Sets torch's threads as the config says, and chooses the device. Raises ValueError for a GPU that is not there."""
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda'; allowed: auto or cpu, as torch finds no GPU here")
    return torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")


def make_teacher(config: Config, tasks: list[Task], taught: Side, side: Side, report: Report) -> Teacher:
    """The teacher of this config, its logits on dev and their scores.

    taught: what the refined teacher reads, of the tasks that it has a part in. side: all tasks, by any tokenizer.
    """
    known = other_labellers(config, tasks, side.datas, side.device)
    checkpoint = next((other for other in known.values() if isinstance(other, FineTuned)), None)
    refined = _refined(config, taught, known, report)
    labellers = [labeller(config, data, known) for data in side.datas]
    found = {(d.name, suffix): t.logits(f"dev{suffix}") for d, t in zip(side.datas, labellers, strict=True) for suffix in d.dev}
    dev = {key: np.asarray(logits) for key, logits in found.items() if logits is not None}
    model = refined.model if refined is not None else checkpoint.model() if checkpoint is not None else None
    name = " + ".join(dict.fromkeys(t.name for t in known.values()))
    keys = {data.name: t.key for data, t in zip(side.datas, labellers, strict=True)}
    key = refined.key if refined is not None and set(keys.values()) == {refined.key} else key_of(keys)
    return Teacher(name, key, labellers, refined, model, dev, quality(side.datas, dev))


def _refined(config: Config, taught: Side, known: Known, report: Report) -> Refined | None:
    """The refined teacher, where a task has it; its heads become known as such."""
    if not taught.datas:
        return None
    probabilities([Source(data, labelled(data), None) for data in taught.datas], config.teacher.train.sampling)
    refined = refined_teacher(config, taught.datas, taught.tokenizer, taught.device, _phase(report, "teacher/", "teacher"))
    known |= {(data.name, REFINED): Head(Path(config.cache), refined, data) for data in taught.datas}
    return refined


def check_names(config: Config, datas: list[TaskData]) -> None:
    """Raises ValueError where a weight by task does not name just the tasks there are."""
    probabilities([Source(data, data.train_rows, None) for data in datas], config.train.sampling)
    check_task_weights([data.name for data in datas], config.loss)


def new_student(config: Config, side: Side, teacher: TransformerStudent | None) -> Student:
    """The student before its training, from the weights that student.init names; the teacher is left as it is."""
    encoder: PreTrainedModel | None = None
    if config.student.init == "teacher":
        assert teacher is not None, "settled() has refused it"
        encoder = copy.deepcopy(teacher.encoder)
    elif config.student.init:
        encoder = checkpoints.load_encoder(checkpoints.resolve(config.student.init, "student.init"), "student.init")
    student = make_student(config.student, side.datas, len(side.tokenizer), config.data.max_length, encoder)
    if config.student.min_count:
        rows = input_table(student).num_embeddings
        trim(student, *kept_tokens(side.datas, side.tokenizer, rows, config.student.min_count))
    return on(student, side.device)


def distil(
    config: Config, side: Side, targets: list[np.ndarray] | None, teacher: Teacher, report: Report, prefix: str
) -> Student:
    """A student trained jointly on all tasks; without targets, on their labels alone."""
    torch.manual_seed(config.seed)
    student = new_student(config, side, None if teacher.refined is None else teacher.refined.model)
    return fit(config, student, side, targets, report, prefix)


def fit(config: Config, student: Student, side: Side, targets: list[np.ndarray] | None, report: Report, prefix: str) -> Student:
    """The student, trained by config.loss and config.train on the teacher's logits; without targets, on the labels alone."""
    layout = layout_of(side.tokenizer, student.joined, config.data.max_length)
    if targets is None:
        sources = [Source(data, labelled(data), None) for data in side.datas]
    else:
        sources = [Source(data, data.train_rows, logits) for data, logits in zip(side.datas, targets, strict=True)]
    draws = config.train.steps * config.loss.batches_per_step
    batches = joint_batches(sources, layout, config.train.batch_size, config.train.sampling, config.seed, draws)
    if config.loss.mixup:
        batches = mixed_batches(batches, config.loss.mixup, config.seed)

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


def _soft_targets(config: Config, side: Side, teacher: Teacher | None, report: Report) -> list[np.ndarray] | None:
    """The teacher's logits for the training rows of each task; None where the labels alone are learnt from."""
    if teacher is None or config.loss.from_labels_alone:
        return None
    targets = []
    for data, taught_by in zip(side.datas, teacher.labellers, strict=True):
        logits = taught_by.logits("train", _phase(report, "", f"logits of {data.name}"))
        assert logits is not None, "every labeller has the training rows"
        targets.append(logits)
    return targets


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


def _beside(
    teacher: Teacher | None, datas: list[TaskData], dev: dict[tuple[str, str], np.ndarray], scores: dict[str, float]
) -> dict[str, float]:
    """What compares the student's logits and scores on dev with the teacher's, and the teacher's own scores."""
    if teacher is None:
        return {}
    own = {f"teacher/{name}": value for name, value in teacher.metrics.items()}
    return likeness(datas, dev, teacher.dev) | retention(scores, teacher.metrics) | own


def _weak(side: Side, teacher: Teacher | None, targets: list[np.ndarray] | None) -> list[str]:
    """What is wrong with the teachers that have given the targets."""
    if teacher is None or targets is None:
        return []
    return [note for data, taught_by in zip(side.datas, teacher.labellers, strict=True) for note in weaknesses(data, taught_by)]


def _compared_speed(config: Config, student: Student, teacher: Teacher | None, report: Report) -> dict[str, float]:
    """Both models' speed on the CPU, and `speed/.../ratio`: how many times faster than the teacher the student is.

    Of the student alone, where there is no teacher or all of it ran elsewhere.
    """
    models: dict[str, Timed] = {"": student.cpu()}
    if teacher is not None and teacher.model is not None:
        models["teacher/"] = teacher.model.cpu()
    found = speed_metrics(models, config.speed, _phase(report, "", "speed"))
    if len(models) == 1:
        return found
    settings = [name.removesuffix("/p50_ms") for name in found if name.startswith("speed/") and name.endswith("/p50_ms")]
    return found | {f"{s}/ratio": found[f"teacher/{s}/p50_ms"] / found[f"{s}/p50_ms"] for s in settings}


def _result(
    metrics: dict[str, float],
    tasks: list[Task],
    datas: list[TaskData],
    weak: list[str],
    student: str,
    teacher: Teacher | None,
    folder: Path,
) -> Result:
    """weak: notes that come before all others."""
    datasets = [_dataset(task, data) for task, data in zip(tasks, datas, strict=True)]
    notes = weak + [f"{task.name}: {note}" for task in tasks for note in task.notes]
    notes += [
        f"{d.task}: {d.unlabelled_rows:,} of {d.train_rows:,} training rows have no label and serve distillation only"
        for d in datasets
        if d.unlabelled_rows
    ]
    name, key = ("", "") if teacher is None else (teacher.name, teacher.key)
    return Result(metrics, datasets, notes, hardware(), student, name, key, str(folder))


def _dataset(task: Task, data: TaskData) -> Dataset:
    unlabelled = int(np.isnan(data.train.labels[data.train_rows]).sum())
    dev_rows = sum(len(store.labels) for store in data.dev.values())
    train = joined(task.train, *task.added) if task.added else task.train
    fingerprint = key_of({"train": train.fingerprint, "dev": {name: split.fingerprint for name, split in task.dev.items()}})
    return Dataset(task.name, train.source, fingerprint, len(data.train_rows), unlabelled, len(data.selection_rows), dev_rows)


def _phase(report: Report, prefix: str, name: str) -> Report:
    """A report whose metrics get the prefix, and whose `progress` the phase's name."""

    def told(step: int, metrics: dict[str, float]) -> None:
        report(step, {f"progress/{name}" if key == "progress" else prefix + key: value for key, value in metrics.items()})

    return told
