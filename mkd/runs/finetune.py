"""Further training of a distilled student: on its tasks, on other rows of them, or on new tasks."""

import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from mkd import names
from mkd.augmentation.augment import augment_tasks
from mkd.config import Config, FinetuneConfig, StudentConfig
from mkd.evaluation.answers import (
    answers_of,
)
from mkd.evaluation.scoring import (
    dev_logits,
    quality_metrics,
    torch_infer,
)
from mkd.evaluation.speed import limit_seconds
from mkd.export.backends import ExportRequest
from mkd.pipeline import (
    check_task_weights_match,
    check_teachers,
    set_up_device,
    student_checkpoint,
    tasks_with_dev,
    train_student,
)
from mkd.rates import STUDENT_RATE, with_finetuning_rate, with_learning_rates
from mkd.result import MODEL, Report, Result, no_report, phase_report, report_doing
from mkd.storage import pretrained
from mkd.student_result import (
    Supervision,
    exported_result,
    save_model,
    trained_student,
    twin_metrics,
)
from mkd.students import Student, load_model
from mkd.students.heads import on
from mkd.students.reuse import known_tasks, reinitialised, with_heads
from mkd.tasks.task import Task
from mkd.teachers import config_for_tasks, primary_tokenizer, refined_tasks
from mkd.teachers.contents import check_contents
from mkd.teachers.multitask import (
    make_teacher,
    soft_targets,
)
from mkd.teachers.states import check_matched_layers
from mkd.tokenization.tokenise import tokenise_tasks
from mkd.tokenization.tokens import ModelData, layout_of


class FinetuneData(NamedTuple):
    """What a fine-tuning needs, loaded and checked before the training.

    - `config`: the run's config, adapted to the tasks
    - `origin`: the student as it was saved; `tokenizer`: its tokenizer
    - `student`: the student with the heads of the tasks
    - `teacher_data`: the refined teacher's tokens; None if no teacher is needed
    """

    config: Config
    origin: Student
    tokenizer: PreTrainedTokenizerBase
    student: Student
    tasks: list[Task]
    student_data: ModelData
    teacher_data: ModelData | None


def prepare_finetune(
    config: Config, finetune: FinetuneConfig, report: Report = no_report
) -> FinetuneData:
    """Loads and checks everything that `run_finetune` needs before it trains.

    Raises ValueError if there is no student, or if it does not fit the settings.
    """
    # config.student describes a new student, of which there is none: defaults, so that it cannot
    # conflict with the teacher.
    config = replace(
        config,
        loss=finetune.loss,
        train=with_finetuning_rate(finetune.train),
        student=StudentConfig(),
    )
    device = set_up_device(config)
    report_doing(report, "loading the student")
    check_contents(config.teacher, config.student, config.data)
    config = with_learning_rates(config)
    origin, tokenizer = _student_to_finetune(finetune.student, config.data.max_length)
    report_doing(report, "reading the rows")
    tasks = tasks_with_dev(config.stores)
    if not config.loss.from_labels_alone:
        config = config_for_tasks(config, tasks)
    tasks = augment_tasks(config.stores, tasks, phase_report(report, "", "augmentation"))
    student_data = tokenise_tasks(config.stores, tasks, tokenizer, device, "student", report)
    check_task_weights_match(student_data.datas, config.train.sampling, config.loss)
    torch.manual_seed(config.seed)
    student = on(with_heads(origin, student_data.datas), device)
    check_matched_layers(config.teacher, config.loss.match, tasks, student)
    teacher_data = None
    if not config.loss.from_labels_alone:
        teacher_data = tokenise_tasks(
            config.stores,
            refined_tasks(config.teacher, tasks),
            primary_tokenizer(config.teacher, config.stores.root, tasks),
            device,
            "teacher",
            report,
        )
        check_teachers(config.teacher, config.stores, tasks, teacher_data.datas, student_data)
    return FinetuneData(config, origin, tokenizer, student, tasks, student_data, teacher_data)


