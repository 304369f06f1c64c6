"""Default learning rates, used where a setting is null.

Models with pretrained layers get lower rates: a rate for training from scratch would overwrite
much of the pretrained weights.
"""

from dataclasses import replace

from mkd.config import Config, TeacherConfig, TrainConfig

TEACHER = 1.2e-3
"""Teacher trained from scratch."""
CHECKPOINT = 1e-4
"""Teacher from a checkpoint. Small encoders allow more than the 5e-5 usual for BERT-base."""
STUDENT = 2e-3
"""Student trained from scratch, or initialised with embeddings only."""
LAYERS = 2e-4
"""Student initialised with pretrained layers."""
FINETUNED = 2e-3
"""Fine-tuning of a distilled student. With lower rates it learns new tasks badly (RESULTS.md)."""


def resolved(config: Config) -> Config:
    """Returns the config with each null learning rate replaced by its default."""
    layers = config.student.kind == "transformer" and config.student.init != ""
    return replace(
        config,
        train=_at(config.train, LAYERS if layers else STUDENT),
        teacher=refined(config.teacher),
    )


def refined(teacher: TeacherConfig) -> TeacherConfig:
    """Returns the teacher's settings with a null learning rate replaced by its default."""
    return replace(teacher, train=_at(teacher.train, CHECKPOINT if teacher.checkpoint else TEACHER))


def finetuned(train: TrainConfig) -> TrainConfig:
    """Returns fine-tuning settings with a null learning rate replaced by its default."""
    return _at(train, FINETUNED)


def _at(train: TrainConfig, rate: float) -> TrainConfig:
    return replace(train, learning_rate=rate) if train.learning_rate is None else train
