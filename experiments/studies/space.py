"""The search space: settings by their dotted names, with a range, choices, or task weights.

    train.learning_rate: {low: 5e-4, high: 1e-2, log: true}     # a range; integers if both ends are
    loss.hard_weight_end: [null, 1.0]                           # choices
    train.sampling.weights: simplex                             # one weight a task, with sum 1
    student.kind:
      choices:                                                  # choices with nested spaces
        bag: {student.hidden: [32, 64]}
        bilstm: {student.hidden: {low: 32, high: 160, step: 32}}

Optuna names a setting below a choice `student.hidden:bag`, because other choices may give it other
ranges.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial

from experiments import cli
from experiments.settings import VARIED, VARIED_GROUPS, DistillSettings

SIMPLEX = "simplex"
"""The value of a setting that holds one weight a task."""
EQUAL = "equal"
"""Stands in search.start for the same weight of each task, whatever the tasks are."""
MIN_DRAW = 1e-6
"""Lower end of the draws u that weights are made from; the upper end is 1 - MIN_DRAW. It keeps
-log(u) finite and above 0.
"""
SettingValues = dict[str, Any]
"""Values by the dotted names of their settings."""


class Leaf(NamedTuple):
    """One setting that is searched.

    name: Optuna's name.
    kind: its distribution, or None for weights.
    below: the nested space of each choice.
    tasks: the tasks of weights, else empty.
    """

    setting: str
    name: str
    kind: BaseDistribution | None
    below: dict[Any, "Space"]
    tasks: tuple[str, ...] = ()


Space = tuple[Leaf, ...]


def parse_space(specs: dict[str, Any], tasks: list[str], path: tuple[str, ...] = ()) -> Space:
    """Parses search.space.

    Raises ValueError that names the invalid setting and the allowed values.
    """
    return tuple(_parse_setting(str(setting), spec, tasks, path) for setting, spec in specs.items())


def _parse_setting(setting: str, spec: Any, tasks: list[str], path: tuple[str, ...]) -> Leaf:
    where = f"search.space.{setting}"
    name = ":".join([setting, *(["/".join(path)] if path else [])])
    if not setting.startswith(VARIED):
        raise ValueError(f"{where}: allowed are settings of {VARIED_GROUPS}, by their dotted names")
    if spec == SIMPLEX:
        return Leaf(setting, name, None, {}, tuple(tasks))
    if isinstance(spec, list):
        return Leaf(setting, name, _parse_choices(where, spec), {})
    # {choices: ...} is the only form whose choices open nested spaces. The path of choices becomes
    # part of Optuna's names below.
    if isinstance(spec, dict) and spec.keys() == {"choices"} and _with_spaces(spec["choices"]):
        below = {
            choice: parse_space(nested_specs or {}, tasks, (*path, str(choice)))
            for choice, nested_specs in spec["choices"].items()
        }
        return Leaf(setting, name, _parse_choices(where, list(below)), below)
    if isinstance(spec, dict) and {"low", "high"} <= spec.keys() <= {"low", "high", "log", "step"}:
        return Leaf(setting, name, _parse_range(where, **spec), {})
    raise ValueError(
        f"{where} is {spec!r}; allowed: {{low, high, log, step}}, a list, "
        f"{{choices: a space, or null, for each}}, or {SIMPLEX}"
    )


def _with_spaces(choices: Any) -> bool:
    return isinstance(choices, dict) and all(
        nested_specs is None or isinstance(nested_specs, dict) for nested_specs in choices.values()
    )


def _parse_choices(where: str, choices: list[Any]) -> CategoricalDistribution:
    plain = all(
        choice is None or isinstance(choice, bool | int | float | str) for choice in choices
    )
    if not choices or not plain or len(set(choices)) < len(choices):
        raise ValueError(
            f"{where} is {choices!r}; "
            "allowed: at least one choice, each once, of numbers, texts, booleans and null"
        )
    return CategoricalDistribution(choices)


def _parse_range(
    where: str, low: Any, high: Any, log: Any = False, step: Any = None
) -> BaseDistribution:
    numbers = [low, high] if step is None else [low, high, step]
    if not all(map(_is_number, numbers)) or not isinstance(log, bool):
        raise ValueError(
            f"{where} goes from {low!r} to {high!r} by {step!r}, log {log!r}; "
            "allowed: numbers, log true or false"
        )
    if not low < high:
        raise ValueError(f"{where} goes from {low} to {high}; allowed: low below high")
    if (log and low <= 0) or (log and step is not None) or (step is not None and step <= 0):
        raise ValueError(
            f"{where} goes from {low} to {high} by {step}, log {log}; "
            "allowed: log above 0 without step, step above 0"
        )
    # Optuna would lower a high end that the steps do not meet.
    steps = 0 if step is None else (high - low) / step
    if abs(steps - round(steps)) > 1e-8:
        raise ValueError(
            f"{where} goes from {low} to {high} by {step}; "
            "allowed: a high end that is a whole number of steps above the low one"
        )
    if all(isinstance(value, int) for value in numbers):
        return IntDistribution(low, high, log, step or 1)
    return FloatDistribution(low, high, log, step)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def suggest(trial: BaseTrial, space: Space) -> SettingValues:
    """Draws the settings of a trial.

    Weights are w_i = -log(u_i) / sum_j -log(u_j) with uniform u, which is Dirichlet(1, ..., 1): the
    uniform distribution on the simplex.
    """
    settings: SettingValues = {}
    for leaf in space:
        if leaf.kind is None:
            draws = {
                task: -math.log(trial.suggest_float(name, MIN_DRAW, 1 - MIN_DRAW))
                for task, name in _draws(leaf)
            }
            settings[leaf.setting] = {
                task: draw / sum(draws.values()) for task, draw in draws.items()
            }
        else:
            value = _suggest(trial, leaf.name, leaf.kind)
            settings |= {leaf.setting: value} | suggest(trial, _nested(leaf, value))
    return settings


def _suggest(trial: BaseTrial, name: str, kind: BaseDistribution) -> Any:
    """Draws one value from its distribution."""
    if isinstance(kind, CategoricalDistribution):
        return trial.suggest_categorical(name, kind.choices)
    if isinstance(kind, IntDistribution):
        return trial.suggest_int(name, kind.low, kind.high, step=kind.step, log=kind.log)
    assert isinstance(kind, FloatDistribution), "a leaf is a choice or a range"
    return trial.suggest_float(name, kind.low, kind.high, step=kind.step, log=kind.log)


def _draws(leaf: Leaf) -> list[tuple[str, str]]:
    """Returns each task with Optuna's name of the draw that its weight is made from."""
    return [(task, f"{leaf.name}.{task}") for task in leaf.tasks]


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    """Returns the distributions of the whole space, by Optuna's names."""
    distributions: dict[str, BaseDistribution] = {}
    for leaf in space:
        draws = {name: FloatDistribution(MIN_DRAW, 1 - MIN_DRAW) for _, name in _draws(leaf)}
        distributions |= draws if leaf.kind is None else {leaf.name: leaf.kind}
        for below in leaf.below.values():
            distributions |= distributions_of(below)
    return distributions


