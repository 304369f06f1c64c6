"""A search on Spark: the trials are made by its Python workers, and the study is kept in MLflow, beside the runs of its trials.

    python -m experiments.search --config experiments/configs/search.yaml --search.engine spark --search.master local[2]

pyspark (the extra `spark`) and Java are needed. A cluster's machines need this project's environment, the data, a tracking server
in MLFLOW_TRACKING_URI, and a `cache` that all of them see. It is MLflow's MlflowSparkStudy, whose storage is an experiment of its
own, `STUDY (optuna)`, as a metric more on one of its runs would spoil it. Seen with MLflow 3.17 and Optuna 5.0:

- Reading the study takes four calls of the tracking store for each of its trials: a second by trial 40, in SQLite on busy cores.
  A trial reads it when it is drawn and at each evaluation. TPE would read it for each setting that is searched (20 s by trial 40
  with 12 settings), and so is told not to mind trials at work (`constant_liar=False`).
- What Spark's workers draw, where there are two or more, is random whatever the seed; of one worker it follows from the seed.
- Trials of two workers may have the same number, in names and tags: it is a place in a list that both write to.
- Each worker has its share of the trials from the start: the first that is done waits for the others.
- There are no heartbeats: a trial whose worker has died is left out, its run ends FAILED, and the same command makes another in
  its place. It is one command at a time: a second one from another machine would take the first one's trials for dead.
- On a cluster, what a lost machine was at is begun anew by Spark as a whole: there may be more trials than were asked for.
- A study has a thousand trials at most, a trial 200 scores, and the space 8,000 characters, as MLflow reads and stores no more.
"""

import json
import threading
from collections.abc import Callable, Iterator
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
from experiments.settings import Search, SearchConfig
from experiments.studies import study, trials
from experiments.studies.space import Space, kinds
from experiments.studies.worker import Job, Objective
from experiments.tracking import progress
from experiments.tracking.run import connected
from mkd.storage.run_folder import differences
from mkd.storage.store import key_of

ABOUT = "about.json"
"""What of a study must not change, as a file of its run: a tag would be too short."""
MOST_TRIALS = 1000
"""So many runs MLflow gives at once, and its storage does not ask for more."""
MOST_CHARACTERS = 8000
"""Of a tag of MLflow."""
MOST_SCORES = 200
"""So many fit in a tag, with their steps."""
LOOK_SECONDS = 3
"""So often the trials that have ended are counted."""


def check(config: Search, space: Space) -> None:
    """Raises ValueError without pyspark or Java, and for what MLflow's storage of a study has no room for."""
    corpus.check_spark()
    own, scores = config.search.trials, config.train.steps // config.train.eval_every
    if own > MOST_TRIALS:
        raise ValueError(f"search.trials is {own}; allowed for search.engine=spark: {MOST_TRIALS:,} at most")
    if scores > MOST_SCORES:
        raise ValueError(
            f"train.eval_every is {config.train.eval_every}, {scores:,} times in train.steps; "
            f"allowed for search.engine=spark: {MOST_SCORES} times at most"
        )
    length = len(json.dumps({name: distribution_to_json(kind) for name, kind in kinds(space).items()}))
    if length > MOST_CHARACTERS:
        raise ValueError(
            f"search.space takes {length:,} characters as Optuna describes it; "
            f"allowed for search.engine=spark: {MOST_CHARACTERS:,}, as many as a tag of MLflow has"
        )


def experiment(config: SearchConfig) -> str:
    """The name of the experiment that the study is kept in."""
    return f"{config.study} (optuna)"


def check_known(config: SearchConfig, told: dict[str, Any]) -> None:
    """Raises ValueError, with what is different, where there is a study of this name of another search. told: as in `opened`."""
    with connected():
        client = mlflow.MlflowClient()
        found = client.get_experiment_by_name(experiment(config))
        run = MlflowStorage(found.experiment_id).get_study_id_by_name_if_exists(config.study) if found else None
        known = mlflow.artifacts.load_dict(f"runs:/{run}/{ABOUT}") if run and client.list_artifacts(run) else told
    if unlike := differences(known, told):
        raise ValueError(
            f"search.study is {config.study!r}, a study of another search: {'; '.join(unlike)}; allowed: another name"
        )


