"""The only writer to MLflow: runs the core as a run, logs what it reports, and leaves its result behind."""

import importlib.metadata
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

import mlflow
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array
from packaging.version import Version

from experiments import picture, progress, table
from experiments.card import card, description
from experiments.cli import flat, one_line, to_yaml
from mkd import processes
from mkd.config import Config, RegistryConfig
from mkd.delivery import Delivered
from mkd.record import Ended, Report, Result, silent
from mkd.resume import path_of, run_folder
from mkd.submission import Submission

EXPERIMENT = "mkd"
"""Where runs go that no MLFLOW_EXPERIMENT_NAME and no `mlflow run` sends elsewhere."""
RUNTIME_PACKAGES = ("numpy", "onnxruntime", "tokenizers", "pandas", "mlflow")
"""What the logged model imports where it is an export."""
TORCH_PACKAGES = (
    *RUNTIME_PACKAGES, "torch", "transformers", "safetensors", "huggingface-hub", "scipy", "scikit-learn", "filelock",
    "accelerate",
)  # fmt: skip
"""What it imports where torch is the fastest."""
STARTED = "started"
"""In a run's folder: a run has begun there."""
ROOT = Path(__file__).resolve().parents[1]


Core = Callable[[Config, Path, Report], Result]
"""The work of a run: it writes its model to the folder."""


class Recorded(NamedTuple):
    """A run that has ended well: its id, and its final metrics."""

    run_id: str
    metrics: dict[str, float]


def record(
    config: Config, kind: str, name: str, core: Core, parent: str = "", tags: Mapping[str, str] = MappingProxyType({})
) -> Recorded:
    """Runs the core as one MLflow run of a `mkd.kind`, with bars while it works and a table, a link and JSON at its end.

    parent: id of the run whose model this one starts from. tags: beside the usual ones. The run ends FINISHED, or FAILED where
    the core raises; one that was killed is gone on with, as the same run. Of several processes the first one records it.
    """
    if not processes.is_first():
        return Recorded("", core(config, path_of(config, kind), silent).metrics)
    with opened(config, name, {"mkd.kind": kind, "mkd.tasks": tasks_of(config), **tags}) as (run, folder):
        if parent:
            _link(run, parent)
        with progress.bars(reporter(run)) as report:
            result = core(config, folder, report)
        log_result(run.info.run_id, result)
        if result.student and any(name.startswith("speed/") for name in result.metrics):
            mlflow.log_figure(picture.draw(picture.info(result)), "quality_and_speed.png")
        _log_model(config, result, run.info.run_id)
        print("\n".join(table.lines(result)))
        print(f"\nlook at it: {where(run)}")
        print(json.dumps({"run_id": run.info.run_id, "metrics": result.metrics}))
        return Recorded(run.info.run_id, result.metrics)


def record_submission(config: Config, name: str, core: Callable[[Config, Path, Report], Submission], parent: str = "") -> None:
    """Runs the core as one MLflow run of kind `submit`, as `record` does, and leaves the zip and what is in it.

    parent: id of the run whose student has answered.
    """
    if processes.count() > 1:
        raise ValueError(f"there are {processes.count()} processes; allowed for a submission: one")
    with opened(config, name, {"mkd.kind": "submit", "mkd.tasks": tasks_of(config)}) as (run, folder):
        if parent:
            _link(run, parent)
        with progress.bars(reporter(run)) as report:
            made = core(config, folder, report)
        lines = table.submission_lines(made)
        mlflow.log_artifact(str(made.zip))
        mlflow.log_text("\n".join(lines) + "\n", "table.md")
        mlflow.log_dict(table.submission_info(made), "submission.json")
        if made.notes:
            mlflow.set_tag("mlflow.note.content", "\n".join(f"- {note}" for note in made.notes))
        print("\n".join(lines))
        print(f"\nlook at it: {where(run)}")
        zipped = mlflow.get_artifact_uri(made.zip.name)
        print(json.dumps({"run_id": run.info.run_id, "zip": zipped} | table.submission_info(made)))


