"""One run from top to bottom: tasks, tokens, teacher, logits, student, twin, quality, speed.

run() is the entry point of a distillation, run_teacher() of a teacher alone. The file to read
first.
"""

import copy
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mkd import names, precision, processes
from mkd.augmentation.augment import augment_tasks
from mkd.config import (
    Config,
    LossConfig,
    MatchConfig,
    PretrainConfig,
    SamplingConfig,
    Stores,
    StudentConfig,
    TeacherConfig,
)
from mkd.evaluation.remarks import input_coverage
from mkd.evaluation.scoring import (
    counted,
    dev_logits,
    predict_logits,
    torch_infer,
)
from mkd.evaluation.speed import limit_seconds, size_metrics
from mkd.export.backends import ExportRequest, TrainedStudent, export_student
from mkd.pretraining import check_pretraining, pretrain
from mkd.rates import with_learning_rates
from mkd.result import MODEL, Report, Result, no_report, phase_report, report_doing
from mkd.selection.dev import with_dev_splits
from mkd.selection.split import SPLIT_VERSION
from mkd.storage import pretrained
from mkd.storage.run_folder import Checkpoint, result_settings
from mkd.student_result import (
    Supervision,
    exported_result,
    make_result,
    save_model,
    trained_student,
    training_data,
    twin_metrics,
)
from mkd.students import Student, make_student
from mkd.students.embeddings import input_table, trim
from mkd.students.heads import on
from mkd.students.transformer import TransformerStudent
from mkd.tasks.sources import load_tasks, table_of_text, with_transfer_text
from mkd.tasks.task import Task
from mkd.teachers import (
    config_for_tasks,
    load_other_teachers,
    needs_teacher,
    primary_tokenizer,
    refined_tasks,
    weak_teacher_note,
)
from mkd.teachers.architectures import check_steps, padding_error, padding_note
from mkd.teachers.contents import check_contents, checkpoint_hashes
from mkd.teachers.multitask import (
    MultiTaskTeacher,
    TaskTarget,
    make_teacher,
    rows_that_teach,
    soft_targets,
)
from mkd.teachers.refined import untrained_teacher
from mkd.teachers.room import check_room_for
from mkd.teachers.states import check_matched_layers
from mkd.tokenization.tokenise import tokenise_tasks, tokenizer_fingerprint
from mkd.tokenization.tokens import ModelData, TaskData, check_groups, labelled_rows, layout_of
from mkd.tokenization.vocabulary import kept_tokens
from mkd.training.balance import check_task_weights
from mkd.training.batches import TaskRows, check_sampling_weights
from mkd.training.fit import TrainingSetup, fit


class TeacherData(NamedTuple):
    """What a teacher's run needs, loaded and checked before the refinement.

    config: the run's config, adapted to the tasks. tasks: those of the refined teacher.
    """

    config: Config
    tasks: list[Task]
    teacher_data: ModelData


def prepare_teacher(
    config: Config, report: Report = no_report, tasks: list[Task] | None = None
) -> TeacherData:
    """Loads and checks everything that `run_teacher` needs before it trains.

    - tasks: as in run.

    Raises ValueError if settings do not fit the tasks, or if no task uses the refined teacher.
    """
    device = set_up_device(config)
    check_contents(config.teacher, config.student, config.data)
    report_doing(report, "reading the rows")
    tasks = tasks_with_dev(config.stores, tasks)
    config = config_for_tasks(config, tasks)
    tokenizer = primary_tokenizer(config.teacher, config.stores.root, tasks)
    tasks = refined_tasks(config.teacher, tasks)
    if not tasks:
        raise ValueError(
            "teacher.sources names others for all tasks; allowed: at least one task for the "
            "refined teacher"
        )
    config = replace(config, teacher=replace(config.teacher, sources={}, mean="logits"))
    teacher_data = tokenise_tasks(config.stores, tasks, tokenizer, device, "teacher", report)
    check_sampling_weights([task.name for task in tasks], config.teacher.train.sampling)
    report_doing(report, "loading the teacher")
    untrained = untrained_teacher(
        config.teacher, config.data.max_length, teacher_data.datas, tokenizer
    )
    check_architectures(config, None, untrained)
    check_room_for(config.stores.root, [], [untrained], [])
    return TeacherData(config, tasks, teacher_data)


