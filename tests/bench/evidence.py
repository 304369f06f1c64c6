"""Makes tables and pictures of the claims, from the trainings of tests/bench/claims.py.

    PYTHONPATH=. python tests/bench/evidence.py OUT --page PAGE.md [--rivals rivals.json] \\
        [--finetuning finetuning.md]

OUT has a folder for each student, and one of tests/bench/refinement.py. A claim is that one variant
scores above another. Its table has a column for each student: the means over seeds, and the
differences with their 95 % intervals, which cover seeds and dev rows
(analysis/statistics/differences.py). The numbers are written to OUT/claims.json.

PAGE has the tables between two comments, `<!-- table: NAME -->` and `<!-- end -->`; what is between
them is replaced. NAME is that of a claim, `scores`, `made`, `front` (from --rivals, a result of
tests/bench/rivals.py) or `finetuning` (a result of tests/bench/finetuning.py). The pictures are
written to the folder of PAGE: one for each claim, except the one about students and their teacher;
front.png, quality against speed from --rivals; and front-sst2.png, the same for SST-2, with
published scores. In --rivals the name of a student starts with its kind, the teacher is named
`teacher`, and BERT-base must be timed too.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from analysis.presentation.figure import (
    fix_layout,
    image_bytes,
    names_width,
    new_figure,
    style_axes,
)
from analysis.presentation.front_plot import (
    FrontPlot,
    Mark,
    ModelPoint,
    draw_front,
    finish_front,
)
from analysis.presentation.palette import INK, KINDS, OTHER, STUDENT_LOOKS
from analysis.presentation.table import markdown
from analysis.statistics.differences import (
    Difference,
    Resampled,
    Scores,
    difference,
    over_seeds,
    resampled,
    split_answers,
)
from tests.bench.claims import ALONE, DISTILLED, ONE_BY_ONE, TEACHER, TEXT_FIRST
from tests.bench.refinement import ALL_TASKS, ONE_TASK
from tests.bench.rivals import BERT_BASE

MEAN = "mean"
SST2 = "sst2"


class Claim(NamedTuple):
    """The claim that variant `first` scores above variant `second`. name: of the picture's file."""

    name: str
    title: str
    first: str
    second: str


CLAIMS = (
    Claim("distillation", "Distilled, less the same student on labels alone", DISTILLED, ALONE),
    Claim("joint", "One student for all tasks, less one student a task", DISTILLED, ONE_BY_ONE),
    Claim("text", "Trained on text first, less without", TEXT_FIRST, DISTILLED),
    Claim("both", "Text first and a teacher, less labels alone", TEXT_FIRST, ALONE),
    Claim("teacher", "Distilled, less its teacher", DISTILLED, TEACHER),
    Claim("refinement", "Teacher refined on all tasks, less one a task", ALL_TASKS, ONE_TASK),
)


class Model(NamedTuple):
    """A variant of a student, over its seeds, or the teacher.

    - `runs`: its scores by seed
    - `about`: the record of each training by seed
    """

    runs: dict[int, Resampled]
    about: dict[int, dict[str, Any]]

    @property
    def scores(self) -> Scores:
        return over_seeds(self.runs)

    def of(self, seeds: set[int]) -> "Model":
        """Returns the model with only these seeds."""
        return Model(
            {seed: run for seed, run in self.runs.items() if seed in seeds},
            {seed: record for seed, record in self.about.items() if seed in seeds},
        )


class Compared(NamedTuple):
    """One student's result for a claim. differences: by task, and of the mean."""

    student: str
    first: Model
    second: Model
    differences: dict[str, Difference]


def model(files: list[Path]) -> Model:
    """Reads the trainings of a variant from their JSON files."""
    about = {record.get("seed", 0): record for record in (json.loads(f.read_text()) for f in files)}
    answers = [split_answers(pd.read_parquet(f.with_suffix(".parquet"))) for f in files]
    runs = {
        seed: resampled(predictions, record["metrics"])
        for (seed, record), predictions in zip(about.items(), answers, strict=True)
    }
    for seed, record in about.items():  # tests/bench/claims.py computes its scores in another way
        for task, score in record["scores"].items():
            assert abs(runs[seed].tasks[task][0] - score) < 0.01, f"{task} of seed {seed}: {score}"
    return Model(runs, about)


