"""One call for a notebook: distils a teacher into a small student, on data in memory or in files.

    import mkd

    result = mkd.distil(frame, teacher="sentence-transformers/all-MiniLM-L6-v2", student="bag")
    result                       # scores, speed and a picture
    result.predict(["a text"])
    result.save("FOLDER")        # mkd.Student.load("FOLDER") loads it, without PyTorch

It is in `experiments` because it chooses settings and records runs; `mkd.distil` is this function.
"""

import base64
import html
import io
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import transformers
from matplotlib.figure import Figure

from experiments import cli
from experiments.distill import distill
from experiments.settings import DistillSettings
from experiments.shipped_students import DEFAULT, STUDENTS, with_student
from experiments.tracking import picture
from experiments.tracking.downloads import download_model
from experiments.tracking.store import experiment
from mkd import names, pipeline, progress
from mkd.config import HubConfig
from mkd.evaluation.scoring import runtime_student
from mkd.evaluation.speed import HEADLINE_SETTING, is_busy, ratio_text
from mkd.export.backends import TORCH, latency_ms
from mkd.export.hub import add_backend, describe_exported
from mkd.result import MODEL, Report, Result, report_doing, timed_backends
from mkd.runs.candidate import StudentCost, measure_cost
from mkd.runtime.answers import Prediction
from mkd.runtime.hub import HUB_NAME
from mkd.runtime.inference import Student
from mkd.runtime.manifest import MANIFEST
from mkd.runtime.texts import Text
from mkd.storage import pretrained
from mkd.students import load_model
from mkd.tasks.frames import task_from_data
from mkd.tasks.saved import save_tasks
from mkd.tasks.task import Task

BUDGET_BACKEND = "onnx"
"""Backend in which a student's latency is compared with the budget."""
TIMING_NOISE = 0.1
"""Share by which timings of a student may differ on an idle machine. 0.07 was measured
(docs/results/speed.md, "One student in three ways")."""


