"""Backends of a trained student: export, check against PyTorch on dev, and speed."""

import math
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mkd import names, processes
from mkd.config import ExportConfig, SpeedConfig
from mkd.evaluation.scoring import dev_logits, quality_metrics, runtime_student
from mkd.evaluation.speed import (
    HEADLINE_SETTING,
    TimedModel,
    busy_note,
    dev_texts,
    embedding_token_ids,
    speed_metrics,
    speed_settings,
)
from mkd.evaluation.thresholds import HALF, Thresholds
from mkd.export.folder import (
    PROGRAM,
    export_bag,
    export_int8,
    export_onnx,
    export_program,
    load_program,
)
from mkd.result import MODEL, Report, no_report, phase_report
from mkd.runtime import inference
from mkd.runtime.layout import Layout, padded
from mkd.storage.addresses import first_line
from mkd.students import Student
from mkd.students.bag import BagStudent
from mkd.students.heads import thresholds_of
from mkd.tasks.task import Task
from mkd.teachers.multitask import MultiTaskTeacher
from mkd.teachers.task_teacher import RunnableModel
from mkd.tokenization.tokens import ModelData, TaskData

TORCH = "torch"
TRACED = "program"
"""Name of the torch.export program.

It is checked like a backend, but neither timed nor chosen as the fastest.
"""
FLOAT32_TOLERANCE = 1e-3
"""Largest allowed difference between float32 logits of a backend and those of PyTorch."""
MAX_SINGLE_ROWS = 2000
"""Maximum number of rows of each dev split that are also checked as batches of one row.

The limit keeps this check short for a large model.
"""


class Exports(NamedTuple):
    """The result of `export_student`.

    - `metrics`: metrics of the exports and of the speed
    - `notes`: the backends that failed, each with the reason, and notes on the speed
    - `folder`: folder of the fastest backend that passed its check; empty if that is PyTorch
    - `passed`: names of the backends that passed their check, `torch` included
    """

    metrics: dict[str, float]
    notes: list[str]
    folder: str
    passed: tuple[str, ...] = (TORCH,)


class ExportRequest(NamedTuple):
    """Settings of `export_student`.

    - `threads`: CPU threads of the check on dev; 0: OMP_NUM_THREADS, or else all cores
    """

    export: ExportConfig
    speed: SpeedConfig
    threads: int


class TrainedStudent(NamedTuple):
    """A trained student.

    - `data`: its data and tokenizer
    - `layout`: the layout of its batches
    - `dev`: its logits on dev in PyTorch, by task and suffix of the dev split
    """

    student: Student
    data: ModelData
    layout: Layout
    dev: dict[tuple[str, str], np.ndarray]


def export_student(
    request: ExportRequest,
    trained: TrainedStudent,
    tasks: list[Task],
    teacher: MultiTaskTeacher | None,
    folder: Path,
    report: Report,
) -> Exports:
    """Exports the student to the requested backends, checks them, and measures the speed.

    Each backend is written to a folder of its name in `folder`. With export.torch, a torch.export
    program is also written, to `model` in `folder`, and checked in the same way. The speed is that
    of PyTorch, of each backend that was written, and of the teacher.

    The metrics of a backend are:

    - `export/<backend>/max_difference`, `/quality/...`, `/loss`, `/loss_batches`,
      `/loss_single_rows`: as returned by `compare_backend`; losses are of the mean score, in points
    - `export/<backend>/bytes`: size of its files
    - `export/<backend>/offered`: 1 if it passed its check, else 0
    - `speed/<backend>/<setting>/...`: as in mkd/evaluation/speed.py
    - `speed/<backend>/<setting>/ratio`: as in `ratios`, if there is a teacher that runs here

    If there are several processes, only the first one does this; the others return no metrics.
    """
    if not processes.is_first():
        return Exports({}, [], "")
    trained = trained._replace(student=trained.student.cpu())
    timed = {TORCH: in_torch(RunnableModel(trained.student, trained.data.tokenizer))}
    made, notes = _exports(request, trained, folder, phase_report(report, "", "export"))
    metrics = {
        names.export(export.name, key): value
        for export in made
        for key, value in export.metrics.items()
    }
    for export in made:
        if export.name != TRACED:
            timed[export.name] = timed[TORCH]._replace(
                load=partial(inference.Student.load, export.path)
            )
    speed = _speed(request.speed, timed, tasks, teacher, report)
    passed = [
        TORCH,
        *(export.name for export in made if not export.wrong and export.name != TRACED),
    ]
    best = min(passed, key=lambda name: latency_ms(speed, name)) if speed else TORCH
    notes += busy_note(speed)
    return Exports(
        metrics | speed | ratios(speed),
        notes,
        "" if best == TORCH else str(folder / best),
        tuple(passed),
    )


