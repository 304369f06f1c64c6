"""Retrains the best student of a search within a budget on all labelled rows, and registers it.

    mkd promote --promote.study mkd --promote.budget_ms 1
    mlflow run . -e promote -P study=mkd -P budget_ms=1
    mlflow run . -e promote -P study=glue -P budget_ms=2 -P train.steps=6000 \\
        -P 'promote.seeds=[0, 1, 2]'

The trial is chosen by its score on the selection split. With `--promote.whole false` the rows of
that split stay out of training. Data, teacher, student, loss, training and the measurement of speed
are the trial's settings, unless the command sets them; all other settings are the command's.
`--json` prints JSON: the runs and scores by seed, and the name of the registered model.
"""

import sys

from experiments import cli

if __name__ == "__main__":  # before the imports that follow: those take seconds
    sys.exit(cli.main("experiments.promote:promote", __doc__))

import json
import statistics
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from analysis.presentation.printing import set_result
from analysis.presentation.table import markdown
from experiments.settings import (
    DistillSettings,
    PromoteConfig,
    PromoteSettings,
    RegistryConfig,
    distill_settings,
    with_open_length,
)
from experiments.tracking.record import FinishedRun, before_run, record_training
from experiments.tracking.searches import FinishedTrial, finished_trials, settings_of
from experiments.tracking.store import with_store
from experiments.tracking.trials import finished_metrics
from mkd import names, pipeline, processes
from mkd.evaluation.intervals import half_width
from mkd.evaluation.speed import HEADLINE_SETTING
from mkd.evaluation.timing import SPEED_PROTOCOL
from mkd.result import Result
from mkd.storage.run_folder import run_folder

TRIAL_GROUPS = ("data", "teacher", "student", "loss", "train", "speed")
"""Groups of settings that are taken from the trial."""
ALIAS = "champion"
"""The default alias of the registered model."""


@with_store()
def promote(config: PromoteSettings) -> dict[int, FinishedRun[Result | None]]:
    """Runs one distillation for each seed, and registers the student of the first seed.

    A command that was stopped continues: the seeds that have finished are not trained again.

    Returns the runs by seed. `made` is None for a seed that an earlier start has finished.
    """
    chosen = best_trial(config.promote)
    changed = _settings_of_the_command(config)
    training_settings = promoted_settings(config, chosen, changed)
    print(
        f"{chosen.name}: {chosen.quality:.1f} on the selection split, "
        f"{chosen.latency_ms:.3g} ms in {chosen.backend}"
    )
    print(f"its settings, changed by the command: {json.dumps(changed)}", flush=True)
    runs = _train_seeds(config, chosen, training_settings)
    _print_scores(runs, chosen, config.promote.budget_ms)
    summary: dict[str, Any] = {
        "study": config.promote.study,
        "trial": chosen.number,
        "model": f"models:/{training_settings.registry.name}@{training_settings.registry.alias}",
        "runs": {str(seed): run.run_id for seed, run in runs.items()},
        "quality": {str(seed): run.metrics[names.QUALITY_MEAN] for seed, run in runs.items()},
    }
    set_result(summary)
    return runs


def _settings_of_the_command(config: PromoteSettings) -> dict[str, Any]:
    """Returns the settings of TRIAL_GROUPS that the command line sets, by their dotted names."""
    setting_names = cli.explicit_settings(None, PromoteSettings)
    return {
        name: cli.flat(config)[name] for name in setting_names if name.split(".")[0] in TRIAL_GROUPS
    }


def _train_seeds(
    config: PromoteSettings, chosen: FinishedTrial, training_settings: DistillSettings
) -> dict[int, FinishedRun[Result | None]]:
    """Trains a student with each seed that has not finished before. Returns the runs by seed."""
    runs: dict[int, FinishedRun[Result | None]] = {}
    with ExitStack() as stack:
        memory = None
        if processes.count() == 1:
            place = f"promotion {chosen.run_id}"
            memory = FinishedSeeds(
                stack.enter_context(run_folder(asdict(training_settings.shown()), place))
            )
        for number, seed in enumerate(config.promote.seeds, 1):
            print(f"seed {seed}, {number} of {len(config.promote.seeds)}", flush=True)
            # Only the first seed is registered: the others estimate how much the score varies.
            registry = (
                training_settings.registry if seed == config.promote.seeds[0] else RegistryConfig()
            )
            known = memory.run(seed, registry) if memory else None
            if known is None:
                known = _train(
                    config, chosen, replace(training_settings, seed=seed, registry=registry)
                )
                if memory:
                    memory.add(seed, registry, known.run_id)
            else:
                print(f"seed {seed} was finished before, by run {known.run_id}", flush=True)
            runs[seed] = known
    return runs


