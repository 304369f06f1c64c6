"""Which backends are offered: by made-up numbers, and for a real small student."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from mkd.config import ExportConfig, SpeedConfig, StudentConfig
from mkd.evaluation.scoring import dev_logits, torch_infer
from mkd.export.backends import (
    TORCH,
    ExportRequest,
    Exports,
    TrainedStudent,
    compare_backend,
    compare_logits,
    export_problems,
    export_student,
    latency_ms,
    ratios,
)
from mkd.export.folder import PROGRAM, export_int8
from mkd.result import MODEL, Report, no_report
from mkd.runtime.inference import Student as Runtime
from mkd.runtime.layout import Arrays, padded
from mkd.students import Student, make_student
from mkd.tasks.task import Task
from mkd.tokenization.tokens import ModelData, layout_of
from tests.support.tiny import Datas, Tokenizer

pytestmark = pytest.mark.usefixtures("quiet")
CPU = torch.device("cpu")


def test_ratios_use_the_teachers_best_time_with_as_many_threads() -> None:
    """With two threads, the teacher is slower for one row and faster for a batch."""
    speed = {
        "speed/int8/b1-text-t1/p50_ms": 0.5, "speed/int8/b1-text-t1/p95_ms": 9.0,
        "speed/int8/b1-text-t1/rows_per_s": 9.0, "speed/int8/b1-text-t2/p50_ms": 0.4,
        "speed/int8/b1-l128-t1/p50_ms": 0.25, "speed/int8/b32-text-t1/rows_per_s": 900.0,
        "speed/int8/b32-text-t2/rows_per_s": 1000.0, "speed/int8/b32-text-t2/p50_ms": 1.0,
        "speed/int8/b64-text-t1/rows_per_s": 1000.0, "speed/busy_share": 0.5, "speed/protocol": 2.0,
        "teacher/speed/torch/b1-text-t1/p50_ms": 10.0,
        "teacher/speed/torch/b1-text-t2/p50_ms": 16.0,
        "teacher/speed/torch/b1-l128-t1/p50_ms": 20.0,
        "teacher/speed/torch/b32-text-t1/rows_per_s": 30.0,
        "teacher/speed/torch/b32-text-t2/rows_per_s": 50.0,
        "teacher/speed/torch/b64-text-t2/rows_per_s": 50.0,
    }  # fmt: skip
    assert ratios(speed) == pytest.approx(
        {
            "speed/int8/b1-text-t1/ratio": 10 / 0.5,
            "speed/int8/b1-text-t2/ratio": 10 / 0.4,
            "speed/int8/b1-l128-t1/ratio": 20 / 0.25,
            "speed/int8/b32-text-t1/ratio": 900 / 30,
            "speed/int8/b32-text-t2/ratio": 1000 / 50,
        }
    )


def test_latency_is_that_of_one_text_on_one_thread() -> None:
    speed = {
        "speed/onnx/b1-l64-t1/p50_ms": 5.0,
        "speed/onnx/b1-text-t4/p50_ms": 2.0,
        "speed/onnx/b1-text-t1/p50_ms": 3.0,
    }
    assert latency_ms(speed, "onnx") == 3.0


def test_compared_logits_match_hand_computed_losses(datas: Datas, tokenizer: Tokenizer) -> None:
    """One more of 20 dev rows is wrong: 5 points of accuracy."""
    (data, *_) = datas
    side = ModelData(tokenizer, [data], CPU)
    labels = data.dev[""].labels
    right = {("single", ""): np.stack([1 - labels, labels], axis=1).astype(np.float32)}
    other = {("single", ""): right["single", ""].copy()}
    other["single", ""][3] = other["single", ""][3, ::-1] * 1.5
    metrics = compare_logits(side, right, other)
    assert metrics == pytest.approx(
        {"max_difference": 1.5, "loss": 5.0, "quality/single/score": 95.0, "quality/mean": 95.0}
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite_logits_give_no_metrics(value: float, datas: Datas, tokenizer: Tokenizer) -> None:
    dev = {
        (data.name, ""): np.zeros((20, len(data.kind.labels) or 1), np.float32) for data in datas
    }
    other = {key: logits.copy() for key, logits in dev.items()}
    other["pair", ""][7, 0] = value
    assert compare_logits(ModelData(tokenizer, datas, CPU), dev, other) == {}


@pytest.mark.parametrize(
    ("name", "losses", "difference", "notes"),
    [
        ("onnx", (0.0, 0.0), 1e-5, []),
        ("int8", (0.5, 0.4), 3.0, []),
        ("int8", (-2.0, 0.5), 3.0, []),
        (
            "int8",
            (0.51, 0.0),
            0.1,
            [
                "int8 is not offered: it loses 0.51 points of the mean score in batches, allowed: "
                "at most 0.5 (export.max_loss)"
            ],
        ),
        (
            "int8",
            (-0.1, 0.72),
            0.1,
            [
                "int8 is not offered: it loses 0.72 points of the mean score in single rows, "
                "allowed: at most 0.5 (export.max_loss)"
            ],
        ),
        (
            "onnx",
            (0.0, 0.0),
            0.0123,
            ["onnx is not offered: its logits are up to 0.012 off torch's, allowed: 0.001"],
        ),
        (
            "program",
            (0.0, 0.0),
            0.5,
            ["program is not offered: its logits are up to 0.5 off torch's, allowed: 0.001"],
        ),
        ("int8", None, 0.0, ["int8 is not offered: not all of its logits are finite"]),
    ],
)
def test_export_problems_are_reported(
    name: str, losses: tuple[float, float] | None, difference: float, notes: list[str]
) -> None:
    metrics = {}
    if losses is not None:
        metrics = dict(zip(("loss_batches", "loss_single_rows"), losses, strict=True)) | {
            "loss": max(losses)
        }
        metrics["max_difference"] = difference
    assert export_problems(name, metrics, ExportConfig().max_loss) == notes


def odd(batch: Arrays) -> np.ndarray:
    """Whether the sum of a row's tokens is odd."""
    rows: np.ndarray = (batch.ids * batch.mask).reshape(len(batch.ids), -1).sum(1) % 2 == 1
    return rows


