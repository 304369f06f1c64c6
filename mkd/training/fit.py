"""Trains a model on rows of several tasks: teacher refinement, distillation and fine-tuning."""

from collections.abc import Iterator
from typing import NamedTuple

from mkd.config import LossConfig, TrainConfig
from mkd.evaluation.scoring import selection_scores
from mkd.result import Report, no_report
from mkd.runtime.layout import Layout
from mkd.storage.run_folder import Checkpoint
from mkd.students import Student
from mkd.students.heads import on
from mkd.tokenization.tokens import TaskData
from mkd.training.batches import Batch, TaskRows, joint_batches
from mkd.training.matching import Matching
from mkd.training.trainer import TrainingOutcome, train_model


class TrainingSetup(NamedTuple):
    """What a model is trained on, and how.

    - `sources`: the rows of each task, with the teacher's logits or None.
    - `selection`: the tasks whose selection rows choose the best step.
    - `layout`: the model's token layout.
    - `precision`: precision of scoring on the selection rows.
    """

    sources: list[TaskRows]
    selection: list[TaskData]
    layout: Layout
    loss: LossConfig
    train: TrainConfig
    seed: int
    precision: str = "float32"


def fit(
    model: Student,
    lesson: TrainingSetup,
    report: Report = no_report,
    checkpoint: Checkpoint | None = None,
) -> TrainingOutcome:
    """Trains the model in place, jointly on all tasks, and returns the best step and its score.

    Raises ValueError as `train_model` does, and if a layer in loss.match.student_layers does not
    exist.
    """
    sources, how = lesson.sources, lesson.train

    def batches(start: int) -> Iterator[Batch]:
        return joint_batches(
            sources, lesson.layout, how.batch_size, how.sampling, lesson.seed, how.steps, start
        )

    def scores() -> dict[str, float]:
        return selection_scores(model, lesson.selection, lesson.layout, lesson.precision)

    known = {source.data.name: source.states for source in sources if source.states is not None}
    matching = None
    if known:
        matching = on(
            Matching(model.state_widths, known, lesson.loss.match), next(model.parameters()).device
        )
    return train_model(model, batches, scores, lesson.loss, how, report, checkpoint, matching)
