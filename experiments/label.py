"""Predicts a Parquet corpus on Spark with a logged model: labels with probabilities, or logits.

    mkd label --label.model runs:/RUN_ID/student --label.task sst2 \\
        --label.corpus texts.parquet --label.output answers
    mlflow run . -e label -P label.model=runs:/RUN_ID/student -P label.task=sst2 \\
        -P label.corpus=FILE -P label.output=FOLDER

The settings are those of `label`, and `cache`. With `--label.logits true` the output is a file for
teacher.sources. The extra `spark` and Java are required. `--json` prints JSON: the run's id, the
output and the metrics.
"""

import sys

from experiments import cli

if __name__ == "__main__":  # before the imports that follow: those take seconds
    sys.exit(cli.main("experiments.label:label", __doc__))

import tempfile
from functools import partial
from pathlib import Path

from experiments.on_spark import corpus
from experiments.settings import LabelSettings
from experiments.tracking.downloads import check_loads, download_model
from experiments.tracking.outputs import of_labels
from experiments.tracking.record import FinishedRun, record
from experiments.tracking.run import OpenRun, folder_of, open_run
from experiments.tracking.store import with_store
from mkd import names
from mkd.result import Report
from mkd.storage.written import earlier_output


@with_store()
def label(config: LabelSettings) -> FinishedRun[dict[str, float]]:
    """Labels one corpus as an MLflow run, linked to the run that made the model.

    Returns the run.
    """
    label_config = config.label
    with tempfile.TemporaryDirectory() as fetched:
        model = download_model("label.model", label_config.model, Path(fetched))
        output, folder = Path(label_config.output).resolve(), folder_of(config, names.KIND_LABEL)
        known = earlier_output(output, folder)
        # The run's own name, so that two commands do not write to one folder. A lock allows one run
        # of the same settings at a time.
        aside = output.with_name(f".{output.name}-{folder.name}")
        name = f"label {label_config.task} {Path(label_config.corpus).name}"
        opening = partial(
            open_run,
            config,
            names.KIND_LABEL,
            name,
            label_config.task,
            {names.TAG_OUTPUT: str(output)},
        )
        outputs = partial(of_labels, output=str(output))
        if known is not None:  # a killed start has written it, and has not logged it
            return record(opening(), lambda run, report: known, outputs, source=model.run_id)
        texts = corpus.check_labelling(label_config, model.student)
        check_loads("label.model", label_config.model, model.model)
        # A master that does not answer is found out before the run is opened.
        with corpus.spark_session(label_config.master) as spark:

            def core(run: OpenRun, report: Report) -> dict[str, float]:
                return corpus.write_predictions(
                    spark, label_config, model.model, texts, aside, run.folder
                )

            return record(opening(), core, outputs, source=model.run_id)
