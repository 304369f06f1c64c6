"""A search as an Optuna study: where it is kept, how its trials are drawn, and what they tell of themselves."""

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

from experiments.studies.pruning import Progress
from experiments.studies.space import holds
from mkd.config import Config, SearchConfig, without_password
from mkd.selection.carving import VERSION
from mkd.storage.run_folder import differences
from mkd.storage.store import key_of
from mkd.storage.versions import made_by
from mkd.tasks.sources import load_tasks
from mkd.teachers.contents import contents, fingerprints

Direction = Literal["maximize", "minimize"]
OBJECTIVES: dict[str, Direction] = {
    "quality": "maximize",
    "latency": "minimize",
    "bytes": "minimize",
    "parameters": "minimize",
    "flops": "minimize",
}
ABOUT, RUN = "about", "run"
"""What of a study must not change, and the id of its MLflow run: user attributes of the study."""
RUN_OF_TRIAL, PROGRESS, RESULT, FIRST = "run", "progress", "result", "first"
"""User attributes of a trial: the id of its MLflow run, how far it is, what came of it, and the number that it had at first."""
OF_QUALITY = ("loss.", "train.")
"""What the names of the settings begin with that a student's costs do not depend on."""
FROM = "from"
"""The study and number that a trial was taken over from."""
AGAIN = "again"
"""With a trial's number, an attribute of the study: why another trial was put in its place."""
DIED, STOPPED = "its worker died", "its worker was stopped"
CONNECT = {"connect_timeout": 5}
"""Seconds that a server has to answer in."""
FAILURES = 5
"""So many failures in a row end a search."""

Retried = Callable[[FrozenTrial], None]
"""Told of a trial whose worker has died."""


class Seeded(BaseSampler):
    """Draws a trial by the seed and its number alone, so that a study that was stopped draws as one that was not."""

    def __init__(self, config: SearchConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.own: BaseSampler = RandomSampler(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        seed = int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0])
        self.own = TPESampler(seed=seed) if self.config.sampler == "tpe" else RandomSampler(seed)
        self.own.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.own.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.own.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.own.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self.own.after_trial(study, trial, state, values)


@contextmanager
def reached(config: SearchConfig) -> Iterator[None]:
    """Raises ConnectionError, naming search.storage, where it cannot be reached or is none.

    OSError is of a file's folder that cannot be made, ValueError of a port that is no number.
    """
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ModuleNotFoundError, OSError, ValueError) as error:
        first = str(error.__cause__ or error).splitlines()[0]
        raise ConnectionError(f"search.storage is {without_password(config.storage)!r}: {first}") from error


def storage(config: SearchConfig, retried: Retried = lambda trial: None) -> RDBStorage:
    """The storage, made where it is a file that is not there. A trial whose worker has died is retried once."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def stale(study: optuna.Study, trial: FrozenTrial) -> None:
        retried(trial)
        put_back(study, trial, DIED)

    local = _is_file(config)
    engine = {"connect_args": {"timeout": 60} if local else CONNECT, "pool_pre_ping": not local}
    beat = config.heartbeat_seconds
    with warnings.catch_warnings(), reached(config), locked(config):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        store = RDBStorage(
            config.storage, engine, heartbeat_interval=beat, grace_period=3 * beat, heartbeat_stale_trial_callback=stale
        )
        if local:
            listen(store.engine, "connect", _write_ahead)
            store.engine.dispose()
        return store


def _write_ahead(connection: DBAPIConnection, record: object) -> None:
    """Has SQLite write a log that it need not wait for: a trial writes some thirty times."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _is_file(config: SearchConfig) -> bool:
    return config.storage.startswith("sqlite:///")


