"""A trained model in every backend that it can work in: exported, checked against torch on the dev
rows, and timed beside it."""

import math
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

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
from mkd.export.folder import (
    PROGRAM,
    export_bag,
    export_int8,
    export_onnx,
    export_program,
    load_program,
)
from mkd.result import MODEL, Report, phase_report
from mkd.runtime import inference
from mkd.runtime.layout import Layout, padded
from mkd.students import Student
from mkd.students.bag import BagStudent
from mkd.tasks.task import Task
from mkd.teachers.finetuned import Classifier
from mkd.teachers.multitask import MultiTaskTeacher
from mkd.tokenization.tokens import ModelData, TaskData

TORCH = "torch"
TRACED = "program"
"""The torch.export program, which is checked as a backend is, and is for others to run."""
EQUAL = 1e-3
"""Logits in float32 differ by no more between backends."""
SINGLE_ROWS = 2000
"""At most so many rows of each dev split are asked one by one too: for a large model no more work
than a few batches of them."""


class Offered(NamedTuple):
    """What came of it. folder: of the fastest backend that passed its check; empty: torch is.
    notes: which did not, and why.

    passed: all that did, `torch` among them.
    """

    metrics: dict[str, float]
    notes: list[str]
    folder: str
    passed: tuple[str, ...] = (TORCH,)


class Wanted(NamedTuple):
    """What is made of a student and measured. threads: CPU threads of the check on dev; 0: as many
    as there are cores."""

    export: ExportConfig
    speed: SpeedConfig
    threads: int


class Trained(NamedTuple):
    """A model whose training is over: what it reads, how, and its logits on dev in torch."""

    student: Student
    side: ModelData
    layout: Layout
    dev: dict[tuple[str, str], np.ndarray]


