"""Refines a teacher on all tasks at once and stores it, so that later distillations find it.

    python -m experiments.teacher --config experiments/configs/glue.yaml --teacher.checkpoint ENCODER
    mlflow run . -e teacher

It reads the same settings as experiments.distill; only those of the data and the teacher matter. The last line printed
is JSON: the run's id and its metrics.
"""

import sys
from pathlib import Path

from experiments import cli
from experiments.tracking import record
from experiments.tracking.run import num_tasks
from mkd import names, pipeline
from mkd.config import Config


def refine(config: Config) -> None:
    """One teacher's refinement as an MLflow run."""
    teacher = config.teacher
    source = Path(teacher.checkpoint).name if teacher.checkpoint else f"{teacher.layers}x{teacher.hidden} from scratch"
    record.record(config, names.KIND_TEACHER, f"teacher {source} {num_tasks(config)}", pipeline.run_teacher)


if __name__ == "__main__":
    sys.exit(cli.entry(refine, __doc__ or ""))
