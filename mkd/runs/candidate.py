"""One candidate of a search.

Its cost is measured before it is trained, because it does not depend on the weights.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mkd import names
from mkd.config import Config, SpeedConfig
from mkd.evaluation.remarks import input_coverage, weak_student_notes
from mkd.evaluation.scoring import dev_logits, dev_predictions, torch_infer
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
from mkd.export.backends import TORCH, in_torch, latency_ms, ratios
from mkd.export.folder import export_int8, export_onnx
from mkd.pipeline import (
    DataAndTeacher,
    RunData,
    check_task_weights_match,
    dev_metrics,
    distil,
    make_result,
    save_model,
    selection_metrics,
    set_up_device,
    untrained_student,
)
from mkd.result import Report, Result, no_report, phase_report
from mkd.runtime import inference
from mkd.storage.store import cached_folder, key_of
from mkd.storage.versions import version_key
from mkd.students import Student
from mkd.teachers import config_for_tasks
from mkd.teachers.multitask import soft_targets
from mkd.teachers.states import check_matched_layers
from mkd.tokenization.tokenise import tokenizer_fingerprint
from mkd.tokenization.tokens import layout_of

COST_FILE = "cost.json"
"""Name of the file with a stored cost."""


class StudentCost(NamedTuple):
    """The cost of a student.

    `metrics` are `speed/<backend>/...` and `size/...`, named as in a Result.
    """

    metrics: dict[str, float]
    backend: str

    @property
    def latency_ms(self) -> float:
        """Median milliseconds for one text on one thread."""
        return latency_ms(self.metrics, self.backend)


class _Busy(Exception):
    """Raised with times from a busy machine, so that they are not stored."""


def measure_cost(rows: RunData, config: Config, backend: str) -> StudentCost:
    """Returns the cost of this config's student in a backend, measured with random weights.

    It is measured once per machine and architecture and then stored, unless the machine was busy.

    Raises ValueError if the config describes no student, or one that the backend does not support.
    """
    set_up_device(config)
    config = config_for_tasks(config, rows.tasks)
    student = untrained_candidate(rows, config).cpu()

    def build(aside: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save_model(student, rows.side.tokenizer, folder / TORCH)
            found = size_metrics(student, folder / TORCH, config.speed.length)
            timed = _in_backend(rows, config, student, backend, folder)
            found |= speed_metrics(
                {backend: timed},
                dev_texts(rows.tasks),
                one_thread_settings(config.speed),
                config.speed.seconds,
            )
        _write(aside, found)

    parts = _measurement_key(rows, config.speed) | {
        "student": student.config.to_dict(),
        "backend": backend,
    }
    # Other backends do not depend on it, and "auto" on the hardware alone, which is in the key.
    if config.export.weight_range != "auto" and backend == "int8":
        parts["weight_range"] = config.export.weight_range
    # Through JSON: integer keys of the config (id2label) are strings in the manifest and may
    # sort differently, and the key of the manifest has to be that of the folder.
    return StudentCost(
        _cached_metrics(config.stores.root, json.loads(json.dumps(parts)), build), backend
    )


def teacher_speed(ready: DataAndTeacher, config: Config) -> dict[str, float]:
    """Returns `teacher/speed/torch/...`, stored like the cost of a student.

    Returns no metrics if there is no teacher that runs here.
    """
    teacher = ready.teacher
    if teacher is None or teacher.model is None:
        return {}
    model, tokenizer = teacher.model, teacher.tokenizer

    def build(aside: Path) -> None:
        timed, asked = {TORCH: in_torch(model.cpu(), tokenizer)}, one_thread_settings(config.speed)
        _write(
            aside,
            speed_metrics(
                timed, dev_texts(ready.rows.tasks), asked, config.speed.seconds, names.TEACHER
            ),
        )

    return _cached_metrics(
        config.stores.root,
        _measurement_key(ready.rows, config.speed) | {"teacher": teacher.key},
        build,
    )


def run_candidate(
    ready: DataAndTeacher,
    config: Config,
    known: StudentCost,
    folder: Path,
    report: Report = no_report,
) -> Result:
    """Distills the candidate and scores it on dev and on the selection split.

    If a run of the same settings was killed, training continues from its checkpoint in the folder.
    There is no twin, no export, and the weights are not kept: a search only needs the scores.
    `known` is the candidate's cost.
    """
    set_up_device(config)
    (_, tasks, _, side, _), teacher = ready
    config = config_for_tasks(config, tasks)
    check_task_weights_match(side.datas, config.train.sampling, config.loss)
    targets = soft_targets(config.loss, config.stores.root, side, teacher, report)
    student = distil(
        config,
        side,
        targets,
        teacher,
        phase_report(report, "", names.PHASE_STUDENT),
        folder / "student.safetensors",
    )
    layout = layout_of(side.tokenizer, student.joined, config.data.max_length)
    dev, read = (
        dev_logits(torch_infer(student), side.datas, layout),
        input_coverage(side.datas, side.tokenizer, layout),
    )
    costs = known.metrics | teacher_speed(ready, config)
    metrics = (
        dev_metrics(ready, dev)
        | ({} if config.whole else selection_metrics(student, side, layout))
        | costs
        | ratios(costs)
        | read.metrics
    )
    notes = weak_student_notes(side.datas, dev) + busy_note(costs) + read.notes
    made = make_result(metrics, tasks, side.datas, notes, config.student.name, teacher, folder, "")
    return made._replace(
        predictions=dev_predictions(side.datas, dev, {} if teacher is None else teacher.dev)
    )


def untrained_candidate(rows: RunData, config: Config) -> Student:
    """Returns this config's student before training.

    Raises ValueError if layers are to be matched that the student or the teacher does not have.
    """
    student = untrained_student(config.student, config.data.max_length, rows.side, rows.fresh)
    check_matched_layers(config.teacher, config.loss.match, rows.tasks, student)
    return student


def _in_backend(
    rows: RunData, config: Config, student: Student, backend: str, folder: Path
) -> TimedModel:
    """Returns the student in a backend, ready to be timed; it is exported to the folder."""
    timed = in_torch(student, rows.side.tokenizer)
    if backend == TORCH:
        return timed
    try:
        export_onnx(student, rows.side.tokenizer, folder / "onnx")
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(
            f"search.backend is {backend!r}; allowed for {config.student.name}: torch ({error})"
        ) from error
    if backend == "int8":
        export_int8(folder / "onnx", folder / "int8", config.export)
    return timed._replace(load=partial(inference.Student.load, folder / backend))


def _write(aside: Path, found: dict[str, float]) -> None:
    """Writes the metrics. Raises _Busy instead if the machine was busy."""
    if is_busy(found):
        raise _Busy(found)
    (aside / COST_FILE).write_text(json.dumps(found))


def _cached_metrics(
    root: Path, parts: dict[str, Any], build: Callable[[Path], None]
) -> dict[str, float]:
    """Returns stored metrics, or measures and stores them.

    Metrics from a busy machine are returned but not stored: the next call measures again.
    """
    try:
        found: dict[str, float] = json.loads(
            (cached_folder(root, "costs", parts, build) / COST_FILE).read_text()
        )
    except _Busy as busy:
        found = busy.args[0]
    return found


def _measurement_key(rows: RunData, speed: SpeedConfig) -> dict[str, Any]:
    """Returns everything that a time depends on besides the model."""
    texts = key_of({task.name: task.dev[""].fingerprint for task in rows.tasks})
    measured = {"hardware": hardware(), "speed": asdict(speed), "protocol": SPEED_PROTOCOL}
    return (
        measured
        | {"texts": texts, "tokenizer": tokenizer_fingerprint(rows.side.tokenizer)}
        | version_key("costs")
    )