def variants_of(folder: Path) -> dict[str, Model]:
    """Returns all variants of one student by name, and the teacher."""
    files: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*.json")):
        files.setdefault(file.stem.rpartition("-")[0] or TEACHER, []).append(file)
    return {name: model(paths) for name, paths in files.items()}


def compared(students: dict[str, dict[str, Model]], claim: Claim) -> Iterator[Compared]:
    """Compares the variants of a claim for each student that has both, on their common seeds. The
    teacher has one seed: an interval against it covers only the dev rows."""
    for student, variants in students.items():
        if claim.first not in variants or claim.second not in variants:
            continue
        first, second = variants[claim.first], variants[claim.second]
        if claim.second != TEACHER:
            seeds = set(first.runs) & set(second.runs)
            first, second = first.of(seeds), second.of(seeds)
        ours, theirs = first.scores, second.scores
        differences = {
            task: difference(score, theirs.tasks[task]) for task, score in ours.tasks.items()
        } | {MEAN: difference(ours.mean, theirs.mean)}
        yield Compared(student, first, second, differences)


def cell(gap: Difference) -> str:
    """Returns a difference and its interval as text. It is bold if the interval does not include 0
    and there are several seeds."""
    text = f"{gap.points:+.1f} ({gap.low:+.1f} to {gap.high:+.1f})"
    return f"**{text}**" if gap.is_one and gap.is_of_methods else text


def claim_table(claim: Claim, comparisons: list[Compared]) -> list[str]:
    """Returns a table with a column for each student: means, and differences by task."""
    tasks = list(comparisons[0].first.scores.tasks)
    head = ["student", "seeds", claim.first, claim.second, "difference", *tasks]
    rows = [
        [
            one.student,
            str(len(one.first.runs)),
            f"{one.first.scores.mean.rows[0]:.1f}",
            f"{one.second.scores.mean.rows[0]:.1f}",
            *(cell(one.differences[name]) for name in (MEAN, *tasks)),
        ]
        for one in comparisons
    ]
    return markdown([list(row) for row in zip(head, *rows, strict=True)])


def scores_table(students: dict[str, dict[str, Model]]) -> list[str]:
    """Returns the mean scores over seeds of each variant and the teacher, by task."""
    rows: list[list[str]] = []
    for number, (student, variants) in enumerate(students.items()):
        for name, variant in variants.items():
            if name == TEACHER and number:  # all students have the same teacher
                continue
            label = TEACHER if name == TEACHER else f"{student}, {name}"
            values = [*variant.scores.tasks.values(), variant.scores.mean]
            minutes = sum(each.get("seconds", 0) for each in variant.about.values()) / 60
            row = [label, str(len(variant.about)), *(f"{each.rows[0]:.1f}" for each in values)]
            row.append(f"{minutes / len(variant.about):.1f}" if minutes else "-")
            rows.insert(0, row) if name == TEACHER else rows.append(row)
    tasks = next(iter(next(iter(students.values())).values())).scores.tasks
    return markdown([["score on dev", "seeds", *tasks, MEAN, "minutes each"], *rows])


def made_by(models: list[Model]) -> str:
    """Returns machine, number of minutes, commit and date of trainings as text."""
    about = [each for one in models for each in one.about.values()]
    cpus, commits, dates = (sorted({str(a[k]) for a in about}) for k in ("cpu", "commit", "date"))
    minutes = sum(each.get("seconds", 0) for each in about) / 60
    threads = sorted({str(each["threads"]) for each in about})
    return (
        f"{', '.join(cpus)}; threads: {', '.join(threads)}; {minutes:.0f} minutes; "
        f"commit {', '.join(commits)}; {', '.join(dates)}"
    )