def record_export(config: Config, name: str, core: Callable[[Config, Report], Delivered], parent: str = "") -> None:
    """Runs the core as one MLflow run of kind `export`, as `record` does, without a model: what it makes is in export.to.

    parent: id of the run whose student is exported.
    """
    if processes.count() > 1:
        raise ValueError(f"there are {processes.count()} processes; allowed for an export: one")
    output = str(Path(config.export.to).resolve())
    with opened(config, name, {"mkd.kind": "export", "mkd.tasks": tasks_of(config), "mkd.output": output}) as (run, _):
        if parent:
            _link(run, parent)
        with progress.bars(reporter(run)) as report:
            made = core(config, report)
        lines = table.export_lines(made)
        log_metrics(run.info.run_id, 0, made.metrics)
        mlflow.set_tags({f"mkd.hardware.{name}": value for name, value in made.hardware.items()})
        mlflow.log_text("\n".join(lines) + "\n", "table.md")
        if made.notes:
            mlflow.set_tag("mlflow.note.content", "\n".join(f"- {note}" for note in made.notes))
        print("\n".join(lines))
        print(f"\n{made.folder}\nlook at it: {where(run)}")
        found = {"folder": made.folder, "backends": made.backends, "metrics": made.metrics}
        print(json.dumps({"run_id": run.info.run_id} | found))


class Logged(NamedTuple):
    """A model that a run has logged, on this machine: MLflow's folder, the student's (or teacher's) in it, and the run's id."""

    model: Path
    student: Path
    run_id: str


def labelled(config: Config, name: str, parent: str, core: Callable[[], dict[str, float]]) -> None:
    """Runs the core, which writes label.output and tells its metrics, as one MLflow run without a model.

    parent: id of the run whose model answers. The run ends FINISHED, or FAILED where the core raises.
    """
    output = str(Path(config.label.output).resolve())
    with opened(config, name, {"mkd.kind": "label", "mkd.tasks": config.label.task, "mkd.output": output}) as (run, _):
        _link(run, parent)
        metrics = core()
        log_metrics(run.info.run_id, 0, metrics)
        print("\n".join(f"{key:20} {value:12,.1f}" for key, value in metrics.items()))
        print(f"\n{output}\nlook at it: {where(run)}")
        print(json.dumps({"run_id": run.info.run_id, "output": output, "metrics": metrics}))


@contextmanager
def student(setting: str, where: str) -> Iterator[tuple[Path, str]]:
    """The folder of the student that the setting names, and the id of the run that has logged it, empty for a plain folder."""
    if not where.startswith("runs:/"):
        yield Path(where), ""
        return
    with tempfile.TemporaryDirectory() as fetched:
        logged = logged_student(setting, where, Path(fetched))
        yield logged.student, logged.run_id


def logged_student(setting: str, uri: str, into: Path) -> Logged:
    """The model at `runs:/RUN_ID/student` (or a registered one), which the setting names, fetched into `into`.

    setting: which one names it. Raises ValueError where there is no such run, or no model of that name in it.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        model = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(into)))
        about = mlflow.models.Model.load(model)
        inside = about.flavors["python_function"]["artifacts"]["student"]["path"]
    except (MlflowException, OSError, KeyError) as error:
        raise ValueError(
            f"{setting} is {uri!r}: not found in {mlflow.get_tracking_uri()} ({error}); "
            "allowed: runs:/RUN_ID/student of a finished run"
        ) from error
    return Logged(model, model / inside, about.run_id)


def _link(run: Run, parent: str) -> None:
    """Tags the run with its parent; within one experiment it is also shown below it."""
    tags = {"mkd.parent": parent}
    if mlflow.get_run(parent).info.experiment_id == run.info.experiment_id:
        tags["mlflow.parentRunId"] = parent
    mlflow.set_tags(tags)


def tasks_of(config: Config) -> str:
    return ",".join(config.data.tasks) or config.data.source


def num_tasks(config: Config) -> str:
    """The tasks as a run's name tells them: how many, or all that the source has."""
    return f"{len(config.data.tasks)} tasks" if config.data.tasks else f"all {config.data.source} tasks"


@contextmanager
def opened(config: Config, name: str, tags: dict[str, str], parent: Run | None = None) -> Iterator[tuple[Run, Path]]:
    """A run with its config logged, and the folder it works in. parent: the open run that it is a child of.

    It is the one that was killed with the same settings, where there is one; else that which `mlflow run` has made; else new.
    Raises ConnectionError where the tracking store cannot be reached.
    """
    with run_folder(config, tags["mkd.kind"]) as folder:
        with connected():
            started = _started(folder, name, parent)
        with started as run:
            describe(run, config, name, tags)
            with failure_told(run):
                yield run, folder