@contextmanager
def locked(config: SearchConfig) -> Iterator[None]:
    """One process at a time makes or begins a study, on whichever machine; PostgreSQL frees the lock with the connection."""
    if not _is_file(config):
        engine = create_engine(config.storage, connect_args=CONNECT, poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(select(func.pg_advisory_lock(int(key_of({"study": config.study})[:15], 16))))
            yield
        return
    file = Path(config.storage.removeprefix("sqlite:///")).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        yield


def put_back(study: optuna.Study, trial: FrozenTrial, why: str) -> None:
    """Has a trial that came to no end of its own made once more with the same settings; one whose worker died, only once."""
    attributes = study.user_attrs
    before = [attributes.get(f"{AGAIN}/{number}") for number in trial.system_attrs.get("retry_history", [])]
    if why == DIED and DIED in before:
        return
    study.set_user_attr(f"{AGAIN}/{trial.number}", why)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        RetryHeartbeatStaleTrialCallback()(study, trial)


def fail_stale(study: optuna.Study) -> None:
    """Closes the trials whose workers have died."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


def about(config: Config, base: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same whenever a study is gone on with. base: all settings of a trial that are not searched."""
    search = config.search
    told = {name: getattr(search, name) for name in ("space", "objectives", "backend", "sampler")}
    told["budgets"] = {name: getattr(search, f"budget_{name}") for name in ("ms", "parameters")}
    told |= {"settings": base, "seed": config.seed, "selection": VERSION, "contents": contents(config)} | made_by("students")
    told["rows"] = fingerprints(load_tasks(config.data))
    found: dict[str, Any] = json.loads(json.dumps(told))
    return found


def check_known(config: SearchConfig, store: RDBStorage, told: dict[str, Any]) -> None:
    """Raises ValueError, with what is different, where there is a study of this name of another search. told: of `about`."""
    with reached(config):
        if config.study not in optuna.get_all_study_names(store):
            return
        known = optuna.load_study(study_name=config.study, storage=store).user_attrs.get(ABOUT, told)
    if unlike := differences(known, told):
        raise ValueError(
            f"search.study is {config.study!r}, a study of another search: {'; '.join(unlike)}; allowed: another name"
        )


def opened(config: Config, store: RDBStorage, told: dict[str, Any]) -> optuna.Study:
    """The study of this name, which is made where there is none. told: as `about` gives it."""
    search = config.search
    with reached(search), locked(search), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            storage=store, study_name=search.study, sampler=Seeded(search, config.seed), load_if_exists=True,
            directions=[OBJECTIVES[name] for name in search.objectives],
        )  # fmt: skip
        if ABOUT not in study.user_attrs:
            study.set_metric_names(list(search.objectives))
            study.set_user_attr(ABOUT, told)
    return study


class Outcome(NamedTuple):
    """What came of a trial.

    run: the id of its MLflow run. dev: its mean score there, None where it was not measured. costs: by the objective's name, and
    `quality` on the selection split. seconds: `cost` of measuring its speed, `core` of training and scoring. settings: what was
    searched, in its final units. error: why it is not complete.
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
    """What came of a trial, where it has come to an end."""
    told = trial.user_attrs.get(RESULT)
    return Outcome(**told) if told and trial.state.is_finished() else None


def ended(study: optuna.Study) -> list[tuple[FrozenTrial, Outcome]]:
    """The trials that have come to an end, with what came of them: those that count, and those of another study."""
    kept = {trial.number for trial in counted(study)}
    found = [(trial, outcome(trial)) for trial in study.get_trials(deepcopy=False)]
    return [(t, told) for t, told in found if told is not None and (t.number in kept or FROM in t.user_attrs)]


def progress_of(study: optuna.Study, but: int) -> list[Progress]:
    """How far each trial is, or was, but one, by its number; those that have failed are not what a search ends with."""
    trials = [t for t in study.get_trials(deepcopy=False) if t.number != but and t.state != TrialState.FAIL]
    found = [trial.user_attrs.get(PROGRESS) for trial in trials]
    return [Progress(told["latency_ms"], {int(step): score for step, score in told["scores"].items()}) for told in found if told]


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count: all but those that another one was put in the place of, and those of another study."""
    again = {int(name.split("/")[1]) for name in study.user_attrs if name.startswith(f"{AGAIN}/")}
    return [t for t in study.get_trials(deepcopy=False) if t.number not in again and FROM not in t.user_attrs]