class Distilled:
    """The result of `distil`. Scores are in points from 0 to 100, on dev.

    - `scores`: a row for each task: scores of teacher, student and hard-label twin, and the
      student's score in percent of the teacher's.
    - `speed`: a row for each model and backend: median milliseconds for one text on one thread, how
      many times faster than the teacher, and MB.
    - `student`: the student, in its fastest backend.
    - `notes`: messages about data and models.
    - `settings`: all settings. `run_id`: of the run in MLflow, or "".
    - `result`: all metrics.
    """

    def __init__(
        self, settings: DistillSettings, result: Result, run_id: str, folder: Path
    ) -> None:
        """`folder` has the student in its subfolder `model`, and its exports beside it."""
        self.settings, self.result, self.run_id = settings, result, run_id
        self.notes = result.notes
        self.scores, self.speed = score_frame(result), speed_frame(result)
        self._folder = folder
        exported = Path(result.exported).name
        if exported:
            self.student = Student.load(folder / exported)
        else:
            model = folder / MODEL
            self.student = runtime_student(
                load_model(model, "the student"), pretrained.load_tokenizer(model, "the student")
            )

    def predict(
        self, texts: Iterable[Text], task: str | None = None, min_confidence: float = 0.0
    ) -> list[Prediction]:
        """Returns a prediction for each text, as Student.predict does.

        - `task`: its name. None: the only task. Raises ValueError if there are several.
        """
        known = list(self.student.heads)
        if task is None and len(known) > 1:
            raise ValueError(f"task is None; allowed: {', '.join(known)}")
        return self.student.predict(texts, task or known[0], min_confidence)

    def plot(self) -> Figure:
        """Returns a picture: scores by task, and quality against latency.

        Raises ValueError if no speed was measured.
        """
        if not timed_backends(self.result.metrics):
            raise ValueError("speed.seconds is 0; allowed for a picture: above 0")
        return shown_in_notebooks(picture.draw(picture.picture_data(self.result)))

    def save(self, folder: str | Path) -> Path:
        """Copies the student to a new folder, which Student.load reads; returns its path.

        The folder has the layout of the Hugging Face hub (experiments.export). If no export passed
        its check, it has the PyTorch weights instead.
        """
        target = Path(folder)
        if target.exists():
            raise ValueError(f"folder is {str(folder)!r}; allowed: one that does not exist yet")
        metrics = self.result.metrics
        backends = [
            backend
            for backend in timed_backends(metrics)
            if (self._folder / backend / MANIFEST).exists()
        ]
        if not backends:
            return Path(shutil.copytree(self._folder / MODEL, target))
        for backend in backends:
            add_backend(self._folder / backend, backend, target)
        model, checkpoint = self._folder / MODEL, self.settings.teacher.checkpoint
        base = checkpoint if HUB_NAME.fullmatch(checkpoint) else ""
        hub = HubConfig(base_model="" if Path(checkpoint).exists() else base)
        with quiet():
            student = load_model(model, "the student")
            tokenizer = pretrained.load_tokenizer(model, "the student")
            describe_exported(student, tokenizer, hub, backends, metrics, target)
        return target

    def to_html(self) -> str:
        """Returns the tables, the picture and the notes as HTML that needs no other file."""
        figure = self.plot() if timed_backends(self.result.metrics) else None
        fragments = [
            f"<p><b>{html.escape(self.result.student)}</b> of {html.escape(self.result.teacher)}"
            "; scores on dev, in points</p>",
            self.scores.to_html(index=False, float_format="{:.1f}".format, na_rep="-"),
            shown_speed(self.result).to_html(index=False),
        ]
        if figure is not None:
            fragments.append(picture_html(figure, "quality against latency"))
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return "\n".join(
            [*fragments, f"<details><summary>notes</summary><ul>{notes}</ul></details>"]
        )

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        scores = self.scores.to_string(index=False, float_format="{:.1f}".format, na_rep="-")
        speed = shown_speed(self.result).to_string(index=False)
        return f"{self.result.student} of {self.result.teacher}\n{scores}\n\n{speed}"


def distil(
    data: Any,
    teacher: str = "",
    student: str | None = None,
    *,
    budget_ms: float | None = None,
    track: bool | str = False,
    settings: Mapping[str, Any] | None = None,
) -> Distilled:
    """Distils a teacher into a student, and measures both on rows that neither was trained on.

    - `data`: a pandas DataFrame; a Dataset or DatasetDict of `datasets`; what `data.path` takes: a
      CSV, TSV, JSONL or Parquet file, a folder, a YAML file that describes tasks, or a name on the
      hub; or a dict of frames, datasets and files by task name. Columns, labels and a dev split are
      inferred; `mkd.task_from_data` makes a task with some of them stated, and such a task may
      stand in the dict.
    - `teacher`: folder or hub name of a pretrained encoder. Empty: a small teacher from scratch.
    - `student`: `bag` (the default and the fastest), `bilstm` or `transformer`.
    - `budget_ms`: instead of `student`: the largest of the three that answers a text in so many
      milliseconds on one thread, measured here before any training. If none does, the fastest is
      taken where it is above the budget by no more than timings differ: a tenth of its time, or the
      share of the core that other work had. A note says so if it was above the budget then, or is
      after its training.
    - `track`: True: the run is recorded in MLflow, in the experiment `mkd`. A name: in that one.
    - `settings`: other settings by their dotted names, such as `{"train.steps": 2000}`.

    The rows are kept in the cache (`cache`, .mkd by default), as are tokens, teacher and logits: a
    second call pays for the student only.

    Raises ValueError for data that cannot be understood, settings that do not fit together, and a
    budget that no student meets.
    """
    if student is not None and budget_ms is not None:
        raise ValueError(f"budget_ms is {budget_ms:g}; allowed with student={student!r}: None")
    if student is not None and student not in STUDENTS:
        raise ValueError(f"student is {student!r}; allowed: {', '.join(STUDENTS)}")
    user_settings = dict(settings or {})
    with quiet(), progress.phase_bars() as report:
        base = cli.with_settings(DistillSettings(), {"cache": user_settings.get("cache", ".mkd")})
        base = cli.with_settings(base, data_settings(data, Path(base.cache)))
        base = cli.with_settings(base, {"teacher.checkpoint": teacher})
        chosen_ms = 0.0
        if budget_ms is None:
            config = with_student(base, student or DEFAULT, user_settings)
        else:
            config, chosen_ms = within_budget(base, budget_ms, user_settings, report)
        if not track:
            return _with_budget_note(_untracked(config, report), budget_ms, chosen_ms)
    with experiment(track) if isinstance(track, str) else nullcontext(), quiet():
        return _with_budget_note(_tracked(config), budget_ms, chosen_ms)


