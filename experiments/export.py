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

if __name__ == "__main__":  # before the imports that follow: those take seconds
    sys.exit(cli.main("experiments.export:export", __doc__))

from pathlib import Path

from experiments.settings import ExportSettings
from experiments.tracking import outputs
from experiments.tracking.models import fetched_student
from experiments.tracking.record import FinishedRun, check_one_process, record
from experiments.tracking.run import OpenRun, open_run, tasks_tag
from mkd import names
from mkd.result import Report
from mkd.runs.export import ExportedFolder, run_export


def export(config: ExportSettings) -> FinishedRun[ExportedFolder]:
    """Exports one student as an MLflow run, linked to the run that made the student.

    Returns the run.
    """
    check_one_process("an export")
    with fetched_student("export.student", config.export.student) as (student, source):

        def core(run: OpenRun, report: Report) -> ExportedFolder:
            return run_export(config.core(), config.export, student, report)

        name = f"export {source[:8] or student.name}"
        tags = {names.TAG_OUTPUT: str(Path(config.export.to).resolve())}
        opening = open_run(config, names.KIND_EXPORT, name, tasks_tag(config.data), tags)
        return record(opening, core, outputs.of_export, source=source)
