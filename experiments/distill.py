"""Distills a multi-task teacher into one small student, and measures both.

    mkd distill
    mkd distill --config glue --config bilstm
    mlflow run . -P loss.temperature=4

Every setting of `Config` in mkd/config/ is an option with its dotted name. `--json` prints JSON:
the run's id and its metrics.
"""

import sys

from experiments import cli

if __name__ == "__main__":  # before the imports that follow: those take seconds
    sys.exit(
        cli.main(
            "experiments.distill:distill",
            __doc__,
            complete="experiments.shipped_students:with_default_student",
        )
    )

from functools import partial

from experiments.settings import DistillSettings
from experiments.tracking.record import FinishedRun, before_run, record_training
from experiments.tracking.run import tasks_name
from experiments.tracking.store import with_store
from mkd import names, pipeline
from mkd.result import Result


@with_store()
def distill(config: DistillSettings) -> FinishedRun[Result]:
    """Runs one distillation as an MLflow run, and returns it."""
    name = f"{config.student.name} {config.loss.name} · {tasks_name(config.data)}"
    core = config.core()
    prepared = before_run(partial(pipeline.prepare, core))
    training = partial(pipeline.run, core, prepared=prepared)
    return record_training(config, names.KIND_DISTILL, name, training, prepared.tasks)
