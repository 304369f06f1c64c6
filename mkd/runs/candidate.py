"""One candidate of a search.

Its cost is measured before it is trained, because it does not depend on the weights.
"""

import json
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from mkd import names
from mkd.config import Config, Int8Config, SpeedConfig
from mkd.evaluation.remarks import weak_student_notes
from mkd.evaluation.speed import (
    TimedModel,
    busy_note,
    dev_texts,
    hardware,
    is_busy,
    one_thread_settings,
    size_metrics,
    speed_metrics,
)
from mkd.evaluation.timing import SPEED_PROTOCOL
from mkd.export.backends import TORCH, in_torch, latency_ms, ratios, size_on_disk
from mkd.export.folder import export_bag, export_int8, export_onnx
from mkd.pipeline import (
    DataAndTeacher,
    RunData,
    check_task_weights_match,
    checked_student,
    distil,
    set_up_device,
)
from mkd.result import Report, Result, no_report, phase_report
from mkd.runtime import inference
from mkd.storage.store import cached_folder, key_of
from mkd.storage.versions import version_key
from mkd.student_result import (
    Supervision,
    save_model,
    student_result,
    student_scores,
    trained_student,
)
from mkd.students import Student
from mkd.students.bag import BagStudent
from mkd.teachers import config_for_tasks
from mkd.teachers.multitask import soft_targets
from mkd.teachers.task_teacher import RunnableModel
from mkd.tokenization.tokenise import tokenizer_fingerprint

COST_FILE = "cost.json"
"""Name of the file with a stored cost."""


class StudentCost(NamedTuple):
    """The cost of a student.

    `metrics` are `speed/<backend>/...`, `export/<backend>/bytes` and `size/...`, named as in a
    Result.
    """

    metrics: dict[str, float]
    backend: str

    @property
    def latency_ms(self) -> float:
        """Median milliseconds for one text on one thread."""
        return latency_ms(self.metrics, self.backend)


class _Busy(Exception):
    """Raised with times from a busy machine, so that they are not stored."""