def first_failure(trials: list[FrozenTrial], since: float) -> str | None:
    """The first error of as many failures in a row as end a search, where it has come to that; since: a time in seconds."""
    ended = [(t.datetime_complete, t) for t in trials if t.datetime_complete and t.datetime_complete.timestamp() >= since]
    last = [trial for _, trial in sorted(ended, key=lambda pair: pair[0])][-FAILURES:]
    if len(last) < FAILURES or any(trial.state != TrialState.FAIL for trial in last):
        return None
    told = [outcome(trial) for trial in last]
    return next((found.error for found in told if found is not None), "their workers died")


def begin_with(study: optuna.Study, other: str, kinds: dict[str, BaseDistribution]) -> tuple[int, int]:
    """Adds the finished trials of another study of the same storage that lie in this one's space; how many, and of how many.

    kinds: by Optuna's names, what the space has. Raises ValueError where there is none, or its scores are not comparable.
    """
    known = optuna.get_all_study_names(study._storage)
    if other not in known:
        raise ValueError(
            f"search.start_from is {other!r}; allowed: {', '.join(sorted(set(known) - {study.study_name})) or 'none'}"
        )
    source = optuna.load_study(study_name=other, storage=study._storage)
    if unlike := differences(_comparable(source), _comparable(study)):
        raise ValueError(f"search.start_from is {other!r}, whose scores are not comparable: {'; '.join(unlike)}")
    there = {trial.user_attrs.get(FROM) for trial in study.get_trials(deepcopy=False)}
    finished = [trial for trial in source.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    new = [trial for trial in finished if f"{other}/{trial.number}" not in there and _within(trial, kinds)]
    for trial in new:
        study.add_trial(create_trial(
            state=trial.state, params=trial.params, distributions={name: kinds[name] for name in trial.params},
            values=trial.values, user_attrs=trial.user_attrs | {FROM: f"{other}/{trial.number}"},
        ))  # fmt: skip
    return len(new), len(finished)


def _comparable(study: optuna.Study) -> dict[str, Any]:
    """What has to be the same for the values of two studies' trials to be comparable."""
    told = study.user_attrs[ABOUT]
    comparable = {name: told[name] for name in ("objectives", "backend", "settings", "seed")}
    # None in studies from before these were told.
    return comparable | {name: told.get(name) for name in ("selection", "rows", "contents", "made_by")}


def _within(trial: FrozenTrial, kinds: dict[str, BaseDistribution]) -> bool:
    return all(name in kinds and holds(kinds[name], value) for name, value in trial.params.items())


def importances(study: optuna.Study, objectives: list[str]) -> dict[str, dict[str, float]]:
    """By objective, each searched setting's share of what sets its best values apart (PED-ANOVA, Watanabe et al. 2023).

    A cost is the model's alone: what only its training depends on has no share in it, whatever a few trials make it look like.
    """
    done = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    found: dict[str, dict[str, float]] = {}
    for place, name in enumerate(objectives):
        if len({trial.values[place] for trial in done}) < 2:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of settings that few trials have
            told = optuna.importance.get_param_importances(study, target=_loss(place, OBJECTIVES[name]))
        shares = {key: float(value) for key, value in told.items() if name == "quality" or not key.startswith(OF_QUALITY)}
        if total := sum(shares.values()):
            found[name] = {key: share / total for key, share in shares.items()}
    return found


def _loss(place: int, direction: Direction) -> Callable[[FrozenTrial], float]:
    """A trial's value, turned so that less is better: so Optuna takes it."""
    sign = -1 if direction == "maximize" else 1
    return lambda trial: sign * float(trial.values[place])
