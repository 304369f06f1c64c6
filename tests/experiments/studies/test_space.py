"""Search spaces: parsing, refusals, sampling, and the shipped ones."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from experiments import cli
from experiments.settings import DistillSettings, SearchSettings, distill_settings
from experiments.studies.space import (
    EQUAL,
    MIN_DRAW,
    Leaf,
    Space,
    cheapest_settings,
    check_space,
    contains,
    distributions_of,
    lowest_values,
    params_of,
    parse_space,
    suggest,
)

CONFIGS = Path(__file__).resolve().parents[3] / "experiments" / "configs"
TASKS = ["sentiment", "acceptability", "paraphrase", "entailment", "similarity"]
GLUE_TASKS = ["sst2", "mrpc", "cola", "rte", "stsb"]
WEIGHTS = "train.sampling.weights"
UNIT = FloatDistribution(MIN_DRAW, 1 - MIN_DRAW)
NESTED: dict[str, Any] = {
    "student.kind": {
        "choices": {
            "bag": {"student.hidden": [32, 64], "student.ngrams": {"low": 1, "high": 3}},
            "bilstm": {
                "student.hidden": {"low": 32, "high": 160, "step": 32},
                "student.attention": [False, True],
            },
            "transformer": {
                "student.init": {
                    "choices": {
                        "": {"student.hidden": [48, 96]},
                        "teacher": {"student.layers": [1, 2]},
                    }
                }
            },
        }
    },
    "loss.kind": {
        "choices": {"mse": None, "kl": {"loss.temperature": {"low": 1, "high": 8.0, "log": True}}}
    },
    "train.learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
}


def one(setting: str, spec: Any) -> Leaf:
    """The only leaf of a space of one setting."""
    (leaf,) = parse_space({setting: spec}, ["a", "b"])
    return leaf


def drawn(space: Space, num: int, seed: int = 0) -> list[dict[str, Any]]:
    """The settings of `num` trials of a real study with random sampling."""
    study = optuna.create_study(sampler=RandomSampler(seed))
    return [suggest(study.ask(), space) for _ in range(num)]


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"low": 1, "high": 3}, IntDistribution(1, 3)),
        ({"low": 32, "high": 160, "step": 32}, IntDistribution(32, 160, step=32)),
        ({"low": 1, "high": 64, "log": True}, IntDistribution(1, 64, log=True)),
        ({"low": 1, "high": 3.0}, FloatDistribution(1, 3)),
        ({"low": 1, "high": 4, "step": 1.5}, FloatDistribution(1, 4, step=1.5)),
        ({"low": 0, "high": 0.5, "step": 0.1}, FloatDistribution(0, 0.5, step=0.1)),
        ({"low": 5e-4, "high": 1e-2, "log": True}, FloatDistribution(5e-4, 1e-2, log=True)),
        ({"low": -1, "high": 1, "log": False, "step": None}, IntDistribution(-1, 1)),
        ([None, 1.0], CategoricalDistribution([None, 1.0])),
        ([False, True], CategoricalDistribution([False, True])),
        (["mse", "kl"], CategoricalDistribution(["mse", "kl"])),
        ([7], CategoricalDistribution([7])),
    ],
    ids=str,
)
def test_a_spec_gives_its_distribution(spec: Any, kind: BaseDistribution) -> None:
    leaf = one("train.clip", spec)
    assert leaf == Leaf("train.clip", "train.clip", kind, {})
    assert type(leaf.kind) is type(kind), "whole numbers equal others in Python"


def test_the_name_of_a_nested_setting_includes_the_choices_above_it() -> None:
    hidden = "student.hidden"
    assert distributions_of(parse_space(NESTED, TASKS)) == {
        "student.kind": CategoricalDistribution(["bag", "bilstm", "transformer"]),
        f"{hidden}:bag": CategoricalDistribution([32, 64]),
        "student.ngrams:bag": IntDistribution(1, 3),
        f"{hidden}:bilstm": IntDistribution(32, 160, step=32),
        "student.attention:bilstm": CategoricalDistribution([False, True]),
        "student.init:transformer": CategoricalDistribution(["", "teacher"]),
        f"{hidden}:transformer/": CategoricalDistribution([48, 96]),
        "student.layers:transformer/teacher": CategoricalDistribution([1, 2]),
        "loss.kind": CategoricalDistribution(["mse", "kl"]),
        "loss.temperature:kl": FloatDistribution(1, 8, log=True),
        "train.learning_rate": FloatDistribution(5e-4, 1e-2, log=True),
    }


def test_simplex_weights_have_a_parameter_per_task() -> None:
    assert one(WEIGHTS, "simplex") == Leaf(WEIGHTS, WEIGHTS, None, {}, ("a", "b"))
    assert distributions_of(parse_space({WEIGHTS: "simplex"}, ["a", "b"])) == {
        f"{WEIGHTS}.a": UNIT,
        f"{WEIGHTS}.b": UNIT,
    }
    below = parse_space({"loss.kind": {"choices": {"kl": {WEIGHTS: "simplex"}}}}, ["a"])
    assert f"{WEIGHTS}:kl.a" in distributions_of(below)


@pytest.mark.parametrize(
    ("setting", "spec", "message"),
    [
        ("seed", [0, 1],
         "search.space.seed: allowed are settings of data, teacher, student, pretrain, loss and "
         "train"),
        ("students.kind", ["bag"], "search.space.students.kind: allowed are settings of"),
        ("threads", [1], "search.space.threads: allowed are settings of"),
        ("train.clip", {"low": 2, "high": 1},
         "search.space.train.clip goes from 2 to 1; allowed: low below high"),
        ("train.clip", {"low": 1, "high": 1}, "goes from 1 to 1; allowed: low below high"),
        ("train.clip", {"low": "a", "high": 1},
         "goes from 'a' to 1 by None, log False; allowed: numbers"),
        ("train.clip", {"low": None, "high": 1},
         "goes from None to 1 by None, log False; allowed: numbers"),
        ("train.clip", {"low": 0, "high": True},
         "goes from 0 to True by None, log False; allowed: numbers"),
        ("train.clip", {"low": 0, "high": math.inf},
         "goes from 0 to inf by None, log False; allowed: numbers"),
        ("train.clip", {"low": math.nan, "high": 1},
         "goes from nan to 1 by None, log False; allowed: numbers"),
        ("train.clip", {"low": 0, "high": 1, "step": "x"}, "by 'x', log False; allowed: numbers"),
        ("train.clip", {"low": 1, "high": 2, "log": "false"},
         "log 'false'; allowed: numbers, log true or false"),
        ("train.clip", {"low": 1, "high": 2, "log": None},
         "log None; allowed: numbers, log true or false"),
        ("train.clip", {"low": 1, "high": 8, "log": True, "step": 1},
         "allowed: log above 0 without step, step above 0"),
        ("train.clip", {"low": 0, "high": 8, "log": True},
         "allowed: log above 0 without step, step above 0"),
        ("train.clip", {"low": 1, "high": 8, "step": 0},
         "allowed: log above 0 without step, step above 0"),
        ("train.clip", {"low": 1, "high": 8, "step": -7},
         "allowed: log above 0 without step, step above 0"),
        ("train.clip", {"low": 1, "high": 8, "step": 3},
         "from 1 to 8 by 3; allowed: a high end that is a whole number of steps"),
        ("train.clip", {"low": 0.0, "high": 1.0, "step": 0.3},
         "allowed: a high end that is a whole number of steps above"),
        ("train.clip", {"low": 1},
         r"is {'low': 1}; allowed: {low, high, log, step}, a list, {choices: a space, or null, "),
        ("train.clip", {"low": 1, "high": 2, "steps": 1},
         "'steps': 1}; allowed: {low, high, log, step}"),
        ("train.clip", {}, "is {}; allowed: {low, high"),
        ("train.clip", None, "is None; allowed: {low, high"),
        ("train.clip", 3, "is 3; allowed: {low, high"),
        ("train.clip", "dirichlet", "is 'dirichlet'; allowed: .* or simplex"),
        ("train.clip", [], r"is \[\]; allowed: at least one choice, each once"),
        ("train.clip", [1, 2, 1], r"is \[1, 2, 1\]; allowed: at least one choice, each once"),
        ("train.clip", [1, 1.0], "allowed: at least one choice, each once"),
        ("train.clip", [[1], [2]], "each once, of numbers, texts, booleans and null"),
        ("train.clip", [{"a": 1}], "each once, of numbers, texts, booleans and null"),
        ("train.clip", {"choices": {}}, r"is \[\]; allowed: at least one choice"),
        ("train.clip", {"choices": [1, 2]}, r"is {'choices': \[1, 2\]}; allowed: "),
        ("train.clip", {"choices": {"kl": [1, 2]}},
         r"is {'choices': {'kl': \[1, 2\]}}; allowed: .*{choices: a space, or null"),
        ("train.clip", {"choices": {"kl": "mse"}}, "is {'choices': {'kl': 'mse'}}; allowed: "),
        ("train.clip", {"choices": {"kl": {"x": [1]}}}, "search.space.x: allowed are settings of"),
        ("train.clip", {"choices": {"kl": {3: [1]}}}, "search.space.3: allowed are settings of"),
        ("train.clip", {"choices": {"kl": {"train.clip": []}}}, r"search.space.train.clip is \[\]"),
    ],
)  # fmt: skip
def test_an_invalid_space_is_refused_with_a_reason(setting: str, spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_space({setting: spec}, TASKS)


def test_a_trial_has_only_the_settings_of_its_choices() -> None:
    space = parse_space(NESTED, TASKS)
    always: dict[str, Any] = {"loss.kind": "mse", "train.learning_rate": 1e-3}

    kind = "student.kind"
    bag = {kind: "bag", "student.hidden:bag": 64, "student.ngrams:bag": 2}
    assert suggest(FixedTrial(always | bag), space) == always | {
        kind: "bag",
        "student.hidden": 64,
        "student.ngrams": 2,
    }
    bilstm = {kind: "bilstm", "student.hidden:bilstm": 96, "student.attention:bilstm": False}
    settings = suggest(FixedTrial(always | bilstm), space)
    assert settings == always | {kind: "bilstm", "student.hidden": 96, "student.attention": False}
    deep = {
        kind: "transformer",
        "student.init:transformer": "teacher",
        "student.layers:transformer/teacher": 2,
    }
    other = {"loss.kind": "kl", "loss.temperature:kl": 4.0}
    settings = suggest(FixedTrial(always | deep | other), space)
    assert settings == {
        kind: "transformer", "student.init": "teacher", "student.layers": 2,
        "loss.kind": "kl", "loss.temperature": 4.0, "train.learning_rate": 1e-3,
    }  # fmt: skip


def test_each_choice_has_only_its_own_settings_in_many_samples() -> None:
    space = parse_space(NESTED, TASKS)
    settings_by_kind = {
        "bag": {"student.hidden", "student.ngrams"},
        "bilstm": {"student.hidden", "student.attention"},
        "transformer": {"student.init", "student.hidden", "student.layers"},
    }
    samples = drawn(space, 300)
    assert {settings["student.kind"] for settings in samples} == settings_by_kind.keys()
    for settings in samples:
        extra = settings.keys() - {"student.kind", "loss.kind", "train.learning_rate"}
        assert extra - {"loss.temperature"} <= settings_by_kind[settings["student.kind"]]
        assert ("loss.temperature" in settings) == (settings["loss.kind"] == "kl")
        if settings["student.kind"] == "transformer":
            assert (
                ("student.layers" in settings)
                == (settings["student.init"] == "teacher")
                != ("student.hidden" in settings)
            )
        if settings["student.kind"] == "bilstm":
            assert settings["student.hidden"] in (32, 64, 96, 128, 160)
            assert isinstance(settings["student.hidden"], int)
        assert 5e-4 <= settings["train.learning_rate"] <= 1e-2


def test_weights_are_the_normalised_logarithms_of_the_draws() -> None:
    space = parse_space({WEIGHTS: "simplex"}, ["a", "b"])
    settings = suggest(
        FixedTrial({f"{WEIGHTS}.a": math.exp(-1), f"{WEIGHTS}.b": math.exp(-3)}), space
    )
    assert settings[WEIGHTS] == pytest.approx({"a": 0.25, "b": 0.75})


@pytest.mark.parametrize("num", [2, 5])
def test_weights_are_uniform_on_the_simplex(num: int) -> None:
    """Dirichlet(1, ..., 1) has mean 1 / K, variance (K - 1) / (K^2 (K + 1)) and covariance
    -1 / (K^2 (K + 1))."""
    draws = 2000
    space = parse_space({WEIGHTS: "simplex"}, [f"task{i}" for i in range(num)])
    study = optuna.create_study(sampler=RandomSampler(0))
    weights_DK = np.array(
        [list(suggest(study.ask(), space)[WEIGHTS].values()) for _ in range(draws)]
    )
    assert np.allclose(weights_DK.sum(1), 1) and weights_DK.min() > 0
    variance = (num - 1) / (num**2 * (num + 1))
    # The tolerance is five standard errors of the mean.
    assert np.abs(weights_DK.mean(0) - 1 / num).max() < 5 * math.sqrt(variance / draws)
    assert np.cov(weights_DK.T).diagonal() == pytest.approx(variance, rel=0.15)
    assert np.cov(weights_DK.T)[0, 1] == pytest.approx(-variance / (num - 1), rel=0.2)


def test_params_of_settings_give_the_same_settings_back() -> None:
    """For 200 sampled trials, params_of and then suggest return the same settings; weights up to
    rounding."""
    space = parse_space(NESTED | {WEIGHTS: "simplex"}, TASKS)
    for settings in drawn(space, 200):
        params = params_of(space, settings)
        assert params.keys() <= distributions_of(space).keys()
        again = suggest(FixedTrial(params), space)
        assert again.pop(WEIGHTS) == pytest.approx(settings.pop(WEIGHTS), abs=1e-5)
        assert again == settings


def test_params_of_sampled_settings_are_those_of_the_trial() -> None:
    space = parse_space(NESTED, TASKS)
    study = optuna.create_study(sampler=RandomSampler(3))
    for _ in range(50):
        trial = study.ask()
        assert params_of(space, suggest(trial, space)) == trial.params


@pytest.mark.parametrize("num", [1, 2, 14, 40])
def test_given_weights_come_back_normalised(num: int) -> None:
    tasks = [f"task{i}" for i in range(num)]
    space = parse_space({WEIGHTS: "simplex"}, tasks)
    even = suggest(FixedTrial(params_of(space, {WEIGHTS: dict.fromkeys(tasks, 3)})), space)[WEIGHTS]
    assert even == pytest.approx(dict.fromkeys(tasks, 1 / num))
    weights = dict.fromkeys(tasks, 0.0) | {"task0": 9.0, tasks[-1]: 1.0}
    normalised = suggest(FixedTrial(params_of(space, {WEIGHTS: weights})), space)[WEIGHTS]
    assert normalised == pytest.approx(
        {task: weight / sum(weights.values()) for task, weight in weights.items()}, abs=1e-5
    )


def test_equal_weights_are_draws_whose_logarithm_is_its_mean() -> None:
    space = parse_space({WEIGHTS: "simplex"}, TASKS)
    params = params_of(space, {WEIGHTS: dict.fromkeys(TASKS, 7)})
    assert params == pytest.approx({f"{WEIGHTS}.{task}": math.exp(-1) for task in TASKS})


def test_missing_settings_are_missing_in_the_params() -> None:
    space = parse_space(NESTED, TASKS)
    assert params_of(space, {}) == {}
    assert params_of(space, {"student.kind": "bag", "student.ngrams": 2}) == {
        "student.kind": "bag",
        "student.ngrams:bag": 2,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"student.kind": "gru"},
         r"student.kind is 'gru'; allowed in search.space: one of \['bag', 'bilstm',"),
        ({"student.kind": "bilstm", "student.hidden": 33},
         "student.hidden is 33; allowed in search.space: from 32 to 160 by 32"),
        ({"student.kind": "bilstm", "student.hidden": 192},
         "student.hidden is 192; allowed in search.space: from 32 to 160"),
        ({"student.kind": "bag", "student.ngrams": 2.5},
         "student.ngrams is 2.5; allowed in search.space: from 1 to 3 by 1"),
        ({"student.kind": "bag", "student.ngrams": True},
         "student.ngrams is True; allowed in search.space: from 1 to 3"),
        ({"student.kind": "bag", "student.attention": True},
         "student.attention is True; allowed: settings of search.space that go with"),
        ({"student.hidden": 64},
         "student.hidden is 64; allowed: settings of search.space that go with the others"),
        ({"loss.kind": "mse", "loss.temperature": 2},
         "loss.temperature is 2; allowed: settings of search.space that go with"),
        ({"train.learning_rate": 0.1},
         "train.learning_rate is 0.1; allowed in search.space: from 0.0005 to 0.01"),
        ({"train.learning_rate": math.nan},
         "train.learning_rate is nan; allowed in search.space: from 0.0005 to 0.01"),
        ({"train.learning_rate": "fast"},
         "train.learning_rate is 'fast'; allowed in search.space: from 0.0005 to 0.01"),
        ({"train.clip": 1}, "train.clip is 1; allowed: settings of search.space that go with"),
    ],
)  # fmt: skip
def test_settings_outside_the_space_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        params_of(parse_space(NESTED, TASKS), settings)


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"a": 1},
        {"a": 1, "b": 1, "c": 1},
        {"a": -1, "b": 2},
        {"a": 0, "b": 0},
        {"a": math.nan, "b": 1},
    ]
    + [
        {"a": math.inf, "b": 1},
        {"a": "x", "b": 1},
        {"a": None, "b": 1},
        {"a": True, "b": 1},
        [1, 2],
        "simplex",
        None,
    ],
    ids=str,
)
def test_weights_that_are_not_a_number_for_each_task_are_refused(weights: Any) -> None:
    message = f"{WEIGHTS} is .*; allowed: equal, or a weight for each of a, b, not all of them 0"
    with pytest.raises(ValueError, match=message):
        params_of(parse_space({WEIGHTS: "simplex"}, ["a", "b"]), {WEIGHTS: weights})


@pytest.mark.parametrize(
    ("spec", "inside", "outside"),
    [
        ([None, 1.0], [None, 1, 1.0], [0, "1.0", "None"]),
        (
            {"low": 16, "high": 64, "step": 16},
            [16, 32, 48.0, 64],
            [0, 17, 32.5, 80, True, "16", None],
        ),
        (
            {"low": 0, "high": 0.5, "step": 0.1},
            [0, 0.1, 0.1 + 0.2, 0.5],
            [0.05, 0.6, -0.1, math.inf, math.nan],
        ),
        ({"low": 1, "high": 8.0, "log": True}, [1, 3.3, 8], [0.99, 8.01, False]),
    ],
    ids=str,
)
def test_a_range_contains_only_its_steps(spec: Any, inside: list[Any], outside: list[Any]) -> None:
    kind = one("train.clip", spec).kind
    assert kind is not None
    assert [contains(kind, value) for value in inside] == [True] * len(inside)
    assert [contains(kind, value) for value in outside] == [False] * len(outside)


def test_the_lowest_values_of_a_space_are_its_low_ends_and_first_choices() -> None:
    space = parse_space(NESTED | {WEIGHTS: "simplex"}, ["a", "b"])
    rest = {"loss.kind": "mse", "train.learning_rate": 5e-4, WEIGHTS: {"a": 1.0, "b": 1.0}}
    assert (
        lowest_values(space)
        == {"student.kind": "bag", "student.hidden": 32, "student.ngrams": 1} | rest
    )
    settings = lowest_values(
        space, {"student.kind": "transformer", "student.init": "teacher", "loss.kind": "kl"}
    )
    assert settings == rest | {
        "student.kind": "transformer",
        "student.init": "teacher",
        "student.layers": 1,
        "loss.kind": "kl",
        "loss.temperature": 1,
    }


def test_cheapest_settings_combine_the_smallest_sizes_with_all_other_choices() -> None:
    space = NESTED | {
        "student.min_count": [0, 2, 5],
        "student.embedding": [0, 16, 32],
        "train.steps": [10, 20],
    }
    del space["loss.kind"]
    outer = {"student.min_count": 5, "train.steps": 10, "train.learning_rate": 5e-4}
    students: list[dict[str, Any]] = [
        {"student.kind": "bag", "student.hidden": 32, "student.ngrams": 1},
        {"student.kind": "bilstm", "student.hidden": 32, "student.attention": False},
        {"student.kind": "bilstm", "student.hidden": 32, "student.attention": True},
        {"student.kind": "transformer", "student.init": "", "student.hidden": 48},
        {"student.kind": "transformer", "student.init": "teacher", "student.layers": 1},
    ]
    expected = [
        student | outer | {"student.embedding": width} for student in students for width in (0, 16)
    ]
    settings = cheapest_settings(parse_space(space, TASKS))
    assert len(settings) == len(expected) and all(corner in expected for corner in settings)


def test_the_smallest_student_of_a_space_is_among_the_cheapest_settings() -> None:
    """Parameters of all grid candidates by a separate formula; more layers have fewer units."""
    sizes: dict[str, Any] = {
        "student.layers": {
            "choices": {1: {"student.hidden": [256, 128]}, 2: {"student.hidden": [16, 32]}}
        },
        "student.min_count": {"low": 0, "high": 6, "step": 2},
        "student.embedding": [0, 64],
    }
    space = parse_space(sizes, TASKS)

    def parameters(s: dict[str, Any]) -> int:
        width = s["student.embedding"] or s["student.hidden"]
        return int(
            (1000 - 100 * s["student.min_count"]) * width
            + s["student.layers"] * s["student.hidden"] ** 2
        )

    everything = drawn(space, 400)
    assert len({str(sorted(settings.items())) for settings in everything}) == 4 * 4 * 2
    assert (
        min(map(parameters, cheapest_settings(space)))
        == min(map(parameters, everything))
        == 400 * 16 + 2 * 16**2
    )


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"student.hiden": [32]},
         "search.space.student.hiden: there is no setting .*; did you mean student.hidden"),
        ({"train.learning_rates": [1]},
         "there is no setting 'train.learning_rates'; did you mean train.learning_rate"),
        ({"student.kind": {"choices": {"bag": {"student.ngram": [1]}}}},
         "there is no setting 'student.ngram'; did you mean student.ngrams"),
        ({"loss.kind": ["kl", "hinge"]}, "search.space.loss.kind: .*loss.kind.*hinge"),
        ({"student.dropout": {"low": 0.0, "high": 1.0}},
         "search.space.student.dropout: student.dropout is 1.0; allowed: from 0"),
        ({"student.hidden": {"low": 0, "high": 8}},
         "search.space.student.hidden: student.hidden is 0; allowed: above 0"),
        ({"student.hidden": [32, 33], "student.heads": [2]},
         "search.space.student.hidden: student.hidden is 33; allowed: a mult"),
        ({"student.hidden": [48], "student.heads": [2, 5]},
         "search.space.student.heads: student.hidden is 48; allowed: a mult"),
        ({"student.layers": {"low": 1, "high": 2.5}},
         "student.layers: student.layers is '1.0'; allowed: an integer"),
        ({"student.layers": [1, "two"]}, "search.space.student.layers: .*two"),
        ({"student.hidden": "simplex"}, "search.space.student.hidden: "),
        ({"loss.kind": ["kl", "mse"], "loss.temperature": [1, 2]}, None),
        ({"loss.temperature": [2, 4], "loss.kind": ["kl", "mse"]},
         "loss.kind: loss.temperature is 2.* allowed: 1 unless loss.kind"),
    ],
    ids=str,
)  # fmt: skip
def test_a_space_refuses_what_the_config_refuses(
    space: dict[str, Any], message: str | None
) -> None:
    parsed = parse_space(space, TASKS)
    if message is None:
        check_space(parsed, DistillSettings())
    else:
        with pytest.raises(ValueError, match=message):
            check_space(parsed, DistillSettings())


def test_a_space_is_checked_against_the_fixed_settings() -> None:
    space = parse_space({"student.hidden": [40]}, TASKS)
    check_space(space, DistillSettings())
    message = "student.hidden is 40; allowed: a multiple of student.heads=3"
    with pytest.raises(ValueError, match=message):
        check_space(
            space, cli.with_settings(DistillSettings(), {"student.heads": 3, "student.hidden": 48})
        )


ENCODER = "--teacher.checkpoint=encoder"
SHIPPED: dict[str, tuple[list[str], list[str]]] = {
    "search.yaml": (["tickets", "tone"], []),
    "search_glue.yaml": (GLUE_TASKS, ["--data.path=glue", ENCODER]),
    "quick.yaml": (["tickets"], [ENCODER]),
}
"""The shipped spaces: their tasks and the other arguments that they need."""


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_space_is_valid_and_contains_its_start_settings(name: str) -> None:
    tasks, argv = SHIPPED[name]
    config = cli.parse(["--config", str(CONFIGS / name), *argv], "", SearchSettings)
    space = parse_space(config.search.space, tasks)
    check_space(space, distill_settings(config.core()))
    known, weighted = distributions_of(space), WEIGHTS in config.search.space
    kinds = config.search.space["student.kind"]["choices"]
    assert known["student.kind"] == CategoricalDistribution(list(kinds)) and len(kinds) >= 2
    assert {name for name in known if name.startswith(WEIGHTS)} == {
        f"{WEIGHTS}.{task}" for task in tasks if weighted
    }
    assert len(config.search.start) >= 2
    for start in config.search.start:
        whole = suggest(
            FixedTrial(params_of(space, start)), space
        )  # raises if a trial's setting is missing
        if weighted:
            weights, stated = whole.pop(WEIGHTS), start[WEIGHTS]
            if stated == EQUAL:
                stated = dict.fromkeys(tasks, 1)
            assert weights == pytest.approx(
                {task: weight / sum(stated.values()) for task, weight in stated.items()}
            )
        assert whole == {setting: value for setting, value in start.items() if setting != WEIGHTS}
        cli.with_settings(distill_settings(config.core()), whole)


def test_every_shipped_space_is_tested() -> None:
    names = {path.name for path in CONFIGS.rglob("*.yaml") if "\nsearch:" in path.read_text()}
    assert names == SHIPPED.keys()


def test_the_same_seed_samples_the_same_settings() -> None:
    space = parse_space(NESTED | {WEIGHTS: "simplex"}, TASKS)
    assert drawn(space, 20, seed=4) == drawn(space, 20, seed=4) != drawn(space, 20, seed=5)


def test_numbers_with_an_exponent_work_on_the_command_line_and_in_a_file(
    tmp_path: Path,
) -> None:
    """PyYAML reads 1e3 as text, although it is a number in JSON."""
    text = "{loss.temperature: {low: 1, high: 1e3}, train.learning_rate: [1e-3, 2E-3]}"
    expected = {
        "loss.temperature": {"low": 1, "high": 1000.0},
        "train.learning_rate": [0.001, 0.002],
    }
    file = tmp_path / "space.yaml"
    file.write_text(f"search:\n  space: {text}\n")
    for argv in ([f"--search.space={text}"], ["--config", str(file)]):
        config = cli.parse(["--search.study=s", *argv], "", SearchSettings)
        assert config.search.space == expected
        range_, choices = (leaf.kind for leaf in parse_space(config.search.space, TASKS))
        assert range_ == FloatDistribution(1.0, 1000.0)
        assert choices == CategoricalDistribution([0.001, 0.002])
