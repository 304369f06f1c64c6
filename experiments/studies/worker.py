"""One worker process of a search, which runs trials nested in the study's run."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import optuna
import transformers
from filelock import FileLock
from optuna.trial import TrialState

from experiments import cli
from experiments.settings import Distill, Search, SearchConfig, distillation
from experiments.studies import trials
from experiments.studies.pruning import Progress, is_behind, is_due
from experiments.studies.space import Settings, Space, parse, suggest
from experiments.studies.study import (
    FIRST,
    PROGRESS,
    RESULT,
    RUN_OF_TRIAL,
    STOPPED,
    Outcome,
    Seeded,
    counted,
    fail_stale,
    first_failure,
    progress_of,
    put_back,
)
from experiments.studies.study import storage as opened_storage
from mkd import names
from mkd.pipeline import DataAndTeacher, load_data_and_teacher
from mkd.result import Report, Result, RunStopped
from mkd.runs.candidate import StudentCost, measure_cost, run_candidate
from mkd.storage.store import key_of

NOT_READ = ("seed", "device", "data", "teacher")
"""Settings that the prepared data and teacher depend on."""


MOST_TOLD = 2000
"""Maximum length of a stored error, in characters. With Spark, MLflow truncates longer values,
which would corrupt the JSON that holds them.
"""


class Job(NamedTuple):
    """What the workers of one command need to know.

    config: the settings of the search.
    tasks: the names of its tasks.
    tracking: URI of the tracking store.
    run: id of the study's run.
    began: start time of the command, in seconds.
    """

    config: Search
    tasks: list[str]
    tracking: str
    run: str
    began: float


def base_of(config: Search) -> Distill:
    """Returns the settings that all trials share. Each trial is a distillation."""
    return distillation(config.core())


def work(job: Job) -> None:
    """Runs trials until the study has enough of them, or until too many in a row have failed.

    SIGTERM ends the worker at once. Its current trial is put back into the study, to be resumed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    signal.signal(signal.SIGTERM, _stopped)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    trials.as_worker(job.tracking)
    search = job.config.search
    study = optuna.load_study(
        study_name=search.study,
        storage=opened_storage(search, trials.close_lost),
        sampler=Seeded(search, job.config.seed),
    )
    lock, objective = turn(job.config), Objective(job)
    try:
        while _goes_on(study, job, lock):
            # One trial at a time: the lock is needed before each one.
            study.optimize(partial(objective, lock.release), n_trials=1, catch=(Exception,))
    except KeyboardInterrupt:
        pass
    finally:
        lock.release(force=True)


def _goes_on(study: optuna.Study, job: Job, lock: FileLock) -> bool:
    """Returns whether another trial has to be run. If so, the lock is held on return.

    A worker without a trial waits until the other workers have finished. If one of them dies, its
    trial is queued again and this worker runs it.
    """
    parent = multiprocessing.parent_process()
    # A worker must not outlive the command that started it.
    while parent is None or parent.is_alive():
        lock.acquire()
        found = counted(study)
        if first_failure(found, job.began) is not None:
            return False
        states = {trial.state for trial in found}
        if len(found) < job.config.search.trials or TrialState.WAITING in states:
            return True
        lock.release()
        if TrialState.RUNNING not in states:
            return False
        time.sleep(1)
        fail_stale(study)
    return False


def turn(config: Search) -> FileLock:
    """Returns the lock that is held while a trial is requested.

    Without it, workers on this machine could count the trials at the same time and start too many.
    """
    folder = Path(config.cache) / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(
        folder / f"{key_of({'storage': config.search.storage, 'study': config.search.study})}.lock"
    )


