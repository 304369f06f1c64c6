"""Refines a teacher on all tasks at once and stores it, so that later distillations find it.

    python -m experiments.teacher --config experiments/configs/glue.yaml --teacher.checkpoint ENCODER
    mlflow run . -e teacher

It takes the same files of settings as experiments.distill, and reads of them what a teacher depends on. The last line printed
is JSON: the run's id and its metrics.
"""

import sys
from functools import partial
from pathlib import Path

from experiments import cli
from experiments.settings import Teacher
from experiments.tracking import record
from experiments.tracking.run import num_tasks
from mkd import names, pipeline


def refine(config: Teacher) -> None:
    """One teacher's refinement as an MLflow run."""
    teacher = config.teacher
    source = Path(teacher.checkpoint).name if teacher.checkpoint else f"{teacher.layers}x{teacher.hidden} from scratch"
    name = f"teacher {source} {num_tasks(config.data)}"
    record.record(config, names.KIND_TEACHER, name, partial(pipeline.run_teacher, config.core()))


if __name__ == "__main__":
    sys.exit(cli.entry(refine, __doc__ or "", Teacher))