def _speed(
    config: SpeedConfig,
    timed: dict[str, TimedModel],
    tasks: list[Task],
    teacher: MultiTaskTeacher | None,
    report: Report,
) -> dict[str, float]:
    """Returns the speed of the student's backends, and of the teacher if it runs here.

    Each backend and the teacher get the same share of config.seconds.
    """
    asked, work = speed_settings(config), dev_texts(tasks)
    runnable = None if teacher is None else teacher.runnable
    share = config.seconds / (len(timed) + (runnable is not None))
    own = speed_metrics(
        timed, work, asked, share * len(timed), "", phase_report(report, "", "speed")
    )
    if runnable is None:
        return own
    teachers = {TORCH: in_torch(runnable)}
    return own | speed_metrics(
        teachers, work, asked, share, names.TEACHER, phase_report(report, "", "teacher speed")
    )


class ExportedBackend(NamedTuple):
    """A backend that was written.

    - `metrics`: its `export/<name>/...`
    - `wrong`: why it failed its check; empty if it passed
    """

    name: str
    path: Path
    metrics: dict[str, float]
    wrong: list[str]


def _exports(
    request: ExportRequest, trained: TrainedStudent, folder: Path, report: Report
) -> tuple[list[ExportedBackend], list[str]]:
    """Writes and checks the requested backends.

    Returns those that were written, and notes on those that could not be written or failed their
    check.
    """
    asked, (student, side, layout, dev) = request.export, trained
    made: list[ExportedBackend] = []
    notes: list[str] = []
    # onnx first: int8 is converted from it, except for a bag student.
    backends = sorted(asked.backends, key=lambda name: name != "onnx")
    order = [*([TRACED] if asked.torch else []), *backends]

    def progressed(done: float) -> None:
        """Reports how many backends are written and compared, in percent of one backend."""
        percent = round(100 * done)
        report(percent, {names.SHARE: percent / (100 * len(order))})

    for number, name in enumerate(order):
        progressed(number)
        path = folder / MODEL / PROGRAM if name == TRACED else folder / name
        try:
            _make(name, asked, trained, path)
        except (torch.onnx.OnnxExporterError, torch._dynamo.exc.UserError, ValueError) as error:
            shutil.rmtree(path, ignore_errors=True)
            notes.append(f"no {name}: {first_line(error)}")
            if name == TRACED:
                continue
            break  # int8, if it is still to come, needs onnx
        infer = (
            load_program(path, student)
            if name == TRACED
            else inference.Student.load(path, request.threads).infer
        )

        def compared(_: int, shown: dict[str, float], before: int = number) -> None:
            progressed(before + shown[names.SHARE])

        metrics = compare_backend(side, dev, infer, layout, thresholds_of(student.config), compared)
        wrong = export_problems(name, metrics, asked.max_loss)
        made.append(
            ExportedBackend(
                name,
                path,
                metrics | {names.BYTES: float(size_on_disk(path)), names.OFFERED: float(not wrong)},
                wrong,
            )
        )
        notes += wrong
        if wrong and name == TRACED:
            path.unlink()
        progressed(number + 1)
    return made, notes