def _stopped(number: int, frame: object) -> None:
    """Handles SIGTERM: ends the worker, and ignores further signals."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the clean-up
    raise KeyboardInterrupt


class Objective:
    """The objective of a study, as Optuna calls it.

    Prepared data and teacher are kept in memory for the next trial, which usually has the same.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.base = job, base_of(job.config)
        self.space: Space = parse(job.config.search.space, job.tasks)
        self.known: dict[str, DataAndTeacher] = {}

    def __call__(self, asked: Callable[[], object], trial: optuna.Trial) -> list[float]:
        # The trial has been counted by the study, so the other workers may request theirs.
        asked()
        try:
            made = self.made(trial, suggest(trial, self.space))
        except RunStopped as end:
            raise optuna.TrialPruned(str(end)) from end
        except KeyboardInterrupt:
            put_back(trial.study, trial.study.get_trials(deepcopy=False)[trial.number], STOPPED)
            raise
        return [made.costs[name] for name in self.job.config.search.objectives]

    def made(self, trial: optuna.Trial, settings: Settings) -> Outcome:
        """Runs the trial as an MLflow run, stores its result in the study, and returns it.

        Raises RunStopped if the trial exceeds a budget or is pruned.
        """
        found = Outcome(names.STATE_FAILED, f"t{trial.number:03d}", "", None, {}, {}, settings)

        def core(folder: Path, report: Report) -> Result:
            nonlocal found
            # The result is filled in step by step: a trial that fails or is pruned keeps what is
            # known by then.
            found = found._replace(run=trials.current())
            trial.set_user_attr(RUN_OF_TRIAL, found.run)
            begin = time.perf_counter()
            ready = self.ready(config)
            known = measure_cost(ready.data, config, self.job.config.search.backend)
            begun = time.perf_counter()
            found = found._replace(
                costs=costs_of(known),
                seconds={"cost": begun - begin},
                name=f"{found.name} {known.latency_ms:.2g}ms",
            )
            trials.rename(found.name)
            report(0, known.metrics)
            self.check_budget(trial, found)
            watch = Watch(
                self.job.config.search, trial, config.train.steps, known.latency_ms, report
            )
            result = run_candidate(ready, config, known, folder, watch)
            quality = watch.own.best(config.train.steps)
            seconds = found.seconds | {"core": time.perf_counter() - begun}
            found = found._replace(costs=found.costs | {"quality": quality}, seconds=seconds)
            return result._replace(metrics=result.metrics | {names.SEARCH_QUALITY: quality})

        try:
            config = cli.with_settings(self.base, settings)
            found = found._replace(name=f"{found.name} {config.student.name} {_learnt(config)}")
            tags = {
                names.TAG_STUDY: self.job.config.search.study,
                names.TAG_TRIAL: str(trial.number),
            }
            parent = trials.run_of(self.job.run)
            first = trial.user_attrs.get(FIRST, trial.number)
            trial.set_user_attr(FIRST, first)
            made = trials.trial(
                parent,
                config,
                found.name,
                tags,
                core,
                lambda step, shares: None,
                trials.searched(settings),
                f"{self.job.run} {first}",  # two workers may draw the same settings
            )
            found = found._replace(state=names.STATE_COMPLETE, dev=made.metrics[names.QUALITY_MEAN])
        except RunStopped as end:
            found = found._replace(state=end.state, error=str(end))
            raise
        except Exception as error:
            found = found._replace(error=(cli.one_line(error) or type(error).__name__)[:MOST_TOLD])
            raise
        finally:
            trial.set_user_attr(RESULT, found._asdict())
        return found

    def ready(self, config: Distill) -> DataAndTeacher:
        """Returns the prepared data and teacher, from memory if the previous trial had the same."""
        settings = asdict(config)
        reads = {name: settings[name] for name in NOT_READ} | {
            n: settings["student"][n] for n in ("tokenizer", "init")
        }
        # A student of labels alone needs no teacher's logits.
        key = key_of(reads | {"labels alone": config.loss.from_labels_alone})
        if key not in self.known:
            self.known = {key: load_data_and_teacher(config)}
        return self.known[key]

    def check_budget(self, trial: optuna.Trial, found: Outcome) -> None:
        """Raises RunStopped if the candidate exceeds a budget; the sampler gets the excess.

        The excess is value / limit - 1, so that budgets of different units have one scale.
        """
        for name, limit in budgets(self.job.config.search).items():
            value = found.costs[name]
            trial.set_constraint(name, value / limit - 1)
            if value > limit:
                raise RunStopped(
                    names.STATE_INFEASIBLE,
                    f"{name} is {value:,.4g}, above the budget of {limit:,.4g}",
                )


class Watch:
    """A Report that passes on all metrics, stores the scores on selection, and prunes the trial.

    latency_ms: of the trial's student.
    steps: of the whole training.
    """

    def __init__(
        self,
        config: SearchConfig,
        trial: optuna.Trial,
        steps: int,
        latency_ms: float,
        report: Report,
    ) -> None:
        self.config, self.trial, self.steps, self.report = config, trial, steps, report
        # A resumed trial keeps its best weights, and so its scores.
        before = trial.user_attrs.get(PROGRESS, {"scores": {}})["scores"]
        self.own = Progress(latency_ms, {int(step): score for step, score in before.items()})

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        self.report(step, metrics)
        if names.SELECTION_MEAN not in metrics:
            return
        self.own.scores[step] = metrics[names.SELECTION_MEAN]
        self.trial.set_user_attr(PROGRESS, self.own._asdict())
        if not is_due(step, self.steps, self.config.pruning):
            return
        others = progress_of(self.trial.study, self.trial.number)
        if is_behind(self.own, others, step, self.steps, self.config.pruning):
            raise RunStopped(
                names.STATE_PRUNED,
                f"more than {self.config.pruning.margin:g} points behind one that is at least as "
                f"fast, at step {step}",
            )


def budgets(config: SearchConfig) -> dict[str, float]:
    """Returns the budgets that are set, by name of the cost."""
    found = {"latency": config.budget_ms, "parameters": config.budget_parameters}
    return {name: limit for name, limit in found.items() if limit is not None}


def costs_of(known: StudentCost) -> dict[str, float]:
    """Returns a candidate's costs by the names of search.objectives, with latency in ms.

    `busy_share` is explained in mkd/evaluation/speed.py.
    """
    sizes = {name: known.metrics[names.size(name)] for name in ("bytes", "parameters", "flops")}
    return {"latency": known.latency_ms, "busy_share": known.metrics[names.BUSY_SHARE]} | sizes


def _learnt(config: Distill) -> str:
    """Returns the loss as it is shown in a trial's name."""
    loss = config.loss
    return (
        f"T={loss.temperature:.2g}"
        if loss.kind == "kl" and not loss.from_labels_alone
        else loss.name
    )