def run_teacher(
    config: Config,
    folder: Path,
    report: Report = no_report,
    tasks: list[Task] | None = None,
    prepared: TeacherData | None = None,
) -> Result:
    """Refines the teacher, or loads it from the cache, and evaluates it.

    Saves the teacher to `folder/model` and its exports to `folder`. Returns the Result.

    - tasks: as in run.
    - prepared: the result of `prepare_teacher`, if that was called before.

    Raises ValueError as `prepare_teacher` does.
    """
    config, tasks, teacher_data = prepared or prepare_teacher(config, report, tasks)
    teacher = make_teacher(config, tasks, teacher_data, teacher_data, report)
    assert teacher.refined is not None, "every task has the refined teacher"
    model = teacher.refined.model
    save_model(model, teacher_data.tokenizer, folder / MODEL)
    infer, layout = torch_infer(model, teacher.refined.precision), teacher.refined.layout
    selected = sum(len(d.selection_rows) for d in teacher_data.datas)
    infer = counted(infer, selected, phase_report(report, "", "logits of the selection rows"))
    weak_notes = [
        weak_teacher_note(
            d,
            teacher.name,
            predict_logits(infer, d.train, d.selection_rows, d.name, layout),
            d.selection_rows,
        )
        for d in teacher_data.datas
    ]
    coverage = input_coverage(teacher_data.datas, teacher_data.tokenizer, layout)
    metrics = (
        teacher.metrics
        | size_metrics(model, folder / MODEL, config.timing.length)
        | coverage.metrics
    )
    dev_report = phase_report(report, "", "logits of dev in float32")
    exported = config.export.backends or config.export.torch
    # In float32 as the exports are: the stored logits can be of bfloat16.
    dev = dev_logits(torch_infer(model), teacher_data.datas, layout, dev_report) if exported else {}
    trained = TrainedStudent(model, teacher_data, layout, dev)
    exports = export_student(
        ExportRequest(config.export, config.timing, config.threads),
        trained,
        tasks,
        None,
        folder,
        report,
    )
    notes = (
        [note for note in [*weak_notes, padding_note(padding_error(model), teacher.name)] if note]
        + exports.notes
        + coverage.notes
    )
    return make_result(
        metrics | exports.metrics,
        tasks,
        teacher_data.datas,
        notes,
        "",
        teacher,
        folder / MODEL,
        exports.folder,
    )


class RunData(NamedTuple):
    """The tasks, tokenized for teacher and student, before the teacher is trained.

    config: the run's config, adapted to the tasks.
    teacher_data: the refined teacher's tokens. It has no tasks if no refined teacher is needed.
    student_data: the student's tokens.
    untrained_teacher: the refined teacher before its refinement, or None if it is not needed.
    """

    config: Config
    tasks: list[Task]
    teacher_data: ModelData
    student_data: ModelData
    untrained_teacher: TransformerStudent | None


class DataAndTeacher(NamedTuple):
    """Data and teacher of a run, shared by all students, losses and trainings on them.

    teacher: None if the loss uses labels only and the student takes no weights from the teacher.
    """

    data: RunData
    teacher: MultiTaskTeacher | None


def run(
    config: Config,
    folder: Path,
    report: Report = no_report,
    tasks: list[Task] | None = None,
    prepared: RunData | None = None,
) -> Result:
    """Runs one distillation and returns its Result.

    Refines the teacher (or loads it from the cache), distils the student, trains the hard-label
    twin if config.baseline is set, and evaluates all of them. Saves the student to `folder/model`
    and its exports to `folder`. If the loss needs no teacher, none is refined, loaded or evaluated.

    - folder: the run's folder. Checkpoints of a killed run with the same settings are resumed.
    - report: gets progress and metrics during the run.
    - tasks: the tasks, such as mkd.tasks.frames.task_from_data makes. None: those of config.data.
      With tasks, config.data says how they are used, not which they are.
    - prepared: the result of `prepare`, if that was called before.

    Raises ValueError if settings, tasks and models do not fit together.
    """
    inputs = load_data_and_teacher(config, report, tasks, prepared)
    (config, tasks, _, student_data, _), teacher = inputs
    targets = soft_targets(config.loss, config.stores.root, student_data, teacher, report)
    training_start = time.perf_counter()
    student = distil(
        config,
        inputs,
        targets,
        phase_report(report, "", names.PHASE_STUDENT),
        folder / "student.safetensors",
    )
    # Measuring speed must not dominate a short run, so its time limit depends on the training time.
    speed = limit_seconds(config.timing, time.perf_counter() - training_start)
    save_model(student, student_data.tokenizer, folder / MODEL)
    # Without targets the student itself learns from labels only, and needs no twin.
    metrics = (
        hard_label_metrics(config, inputs, folder, report)
        if config.baseline and targets is not None
        else {}
    )
    padding = padding_notes(
        student if config.student.init else None, teacher if config.teacher.checkpoint else None
    )
    return exported_result(
        trained_student(student, student_data, config.data.max_length),
        Supervision(tasks, teacher, targets, config.whole),
        ExportRequest(config.export, speed, config.threads),
        (metrics, padding),
        config.student.name,
        folder,
        report,
    )


