"""Exports a saved student to a folder, in each backend that passes its check, and times each.

    mkd export --export.student runs:/RUN_ID/student --export.to FOLDER
    mkd export --export.student FOLDER --export.to FOLDER \\
        --export.backends '["onnx"]'
    mlflow run . -e export -P export.student=runs:/RUN_ID/student -P export.to=FOLDER

The student is checked on dev of those tasks of `data` that it knows. For a logged student, `data`,
`seed` and `speed` are those of its run, unless the command changes them. FOLDER gets the layout
of the Hugging Face hub, with each backend; `--hub.push USER/NAME` sends it there.
`--json` prints JSON: the run's id, the folder, its backends and the metrics.
"""

import sys

from experiments import cli

if __name__ == "__main__":  # before the imports that follow: those take seconds
    sys.exit(cli.main("experiments.export:export", __doc__))

from dataclasses import replace
from functools import partial
from pathlib import Path

from experiments.settings import DistillSettings, ExportSettings, with_open_length
from experiments.tracking import outputs
from experiments.tracking.downloads import fetched_student
from experiments.tracking.record import FinishedRun, before_run, check_one_process, record
from experiments.tracking.run import OpenRun, folder_of, open_run, tasks_tag
from experiments.tracking.searches import settings_of
from experiments.tracking.store import with_store
from mkd import names
from mkd.export.hub import check_push, push
from mkd.result import Report
from mkd.runs.export import ExportedFolder, exported_earlier, prepare_export, run_export
from mkd.runtime.hub import HUB_NAME

RUN_GROUPS = ("seed", "data", "speed")
"""Groups of settings that are taken from the student's run."""


@with_store()
def export(config: ExportSettings) -> FinishedRun[ExportedFolder]:
    """Exports one student as an MLflow run, linked to the run that made the student.

    Returns the run.
    """
    check_one_process("an export")
    check_push(config.hub)
    with fetched_student("export.student", config.export.student) as (student, source):
        if source:
            config = with_run_settings(config, settings_of(source, DistillSettings))
        arguments = (config.core(), config.export, student)
        known = exported_earlier(config.export, folder_of(config, names.KIND_EXPORT))
        prepared = known or before_run(partial(prepare_export, *arguments))

        def core(run: OpenRun, report: Report) -> ExportedFolder:
            exported = (
                prepared
                if isinstance(prepared, ExportedFolder)
                else run_export(prepared, config.export, report, config.hub, run.folder)
            )
            if config.hub.push:
                address = push(Path(exported.folder), config.hub)
                exported = exported._replace(
                    notes=[*exported.notes, f"the folder is on the hub: {address}"]
                )
            return exported

        name = f"export {source[:8] or student.name}"
        tags = {names.TAG_OUTPUT: str(Path(config.export.to).resolve())}
        opening = open_run(config, names.KIND_EXPORT, name, tasks_tag(config.data), tags)
        return record(opening, core, outputs.of_export, source=source)


def with_run_settings(config: ExportSettings, run: DistillSettings) -> ExportSettings:
    """Returns the settings with those of the student's run where the command leaves the default."""
    whole = with_open_length(run)
    groups = {name: getattr(whole, name) for name in RUN_GROUPS}
    data, checkpoint = whole.data, whole.teacher.checkpoint
    on_hub = HUB_NAME.fullmatch(checkpoint) and not Path(checkpoint).exists()
    from_hub = data.source == "hub" and not Path(data.path).exists()
    named = {
        "hub.base_model": checkpoint if on_hub else "",
        "hub.datasets": [data.path] if from_hub else [],
    }
    return cli.with_settings(replace(config, **groups), named | cli.overrides(config))
