"""Further training of a distilled student: on its tasks, on other rows of them, or on new tasks."""

import time
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from mkd import names
from mkd.augmentation.augment import augmented
from mkd.config import Config, FinetuneConfig, StudentConfig
from mkd.evaluation.remarks import reading, weak_students
from mkd.evaluation.scoring import answers, dev_logits, eager, majority, quality
from mkd.evaluation.speed import size_metrics, within
from mkd.export.backends import Trained, Wanted, offered
from mkd.pipeline import (
    check_names,
    checkpoint_of,
    learnt_from,
    prepare,
    result,
    save,
    selected,
    trained,
)
from mkd.rates import STUDENT, finetuned, resolved
from mkd.result import MODEL, Report, Result, phase, silent
from mkd.storage import pretrained
from mkd.students import Student, load_model
from mkd.students.adoption import adopted, anew, known_tasks
from mkd.students.heads import on
from mkd.tasks.sources import load_tasks
from mkd.teachers import for_tasks, refined_tasks, tokenizer_of
from mkd.teachers.states import check_layers
from mkd.teachers.teaching import beside, make_teacher, soft_targets, weak_teachers
from mkd.tokenization.tokenise import read_side
from mkd.tokenization.tokens import layout_of


def run_finetune(
    config: Config, finetune: FinetuneConfig, folder: Path, report: Report = silent
) -> Result:
    """Trains the student that `finetune` names on the tasks of config.data, and measures it.

    The student is written to `model` in the folder. If a run of the same settings was killed,
    training continues from its checkpoint in the folder. The metrics are those of a distillation,
    and:

    - `before/quality/...`: the student's scores before the training, on the tasks that it knew
    - `anew/quality/...`, with config.baseline: the scores of the same student that is initialized
      again and then trained in the same way, at the default learning rate of a new student

    Raises ValueError if there is no student, or if it does not fit the settings.
    """
    # config.student describes a new student, of which there is none: defaults, so that it cannot
    # conflict with the teacher.
    config = replace(
        config, loss=finetune.loss, train=finetuned(finetune.train), student=StudentConfig()
    )
    device = prepare(config)
    config = resolved(config)
    origin, tokenizer = _origin(finetune.student, config.data.max_length)
    tasks = load_tasks(config.data)
    if not config.loss.from_labels_alone:
        config = for_tasks(config, tasks)
    tasks = augmented(config.stores, tasks, phase(report, "", "augmentation"))
    side = read_side(config.stores, tasks, tokenizer, device, "student", report)
    check_names(side.datas, config.train.sampling, config.loss)
    torch.manual_seed(config.seed)
    student = on(adopted(origin, side.datas), device)
    check_layers(config.teacher, config.loss.match, tasks, student)
    layout = layout_of(tokenizer, student.joined, config.data.max_length)
    known = [data for data in side.datas if data.name in known_tasks(origin, side.datas)]
    before = quality(known, dev_logits(eager(student), known, layout)) if known else {}

    teacher = None
    if not config.loss.from_labels_alone:
        own = tokenizer_of(config.teacher, config.stores.root, tasks)
        taught = read_side(
            config.stores, refined_tasks(config.teacher, tasks), own, device, "teacher", report
        )
        teacher = make_teacher(config, tasks, taught, side, report)
    targets = soft_targets(config.loss, config.stores.root, side, teacher, report)
    # Seed again: training a teacher has drawn random numbers, loading a stored one has not.
    torch.manual_seed(config.seed)
    # The checkpoint depends on the student's content, not on its path.
    start = pretrained.fingerprint(Path(finetune.student))
    checkpoint = checkpoint_of(config, side, teacher, folder / "student.safetensors", start)
    begun = time.perf_counter()
    trained(config, student, side, targets, phase(report, "", names.PHASE_STUDENT), checkpoint)
    speed = within(config.speed, time.perf_counter() - begun)
    save(student, tokenizer, folder / MODEL)

    dev = dev_logits(eager(student), side.datas, layout)
    metrics = quality(side.datas, dev)
    metrics |= beside(teacher, side.datas, dev, metrics) | majority(side.datas)
    metrics |= {} if config.whole else selected(student, side, layout)
    # A mean over fewer tasks would not be comparable with the mean after training.
    comparable = {
        name: v
        for name, v in before.items()
        if name != names.QUALITY_MEAN or len(known) == len(tasks)
    }
    metrics |= names.of(names.BEFORE, comparable)
    if config.baseline:
        torch.manual_seed(config.seed)
        twin = on(anew(origin, side.datas), device)
        how = replace(config, train=replace(config.train, learning_rate=STUDENT))
        checkpoint = checkpoint_of(how, side, teacher, folder / "anew.safetensors", start)
        trained(
            how,
            twin,
            side,
            targets,
            phase(report, names.ANEW, names.ANEW + names.PHASE_STUDENT),
            checkpoint,
        )
        metrics |= names.of(
            names.ANEW, quality(side.datas, dev_logits(eager(twin), side.datas, layout))
        )
    wanted = Wanted(config.export, speed, config.threads)
    found = offered(wanted, Trained(student, side, layout, dev), tasks, teacher, folder, report)
    read = reading(side.datas, tokenizer, layout)
    metrics |= (
        size_metrics(student, folder / MODEL, config.speed.length) | found.metrics | read.metrics
    )
    name = f"{origin.config.model_type.removeprefix('mkd_')} finetuned"
    weak = weak_teachers(side, teacher, targets) + weak_students(side.datas, dev)
    notes = no_use(metrics) + weak + found.notes + read.notes
    made = result(
        metrics,
        tasks,
        learnt_from(side, config.whole),
        notes,
        name,
        teacher,
        folder / MODEL,
        found.folder,
    )
    return made._replace(
        predictions=answers(side.datas, dev, {} if teacher is None else teacher.dev)
    )


def no_use(metrics: dict[str, float]) -> list[str]:
    """Returns a note if the student that is initialized again scores higher on average."""
    own, other = (metrics.get(prefix + names.QUALITY_MEAN, 0.0) for prefix in ("", names.ANEW))
    if other <= own:
        return []
    return [
        f"THE STUDENT'S TRAINING BEFORE IS OF NO USE HERE: started anew it scores {other:.1f} in "
        f"the mean, {other - own:.1f} "
        "points more; another finetune.train.learning_rate may help"
    ]


def student_at(folder: str, setting: str) -> tuple[Student, PreTrainedTokenizerBase]:
    """Returns the student in a folder and its tokenizer.

    Raises ValueError, with the name of the setting, if there is no student.
    """
    if not folder or not (Path(folder) / "config.json").is_file():
        raise ValueError(
            f"{setting} is {folder!r}; allowed: a folder that holds a distilled student"
        )
    return load_model(Path(folder)), pretrained.load_tokenizer(Path(folder), setting)


def _origin(folder: str, max_length: int) -> tuple[Student, PreTrainedTokenizerBase]:
    """Returns the student that fine-tuning starts from, and its tokenizer.

    Raises ValueError if max_length exceeds the length that the student was trained for.
    """
    student, tokenizer = student_at(folder, "finetune.student")
    if max_length > student.config.max_tokens:
        most = student.config.max_tokens
        raise ValueError(
            f"data.max_length is {max_length}; allowed: at most {most}, as finetune.student was "
            "trained"
        )
    return student, tokenizer
