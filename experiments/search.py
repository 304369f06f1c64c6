"""Searches the frontier of quality against inference speed: an Optuna study whose trials are distillations.

    python -m experiments.search --config experiments/configs/search.yaml --search.workers 2
    python -m experiments.search --config experiments/configs/search_glue.yaml --data.path GLUE --teacher.checkpoint ENCODER
    mlflow run . -e search -P search.trials=60 -P search.storage=postgresql://HOST/optuna

The same command goes on with a study that was stopped, and joins one that is at work, from any machine that reaches the storage
and the tracking store. The last line printed is JSON: the run's id, the trials by state, the hypervolume and the front.
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
from mkd.evaluation.speed import HEADLINE
from mkd.evaluation.timing import PROTOCOL
from mkd.pipeline import Ready, Rows, check_names, read, taught_by
from mkd.result import Report
from mkd.runs.candidate import cost, teacher_speed
from mkd.storage.store import key_of
from mkd.tasks.sources import load_tasks
from mkd.teachers.teaching import soft_targets

MATTERS = ("device", "threads", "data", "teacher", "student", "loss", "train", "speed")
"""The settings that a trial depends on, where they are not searched."""
END_SECONDS = 60
"""Workers that are told to stop have so long to leave everything in order."""


def search(config: Search) -> None:
    """The whole search, or this command's part of it, as one MLflow run."""
    if not config.speed.seconds:
        raise ValueError("speed.seconds is 0; allowed for a search: above 0, as its students are chosen by their latency too")
    base = base_of(config)
    tasks = [task.name for task in load_tasks(base.data)]
    space = parse(config.search.space, tasks)
    if not space:
        raise ValueError("search.space is {}; allowed: at least one setting, as in experiments/configs/search.yaml")
    check(space, base)
    starts = [_start(space, number, given) for number, given in enumerate(config.search.start)]
    settings = asdict(base)
    told = study.about(config, {name: settings[name] for name in MATTERS} | {"protocol": PROTOCOL})
    if config.search.engine == "spark":
        engine.check(config, space)
        engine.check_known(config.search, told)
        opened = partial(engine.opened, config, told)
    else:
        store = study.storage(config.search, trials.close_lost)
        study.check_known(config.search, store, told)
        opened = partial(study.opened, config, store, told)
        forks_ready()
    with progress.bars(lambda step, metrics: None) as report:
        rows = read(base, report)
        check_names(rows.side.datas, base.train.sampling, base.loss)
        check_budgets(config, base, rows, space)
        optuna_study = opened()
        name = f"{config.search.study} {config.search.trials} trials {num_tasks(config.data)}"
        tags = {names.TAG_STUDY: config.search.study, names.TAG_STORAGE: storage_of(config)}
        with ExitStack() as opened_run:
            with study.locked(config.search):  # commands that start at once have one run
                known = optuna_study.user_attrs.get(study.RUN, "")
                run = opened_run.enter_context(trials.search(config, name, known, tags))
                optuna_study.set_user_attr(study.RUN, run.info.run_id)
            ready = taught(base, rows, report)
            begin(config, optuna_study, space, starts)
            job = Job(config, tasks, trials.tracking_uri(), run.info.run_id, time.time())
            ENGINES[config.search.engine](job, optuna_study)
            speed = teacher_speed(ready, base)
            outcome.conclude(config, optuna_study, ready, speed, HEADLINE.name, time.time() - job.began)
            check_ended(study.counted(optuna_study), config.search.trials, job.began)


def check_ended(found: list[optuna.trial.FrozenTrial], wanted: int, began: float) -> None:
    """Raises ValueError where a search has come to its end without the trials that are wanted."""
    failed = study.first_failure(found, began)
    if failed is not None:
        raise ValueError(f"{study.FAILURES} trials in a row have failed, the first: {failed}")
    missing = wanted - sum(trial.state.is_finished() for trial in found)
    if missing > 0:
        raise ValueError(f"{missing} of {wanted} trials missing, as workers have died; allowed: the same command, which goes on")