@contextmanager
def failure_told(run: Run) -> Iterator[None]:
    """Leaves in the run why it ended: an error's text as the tag `mkd.error`, and whatever it is as the run's description."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        why = one_line(error) or type(error).__name__
        client = mlflow.MlflowClient()
        client.set_tag(run.info.run_id, "mlflow.note.content", why)
        if not isinstance(error, Ended):
            client.set_tag(run.info.run_id, "mkd.error", why)
        raise


@contextmanager
def connected() -> Iterator[None]:
    """Raises ConnectionError where the tracking store cannot be reached; without it, a call would hang for minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    make_database(mlflow.get_tracking_uri())
    try:
        yield
    except MlflowException as error:
        raise ConnectionError(f"MLFLOW_TRACKING_URI is {mlflow.get_tracking_uri()}: {error}") from error


def describe(run: Run, config: Config, name: str, tags: dict[str, str]) -> None:
    """Leaves name, tags and all settings in the open run."""
    mlflow.set_tags({"mlflow.runName": name} | tags)
    client = mlflow.MlflowClient()
    known = client.get_run(run.info.run_id).data.params
    params = [Param(key, str(value)) for key, value in flat(config).items() if key not in known]
    client.log_batch(run.info.run_id, params=params)
    mlflow.log_text(to_yaml(config), "config.yaml")


def _started(folder: Path, name: str, parent: Run | None) -> mlflow.ActiveRun:
    """The run that was killed while it worked in the folder, or another one, which is told by its tag then."""
    place = f"{platform.node()}:{folder.resolve()}"
    known = _unfinished(place, (folder / STARTED).exists())
    (folder / STARTED).touch()
    return start(name, known, parent, {"mkd.folder": place})


def start(name: str, known: str, parent: Run | None, tags: dict[str, str]) -> mlflow.ActiveRun:
    """The known run, gone on with; without one a new one: below its parent, or where `mlflow run` has made one that one."""
    own = os.environ.get("MLFLOW_RUN_ID", "")
    if known and known != own:
        if own:
            # What `mlflow run` has made for this start stays empty.
            mlflow.MlflowClient().set_tag(own, "mlflow.runName", f"{name} goes on in {known}")
            del os.environ["MLFLOW_RUN_ID"]
        print(f"going on with run {known}", flush=True)
        return mlflow.start_run(run_id=known, nested=parent is not None)
    if parent is not None:
        about = parent.info
        return mlflow.start_run(nested=True, experiment_id=about.experiment_id, parent_run_id=about.run_id, tags=tags)
    if not any(os.environ.get(f"MLFLOW_{key}") for key in ("RUN_ID", "EXPERIMENT_ID", "EXPERIMENT_NAME")):
        mlflow.set_experiment(EXPERIMENT)
    return mlflow.start_run(tags=tags)


def _unfinished(place: str, started: bool) -> str:
    """The id of the last run that worked there and is RUNNING yet; where one was `started` there, also of one that FAILED."""
    client = mlflow.MlflowClient()
    status = "!= 'FINISHED'" if started else "= 'RUNNING'"
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"attributes.status {status} and tags.`mkd.folder` = '{place}'"
    found = client.search_runs(experiments, wanted, max_results=1, order_by=["attributes.start_time DESC"])
    return str(found[0].info.run_id) if found else ""


def make_database(uri: str) -> None:
    """Makes a local store that is not there, aside, so that a process that is killed meanwhile leaves no half of one."""
    if not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).exists():
        return
    file = Path(uri.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f"{file.name}-") as aside:
        mlflow.MlflowClient(f"sqlite:///{aside}/{file.name}").search_experiments()
        with suppress(FileExistsError):  # another process was faster
            os.link(f"{aside}/{file.name}", file)


def reporter(run: Run) -> Report:
    """A Report to the run, less what it was told before it was killed: a training says it all again from its checkpoint on."""
    client, told = mlflow.MlflowClient(), dict.fromkeys(run.data.metrics, -1)

    def report(step: int, metrics: dict[str, float]) -> None:
        for name in metrics:
            if told.get(name) == -1:
                told[name] = max(metric.step for metric in client.get_metric_history(run.info.run_id, name))
        log_metrics(run.info.run_id, step, {name: value for name, value in metrics.items() if step > told.get(name, -1)})

    return report


def log_metrics(run_id: str, step: int, metrics: dict[str, float]) -> None:
    now = int(time.time() * 1000)
    mlflow.MlflowClient().log_batch(run_id, metrics=[Metric(name, value, now, step) for name, value in metrics.items()])


