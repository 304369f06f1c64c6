"""Compares variants of settings over seeds; the first variant is the reference.

    mkd ablation --config ablation
    mkd ablation --ablation.seeds '[0, 1]' \\
        --ablation.variants '{"mse": {}, "kl": {"loss.kind": "kl"}}'
    mlflow run . -e ablation -P config=experiments/configs/ablation.yaml

Each variant and seed is a distillation and a child run. A finished trial is reused if everything
that its result depends on is equal. So the same command continues an ablation that was stopped, and
a new variant or seed runs only its own trials. `--json` prints JSON: the run's id, the variants,
the trials, and the number of reused trials.
"""

import sys

from experiments import cli

if __name__ == "__main__":  # before the imports that follow: those take seconds
    sys.exit(cli.main("experiments.ablation:ablate", __doc__))

import time
from dataclasses import asdict, replace
from functools import partial
from typing import NamedTuple

from experiments.settings import AblationSettings, DistillSettings, distill_settings
from experiments.studies import comparison
from experiments.tracking.outputs import Outputs
from experiments.tracking.record import FinishedRun, before_run, check_one_process, record
from experiments.tracking.run import OpenRun, open_run, tasks_name, tasks_tag
from experiments.tracking.store import with_store
from experiments.tracking.trials import record_trial, trial_with_key
from mkd import names, pipeline, progress
from mkd.rates import with_learning_rates
from mkd.result import Report, Result
from mkd.selection.split import SPLIT_VERSION
from mkd.storage.run_folder import result_settings
from mkd.storage.store import key_of
from mkd.storage.versions import version_key
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Task
from mkd.teachers import config_for_tasks, refined_tasks
from mkd.teachers.contents import checkpoint_hashes, row_fingerprints
from mkd.training.balance import check_task_weights
from mkd.training.batches import check_sampling_weights

STUDENT_PROGRESS = names.progress(names.PHASE_STUDENT)
"""The phase of a trial that the progress bar shows and whose seconds are logged as its cost."""


class PlannedTrial(NamedTuple):
    """One trial, to run or to reuse. `key` is a hash of everything that its result depends on."""

    variant: str
    config: DistillSettings
    key: str

    @property
    def name(self) -> str:
        return f"{self.variant} s{self.config.seed}"


@with_store()
def ablate(config: AblationSettings) -> FinishedRun[Outputs]:
    """Runs or reuses all trials below one MLflow run, and logs the comparison to it.

    Returns the run, whose `made.summary` has the variants and their trials.
    """
    check_one_process("many runs in one command")
    planned = plan(config)
    for trial in planned[: len(config.ablation.variants)]:
        try:
            before_run(partial(pipeline.prepare, trial.config.core()))
        except ValueError as error:
            raise ValueError(f"ablation.variants.{trial.variant}: {error}") from error
    variants, seeds = len(config.ablation.variants), len(config.ablation.seeds)
    count = f"{variants} variants, {seeds} seed{'s' * (seeds != 1)}"
    name = f"ablation {config.student.name} {count} · {tasks_name(config.data)}"

    def core(run: OpenRun, report: Report) -> Outputs:
        known = {
            trial.key: trial_with_key(run.entity.info.experiment_id, trial.key) for trial in planned
        }
        reused = {key: trial for key, trial in known.items() if trial is not None}
        print(f"{len(reused)} of {len(planned)} trials were run before", flush=True)
        return _compare(planned, reused, _run_trials(run, planned, reused))

    opening = open_run(config, names.KIND_ABLATION, name, tasks_tag(config.data))
    return record(opening, core, lambda outputs: outputs)


def _run_trials(
    run: OpenRun, planned: list[PlannedTrial], reused: dict[str, FinishedRun[None]]
) -> dict[str, FinishedRun[Result]]:
    """Runs the trials that are not reused one after another, with one progress bar.

    Returns them by key.
    """
    wanted = [trial for trial in planned if trial.key not in reused]
    finished: dict[str, FinishedRun[Result]] = {}
    with progress.job_bar(len(wanted), "trial") as show:
        for index, trial in enumerate(wanted):
            name = f"trial {index + 1} of {len(wanted)}, {trial.name}"
            show(index, name, 0)
            tags = {names.TAG_VARIANT: trial.variant, names.TAG_KEY: trial.key}
            try:
                finished[trial.key] = record_trial(
                    run.entity,
                    trial.config,
                    trial.name,
                    tags,
                    partial(timed_distillation, trial.config),
                    _phase_shown(show, index, name),
                )
            except ValueError as error:
                raise ValueError(f"{trial.name}: {error}") from error
    return finished


