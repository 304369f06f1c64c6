"""What a search may choose: settings by their dotted names, each with a range, a list of choices, or task weights.

    train.learning_rate: {low: 5e-4, high: 1e-2, log: true}     # a range; of whole numbers where both ends are
    loss.hard_weight_end: [null, 1.0]                           # choices
    train.sampling.weights: simplex                             # a weight a task, all of them together 1
    student.kind:
      choices:                                                  # choices with a space of their own below them
        bag: {student.hidden: [32, 64]}
        bilstm: {student.hidden: {low: 32, high: 160, step: 32}}

A setting below a choice is known to Optuna as `student.hidden:bag`: other choices may have other ranges of it.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from experiments import cli
from experiments.settings import Distill

SIMPLEX = "simplex"
LEAST = 1e-6
"""Of the draws that weights are made of: -log(u) is finite and above 0."""
GROUPS = ("data.", "teacher.", "student.", "loss.", "train.")

Settings = dict[str, Any]
"""Values by the settings' dotted names."""


class Leaf(NamedTuple):
    """One setting that is searched. name: Optuna's. below: by the choice that opens it, the space below; tasks: of weights."""

    setting: str
    name: str
    kind: BaseDistribution | None
    below: dict[Any, "Space"]
    tasks: tuple[str, ...] = ()


Space = tuple[Leaf, ...]


def parse(given: dict[str, Any], tasks: list[str], path: tuple[str, ...] = ()) -> Space:
    """The space that search.space describes. Raises ValueError naming the setting that is wrong, and what is allowed."""
    return tuple(_leaf(str(setting), spec, tasks, path) for setting, spec in given.items())


def _leaf(setting: str, spec: Any, tasks: list[str], path: tuple[str, ...]) -> Leaf:
    where = f"search.space.{setting}"
    name = ":".join([setting, *(["/".join(path)] if path else [])])
    if not setting.startswith(GROUPS):
        raise ValueError(f"{where}: allowed are settings of data, teacher, student, loss and train, by their dotted names")
    if spec == SIMPLEX:
        return Leaf(setting, name, None, {}, tuple(tasks))
    if isinstance(spec, list):
        return Leaf(setting, name, _choices(where, spec), {})
    if isinstance(spec, dict) and spec.keys() == {"choices"} and _with_spaces(spec["choices"]):
        below = {choice: parse(own or {}, tasks, (*path, str(choice))) for choice, own in spec["choices"].items()}
        return Leaf(setting, name, _choices(where, list(below)), below)
    if isinstance(spec, dict) and {"low", "high"} <= spec.keys() <= {"low", "high", "log", "step"}:
        return Leaf(setting, name, _range(where, **spec), {})
    raise ValueError(
        f"{where} is {spec!r}; allowed: {{low, high, log, step}}, a list, {{choices: a space, or null, for each}}, or {SIMPLEX}"
    )


def _with_spaces(choices: Any) -> bool:
    return isinstance(choices, dict) and all(own is None or isinstance(own, dict) for own in choices.values())


def _choices(where: str, choices: list[Any]) -> CategoricalDistribution:
    plain = all(choice is None or isinstance(choice, bool | int | float | str) for choice in choices)
    if not choices or not plain or len(set(choices)) < len(choices):
        raise ValueError(f"{where} is {choices!r}; allowed: at least one choice, each once, of numbers, texts, booleans and null")
    return CategoricalDistribution(choices)