def within_budget(
    base: DistillSettings, budget_ms: float, user_settings: Mapping[str, Any], report: Report
) -> tuple[DistillSettings, float]:
    """Returns the settings with the largest student that meets the budget, and its latency in ms.

    Each is timed with random weights. If none meets the budget, the fastest is taken where its time
    less the noise of a timing meets it. The noise is a share of the time: TIMING_NOISE, or on a
    busy machine the share of the core that other work had, if that is more.

    Raises ValueError if none is fast enough.
    """
    data = None
    configs: dict[str, DistillSettings] = {}
    costs: dict[str, StudentCost] = {}
    for student in reversed(STUDENTS):
        configs[student] = config = with_student(base, student, user_settings)
        data = data or pipeline.load_data(config.core(), report)
        report_doing(report, f"timing a {student}")
        costs[student] = cost = measure_cost(data, config.core(), BUDGET_BACKEND)
        if cost.latency_ms <= budget_ms:
            return config, cost.latency_ms
    fastest = min(costs, key=lambda name: costs[name].latency_ms)
    least_ms, metrics = costs[fastest].latency_ms, costs[fastest].metrics
    noise = max(TIMING_NOISE, metrics.get(names.BUSY_SHARE, 0.0))
    if least_ms * (1 - noise) <= budget_ms:
        return configs[fastest], least_ms
    busy = ", timed on a busy machine" if is_busy(metrics) else ""
    raise ValueError(
        f"budget_ms is {budget_ms:g}; allowed: at least {least_ms:.3g}, which {fastest} has, the "
        f"fastest{busy}"
    )


def _with_budget_note(distilled: Distilled, budget_ms: float | None, chosen_ms: float) -> Distilled:
    """Adds a note, and prints it, if a time of the student is above the budget.

    chosen_ms: its time before the training.
    """
    if budget_ms is None:
        return distilled
    after_ms = distilled.result.metrics.get(
        names.speed(BUDGET_BACKEND, HEADLINE_SETTING.name, names.P50), chosen_ms
    )
    if max(chosen_ms, after_ms) > budget_ms:
        note = (
            f"budget_ms is {budget_ms:g}: the student took {chosen_ms:.3g} ms before its training "
            f"and {after_ms:.3g} ms after it; timings may differ by a tenth, on a busy machine by "
            "more"
        )
        print(note)
        distilled.notes = [note, *distilled.notes]
    return distilled


def score_frame(result: Result) -> pd.DataFrame:
    """Returns the scores of a distillation by task, with the mean of several tasks last."""
    tasks = [data.task for data in result.datasets]
    keys = {task: names.quality(task) for task in tasks}
    if len(tasks) > 1:
        keys[names.MEAN] = names.QUALITY_MEAN
    metrics = result.metrics
    columns = {
        "teacher": [metrics.get(names.TEACHER + key) for key in keys.values()],
        "student": [metrics.get(key) for key in keys.values()],
        "hard labels": [metrics.get(names.BASELINE + key) for key in keys.values()],
        "kept %": [metrics.get(names.RETENTION + task) for task in keys],
    }
    return pd.DataFrame({"task": list(keys), **columns})