def hard_label_metrics(
    config: Config, inputs: DataAndTeacher, folder: Path, report: Report
) -> dict[str, float]:
    """Trains the student's twin on labels only, and returns its scores on dev.

    The twin has the student's settings, seed and initial weights; only the loss differs.
    """
    loss = replace(config.loss, hard_weight=1.0, hard_weight_end=None, match=MatchConfig())
    twin = distil(
        replace(config, loss=loss, pretrain=PretrainConfig()),
        inputs,
        None,
        phase_report(report, names.BASELINE, names.BASELINE + names.PHASE_STUDENT),
        folder / "baseline.safetensors",
    )
    return twin_metrics(twin, inputs.data.student_data, config.data.max_length, names.BASELINE)


def load_data_and_teacher(
    config: Config,
    report: Report = no_report,
    tasks: list[Task] | None = None,
    prepared: RunData | None = None,
) -> DataAndTeacher:
    """Reads the tasks and refines the teacher, or loads it from the cache, if one is needed.

    - tasks, prepared: as in run.

    Raises ValueError before the refinement if settings, tasks and models do not fit together.
    """
    data = prepared or prepare(config, report, tasks)
    return DataAndTeacher(data, load_or_refine_teacher(config, data, report))


def prepare(config: Config, report: Report = no_report, tasks: list[Task] | None = None) -> RunData:
    """Loads and checks everything that `run` needs before it trains, such as the teacher's sources.

    - tasks: as in run.

    Raises ValueError if settings, tasks and models do not fit together.
    """
    data = load_data(config, report, tasks)
    check_task_weights_match(data.student_data.datas, config.train.sampling, config.loss)
    # A trial student, built from the teacher before its refinement, shows errors now and not after
    # an hour of training. It is dropped afterwards.
    report_doing(report, "checking the models")
    student = checked_student(data.config, data)
    check_architectures(data.config, student, data.untrained_teacher)
    taught = needs_teacher(config.loss, config.student)
    check_room_for(
        config.stores.root,
        [student],
        [data.untrained_teacher] if data.untrained_teacher is not None else [],
        data.student_data.datas if taught else [],
    )
    if taught:
        check_teachers(
            config.teacher, config.stores, data.tasks, data.teacher_data.datas, data.student_data
        )
    return data


def checked_student(config: Config, data: RunData) -> Student:
    """Returns this config's student before training. data: with any student.

    Raises ValueError if layers are to be matched that the student or the teacher does not have, or
    if there is nothing to pretrain with.
    """
    student = untrained_student(
        config.student, config.data.max_length, data.student_data, data.untrained_teacher
    )
    check_matched_layers(config.teacher, config.loss.match, data.tasks, student)
    check_pretraining(
        config.pretrain,
        config.teacher.checkpoint,
        config.stores,
        data.teacher_data,
        data.student_data,
    )
    return student


def check_teachers(
    settings: TeacherConfig,
    stores: Stores,
    tasks: list[Task],
    refined: list[TaskData],
    student_data: ModelData,
) -> None:
    """Raises ValueError if a source of teacher.sources does not fit its task, or if the sampling
    weights do not fit the tasks of the refined teacher.

    Files of logits are read, and kept in the cache. refined: the tasks of the refined teacher.
    """
    load_other_teachers(settings, stores, tasks, student_data.datas, student_data.device)
    if refined:
        check_sampling_weights([data.name for data in refined], settings.train.sampling)


def tasks_with_dev(stores: Stores, tasks: list[Task] | None = None) -> list[Task]:
    """Returns the tasks of a run with their transfer text, each with a dev split.

    - tasks: as in run.

    Raises ValueError if two tasks have the same name.
    """
    tasks_with_transfer = (
        load_tasks(stores.data) if tasks is None else with_transfer_text(tasks, stores.data)
    )
    for task_name, times in Counter(task.name for task in tasks_with_transfer).items():
        if times > 1:
            raise ValueError(f"{times} tasks are called {task_name!r}; allowed: different names")
    return with_dev_splits(stores.root, tasks_with_transfer)


