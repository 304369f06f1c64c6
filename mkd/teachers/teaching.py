"""The teachers of a run's tasks as one: what they tell a student, and how it does beside them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from mkd import names
from mkd.config import Config, LossConfig
from mkd.evaluation.scoring import likeness, quality, retention
from mkd.result import Report, phase
from mkd.storage.store import key_of
from mkd.students.transformer import TransformerStudent
from mkd.tasks.task import Task
from mkd.teachers import REFINED, Known, labeller, other_labellers, weaknesses
from mkd.teachers.finetuned import Classifier, FineTuned
from mkd.teachers.labeller import Labeller
from mkd.teachers.refined import Head, Refined, labelled, refined_teacher
from mkd.teachers.states import hidden_states
from mkd.tokenization.tokens import Side, TaskData
from mkd.training.batches import Source, probabilities
from mkd.training.matching import States


class Target(NamedTuple):
    """What a task's training rows are to be learnt from: the teacher's logits [R, C], and its states where they are matched."""

    logits: np.ndarray
    states: States | None


class Teacher(NamedTuple):
    """What teaches each task, with its logits and scores on dev, as far as they are known.

    name, key: of all that teaches. labellers: one a task, in their order. refined: the multi-task teacher, where a task has
    it. model: the one that the student's speed is measured against, the refined teacher or else the first checkpoint.
    tokenizer: the model's.
    """

    name: str
    key: str
    labellers: list[Labeller]
    refined: Refined | None
    model: TransformerStudent | Classifier | None
    tokenizer: PreTrainedTokenizerBase | None
    dev: dict[tuple[str, str], np.ndarray]
    metrics: dict[str, float]


def make_teacher(config: Config, tasks: list[Task], taught: Side, side: Side, report: Report) -> Teacher:
    """The teacher of this config, its logits on dev and their scores.

    taught: what the refined teacher reads, of the tasks that it has a part in. side: all tasks, by any tokenizer.
    """
    known = other_labellers(config.teacher, config.stores, tasks, side.datas, side.device)
    checkpoint = next((other for other in known.values() if isinstance(other, FineTuned)), None)
    refined = _refined(config, taught, known, report)
    labellers = [labeller(config.teacher, config.stores.root, data, known) for data in side.datas]
    found = {(d.name, suffix): t.logits(f"dev{suffix}") for d, t in zip(side.datas, labellers, strict=True) for suffix in d.dev}
    dev = {key: np.asarray(logits) for key, logits in found.items() if logits is not None}
    model: TransformerStudent | Classifier | None = None
    tokenizer = None
    if refined is not None:
        model, tokenizer = refined.model, taught.tokenizer
    elif checkpoint is not None:
        model, tokenizer = checkpoint.model(), checkpoint.tokenizer()
    name = " + ".join(dict.fromkeys(t.name for t in known.values()))
    keys = {data.name: t.key for data, t in zip(side.datas, labellers, strict=True)}
    key = refined.key if refined is not None and set(keys.values()) == {refined.key} else key_of(keys)
    return Teacher(name, key, labellers, refined, model, tokenizer, dev, quality(side.datas, dev))


def _refined(config: Config, taught: Side, known: Known, report: Report) -> Refined | None:
    """The refined teacher, where a task has it; its heads become known as such."""
    if not taught.datas:
        return None
    probabilities([Source(data, labelled(data), None) for data in taught.datas], config.teacher.train.sampling)
    told = phase(report, names.TEACHER, "teacher")
    refined = refined_teacher(config.teacher, config.stores, taught, config.checkpoint_seconds, told)
    known |= {(data.name, REFINED): Head(config.stores.root, refined, data) for data in taught.datas}
    return refined


def soft_targets(loss: LossConfig, root: Path, side: Side, teacher: Teacher | None, report: Report) -> list[Target] | None:
    """What the teacher tells of the training rows of each task; None where the labels alone are learnt from.

    root: of the stores.
    """
    if teacher is None or loss.from_labels_alone:
        return None
    targets = []
    for data, taught_by in zip(side.datas, teacher.labellers, strict=True):
        logits = taught_by.logits("train", phase(report, "", f"logits of {data.name}"))
        assert logits is not None, "every labeller has the training rows"
        targets.append(Target(logits, None))
    if loss.match.weight:
        known = hidden_states(root, loss.match.teacher_layers, teacher.labellers, report)
        return [target._replace(states=states) for target, states in zip(targets, known, strict=True)]
    return targets


def weak_teachers(side: Side, teacher: Teacher | None, targets: list[Target] | None) -> list[str]:
    """What is wrong with the teachers that have given the targets."""
    if teacher is None or targets is None:
        return []
    return [note for data, taught_by in zip(side.datas, teacher.labellers, strict=True) for note in weaknesses(data, taught_by)]


def beside(
    teacher: Teacher | None, datas: list[TaskData], dev: dict[tuple[str, str], np.ndarray], scores: dict[str, float]
) -> dict[str, float]:
    """What compares the student's logits and scores on dev with the teacher's, and the teacher's own scores."""
    if teacher is None:
        return {}
    own = names.of(names.TEACHER, teacher.metrics)
    return likeness(datas, dev, teacher.dev) | retention(scores, teacher.metrics) | own