def logits_of(answers: np.ndarray) -> np.ndarray:
    """Confident logits [B, 2] for these classes."""
    return np.stack([1 - answers, answers], axis=1).astype(np.float32)


@pytest.mark.parametrize("wrong_alone", [False, True])
def test_the_worse_check_counts(wrong_alone: bool, datas: Datas, tokenizer: Tokenizer) -> None:
    """The class is whether the sum of a row's tokens is odd. Some of 20 rows are answered wrongly,
    either only alone or only in a batch."""
    data, layout = datas[0], layout_of(tokenizer, False, 32)
    classes = odd(padded(data.dev[""], np.arange(20), layout)).astype(np.float32)
    data = data._replace(dev={"": data.dev[""]._replace(labels=classes)})
    texts = [padded(data.dev[""], np.array([row]), layout).ids.tobytes() for row in range(20)]
    mistaken = {texts[row] for row in (0, 1, 2, 5, 8)}
    lost = 5.0 * sum(text in mistaken for text in texts)
    asked: list[int] = []

    def infer(batch: Arrays, task: str) -> np.ndarray:
        asked.append(len(batch.ids))
        answers = odd(batch).astype(np.float32)
        for place, row in enumerate(batch.ids):
            text = row[batch.mask[place]].tobytes()
            if text in mistaken and (len(batch.ids) == 1) == wrong_alone:
                answers[place] = 1 - answers[place]
        return logits_of(answers)

    metrics = compare_backend(
        ModelData(tokenizer, [data], CPU), {("single", ""): logits_of(classes)}, infer, layout
    )
    assert asked.count(1) == 20 and sum(asked) == 40, "each row in both ways"
    losses = (0.0, lost) if wrong_alone else (lost, 0.0)
    assert (metrics["loss_batches"], metrics["loss_single_rows"]) == pytest.approx(losses)
    assert (
        metrics["loss"] == pytest.approx(lost)
        and metrics["max_difference"] == 1.0
        and 25 <= lost < 100
    )
    assert metrics["quality/mean"] == pytest.approx(100 - losses[0]), "of all rows, in batches"


