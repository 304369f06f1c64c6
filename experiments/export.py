"""Exports a saved student to a folder that runs anywhere, in each backend that passes its check, and tells how fast each is.

    python -m experiments.export --export.student runs:/RUN_ID/student --export.to FOLDER
    python -m experiments.export --export.student FOLDER --export.to FOLDER --export.backends '["onnx"]'
    mlflow run . -e export -P export.student=runs:/RUN_ID/student -P export.to=FOLDER

The student is checked on dev of the tasks of `data` that it knows; the settings of its own run do not come by themselves: give
its config.yaml with --config. FOLDER/BACKEND is what `python -m mkd` takes. The last line printed is JSON: the run's id,
the folder, its backends and the metrics.
"""

import sys

from experiments import cli, logged, tracking
from mkd.config import Config
from mkd.delivery import Delivered, run_export
from mkd.record import Report


def export(config: Config) -> None:
    """One export as an MLflow run, linked to the run that made the student."""
    with logged.student("export.student", config.export.student) as (folder, parent):

        def core(config: Config, report: Report) -> Delivered:
            return run_export(config, folder, report)

        tracking.record_export(config, f"export {parent[:8] or folder.name}", core, parent)


if __name__ == "__main__":
    sys.exit(cli.entry(export, __doc__ or ""))
