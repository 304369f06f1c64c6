"""A search as an Optuna study: its storage, its sampler, its trials and their results."""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import NullPool, create_engine, func, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.event import listen
from sqlalchemy.exc import SQLAlchemyError

from experiments.settings import Search, SearchConfig, without_password
from experiments.studies.pruning import Progress
from experiments.studies.space import holds
from mkd.selection.split import SPLIT_VERSION
from mkd.storage.run_folder import differences
from mkd.storage.store import key_of
from mkd.storage.versions import version_key
from mkd.tasks.sources import load_tasks
from mkd.teachers.contents import checkpoint_hashes, row_fingerprints

Direction = Literal["maximize", "minimize"]
OBJECTIVES: dict[str, Direction] = {
    "quality": "maximize",
    "latency": "minimize",
    "bytes": "minimize",
    "parameters": "minimize",
    "flops": "minimize",
}
"""What a search can optimise, and in which direction."""
ABOUT, RUN = "about", "run"
"""User attributes of a study: the settings that must not change, and the id of its MLflow run."""
RUN_OF_TRIAL, PROGRESS, RESULT, FIRST = "run", "progress", "result", "first"
"""User attributes of a trial: the id of its MLflow run, its scores so far, its result
(`Outcome`), and its first number, which it keeps when it is retried.
"""
OF_QUALITY = ("loss.", "train.")
"""Prefixes of the settings that have no effect on a student's costs."""
FROM = "from"
"""User attribute of a trial that was copied from another study: `STUDY/NUMBER`."""
AGAIN = "again"
"""Prefix of user attributes of a study: `again/NUMBER` says why the trial with this number was
replaced.
"""
DIED, STOPPED = "its worker died", "its worker was stopped"
"""Reasons why a trial was replaced."""
CONNECT = {"connect_timeout": 5}
"""Connection settings of a database server: it has to answer within 5 seconds."""
FAILURES = 5
"""A search ends after this many failures in a row."""

Retried = Callable[[FrozenTrial], None]
"""Called with a trial whose worker has died."""


class Seeded(BaseSampler):
    """Samples each trial with a seed made of the search's seed and the trial's number alone.

    A study that was stopped and resumed therefore draws the same as one that was not. With several
    workers, TPE also depends on which trials have finished by then.
    """

    def __init__(self, config: SearchConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.own: BaseSampler = RandomSampler(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        seed = int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0])
        self.own = TPESampler(seed=seed) if self.config.sampler == "tpe" else RandomSampler(seed)
        # A sampler that is made anew for each trial has no state that a restart could lose.
        self.own.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.own.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.own.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self.own.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.own.after_trial(study, trial, state, values)


@contextmanager
def reached(config: SearchConfig) -> Iterator[None]:
    """Raises ConnectionError, naming search.storage, if the storage cannot be reached.

    Invalid storages are included: OSError covers a folder that cannot be created, ValueError a port
    that is not a number.
    """
    try:
        yield
    except (
        SQLAlchemyError,
        optuna.exceptions.StorageInternalError,
        ModuleNotFoundError,
        OSError,
        ValueError,
    ) as error:
        first = str(error.__cause__ or error).splitlines()[0]
        raise ConnectionError(
            f"search.storage is {without_password(config.storage)!r}: {first}"
        ) from error


def storage(config: SearchConfig, retried: Retried = lambda trial: None) -> RDBStorage:
    """Opens the storage of a study, and creates a SQLite file that does not exist.

    A trial whose worker has died is retried once, and `retried` is called with it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def stale(study: optuna.Study, trial: FrozenTrial) -> None:
        retried(trial)
        put_back(study, trial, DIED)

    local = _is_file(config)
    # SQLite waits up to 60 s for another writer. A server may close idle connections, so they are
    # checked before use.
    engine = {"connect_args": {"timeout": 60} if local else CONNECT, "pool_pre_ping": not local}
    beat = config.heartbeat_seconds
    with warnings.catch_warnings(), reached(config), locked(config):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        store = RDBStorage(
            config.storage,
            engine,
            heartbeat_interval=beat,
            grace_period=3 * beat,
            heartbeat_stale_trial_callback=stale,
        )
        if local:
            listen(store.engine, "connect", _write_ahead)
            # Connections that were opened before the listener existed have SQLite's default
            # settings.
            store.engine.dispose()
        return store


def _write_ahead(connection: DBAPIConnection, record: object) -> None:
    """Makes SQLite write to a log without waiting for the disk.

    A trial writes about thirty times.
    """
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _is_file(config: SearchConfig) -> bool:
    """Returns whether the storage is a SQLite file."""
    return config.storage.startswith("sqlite:///")


@contextmanager
def locked(config: SearchConfig) -> Iterator[None]:
    """Lets only one process at a time create or fill a study, across machines.

    A SQLite file has a lock file next to it. PostgreSQL has an advisory lock, which it releases
    when the connection closes.
    """
    if not _is_file(config):
        engine = create_engine(config.storage, connect_args=CONNECT, poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(
                select(func.pg_advisory_lock(int(key_of({"study": config.study})[:15], 16)))
            )
            yield
        return
    file = Path(config.storage.removeprefix("sqlite:///")).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        yield


def put_back(study: optuna.Study, trial: FrozenTrial, why: str) -> None:
    """Queues a copy of an unfinished trial with the same settings.

    why: DIED or STOPPED. A trial whose worker died is retried only once, because the trial itself
        may be what kills its worker. A stopped trial is retried every time.
    """
    attributes = study.user_attrs
    # The reasons why earlier copies of this trial were replaced.
    before = [
        attributes.get(f"{AGAIN}/{number}")
        for number in trial.system_attrs.get("retry_history", [])
    ]
    if why == DIED and DIED in before:
        return
    study.set_user_attr(f"{AGAIN}/{trial.number}", why)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        RetryHeartbeatStaleTrialCallback()(study, trial)


def fail_stale(study: optuna.Study) -> None:
    """Marks the trials whose workers have died as failed, and retries them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


