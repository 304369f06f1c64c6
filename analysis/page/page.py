"""The report's HTML page: its content as named tuples, and the file made from them by template/.

The page is one file that loads nothing from any address. Style and script are embedded. The content
is one JSON text, which the script inserts as text and never as markup.
"""

import html
import json
import math
import re
from importlib.resources import files
from typing import Any, NamedTuple

from analysis.presentation.figure import outline
from analysis.presentation.palette import KINDS, LOOKS, stylesheet
from analysis.statistics.differences import ROW_QUANTILE
from mkd.evaluation.intervals import t_quantile

SCRIPTS = (
    *("format", "statistics", "data", "state", "axes", "labels", "chart", "overlay", "tip"),
    *("answer", "filters", "details", "table", "pair", "pictures", "main"),
)
"""Files of template/ that make up the page's script, in order. Each uses only what the earlier
ones define.
"""

MANY = 500
"""With more models than this, differences are included for the front only, to keep the page
small.
"""

Interval = tuple[float, float, float]
"""A number of points, and the ends of its 95 % interval."""


class Link(NamedTuple):
    """An address and its text."""

    text: str
    url: str


class Run(NamedTuple):
    """One run of a model.

    link: its address in the MLflow UI, or "".
    mean, scores: on dev, in points; scores by task.
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
    """A teacher as it was timed on one machine.

    name: the same as in Model.teacher.
    """

    name: str
    machine: str
    mean: float | None
    scores: dict[str, float]
    latency_ms: float | None
    rows_per_s: float | None = None
    num_bytes: float | None = None
    parameters: float | None = None


class Baseline(NamedTuple):
    """A hard-label twin: the same student, trained on the labels alone.

    Latency, throughput and bytes are those of that student, because both have the same
    architecture.

    model: the id of the Model that it belongs to, or "".
    """

    name: str
    model: str
    machine: str
    mean: float
    scores: dict[str, float]
    latency_ms: float | None
    rows_per_s: float | None = None
    num_bytes: float | None = None


class PageModel(NamedTuple):
    """One student on one machine, averaged over its seeds. Unknown values are None, "" or empty.

    id: unique.
    student_kind: one without a look of its own is drawn as `other`.
    backend, setting: of the timing.
    mean, scores: on dev, in points; scores by task.
    selection, selection_scores: the same on the selection split, by which models are chosen.
    retention: in percent of the named teacher's score.
    teacher_latency_ms: measured in the same run.
    settings: text by dotted name.
    state: how the runs ended, `finished`.
    lost: the teacher's score less the model's, by task, with "" for the mean.
    busy: whether it was timed on a busy machine, so that its times are not precise.
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
    busy: bool = False


class RowDeviations(NamedTuple):
    """How far other dev rows would move scores, as standard deviations in thousandths of a point.

    All are computed over the same resamples.

    ids: the models, in the order of the lists.
    own: of each model's score, by task, with "" for the mean.
    pairs: of each model's difference to the models before it.
    """

    ids: list[str]
    own: dict[str, list[int]]
    pairs: dict[str, list[list[int]]]


class Picture(NamedTuple):
    """A static picture.

    name: its file name without suffix.
    svg: the content of the SVG file.
    """

    name: str
    title: str
    caption: str
    svg: str


class LeftOut(NamedTuple):
    """Runs that are not in the report for one reason.

    names: their names; there may be fewer than `runs`.
    """

    reason: str
    runs: int
    names: list[str]


class PageInfo(NamedTuple):
    """The content of the page.

    source: where the runs come from, such as {"tracking store": ..., "experiment": ...}.
    made: date and time, as text.
    latency: what is timed, in words, such as "one call with 32 texts on 1 thread, in the fastest
        backend".
    tasks: in the order in which they are shown.
    notes: warnings for the reader, one sentence each.
    """

    title: str
    source: dict[str, str]
    links: list[Link]
    made: str
    latency: str
    tasks: list[str]
    teachers: list[Teacher]
    baselines: list[Baseline]
    models: list[PageModel]
    deviations: RowDeviations
    pictures: list[Picture]
    left_out: list[LeftOut]
    notes: list[str]


def page(page_content: PageInfo) -> str:
    """Returns the page as the text of one HTML file."""
    # Without "<", no text of a run can end the script element that holds it, or open a comment in
    # it.
    data = json.dumps(
        packed(page_content), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    ).replace("<", "\\u003c")
    script = "\n".join(_file(f"{name}.js") for name in SCRIPTS)
    marker_texts = {
        "TITLE": html.escape(page_content.title),
        "STYLE": stylesheet() + _file("page.css"),
        "DATA": data,
        "SCRIPT": script,
    }
    # A single pass over the template, so that nothing inside the data is taken for a marker.
    return re.sub(
        "@(TITLE|STYLE|DATA|SCRIPT)@", lambda match: marker_texts[match[1]], _file("page.html")
    )


def packed(page_content: PageInfo) -> dict[str, Any]:
    """Returns the data that the page's script reads, as compact JSON values.

    Lists of named tuples become rows below their field names. A model's settings become indices
    into lists of texts, because most models share most texts.
    """
    models = page_content.models
    settings, columns = _settings(models)
    data: dict[str, Any] = _plain(
        page_content._replace(models=[model._replace(settings={}) for model in models])
    )
    if models:
        place = data["models"]["fields"].index("settings")
        for row, numbers in zip(data["models"]["rows"], columns, strict=True):
            row[place] = numbers
    # The page computes t intervals itself, for which it needs a quantile for each number of seeds.
    most = max((len(model.runs) for model in models), default=0)
    t = [t_quantile(freedom) for freedom in range(1, most)]
    return data | {
        "settings": settings,
        "quantiles": {"rows": ROW_QUANTILE, "seeds": _plain(t)},
        "kinds": list(KINDS),
        "outlines": {name: outline(each.marker) for name, each in LOOKS.items()},
    }


def _settings(models: list[PageModel]) -> tuple[dict[str, Any], list[list[int]]]:
    """Returns the settings of all models, and the indices of each model's texts.

    Settings that all models share are stored once. For the others there are names, texts, and by
    model the index of each text, -1 if the model does not have the setting.
    """
    names = list(dict.fromkeys(name for model in models for name in model.settings))
    texts = {
        name: list(dict.fromkeys(model.settings.get(name, "") for model in models))
        for name in names
    }
    known = {name: all(name in model.settings for model in models) for name in names}
    varying = [name for name in names if len(texts[name]) > 1 or not known[name]]
    number = {name: {text: index for index, text in enumerate(texts[name])} for name in varying}
    rows = [
        [number[name][model.settings[name]] if name in model.settings else -1 for name in varying]
        for model in models
    ]
    shared = {name: texts[name][0] for name in names if name not in number}
    return {"shared": shared, "names": varying, "texts": [texts[name] for name in varying]}, rows


def _plain(value: Any) -> Any:
    """Converts a value to JSON: named tuples to dicts, and lists of them to tables.

    Floats are rounded to six significant digits. A float that is not finite becomes null.
    """
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        if value and hasattr(value[0], "_fields"):
            return {
                "fields": list(value[0]._fields),
                "rows": [[_plain(one) for one in row] for row in value],
            }
        return [_plain(one) for one in value]
    return _plain(value._asdict()) if hasattr(value, "_fields") else value


def _file(name: str) -> str:
    """Returns the content of a file of template/."""
    return files(__package__).joinpath("template", name).read_text("utf-8")