def in_torch(runnable: RunnableModel) -> TimedModel:
    """Returns the model in PyTorch on the CPU, ready to be timed."""
    load: Callable[[int], inference.Student] = partial(
        runtime_student, runnable.model.cpu(), runnable.tokenizer
    )
    return TimedModel(load, embedding_token_ids(runnable.model))


def compare_backend(
    side: ModelData,
    dev: dict[Any, np.ndarray],
    infer: inference.Infer,
    layout: Layout,
    thresholds: Thresholds = HALF,
    report: Report = no_report,
) -> dict[str, float]:
    """Compares a backend with PyTorch on dev, in batches and row by row.

    With dynamic quantisation, the logits of a row depend on the other rows of its batch. A student
    in use gets both batches and single rows, so both are checked: all dev rows in batches, and at
    most MAX_SINGLE_ROWS evenly spread rows of each split as batches of one row.

    - `dev`: logits in PyTorch, by task and suffix of the dev split
    - `infer`: computes logits in the backend
    - `thresholds`: the student's

    Returns the metrics of `compare_logits` for batches, with these changes:

    - `loss_batches`, `loss_single_rows`: the two losses, each against PyTorch on the same rows
    - `loss`: the larger of the two
    - `max_difference`: the maximum over both

    Returns no metrics if a logit is not finite.
    """
    of_batches = dev_logits(infer, side.datas, layout, report)
    batches = compare_logits(side, dev, of_batches, thresholds)
    chosen = {key: _spread(len(logits)) for key, logits in dev.items()}
    alone: dict[Any, np.ndarray] = {}
    few: list[TaskData] = []
    for data in side.datas:
        for suffix, store in data.dev.items():
            rows = chosen[data.name, suffix].reshape(-1, 1)
            alone[data.name, suffix] = np.concatenate(
                [infer(padded(store, row, layout), data.name) for row in rows]
            )
        # `quality_metrics` reads the labels of a store, and the first texts if these are groups.
        dev_few = {
            name: store._replace(
                a=store.a.taken(chosen[data.name, name]),
                labels=store.labels[chosen[data.name, name]],
                sets=None if store.sets is None else store.sets[chosen[data.name, name]],
            )
            for name, store in data.dev.items()
        }
        few.append(data._replace(dev=dev_few))
    single = compare_logits(
        side._replace(datas=few),
        {key: dev[key][rows] for key, rows in chosen.items()},
        alone,
        thresholds,
    )
    if not batches or not single:
        return {}
    worse = {name: max(batches[name], single[name]) for name in (names.LOSS, names.MAX_DIFFERENCE)}
    return (
        batches
        | worse
        | {names.LOSS_BATCHES: batches[names.LOSS], names.LOSS_SINGLE_ROWS: single[names.LOSS]}
    )


def _spread(count: int) -> np.ndarray:
    """Returns the positions, among `count` rows, of those that are checked one by one."""
    return np.linspace(0, count, min(count, MAX_SINGLE_ROWS), endpoint=False).astype(int)


def compare_logits(
    side: ModelData,
    dev: dict[Any, np.ndarray],
    other: dict[Any, np.ndarray],
    thresholds: Thresholds = HALF,
) -> dict[str, float]:
    """Compares the logits `other` of a backend with the logits `dev` of PyTorch on the same rows.

    Returns no metrics if not all differences are finite, and otherwise:

    - `max_difference`: largest absolute difference between two logits
    - `loss`: mean score of `dev` minus mean score of `other`, in points
    - `quality/...`: scores of `other`
    """
    difference = float(np.max([np.abs(dev[key] - other[key]).max() for key in dev]))
    if not math.isfinite(difference):
        return {}
    before, after = (quality_metrics(side.datas, some, thresholds) for some in (dev, other))
    scores = {name: value for name, value in after.items() if names.is_score(name)}
    loss = before[names.QUALITY_MEAN] - after[names.QUALITY_MEAN]
    return {names.MAX_DIFFERENCE: difference, names.LOSS: loss} | scores


