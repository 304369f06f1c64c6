"""A search on Spark: its Python workers run the trials, and the study is stored in MLflow.

    python -m experiments.search --config experiments/configs/search.yaml \\
        --search.engine spark --search.master local[2]

pyspark (the extra `spark`) and Java are required. On a cluster, the machines need this project's
environment, the data, a tracking server in MLFLOW_TRACKING_URI, and a `cache` folder that all of
them share. The study is MLflow's MlflowSparkStudy. Its storage is a separate experiment, `STUDY
(optuna)`, because an additional metric on one of its runs would corrupt it. Observed with MLflow
3.17 and Optuna 5.0:

- Reading the study takes four calls to the tracking store for each of its trials: one second at
  trial 40, in SQLite on busy cores. A trial reads the study when it is drawn and at each
  evaluation. By default, TPE would read it for each searched setting (20 s at trial 40 with 12
  settings). Therefore it ignores running trials (`constant_liar=False`).
- With two or more Spark workers, sampling is random whatever the seed. With one worker, it follows
  from the seed.
- Trials of two workers may have the same number in names and tags, because the number is a position
  in a list that both write to.
- Each worker gets its share of the trials at the start. The first worker to finish waits for the
  others.
- There are no heartbeats. A trial whose worker has died is removed from the study, its run is
  FAILED, and the same command runs another trial instead. Only one command may run at a time: a
  second one on another machine would treat the first one's trials as dead.
- On a cluster, Spark restarts the whole share of a lost machine. There may be more trials than
  requested.
- A study has at most 1,000 trials, a trial 200 scores, and the space 8,000 characters, because
  MLflow reads and stores no more.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import optuna
from filelock import FileLock, Timeout
from mlflow.optuna.storage import MlflowStorage
from optuna.distributions import distribution_to_json
from optuna.pruners import NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from experiments.on_spark import corpus
from experiments.settings import SearchConfig, SearchSettings
from experiments.studies import study
from experiments.studies.objective import StudyObjective, WorkerJob
from experiments.studies.retry import fail_run_of
from experiments.studies.space import Space, distributions_of
from experiments.studies.trial_results import first_failure, own_trials
from experiments.tracking.store import connected
from experiments.tracking.trials import start_worker
from mkd import progress
from mkd.repeat import repeated
from mkd.storage.run_folder import differences
from mkd.storage.store import key_of

SETTINGS_FILE = "about.json"
"""The settings of a study that must not change, as an artifact of its run. A tag would be too
short.
"""
MAX_TRIALS = 1000
"""Maximum number of trials. MLflow returns at most this many runs in one request, and its
storage makes only one request.
"""
MAX_SPACE_LENGTH = 8000
"""Maximum length of an MLflow tag."""
MAX_SCORES = 200
"""Maximum number of scores that fit in a tag with their steps."""
REFRESH_SECONDS = 3
"""Seconds between two updates of the progress bar."""


def check_spark_search(config: SearchSettings, space: Space) -> None:
    """Raises ValueError if pyspark or Java is missing, or if MLflow's storage is too small."""
    corpus.check_spark()
    trials, scores = config.search.trials, config.train.steps // config.train.eval_every
    if trials > MAX_TRIALS:
        raise ValueError(
            f"search.trials is {trials}; allowed for search.engine=spark: {MAX_TRIALS:,} at most"
        )
    if scores > MAX_SCORES:
        raise ValueError(
            f"train.eval_every is {config.train.eval_every}, {scores:,} times in train.steps; "
            f"allowed for search.engine=spark: {MAX_SCORES} times at most"
        )
    length = len(
        json.dumps(
            {name: distribution_to_json(kind) for name, kind in distributions_of(space).items()}
        )
    )
    if length > MAX_SPACE_LENGTH:
        raise ValueError(
            f"search.space takes {length:,} characters as Optuna describes it; "
            f"allowed for search.engine=spark: {MAX_SPACE_LENGTH:,}, as many as a tag of MLflow has"
        )


def experiment_name(config: SearchConfig) -> str:
    """Returns the name of the experiment that stores the study."""
    return f"{config.study} (optuna)"


def check_same_search(config: SearchConfig, fixed: dict[str, Any]) -> None:
    """Raises ValueError, with the differences, if the study exists and belongs to another search.

    fixed: the result of `study.fixed_settings`.
    """
    with connected():
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name(experiment_name(config))
        run = (
            MlflowStorage(experiment.experiment_id).get_study_id_by_name_if_exists(config.study)
            if experiment
            else None
        )
        known = (
            mlflow.artifacts.load_dict(f"runs:/{run}/{SETTINGS_FILE}")
            if run and client.list_artifacts(run)
            else fixed
        )
    if unlike := differences(known, fixed):
        raise ValueError(
            f"search.study is {config.study!r}, a study of another search: {'; '.join(unlike)}; "
            "allowed: another name"
        )