def about(config: Search, base: dict[str, Any]) -> dict[str, Any]:
    """Returns everything that must stay the same when a study is resumed, as JSON values.

    base: all settings of a trial that are not searched.
    """
    search = config.search
    told = {name: getattr(search, name) for name in ("space", "objectives", "backend", "sampler")}
    told["budgets"] = {name: getattr(search, f"budget_{name}") for name in ("ms", "parameters")}
    told |= {
        "settings": base,
        "seed": config.seed,
        "selection": SPLIT_VERSION,
        "contents": checkpoint_hashes(config.teacher, config.student, config.data),
    }
    told |= version_key("students")
    told["rows"] = row_fingerprints(load_tasks(config.data))
    # Tuples become lists, as they do in the storage. Otherwise stored and new values would differ.
    found: dict[str, Any] = json.loads(json.dumps(told))
    return found


def check_known(config: SearchConfig, store: RDBStorage, told: dict[str, Any]) -> None:
    """Raises ValueError, with the differences, if the study exists and belongs to another search.

    told: the result of `about`.
    """
    with reached(config):
        if config.study not in optuna.get_all_study_names(store):
            return
        # A process that was killed may have left a study without this attribute. `opened` adds it
        # then.
        known = optuna.load_study(study_name=config.study, storage=store).user_attrs.get(
            ABOUT, told
        )
    if unlike := differences(known, told):
        raise ValueError(
            f"search.study is {config.study!r}, a study of another search: {'; '.join(unlike)}; "
            "allowed: another name"
        )


def opened(config: Search, store: RDBStorage, told: dict[str, Any]) -> optuna.Study:
    """Opens the study of this name, and creates it if it does not exist.

    told: the result of `about`.
    """
    search = config.search
    with reached(search), locked(search), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            storage=store,
            study_name=search.study,
            sampler=Seeded(search, config.seed),
            load_if_exists=True,
            directions=[OBJECTIVES[name] for name in search.objectives],
        )
        if ABOUT not in study.user_attrs:
            study.set_metric_names(list(search.objectives))
            study.set_user_attr(ABOUT, told)
    return study


class Outcome(NamedTuple):
    """The result of a trial.

    state: how it ended, as the tag `mkd.state`.
    run: the id of its MLflow run.
    dev: its mean score on dev, or None if it was not measured.
    costs: by name of the objective, and `quality` on the selection split.
    seconds: `cost` for measuring the speed, `core` for training and scoring.
    settings: the values of the searched settings.
    error: why the trial did not complete.
    """

    state: str
    name: str
    run: str
    dev: float | None
    costs: dict[str, float]
    seconds: dict[str, float]
    settings: dict[str, Any]
    error: str = ""


def outcome(trial: FrozenTrial) -> Outcome | None:
    """Returns the result of a trial, or None if it has not ended."""
    told = trial.user_attrs.get(RESULT)
    return Outcome(**told) if told and trial.state.is_finished() else None


def ended(study: optuna.Study) -> list[tuple[FrozenTrial, Outcome]]:
    """Returns the trials that have ended, with their results.

    Includes trials that were copied from another study, but not trials that were replaced by a
    retry.
    """
    kept = {trial.number for trial in counted(study)}
    found = [(trial, outcome(trial)) for trial in study.get_trials(deepcopy=False)]
    return [
        (t, told)
        for t, told in found
        if told is not None and (t.number in kept or FROM in t.user_attrs)
    ]


