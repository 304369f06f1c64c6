"""Searches for students with the best quality at each latency: an Optuna study of distillations.

    python -m experiments.search --config experiments/configs/search.yaml --search.workers 2
    python -m experiments.search --config experiments/configs/search_glue.yaml \\
        --data.path GLUE --teacher.checkpoint ENCODER
    mlflow run . -e search -P search.trials=60 -P search.storage=postgresql://HOST/optuna

The same command continues a study that was stopped. It also joins a running study, from any machine
that can access the storage and the tracking store. The last line of the output is JSON: the run's
id, the number of trials by state, the hypervolume and the Pareto front.
"""

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess

import optuna

from experiments import cli
from experiments.on_spark import engine
from experiments.settings import Distill, Search, without_password
from experiments.studies import outcome, study, trials
from experiments.studies.space import Space, check, corners, kinds, params_of, parse
from experiments.studies.worker import Job, base_of, budgets, costs_of, work
from experiments.tracking import progress
from experiments.tracking.run import num_tasks
from mkd import names
from mkd.evaluation.speed import HEADLINE_SETTING
from mkd.evaluation.timing import SPEED_PROTOCOL
from mkd.pipeline import (
    DataAndTeacher,
    RunData,
    check_task_weights_match,
    load_data,
    load_or_refine_teacher,
)
from mkd.result import Report
from mkd.runs.candidate import measure_cost, teacher_speed
from mkd.storage.store import key_of
from mkd.tasks.sources import load_tasks
from mkd.teachers.multitask import soft_targets

MATTERS = ("device", "threads", "data", "teacher", "student", "loss", "train", "speed")
"""The settings that a trial depends on, unless they are in the search space."""
END_SECONDS = 60
"""Seconds that workers have to exit after SIGTERM before they are killed."""


def search(config: Search) -> None:
    """Runs the whole search, or this command's part of it, as one MLflow run.

    Raises ValueError if the settings do not describe a search, if no student in the space can meet
    a budget, or if the search ends before its number of trials is reached.
    """
    if not config.speed.seconds:
        raise ValueError(
            "speed.seconds is 0; "
            "allowed for a search: above 0, as its students are chosen by their latency too"
        )
    base = base_of(config)
    tasks = [task.name for task in load_tasks(base.data)]
    space = parse(config.search.space, tasks)
    if not space:
        raise ValueError(
            "search.space is {}; "
            "allowed: at least one setting, as in experiments/configs/search.yaml"
        )
    check(space, base)
    starts = [_start(space, number, given) for number, given in enumerate(config.search.start)]
    settings = asdict(base)
    told = study.about(
        config, {name: settings[name] for name in MATTERS} | {"protocol": SPEED_PROTOCOL}
    )
    if config.search.engine == "spark":
        engine.check(config, space)
        engine.check_known(config.search, told)
        opened = partial(engine.opened, config, told)
    else:
        store = study.storage(config.search, trials.close_lost)
        study.check_known(config.search, store, told)
        opened = partial(study.opened, config, store, told)
        forks_ready()  # early: its imports run while the rows and the teacher are prepared
    with progress.bars(lambda step, metrics: None) as report:
        rows = load_data(base, report)
        check_task_weights_match(rows.student_data.datas, base.train.sampling, base.loss)
        check_budgets(config, base, rows, space)
        optuna_study = opened()
        name = f"{config.search.study} {config.search.trials} trials {num_tasks(config.data)}"
        tags = {names.TAG_STUDY: config.search.study, names.TAG_STORAGE: storage_of(config)}
        with ExitStack() as opened_run:
            with study.locked(config.search):  # commands that start together share one run
                known = optuna_study.user_attrs.get(study.RUN, "")
                run = opened_run.enter_context(trials.search(config, name, known, tags))
                optuna_study.set_user_attr(study.RUN, run.info.run_id)
            ready = taught(base, rows, report)
            begin(config, optuna_study, space, starts)
            job = Job(config, tasks, trials.tracking_uri(), run.info.run_id, time.time())
            ENGINES[config.search.engine](job, optuna_study)
            speed = teacher_speed(ready, base)
            outcome.conclude(
                config, optuna_study, ready, speed, HEADLINE_SETTING.name, time.time() - job.began
            )
            check_ended(study.counted(optuna_study), config.search.trials, job.began)


def check_ended(found: list[optuna.trial.FrozenTrial], wanted: int, began: float) -> None:
    """Raises ValueError if the search ended before the wanted number of trials had finished.

    `began` is the time at which this command started, in seconds since the epoch.
    """
    failed = study.first_failure(found, began)
    if failed is not None:
        raise ValueError(f"{study.FAILURES} trials in a row have failed, the first: {failed}")
    missing = wanted - sum(trial.state.is_finished() for trial in found)
    if missing > 0:
        raise ValueError(
            f"{missing} of {wanted} trials missing, as workers have died; "
            "allowed: the same command, which goes on"
        )


