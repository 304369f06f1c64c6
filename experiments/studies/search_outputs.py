"""The logged and printed outputs of a search."""

import math
import re
import shlex

import optuna

from experiments.settings import SearchConfig, SearchSettings
from experiments.studies.front_picture import draw, picture_data
from experiments.studies.importance import setting_importances
from experiments.studies.search_results import (
    SearchResults,
    busy_warnings,
    conclusion,
    lines,
    results_json,
    search_results,
)
from experiments.tracking.outputs import Outputs
from experiments.tracking.searches import STUDY_FILE, tag_front
from mkd import names
from mkd.pipeline import DataAndTeacher


def search_outputs(
    config: SearchSettings,
    optuna_study: optuna.Study,
    ready: DataAndTeacher,
    teacher_speed: dict[str, float],
    setting: str,
    seconds: float,
) -> Outputs:
    """Returns the outputs of a search, and tags the runs on the front.

    seconds: the time that the trials took.
    """
    results = search_results(optuna_study, ready, teacher_speed, setting)
    importances = setting_importances(optuna_study, list(config.search.objectives))
    metrics = {names.trials(state): float(number) for state, number in results.states.items()}
    metrics |= {
        names.importance(objective, without_refused(name)): share
        for objective, shares in importances.items()
        for name, share in shares.items()
    }
    metrics[names.SEARCH_SECONDS] = seconds
    if math.isfinite(results.other_seconds):
        metrics[names.SEARCH_OTHER_SECONDS] = results.other_seconds
    warnings = [f"note: {text}" for text in busy_warnings(optuna_study, teacher_speed)]
    table = lines(results, busy=bool(warnings)) + warnings
    study = results_json(config, optuna_study, results, importances, setting)
    volumes = results.hypervolume
    tag_front({point.run: point.on_front for point in results.points})
    return Outputs(
        metrics,
        conclusion(results),
        table,
        {"hypervolume": volumes[-1] if volumes else 0.0}
        | {name: study[name] for name in ("study", "states", "front")}
        | {"metrics": metrics},
        metric_series={names.SEARCH_HYPERVOLUME: volumes},
        table_file="front.md",
        trials_of=config.search.study,
        next=next_commands(results, config.search),
        jsons={STUDY_FILE: study},
        figures={"front.png": draw(picture_data(results, f"{config.search.backend}, {setting}"))},
    )


def without_refused(setting: str) -> str:
    """Returns the name of a searched setting with `_` for what MLflow refuses in a metric's name.

    The name has the choices that the setting stands below, such as `student.heads:transformer/` for
    an empty one.
    """
    parts = re.sub(r"[^\w.\- :/]", "_", setting).split("/")
    return "/".join("_" if part in ("", ".", "..") else part for part in parts)


def next_commands(results: SearchResults, search: SearchConfig) -> list[tuple[str, str]]:
    """Returns suggested next commands after a search, each with a description.

    Without a trained student there is none to promote or to draw.
    """
    name, more = shlex.quote(search.study), f"--search.trials {2 * search.trials}"
    if results.points:
        return [
            (
                f"mkd promote --promote.study {name} --promote.budget_ms MS",
                "trains the best student within a budget on all rows, and registers it",
            ),
            (f"mkd report --study {name} --to report", "draws its trials, and makes a page"),
        ]
    if results.states.get("failed"):
        return [
            (
                f"the same command again, with {more}",
                "once the cause is mended, which the failed trials have as their descriptions",
            )
        ]
    return [
        (f"the same command again, with {more}", "tries more students"),
        (
            "the same command with another --search.study and a larger budget",
            "trains students that were above this one",
        ),
    ][: 2 if results.states.get("infeasible") else 1]
