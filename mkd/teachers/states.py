"""Hidden states of teachers for chosen layers, in half precision, computed once per set of rows.

Only models that run here have hidden states: the refined teacher, and a task's one fine-tuned
checkpoint.

Axes: R rows, B rows of a batch, K layers, D width.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from mkd import names
from mkd.config import REFINED, MatchConfig, TeacherConfig
from mkd.evaluation.scoring import predict_batches, torch_infer
from mkd.result import Report, phase_report
from mkd.storage import pretrained
from mkd.storage.store import append, cached_folder, key_of, read_array
from mkd.storage.versions import version_key
from mkd.students import Student
from mkd.tasks.task import Task
from mkd.teachers import source_names
from mkd.teachers.task_teacher import StateModel, TaskTeacher
from mkd.tokenization.tokens import TokenStore
from mkd.training.matching import MatchedStates, layer_indices

STATES_FILE = "states.float16"
"""Name of the file with the states."""
STATES_WINDOW_ROWS = 16_384
"""Rows whose states are in memory at once before they are written."""


class _OfLayers(nn.Module):
    """A model that returns the states [B, K, D] of some layers instead of logits."""

    def __init__(self, model: nn.Module, layers: list[int]) -> None:
        super().__init__()
        self.model = model
        self.layers = layers

    def forward(self, *inputs: Any) -> torch.Tensor:
        states = self.model(*inputs, states=True).states
        return torch.stack([states[layer] for layer in self.layers], dim=1)


class _Store(NamedTuple):
    """The states of one set of rows, stored or not yet. `layers` are sorted, counted from 0."""

    teacher: StateModel
    layers: list[int]
    rows: TokenStore

    @property
    def key_values(self) -> dict[str, Any]:
        return (
            self.teacher.by
            | {"layers": self.layers, "rows": self.rows.fingerprint}
            | version_key("states")
        )

    @property
    def num_rows(self) -> int:
        return len(self.rows.labels)

    @property
    def num_bytes(self) -> int:
        return 2 * self.num_rows * len(self.layers) * self.teacher.width


def check_matched_layers(
    teacher: TeacherConfig, match: MatchConfig, tasks: list[Task], student: Student
) -> None:
    """Raises ValueError if a layer to match does not exist in the student or in a teacher."""
    if not match.weight:
        return
    layer_indices(
        match.student_layers, len(student.state_widths), "loss.match.student_layers", "the student"
    )
    for source in dict.fromkeys(
        source for task in tasks for source in source_names(teacher, task.name)
    ):
        whose = "the teacher" if source == REFINED else source
        layer_indices(
            match.teacher_layers,
            1 + _layers(teacher, match, source),
            "loss.match.teacher_layers",
            whose,
        )


def _layers(teacher: TeacherConfig, match: MatchConfig, source: str) -> int:
    """Returns the number of layers of a teacher. Raises ValueError for an encoder-decoder."""
    if source == REFINED and not teacher.checkpoint:
        return teacher.layers
    setting, name = (
        ("teacher.checkpoint", teacher.checkpoint)
        if source == REFINED
        else ("teacher.sources", source)
    )
    theirs = pretrained.load_config(pretrained.checkpoint_folder(name, setting), setting)
    if theirs.is_encoder_decoder:
        raise ValueError(
            f"loss.match.weight is {match.weight}; allowed: 0, as {name} has the states of an "
            "encoder and of a decoder"
        )
    layers: int = theirs.num_hidden_layers
    return layers


def matched_states(
    root: Path, layers: list[int], task_teachers: Sequence[TaskTeacher], report: Report
) -> list[MatchedStates]:
    """Returns the states of the training rows of each teacher's task, as in `hidden_states`."""
    return hidden_states(root, layers, [_state_model(teacher) for teacher in task_teachers], report)


