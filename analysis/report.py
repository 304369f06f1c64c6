"""The report: quality against inference speed of an experiment's runs.

    mkd report --experiment mkd
    mkd report --study NAME --to FOLDER
    mlflow run . -e report -P experiment=mkd -P study=NAME

It consists of pictures, tables, the numbers behind them, and one page. It reads the finished runs
from MLFLOW_TRACKING_URI and logs the report there too: to the study's run, or else to a run of kind
`report`. `--json` prints JSON: where the report is, the front, the best model under each budget,
and how many runs were left out, by reason.
"""

import sys

from analysis import arguments

if __name__ == "__main__":  # before the imports that follow: those take seconds
    sys.exit(arguments.main(__doc__))

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from analysis import tables
from analysis.arguments import ReportSettings
from analysis.charts.gallery import Chart, charts, json_value
from analysis.empty_runs import OWN_RUN
from analysis.findings.summary import Summary, summarise
from analysis.page.content import content, fronts
from analysis.page.page import Link, Picture, page
from analysis.presentation.figure import fix_layout, image_bytes, plain_text
from analysis.presentation.printing import set_result
from analysis.runs.runs import LOCAL, Runs, connect, read_runs, unreadable
from mkd import names, progress
from mkd.storage.addresses import without_passwords
from mkd.storage.owners import is_gone, owner

PAGE = "report.html"
"""File name of the page."""
OUTCOME = "report.json"
"""File name of the short form, which also lists the report's files."""
ARTIFACT = f"artifacts/report/{PAGE}"
"""Path of the page below a run's address in the MLflow UI."""
REPORTS = "**Quality against speed:**"
"""Start of the generated part of an experiment's description. The user's own text before it is
kept. A folded description shows its first line in the UI.
"""

BEST_FIRST = urlencode(
    {
        "workflowType": "machine_learning",
        "searchFilter": f"metrics.`{names.QUALITY_MEAN}` > 0",
        "orderByKey": f"metrics.`{names.SELECTED_MEAN}`",
        "orderByAsc": "false",
    },
    quote_via=quote,
)
"""Query of the MLflow UI: all runs with a score in one list, best on selection first."""


def command(settings: ReportSettings) -> None:
    """Makes the report. Raises ConnectionError for all errors of the tracking store."""
    try:
        report(settings)
    except MlflowException as error:
        raise unreadable(mlflow.get_tracking_uri(), error) from error


def report(settings: ReportSettings) -> None:
    """Reads the runs, writes the report, logs it, and prints its tables."""
    earlier = checked_target(Path(settings.to)) if settings.to else set()
    client = connect()
    claim_own_run(client)
    runs = read_runs(settings.experiment, settings.study)
    if not settings.experiment and not settings.study:
        print(f"the report is of the experiment {runs.experiment}: none was named", flush=True)
    with progress.job_bar(2, "step") as show:
        show(0, "comparing models", 0.0)
        summary = summarise(runs, settings.machine)
        with tempfile.TemporaryDirectory() as aside:
            folder = Path(aside) / "report"
            run_id, links = report_run(client, runs)
            try:
                write(summary, folder, links, lambda name: show(1, f"drawing {name}", 0.0))
                client.log_artifacts(run_id, str(folder), "report")
                if settings.to:
                    publish(folder, Path(settings.to), earlier)
            except BaseException:
                _end(client, run_id, "FAILED")
                raise
        show(2, "report", 0.0)
    client.set_tag(run_id, names.TAG_REPORT, "report/report.html")
    _end(client, run_id, "FINISHED")
    describe_experiment(client, runs.experiment_id)
    url = address(runs, run_id)
    print("\n".join(lines(summary)))
    print(f"\nlook at it: {settings.to + '/' + PAGE if settings.to else url}")
    set_result(report_json(summary) | {"run_id": run_id, "link": url, "folder": settings.to})


def _end(client: mlflow.MlflowClient, run_id: str, status: str) -> None:
    """Ends a report's own run. A run that a client creates stays RUNNING until it is terminated."""
    if client.get_run(run_id).data.tags.get(names.TAG_KIND) == names.KIND_REPORT:
        client.set_terminated(run_id, status)


def write(summary: Summary, folder: Path, links: list[Link], tell: Callable[[str], object]) -> None:
    """Writes all files of the report into a new folder. tell: receives the name of each picture."""
    (folder / "pictures").mkdir(parents=True)
    pictures = []
    for chart in charts(summary):
        tell(chart.name)
        pictures.append(_write_picture(chart, folder / "pictures"))
    best = fronts(summary.models)
    tables.for_csv(summary.models, summary.bootstrap.lost, best).to_csv(
        folder / "models.csv", index=False
    )
    summary.runs.frame.drop(columns="artifacts").to_csv(folder / "runs.csv", index=False)
    (folder / "front.md").write_text("\n".join(lines(summary)) + "\n", "utf-8")
    (folder / PAGE).write_text(
        page(content(summary, [picture for picture in pictures if picture], links)), "utf-8"
    )
    outcome = report_json(summary) | {"files": [*_files(folder), OUTCOME]}
    (folder / OUTCOME).write_text(json.dumps(outcome, indent=1), "utf-8")


