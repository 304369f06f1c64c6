"""The objective of a search: runs one trial, under its budgets and with pruning."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import NamedTuple

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from experiments import cli
from experiments.settings import DistillSettings, SearchConfig, SearchSettings, distill_settings
from experiments.studies.attributes import FIRST_ID, PROGRESS, RESULT, TRIAL_RUN
from experiments.studies.locks import timing_lock, wait_for_timing
from experiments.studies.pruning import Progress, is_behind, is_due
from experiments.studies.retry import WORKER_STOPPED, retry
from experiments.studies.space import SettingValues, Space, parse_space, suggest
from experiments.studies.trial_results import TrialResult, progress_of_others
from experiments.tracking.run import OpenRun
from experiments.tracking.trials import record_trial, rename_run, run_of, weight_params
from mkd import names
from mkd.pipeline import DataAndTeacher, load_data_and_teacher
from mkd.result import Report, Result, RunStopped
from mkd.runs.candidate import StudentCost, measure_cost, run_candidate
from mkd.storage.addresses import one_line
from mkd.storage.run_folder import FolderInUse
from mkd.storage.store import key_of

PREPARED_FROM = ("seed", "device", "data", "teacher")
"""Settings that determine the prepared data and teacher."""

MAX_ERROR_LENGTH = 2000
"""Maximum length of a stored error, in characters. With Spark, MLflow truncates longer values,
which would corrupt the JSON that holds them.
"""


class WorkerJob(NamedTuple):
    """The input of the workers of one command.

    config: the settings of the search.
    tasks: the names of its tasks.
    tracking: URI of the tracking store.
    run: id of the study's run.
    began: start time of the command, in seconds.
    """

    config: SearchSettings
    tasks: list[str]
    tracking: str
    run: str
    began: float


def shared_settings(config: SearchSettings) -> DistillSettings:
    """Returns the settings that all trials share. Each trial is a distillation."""
    return distill_settings(config.core())


class StudyObjective:
    """The objective of a study, as Optuna calls it.

    Prepared data and teacher are kept in memory for the next trial, which usually has the same.

    `taken`: whether the last trial was given to another worker, because this one sent no heartbeats
    for too long. Optuna then raises ValueError, as it cannot end the trial.
    """

    def __init__(self, job: WorkerJob) -> None:
        self.job, self.base = job, shared_settings(job.config)
        self.space: Space = parse_space(job.config.search.space, job.tasks)
        self.prepared: dict[str, DataAndTeacher] = {}
        self.taken = False

    def __call__(self, release: Callable[[], object], trial: optuna.Trial) -> list[float]:
        # The trial has been counted by the study, so the other workers may request theirs.
        release()
        self.taken = False
        try:
            result = self.run_trial(trial, suggest(trial, self.space))
        except RunStopped as end:
            raise optuna.TrialPruned(str(end)) from end
        except KeyboardInterrupt:
            frozen = trial.study.get_trials(deepcopy=False)[trial.number]
            if not frozen.state.is_finished():
                retry(trial.study, frozen, WORKER_STOPPED)
            raise
        return [result.costs[name] for name in self.job.config.search.objectives]

    def run_trial(self, trial: optuna.Trial, settings: SettingValues) -> TrialResult:
        """Runs the trial as an MLflow run, stores its result in the study, and returns it.

        Raises RunStopped if the trial exceeds a budget, is pruned, or was taken by another worker.
        """
        search = self.job.config.search
        result = TrialResult(names.STATE_FAILED, f"t{trial.number:03d}", "", None, {}, {}, settings)

        @_stopped_if_taken(search.heartbeat_seconds)
        def train(run: OpenRun, report: Report) -> Result:
            nonlocal result
            # The result is filled in step by step: a trial that fails or is pruned keeps what is
            # known by then.
            result = result._replace(run=run.id)
            trial.set_user_attr(TRIAL_RUN, run.id)
            begin = time.perf_counter()
            ready = self.ready(config)
            measured = measure_cost(
                ready.data, config, search.backend, partial(timing_lock, self.job.config)
            )
            measured_at = time.perf_counter()
            result = result._replace(
                costs=costs_of(measured),
                seconds={"cost": measured_at - begin},
                name=f"{result.name} {measured.latency_ms:.2g}ms",
            )
            rename_run(run.id, result.name)
            report(0, measured.metrics)
            self.check_budget(trial, result)
            trial_report = TrialReport(
                search, trial, config.train.steps, measured.latency_ms, self.pausing(report)
            )
            trained = run_candidate(ready, config, measured, run.folder, trial_report)
            quality = trial_report.own.best(config.train.steps)
            seconds = result.seconds | {"core": time.perf_counter() - measured_at}
            result = result._replace(costs=result.costs | {"quality": quality}, seconds=seconds)
            return trained._replace(metrics=trained.metrics | {names.SEARCH_QUALITY: quality})

        try:
            config = cli.with_settings(self.base, settings)
            result = result._replace(
                name=f"{result.name} {config.student.name} {_loss_name(config)}"
            )
            record = partial(
                record_trial,
                run_of(self.job.run),
                config,
                result.name,
                {names.TAG_STUDY: search.study, names.TAG_TRIAL: str(trial.number)},
                train,
                lambda step, shares: None,
                weight_params(settings),
            )
            # The place names the trial, as two workers may draw the same settings.
            try:
                finished = record(f"{self.job.run} {first_id(trial)}")
            except FolderInUse:  # by the worker of an earlier copy, which was suspended, not dead
                trial.set_user_attr(FIRST_ID, trial._trial_id)
                finished = record(f"{self.job.run} {first_id(trial)}")
            dev = finished.metrics[names.QUALITY_MEAN]
            result = result._replace(state=names.STATE_COMPLETE, dev=dev)
        except RunStopped as end:
            result = result._replace(state=end.state, error=str(end))
            raise
        except Exception as error:
            why = one_line(error) or type(error).__name__
            result = result._replace(error=why[:MAX_ERROR_LENGTH])
            raise
        finally:
            try:
                trial.set_user_attr(RESULT, result._asdict())
            except UpdateFinishedTrialError:
                self.taken = True
        return result

    def pausing(self, report: Report) -> Report:
        """Returns a report that first waits while another worker measures speed."""

        def wait_and_report(step: int, metrics: dict[str, float]) -> None:
            wait_for_timing(self.job.config)
            report(step, metrics)

        return wait_and_report

    def ready(self, config: DistillSettings) -> DataAndTeacher:
        """Returns the prepared data and teacher, from memory if the previous trial had the same."""
        settings = asdict(config)
        depends_on = {name: settings[name] for name in PREPARED_FROM} | {
            name: settings["student"][name] for name in ("tokenizer", "init")
        }
        # A student of labels alone needs no teacher's logits.
        key = key_of(depends_on | {"labels alone": config.loss.from_labels_alone})
        if key not in self.prepared:
            self.prepared = {key: load_data_and_teacher(config)}
        return self.prepared[key]

    def check_budget(self, trial: optuna.Trial, result: TrialResult) -> None:
        """Raises RunStopped if the candidate exceeds a budget; the sampler gets the excess.

        The excess is value / limit - 1, so that budgets of different units have one scale.
        """
        for name, limit in budgets(self.job.config.search).items():
            value = result.costs[name]
            trial.set_constraint(name, value / limit - 1)
            if value > limit:
                raise RunStopped(
                    names.STATE_INFEASIBLE,
                    f"{name} is {value:,.4g}, above the budget of {limit:,.4g}",
                )


class TrialReport:
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
        others = progress_of_others(self.trial.study, self.trial.number)
        if is_behind(self.own, others, step, self.steps, self.config.pruning):
            raise RunStopped(
                names.STATE_PRUNED,
                f"more than {self.config.pruning.margin:g} points behind one that is at least "
                f"as fast, at step {step}",
            )


@contextmanager
def _stopped_if_taken(heartbeat_seconds: float) -> Iterator[None]:
    """Stops the run of a trial that another worker has ended, with the reason."""
    try:
        yield
    except UpdateFinishedTrialError as error:
        raise RunStopped(
            names.STATE_INTERRUPTED,
            "another worker has taken the trial, as this one was suspended or too busy to send a "
            f"heartbeat every {heartbeat_seconds:g} s (search.heartbeat_seconds)",
        ) from error


def budgets(config: SearchConfig) -> dict[str, float]:
    """Returns the budgets that are set, by name of the cost."""
    limits = {"latency": config.budget_ms, "parameters": config.budget_parameters}
    return {name: limit for name, limit in limits.items() if limit is not None}


def costs_of(measured: StudentCost) -> dict[str, float]:
    """Returns a candidate's costs by the names of search.objectives, with latency in ms.

    `bytes` are those of the files in search.backend, `busy_share` is explained in
    mkd/evaluation/speed.py.
    """
    sizes = {name: measured.metrics[names.size(name)] for name in ("bytes", "parameters", "flops")}
    exported = names.export(measured.backend, names.BYTES)
    sizes["bytes"] = measured.metrics.get(exported, sizes["bytes"])
    return {
        "latency": measured.latency_ms,
        "busy_share": measured.metrics[names.BUSY_SHARE],
    } | sizes


def first_id(trial: optuna.Trial) -> int | str:
    """Returns the first id of the trial, and stores it with the trial, so that a retry finds it.

    Its number would not do: two workers of Spark may create trials with the same number.
    """
    first: int | str = trial.user_attrs.get(FIRST_ID, trial._trial_id)
    trial.set_user_attr(FIRST_ID, first)
    return first


def _loss_name(config: DistillSettings) -> str:
    """Returns the loss as it is shown in a trial's name."""
    loss = config.loss
    return (
        f"T={loss.temperature:.2g}"
        if loss.kind == "kl" and not loss.from_labels_alone
        else loss.name
    )
