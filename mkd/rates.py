"""Default learning rates, used where a setting is null.

Models with pretrained layers get lower rates: a rate for training from scratch would overwrite
much of the pretrained weights.
"""

from dataclasses import replace

from mkd.config import Config, TeacherConfig, TrainConfig

TEACHER_RATE = 6e-4
"""Teacher trained from scratch."""
CHECKPOINT_RATE = 1e-4
"""Teacher from a checkpoint. Small encoders allow more than the 5e-5 usual for BERT-base."""
STUDENT_RATE = 2e-3
"""Student trained from scratch, or initialised with embeddings only."""
PRETRAINED_RATE = 2e-4
"""Student initialised with pretrained layers."""
FINETUNING_RATE = 2e-3
"""Fine-tuning of a distilled student. With lower rates it learns new tasks badly
(docs/results/options.md, "Fine-tuning on new tasks")."""


def with_learning_rates(config: Config) -> Config:
    """Returns the config with each null learning rate replaced by its default."""
    layers = config.student.kind == "transformer" and config.student.init != ""
    return replace(
        config,
        train=_with_rate(config.train, PRETRAINED_RATE if layers else STUDENT_RATE),
        teacher=with_teacher_rate(config.teacher),
    )


def with_teacher_rate(teacher: TeacherConfig) -> TeacherConfig:
    """Returns the teacher's settings with a null learning rate replaced by its default."""
    return replace(
        teacher,
        train=_with_rate(teacher.train, CHECKPOINT_RATE if teacher.checkpoint else TEACHER_RATE),
    )


def with_finetuning_rate(train: TrainConfig) -> TrainConfig:
    """Returns fine-tuning settings with a null learning rate replaced by its default."""
    return _with_rate(train, FINETUNING_RATE)


def _with_rate(train: TrainConfig, rate: float) -> TrainConfig:
    return replace(train, learning_rate=rate) if train.learning_rate is None else train
