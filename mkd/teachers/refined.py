"""The multi-task refined teacher, trained once for each setting, and its logits, computed once for each set of rows."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from mkd import processes
from mkd.config import Config, LossConfig, SamplingConfig
from mkd.rates import resolved
from mkd.result import Report, silent
from mkd.runtime.layout import Layout
from mkd.selection.words import blocks, take
from mkd.storage import pretrained
from mkd.storage.run_folder import Checkpoint
from mkd.storage.store import key_of, stored
from mkd.storage.versions import made_by
from mkd.students import bert_config, load_model
from mkd.students.heads import head_configs, on
from mkd.students.transformer import TransformerConfig, TransformerStudent, on_encoder
from mkd.tasks.task import Task
from mkd.teachers.labeller import Reader, splits, stored_logits
from mkd.tokenization.tokenise import tokenizer_fingerprint
from mkd.tokenization.tokens import TaskData, TokenStore, layout_of
from mkd.tokenization.wordpiece import learn_wordpiece
from mkd.training.batches import Source
from mkd.training.fit import Lesson, fit


class Refined(NamedTuple):
    """A refined teacher, the key of all that it depends on, how it reads, and the precision of its matrix products."""

    model: TransformerStudent
    key: str
    layout: Layout
    precision: str


class Head(NamedTuple):
    """The refined teacher as the Labeller of one of its tasks. data: the task by the teacher's tokenizer."""

    root: Path
    refined: Refined
    data: TaskData

    @property
    def name(self) -> str:
        return pretrained.model_name(self.refined.model.encoder.config)

    @property
    def key(self) -> str:
        return self.refined.key

    def logits(self, split: str, report: Report = silent) -> np.ndarray:
        """As Labeller.logits; computed once."""
        return logit_store(self.root, self.refined, splits(self.data)[split], self.data.name, report)


def teacher_tokenizer(config: Config, tasks: list[Task]) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer; for a teacher from scratch, a WordPiece one learnt from the tasks' training text."""
    if config.teacher.checkpoint:
        setting = "teacher.checkpoint"
        return pretrained.load_tokenizer(pretrained.resolve(config.teacher.checkpoint, setting), setting)
    parts = {"rows": [task.train.fingerprint for task in tasks], "vocabulary": config.teacher.vocabulary}
    parts |= made_by("tokenizers")
    folder = stored(
        Path(config.cache), "tokenizers", parts, lambda aside: learn_wordpiece(tasks, config.teacher.vocabulary, aside)
    )
    return pretrained.load_tokenizer(folder, "teacher.vocabulary")


def refined_teacher(
    config: Config, datas: list[TaskData], tokenizer: PreTrainedTokenizerBase, device: torch.device, report: Report = silent
) -> Refined:
    """The teacher for these settings and labelled rows; refined now unless it has been before."""
    config = resolved(config)
    parts = {
        "teacher": _settings(config),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "seed": config.seed,
        "max_length": config.data.max_length,
        "tasks": {data.name: asdict(data.kind) for data in datas},
        "rows": [[_content(data.train, data.train_rows), _content(data.train, data.selection_rows)] for data in datas],
    } | made_by("teachers")
    # By the teacher's own key: whichever run wants this teacher next goes on with it.
    file = Path(config.cache) / "teachers" / f"{key_of(parts)}.safetensors"
    checkpoint = Checkpoint(file, parts, config.checkpoint_seconds)

    called = False

    def build(aside: Path) -> None:
        nonlocal called
        called = processes.from_first(lambda: True)
        teacher = _refine(config, datas, tokenizer, device, report, checkpoint)
        teacher.save_pretrained(aside)
        tokenizer.save_pretrained(aside)

    # Whether it has to be refined is seen by the first process; it calls the others, which are not to wait for the store then.
    if processes.is_first():
        stored(Path(config.cache), "teachers", parts, build)
        if not called:
            processes.from_first(lambda: False)
        checkpoint.file.unlink(missing_ok=True)
    elif processes.from_first(lambda: False):
        _refine(config, datas, tokenizer, device, report, checkpoint)
    processes.wait()
    folder = stored(Path(config.cache), "teachers", parts, build)
    teacher = load_model(folder)
    assert isinstance(teacher, TransformerStudent), "a stored teacher is a Transformer"
    layout = layout_of(tokenizer, True, config.data.max_length)
    return Refined(on(teacher, device).eval(), key_of(parts), layout, config.teacher.train.precision)


