"""The multi-task refined teacher and its logits, each computed once and stored."""

import hashlib
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from mkd import rates
from mkd.config import LossConfig, Stores, TeacherConfig
from mkd.result import Report, no_report
from mkd.runtime.layout import Layout
from mkd.selection.words import row_blocks, take_texts
from mkd.storage import pretrained
from mkd.storage.memory import check_fits
from mkd.storage.run_folder import Checkpoint
from mkd.storage.store import cached_folder, key_of
from mkd.storage.versions import version_key
from mkd.students import bert_config, load_model
from mkd.students.heads import head_configs, on, temperatures_of, thresholds_of
from mkd.students.transformer import TransformerConfig, TransformerStudent, on_encoder
from mkd.tasks.task import Kind, Task
from mkd.teachers.task_teacher import (
    RunnableModel,
    StateModel,
    TaskModel,
    TaskTeacher,
    cached_logits,
    stores_by_split,
)
from mkd.tokenization.tokenise import tokenizer_fingerprint
from mkd.tokenization.tokens import ModelData, TaskData, TokenStore, labelled_rows, layout_of
from mkd.tokenization.wordpiece import learn_wordpiece
from mkd.training.batches import TaskRows
from mkd.training.fit import TrainingSetup, fit
from mkd.training.stored import Save, trained_folder

CHECKPOINT_EPOCHS = 8
"""Default maximum number of passes over the labelled rows of a teacher from a checkpoint."""
LEAST_STEPS = 300
"""Number of steps below which a maximum of passes does not go: very few rows need more passes."""


class RefinedModel(NamedTuple):
    """A refined teacher.

    - `key`: hash of everything that it depends on
    - `layout`: how it reads texts
    - `precision`: precision of its matrix products
    """

    model: TransformerStudent
    key: str
    layout: Layout
    precision: str


@dataclass(frozen=True)
class RefinedTeacher(TaskTeacher):
    """The refined teacher as the TaskTeacher of one task."""

    refined: RefinedModel
    root: Path
    tokenizer: PreTrainedTokenizerBase

    def runnable_model(self) -> RunnableModel:
        """See TaskTeacher.runnable_model."""
        return RunnableModel(self.refined.model, self.tokenizer)

    def state_model(self) -> StateModel:
        """See TaskTeacher.state_model."""
        refined = self.refined
        widths = refined.model.state_widths
        by = {
            "teacher": refined.key,
            "layout": list(refined.layout),
            "precision": refined.precision,
        }
        return StateModel(
            lambda: refined.model,
            refined.key,
            by,
            refined.layout,
            refined.precision,
            self.data,
            len(widths),
            widths[0],
        )

    def thresholds(self) -> np.ndarray | None:
        """See TaskTeacher.thresholds. They are those that were fitted when it was refined."""
        thresholds = thresholds_of(self.refined.model.config).get(self.data.name)
        return super().thresholds() if thresholds is None else thresholds

    def temperature(self) -> float:
        """See TaskTeacher.temperature. It is stored with the model."""
        return temperatures_of(self.refined.model.config).get(self.data.name, 1.0)

    def logits(self, split: str, report: Report = no_report) -> np.ndarray:
        """Returns what TaskTeacher.logits describes; computed once and stored."""
        return refined_logits(
            self.root, self.refined, stores_by_split(self.data)[split], self.data.name, report
        )


def refined_teachers(refined: RefinedModel, root: Path, side: ModelData) -> list[RefinedTeacher]:
    """Returns the refined teacher as the teacher of each of its tasks.

    `side` holds the tasks by its tokenizer. `root` is the folder of the cache.
    """
    name = pretrained.model_name(refined.model.encoder.config)
    return [
        RefinedTeacher(name, refined.key, data, refined, root, side.tokenizer)
        for data in side.datas
    ]


def refined_tokenizer(
    teacher: TeacherConfig, root: Path, tasks: list[Task]
) -> PreTrainedTokenizerBase:
    """Returns the checkpoint's tokenizer.

    For a teacher from scratch it is a WordPiece tokenizer learnt from the tasks' training text.
    """
    if teacher.checkpoint:
        setting = "teacher.checkpoint"
        return pretrained.load_tokenizer(
            pretrained.checkpoint_folder(teacher.checkpoint, setting), setting
        )
    key_values = {
        "rows": [task.train.fingerprint for task in tasks],
        "vocabulary": teacher.vocabulary,
    }
    key_values |= version_key("tokenizers")
    folder = cached_folder(
        root,
        "tokenizers",
        key_values,
        lambda aside: learn_wordpiece(tasks, teacher.vocabulary, aside),
    )
    return pretrained.load_tokenizer(folder, "teacher.vocabulary")


def load_or_refine(
    settings: TeacherConfig,
    stores: Stores,
    side: ModelData,
    checkpoint_seconds: float,
    report: Report = no_report,
) -> RefinedModel:
    """Returns the refined teacher for these settings and labelled rows.

    It is trained unless a stored one exists. `checkpoint_seconds` is the time between checkpoints
    of its training.
    """
    settings = with_limited_steps(rates.with_teacher_rate(settings), side.datas)
    key_values = {
        "teacher": _key_settings(settings),
        "tokenizer": tokenizer_fingerprint(side.tokenizer),
        "seed": stores.seed,
        "max_length": stores.data.max_length,
        "tasks": {data.name: _key_kind(data.kind) for data in side.datas},
        "rows": [
            [rows_hash(data.train, data.train_rows), rows_hash(data.train, data.selection_rows)]
            for data in side.datas
        ],
    } | version_key("teachers")

    def train(checkpoint: Checkpoint) -> Save:
        teacher = _refine(settings, stores, side, report, checkpoint)

        def save(aside: Path) -> None:
            teacher.save_pretrained(aside)
            side.tokenizer.save_pretrained(aside)

        return save

    folder = trained_folder(stores.root, "teachers", key_values, checkpoint_seconds, train)
    teacher = load_model(folder, "the stored teacher")
    assert isinstance(teacher, TransformerStudent), "a stored teacher is a Transformer"
    layout = layout_of(side.tokenizer, True, stores.data.max_length)
    return RefinedModel(
        on(teacher, side.device).eval(), key_of(key_values), layout, settings.train.precision
    )