def params_of(space: Space, settings: SettingValues) -> dict[str, Any]:
    """Converts settings to Optuna's params. Settings that are missing stay missing.

    Raises ValueError for a setting or a value that is not in the space.
    """
    params, used = _params(space, settings)
    for setting in settings.keys() - used:
        raise ValueError(
            f"{setting} is {settings[setting]!r}; "
            "allowed: settings of search.space that go with the others"
        )
    return params


def _params(space: Space, settings: SettingValues) -> tuple[dict[str, Any], set[str]]:
    """Returns Optuna's params, and the settings that were converted."""
    params: dict[str, Any] = {}
    used: set[str] = set()
    for leaf in space:
        if leaf.setting not in settings:
            continue
        value = settings[leaf.setting]
        used.add(leaf.setting)
        if leaf.kind is None:
            params |= _draws_of(leaf, value)
        elif not contains(leaf.kind, value):
            raise ValueError(
                f"{leaf.setting} is {value!r}; "
                f"allowed in search.space: {_allowed_values(leaf.kind)}"
            )
        else:
            below, more = _params(_nested(leaf, value), settings)
            params |= {leaf.name: value} | below
            used |= more
    return params, used


def contains(kind: BaseDistribution, value: Any) -> bool:
    """Returns whether the value is one of the choices, or lies in the range."""
    if isinstance(kind, CategoricalDistribution):
        return value in kind.choices
    # Optuna has no public method for this.
    return _is_number(value) and bool(kind._contains(kind.to_internal_repr(value)))


def _allowed_values(kind: BaseDistribution) -> str:
    """Returns the allowed values in words, for error messages."""
    if isinstance(kind, CategoricalDistribution):
        return f"one of {list(kind.choices)}"
    assert isinstance(kind, IntDistribution | FloatDistribution), "a leaf is a choice or a range"
    return f"from {kind.low} to {kind.high}" + (f" by {kind.step}" if kind.step else "")