def load_data(
    config: Config, report: Report = no_report, tasks: list[Task] | None = None
) -> RunData:
    """Loads, augments and tokenizes the tasks.

    - tasks: as in run.

    Raises ValueError if the device or a file is missing or the teachers do not fit the tasks.
    """
    device = set_up_device(config)
    for text in config.pretrain.corpus:  # they are read later, but a missing one is told now
        table_of_text(text)
    report_doing(report, "reading the rows")
    tasks = tasks_with_dev(config.stores, tasks)
    config = config_for_tasks(config, tasks)
    report_doing(report, "reading the models' files")
    check_contents(config.teacher, config.student, config.data)
    stores, settings = config.stores, config.teacher
    tasks = augment_tasks(stores, tasks, phase_report(report, "", "augmentation"))
    teacher_tasks = (
        refined_tasks(settings, tasks) if needs_teacher(config.loss, config.student) else []
    )
    teacher_data = tokenise_tasks(
        stores,
        teacher_tasks,
        primary_tokenizer(settings, stores.root, tasks),
        device,
        "teacher",
        report,
    )
    student_data = tokenise_tasks(
        stores,
        tasks,
        _student_tokenizer(config.student, teacher_data.tokenizer),
        device,
        "student",
        report,
    )
    check_groups(student_data.datas)
    untrained = None
    if teacher_data.datas:
        report_doing(report, "loading the teacher")
        untrained = untrained_teacher(
            settings, config.data.max_length, teacher_data.datas, teacher_data.tokenizer
        )
    return RunData(config, tasks, teacher_data, student_data, untrained)


def load_or_refine_teacher(
    config: Config, data: RunData, report: Report = no_report
) -> MultiTaskTeacher | None:
    """Returns the teacher of this data, or None if none is needed.

    It is refined now unless it is in the cache.
    """
    return (
        make_teacher(config, data.tasks, data.teacher_data, data.student_data, report)
        if needs_teacher(config.loss, config.student)
        else None
    )