def _range(where: str, low: Any, high: Any, log: Any = False, step: Any = None) -> BaseDistribution:
    numbers = [low, high] if step is None else [low, high, step]
    if not all(map(_is_number, numbers)) or not isinstance(log, bool):
        raise ValueError(f"{where} goes from {low!r} to {high!r} by {step!r}, log {log!r}; allowed: numbers, log true or false")
    if not low < high:
        raise ValueError(f"{where} goes from {low} to {high}; allowed: low below high")
    if (log and low <= 0) or (log and step is not None) or (step is not None and step <= 0):
        raise ValueError(
            f"{where} goes from {low} to {high} by {step}, log {log}; allowed: log above 0 without step, step above 0"
        )
    steps = 0 if step is None else (high - low) / step
    if abs(steps - round(steps)) > 1e-8:
        raise ValueError(f"{where} goes from {low} to {high} by {step}; allowed: a high end that steps from the low one meet")
    if all(isinstance(value, int) for value in numbers):
        return IntDistribution(low, high, log, step or 1)
    return FloatDistribution(low, high, log, step)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def suggest(trial: BaseTrial, space: Space) -> Settings:
    """The settings of a trial, drawn setting by setting.

    Weights are w_i = -log(u_i) / sum_j -log(u_j) with u uniform, that is Dirichlet(1, ..., 1): even on the simplex.
    """
    found: Settings = {}
    for leaf in space:
        if leaf.kind is None:
            draws = {task: -math.log(trial.suggest_float(name, LEAST, 1 - LEAST)) for task, name in _draws(leaf)}
            found[leaf.setting] = {task: draw / sum(draws.values()) for task, draw in draws.items()}
        else:
            value = _suggest(trial, leaf.name, leaf.kind)
            found |= {leaf.setting: value} | suggest(trial, _below(leaf, value))
    return found


def _suggest(trial: BaseTrial, name: str, kind: BaseDistribution) -> Any:
    if isinstance(kind, CategoricalDistribution):
        return trial.suggest_categorical(name, kind.choices)
    if isinstance(kind, IntDistribution):
        return trial.suggest_int(name, kind.low, kind.high, step=kind.step, log=kind.log)
    assert isinstance(kind, FloatDistribution), "a leaf is a choice or a range"
    return trial.suggest_float(name, kind.low, kind.high, step=kind.step, log=kind.log)


def _draws(leaf: Leaf) -> list[tuple[str, str]]:
    """Each task and Optuna's name of the draw that its weight is made of."""
    return [(task, f"{leaf.name}.{task}") for task in leaf.tasks]


def kinds(space: Space) -> dict[str, BaseDistribution]:
    """All that Optuna may know of the space, by its names."""
    found: dict[str, BaseDistribution] = {}
    for leaf in space:
        draws = {name: FloatDistribution(LEAST, 1 - LEAST) for _, name in _draws(leaf)}
        found |= draws if leaf.kind is None else {leaf.name: leaf.kind}
        for below in leaf.below.values():
            found |= kinds(below)
    return found


def params_of(space: Space, settings: Settings) -> dict[str, Any]:
    """What Optuna calls these settings; what they leave out is left out. Raises ValueError for one that is not in the space."""
    params, used = _params(space, settings)
    for setting in settings.keys() - used:
        raise ValueError(f"{setting} is {settings[setting]!r}; allowed: settings that search.space has beside the others")
    return params


def _params(space: Space, settings: Settings) -> tuple[dict[str, Any], set[str]]:
    params: dict[str, Any] = {}
    used: set[str] = set()
    for leaf in space:
        if leaf.setting not in settings:
            continue
        value = settings[leaf.setting]
        used.add(leaf.setting)
        if leaf.kind is None:
            params |= _draws_of(leaf, value)
        elif not holds(leaf.kind, value):
            raise ValueError(f"{leaf.setting} is {value!r}; allowed in search.space: {_told(leaf.kind)}")
        else:
            below, more = _params(_below(leaf, value), settings)
            params |= {leaf.name: value} | below
            used |= more
    return params, used


def holds(kind: BaseDistribution, value: Any) -> bool:
    """Whether the value is one of the choices, or lies in the range."""
    if isinstance(kind, CategoricalDistribution):
        return value in kind.choices
    return _is_number(value) and bool(kind._contains(kind.to_internal_repr(value)))


