"""Trains a model on rows of several tasks: teacher refinement, distillation and fine-tuning."""

from collections.abc import Iterator
from typing import NamedTuple

from mkd import processes
from mkd.config import LossConfig, TrainConfig
from mkd.evaluation.scoring import fit_decisions, selection_logits, selection_scores
from mkd.evaluation.thresholds import may_decide
from mkd.result import Report, no_report
from mkd.runtime.layout import Layout
from mkd.storage.run_folder import Checkpoint
from mkd.students import Student
from mkd.students.heads import on, set_temperatures, set_thresholds
from mkd.tokenization.tokens import TaskData
from mkd.training.batches import Batch, TaskRows, joint_batches
from mkd.training.matching import Matching
from mkd.training.trainer import TrainingOutcome, train_model


class TrainingSetup(NamedTuple):
    """The data and settings of a training.

    - `sources`: the rows of each task, with the teacher's logits or None.
    - `selection`: the tasks whose selection rows choose the best step.
    - `layout`: the model's token layout.
    - `precision`: precision of scoring on the selection rows.
    - `held_out`: whether the selection rows are no training rows. Only then are temperatures fitted
      to them: a model is overconfident on its training rows.
    """

    sources: list[TaskRows]
    selection: list[TaskData]
    layout: Layout
    loss: LossConfig
    train: TrainConfig
    seed: int
    precision: str = "float32"
    held_out: bool = True


def fit(
    model: Student,
    setup: TrainingSetup,
    report: Report = no_report,
    checkpoint: Checkpoint | None = None,
) -> TrainingOutcome:
    """Trains the model in place, jointly on all tasks, and returns the best step and its score.

    Thresholds of tasks that have them, and the temperatures of all tasks with classes, are fitted
    to the best weights on the selection rows, and stored in the model's config.

    Raises ValueError as `train_model` does, and if a layer in loss.match.student_layers does not
    exist.
    """
    sources, train_config = setup.sources, setup.train

    def batches(start: int) -> Iterator[Batch]:
        return joint_batches(
            sources,
            setup.layout,
            train_config.batch_size,
            train_config.sampling,
            setup.seed,
            train_config.steps,
            start,
        )

    def scores() -> dict[str, float]:
        return selection_scores(model, setup.selection, setup.layout, setup.precision)

    states = {source.data.name: source.states for source in sources if source.states is not None}
    matching = None
    if states:
        matching = on(
            Matching(model.state_widths, states, setup.loss.match), next(model.parameters()).device
        )
    outcome = train_model(
        model, batches, scores, setup.loss, train_config, report, checkpoint, matching
    )
    several = [
        data
        for data in setup.selection
        if may_decide(data.kind) or (data.kind.labels and setup.held_out)
    ]
    if several:
        thresholds, temperatures = processes.from_first(
            lambda: fit_decisions(
                several, selection_logits(model, several, setup.layout, setup.precision)
            )
        )
        set_thresholds(model.config, thresholds)
        set_temperatures(
            model.config, temperatures if setup.held_out else dict.fromkeys(temperatures, 1.0)
        )
    return outcome