def storage_of(config: Search) -> str:
    """Where the study is, as it may be told."""
    if config.search.engine == "spark":
        return f"MLflow's experiment {engine.experiment(config.search)}"
    return without_password(config.search.storage)


def _start(space: Space, number: int, given: dict[str, object]) -> dict[str, object]:
    try:
        return params_of(space, given)
    except ValueError as error:
        raise ValueError(f"search.start[{number}]: {error}") from error


def check_budgets(config: Search, base: Distill, rows: Rows, space: Space) -> None:
    """Raises ValueError, with what the cheapest candidate has, for a budget that none in the space can meet."""
    limits = budgets(config.search)
    if not limits:
        return
    students = {key_of(asdict(own.student)): own for own in (cli.with_settings(base, settings) for settings in corners(space))}
    found = [(own.student.name, costs_of(cost(rows, own, config.search.backend))) for own in students.values()]
    for name, limit in limits.items():
        student, costs = min(found, key=lambda pair: pair[1][name])
        if costs[name] > limit:
            field, unit = ("budget_ms", " ms") if name == "latency" else (f"budget_{name}", "")
            raise ValueError(
                f"search.{field} is {limit:g}; allowed: at least {costs[name]:.3g}{unit}, "
                f"which {student} has, the cheapest candidate of search.space"
            )


def taught(base: Distill, rows: Rows, report: Report) -> Ready:
    """The teacher, its logits and its speed: paid for once, and found by all workers in the stores."""
    ready = Ready(rows, taught_by(base, rows, report))
    soft_targets(base.loss, base.stores.root, rows.side, ready.teacher, report)
    teacher_speed(ready, base)
    return ready


def begin(config: Search, optuna_study: optuna.Study, space: Space, starts: list[dict[str, object]]) -> None:
    """Puts the settings that are to be tried first into a study that has no trials, and another study's trials beside them."""
    with study.locked(config.search):
        if config.search.start_from:
            added, of = study.begin_with(optuna_study, config.search.start_from, kinds(space))
            print(f"{added} trials of {of} taken over from {config.search.start_from}", flush=True)
        if not study.counted(optuna_study):
            for params in starts[: config.search.trials]:
                optuna_study.enqueue_trial(params)


def forks_ready() -> None:
    """Starts what the workers are forked from: it imports what takes seconds, once for all, while the teacher is made ready."""
    multiprocessing.set_forkserver_preload(["experiments.studies.worker"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which it inherits: Ctrl-C is this command's to answer
    forkserver.ensure_running()
    signal.signal(signal.SIGINT, before)


def crew(job: Job, optuna_study: optuna.Study) -> None:
    """Starts the workers, shows how far all are, and ends them cleanly where this command is stopped."""
    search, context = job.config.search, multiprocessing.get_context("forkserver")
    workers: list[BaseProcess] = [context.Process(target=work, args=(job,)) for _ in range(search.workers)]
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


def _show(told: Callable[[int, str, float], None], optuna_study: optuna.Study, config: Search) -> None:
    """How many trials have ended, with the parts that are done of those at work."""
    found = study.counted(optuna_study)
    ended = [trial for trial in found if trial.state.is_finished()]
    steps = [trial.user_attrs.get(study.PROGRESS, {}).get("scores", {}) for trial in found if not trial.state.is_finished()]
    parts = sum(min(1.0, max(map(int, scores), default=0) / config.train.steps) for scores in steps)
    told(0, f"{len(ended)} of {config.search.trials} trials", min(len(ended) + parts, config.search.trials))


def _end(workers: list[BaseProcess]) -> None:
    for worker in workers:
        if worker.is_alive():
            worker.terminate()
    for worker in workers:
        if worker.pid is not None:
            worker.join(END_SECONDS)
            worker.kill()


ENGINES = {"processes": crew, "spark": engine.crew}
"""What makes the trials, by search.engine."""


if __name__ == "__main__":
    sys.exit(cli.entry(search, __doc__ or "", Search))