def set_up_device(config: Config) -> torch.device:
    """Sets the number of torch threads and returns the device.

    Raises ValueError if the GPU is missing, or if a precision is still `auto`.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda'; allowed: auto or cpu, as torch finds no GPU here")
    kind = processes.device_kind(config.device)
    for name, train_config in (("train", config.train), ("teacher.train", config.teacher.train)):
        precision.check_precision_resolved(train_config, name)
    return processes.device_of(kind)


def check_task_weights_match(
    datas: list[TaskData], sampling: SamplingConfig, loss: LossConfig
) -> None:
    """Raises ValueError unless the weights by task name exactly the given tasks."""
    check_sampling_weights([data.name for data in datas], sampling)
    check_task_weights([data.name for data in datas], loss)


def check_architectures(
    config: Config, student: Student | None, teacher: TransformerStudent | None
) -> None:
    """Raises ValueError if a model from a checkpoint cannot make a training step of this run.

    student, teacher: the models before training.
    """
    states = bool(config.loss.match.weight)
    if teacher is not None and config.teacher.checkpoint:
        check_steps(teacher, config.teacher.train.precision, states, "teacher.checkpoint")
    if isinstance(student, TransformerStudent) and config.student.init:
        check_steps(student, config.train.precision, states, "student.init")


def padding_notes(student: Student | None, teacher: MultiTaskTeacher | None) -> list[str]:
    """Returns a note for each model whose outputs depend on padding. Both come from checkpoints."""
    notes = []
    if teacher is not None and teacher.refined is not None:
        notes.append(padding_note(padding_error(teacher.refined.model), teacher.name))
    if isinstance(student, TransformerStudent):
        notes.append(padding_note(padding_error(student), "the student"))
    return [note for note in notes if note]


def untrained_student(
    settings: StudentConfig,
    max_length: int,
    student_data: ModelData,
    teacher: TransformerStudent | None,
) -> Student:
    """Returns the untrained student, initialised from student.init. The teacher does not change."""
    encoder: PreTrainedModel | None = None
    if settings.init == "teacher":
        assert teacher is not None, "config_for_tasks() has refused it"
        encoder = copy.deepcopy(teacher.encoder)
    elif settings.init:
        encoder = pretrained.load_encoder(
            pretrained.checkpoint_folder(settings.init, "student.init"), "student.init"
        )
    student = make_student(
        settings, student_data.datas, len(student_data.tokenizer), max_length, encoder
    )
    if settings.min_count:
        rows = input_table(student).num_embeddings
        trim(
            student,
            *kept_tokens(student_data.datas, student_data.tokenizer, rows, settings.min_count),
        )
    return on(student, student_data.device)


def distil(
    config: Config,
    inputs: DataAndTeacher,
    targets: list[TaskTarget] | None,
    report: Report,
    file: Path,
) -> Student:
    """Trains a student jointly on all tasks and returns it. With pretrain.steps, it is trained on
    text first.

    targets: the teacher's targets for each task. None: the student learns from labels only.
    file: the file of its checkpoint.
    """
    torch.manual_seed(config.seed)
    data, teacher = inputs
    student_data = data.student_data
    refined = None if teacher is None else teacher.refined
    student = untrained_student(
        config.student,
        config.data.max_length,
        student_data,
        None if refined is None else refined.model,
    )
    if config.pretrain.steps:
        encoder = data.untrained_teacher
        assert encoder is not None, "prepare() has refused it"
        pretrain(config, student, student_data, data.teacher_data, encoder, report)
        # Seed again: the pretraining has drawn random numbers, loading its weights has not.
        torch.manual_seed(config.seed)
    return train_student(
        config,
        student,
        student_data,
        targets,
        report,
        student_checkpoint(config, student_data, teacher, file),
    )


def student_checkpoint(
    config: Config,
    student_data: ModelData,
    teacher: MultiTaskTeacher | None,
    file: Path,
    start: str = "",
) -> Checkpoint:
    """Returns the checkpoint of a training with these settings, rows and teacher.

    start: fingerprint of the model that is fine-tuned. Empty: a new model.
    """
    rows = {data.name: data.train.fingerprint for data in student_data.datas}
    inputs = {
        "rows": rows,
        "selection": SPLIT_VERSION,
        "teacher": "" if teacher is None else teacher.key,
        "start": start,
    }
    settings = result_settings(asdict(with_learning_rates(config)))
    named = {"contents": checkpoint_hashes(config.teacher, config.student, config.data)}
    return Checkpoint(file, settings | inputs | named, config.checkpoint_seconds)


def train_student(
    config: Config,
    student: Student,
    student_data: ModelData,
    targets: list[TaskTarget] | None,
    report: Report,
    checkpoint: Checkpoint,
) -> Student:
    """Trains the student with config.loss and config.train, and returns it in evaluation mode.

    targets: the teacher's targets for each task. None: the student learns from labels only.
    """
    config = with_learning_rates(config)
    layout = layout_of(student_data.tokenizer, student.joined, config.data.max_length)
    datas = training_data(student_data, config.whole)
    if targets is None:
        sources = [TaskRows(data, labelled_rows(data), None) for data in datas]
    else:
        sources = [
            TaskRows(data, rows_that_teach(data, target.taught), *target)
            for data, target in zip(datas, targets, strict=True)
        ]
    # With `whole` the selection rows are trained on, so their scores must not choose the best step:
    # the only evaluation is at the last step, whose weights are therefore kept.
    train_config = (
        replace(config.train, eval_every=config.train.steps, patience=0)
        if config.whole
        else config.train
    )

    fit(
        student,
        TrainingSetup(
            sources,
            student_data.datas,
            layout,
            config.loss,
            train_config,
            config.seed,
            held_out=not config.whole,
        ),
        report,
        checkpoint,
    )
    student.train(False)
    return student


def _student_tokenizer(
    student: StudentConfig, teacher_tokenizer: PreTrainedTokenizerBase
) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of student.tokenizer, else of student.init, else of the teacher.

    Raises ValueError if the tokenizer does not match the embeddings of student.init.
    """
    init, name = student.init, student.tokenizer
    default_tokenizer = teacher_tokenizer
    if init not in ("", "teacher"):
        default_tokenizer = pretrained.load_tokenizer(
            pretrained.checkpoint_folder(init, "student.init"), "student.init"
        )
    if not name:
        return default_tokenizer
    tokenizer = pretrained.load_tokenizer(
        pretrained.checkpoint_folder(name, "student.tokenizer"), "student.tokenizer"
    )
    if init and tokenizer_fingerprint(tokenizer) != tokenizer_fingerprint(default_tokenizer):
        raise ValueError(
            f"student.tokenizer is {name!r}; allowed: that of student.init={init}, whose "
            "embeddings belong to its tokens"
        )
    return tokenizer