def _files(folder: Path) -> list[str]:
    """Returns the paths of all files below a folder."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def publish(report: Path, folder: Path, earlier: set[str]) -> None:
    """Copies a report to a folder, and removes the files that only the earlier report there had.

    earlier: files of the earlier report. All others stay.
    """
    shutil.copytree(report, folder, dirs_exist_ok=True)
    for name in earlier - set(_files(report)):
        (folder / name).unlink(missing_ok=True)


def checked_target(folder: Path) -> set[str]:
    """Returns the files of the report in a folder, which may not exist yet (`earlier_files`).

    Raises ValueError if the folder cannot be written to, or as `earlier_files` does.
    """
    whole = folder.absolute()
    nearest = next(each for each in (whole, *whole.parents) if os.path.lexists(each))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(
            f"to is {str(folder)!r}; allowed: a folder that can be written to, or made"
        )
    return earlier_files(folder)


def earlier_files(folder: Path) -> set[str]:
    """Returns the files that the report in a folder consists of, by its report.json.

    Empty without a report, or if its version did not list them. Raises ValueError if report.json is
    not one of a report.
    """
    file = folder / OUTCOME
    if not file.is_file():
        return set()
    try:
        names = json.loads(file.read_text("utf-8")).get("files", [])
        # A name must not lead out of the folder.
        return {
            name for name in names if (folder / name).resolve().is_relative_to(folder.resolve())
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"to is {str(folder)!r}, where {OUTCOME} is not that of a report ({error}); allowed: "
            f"a folder with a report, or without a {OUTCOME}"
        ) from None


def _write_picture(chart: Chart, folder: Path) -> Picture | None:
    """Writes a picture as PNG, SVG and JSON.

    A picture that cannot be drawn gets only the JSON, with the reason as its caption, and None is
    returned.
    """
    values = {"title": chart.title, "caption": chart.caption, "info": json_value(chart.info)}
    (folder / f"{chart.name}.json").write_text(
        json.dumps(values, indent=1, allow_nan=False), "utf-8"
    )
    if chart.figure is None:
        return None
    with plain_text():
        figure = chart.figure()
        fix_layout(figure)
        (folder / f"{chart.name}.png").write_bytes(image_bytes(figure, "png"))
        svg = image_bytes(figure, "svg")
    (folder / f"{chart.name}.svg").write_bytes(svg)
    return Picture(chart.name, chart.title, chart.caption, svg.decode())


def lines(summary: Summary) -> list[str]:
    """Returns the tables of the report in Markdown, with notes and the runs that were left out."""
    front = tables.front_lines(summary.front, summary.kept.tasks, summary.bootstrap.lost)
    budgets = [*tables.budget_lines(summary.answers), ""] if summary.answers else []
    notes = [f"note: {note}" for note in summary.notes]
    return [
        *front,
        "",
        *budgets,
        f"{tables.NOTE}; {summary.small}.",
        *notes,
        *tables.left_out_lines(summary.left_out),
    ]


def report_json(summary: Summary) -> dict[str, Any]:
    """Returns a short form of the report as JSON values."""
    runs, lost = summary.runs, summary.bootstrap.lost
    fields = ["id", "label", "latency_ms", "rows_per_s", "num_bytes", "selection", "mean", "runs"]
    front = [
        dict(row) | {"lost": lost.get(row["id"])}
        for row in summary.front[fields].to_dict("records")
    ]
    values: dict[str, Any] = json_value(
        {
            "experiment": runs.experiment,
            "study": runs.study.name if runs.study else "",
            "runs": len(summary.kept.frame),
            "models": len(summary.models),
            "machine": summary.kept.machine,
            "other_machines": summary.kept.others,
            "front": front,
            "best_under": list(summary.answers),
            "left_out": {reason: len(names) for reason, names in summary.left_out.items()},
            "notes": summary.notes,
        }
    )
    return values


def claim_own_run(client: mlflow.MlflowClient) -> None:
    """Marks the run that `mlflow run` created as that of this report, in this process.

    If the process is killed, the next report finds it.
    """
    if project_run_id := os.environ.get(OWN_RUN, ""):
        client.set_tag(project_run_id, names.TAG_KIND, names.KIND_REPORT)
        client.set_tag(project_run_id, names.TAG_PROCESS, owner())


def report_run(client: mlflow.MlflowClient, runs: Runs) -> tuple[str, list[Link]]:
    """Returns the id of the run that the report is logged to, and the links of the page.

    It is the study's run, or else the run that `mlflow run` created if it is in the experiment, or
    else a new run there. Runs of reports whose process was killed are used again, or ended.
    """
    project_run_id = os.environ.get(OWN_RUN, "")
    name = f"report of {runs.study.name if runs.study else runs.experiment}"
    place = runs.experiment_id
    if project_run_id:
        client.set_tag(project_run_id, "mlflow.runName", name)
        place = client.get_run(project_run_id).info.experiment_id
    killed = _killed_reports(client, sorted({place, runs.experiment_id}))
    run_id = (
        runs.study.run_id if runs.study else project_run_id if place == runs.experiment_id else ""
    )
    if not run_id:
        tags = {names.TAG_KIND: names.KIND_REPORT, names.TAG_PROCESS: owner()}
        again = [run.info for run in killed if run.info.experiment_id == runs.experiment_id]
        run_id = next((run_info.run_id for run_info in again if run_info.run_name == name), "")
        if run_id:
            client.set_tag(run_id, names.TAG_PROCESS, tags[names.TAG_PROCESS])
        else:
            run_id = client.create_run(runs.experiment_id, run_name=name, tags=tags).info.run_id
    for run in killed:
        if run.info.run_id != run_id and run.info.status == "RUNNING":
            client.set_tag(run.info.run_id, names.TAG_ERROR, "its process was killed")
            client.set_terminated(run.info.run_id, "KILLED")
    if project_run_id and run_id != project_run_id:
        # The run that `mlflow run` created has no report of its own, so its description links to
        # the report.
        client.set_tag(
            project_run_id,
            "mlflow.note.content",
            f"[The report](#/experiments/{runs.experiment_id}/runs/{run_id}/{ARTIFACT})",
        )
    where = f"{_ui(runs)}/#/experiments/{runs.experiment_id}"
    links = [Link("all runs in MLflow", f"{where}/runs?workflowType=machine_learning")]
    return run_id, [
        *links,
        *([Link("the study's run", f"{where}/runs/{run_id}")] if runs.study else []),
    ]


def _killed_reports(client: mlflow.MlflowClient, experiments: list[str]) -> list[Run]:
    """Returns the unfinished runs of reports whose process has ended."""
    wanted = f"attributes.status != 'FINISHED' and tags.`{names.TAG_KIND}` = '{names.KIND_REPORT}'"
    runs = client.search_runs(experiments, wanted)
    return [run for run in runs if is_gone(run.data.tags.get(names.TAG_PROCESS, ""))]


def _ui(runs: Runs) -> str:
    """Returns the address of the MLflow UI."""
    return without_passwords(runs.store) if runs.store.startswith("http") else LOCAL


def address(runs: Runs, run_id: str) -> str:
    """Returns the link to the report in the MLflow UI.

    For a local store, the command that opens it comes first.
    """
    experiment_id = connect(runs.store).get_run(run_id).info.experiment_id
    url = f"{_ui(runs)}/#/experiments/{experiment_id}/runs/{run_id}/{ARTIFACT}"
    if runs.store.startswith("http"):
        return url
    store = shlex.quote(without_passwords(runs.store))
    return f"mlflow ui --backend-store-uri {store} then {url}"


def describe_experiment(client: mlflow.MlflowClient, experiment_id: str) -> None:
    """Writes the experiment's description in the UI: its metrics, and links to its reports."""
    experiment = client.get_experiment(experiment_id)
    user_text = experiment.tags.get("mlflow.note.content", "").partition(REPORTS)[0].rstrip()
    reports = client.search_runs(
        [experiment_id], f"tags.`{names.TAG_REPORT}` LIKE 'report/%'", max_results=50
    )
    links = [
        f"[{run.info.run_name}](#/experiments/{experiment_id}/runs/{run.info.run_id}/{ARTIFACT})"
        for run in reports
    ]
    links.append(
        f"[all runs, best on selection first](#/experiments/{experiment_id}/runs?{BEST_FIRST})"
    )
    text = "\n".join(
        [*([user_text, ""] if user_text else []), f"{REPORTS} {', '.join(links)}", EXPLANATION]
    )
    client.set_experiment_tag(experiment_id, "mlflow.note.content", text)


EXPLANATION = f"""
A run is a small student distilled from a large teacher. Scores are in points from 0 to 100, on dev.

- `{names.QUALITY_MEAN}`: the student; `{names.TEACHER}{names.QUALITY_MEAN}`: its teacher; \
`{names.BASELINE}{names.QUALITY_MEAN}`: the same student, labels alone
- `{names.quality("TASK")}`: the mean of the task's metrics; \
`{names.RETENTION}TASK`: in percent of the teacher's
- `{names.speed("BACKEND", "SETTING", names.P50)}`: median of one call; \
`b1-text-t1` is one text on one thread, tokenized within the time
- `{names.SPEED}.../{names.RATIO}`: times the teacher's speed at its best with as many threads; \
`{names.SIZE_BYTES}`, `{names.SIZE_PARAMETERS}`
- `{names.SELECTED_MEAN}`: the kept weights on the selection split, \
rows set apart from training: what one of many is chosen by
- `{names.MAJORITY}{names.QUALITY_MEAN}`: a model that always gives the most frequent class
- `{names.SEARCH_QUALITY}`: what a search goes by, on rows set apart from training; \
trials are the children of a run of kind `{names.KIND_SEARCH}`
"""
"""Explains the metrics of an experiment, in Markdown."""
