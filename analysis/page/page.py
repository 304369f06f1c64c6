"""The report's one HTML page: what it shows, as plain tuples, and the file that template/ makes of them.

The page is one file that asks no address for anything: style and script are written into it, and all that it shows is one
JSON text, which its script sets as text, never as markup.
"""

import html
import json
import math
import re
from importlib.resources import files
from typing import Any, NamedTuple

from analysis.statistics.differences import ROW_QUANTILE
from mkd.evaluation.intervals import t_quantile

SCRIPTS = (
    *("format", "statistics", "data", "state", "axes", "labels", "chart", "overlay", "tip"),
    *("answer", "filters", "details", "table", "pair", "pictures", "main"),
)
"""The page's script, one file of template/ after the other: each uses only what those before it define."""

MANY = 500
"""Of more models than these, differences are told of those on the front alone: the page is to stay small."""

Interval = tuple[float, float, float]
"""Points, and the ends of their 95 % interval."""


class Link(NamedTuple):
    """An address with its words."""

    text: str
    url: str


class Run(NamedTuple):
    """One run of a model. link: its address in the MLflow UI, or "". mean, scores (by task): on dev, in points.

    selection, selection_scores: the same on the selection split.
    """

    id: str
    name: str
    link: str
    seed: int | None
    mean: float | None = None
    scores: dict[str, float] = {}
    selection: float | None = None
    selection_scores: dict[str, float] = {}


class Teacher(NamedTuple):
    """A teacher as timed on one machine. name: what Model.teacher says."""

    name: str
    machine: str
    mean: float | None
    scores: dict[str, float]
    latency_ms: float | None
    rows_per_s: float | None = None
    num_bytes: float | None = None
    parameters: float | None = None


class Baseline(NamedTuple):
    """The same student trained on the labels alone. model: the id of the Model whose twin it is, or "".

    Its latency, throughput and bytes are the student's, whose twin it is in all but its labels.
    """

    name: str
    model: str
    machine: str
    mean: float
    scores: dict[str, float]
    latency_ms: float | None
    rows_per_s: float | None = None
    num_bytes: float | None = None


class Model(NamedTuple):
    """One student on one machine, its seeds averaged. What is not known is None, "" or empty.

    id: unlike any other's. student_kind: bilstm, transformer, bag; another is drawn as `other`. backend, setting: in what and
    how it was timed. mean, scores by task: on dev, in points; selection, selection_scores: on the selection split, by which one
    of many is chosen. retention: in percent of the teacher named. teacher_latency_ms: beside it, in the same run. lost: teacher's
    score less its own, by task, "" the mean. settings: dotted name to text. state: a word on it, `finished`.
    """

    id: str
    name: str
    student_kind: str
    runs: list[Run]
    seeds: list[int]
    machine: str
    study: str
    backend: str
    setting: str
    latency_ms: float | None
    rows_per_s: float | None
    num_bytes: float | None
    parameters: float | None
    mean: float
    selection: float | None
    selection_scores: dict[str, float]
    scores: dict[str, float]
    teacher: str
    teacher_mean: float | None
    teacher_latency_ms: float | None
    retention: float | None
    settings: dict[str, str]
    state: str
    front: bool
    lost: dict[str, Interval] = {}


class Apart(NamedTuple):
    """How far other dev rows would move scores: standard deviations over the same resamples, in thousandths of a point.

    ids: of the models, in the order of the lists. own: of each one's score, by task, "" the mean. pairs: of the difference of
    each to those before it.
    """

    ids: list[str]
    own: dict[str, list[int]]
    pairs: dict[str, list[list[int]]]


class Picture(NamedTuple):
    """A static picture. name: its file's, without suffix. svg: the whole file's text."""

    name: str
    title: str
    caption: str
    svg: str


class LeftOut(NamedTuple):
    """Runs that are not in the report, for one reason. names: of them; may be fewer than `runs`."""

    reason: str
    runs: int
    names: list[str]


class PageInfo(NamedTuple):
    """All that the page shows. source: what is told of its origin, such as {"tracking store": ..., "experiment": ...}.

    made: when, as text. latency: what is timed, in words, such as "one call with 32 texts on 1 thread, in the fastest backend".
    tasks: in the order in which they are shown. notes: what a reader must know besides, one sentence each.
    """

    title: str
    source: dict[str, str]
    links: list[Link]
    made: str
    latency: str
    tasks: list[str]
    teachers: list[Teacher]
    baselines: list[Baseline]
    models: list[Model]
    apart: Apart
    pictures: list[Picture]
    left_out: list[LeftOut]
    notes: list[str]


def page(info: PageInfo) -> str:
    """The page as the text of one HTML file."""
    # No text of a run can end the script that holds it, nor open a comment in it.
    data = json.dumps(packed(info), ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    script = "\n".join(_file(f"{name}.js") for name in SCRIPTS)
    parts = {"TITLE": html.escape(info.title), "STYLE": _file("page.css"), "DATA": data, "SCRIPT": script}
    return re.sub("@(TITLE|STYLE|DATA|SCRIPT)@", lambda found: parts[found[1]], _file("page.html"))


def packed(info: PageInfo) -> dict[str, Any]:
    """What the page's script reads: lists of tuples as rows under their fields, a model's settings as numbers of texts."""
    models = info.models
    settings, columns = _settings(models)
    data: dict[str, Any] = _plain(info._replace(models=[model._replace(settings={}) for model in models]))
    if models:
        place = data["models"]["fields"].index("settings")
        for row, numbers in zip(data["models"]["rows"], columns, strict=True):
            row[place] = numbers
    most = max((len(model.runs) for model in models), default=0)
    t = [t_quantile(freedom) for freedom in range(1, most)]
    return data | {"settings": settings, "quantiles": {"rows": ROW_QUANTILE, "seeds": _plain(t)}}


def _settings(models: list[Model]) -> tuple[dict[str, Any], list[list[int]]]:
    """Those that all models share; of the others the names, their texts, and by model the number of each text (-1: none)."""
    names = list(dict.fromkeys(name for model in models for name in model.settings))
    texts = {name: list(dict.fromkeys(model.settings.get(name, "") for model in models)) for name in names}
    known = {name: all(name in model.settings for model in models) for name in names}
    varying = [name for name in names if len(texts[name]) > 1 or not known[name]]
    number = {name: {text: index for index, text in enumerate(texts[name])} for name in varying}
    rows = [[number[name][model.settings[name]] if name in model.settings else -1 for name in varying] for model in models]
    shared = {name: texts[name][0] for name in names if name not in number}
    return {"shared": shared, "names": varying, "texts": [texts[name] for name in varying]}, rows


def _plain(value: Any) -> Any:
    """Numbers to six places (what is not finite is unknown), tuples with names as dicts, lists of them as tables."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        if value and hasattr(value[0], "_fields"):
            return {"fields": list(value[0]._fields), "rows": [[_plain(one) for one in row] for row in value]}
        return [_plain(one) for one in value]
    return _plain(value._asdict()) if hasattr(value, "_fields") else value


def _file(name: str) -> str:
    return files(__package__).joinpath("template", name).read_text("utf-8")