def draw(claim: Claim, group: list[Compared]) -> Figure:
    """Draws the differences by task and of the mean, with a mark for each student."""
    tasks = [*group[0].first.scores.tasks, MEAN]
    figure = new_figure(names_width(tasks) + 6.5, 1.2 + 0.17 * len(tasks) * (1 + len(group)))
    axes = figure.subplots()
    for number, one in enumerate(group):
        look, seeds = KINDS.get(one.student.split("-")[0], KINDS[OTHER]), len(one.first.runs)
        name = f"{one.student}, {seeds} seeds" if seeds > 1 else f"{one.student}, 1 seed"
        for place, task in enumerate(tasks):
            gap = one.differences[task]
            height = place + 0.22 * (number - (len(group) - 1) / 2)
            axes.errorbar(
                gap.points, height, xerr=gap.high - gap.points, fmt=look.marker, color=look.colour,
                markersize=6, capsize=2.5, label=name if place == 0 else None,
            )  # fmt: skip
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(tasks)), tasks)
    axes.invert_yaxis()
    axes.set_title(claim.title, loc="left", fontsize=11)
    axes.set_xlabel(
        "points on dev (bar: 95 % interval over seeds and dev rows; of 1 seed over dev rows alone)"
    )
    axes.legend(frameon=False, loc="best")
    style_axes(axes, "x")
    fix_layout(figure)
    return figure


class Published(NamedTuple):
    """A published accuracy on SST-2. times: the published speed relative to BERT-base."""

    name: str
    times: float
    sst2: float


PUBLISHED = (
    Published("DistilBERT", 1.73, 91.3),
    Published("MiniLM 6x384", 5.3, 91.3),
    Published("XtremeDistil 6x384", 5.3, 92.3),
    Published("XtremeDistil 6x256", 8.7, 91.2),
    Published("TinyBERT-4, test", 9.3, 92.6),
    Published("MKD-LSTM, test", 8.6, 91.0),
    Published("Zhao H=48, test", 22.7, 82.2),
)
"""From Ganesh et al. 2021 (TACL 9), who measured on CPUs (DistilBERT's speed, TinyBERT, MKD-LSTM,
Zhao), and from the README of microsoft/xtreme-distil-transformers (all others, and DistilBERT's
score). Scores are on dev, or on test where the name says so."""


class Timed(NamedTuple):
    """A model of rivals.json, over some of its tasks.

    - `ms`: milliseconds for one text, mean over the tasks
    - `times`: speed relative to a model of BERT-base's size
    - `scores`: on dev by task, means over the seeds
    - `means`: over the tasks, by seed
    """

    name: str
    ms: float
    times: float
    scores: dict[str, float]
    means: list[float]

    @property
    def mean(self) -> float:
        return statistics.mean(self.scores.values())


def timed_models(rivals: dict[str, Any], names: list[str]) -> list[Timed]:
    """Returns the models of rivals.json that can do all these tasks, the fastest first."""
    tasks = {name: rivals["tasks"][name] for name in names}
    ms = {
        name: statistics.mean(task["times"][name]["p50_ms"] for task in tasks.values())
        for name in tasks[names[0]]["times"]
        if all(name in task["times"] for task in tasks.values())
    }
    models = []
    for name in ms:
        if any(name not in task["contenders"] for task in tasks.values()):
            continue  # a tokenizer alone, or a model that is only timed
        seeds = {task: content["contenders"][name]["scores"] for task, content in tasks.items()}
        scores = {task: statistics.mean(by_seed) for task, by_seed in seeds.items()}
        # A rival that is random only on some tasks has one seed for the others.
        means = [statistics.mean(of_seed) for of_seed in zip(*seeds.values(), strict=False)]
        models.append(Timed(name, ms[name], ms[BERT_BASE] / ms[name], scores, means))
    return sorted(models, key=lambda model: model.ms)


def front_table(models: list[Timed]) -> list[str]:
    """Returns a table with a row for each model: its time, and its scores by task."""
    rows = [
        [model.name, f"{model.ms:.2f}", f"{model.times:,.0f}"]
        + [f"{score:.1f}" for score in (*model.scores.values(), model.mean)]
        for model in models
    ]
    return markdown([["model", "ms a text", "times BERT-base", *models[0].scores, MEAN], *rows])