def with_limited_steps(settings: TeacherConfig, datas: list[TaskData]) -> TeacherConfig:
    """Returns the settings with at most so many steps that max_epochs are not exceeded, or
    LEAST_STEPS of them."""
    epochs = settings.max_epochs
    if epochs is None:
        epochs = CHECKPOINT_EPOCHS if settings.checkpoint else 0
    if not epochs:
        return settings
    num_rows = sum(len(labelled_rows(data)) for data in datas)
    most = max(LEAST_STEPS, math.ceil(epochs * num_rows / settings.train.batch_size))
    steps = min(settings.train.steps, most)
    return replace(settings, train=replace(settings.train, steps=steps))


def refined_logits(
    root: Path, teacher: RefinedModel, store: TokenStore, task: str, report: Report = no_report
) -> np.ndarray:
    """Returns the teacher's logits [rows, classes] float32, memory-mapped; computed once."""
    key_values = {
        "teacher": teacher.key,
        "task": task,
        "layout": list(teacher.layout),
        "precision": teacher.precision,
    }
    classes = len(teacher.model.config.tasks[task]["labels"]) or 1
    reader = TaskModel(lambda: teacher.model, teacher.layout, teacher.precision, task, classes)
    return cached_logits(root, key_values, reader, store, report)


def _refine(
    settings: TeacherConfig, stores: Stores, side: ModelData, report: Report, checkpoint: Checkpoint
) -> TransformerStudent:
    torch.manual_seed(stores.seed)
    teacher = on(
        untrained_teacher(settings, stores.data.max_length, side.datas, side.tokenizer), side.device
    )
    layout = layout_of(side.tokenizer, True, stores.data.max_length)
    sources = [TaskRows(data, labelled_rows(data), None) for data in side.datas]
    train_config = settings.train
    setup = TrainingSetup(
        sources,
        side.datas,
        layout,
        LossConfig(hard_weight=1.0),
        train_config,
        stores.seed,
        train_config.precision,
    )
    fit(teacher, setup, report, checkpoint)
    return teacher


def untrained_teacher(
    settings: TeacherConfig, length: int, datas: list[TaskData], tokenizer: PreTrainedTokenizerBase
) -> TransformerStudent:
    """Returns the teacher before its refinement; `length` is its longest input in tokens."""
    teacher = _with_random_heads(settings, length, datas, tokenizer)
    teacher.heads.start_at_frequencies(datas)
    return teacher


def _with_random_heads(
    settings: TeacherConfig, length: int, datas: list[TaskData], tokenizer: PreTrainedTokenizerBase
) -> TransformerStudent:
    shared = {"tasks": head_configs(datas), "dropout": settings.dropout, "max_tokens": length}
    if not settings.checkpoint:
        sizes = bert_config(
            len(tokenizer),
            settings.layers,
            settings.hidden,
            settings.heads,
            settings.dropout,
            length,
        )
        whole = TransformerConfig(encoder=sizes, pooling=settings.pooling, **shared)
        check_fits(lambda: TransformerStudent(whole), "the sizes in teacher")
        return TransformerStudent(whole)
    setting = "teacher.checkpoint"
    return on_encoder(
        pretrained.load_encoder(
            pretrained.checkpoint_folder(settings.checkpoint, setting), setting
        ),
        settings.pooling,
        shared,
    )


def _key_settings(teacher: TeacherConfig) -> dict[str, Any]:
    """Returns the settings that a refined teacher depends on.

    The hash of a checkpoint replaces the sizes of a teacher from scratch. The number of steps
    already follows from max_epochs.
    """
    settings = asdict(teacher)
    for name in ("sources", "mean", "max_epochs"):
        del settings[name]
    if not teacher.checkpoint:
        return settings
    for name in ("layers", "hidden", "heads", "vocabulary"):
        del settings[name]
    folder = pretrained.checkpoint_folder(teacher.checkpoint, "teacher.checkpoint")
    return settings | {"checkpoint": pretrained.checkpoint_fingerprint(folder)}


def _key_kind(kind: Kind) -> dict[str, Any]:
    """Returns a task's definition for a cache key.

    Only multilabel tasks have the key `multilabel`, so that older keys stay valid. It is the
    version of what is theirs alone in training: the first one had random biases in the heads.
    """
    settings = asdict(kind)
    del settings["multilabel"]
    return settings | ({"multilabel": 2} if kind.multilabel else {})


def rows_hash(store: TokenStore, rows: np.ndarray) -> str:
    """Returns the hash of the tokens and labels of those of the rows that have a label.

    It does not depend on the other rows of the store.
    """
    digest = hashlib.sha256()
    rows = rows[~np.isnan(store.labels[rows])]
    digest.update(store.labels[rows].tobytes())
    if store.sets is not None:
        digest.update(store.sets[rows].tobytes())
    for text in (store.a,) if store.b is None else (store.a, store.b):
        for block in row_blocks(rows):
            digest.update(text.lengths(block).tobytes())
        for block in row_blocks(rows):
            digest.update(take_texts(text, block).ids.tobytes())
    return digest.hexdigest()