def logit_store(root: Path, teacher: Refined, store: TokenStore, task: str, report: Report = silent) -> np.ndarray:
    """The teacher's logits [rows, classes] float32, memory-mapped, row i for row i of the store; computed once."""
    parts = {
        "teacher": teacher.key,
        "task": task,
        "layout": list(teacher.layout),
        "precision": teacher.precision,
    }
    classes = len(teacher.model.config.tasks[task]["labels"]) or 1
    reader = Reader(lambda: teacher.model, teacher.layout, teacher.precision, task, classes)
    return stored_logits(root, parts, reader, store, report)


def _refine(
    config: Config,
    datas: list[TaskData],
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    report: Report,
    checkpoint: Checkpoint,
) -> TransformerStudent:
    settings = config.teacher
    torch.manual_seed(config.seed)
    teacher = on(fresh_teacher(config, datas, tokenizer), device)
    layout = layout_of(tokenizer, True, config.data.max_length)
    sources = [Source(data, labelled(data), None) for data in datas]
    how = settings.train
    lesson = Lesson(sources, datas, layout, LossConfig(hard_weight=1.0), how, config.seed, how.precision)
    fit(teacher, lesson, report, checkpoint)
    return teacher


def labelled(data: TaskData) -> np.ndarray:
    """The training rows that have a label."""
    unlabelled = np.isnan(data.train.labels[data.train_rows])
    rows: np.ndarray = data.train_rows[~unlabelled]
    return rows


def fresh_teacher(config: Config, datas: list[TaskData], tokenizer: PreTrainedTokenizerBase) -> TransformerStudent:
    """The teacher before its refinement."""
    settings, length = config.teacher, config.data.max_length
    shared = {"tasks": head_configs(datas), "dropout": settings.dropout, "max_tokens": length}
    if not settings.checkpoint:
        sizes = bert_config(len(tokenizer), settings.layers, settings.hidden, settings.heads, settings.dropout, length)
        return TransformerStudent(TransformerConfig(encoder=sizes, pooling=settings.pooling, **shared))
    setting = "teacher.checkpoint"
    return on_encoder(
        pretrained.load_encoder(pretrained.resolve(settings.checkpoint, setting), setting), settings.pooling, shared
    )


def _settings(config: Config) -> dict[str, Any]:
    """The settings that a refined teacher depends on: a checkpoint's content instead of the sizes of one from scratch.

    Those that came after teachers were stored are part of it only where they differ from their defaults.
    """
    settings = asdict(config.teacher)
    for name in ("sources", "mean"):
        del settings[name]
    if not settings["train"]["lazy"]:
        del settings["train"]["lazy"]
    sampling, usual = settings["train"]["sampling"], asdict(SamplingConfig())
    for name in ("alpha_end", "order"):
        if sampling[name] == usual[name]:
            del sampling[name]
    if not config.teacher.checkpoint:
        return settings
    for name in ("layers", "hidden", "heads", "vocabulary"):
        del settings[name]
    folder = pretrained.resolve(config.teacher.checkpoint, "teacher.checkpoint")
    return settings | {"checkpoint": pretrained.fingerprint(folder)}


def _content(store: TokenStore, rows: np.ndarray) -> str:
    """Hash of the labelled ones of these rows, whatever else the store holds: their tokens and labels."""
    digest = hashlib.sha256()
    rows = rows[~np.isnan(store.labels[rows])]
    digest.update(store.labels[rows].tobytes())
    for text in (store.a,) if store.b is None else (store.a, store.b):
        for block in blocks(rows):
            digest.update(text.lengths(block).tobytes())
        for block in blocks(rows):
            digest.update(take(text, block).ids.tobytes())
    return digest.hexdigest()