def run_finetune(
    config: Config,
    finetune: FinetuneConfig,
    folder: Path,
    report: Report = no_report,
    prepared: FinetuneData | None = None,
) -> Result:
    """Trains the student that `finetune` names on the tasks of config.data, and measures it.

    The student is written to `model` in the folder. If a run of the same settings was killed,
    training continues from its checkpoint in the folder. The metrics are those of a distillation,
    and:

    - `before/quality/...`: the student's scores before the training, on the tasks that it knew
    - `anew/quality/...`, with config.baseline: the scores of the same student that is initialized
      again and then trained in the same way, at the default learning rate of a new student

    `prepared` is the result of `prepare_finetune`, if that was called before.

    Raises ValueError as `prepare_finetune` does.
    """
    config, origin, tokenizer, student, tasks, student_data, teacher_data = (
        prepared or prepare_finetune(config, finetune, report)
    )
    device = student_data.device
    layout = layout_of(tokenizer, student.joined, config.data.max_length)
    known_datas = [
        data for data in student_data.datas if data.name in known_tasks(origin, student_data.datas)
    ]
    before = (
        quality_metrics(
            known_datas,
            *answers_of(origin, dev_logits(torch_infer(student), known_datas, layout)),
        )
        if known_datas
        else {}
    )

    teacher = None
    if teacher_data is not None:
        teacher = make_teacher(config, tasks, teacher_data, student_data, report)
    targets = soft_targets(config.loss, config.stores.root, student_data, teacher, report)
    # Seed again: training a teacher has drawn random numbers, loading a stored one has not.
    torch.manual_seed(config.seed)
    # The checkpoint depends on the student's content, not on its path.
    start = pretrained.checkpoint_fingerprint(Path(finetune.student))
    checkpoint = student_checkpoint(
        config, student_data, teacher, folder / "student.safetensors", start
    )
    training_start = time.perf_counter()
    train_student(
        config,
        student,
        student_data,
        targets,
        phase_report(report, "", names.PHASE_STUDENT),
        checkpoint,
    )
    speed = limit_seconds(config.timing, time.perf_counter() - training_start)
    save_model(student, tokenizer, folder / MODEL)

    # A mean over fewer tasks would not be comparable with the mean after training.
    metrics = names.of(
        names.BEFORE,
        {
            name: v
            for name, v in before.items()
            if name != names.QUALITY_MEAN or len(known_datas) == len(tasks)
        },
    )
    if config.baseline:
        torch.manual_seed(config.seed)
        twin = on(reinitialised(origin, student_data.datas), device)
        new_config = replace(config, train=replace(config.train, learning_rate=STUDENT_RATE))
        checkpoint = student_checkpoint(
            new_config, student_data, teacher, folder / "anew.safetensors", start
        )
        train_student(
            new_config,
            twin,
            student_data,
            targets,
            phase_report(report, names.ANEW, names.ANEW + names.PHASE_STUDENT),
            checkpoint,
        )
        metrics |= twin_metrics(twin, student_data, config.data.max_length, names.ANEW)
    result = exported_result(
        trained_student(student, student_data, config.data.max_length),
        Supervision(tasks, teacher, targets, config.whole),
        ExportRequest(config.export, speed, config.threads),
        (metrics, []),
        f"{origin.config.model_type.removeprefix('mkd_')} finetuned",
        folder,
        report,
    )
    return result._replace(notes=useless_training_note(result.metrics) + result.notes)


def useless_training_note(metrics: dict[str, float]) -> list[str]:
    """Returns a note if the student that is initialized again scores higher on average."""
    score, score_anew = (
        metrics.get(prefix + names.QUALITY_MEAN, 0.0) for prefix in ("", names.ANEW)
    )
    if score_anew <= score:
        return []
    return [
        "THE STUDENT'S EARLIER TRAINING DOES NOT HELP HERE: trained from scratch, its mean score "
        f"is {score_anew:.1f}, {score_anew - score:.1f} points higher; try another "
        "finetune.train.learning_rate"
    ]


def load_student(folder: str, setting: str) -> tuple[Student, PreTrainedTokenizerBase]:
    """Returns the student in a folder and its tokenizer.

    Raises ValueError, with the name of the setting, if there is no student.
    """
    if not folder or not (Path(folder) / "config.json").is_file():
        raise ValueError(
            f"{setting} is {folder!r}; allowed: a folder that holds a distilled student"
        )
    return load_model(Path(folder), setting), pretrained.load_tokenizer(Path(folder), setting)


def _student_to_finetune(folder: str, max_length: int) -> tuple[Student, PreTrainedTokenizerBase]:
    """Returns the student that fine-tuning starts from, and its tokenizer.

    Raises ValueError if max_length exceeds the length that the student was trained for.
    """
    student, tokenizer = load_student(folder, "finetune.student")
    if max_length > student.config.max_tokens:
        most = student.config.max_tokens
        raise ValueError(
            f"data.max_length is {max_length}; allowed: at most {most}, as finetune.student was "
            "trained"
        )
    return student, tokenizer