def storage_of(config: Search) -> str:
    """Returns where the study is stored, without the password."""
    if config.search.engine == "spark":
        return f"MLflow's experiment {engine.experiment(config.search)}"
    return without_password(config.search.storage)


def _start(space: Space, number: int, given: dict[str, object]) -> dict[str, object]:
    try:
        return params_of(space, given)
    except ValueError as error:
        raise ValueError(f"search.start[{number}]: {error}") from error


def check_budgets(config: Search, base: Distill, rows: RunData, space: Space) -> None:
    """Raises ValueError if no candidate in the space can meet a budget of the search.

    Measures the smallest student for each combination of the other choices, with random weights.
    The message has the cost of the cheapest.
    """
    limits = budgets(config.search)
    if not limits:
        return
    # Corners often describe the same student: measure each student once.
    students = {
        key_of(asdict(own.student)): own
        for own in (cli.with_settings(base, settings) for settings in corners(space))
    }
    found = [
        (own.student.name, costs_of(measure_cost(rows, own, config.search.backend)))
        for own in students.values()
    ]
    for name, limit in limits.items():
        student, costs = min(found, key=lambda pair: pair[1][name])
        if costs[name] > limit:
            field, unit = ("budget_ms", " ms") if name == "latency" else (f"budget_{name}", "")
            raise ValueError(
                f"search.{field} is {limit:g}; allowed: at least {costs[name]:.3g}{unit}, "
                f"which {student} has, the cheapest candidate of search.space"
            )


def taught(base: Distill, rows: RunData, report: Report) -> DataAndTeacher:
    """Stores the teacher, its logits and its speed, so that workers only load them."""
    ready = DataAndTeacher(rows, load_or_refine_teacher(base, rows, report))
    soft_targets(base.loss, base.stores.root, rows.student_data, ready.teacher, report)
    teacher_speed(ready, base)
    return ready


def begin(
    config: Search, optuna_study: optuna.Study, space: Space, starts: list[dict[str, object]]
) -> None:
    """Adds the trials of `search.start_from`, and enqueues `search.start` in a new study."""
    with study.locked(config.search):
        if config.search.start_from:
            added, of = study.begin_with(optuna_study, config.search.start_from, kinds(space))
            print(f"{added} trials of {of} taken over from {config.search.start_from}", flush=True)
        if not study.counted(optuna_study):
            for params in starts[: config.search.trials]:
                optuna_study.enqueue_trial(params)


def forks_ready() -> None:
    """Starts multiprocessing's fork server, from which the workers are forked.

    It imports the slow libraries once for all workers, while this process prepares the teacher.
    """
    multiprocessing.set_forkserver_preload(["experiments.studies.worker"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: this command handles Ctrl-C
    forkserver.ensure_running()
    signal.signal(signal.SIGINT, before)


def crew(job: Job, optuna_study: optuna.Study) -> None:
    """Starts the workers, shows the progress of the search, and stops the workers when it ends."""
    search, context = job.config.search, multiprocessing.get_context("forkserver")
    workers: list[BaseProcess] = [
        context.Process(target=work, args=(job,)) for _ in range(search.workers)
    ]
    try:
        for worker in workers:
            worker.start()
        print(f"workers: {', '.join(str(worker.pid) for worker in workers)}", flush=True)
        with progress.bar(search.trials) as told:
            while any(worker.is_alive() for worker in workers):
                _show(told, optuna_study, job.config)
                time.sleep(1)
            _show(told, optuna_study, job.config)
    finally:
        _end(workers)
    if lost := sum(worker.exitcode != 0 for worker in workers):
        print(f"{lost} of {len(workers)} workers died", file=sys.stderr)


def _show(
    told: Callable[[int, str, float], None], optuna_study: optuna.Study, config: Search
) -> None:
    """Shows the number of finished trials, plus the finished fractions of the running ones."""
    found = study.counted(optuna_study)
    ended = [trial for trial in found if trial.state.is_finished()]
    steps = [
        trial.user_attrs.get(study.PROGRESS, {}).get("scores", {})
        for trial in found
        if not trial.state.is_finished()
    ]
    parts = sum(min(1.0, max(map(int, scores), default=0) / config.train.steps) for scores in steps)
    told(
        0,
        f"{len(ended)} of {config.search.trials} trials",
        min(len(ended) + parts, config.search.trials),
    )


def _end(workers: list[BaseProcess]) -> None:
    """Stops the workers: SIGTERM, then, after END_SECONDS, SIGKILL."""
    for worker in workers:
        if worker.is_alive():
            worker.terminate()
    for worker in workers:
        if worker.pid is not None:
            worker.join(END_SECONDS)
            worker.kill()  # does nothing if the worker has exited


ENGINES = {"processes": crew, "spark": engine.crew}
"""What runs the trials, by search.engine."""


if __name__ == "__main__":
    sys.exit(cli.entry(search, __doc__ or "", Search))
