"""Writes a student's answers to GLUE's test rows as the zip that its leaderboard takes (gluebenchmark.com).

    python -m experiments.submit --submit.student runs:/RUN_ID/student --data.source glue --data.path GLUE_FOLDER
    python -m experiments.submit --submit.student FOLDER --submit.fill true --data.source glue --data.path GLUE_FOLDER
    mlflow run . -e submit -P submit.student=runs:/RUN_ID/student -P data.source=glue -P data.path=GLUE_FOLDER

The folder is that of GLUE's own download script; all nine tasks and the diagnostic rows, which MNLI's head answers, have to be
there. The last line printed is JSON: the run's id, where the zip is, and what it holds.
"""

import sys
from pathlib import Path

from experiments import cli
from experiments.settings import Submit
from experiments.tracking import models, record
from mkd.result import Report
from mkd.runs.submission import Submission, run_submit


def submit(config: Submit) -> None:
    """One submission as an MLflow run, linked to the run that made the student."""
    with models.student("submit.student", config.submit.student) as (folder, parent):

        def core(target: Path, report: Report) -> Submission:
            return run_submit(config.core(), config.submit, folder, target, report)

        record.record_submission(config, f"submit {parent[:8] or folder.name}", core, parent)


if __name__ == "__main__":
    sys.exit(cli.entry(submit, __doc__ or "", Submit))