def test_many_rows_are_sampled_evenly_for_the_check_in_single_rows(
    datas: Datas, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mkd.export.backends.MAX_SINGLE_ROWS", 5)
    data, layout = datas[0], layout_of(tokenizer, False, 32)
    alone: list[bytes] = []

    def infer(batch: Arrays, task: str) -> np.ndarray:
        alone.extend([batch.ids.tobytes()] if len(batch.ids) == 1 else [])
        return np.zeros((len(batch.ids), 2), np.float32)

    metrics = compare_backend(
        ModelData(tokenizer, [data], CPU),
        {("single", ""): np.zeros((20, 2), np.float32)},
        infer,
        layout,
    )
    assert metrics["loss_single_rows"] == metrics["max_difference"] == 0
    assert alone == [
        padded(data.dev[""], np.array([row]), layout).ids.tobytes() for row in (0, 4, 8, 12, 16)
    ]


def test_a_row_that_is_not_finite_fails_a_backend(datas: Datas, tokenizer: Tokenizer) -> None:
    def infer(batch: Arrays, task: str) -> np.ndarray:
        return np.full((len(batch.ids), 2), np.nan if len(batch.ids) == 1 else 0.0, np.float32)

    layout = layout_of(tokenizer, False, 32)
    metrics = compare_backend(
        ModelData(tokenizer, datas[:1], CPU),
        {("single", ""): np.zeros((20, 2), np.float32)},
        infer,
        layout,
    )
    assert metrics == {}


def small(datas: Datas, tokenizer: Tokenizer) -> Student:
    torch.manual_seed(0)
    config = StudentConfig(kind="bilstm", hidden=8, attention=False, words=False)
    return make_student(config, datas, len(tokenizer), 32, None)


def exported(
    export: ExportConfig,
    student: Student,
    tasks: list[Task],
    datas: Datas,
    tokenizer: Tokenizer,
    to: Path,
    report: Report = no_report,
) -> Exports:
    request = ExportRequest(
        export, SpeedConfig(length=8, batch_size=2, threads=[1], seconds=0.1), 1
    )
    layout = layout_of(tokenizer, False, 32)
    trained = TrainedStudent(
        student,
        ModelData(tokenizer, datas, CPU),
        layout,
        dev_logits(torch_infer(student), datas, layout),
    )
    return export_student(request, trained, tasks, None, to, report)


class Exported(NamedTuple):
    """All exports of `small`, with the steps and shares of their progress."""

    folder: Path
    exports: Exports
    progress: list[tuple[int, float]]


@pytest.fixture(scope="module")
def everything(
    quiet: None,
    tasks: list[Task],
    datas: Datas,
    tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    steps: list[tuple[int, float]] = []

    def report(step: int, metrics: dict[str, float]) -> None:
        if "progress/export" in metrics:
            steps.append((step, metrics["progress/export"]))

    folder = tmp_path_factory.mktemp("everything")
    asked = ExportConfig(backends=["int8", "onnx"], max_loss=100, torch=True)
    exports = exported(asked, small(datas, tokenizer), tasks, datas, tokenizer, folder, report)
    return Exported(folder, exports, steps)


@pytest.mark.slow
def test_the_progress_of_exports_has_a_known_end_from_its_first_step(everything: Exported) -> None:
    """100 steps for each of onnx, int8 and the torch.export program."""
    steps = everything.progress
    assert steps[0] == (0, 0.0) and steps[-1] == (300, 1.0) and steps == sorted(steps)
    assert len(steps) > 3 * 4, "the comparisons are counted too"
    # A progress bar computes its length from step and share.
    assert all(step / share == pytest.approx(300) for step, share in steps if share)


def test_the_fastest_backend_that_passed_is_offered(everything: Exported) -> None:
    root = everything.folder
    metrics, notes, folder, passed = everything.exports
    assert notes == [] and passed == ("torch", "onnx", "int8")
    fastest = min(passed, key=lambda name: metrics[f"speed/{name}/b1-text-t1/p50_ms"])
    assert folder == ("" if fastest == TORCH else str(root / fastest))
    assert metrics["export/onnx/max_difference"] < 1e-5 < metrics["export/int8/max_difference"]
    assert max(abs(metrics[f"export/{name}/loss"]) for name in ("onnx", "program")) < 1e-4
    for name in ("onnx", "int8"):
        expected = sum(path.stat().st_size for path in (root / name).iterdir())
        assert metrics[f"export/{name}/bytes"] == expected
        assert Runtime.load(root / name).predict(["a film"], "single")[0].error is None
    assert metrics["export/program/bytes"] == (root / MODEL / PROGRAM).stat().st_size


@pytest.mark.slow
def test_a_backend_that_loses_too_much_is_reported_and_not_offered(
    everything: Exported,
    tasks: list[Task],
    datas: Datas,
    tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The int8 export is replaced by that of a student with negated heads, which are random heads
    that happen to score better. Exports of an earlier run, which was resumed, are overwritten."""
    shutil.copytree(everything.folder, tmp_path, dirs_exist_ok=True)
    student = small(datas, tokenizer)
    for parameter in student.heads.parameters():
        parameter.data *= -1

    def wrong(source: Path, folder: Path, config: ExportConfig) -> None:
        export_int8(everything.folder / "onnx", folder, config)

    monkeypatch.setattr("mkd.export.backends.export_int8", wrong)
    exports = exported(ExportConfig(), student, tasks, datas, tokenizer, tmp_path)
    loss = exports.metrics["export/int8/loss"]
    assert loss > 0.5, "the other way round where random heads score more than their contrary"
    worse = (
        exports.metrics["export/int8/loss_single_rows"]
        == loss
        > exports.metrics["export/int8/loss_batches"]
    )
    where = "single rows" if worse else "batches"
    (note,) = exports.notes
    assert note.startswith(
        f"int8 is not offered: it loses {loss:.2f} points of the mean score in {where}"
    )
    assert exports.passed == ("torch", "onnx")
    assert not exports.folder.endswith("int8")


def test_a_model_that_cannot_be_exported_stays_in_torch(
    tasks: list[Task],
    datas: Datas,
    tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mkd.export.folder.LARGEST_BYTES", 10)
    exports = exported(ExportConfig(), small(datas, tokenizer), tasks, datas, tokenizer, tmp_path)
    assert len(exports.notes) == 1 and exports.notes[0].startswith("no onnx: a model of ")
    assert (exports.folder, exports.passed) == ("", ("torch",)) and not (tmp_path / "onnx").exists()
    assert "speed/torch/b1-text-t1/p50_ms" in exports.metrics