def hidden_states(
    root: Path, layers: list[int], teachers: Sequence[StateModel], report: Report
) -> list[MatchedStates]:
    """Returns the states of the training rows of each model's task.

    Missing states are computed and stored. `report` receives `states/bytes`, the size of all states
    on disk; if some are missing, then also the progress of a phase whose name shows their size.

    Raises ValueError if the disk has not enough space, or if states exceed the range of float16.
    """
    places = [
        layer_indices(layers, teacher.num_states, "loss.match.teacher_layers", "the teacher")
        for teacher in teachers
    ]
    stores = [
        [
            _Store(teacher, sorted(set(teacher_layers)), rows)
            for rows in teacher.data.train.parts or (teacher.data.train,)
        ]
        for teacher, teacher_layers in zip(teachers, places, strict=True)
    ]
    # Tasks may share rows and teacher: count and compute such states once.
    by_key = {key_of(store.key_values): store for of_task in stores for store in of_task}
    report(0, {names.STATES_BYTES: float(sum(store.num_bytes for store in by_key.values()))})
    _write_missing(
        root,
        {key: store for key, store in by_key.items() if not (root / "states" / key).exists()},
        report,
    )
    return [
        MatchedStates(
            teacher.key,
            [of_task[0].layers.index(layer) for layer in teacher_layers],
            [_states(root, store) for store in of_task],
        )
        for teacher, teacher_layers, of_task in zip(teachers, places, stores, strict=True)
    ]


def check_disk_space(folder: Path, needed: int) -> None:
    """Raises ValueError if the disk of the folder has less free space than `needed` bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"loss.match needs {needed:,} bytes in {folder} for the teacher's hidden states; free "
            f"there: {free:,}"
        )


def _state_model(teacher: TaskTeacher) -> StateModel:
    model = teacher.state_model()
    assert model is not None, (
        f"config_for_tasks() has refused to match the states of {teacher.name}"
    )
    return model


def _write_missing(root: Path, missing: dict[str, _Store], report: Report) -> None:
    """Computes the missing states, after reporting their size."""
    if not missing:
        return
    needed, rows = (
        sum(store.num_bytes for store in missing.values()),
        sum(store.num_rows for store in missing.values()),
    )
    check_disk_space(root, needed)
    progress_report = phase_report(report, "", f"hidden states, {needed / 1e6:,.1f} MB in {root}")
    progress_report(0, {names.SHARE: 0.0})
    done = 0
    for store in missing.values():

        def progress(written: int, before: int = done) -> None:
            progress_report(before + written, {names.SHARE: (before + written) / rows})

        _states(root, store, progress)
        done += store.num_rows


def _states(
    root: Path, store: _Store, progress: Callable[[int], None] = lambda written: None
) -> np.ndarray:
    """Returns the states [R, K, D] float16, memory-mapped; computed once and stored."""
    folder = cached_folder(
        root, "states", store.key_values, lambda aside: _write(aside / STATES_FILE, store, progress)
    )
    return read_array(folder / STATES_FILE, "<f2").reshape(
        store.num_rows, len(store.layers), store.teacher.width
    )


def _write(file: Path, store: _Store, progress: Callable[[int], None]) -> None:
    """Computes and writes the states, one window of rows after another.

    Raises ValueError for states that exceed the range of float16.
    """
    teacher, layers = store.teacher, store.layers
    model = _OfLayers(teacher.model(), layers)
    infer = torch_infer(model, teacher.precision)
    with file.open("wb") as out:
        for start in range(0, store.num_rows, STATES_WINDOW_ROWS):
            rows = np.arange(start, min(start + STATES_WINDOW_ROWS, store.num_rows))
            window_RKD = np.empty((len(rows), len(layers), teacher.width), dtype="<f2")
            for places, states_BKD in predict_batches(
                infer, store.rows, rows, teacher.data.name, teacher.layout
            ):
                # An overflow becomes inf here and raises below, with the layer.
                with np.errstate(over="ignore"):
                    window_RKD[places] = states_BKD
            if not np.isfinite(window_RKD).all():
                bad = [
                    layer
                    for place, layer in enumerate(layers)
                    if not np.isfinite(window_RKD[:, place]).all()
                ]
                largest = np.finfo(np.float16).max
                raise ValueError(
                    f"loss.match.teacher_layers: states of layers {bad} exceed {largest:,.0f}; "
                    "choose others"
                )
            append(out, window_RKD)
            progress(int(rows[-1]) + 1)