def opened(config: Search, told: dict[str, Any]) -> optuna.Study:
    """The study of this name, which is made where there is none. told: as `study.about` gives it."""
    search = config.search
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with connected():
        client = mlflow.MlflowClient()
        found = client.get_experiment_by_name(experiment(search))
        store = MlflowStorage(found.experiment_id if found else client.create_experiment(experiment(search)))
        if store.get_study_id_by_name_if_exists(search.study):  # Optuna would make another one of the same name
            known = optuna.load_study(study_name=search.study, storage=store)
        else:
            directions = [study.OBJECTIVES[name] for name in search.objectives]
            known = optuna.create_study(study_name=search.study, storage=store, directions=directions)
        if not client.list_artifacts(str(known._study_id)):  # to MLflow a study is a run
            client.log_dict(str(known._study_id), told, ABOUT)
    return known


def crew(job: Job, optuna_study: optuna.Study) -> None:
    """Has Spark's workers make the trials that are missing, and shows how far they are."""
    search, store = job.config.search, optuna_study._storage
    assert isinstance(store, MlflowStorage), "it is opened here"
    with _alone(job):
        _leave_out_lost(optuna_study)
        ended = len(optuna_study.get_trials(deepcopy=False))
        if ended >= search.trials:
            return
        try:
            with corpus.session(search.master, "search.master") as spark, _told(optuna_study, search):
                from mlflow.pyspark.optuna.study import MlflowSparkStudy

                workers = min(spark.sparkContext.defaultParallelism, search.trials - ended)
                made = MlflowSparkStudy(search.study, store, _sampler(job.config, ended), NopPruner())
                with corpus.told_in_a_line(f"search.master is {search.master!r}"):
                    made.optimize(
                        partial(_trial, Objective(job)), search.trials - ended, n_jobs=workers, catch=(Exception,),
                        callbacks=[partial(_end_of_row, job.began)],
                    )  # fmt: skip
        finally:
            _leave_out_lost(optuna_study)


def _trial(objective: Objective, trial: optuna.Trial) -> list[float]:
    """One trial, in a Python worker of Spark."""
    trials.as_worker(objective.job.tracking)
    return objective(lambda: None, trial)


def _end_of_row(since: float, optuna_study: optuna.Study, trial: FrozenTrial) -> None:
    """Ends a worker's share where as many trials in a row have failed as end a search."""
    if trial.state == TrialState.FAIL and study.first_failure(study.counted(optuna_study), since) is not None:
        optuna_study._stop_flag = True  # its own stop() knows no loop but Optuna's


def _sampler(config: Search, ended: int) -> BaseSampler:
    """What draws, from the seed and the trials that there are: MlflowSparkStudy seeds it anew in each of several workers.

    It can't be `Seeded`, as two workers may have the same number.
    """
    seed = int(key_of({"seed": config.seed, "trials": ended})[:8], 16)
    return TPESampler(seed=seed, constant_liar=False) if config.search.sampler == "tpe" else RandomSampler(seed)


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """Raises ValueError where another command here is at the study."""
    folder = Path(job.config.cache) / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{key_of({'storage': job.tracking, 'study': job.config.search.study})}.lock"
    try:
        with FileLock(file, timeout=0):
            yield
    except Timeout:
        raise ValueError(
            f"search.study is {job.config.search.study!r}, which another command is at; allowed for search.engine=spark: one"
        ) from None


def _leave_out_lost(optuna_study: optuna.Study) -> None:
    """Closes the runs of the trials that nobody is at, and takes these out of the study."""
    for trial in optuna_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        trials.close_lost(trial)
        mlflow.MlflowClient().delete_run(str(trial._trial_id))


@contextmanager
def _told(optuna_study: optuna.Study, config: SearchConfig) -> Iterator[None]:
    """Shows meanwhile how many trials have ended."""
    over = threading.Event()

    def show(told: Callable[[int, str, float], None]) -> None:
        client = mlflow.MlflowClient()
        number = client.get_run(str(optuna_study._study_id)).info.experiment_id
        while not over.wait(LOOK_SECONDS):
            ended = f"tags.mlflow.parentRunId = '{optuna_study._study_id}' and attributes.status != 'RUNNING'"
            found = len(client.search_runs([number], ended, max_results=MOST_TRIALS))
            told(0, f"{found} of {config.trials} trials", min(found, config.trials))

    with progress.bar(config.trials) as told:
        shown = threading.Thread(target=show, args=(told,), daemon=True)
        shown.start()
        try:
            yield
        finally:
            over.set()
            shown.join()
