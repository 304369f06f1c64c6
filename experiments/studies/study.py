"""A search as an Optuna study: its objectives, its fixed settings, and how it is opened."""

import json
import warnings
from typing import Any, Literal

import optuna
from optuna.storages import RDBStorage

from experiments.settings import SearchConfig, SearchSettings
from experiments.studies.attributes import FIXED_SETTINGS
from experiments.studies.sampler import SeededSampler
from experiments.studies.storage import storage_errors_named, study_lock
from mkd.selection.split import SPLIT_VERSION
from mkd.storage.run_folder import differences
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


def fixed_settings(config: SearchSettings, base: dict[str, Any]) -> dict[str, Any]:
    """Returns everything that must stay the same when a study is resumed, as JSON values.

    base: all settings of a trial that are not searched.
    """
    search = config.search
    fixed = {name: getattr(search, name) for name in ("space", "objectives", "backend", "sampler")}
    fixed["budgets"] = {name: getattr(search, f"budget_{name}") for name in ("ms", "parameters")}
    fixed |= {
        "settings": base,
        "seed": config.seed,
        "selection": SPLIT_VERSION,
        "contents": checkpoint_hashes(config.teacher, config.student, config.data),
    }
    fixed |= version_key("students")
    fixed["rows"] = row_fingerprints(load_tasks(config.data))
    # Tuples become lists, as they do in the storage. Otherwise stored and new values would differ.
    as_stored: dict[str, Any] = json.loads(json.dumps(fixed))
    return as_stored


def check_same_search(config: SearchConfig, store: RDBStorage, fixed: dict[str, Any]) -> None:
    """Raises ValueError, with the differences, if the study exists and belongs to another search.

    fixed: the result of `fixed_settings`.
    """
    with storage_errors_named(config):
        if config.study not in optuna.get_all_study_names(store):
            return
        # A process that was killed may have left a study without this attribute. `open_study` adds
        # it then.
        attributes = optuna.load_study(study_name=config.study, storage=store).user_attrs
        known = attributes.get(FIXED_SETTINGS, fixed)
    if unlike := differences(known, fixed):
        raise ValueError(
            f"search.study is {config.study!r}, a study of another search: {'; '.join(unlike)}; "
            "allowed: another name"
        )


def open_study(config: SearchSettings, store: RDBStorage, fixed: dict[str, Any]) -> optuna.Study:
    """Opens the study of this name, and creates it if it does not exist.

    fixed: the result of `fixed_settings`.
    """
    search = config.search
    with storage_errors_named(search), study_lock(search), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            storage=store,
            study_name=search.study,
            sampler=SeededSampler(search, config.seed),
            load_if_exists=True,
            directions=[OBJECTIVES[name] for name in search.objectives],
        )
        if FIXED_SETTINGS not in study.user_attrs:
            study.set_metric_names(list(search.objectives))
            study.set_user_attr(FIXED_SETTINGS, fixed)
    return study