def measure_cost(
    data: RunData,
    config: Config,
    backend: str,
    alone: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> StudentCost:
    """Returns the cost of this config's student in a backend, measured with random weights.

    It is measured once per machine and architecture and then stored, unless the machine was busy.
    alone: returns a context that is entered while the calls are timed.

    Raises ValueError if the config describes no student, or one that the backend does not support.
    """
    set_up_device(config)
    config = config_for_tasks(config, data.tasks)
    student = checked_student(config, data).cpu()

    def build(aside: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save_model(student, data.student_data.tokenizer, folder / TORCH)
            metrics = size_metrics(student, folder / TORCH, config.timing.length)
            timed = _in_backend(
                student, data.student_data.tokenizer, backend, config.export, folder
            )
            if backend != TORCH:
                metrics[names.export(backend, names.BYTES)] = float(size_on_disk(folder / backend))
            work, settings = dev_texts(data.tasks), one_thread_settings(config.timing)
            with alone():
                metrics |= speed_metrics({backend: timed}, work, settings, config.timing.seconds)
        _write(aside, metrics)

    key_values = _measurement_key(data, config.timing) | {
        "student": student.config.to_dict(),
        "backend": backend,
    }
    # Other backends do not depend on it, and "auto" on the hardware alone, which is in the key.
    if config.export.weight_range != "auto" and backend == "int8":
        key_values["weight_range"] = config.export.weight_range
    # Through JSON: integer keys of the config (id2label) are strings in the manifest and may
    # sort differently, and the key of the manifest has to be that of the folder.
    return StudentCost(
        _cached_metrics(config.stores.root, json.loads(json.dumps(key_values)), build), backend
    )


def teacher_speed(inputs: DataAndTeacher, root: Path, speed: SpeedConfig) -> dict[str, float]:
    """Returns `teacher/speed/torch/...`, stored like the cost of a student.

    Returns no metrics if there is no teacher that runs here. root: the cache folder.
    """
    teacher = inputs.teacher
    if teacher is None or teacher.runnable is None:
        return {}
    runnable = teacher.runnable

    def build(aside: Path) -> None:
        timed, settings = {TORCH: in_torch(runnable)}, one_thread_settings(speed)
        _write(
            aside,
            speed_metrics(
                timed, dev_texts(inputs.data.tasks), settings, speed.seconds, names.TEACHER
            ),
        )

    return _cached_metrics(
        root,
        _measurement_key(inputs.data, speed) | {"teacher": teacher.key},
        build,
    )


def run_candidate(
    inputs: DataAndTeacher,
    config: Config,
    cost: StudentCost,
    folder: Path,
    report: Report = no_report,
) -> Result:
    """Distills the candidate and scores it on dev and on the selection split.

    If a run of the same settings was killed, training continues from its checkpoint in the folder.
    There is no twin, no export, and the weights are not kept: a search only needs the scores.
    `cost` is the candidate's cost.
    """
    set_up_device(config)
    (_, tasks, _, student_data, _), teacher = inputs
    config = config_for_tasks(config, tasks)
    check_task_weights_match(student_data.datas, config.train.sampling, config.loss)
    targets = soft_targets(config.loss, config.stores.root, student_data, teacher, report)
    student = distil(
        config,
        inputs,
        targets,
        phase_report(report, "", names.PHASE_STUDENT),
        folder / "student.safetensors",
    )
    supervision = Supervision(tasks, teacher, targets, config.whole)
    trained = trained_student(student, student_data, config.data.max_length)
    scores = student_scores(trained, supervision)
    costs = cost.metrics | teacher_speed(inputs, config.stores.root, config.timing)
    weak = weak_student_notes(student_data.datas, scores.answers)
    return student_result(
        supervision,
        student_data.datas,
        scores._replace(
            metrics=scores.metrics | costs | ratios(costs),
            notes=weak + busy_note(costs) + scores.notes,
        ),
        config.student.name,
        folder,
        "",
    )


def _in_backend(
    student: Student,
    tokenizer: PreTrainedTokenizerBase,
    backend: str,
    weights: Int8Config,
    folder: Path,
) -> TimedModel:
    """Returns the student in a backend, ready to be timed; it is exported to the folder."""
    timed = in_torch(RunnableModel(student, tokenizer))
    if backend == TORCH:
        return timed
    if backend == "int8" and isinstance(student, BagStudent):
        export_bag(student, tokenizer, folder / backend)
        return timed._replace(load=partial(inference.Student.load, folder / backend))
    try:
        export_onnx(student, tokenizer, folder / "onnx")
    except torch.onnx.OnnxExporterError as error:
        kind = student.config.model_type.removeprefix("mkd_")
        raise ValueError(
            f"search.backend is {backend!r}; allowed for a {kind}: torch ({error})"
        ) from error
    if backend == "int8":
        export_int8(folder / "onnx", folder / "int8", weights)
    return timed._replace(load=partial(inference.Student.load, folder / backend))


def _write(aside: Path, metrics: dict[str, float]) -> None:
    """Writes the metrics. Raises _Busy instead if the machine was busy."""
    if is_busy(metrics):
        raise _Busy(metrics)
    (aside / COST_FILE).write_text(json.dumps(metrics))


def _cached_metrics(
    root: Path, key_values: dict[str, Any], build: Callable[[Path], None]
) -> dict[str, float]:
    """Returns stored metrics, or measures and stores them.

    Metrics from a busy machine are returned but not stored: the next call measures again.
    """
    try:
        metrics: dict[str, float] = json.loads(
            (cached_folder(root, "costs", key_values, build) / COST_FILE).read_text()
        )
    except _Busy as busy:
        metrics = busy.args[0]
    return metrics


def _measurement_key(data: RunData, speed: SpeedConfig) -> dict[str, Any]:
    """Returns everything that a time depends on besides the model."""
    texts = key_of({task.name: task.dev[""].fingerprint for task in data.tasks})
    measured = {"hardware": hardware(), "speed": asdict(speed), "protocol": SPEED_PROTOCOL}
    return (
        measured
        | {"texts": texts, "tokenizer": tokenizer_fingerprint(data.student_data.tokenizer)}
        | version_key("costs")
    )