def progress_of(study: optuna.Study, but: int) -> list[Progress]:
    """Returns the progress of all trials except failed ones and trial number `but`."""
    trials = [
        t
        for t in study.get_trials(deepcopy=False)
        if t.number != but and t.state != TrialState.FAIL
    ]
    found = [trial.user_attrs.get(PROGRESS) for trial in trials]
    return [
        Progress(told["latency_ms"], {int(step): score for step, score in told["scores"].items()})
        for told in found
        if told
    ]


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the trials that count towards search.trials.

    Trials that were replaced by a retry, and trials copied from another study, do not count.
    """
    again = {int(name.split("/")[1]) for name in study.user_attrs if name.startswith(f"{AGAIN}/")}
    return [
        t
        for t in study.get_trials(deepcopy=False)
        if t.number not in again and FROM not in t.user_attrs
    ]


def first_failure(trials: list[FrozenTrial], since: float) -> str | None:
    """Returns the first known error of the last FAILURES trials if all failed, else None.

    since: a time in seconds; trials that ended before it are ignored.
    """
    ended = [
        (t.datetime_complete, t)
        for t in trials
        if t.datetime_complete and t.datetime_complete.timestamp() >= since
    ]
    last = [trial for _, trial in sorted(ended, key=lambda pair: pair[0])][-FAILURES:]
    if len(last) < FAILURES or any(trial.state != TrialState.FAIL for trial in last):
        return None
    told = [outcome(trial) for trial in last]
    return next((found.error for found in told if found is not None), "their workers died")


def begin_with(
    study: optuna.Study, other: str, kinds: dict[str, BaseDistribution]
) -> tuple[int, int]:
    """Copies the finished trials of another study that lie in this search space.

    Both studies are in the same storage.

    kinds: the search space by Optuna's names.
    Returns the number of copied trials, and the number of finished trials in the other study.
    Trials that were copied before are skipped.
    Raises ValueError if there is no such study, or if its scores are not comparable.
    """
    known = optuna.get_all_study_names(study._storage)
    if other not in known:
        raise ValueError(
            f"search.start_from is {other!r}; "
            f"allowed: {', '.join(sorted(set(known) - {study.study_name})) or 'none'}"
        )
    source = optuna.load_study(study_name=other, storage=study._storage)
    if unlike := differences(_comparable(source), _comparable(study)):
        raise ValueError(
            f"search.start_from is {other!r}, whose scores are not comparable: {'; '.join(unlike)}"
        )
    there = {trial.user_attrs.get(FROM) for trial in study.get_trials(deepcopy=False)}
    finished = [
        trial for trial in source.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE
    ]
    new = [
        trial
        for trial in finished
        if f"{other}/{trial.number}" not in there and _within(trial, kinds)
    ]
    for trial in new:
        copy = create_trial(
            state=trial.state,
            params=trial.params,
            distributions={name: kinds[name] for name in trial.params},
            values=trial.values,
            user_attrs=trial.user_attrs | {FROM: f"{other}/{trial.number}"},
        )
        study.add_trial(copy)
    return len(new), len(finished)


def _comparable(study: optuna.Study) -> dict[str, Any]:
    """Returns what has to be equal for the values of two studies to be comparable."""
    told = study.user_attrs[ABOUT]
    comparable = {name: told[name] for name in ("objectives", "backend", "settings", "seed")}
    # studies of earlier versions do not have these
    return comparable | {
        name: told.get(name) for name in ("selection", "rows", "contents", "made_by")
    }


def _within(trial: FrozenTrial, kinds: dict[str, BaseDistribution]) -> bool:
    """Returns whether all params of a trial lie in the search space."""
    return all(name in kinds and holds(kinds[name], value) for name, value in trial.params.items())


def importances(study: optuna.Study, objectives: list[str]) -> dict[str, dict[str, float]]:
    """Returns each setting's importance as a share, by objective.

    It is computed by PED-ANOVA (Watanabe et al. 2023). The importance measures what distinguishes
    the best values of an objective. Shares add up to 1. Settings of training cannot change a cost.
    They are left out for costs, because few trials could make them look important.
    """
    done = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    found: dict[str, dict[str, float]] = {}
    for place, name in enumerate(objectives):
        # An objective with a single value has nothing to explain.
        if len({trial.values[place] for trial in done}) < 2:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # conditional settings may have few trials
            told = optuna.importance.get_param_importances(
                study, target=_loss(place, OBJECTIVES[name])
            )
        shares = {
            key: float(value)
            for key, value in told.items()
            if name == "quality" or not key.startswith(OF_QUALITY)
        }
        if total := sum(shares.values()):
            found[name] = {key: share / total for key, share in shares.items()}
    return found


def _loss(place: int, direction: Direction) -> Callable[[FrozenTrial], float]:
    """Returns a function of a trial that gives its value, negated if more is better.

    Optuna's importance treats lower values as better.
    """
    sign = -1 if direction == "maximize" else 1
    return lambda trial: sign * float(trial.values[place])
