"""Trains a distilled student further: on its tasks, on text of another domain, or on a new task.

    mkd finetune --finetune.student runs:/RUN_ID/student \\
        --data.tasks '["sentiment"]'
    mkd finetune --finetune.student FOLDER --finetune.loss.hard_weight 0.5
    mlflow run . -e finetune -P finetune.student=runs:/RUN_ID/student

The tasks are those of `data`; `finetune` holds the loss and the training. The settings of the
student's own run are not loaded: pass its config.yaml with --config. `--json` prints JSON: the
run's id and its metrics.
"""

import sys

from experiments import cli

if __name__ == "__main__":  # before the imports that follow: those take seconds
    sys.exit(cli.main("experiments.finetune:finetune", __doc__))

from dataclasses import replace
from functools import partial

from experiments.settings import FinetuneSettings
from experiments.tracking.downloads import fetched_student
from experiments.tracking.record import FinishedRun, before_run, record_training
from experiments.tracking.run import tasks_name
from experiments.tracking.store import with_store
from mkd import names
from mkd.result import Result
from mkd.runs.finetune import prepare_finetune, run_finetune


@with_store()
def finetune(config: FinetuneSettings) -> FinishedRun[Result]:
    """Fine-tunes one student as an MLflow run, linked to the run that distilled the student.

    Returns the run.
    """
    with fetched_student("finetune.student", config.finetune.student) as (folder, source):
        core = config.core()
        start = replace(config.finetune, student=str(folder) if config.finetune.student else "")
        prepared = before_run(partial(prepare_finetune, core, start))
        training = partial(run_finetune, core, start, prepared=prepared)
        loss, tasks = config.finetune.loss.name, tasks_name(config.data)
        name = f"finetune {source[:8] or folder.name} {loss} · {tasks}"
        return record_training(config, names.KIND_FINETUNE, name, training, prepared.tasks, source)