def speed_frame(result: Result) -> pd.DataFrame:
    """Returns the latency of teacher and student by backend. Without timings it has no rows."""
    metrics, setting = result.metrics, HEADLINE_SETTING.name
    rows: list[tuple[str, str, float, float | None, float | None]] = []
    teacher = metrics.get(names.TEACHER + names.speed(TORCH, setting, names.P50))
    if teacher is not None:
        rows.append(("teacher", TORCH, teacher, None, None))
    for backend in timed_backends(metrics):
        ratio = metrics.get(names.speed(backend, setting, names.RATIO))
        size = names.SIZE_BYTES if backend == TORCH else names.export(backend, names.BYTES)
        time = latency_ms(metrics, backend)
        rows.append(("student", backend, time, ratio, metrics.get(size, 0) / 1e6))
    header = ["model", "backend", "ms a text", "times faster", "MB"]
    return pd.DataFrame(rows, columns=header)


def shown_speed(result: Result) -> pd.DataFrame:
    """Returns the frame of speeds as text. Ratios of a busy machine are not precise, and say so."""
    frame = speed_frame(result)
    times = partial(ratio_text, busy=is_busy(result.metrics))
    number = "{:.2f}".format
    for column, form in (("ms a text", number), ("times faster", times), ("MB", number)):
        cells = ["-" if pd.isna(value) else form(value) for value in frame[column]]
        frame[column] = pd.Series(cells, dtype=object)
    return frame


def data_settings(data: Any, cache: Path) -> dict[str, Any]:
    """Returns the settings of the data. Rows in memory are written to the cache."""
    if isinstance(data, str | Path):
        return {"data.path": str(data)}
    tasks = _tasks(data)
    for task in tasks:
        for note in task.notes:
            print(f"{task.name}: {note}")
    path = str(save_tasks(cache, tasks))
    return {"data.path": path, "data.tasks": [task.name for task in tasks]}


def _tasks(data: Any) -> list[Task]:
    """Returns the tasks of data in memory, or of several tasks by name."""
    # A DatasetDict is a dict too, of splits.
    if not isinstance(data, Mapping) or hasattr(data, "column_names") or "train" in data:
        data = {"task": data}
    return [
        value if isinstance(value, Task) else task_from_data(str(name), value)
        for name, value in data.items()
    ]


def _untracked(config: DistillSettings, report: Report) -> Distilled:
    folder = Path(tempfile.mkdtemp(prefix="mkd-"))
    try:
        result = pipeline.run(config.core(), folder, report)
        return _kept_until_gone(Distilled(config, result, "", folder), folder)
    except BaseException:
        shutil.rmtree(folder)
        raise


def _tracked(config: DistillSettings) -> Distilled:
    finished = distill(config)
    folder = Path(tempfile.mkdtemp(prefix="mkd-"))
    model = download_model("track", f"runs:/{finished.run_id}/student", folder)
    distilled = Distilled(config, finished.made, finished.run_id, model.student.parent)
    return _kept_until_gone(distilled, folder)


def _kept_until_gone(distilled: Distilled, folder: Path) -> Distilled:
    """Deletes the folder when nobody holds the object, or at the end of the process."""
    weakref.finalize(distilled, shutil.rmtree, folder, ignore_errors=True)
    return distilled


@contextmanager
def quiet() -> Iterator[None]:
    """Leaves out the bars and the messages of transformers, as the commands do."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def picture_html(figure: Figure, description: str) -> str:
    """Returns a figure as an image in HTML that needs no other file."""
    source = f"data:image/png;base64,{base64.b64encode(_png(figure)).decode()}"
    return f'<img alt="{html.escape(description)}" src="{source}">'


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def shown_in_notebooks(figure: Figure) -> Figure:
    """Lets a notebook show a figure that pyplot does not know."""
    figure._repr_png_ = lambda: _png(figure)  # type: ignore[attr-defined]
    return figure