def log_result(run_id: str, result: Result) -> None:
    """Logs the data, the final metrics, the table and the answers to dev."""
    sources = [CodeDatasetSource({"source": data.source}) for data in result.datasets]
    # mlflow leaves `profile` abstract in a class that its users are to instantiate.
    made: list[Dataset | None] = [
        MetaDataset(source, name=data.task, digest=data.fingerprint)  # type: ignore[abstract]
        for source, data in zip(sources, result.datasets, strict=True)
    ]
    mlflow.log_inputs(made, ["training"] * len(made), [{}] * len(made))
    log_metrics(run_id, 0, result.metrics)
    mlflow.set_tags({"mkd.student": result.student, "mkd.teacher": result.teacher, "mkd.teacher_key": result.teacher_key})
    mlflow.set_tags({f"mkd.hardware.{name}": value for name, value in result.hardware.items()})
    mlflow.log_text("\n".join(table.lines(result)) + "\n", "table.md")
    mlflow.log_dict({data.task: data._asdict() for data in result.datasets}, "data.json")
    if result.predictions:
        _log_table(pd.DataFrame(dict(result.predictions)), "predictions.parquet")
    if result.notes:
        mlflow.set_tag("mlflow.note.content", "\n".join(f"- {note}" for note in result.notes))  # the run's description in the UI


def _log_table(found: pd.DataFrame, name: str) -> None:
    """Leaves a table as a file of the open run."""
    with tempfile.TemporaryDirectory() as aside:
        found.to_parquet(Path(aside) / name, index=False)
        mlflow.log_artifact(str(Path(aside) / name))


def where(run: Run, query: str = "") -> str:
    """Where to look at the run: a link into the server, or the command that shows a local store and the link then.

    query: instead, which runs of its experiment are to be seen, and in what order.
    """
    uri = mlflow.get_tracking_uri()
    place = f"runs{quote(query, safe='?=&')}" if query else f"runs/{run.info.run_id}"
    path = f"#/experiments/{run.info.experiment_id}/{place}"
    return f"{uri}/{path}" if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri} then http://127.0.0.1:5000/{path}"


def _log_model(config: Config, result: Result, run_id: str) -> None:
    """The model as a pyfunc from code, with its card: no pickle, and the project's own source travels with it.

    With registry.name it becomes a version of that registered model, and registry.alias points to it.
    """
    outputs = Schema(
        [
            ColSpec(DataType.string, "label", required=False),
            ColSpec(DataType.double, "score", required=False),
            ColSpec(Array(DataType.double), "probabilities"),
            ColSpec(DataType.string, "error", required=False),
        ]
    )
    inputs = Schema([ColSpec(DataType.string, "text"), ColSpec(DataType.string, "text_pair", required=False)])
    first = result.datasets[0].task
    params = ParamSchema([ParamSpec("task", DataType.string, first), ParamSpec("logits", DataType.boolean, False)])
    packages = RUNTIME_PACKAGES if result.exported else TORCH_PACKAGES
    text = card(config, result, run_id)
    mlflow.log_text(text, "model_card.md")
    file = Path(result.folder).with_name("MODEL_CARD.md")
    file.write_text(text, encoding="utf-8")
    logged = mlflow.pyfunc.log_model(
        name="student",
        python_model=str(ROOT / "experiments" / "student_model.py"),
        artifacts={"student": result.folder} | {"card": str(file)} | ({"exported": result.exported} if result.exported else {}),
        code_paths=[str(ROOT / "mkd")],
        signature=ModelSignature(inputs, outputs, params),
        input_example=(pd.DataFrame({"text": ["a fine film"], "text_pair": ["a good film"]}), {"task": first}),
        pip_requirements=[f"{name}=={Version(importlib.metadata.version(name)).public}" for name in packages],
    )
    if config.registry.name:
        _register(config.registry, logged.model_uri, description(result, run_id))


def _register(registry: RegistryConfig, uri: str, description: str) -> None:
    """Makes the model a version of a registered one, which is made where it is not there yet."""
    logging.getLogger("mlflow.store.model_registry").setLevel(logging.ERROR)
    version = mlflow.register_model(uri, registry.name)
    client = mlflow.MlflowClient()
    client.update_model_version(registry.name, version.version, description)
    if registry.alias:
        client.set_registered_model_alias(registry.name, registry.alias, version.version)
    print(f"registered: models:/{registry.name}{f'@{registry.alias}' if registry.alias else f'/{version.version}'}")
