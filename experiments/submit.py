"""Predicts GLUE's test rows with a student and writes the zip for its leaderboard.

    python -m experiments.submit --submit.student runs:/RUN_ID/student \\
        --data.source glue --data.path GLUE_FOLDER
    python -m experiments.submit --submit.student FOLDER --submit.fill true \\
        --data.source glue --data.path GLUE_FOLDER
    mlflow run . -e submit -P submit.student=runs:/RUN_ID/student \\
        -P data.source=glue -P data.path=GLUE_FOLDER

The leaderboard is at gluebenchmark.com. GLUE_FOLDER is the folder that GLUE's download script
writes. It must contain the test files of all nine tasks and the diagnostic rows, which MNLI's head
answers. The last line of the output is JSON: the run's id, the path of the zip and its contents.
"""

import sys
from pathlib import Path

from experiments import cli
from experiments.settings import Submit
from experiments.tracking import models, record
from mkd.result import Report
from mkd.runs.submission import Submission, run_submit


def submit(config: Submit) -> None:
    """Makes one submission as an MLflow run, linked to the run that made the student."""
    with models.student("submit.student", config.submit.student) as (folder, parent):

        def core(target: Path, report: Report) -> Submission:
            return run_submit(config.core(), config.submit, folder, target, report)

        record.record_submission(config, f"submit {parent[:8] or folder.name}", core, parent)


if __name__ == "__main__":
    sys.exit(cli.entry(submit, __doc__ or "", Submit))
