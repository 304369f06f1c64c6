"""Exports a saved student to a folder, in each backend that passes its check, and times each.

    python -m experiments.export --export.student runs:/RUN_ID/student --export.to FOLDER
    python -m experiments.export --export.student FOLDER --export.to FOLDER \\
        --export.backends '["onnx"]'
    mlflow run . -e export -P export.student=runs:/RUN_ID/student -P export.to=FOLDER

The student is checked on dev of those tasks of `data` that it knows. The settings of the student's
own run are not loaded: pass its config.yaml with --config. `python -m mkd` takes FOLDER/BACKEND.
The last line of the output is JSON: the run's id, the folder, its backends and the metrics.
"""

import sys

from experiments import cli
from experiments.settings import Export
from experiments.tracking import models, record
from mkd.result import Report
from mkd.runs.export import ExportedFolder, run_export


def export(config: Export) -> None:
    """Exports one student as an MLflow run, linked to the run that made the student."""
    with models.student("export.student", config.export.student) as (folder, parent):

        def core(report: Report) -> ExportedFolder:
            return run_export(config.core(), config.export, folder, report)

        record.record_export(config, f"export {parent[:8] or folder.name}", core, parent)


if __name__ == "__main__":
    sys.exit(cli.entry(export, __doc__ or "", Export))
