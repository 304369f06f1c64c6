"""Predicts a Parquet corpus on Spark with a logged model: labels with probabilities, or logits.

    python -m experiments.label --label.model runs:/RUN_ID/student --label.task sst2 \\
        --label.corpus texts.parquet --label.output answers
    mlflow run . -e label -P label.model=runs:/RUN_ID/student -P label.task=sst2 \\
        -P label.corpus=FILE -P label.output=FOLDER

The settings are those of `label`, and `cache`. With `--label.logits true` the output is a file for
teacher.sources. The extra `spark` and Java are required. The last line of the output is JSON: the
run's id, the output and the metrics.
"""

import sys
import tempfile
from pathlib import Path

from experiments import cli
from experiments.on_spark import corpus
from experiments.settings import Label
from experiments.tracking import record
from experiments.tracking.models import logged_student
from experiments.tracking.run import folder_of
from mkd import names


def label(config: Label) -> None:
    """Labels one corpus as an MLflow run, linked to the run that made the model."""
    asked = config.label
    with tempfile.TemporaryDirectory() as fetched:
        logged = logged_student("label.model", asked.model, Path(fetched))
        texts = corpus.check(asked, logged.student)
        output = Path(asked.output).resolve()
        # The run's own name, so that two commands do not write to one folder. A lock allows one run
        # of the same settings at a time.
        aside = output.with_name(f".{output.name}-{folder_of(config, names.KIND_LABEL).name}")

        def core() -> dict[str, float]:
            with corpus.session(asked.master) as spark:
                return corpus.write_answers(spark, asked, logged.model, texts, aside)

        record.labelled(
            config, f"label {asked.task} {Path(asked.corpus).name}", logged.run_id, core
        )


if __name__ == "__main__":
    sys.exit(cli.entry(label, __doc__ or "", Label))