def _print_scores(
    runs: dict[int, FinishedRun[Result | None]], chosen: FinishedTrial, budget_ms: float | None
) -> None:
    """Prints score and latency of each seed, a note on the budget, and the spread over seeds."""
    scores = {seed: run.metrics[names.QUALITY_MEAN] for seed, run in runs.items()}
    latency = names.speed(chosen.backend, HEADLINE_SETTING.name, names.P50)
    times = {seed: run.metrics.get(latency) for seed, run in runs.items()}
    shown = {seed: "-" if time is None else f"{time:.3g}" for seed, time in times.items()}
    header = ["seed", "mean score on dev", f"ms in {chosen.backend}"]
    rows = [[str(seed), f"{score:.2f}", shown[seed]] for seed, score in scores.items()]
    print("\n".join(markdown([header, *rows])))
    if budget_ms is not None and any(
        time is not None and time > budget_ms for time in times.values()
    ):
        print(
            f"note: the student is slower than promote.budget_ms={budget_ms:g}; "
            f"its trial took {chosen.latency_ms:.3g} ms"
        )
    print(seed_spread(list(scores.values())))


def _train(
    config: PromoteSettings, chosen: FinishedTrial, trained: DistillSettings
) -> FinishedRun[Result | None]:
    """Trains one student with these settings."""
    name = (
        f"{chosen.name.split(' ')[0]} of {config.promote.study}, "
        f"{trained.student.name} s{trained.seed}"
    )
    tags = {
        names.TAG_PROMOTED: config.promote.study,
        names.TAG_TRIAL: str(chosen.number),
        names.TAG_PARENT: chosen.run_id,
    }
    core = trained.core()
    prepared = before_run(partial(pipeline.prepare, core))
    training = partial(pipeline.run, core, prepared=prepared)
    done = record_training(trained, names.KIND_PROMOTE, name, training, prepared.tasks, tags=tags)
    return FinishedRun(done.run_id, done.metrics, done.made)


class FinishedSeeds:
    """The seeds of a promotion that have finished, in a file of its folder."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "seeds.json"
        text = self.file.read_text("utf-8") if self.file.exists() else "{}"
        self.seeds: dict[str, Any] = json.loads(text)

    def run(self, seed: int, registry: RegistryConfig) -> FinishedRun[Result | None] | None:
        """Returns the run of a seed, or None if it has to be trained.

        registry: where its student has to be registered. It is trained again to be registered
            elsewhere.
        """
        known = self.seeds.get(str(seed), {"registry": None})
        if known["registry"] != asdict(registry):
            return None
        metrics = finished_metrics(known["run_id"])
        return None if metrics is None else FinishedRun(known["run_id"], metrics, None)

    def add(self, seed: int, registry: RegistryConfig, run_id: str) -> None:
        """Stores that a seed has finished."""
        self.seeds[str(seed)] = {"run_id": run_id, "registry": asdict(registry)}
        aside = self.file.with_suffix(".aside")
        aside.write_text(json.dumps(self.seeds), "utf-8")
        aside.replace(self.file)


def seed_spread(scores: list[float]) -> str:
    """Returns the mean over seeds with its interval, or for one seed a note that there is none."""
    half = half_width(scores)
    if half is None:
        return "one seed: the variation between seeds is unknown (promote.seeds)"
    mean = statistics.fmean(scores)
    return (
        f"mean {mean:.2f}, sd {statistics.stdev(scores):.2f} over {len(scores)} seeds, "
        f"95 % t interval of the mean {mean - half:.2f} to {mean + half:.2f}"
    )


def best_trial(config: PromoteConfig) -> FinishedTrial:
    """Returns the finished trial with the best selection score within the budget.

    Ties go to the lower latency. Raises ValueError if the study has no finished trial, if its
    latencies were measured by an earlier protocol, or if no trial is fast enough; the last message
    names the fastest trial.
    """
    trials = finished_trials(config.study)
    if not trials:
        raise ValueError(
            f"promote.study is {config.study!r}, which has no finished trial yet; "
            "allowed: one that has"
        )
    limit = config.budget_ms
    earlier = {trial.protocol for trial in trials} - {SPEED_PROTOCOL}
    if limit is not None and earlier:
        raise ValueError(
            f"promote.budget_ms is {limit:g}; allowed for {config.study}: null, "
            "because its latencies were measured with an earlier protocol "
            f"({names.PROTOCOL} {', '.join(map(str, sorted(earlier)))}, now {SPEED_PROTOCOL})"
        )
    within = [trial for trial in trials if limit is None or trial.latency_ms <= limit]
    if not within:
        fastest = min(trials, key=lambda trial: trial.latency_ms)
        raise ValueError(
            f"promote.budget_ms is {limit:g}; "
            f"allowed: at least {fastest.latency_ms:.3g}, the latency of {fastest.name}, "
            f"the fastest of {config.study}"
        )
    return max(within, key=lambda trial: (trial.quality, -trial.latency_ms))


def promoted_settings(
    config: PromoteSettings, chosen: FinishedTrial, changed: dict[str, Any]
) -> DistillSettings:
    """Returns the config to train: the trial's settings, those in `changed`, else the command's."""
    trial = with_open_length(settings_of(chosen.run_id, DistillSettings))
    groups = {name: getattr(trial, name) for name in TRIAL_GROUPS}
    registry = replace(config.registry, name=config.registry.name or config.promote.study)
    registry = replace(registry, alias=registry.alias or ALIAS)
    training_settings = replace(
        distill_settings(config.core(**groups, whole=config.promote.whole)), registry=registry
    )
    return cli.with_settings(training_settings, changed)
