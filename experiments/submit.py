"""Predicts GLUE's test rows with a student and writes the zip for its leaderboard.

    mkd submit --submit.student runs:/RUN_ID/student \\
        --data.source glue --data.path GLUE_FOLDER
    mkd submit --submit.student FOLDER --submit.fill true \\
        --data.source glue --data.path GLUE_FOLDER
    mlflow run . -e submit -P submit.student=runs:/RUN_ID/student \\
        -P data.source=glue -P data.path=GLUE_FOLDER

The leaderboard is at gluebenchmark.com. GLUE_FOLDER is the folder that GLUE's download script
writes. It must contain the test files of all nine tasks and the diagnostic rows, which MNLI's head
answers. `--json` prints JSON: the run's id, the path of the zip and its contents.
"""

import sys

from experiments import cli

if __name__ == "__main__":  # before the imports that follow: those take seconds
    sys.exit(cli.main("experiments.submit:submit", __doc__))

from experiments.settings import SubmitSettings
from experiments.tracking import outputs
from experiments.tracking.downloads import fetched_student
from experiments.tracking.record import FinishedRun, check_one_process, record
from experiments.tracking.run import OpenRun, open_run, tasks_tag
from experiments.tracking.store import with_store
from mkd import names
from mkd.result import Report
from mkd.runs.submission import Submission, prepare_submit, run_submit


@with_store()
def submit(config: SubmitSettings) -> FinishedRun[Submission]:
    """Makes one submission as an MLflow run, linked to the run that made the student.

    Returns the run.
    """
    check_one_process("a submission")
    with fetched_student("submit.student", config.submit.student) as (student, source):
        prepared = prepare_submit(config.core(), config.submit, student)

        def core(run: OpenRun, report: Report) -> Submission:
            return run_submit(prepared, config.submit, run.folder, report)

        name = f"submit {source[:8] or student.name}"
        opening = open_run(config, names.KIND_SUBMIT, name, tasks_tag(config.data))
        return record(opening, core, outputs.of_submission, source=source)
