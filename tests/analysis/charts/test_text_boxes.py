"""Every picture at 3, 30 and 300 points: no text covers another, is struck through, or is cut."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.charts import (
    curves,
    deferral,
    frontier,
    importance,
    joint,
    marginals,
    published,
    retention,
    tasks,
    volume,
    weights,
)
from analysis.presentation.figure import count_note
from tests.support.models import models, trial
from tests.support.text_boxes import drawn_texts, faults

SMALL = (
    "300 models, 300 runs, timed in onnx (b1-text-t1) on AMD EPYC 9R14 96-Core Processor, 2 cores, "
    "in the experiment quality-and-speed-of-our-tickets. A mark's area: bytes."
)
TITLE = (
    "Best under 5 ms: transformer-2x128-e64-min5 #22, 80.0 points in 1.12 ms\n"
    "3.0 points above its teacher (95 % interval 1.7 to 4.0), sentence-transformers/all-MiniLM-L6-"
    "v2, which takes 7.69 ms"
)
TEACHER = "bert-12x768 sentence-transformers/all-MiniLM-L6-v2"


def names(number: int) -> list[str]:
    """Of tasks, some of them long."""
    return [f"task_{index}" + "_with_a_long_name" * (index % 4 == 1) for index in range(number)]


def made_up(number: int, some: list[str]) -> pd.DataFrame:
    """Students of three kinds as a search leaves them: better where slower, in a narrow range if
    there are three of them."""
    rng = np.random.default_rng(number)
    rows = []
    for index in range(number):
        kind = ("bilstm", "transformer", "bag")[index % 3]
        latency = float(np.exp(rng.uniform(-4, 3))) if number > 3 else 0.7 + 0.01 * index
        score = 70 + 3 * math.log(latency) - abs(rng.normal(0, 2))
        shares = dict(zip(some, rng.dirichlet(np.ones(len(some))).round(4).tolist(), strict=True))
        row: dict[str, Any] = {
            "student": f"{kind}-{index}-e{8 * (index % 5)}-min{index % 7}", "student_kind": kind,
            "tasks": tuple(some), "teacher": TEACHER, "mean": score, "selection": score - 1,
            "teacher_mean": 82.0, "baseline_mean": score - 4, "latency_ms": latency,
            "rows_per_s": 1500 / latency, "num_bytes": 1e5 + 1e6 * rng.random(),
            "parameters": 1e4 * (1 + index), "teacher_latency_ms": 40.0, "retention": score / 0.82,
            "loss.temperature": str(float(rng.uniform(1, 8))), "train.steps": str(100 + index),
            "train.learning_rate": str(float(10 ** rng.uniform(-4, -2))),
            "train.sampling.weights": str(shares),
        }  # fmt: skip
        for place, task in enumerate(some):
            row |= {
                f"score/{task}": score + place,
                f"selection/{task}": score,
                f"retention/{task}": score / 0.82 + place,
            }
        rows.append(row)
    return models(*rows)


def front(shown: pd.DataFrame, **how: str) -> Figure:
    plot = frontier.info(shown, title=TITLE, small=SMALL, **how)
    assert plot is not None
    return frontier.draw(plot)


def study(number: int) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    measured = [(50 + 20 * rng.random(), float(np.exp(rng.normal()))) for _ in range(number)]
    trials = [trial(place, *pair) for place, pair in enumerate(measured)]
    reference = {"quality": 0.0, "latency_ms": 7.5, "words": "always the most frequent class"}
    return {"reference": reference, "trials": trials}


def drawn(number: int, some: list[str]) -> Iterator[tuple[str, Any, Callable[[Any], Figure]]]:
    """Name, numbers and drawing of every picture but those of the front."""
    shown = made_up(number, some)
    best = shown.sort_values("latency_ms")
    points = {
        run: [(100 * step, float(row["mean"]) * (1 - 0.5**step)) for step in range(1, 9)]
        for row in (dict(row) for _, row in shown.iterrows())
        for run in row["runs"]
    }
    yield "tasks", tasks.info(shown, some, SMALL), tasks.draw
    yield "retention", retention.info(best, some, SMALL), retention.draw
    table = pd.DataFrame(
        [
            (task, share, share * (1 + place) / len(some), share * place / 9 - 3, share / 50)
            for place, task in enumerate(some)
            for share in (0, 50, 100)
        ],
        columns=["task", "share", "answered", "lost", "selection_lost"],
    )
    tables = {
        run: table.assign(lost=table["lost"] * (1 + place % 7))
        for place, runs in enumerate(best["runs"])
        for run in runs
    }
    yield "deferral", deferral.info(best, lambda _: tables, SMALL), deferral.draw
    yield "curves", curves.info(best, lambda _: points, SMALL), curves.draw
    yield "volume", volume.info(study(number), SMALL), volume.draw
    shares = {f"train.sampling.setting_{index}": 1 / (1 + index) for index in range(number)}
    both = {"quality": shares, "latency": dict(reversed(shares.items()))}
    yield "importance", importance.info(both, SMALL, 8), importance.draw
    if number > 3:
        yield "marginals", marginals.info(shown, None, SMALL), marginals.draw
    yield "weights", weights.info(shown, some, SMALL), weights.draw
    gains = [[(row - column) / 3 for column in range(len(some))] for row in range(len(some))]
    runs = [[number] * len(some)] * len(some)
    yield "joint", joint.Info(some, some, gains, runs, 10.0, SMALL), joint.draw
    yield "published", published.info(shown, some, SMALL), published.draw


@pytest.mark.parametrize("number", [3, 30, 300])
@pytest.mark.parametrize("cost", frontier.COSTS)
def test_the_fronts_names_cover_nothing_and_are_counted(number: int, cost: str) -> None:
    figure = front(made_up(number, names(2)), cost=cost)
    assert faults(figure) == []
    texts = [text.get_text() for text in drawn_texts(figure)]
    written = len(figure.axes[0].texts)
    number += cost != "size"  # the teacher
    assert any(count_note(written, number) in text for text in texts)
    assert written >= min(number, 5)


@pytest.mark.parametrize(
    ("number", "count"), [(3, 2), (30, 5), pytest.param(300, 9, marks=pytest.mark.slow)]
)
def test_no_text_of_a_picture_is_covered_or_cut(number: int, count: int) -> None:
    wrong = {}
    for name, info, draw in drawn(number, names(count)):
        assert info is not None, name
        if problems := faults(draw(info)):
            wrong[name] = problems
    assert wrong == {}
