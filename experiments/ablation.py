"""Compares variants of settings over seeds; the first variant is the reference.

    python -m experiments.ablation --config experiments/configs/ablation.yaml
    python -m experiments.ablation --ablation.seeds '[0, 1]' \\
        --ablation.variants '{"mse": {}, "kl": {"loss.kind": "kl"}}'
    mlflow run . -e ablation -P config=experiments/configs/ablation.yaml

Each variant and seed is a distillation and a child run. A finished trial is reused if everything
that its result depends on is equal. So the same command continues an ablation that was stopped, and
a new variant or seed runs only its own trials. The last line of the output is JSON: the run's id,
the variants, the trials, and the number of reused trials.
"""

import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from experiments import cli
from experiments.settings import Ablation, Distill, distillation
from experiments.studies import comparison, trials
from experiments.tracking import progress, record
from experiments.tracking.run import num_tasks
from mkd import names, pipeline
from mkd.rates import with_learning_rates
from mkd.result import Report, Result
from mkd.selection.split import SPLIT_VERSION
from mkd.storage.store import key_of
from mkd.storage.versions import version_key
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Task
from mkd.teachers import config_for_tasks, refined_tasks
from mkd.teachers.contents import checkpoint_hashes, row_fingerprints
from mkd.training.balance import check_task_weights
from mkd.training.batches import check_sampling_weights

MATTERS = ("seed", "whole", "device", "data", "teacher", "student", "loss", "train")
"""The settings that a trial's scores depend on."""

STUDENT = names.progress(names.PHASE_STUDENT)
"""The phase of a trial that the progress bar shows and whose seconds are logged as its cost."""


class Planned(NamedTuple):
    """One trial, to run or to reuse. `key` is a hash of everything that its result depends on."""

    variant: str
    config: Distill
    key: str

    @property
    def name(self) -> str:
        return f"{self.variant} s{self.config.seed}"


def ablate(config: Ablation) -> None:
    """Runs or reuses all trials below one MLflow run, and logs the comparison to it."""
    planned = plan(config)
    variants, seeds = len(config.ablation.variants), len(config.ablation.seeds)
    name = (
        f"ablation {config.student.name} {variants} variants {seeds} seeds {num_tasks(config.data)}"
    )
    with trials.study(config, names.KIND_ABLATION, name) as run:
        known = {trial.key: trials.finished_trial(run, trial.key) for trial in planned}
        found = {key: trial for key, trial in known.items() if trial is not None}
        print(f"{len(found)} of {len(planned)} trials have been made before", flush=True)
        made = _make(run, [trial for trial in planned if trial.key not in found])
        runs = [(trial, (found | made)[trial.key]) for trial in planned]
        rows = comparison.compare(
            {v: [m.metrics for t, m in runs if t.variant == v] for v in config.ablation.variants}
        )
        outcome = {
            "variants": [row._asdict() for row in rows],
            "trials": [
                {"variant": t.variant, "seed": t.config.seed, "run_id": m.run_id} for t, m in runs
            ],
            "reused": len(found),
        }
        picture = comparison.draw(comparison.info(rows))
        trials.conclude(run, comparison.summary(rows), comparison.lines(rows), picture, outcome)


def _make(run: trials.Study, wanted: list[Planned]) -> dict[str, record.Recorded]:
    """Runs the trials one after another below `run`, with one progress bar; returns them by key."""
    made: dict[str, record.Recorded] = {}
    with progress.bar(len(wanted)) as told:
        for index, trial in enumerate(wanted):
            told(index, trial.name, 0)

            def share(
                step: int, done: dict[str, float], index: int = index, name: str = trial.name
            ) -> None:
                if STUDENT in done:
                    told(index, name, done[STUDENT])

            tags = {names.TAG_VARIANT: trial.variant, names.TAG_KEY: trial.key}
            try:
                made[trial.key] = trials.trial(
                    run, trial.config, trial.name, tags, partial(timed, trial.config), share
                )
            except ValueError as error:
                raise ValueError(f"{trial.name}: {error}") from error
    return made


def plan(config: Ablation) -> list[Planned]:
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
    checked = {variant: _checked(config, variant) for variant in config.ablation.variants}
    # Seeds in the outer loop: each variant runs once before any runs twice.
    trials = [
        Planned(variant, made := replace(own, seed=seed), _key(made, tasks))
        for seed in config.ablation.seeds
        for variant, (own, tasks) in checked.items()
    ]
    first, (_, compared) = next(iter(checked.items()))
    for variant, (_, tasks) in checked.items():
        if _names(tasks) != _names(compared):
            raise ValueError(
                f"ablation.variants.{variant} has the tasks {_names(tasks)}; "
                f"allowed: those of {first}"
            )
    by_key: dict[str, Planned] = {}
    for trial in trials:
        other = by_key.setdefault(trial.key, trial)
        if other is not trial:
            raise ValueError(
                f"ablation.variants.{trial.variant} has the same settings as {other.variant}; "
                "allowed: others"
            )
    return trials


def _checked(config: Ablation, variant: str) -> tuple[Distill, list[Task]]:
    """Returns the variant's config, before the seed is set, and its tasks.

    Checks everything that can be checked before the rows are read.
    """
    try:
        own = cli.with_settings(distillation(config.core()), config.ablation.variants[variant])
        tasks = load_tasks(own.data)
        config_for_tasks(own, tasks)
        check_sampling_weights(_names(tasks), own.train.sampling)
        if taught := refined_tasks(own.teacher, tasks):
            check_sampling_weights(_names(taught), own.teacher.train.sampling)
        check_task_weights(_names(tasks), own.loss)
    except ValueError as error:
        raise ValueError(f"ablation.variants.{variant}: {error}") from error
    return own, tasks


def _names(tasks: list[Task]) -> list[str]:
    return [task.name for task in tasks]


def _key(config: Distill, tasks: list[Task]) -> str:
    """Returns the hash of a trial's settings, rows, checkpoints and files of logits."""
    settings = asdict(with_learning_rates(config))
    of = {
        "rows": row_fingerprints(tasks),
        "contents": checkpoint_hashes(config.teacher, config.student, config.data),
        "selection": SPLIT_VERSION,
    } | version_key("students")
    return key_of({name: settings[name] for name in MATTERS} | of)


def timed(config: Distill, folder: Path, report: Report) -> Result:
    """Runs one distillation and adds its cost to the metrics.

    `seconds/trial` is the time of the whole trial, `seconds/student` that of the student's steps.
    """
    begin = last = time.perf_counter()
    student = 0.0

    def told(step: int, metrics: dict[str, float]) -> None:
        nonlocal last, student
        # A report of the student phase ends an interval that began with the report before it.
        if STUDENT in metrics:
            student += time.perf_counter() - last
        report(step, metrics)
        last = time.perf_counter()

    result = pipeline.run(config.core(), folder, told)
    cost = {names.SECONDS_STUDENT: student, names.SECONDS_TRIAL: time.perf_counter() - begin}
    return result._replace(metrics=result.metrics | cost)


if __name__ == "__main__":
    sys.exit(cli.entry(ablate, __doc__ or "", Ablation))
