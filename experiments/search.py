"""Searches for students with the best quality at each latency: an Optuna study of distillations.

    mkd search --config search --search.workers 2
    mkd search --config search_glue \\
        --data.path GLUE --teacher.checkpoint ENCODER
    mlflow run . -e search -P search.trials=60 -P search.storage=postgresql://HOST/optuna

The same command continues a study that was stopped. It also joins a running study, from any machine
that can access the storage and the tracking store. `--json` prints JSON: the run's id, the number
of trials by state, the hypervolume and the Pareto front.
"""

import sys

from experiments import cli

if __name__ == "__main__":  # before the imports that follow: those take seconds
    sys.exit(cli.main("experiments.search:search", __doc__))

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import TypeVar

import optuna
import torch

from experiments.on_spark import engine
from experiments.settings import DistillSettings, SearchSettings
from experiments.studies import study, worker_processes
from experiments.studies.attributes import STUDY_RUN
from experiments.studies.copying import copy_trials
from experiments.studies.objective import WorkerJob, budgets, costs_of, shared_settings
from experiments.studies.retry import fail_run_of
from experiments.studies.search_outputs import search_outputs
from experiments.studies.space import (
    Space,
    cheapest_settings,
    check_space,
    distributions_of,
    params_of,
    parse_space,
)
from experiments.studies.storage import open_storage, storage_outages_named, study_lock
from experiments.studies.trial_results import FAILURES, first_failure, own_trials
from experiments.tracking.outputs import Outputs
from experiments.tracking.record import FinishedRun, print_notes, record
from experiments.tracking.run import OpenRun, tasks_name
from experiments.tracking.searches import open_search
from experiments.tracking.store import with_store
from experiments.tracking.trials import tracking_uri
from mkd import names, progress
from mkd.evaluation.speed import HEADLINE_SETTING
from mkd.evaluation.timing import SPEED_PROTOCOL
from mkd.pipeline import (
    DataAndTeacher,
    RunData,
    check_task_weights_match,
    check_teachers,
    checked_student,
    load_data,
    load_or_refine_teacher,
)
from mkd.result import Report, no_report, report_doing
from mkd.runs.candidate import measure_cost, teacher_speed
from mkd.storage.addresses import without_passwords
from mkd.storage.run_folder import result_settings
from mkd.storage.store import key_of
from mkd.tasks.sources import load_tasks
from mkd.teachers import config_for_tasks
from mkd.teachers.multitask import soft_targets

Value = TypeVar("Value")

MEASURED_SETTINGS = ("threads", "speed")
"""Settings that the latencies of a search depend on, besides those of the training."""
SAME_SETTINGS = ("seed", "whole")
"""Settings that are no part of a trial's description: a study stores them elsewhere, or all
searches share them."""


@with_store()
def search(config: SearchSettings) -> FinishedRun[Outputs]:
    """Runs the whole search, or this command's part of it, as one MLflow run.

    Returns the run, whose `made.summary` has the Pareto front.

    Raises ValueError if the settings do not describe a search, if no student in the space can meet
    a budget, or if the search ends before its number of trials is reached.
    """
    if not config.speed.seconds:
        raise ValueError(
            "speed.seconds is 0; "
            "allowed for a search: above 0, because students are also chosen by latency"
        )
    if config.search.engine == "processes":
        worker_processes.check_forks()
    base = shared_settings(config)
    teacher_threads = config.threads or torch.get_num_threads()
    loaded = load_tasks(base.data)
    print_notes(loaded)
    tasks = [task.name for task in loaded]
    space = parse_space(config.search.space, tasks)
    if not space:
        raise ValueError(
            "search.space is {}; "
            "allowed: at least one setting, as in experiments/configs/search.yaml"
        )
    check_space(space, base)
    starts = [
        _of_start(index, params_of, space, each) for index, each in enumerate(config.search.start)
    ]
    if config.search.engine == "processes":
        # Early: its imports run while the rows and the teacher are prepared.
        worker_processes.start_fork_server()
    with storage_outages_named(config.search), progress.phase_bars(no_report) as report:
        rows = load_data(base, report)
        report_doing(report, "checking the search")
        check_task_weights_match(rows.student_data.datas, base.train.sampling, base.loss)
        check_teachers(
            base.teacher, base.stores, rows.tasks, rows.teacher_data.datas, rows.student_data
        )
        check_starts(config, base, rows)
        open_study = _prepare_engine(config, base, space)
        check_budgets(config, base, rows, space)
        optuna_study = open_study()

        def core(run: OpenRun, _: Report) -> Outputs:
            # Now, because load_data has set the number of threads of a trial.
            torch.set_num_threads(teacher_threads)
            ready = store_teacher(base, rows, report)
            enqueue(config, optuna_study, space, starts)
            job = WorkerJob(config, tasks, tracking_uri(), run.id, time.time())
            ENGINES[config.search.engine](job, optuna_study)
            seconds = time.time() - job.began
            speed = teacher_speed(ready, base.stores.root, base.timing)
            outputs = search_outputs(
                config, optuna_study, ready, speed, HEADLINE_SETTING.name, seconds
            )
            trials = own_trials(optuna_study)
            return replace(outputs, error=why_incomplete(trials, config.search.trials, job.began))

        return record(_open(config, optuna_study), core, lambda outputs: outputs)