def offered(
    wanted: Wanted,
    trained: Trained,
    tasks: list[Task],
    teacher: MultiTaskTeacher | None,
    folder: Path,
    report: Report,
) -> Offered:
    """The student in the backends that are wanted, each in a folder of its name, and the speed of
    all and of the teacher.

    The logits of each backend are compared with those of torch as `checked` tells:
    `export/<backend>/max_difference`, `/quality/...`, `/loss`, `/loss_batches`,
    `/loss_single_rows` (of the mean score, in points), `/bytes`, `/offered` (1, or 0 where it
    did not pass). `speed/<backend>/<setting>/...` are as in mkd/evaluation/speed.py, with a
    `/ratio` where a teacher runs here (`ratios`). With export.torch a torch.export program is
    written to `model` in the folder, and compared likewise. Of several processes the first one
    works.
    """
    if not processes.is_first():
        return Offered({}, [], "")
    trained = trained._replace(student=trained.student.cpu())
    timed = {TORCH: in_torch(trained.student, trained.side.tokenizer)}
    made, notes = _exports(wanted, trained, folder, phase_report(report, "", "export"))
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
    speed = _speed(wanted.speed, timed, tasks, teacher, report)
    passed = [
        TORCH,
        *(export.name for export in made if not export.wrong and export.name != TRACED),
    ]
    best = min(passed, key=lambda name: latency_ms(speed, name)) if speed else TORCH
    notes += busy_note(speed)
    return Offered(
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
    """Of the student's backends, and then of the teacher, each of which has the same share of the
    seconds."""
    asked, work = speed_settings(config), dev_texts(tasks)
    model = None if teacher is None else teacher.model
    share = config.seconds / (len(timed) + (model is not None))
    own = speed_metrics(
        timed, work, asked, share * len(timed), "", phase_report(report, "", "speed")
    )
    if teacher is None or model is None:
        return own
    teachers = {TORCH: in_torch(model.cpu(), teacher.tokenizer)}
    return own | speed_metrics(
        teachers, work, asked, share, names.TEACHER, phase_report(report, "", "teacher speed")
    )


class Export(NamedTuple):
    """A backend that was made, its `export/<name>/...`, and why it is not offered, if it is not."""

    name: str
    path: Path
    metrics: dict[str, float]
    wrong: list[str]


def _exports(
    wanted: Wanted, trained: Trained, folder: Path, report: Report
) -> tuple[list[Export], list[str]]:
    """Makes and checks what is wanted; notes of what could not be made, or is not offered."""
    asked, (student, side, layout, dev) = wanted.export, trained
    made: list[Export] = []
    notes: list[str] = []
    backends = sorted(
        asked.backends, key=lambda name: name != "onnx"
    )  # which the others are made of
    order = [*([TRACED] if asked.torch else []), *backends]
    for number, name in enumerate(order):
        path = folder / MODEL / PROGRAM if name == TRACED else folder / name
        try:
            _make(name, asked, trained, path)
        except (torch.onnx.OnnxExporterError, torch._dynamo.exc.UserError, ValueError) as error:
            shutil.rmtree(path, ignore_errors=True)
            notes.append(f"no {name}: {str(error).splitlines()[0]}")
            if name == TRACED:
                continue
            break  # all others are made of it
        infer = (
            load_program(path, student)
            if name == TRACED
            else inference.Student.load(path, wanted.threads).infer
        )
        found = checked(side, dev, infer, layout)
        wrong = objections(name, found, asked.max_loss)
        made.append(
            Export(
                name,
                path,
                found | {names.BYTES: float(_size(path)), names.OFFERED: float(not wrong)},
                wrong,
            )
        )
        notes += wrong
        if wrong and name == TRACED:
            path.unlink()
        report(number + 1, {names.SHARE: (number + 1) / len(order)})
    return made, notes


def in_torch(model: Student | Classifier, tokenizer: PreTrainedTokenizerBase | None) -> TimedModel:
    """The model as it was trained, to be timed."""
    assert tokenizer is not None, "what runs here has one"
    load: Callable[[int], inference.Student] = partial(runtime_student, model, tokenizer)
    return TimedModel(
        load, embedding_token_ids(model.model if isinstance(model, Classifier) else model)
    )


def checked(
    side: ModelData, dev: dict[Any, np.ndarray], infer: inference.Infer, layout: Layout
) -> dict[str, float]:
    """What `compared` tells of a backend's logits on all dev rows in batches, with the worse loss
    of batches and single rows.

    A backend of dynamic quantisation may answer a row alone otherwise than beside others, and a
    student at work gets both. `loss_batches` and `loss_single_rows` are the two losses, `loss`
    the larger; the second is of at most SINGLE_ROWS rows of each split, evenly spread, against
    torch's logits on the same rows. `max_difference` is of both. Nothing where a logit is not
    finite.
    """
    batches = compared(side, dev, dev_logits(infer, side.datas, layout))
    chosen = {key: _spread(len(logits)) for key, logits in dev.items()}
    alone: dict[Any, np.ndarray] = {}
    few: list[TaskData] = []
    for data in side.datas:
        for suffix, store in data.dev.items():
            rows = chosen[data.name, suffix].reshape(-1, 1)
            alone[data.name, suffix] = np.concatenate(
                [infer(padded(store, row, layout), data.name) for row in rows]
            )
        # Of a store, scores take the labels alone.
        dev_few = {
            name: store._replace(labels=store.labels[chosen[data.name, name]])
            for name, store in data.dev.items()
        }
        few.append(data._replace(dev=dev_few))
    single = compared(
        side._replace(datas=few), {key: dev[key][rows] for key, rows in chosen.items()}, alone
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
    """Which of so many rows are asked one by one."""
    return np.linspace(0, count, min(count, SINGLE_ROWS), endpoint=False).astype(int)


def compared(
    side: ModelData, dev: dict[Any, np.ndarray], other: dict[Any, np.ndarray]
) -> dict[str, float]:
    """The largest difference between logits of two backends, the scores that the other one's have,
    and the mean's loss.

    Nothing where the other one's are not all finite.
    """
    difference = float(np.max([np.abs(dev[key] - other[key]).max() for key in dev]))
    if not math.isfinite(difference):
        return {}
    before, after = quality_metrics(side.datas, dev), quality_metrics(side.datas, other)
    scores = {name: value for name, value in after.items() if names.is_score(name)}
    loss = before[names.QUALITY_MEAN] - after[names.QUALITY_MEAN]
    return {names.MAX_DIFFERENCE: difference, names.LOSS: loss} | scores


def latency_ms(speed: dict[str, float], backend: str) -> float:
    """The backend's headline: its median for one text on one thread."""
    return speed[names.speed(backend, HEADLINE_SETTING.name, names.P50)]


def ratios(speed: dict[str, float]) -> dict[str, float]:
    """`speed/<backend>/<setting>/ratio`: how many times faster than the teacher in torch, at its
    best with as many threads.

    The teacher may be slower with more threads: then it is compared with fewer, asked for the
    same otherwise. Of one row it is a ratio of medians, of many rows one of rows a second.
    """
    own, teachers = _compared(speed, ""), _compared(speed, names.TEACHER)
    found: dict[str, float] = {}
    for (backend, setting), value in own.items():
        kind, threads = _threads(setting)
        theirs = [
            other
            for (name, asked), other in teachers.items()
            if name == TORCH and _threads(asked)[0] == kind and _threads(asked)[1] <= threads
        ]
        if theirs:
            faster = min(theirs) / value if statistic(setting) == names.P50 else value / max(theirs)
            found[names.speed(backend, setting, names.RATIO)] = faster
    return found


def _compared(speed: dict[str, float], prefix: str) -> dict[tuple[str, str], float]:
    """By backend and setting what models are compared by there. prefix: of the names, which tells
    whose speed it is."""
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
    """The setting's name without its threads, and these."""
    kind, _, threads = setting.rpartition("-t")
    return kind, int(threads)


def statistic(setting: str) -> str:
    """By what models are compared in a setting: `p50_ms` of one row, else `rows_per_s`."""
    return names.P50 if setting.startswith("b1-") else names.ROWS_PER_S


def _make(name: str, asked: ExportConfig, trained: Trained, path: Path) -> None:
    """Writes one backend. Raises what torch's exporters raise, and ValueError for a model that they
    cannot hold."""
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


def objections(name: str, found: dict[str, float], max_loss: float) -> list[str]:
    """Why the backend is not offered; nothing where it is. found: as `compared` tells."""
    if not found:
        return [f"{name} is not offered: not all of its logits are finite"]
    if found[names.LOSS] > max_loss:
        limit = f"at most {max_loss:g} (export.max_loss)"
        where = "batches" if found[names.LOSS_BATCHES] == found[names.LOSS] else "single rows"
        return [
            f"{name} is not offered: it loses {found[names.LOSS]:.2f} points of the mean score in "
            f"{where}, allowed: {limit}"
        ]
    if name in ("onnx", TRACED) and found[names.MAX_DIFFERENCE] > EQUAL:
        return [
            f"{name} is not offered: its logits are up to {found[names.MAX_DIFFERENCE]:.2g} off "
            f"torch's, allowed: {EQUAL:g}"
        ]
    return []


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