def open_study(config: SearchSettings, fixed: dict[str, Any]) -> optuna.Study:
    """Opens the study of this name, and creates it if it does not exist.

    fixed: the result of `study.fixed_settings`.
    """
    search = config.search
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with connected():
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name(experiment_name(search))
        store = MlflowStorage(
            experiment.experiment_id
            if experiment
            else client.create_experiment(experiment_name(search))
        )
        # Without this check, Optuna would create a second study with the same name.
        if store.get_study_id_by_name_if_exists(search.study):
            known = optuna.load_study(study_name=search.study, storage=store)
        else:
            directions = [study.OBJECTIVES[name] for name in search.objectives]
            known = optuna.create_study(
                study_name=search.study, storage=store, directions=directions
            )
        if not client.list_artifacts(str(known._study_id)):  # in MLflow, a study is a run
            client.log_dict(str(known._study_id), fixed, SETTINGS_FILE)
    return known


def run_trials(job: WorkerJob, optuna_study: optuna.Study) -> None:
    """Runs the missing trials on Spark's workers, with a progress bar."""
    search, store = job.config.search, optuna_study._storage
    assert isinstance(store, MlflowStorage), "it is opened here"
    with _only_command(job):
        _remove_lost_trials(optuna_study)
        # Lost trials have been removed by now, so every remaining trial has ended.
        ended = len(optuna_study.get_trials(deepcopy=False))
        if ended >= search.trials:
            return
        try:
            with (
                corpus.spark_session(search.master, "search.master") as spark,
                _progress_shown(optuna_study, search),
            ):
                from mlflow.pyspark.optuna.study import MlflowSparkStudy

                workers = min(spark.sparkContext.defaultParallelism, search.trials - ended)
                spark_study = MlflowSparkStudy(
                    search.study, store, _sampler(job.config, ended), NopPruner()
                )
                with corpus.one_line_errors(f"search.master is {search.master!r}"):
                    spark_study.optimize(
                        partial(_trial, StudyObjective(job)),
                        search.trials - ended,
                        n_jobs=workers,
                        catch=(Exception,),
                        callbacks=[partial(_stop_after_failures, job.began)],
                    )
        finally:
            _remove_lost_trials(optuna_study)


def _trial(objective: StudyObjective, trial: optuna.Trial) -> list[float]:
    """Runs one trial in a Python worker of Spark."""
    start_worker(objective.job.tracking)
    return objective(lambda: None, trial)


def _stop_after_failures(since: float, optuna_study: optuna.Study, trial: FrozenTrial) -> None:
    """Ends a worker's share if too many trials in a row have failed."""
    if (
        trial.state == TrialState.FAIL
        and first_failure(own_trials(optuna_study), since) is not None
    ):
        optuna_study._stop_flag = True  # study.stop() works only in Optuna's own loop


def _sampler(config: SearchSettings, ended: int) -> BaseSampler:
    """Returns a sampler that depends on the seed and the number of existing trials.

    With several workers, MlflowSparkStudy reseeds it in each of them. `SeededSampler` does not work
    here, because two workers may have the same trial number.
    """
    # The number of trials is included so that a resumed search does not repeat its first draws.
    seed = int(key_of({"seed": config.seed, "trials": ended})[:8], 16)
    return (
        TPESampler(seed=seed, constant_liar=False)
        if config.search.sampler == "tpe"
        else RandomSampler(seed)
    )


@contextmanager
def _only_command(job: WorkerJob) -> Iterator[None]:
    """Raises ValueError if another command on this machine is running the study."""
    folder = Path(job.config.cache) / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{key_of({'storage': job.tracking, 'study': job.config.search.study})}.lock"
    try:
        with FileLock(file, timeout=0):
            yield
    except Timeout:
        raise ValueError(
            f"search.study is {job.config.search.study!r}, which another command is running; "
            "allowed for search.engine=spark: one"
        ) from None


def _remove_lost_trials(optuna_study: optuna.Study) -> None:
    """Ends the runs of trials whose workers have died, and removes these trials."""
    for trial in optuna_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        fail_run_of(trial)
        mlflow.MlflowClient().delete_run(str(trial._trial_id))


@contextmanager
def _progress_shown(optuna_study: optuna.Study, config: SearchConfig) -> Iterator[None]:
    """Shows the number of trials that have ended while the body runs."""
    client = mlflow.MlflowClient()
    number = client.get_run(str(optuna_study._study_id)).info.experiment_id
    ended = (
        f"tags.mlflow.parentRunId = '{optuna_study._study_id}' and attributes.status != 'RUNNING'"
    )
    with progress.job_bar(config.trials, "trial") as show:

        def update() -> None:
            trials = len(client.search_runs([number], ended, max_results=MAX_TRIALS))
            show(min(trials, config.trials), f"{trials} of {config.trials} trials", 0)

        with repeated(update, REFRESH_SECONDS):
            yield
