"""One candidate of a search: what it costs is measured before it is trained, as that does not depend on its weights."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime
import torch

from mkd import runtime
from mkd.backends import TORCH, in_torch, ratios
from mkd.config import Config
from mkd.evaluate import answers, dev_logits, eager
from mkd.export import export_int8, export_onnx
from mkd.pipeline import Ready, Rows, check_names, distil, new_student, prepare, result, save, scores
from mkd.record import Report, Result, phase, silent
from mkd.remarks import reading, weak_students
from mkd.speed import Timed, hardware, settings, size_metrics, speed_metrics, work_of
from mkd.store import key_of, stored
from mkd.students import Student
from mkd.teachers import settled
from mkd.teachers.states import check_layers
from mkd.teaching import soft_targets
from mkd.tokenise import tokenizer_fingerprint
from mkd.tokens import layout_of

COST = "cost.json"
"""The file of a stored cost."""


class Cost(NamedTuple):
    """What a student costs: its metrics as in a Result, `speed/<backend>/...` and `size/...`. setting: of one row of tokens."""

    metrics: dict[str, float]
    backend: str
    setting: str

    @property
    def latency_ms(self) -> float:
        """Median milliseconds of one row of tokens."""
        return self.metrics[f"speed/{self.backend}/{self.setting}/p50_ms"]


def cost(rows: Rows, config: Config, backend: str) -> Cost:
    """What the student of this config costs in a backend, with random weights in the place of those that it will have.

    Measured once on each machine for each architecture, and kept with the other stores. Raises ValueError where the config
    describes no student, or one that the backend cannot hold.
    """
    prepare(config)
    config = settled(config, rows.tasks)
    student = untrained(rows, config).cpu()

    def build(aside: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save(student, rows.side.tokenizer, folder / TORCH)
            found = size_metrics(student, folder / TORCH, config.speed.length)
            timed = _in_backend(rows, config, student, backend, folder)
            found |= speed_metrics({f"speed/{backend}": timed}, work_of(rows.tasks), config.speed)
        (aside / COST).write_text(json.dumps(found))

    parts = _machine(rows, config) | {"student": student.config.to_dict(), "backend": backend}
    if config.export.per_task and backend != TORCH:
        parts["per_task"] = True
    setting = settings(config.speed, False)[0].name
    return Cost(_kept(config, json.loads(json.dumps(parts)), build), backend, setting)


def teacher_speed(ready: Ready, config: Config) -> dict[str, float]:
    """`teacher/speed/torch/...`, measured once on each machine; nothing where no teacher runs here."""
    model, tokenizer = ready.teacher.model, ready.teacher.tokenizer
    if model is None:
        return {}
    tasks = [task for task in ready.rows.tasks if task.name in model.config.tasks]

    def build(aside: Path) -> None:
        timed = {f"teacher/speed/{TORCH}": in_torch(model.cpu(), tokenizer)}
        (aside / COST).write_text(json.dumps(speed_metrics(timed, work_of(tasks), config.speed)))

    return _kept(config, _machine(ready.rows, config) | {"teacher": ready.teacher.key}, build)


def run_candidate(ready: Ready, config: Config, known: Cost, folder: Path, report: Report = silent) -> Result:
    """Distils the candidate and scores it on dev. Its training goes on from what a killed one of the same settings has left.

    It has no twin, is not exported and its weights are not kept: a search wants to know what it is good for.
    """
    prepare(config)
    (tasks, _, side, _), teacher = ready
    config = settled(config, tasks)
    check_names(config, side.datas)
    targets = soft_targets(config, side, teacher, report)
    student = distil(config, side, targets, teacher, phase(report, "", "student"), folder / "student.safetensors")
    layout = layout_of(side.tokenizer, student.joined, config.data.max_length)
    dev, read = dev_logits(eager(student), side.datas, layout), reading(side.datas, side.tokenizer, layout)
    costs = known.metrics | teacher_speed(ready, config)
    metrics = scores(ready, dev) | costs | ratios(costs) | read.metrics
    notes = weak_students(side.datas, dev) + read.notes
    made = result(metrics, tasks, side.datas, notes, config.student.name, teacher, folder, "")
    return made._replace(predictions=answers(side.datas, dev, teacher.dev))


def untrained(rows: Rows, config: Config) -> Student:
    """The student of this config as it is before training. Raises ValueError where its layers are not the teacher's to match."""
    student = new_student(config, rows.side, rows.fresh)
    check_layers(config, rows.tasks, student)
    return student


def _in_backend(rows: Rows, config: Config, student: Student, backend: str, folder: Path) -> Timed:
    """The student to be timed; what it is exported to lies in the folder."""
    timed = in_torch(student, rows.side.tokenizer)
    if backend == TORCH:
        return timed
    try:
        export_onnx(student, rows.side.tokenizer, config.export, folder / "onnx")
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(f"search.backend is {backend!r}; allowed for {config.student.name}: torch ({error})") from error
    if backend == "int8":
        export_int8(folder / "onnx", folder / "int8")
    return timed._replace(load=lambda threads: runtime.Student.load(folder / backend, threads))


def _kept(config: Config, parts: dict[str, Any], build: Callable[[Path], None]) -> dict[str, float]:
    found: dict[str, float] = json.loads((stored(Path(config.cache), "costs", parts, build) / COST).read_text())
    return found


def _machine(rows: Rows, config: Config) -> dict[str, Any]:
    """What a measured time depends on besides the model."""
    texts = key_of({task.name: task.dev[""].fingerprint for task in rows.tasks})
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    tokenizer = tokenizer_fingerprint(rows.side.tokenizer)
    return {"hardware": hardware(), "speed": asdict(config.speed), "texts": texts, "tokenizer": tokenizer} | versions