def _draws_of(leaf: Leaf, weights: Any) -> dict[str, float]:
    """Returns draws that give these weights.

    This inverts w = -log(u) / sum. The scale of -log(u) is free: its mean is 1, as for uniform
    draws, or less if the largest weight would otherwise leave the range of u.
    """
    if weights == EQUAL:
        weights = dict.fromkeys(leaf.tasks, 1)
    known = isinstance(weights, dict) and weights.keys() == set(leaf.tasks)
    if (
        not known
        or not all(_is_number(weight) and weight >= 0 for weight in weights.values())
        or not sum(weights.values())
    ):
        raise ValueError(
            f"{leaf.setting} is {weights!r}; "
            f"allowed: {EQUAL}, or a weight for each of {', '.join(leaf.tasks)}, not all of them 0"
        )
    scale = min(len(weights) / sum(weights.values()), -math.log(MIN_DRAW) / max(weights.values()))
    return {
        name: min(max(math.exp(-weights[task] * scale), MIN_DRAW), 1 - MIN_DRAW)
        for task, name in _draws(leaf)
    }


def check_space(space: Space, config: DistillSettings) -> None:
    """Raises ValueError, naming the setting, if the config refuses a choice or an end of a range.

    Each value is tried with the smallest values of all other searched settings.
    """
    tried: list[SettingValues] = []
    for setting, settings in _probes(space, {}):
        if settings in tried:
            continue
        tried.append(settings)
        try:
            cli.with_settings(config, settings)
        except ValueError as error:
            raise ValueError(f"search.space.{setting}: {error}") from error


def _probes(space: Space, outer: SettingValues) -> Iterator[tuple[str, SettingValues]]:
    """Yields each setting with the settings to try for each of its choices or ends."""
    for leaf in space:
        for value in _ends(leaf):
            settings = outer | lowest_values(space, {leaf.setting: value})
            yield leaf.setting, settings
            yield from _probes(_nested(leaf, value), settings)


def lowest_values(space: Space, chosen: SettingValues | None = None) -> SettingValues:
    """Returns the low end of each range, the first of all choices, and equal weights.

    chosen: values that replace these.
    """
    lowest: SettingValues = {}
    for leaf in space:
        value = (chosen or {}).get(leaf.setting, _ends(leaf)[0])
        lowest |= {leaf.setting: value} | lowest_values(_nested(leaf, value), chosen)
    return lowest


def cheapest_settings(space: Space) -> list[SettingValues]:
    """Returns settings among which the cheapest candidate must be, for every kind of cost.

    Sizes have their cheapest value. Every other choice of the student is combined with every other
    one.
    """
    combinations: list[SettingValues] = [{}]
    for leaf in space:
        ways = [
            {leaf.setting: value} | below
            for value in _cheapest(leaf)
            for below in cheapest_settings(_nested(leaf, value))
        ]
        combinations = [one | way for one in combinations for way in ways]
    return combinations


def _cheapest(leaf: Leaf) -> list[Any]:
    """Returns the values of a setting that may belong to the cheapest candidate."""
    ends = _ends(leaf)
    if leaf.below:
        return ends
    if not leaf.setting.startswith("student."):
        return ends[:1]  # it has no effect on the cost
    numbers = [end for end in ends if _is_size(leaf, end)]
    # A higher min_count leaves fewer words with embeddings.
    least = max if leaf.setting == "student.min_count" else min
    return [
        *(end for end in ends if not _is_size(leaf, end)),
        *([least(numbers)] if numbers else []),
    ]


def _is_size(leaf: Leaf, value: Any) -> bool:
    """Returns whether the value is a number of which the smaller one costs less.

    student.embedding=0 is an exception: it means that embeddings are as wide as student.hidden.
    """
    return _is_number(value) and (value != 0 or leaf.setting != "student.embedding")


def _nested(leaf: Leaf, value: Any) -> Space:
    """Returns the nested space that the value opens."""
    return leaf.below.get(value, ()) if leaf.below else ()


def _ends(leaf: Leaf) -> list[Any]:
    """Returns the choices, or both ends of a range, or equal weights."""
    if leaf.kind is None:
        return [dict.fromkeys(leaf.tasks, 1.0)]
    if isinstance(leaf.kind, CategoricalDistribution):
        return list(leaf.kind.choices)
    assert isinstance(leaf.kind, IntDistribution | FloatDistribution), (
        "a leaf is a choice or a range"
    )
    return [leaf.kind.low, leaf.kind.high]