def _phase_shown(show: progress.Show, index: int, name: str) -> Report:
    """Returns a Report that shows the phase of a trial; its student's steps move the bar."""
    reached = 0.0

    def shown(step: int, shares: dict[str, float]) -> None:
        nonlocal reached
        reached = max(reached, shares.get(STUDENT_PROGRESS, 0.0))
        for key, share in shares.items():
            if (phase := names.parsed_progress(key)) is not None:
                show(index, f"{name}, {phase}" + f" {share:.0%}" * (share > 0), reached)

    return shown


def _compare(
    planned: list[PlannedTrial],
    reused: dict[str, FinishedRun[None]],
    finished: dict[str, FinishedRun[Result]],
) -> Outputs:
    """Compares the variants by the metrics of their trials."""
    runs = [(trial, (reused | finished)[trial.key]) for trial in planned]
    metrics: dict[str, list[dict[str, float]]] = {}
    for trial, run in runs:
        metrics.setdefault(trial.variant, []).append(run.metrics)
    trials = [
        {"variant": trial.variant, "seed": trial.config.seed, "run_id": run.run_id}
        for trial, run in runs
    ]
    return comparison.outputs(comparison.compare_variants(metrics), trials, len(reused))


def plan(config: AblationSettings) -> list[PlannedTrial]:
    """Returns the trials of every variant with every seed.

    All variants with the first seed come first, so that a variant that fails does so early.

    Raises ValueError if there are fewer than two variants, if a variant's settings are wrong or do
    not fit its tasks, if variants differ in their tasks, or if two of them have the same settings.
    """
    if len(config.ablation.variants) < 2:
        raise ValueError(
            f"ablation.variants names {list(config.ablation.variants)}; "
            "allowed: two variants or more"
        )
    checked = {variant: _check_variant(config, variant) for variant in config.ablation.variants}
    # Seeds in the outer loop: each variant runs once before any runs twice.
    trials = [
        PlannedTrial(
            variant,
            trial_config := replace(variant_config, seed=seed),
            _trial_key(trial_config, tasks),
        )
        for seed in config.ablation.seeds
        for variant, (variant_config, tasks) in checked.items()
    ]
    first, (_, compared) = next(iter(checked.items()))
    for variant, (_, tasks) in checked.items():
        if _task_names(tasks) != _task_names(compared):
            raise ValueError(
                f"ablation.variants.{variant} has the tasks {_task_names(tasks)}; "
                f"allowed: those of {first}"
            )
    by_key: dict[str, PlannedTrial] = {}
    for trial in trials:
        other = by_key.setdefault(trial.key, trial)
        if other is not trial:
            raise ValueError(
                f"ablation.variants.{trial.variant} has the same settings as {other.variant}; "
                "allowed: other settings"
            )
    return trials


def _check_variant(config: AblationSettings, variant: str) -> tuple[DistillSettings, list[Task]]:
    """Returns the variant's config, before the seed is set, and its tasks.

    Checks everything that can be checked before the rows are read.
    """
    try:
        variant_config = cli.with_settings(
            distill_settings(config.core()), config.ablation.variants[variant]
        )
        tasks = load_tasks(variant_config.data)
        config_for_tasks(variant_config, tasks)
        check_sampling_weights(_task_names(tasks), variant_config.train.sampling)
        if refined := refined_tasks(variant_config.teacher, tasks):
            check_sampling_weights(_task_names(refined), variant_config.teacher.train.sampling)
        check_task_weights(_task_names(tasks), variant_config.loss)
    except ValueError as error:
        raise ValueError(f"ablation.variants.{variant}: {error}") from error
    return variant_config, tasks


def _task_names(tasks: list[Task]) -> list[str]:
    return [task.name for task in tasks]


def _trial_key(config: DistillSettings, tasks: list[Task]) -> str:
    """Returns the hash of a trial's settings, rows, checkpoints and files of logits."""
    settings = asdict(with_learning_rates(config))
    of = {
        "rows": row_fingerprints(tasks),
        "contents": checkpoint_hashes(config.teacher, config.student, config.data),
        "selection": SPLIT_VERSION,
    } | version_key("students")
    return key_of(result_settings(settings) | of)


def timed_distillation(config: DistillSettings, run: OpenRun, report: Report) -> Result:
    """Runs one distillation and adds its cost to the metrics.

    `seconds/trial` is the time of the whole trial, `seconds/student` that of the student's steps.
    """
    begin = last = time.perf_counter()
    student = 0.0

    def timed_report(step: int, metrics: dict[str, float]) -> None:
        nonlocal last, student
        # A report of the student phase ends an interval that began with the report before it.
        if STUDENT_PROGRESS in metrics:
            student += time.perf_counter() - last
        report(step, metrics)
        last = time.perf_counter()

    result = pipeline.run(config.core(), run.folder, timed_report)
    cost = {names.SECONDS_STUDENT: student, names.SECONDS_TRIAL: time.perf_counter() - begin}
    return result._replace(metrics=result.metrics | cost)
