"""The learning rates that settings leave open: what suits a model from scratch would undo much of what a trained one knows."""

from dataclasses import replace

from mkd.config import Config, TeacherConfig, TrainConfig

TEACHER = 1.2e-3
"""Of a teacher from scratch."""
CHECKPOINT = 1e-4
"""Of a teacher from a checkpoint; a small one bears more than the 5e-5 that BERT-base is mostly given."""
STUDENT = 2e-3
"""Of a student from scratch, and of one that takes nothing but embeddings."""
LAYERS = 2e-4
"""Of a student whose layers are trained already."""
FINETUNED = 2e-3
"""Of a distilled student that is trained further: at less, tasks that are new to it are half learnt (RESULTS.md)."""


def resolved(config: Config) -> Config:
    """The config with a number for each learning rate that is open (null); those that are said stay."""
    layers = config.student.kind == "transformer" and config.student.init != ""
    return replace(config, train=_at(config.train, LAYERS if layers else STUDENT), teacher=refined(config.teacher))


def refined(teacher: TeacherConfig) -> TeacherConfig:
    """The teacher's settings with a number for a learning rate that is open."""
    return replace(teacher, train=_at(teacher.train, CHECKPOINT if teacher.checkpoint else TEACHER))


def finetuned(train: TrainConfig) -> TrainConfig:
    """How a distilled student is trained further, with a number for a learning rate that is open."""
    return _at(train, FINETUNED)


def _at(train: TrainConfig, rate: float) -> TrainConfig:
    return replace(train, learning_rate=rate) if train.learning_rate is None else train