def _told(kind: BaseDistribution) -> str:
    if isinstance(kind, CategoricalDistribution):
        return f"one of {list(kind.choices)}"
    assert isinstance(kind, IntDistribution | FloatDistribution), "a leaf is a choice or a range"
    return f"from {kind.low} to {kind.high}" + (f" by {kind.step}" if kind.step else "")


def _draws_of(leaf: Leaf, weights: Any) -> dict[str, float]:
    """Draws that make these weights: -log(u) is 1 in the mean, as of even draws, or less where the largest were out of range."""
    known = isinstance(weights, dict) and weights.keys() == set(leaf.tasks)
    if not known or not all(_is_number(weight) and weight >= 0 for weight in weights.values()) or not sum(weights.values()):
        raise ValueError(
            f"{leaf.setting} is {weights!r}; allowed: a weight for each of {', '.join(leaf.tasks)}, not all of them 0"
        )
    scale = min(len(weights) / sum(weights.values()), -math.log(LEAST) / max(weights.values()))
    return {name: min(max(math.exp(-weights[task] * scale), LEAST), 1 - LEAST) for task, name in _draws(leaf)}


def check(space: Space, config: Distill) -> None:
    """Raises ValueError, naming the setting, where the config refuses an end of a range or a choice.

    Each is tried with the least of everything else that is searched beside it.
    """
    tried: list[Settings] = []
    for setting, settings in _probes(space, {}):
        if settings in tried:
            continue
        tried.append(settings)
        try:
            cli.with_settings(config, settings)
        except ValueError as error:
            raise ValueError(f"search.space.{setting}: {error}") from error


def _probes(space: Space, outer: Settings) -> Iterator[tuple[str, Settings]]:
    for leaf in space:
        for value in _ends(leaf):
            settings = outer | least(space, {leaf.setting: value})
            yield leaf.setting, settings
            yield from _probes(_below(leaf, value), settings)


def least(space: Space, chosen: Settings | None = None) -> Settings:
    """The low end of each range and the first of all choices, but where they are `chosen`; weights are even."""
    found: Settings = {}
    for leaf in space:
        value = (chosen or {}).get(leaf.setting, _ends(leaf)[0])
        found |= {leaf.setting: value} | least(_below(leaf, value), chosen)
    return found


def corners(space: Space) -> list[Settings]:
    """Settings of the candidates among which the cheapest is, in whatever it costs: the smallest size with every other choice."""
    found: list[Settings] = [{}]
    for leaf in space:
        ways = [{leaf.setting: value} | below for value in _cheapest(leaf) for below in corners(_below(leaf, value))]
        found = [one | way for one in found for way in ways]
    return found


def _cheapest(leaf: Leaf) -> list[Any]:
    ends = _ends(leaf)
    if leaf.below:
        return ends
    if not leaf.setting.startswith("student."):
        return ends[:1]  # what it says has no part in the cost
    numbers = [end for end in ends if _is_size(leaf, end)]
    least = max if leaf.setting == "student.min_count" else min  # the higher the floor, the fewer words have embeddings
    return [*(end for end in ends if not _is_size(leaf, end)), *([least(numbers)] if numbers else [])]


def _is_size(leaf: Leaf, value: Any) -> bool:
    """Whether it is one of several numbers of which the smaller one costs less; embeddings of width 0 are as wide as `hidden`."""
    return _is_number(value) and (value != 0 or leaf.setting != "student.embedding")


def _below(leaf: Leaf, value: Any) -> Space:
    return leaf.below.get(value, ()) if leaf.below else ()


def _ends(leaf: Leaf) -> list[Any]:
    """The choices, or both ends of the range; of weights even ones."""
    if leaf.kind is None:
        return [dict.fromkeys(leaf.tasks, 1.0)]
    if isinstance(leaf.kind, CategoricalDistribution):
        return list(leaf.kind.choices)
    assert isinstance(leaf.kind, IntDistribution | FloatDistribution), "a leaf is a choice or a range"
    return [leaf.kind.low, leaf.kind.high]