def front_plot(models: list[Timed], published: tuple[Published, ...] = ()) -> FrontPlot:
    """Returns the data of the picture of quality against speed."""
    points = []
    for model in models:
        kind = model.name.split()[0]
        kind = kind if kind in STUDENT_LOOKS else OTHER
        low, high = min(model.means), max(model.means)
        points.append(ModelPoint(model.name, kind, model.times, model.mean, low, high))
    small = "other: what users would pick instead; bars: the least and the best seed"
    if published:
        points += [
            ModelPoint(each.name, OTHER, each.times, each.sst2, front=False) for each in published
        ]
        small += "\npale: published scores, of other machines, and with other backends"
    tasks = list(models[0].scores)
    return FrontPlot(
        [point for point in points if point.label != TEACHER],
        [],
        [Mark(each.name, each.times, each.mean) for each in models if each.name == TEACHER],
        [],
        "times as fast as BERT-base (one text, tokenization included, one thread)",
        f"mean score on dev of {len(tasks)} tasks" if len(tasks) > 1 else f"score on {tasks[0]}",
        less_is_better=False,
        small=small,
    )


def front_picture(plot: FrontPlot) -> Figure:
    """Draws quality against speed of students, teacher and rivals."""
    figure = new_figure(8.5, 5.2)
    axes = figure.subplots()
    draw_front(axes, plot)
    finish_front(axes, plot)
    return figure


def filled(page: str, tables: dict[str, list[str]]) -> str:
    """Returns the page with these tables between their comments; other tables are unchanged."""
    for name, lines in tables.items():
        start, end = f"<!-- table: {name} -->", "<!-- end -->"
        before, marked, after = page.partition(start)
        if marked:
            _, _, after = after.partition(end)
            page = "\n".join([before + start, "", *lines, "", end]) + after
    return page


def main(args: argparse.Namespace) -> None:
    """Writes all tables, pictures and numbers."""
    folders = sorted({file.parent for file in args.out.glob("*/*.json")})
    students = {folder.name: variants_of(folder) for folder in folders}
    all_models = [model for variants in students.values() for model in variants.values()]
    tables = {
        "scores": scores_table(
            {n: variants for n, variants in students.items() if TEACHER in variants}
        ),
        "made": [made_by(all_models)],
    }
    pictures: dict[str, Figure] = {}
    numbers: dict[str, Any] = {}
    for claim in CLAIMS:
        comparisons = list(compared(students, claim))
        if not comparisons:
            continue
        tables[claim.name] = claim_table(claim, comparisons)
        if claim.second != TEACHER:
            pictures[f"claim-{claim.name}"] = draw(claim, comparisons)
        numbers[claim.name] = {
            one.student: {task: gap._asdict() for task, gap in one.differences.items()}
            for one in comparisons
        }
    if args.rivals is not None:
        timed = json.loads(args.rivals.read_text())
        models = timed_models(timed, list(timed["tasks"]))
        tables["front"] = front_table(models)
        pictures["front"] = front_picture(front_plot(models))
        of_sst2 = front_plot(timed_models(timed, [SST2]), PUBLISHED)
        pictures["front-sst2"] = front_picture(of_sst2)
    if args.finetuning is not None:
        tables["finetuning"] = args.finetuning.read_text().splitlines()
    args.page.write_text(filled(args.page.read_text(), tables))
    for name, figure in pictures.items():
        (args.page.parent / f"{name}.png").write_bytes(image_bytes(figure, "png"))
    (args.out / "claims.json").write_text(json.dumps(numbers, indent=1))
    for name, lines in tables.items():
        print(f"\n{name}\n", *lines, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--page", type=Path, required=True, metavar="PAGE.md")
    parser.add_argument("--rivals", type=Path, metavar="rivals.json")
    parser.add_argument("--finetuning", type=Path, metavar="finetuning.md")
    main(parser.parse_args())