def latency_ms(speed: dict[str, float], backend: str) -> float:
    """Returns the backend's median time for one text on one thread, in milliseconds."""
    return speed[names.speed(backend, HEADLINE_SETTING.name, names.P50)]


def ratios(speed: dict[str, float]) -> dict[str, float]:
    """Returns `speed/<backend>/<setting>/ratio`: how many times faster the student is.

    The comparison is with the teacher in PyTorch in the same setting. A teacher may be slower with
    more threads, so its best time with at most as many threads as the student counts. A ratio is
    one of medians for one row, and of rows per second for many rows.

    Settings in which the teacher was not measured have no ratio.
    """
    own, teachers = _compared(speed, ""), _compared(speed, names.TEACHER)
    metrics: dict[str, float] = {}
    for (backend, setting), value in own.items():
        kind, threads = _threads(setting)
        theirs = [
            other
            for (name, asked), other in teachers.items()
            if name == TORCH and _threads(asked)[0] == kind and _threads(asked)[1] <= threads
        ]
        if theirs:
            faster = min(theirs) / value if statistic(setting) == names.P50 else value / max(theirs)
            metrics[names.speed(backend, setting, names.RATIO)] = faster
    return metrics


def _compared(speed: dict[str, float], prefix: str) -> dict[tuple[str, str], float]:
    """Returns, by backend and setting, the value of the statistic by which models are compared.

    - `prefix`: prefix of the metrics to read: empty for the student, or `teacher/`
    """
    parsed = {
        name: names.parsed_speed(name.removeprefix(prefix))
        for name in speed
        if name.startswith(prefix)
    }
    return {
        (p[0], p[1]): speed[name]
        for name, p in parsed.items()
        if p is not None and p[2] == statistic(p[1])
    }


def _threads(setting: str) -> tuple[str, int]:
    """Splits the name of a setting into its kind, such as `b32-text`, and its number of threads."""
    kind, _, threads = setting.rpartition("-t")
    return kind, int(threads)


def statistic(setting: str) -> str:
    """Returns the statistic that compares models: `p50_ms` for one row, else `rows_per_s`."""
    return names.P50 if setting.startswith("b1-") else names.ROWS_PER_S


def _make(name: str, asked: ExportConfig, trained: TrainedStudent, path: Path) -> None:
    """Writes one backend to `path`.

    Raises the errors of PyTorch's exporters, and ValueError if the backend does not support the
    model.
    """
    student, side, layout, _ = trained
    if name == TRACED:
        export_program(student, layout, path)
        return
    shutil.rmtree(path, ignore_errors=True)
    if name == "onnx":
        export_onnx(student, side.tokenizer, path)
    elif isinstance(student, BagStudent):
        export_bag(student, side.tokenizer, path)
    else:
        export_int8(path.with_name("onnx"), path, asked)


def export_problems(name: str, found: dict[str, float], max_loss: float) -> list[str]:
    """Returns why the backend fails its check; an empty list if it passes.

    - `found`: metrics as returned by `compare_backend`
    - `max_loss`: largest allowed loss of the mean score, in points
    """
    if not found:
        return [f"{name} is not offered: not all of its logits are finite"]
    if found[names.LOSS] > max_loss:
        limit = f"at most {max_loss:g} (export.max_loss)"
        where = "batches" if found[names.LOSS_BATCHES] == found[names.LOSS] else "single rows"
        return [
            f"{name} is not offered: it loses {found[names.LOSS]:.2f} points of the mean score in "
            f"{where}, allowed: {limit}"
        ]
    if name in ("onnx", TRACED) and found[names.MAX_DIFFERENCE] > FLOAT32_TOLERANCE:
        return [
            f"{name} is not offered: its logits are up to {found[names.MAX_DIFFERENCE]:.2g} off "
            f"torch's, allowed: {FLOAT32_TOLERANCE:g}"
        ]
    return []


def size_on_disk(path: Path) -> int:
    """Returns the bytes of a file, or of the files of a folder."""
    return sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
