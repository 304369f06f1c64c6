"""Refines a teacher on all tasks at once and stores it for later distillations.

    mkd teacher --config glue --teacher.checkpoint ENCODER
    mlflow run . -e teacher

It accepts the configuration files of experiments.distill and reads the settings that a teacher
depends on. `--json` prints JSON: the run's id and its metrics.
"""

import sys

from experiments import cli

if __name__ == "__main__":  # before the imports that follow: those take seconds
    sys.exit(cli.main("experiments.teacher:refine", __doc__))

from functools import partial
from pathlib import Path

from experiments.settings import TeacherSettings
from experiments.tracking.record import FinishedRun, before_run, record_training
from experiments.tracking.run import tasks_name
from experiments.tracking.store import with_store
from mkd import names, pipeline
from mkd.result import Result


@with_store()
def refine(config: TeacherSettings) -> FinishedRun[Result]:
    """Refines one teacher as an MLflow run, and returns it."""
    teacher = config.teacher
    source = (
        Path(teacher.checkpoint).name
        if teacher.checkpoint
        else f"{teacher.layers}x{teacher.hidden} from scratch"
    )
    name = f"teacher {source} · {tasks_name(config.data)}"
    core = config.core()
    prepared = before_run(partial(pipeline.prepare_teacher, core))
    training = partial(pipeline.run_teacher, core, prepared=prepared)
    return record_training(config, names.KIND_TEACHER, name, training, prepared.tasks)