def _prepare_engine(
    config: SearchSettings, base: DistillSettings, space: Space
) -> Callable[[], optuna.Study]:
    """Checks that the engine can run this search, and returns the function that opens its study."""
    settings = asdict(base) | {"speed": asdict(base.timing)}
    base_settings = {name: settings[name] for name in MEASURED_SETTINGS} | {
        name: value
        for name, value in result_settings(settings).items()
        if name not in SAME_SETTINGS
    }
    fixed = study.fixed_settings(config, base_settings | {"protocol": SPEED_PROTOCOL})
    if config.search.engine == "spark":
        engine.check_spark_search(config, space)
        engine.check_same_search(config.search, fixed)
        return partial(engine.open_study, config, fixed)
    store = open_storage(config.search, fail_run_of)
    study.check_same_search(config.search, store, fixed)
    return partial(study.open_study, config, store, fixed)


@contextmanager
def _open(config: SearchSettings, optuna_study: optuna.Study) -> Iterator[OpenRun]:
    """Opens the MLflow run of the study. Commands that start together share one run."""
    trials = f"{config.search.trials} trial{'s' * (config.search.trials != 1)}"
    name = f"search {config.search.study} {trials} · {tasks_name(config.data)}"
    tags = {names.TAG_STUDY: config.search.study, names.TAG_STORAGE: storage_of(config)}
    with ExitStack() as stack:
        with study_lock(config.search):
            known = optuna_study.user_attrs.get(STUDY_RUN, "")
            run = stack.enter_context(open_search(config, name, known, tags))
            optuna_study.set_user_attr(STUDY_RUN, run.id)
        yield run


def why_incomplete(trials: list[optuna.trial.FrozenTrial], wanted: int, began: float) -> str:
    """Returns why the search ended before the wanted number of trials had finished, or "".

    began: the time at which this command started, in seconds since the epoch.
    """
    failure = first_failure(trials, began)
    if failure is not None:
        return f"{FAILURES} trials in a row have failed, the first: {failure}"
    missing = wanted - sum(trial.state.is_finished() for trial in trials)
    if missing > 0:
        return (
            f"{missing} of {wanted} trials missing, as workers have died; "
            "run the same command again to continue"
        )
    return ""


def storage_of(config: SearchSettings) -> str:
    """Returns where the study is stored, without the password."""
    if config.search.engine == "spark":
        return f"MLflow's experiment {engine.experiment_name(config.search)}"
    return without_passwords(config.search.storage)


def check_starts(config: SearchSettings, base: DistillSettings, rows: RunData) -> None:
    """Raises ValueError if a student of search.start cannot be built, before a teacher is made.

    One that takes the teacher's layers, for example, has the teacher's width.
    """

    def build(settings: dict[str, object]) -> None:
        sizes = {name: value for name, value in settings.items() if name.startswith("student.")}
        candidate = config_for_tasks(cli.with_settings(base, sizes), rows.tasks)
        checked_student(candidate, rows)

    for index, settings in enumerate(config.search.start):
        _of_start(index, build, settings)


def _of_start(index: int, call: Callable[..., Value], *arguments: object) -> Value:
    """Returns what the call returns. Its errors name the entry of search.start."""
    try:
        return call(*arguments)
    except ValueError as error:
        raise ValueError(f"search.start[{index}]: {error}") from error


def check_budgets(
    config: SearchSettings, base: DistillSettings, rows: RunData, space: Space
) -> None:
    """Raises ValueError if no candidate in the space can meet a budget of the search.

    Measures the smallest student for each combination of the other choices, with random weights.
    The message has the cost of the cheapest.
    """
    limits = budgets(config.search)
    if not limits:
        return
    # Corners often describe the same student: measure each student once.
    students = {
        key_of(asdict(candidate.student)): candidate
        for candidate in (
            cli.with_settings(base, settings) for settings in cheapest_settings(space)
        )
    }
    costs_by_student = [
        (candidate.student.name, costs_of(measure_cost(rows, candidate, config.search.backend)))
        for candidate in students.values()
    ]
    for name, limit in limits.items():
        student, costs = min(costs_by_student, key=lambda pair: pair[1][name])
        if costs[name] > limit:
            field, unit = ("budget_ms", " ms") if name == "latency" else (f"budget_{name}", "")
            raise ValueError(
                f"search.{field} is {limit:g}; allowed: at least {costs[name]:.3g}{unit}, "
                f"which {student} has, the cheapest candidate of search.space"
            )


def store_teacher(base: DistillSettings, rows: RunData, report: Report) -> DataAndTeacher:
    """Stores the teacher, its logits and its speed, so that workers only load them."""
    ready = DataAndTeacher(rows, load_or_refine_teacher(base, rows, report))
    soft_targets(base.loss, base.stores.root, rows.student_data, ready.teacher, report)
    teacher_speed(ready, base.stores.root, base.timing)
    return ready


def enqueue(
    config: SearchSettings,
    optuna_study: optuna.Study,
    space: Space,
    starts: list[dict[str, object]],
) -> None:
    """Adds the trials of `search.start_from`, and enqueues `search.start` in a new study."""
    with study_lock(config.search):
        if config.search.start_from:
            added, of = copy_trials(optuna_study, config.search.start_from, distributions_of(space))
            print(f"{added} of {of} trials copied from {config.search.start_from}", flush=True)
        if not own_trials(optuna_study):
            for params in starts[: config.search.trials]:
                optuna_study.enqueue_trial(params)


ENGINES = {"processes": worker_processes.run_trials, "spark": engine.run_trials}
"""Functions that run the trials, by search.engine."""
