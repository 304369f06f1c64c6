"""Content for the tests and the benchmark of the report's page: students made from a seed, and a
few made by hand."""

import math
import random
from functools import cache
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome

from analysis.page.page import (
    Baseline,
    LeftOut,
    Link,
    PageInfo,
    PageModel,
    Picture,
    RowDeviations,
    Run,
    Teacher,
    page,
)

TASKS = ["sentiment", "acceptability", "paraphrase", "entailment", "similarity"]
MACHINE, OTHER = "AMD EPYC 9R14, 2 cores", "Intel Xeon 8488C, 8 cores"
TEACHER = "bert-6x384"
SVG = (
    '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="60" height="30" '
    'viewBox="0 0 60 30">'
    '<path d="M5 25L55 5" stroke="#0072b2"/></svg>'
)


NONE = RowDeviations([], {}, {})
"""For models without known answers."""


def deviations(ids: list[str], tasks: list[str], score: int, pair: int) -> RowDeviations:
    """The same deviation over rows for all scores (`score`), and the same for all pairwise
    differences (`pair`), in thousandths of a point."""
    alike = [[pair] * place for place in range(len(ids))]
    return RowDeviations(
        ids, {task: [score] * len(ids) for task in tasks}, {task: alike for task in tasks}
    )


def by_task(mean: float) -> dict[str, float]:
    """Task scores with this mean."""
    shifts = (20.6, -24.6, 4.7, -2.3, 1.6)
    return {task: mean + shift for task, shift in zip(TASKS, shifts, strict=True)}


def run(name: str, seed: int, mean: float) -> Run:
    """A run that scores one point more on the selection split than on dev."""
    address, better = f"https://mlflow.test/{name}", mean + 1
    identity = f"id-{name}-{seed}", f"{name} seed {seed}", address, seed
    return Run(*identity, mean, by_task(mean), better, by_task(better))


def model(
    name: str, latency_ms: float | None, mean: float, kind: str = "bilstm", seeds: int = 3,
    **other: Any,
) -> PageModel:  # fmt: skip
    """A student whose task scores, size and settings follow from the arguments; `other` replaces
    fields. Its seeds score 0.4 points apart.

    It scores one point more on the selection split than on dev.
    """
    shifts = {seed: (seed - (seeds - 1) / 2) * 0.4 for seed in range(seeds)}
    size = latency_ms or 1.0
    student = PageModel(
        id=name, name=name, student_kind=kind, study="first", state="finished", front=False,
        runs=[run(name, seed, mean + shift) for seed, shift in shifts.items()], seeds=list(shifts),
        machine=MACHINE, backend="int8", setting="b1-text-t1", latency_ms=latency_ms,
        rows_per_s=None if latency_ms is None else 1000 / latency_ms, num_bytes=4e5 * size,
        parameters=1e5 * size, mean=mean, scores=by_task(mean), selection=mean + 1,
        selection_scores=by_task(mean + 1), teacher=TEACHER, teacher_mean=73.8,
        teacher_latency_ms=17.7, retention=100 * mean / 73.8,
        settings={"student.kind": kind, "student.hidden": str(round(100 * size)),
                  "loss.temperature": "2"},
    )  # fmt: skip
    return student._replace(**other)


def twin(one: PageModel) -> Baseline:
    """A baseline four points below its student."""
    scores = {task: score - 4 for task, score in one.scores.items()}
    return Baseline(
        "hard labels", one.id, one.machine, one.mean - 4, scores, one.latency_ms, one.rows_per_s,
        one.num_bytes,
    )  # fmt: skip


def info(models: list[PageModel], **other: Any) -> PageInfo:
    """A page of these students, one teacher and each student's twin; `other` replaces fields."""
    page_info = PageInfo(
        title="Quality against speed: demo",
        source={"experiment": "mkd", "study": "first"},
        links=[Link("experiment in MLflow", "https://mlflow.test/#/experiments/1")],
        made="2026-11-25 18:00",
        latency="median of one call with one raw text on one thread, in the fastest backend",
        tasks=TASKS,
        teachers=[Teacher(TEACHER, MACHINE, 73.8, by_task(73.8), 17.7, 56.0, 4.3e7, 1.1e7)],
        baselines=[twin(one) for one in models],
        models=models,
        deviations=NONE,
        pictures=[
            Picture("front", "Front", "Quality against latency.", SVG),
            Picture("curves", "Curves", "Over steps.", SVG),
        ],
        left_out=[LeftOut("no speed was measured", 2, ["run-a", "run-b"])],
        notes=["Scores are on the dev split."],
    )
    return page_info._replace(**other)


def few() -> PageInfo:
    """Six students. `wide` is the best under 5 ms, and `small` does not differ from it; `poor` and
    `deep` are dominated."""
    students = {
        "bag": (0.5, 66.0, "bag"),
        "small": (1.0, 70.9, "bilstm"),
        "wide": (2.5, 71.1, "bilstm"),
        "poor": (4.0, 68.0, "transformer"),
        "deep": (4.5, 70.0, "transformer"),
        "slow": (9.0, 73.0, "transformer"),
    }
    models = [
        model(name, ms, mean, kind, lost={"": (73.8 - mean, 72.8 - mean, 74.8 - mean)})
        for name, (ms, mean, kind) in students.items()
    ]
    return info(models, deviations=deviations(list(students), [""], 600, 400))


@cache
def many(count: int) -> PageInfo:
    """`count` students as after a search: three kinds, two machines, 20 settings each. Deviations
    of pairs are given per task for up to 250 students, and only for the front for more than 500."""
    rng = random.Random(1)
    models: list[PageModel] = []
    best = -math.inf
    costs = [math.exp(rng.uniform(math.log(0.3), math.log(12))) for _ in range(count)]
    for number, latency_ms in enumerate(sorted(costs)):
        kind = rng.choice(["bilstm", "bilstm", "transformer", "bag"])
        mean = 57 + 4 * math.log(1 + 3 * latency_ms) - abs(rng.gauss(0, 3))
        mean -= 12 if rng.random() < 0.04 else 0
        settings = {
            f"part{part}.setting{part}": f"{rng.choice([1, 2, 4, 8]) * (part + 1) / 10:g}"
            for part in range(18)
        }
        models.append(
            model(f"{kind}-{round(64 * latency_ms)}-{number}", latency_ms, mean, kind,
                  settings=settings | {"optim.rate": f"{rng.uniform(1e-4, 1e-2):.3g}",
                                       "student.kind": kind, "data.source": "demo"},
                  front=mean > best, study=f"study {number % 2}",
                  machine=OTHER if number % 10 == 9 else MACHINE),
        )  # fmt: skip
        best = max(best, mean)
    ids = [one.id for one in models if count <= 500 or one.front]
    page_info = info(
        models, deviations=deviations(ids, ["", *TASKS] if count <= 250 else [""], 1200, 567)
    )
    (teacher,) = page_info.teachers
    other = teacher._replace(machine=OTHER, latency_ms=9.1, rows_per_s=110.0)
    return page_info._replace(teachers=[teacher, other])


def opened(chrome: Chrome, folder: Path, shown: PageInfo) -> Chrome:
    """Writes the page into the folder and opens it in the browser."""
    (folder / "report.html").write_text(page(shown), "utf-8")
    chrome.get((folder / "report.html").as_uri())
    return chrome
