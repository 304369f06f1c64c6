"""Each kind of student, exported once, against torch on real rows; what else is made of the exports."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from entry import client, command, outcome
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from tiny import MINILM, make_datas, make_tasks, make_tokenizer
from transformers import PreTrainedTokenizerBase

from experiments.settings import Export
from experiments.tracking.table import export_lines
from mkd.config import DataConfig, DeliveryConfig, DemoConfig, ExportConfig, SpeedConfig, StudentConfig
from mkd.evaluation.scoring import at_work, eager
from mkd.export.folder import calibration_batches, export_int8, export_onnx, export_program, load_program
from mkd.pipeline import save
from mkd.runs.export import Delivered, run_export
from mkd.runtime.inference import MANIFEST, TOKENIZER, Infer, Text, saturates
from mkd.runtime.inference import Student as Runtime
from mkd.runtime.layout import Arrays, padded
from mkd.storage.pretrained import load_tokenizer
from mkd.students import Student, make_student
from mkd.students.embeddings import input_table, trim
from mkd.tasks.sources import load_tasks
from mkd.tokenization.tokenise import task_data
from mkd.tokenization.tokens import TaskData, layout_of
from mkd.tokenization.vocabulary import kept_tokens

LENGTH = 12
BILSTM = StudentConfig(kind="bilstm", hidden=8, embedding=6)
TRANSFORMER = StudentConfig(kind="transformer", hidden=16, layers=1, heads=2)
BAG = StudentConfig(kind="bag", hidden=8, embedding=6, buckets=50)
KINDS = {
    "bilstm": BILSTM,
    "bilstm-max": replace(BILSTM, attention=False, min_count=3),
    "transformer": replace(TRANSFORMER, pooling="first"),
    "electra": replace(TRANSFORMER, embedding=6),
    "bag": replace(BAG, min_count=3),
}


Range = Literal["full", "reduced"]
RANGES: list[Range] = ["full", "reduced"]


class Made(NamedTuple):
    student: Student
    tokenizer: PreTrainedTokenizerBase
    datas: list[TaskData]
    folder: Path

    def int8(self, weight_range: Range | None = None, calibrated: bool = False) -> Path:
        """Its export in int8, made once; without a range in that which this processor needs."""
        weight_range = weight_range or ("reduced" if saturates() else "full")
        to = self.folder / f"int8-{weight_range}-{'static' if calibrated else 'dynamic'}"
        if not to.exists():
            layout = layout_of(self.tokenizer, self.student.joined, LENGTH)
            seen = calibration_batches(self.datas, layout, 32) if calibrated else None
            export_int8(self.folder / "onnx", to, ExportConfig(weight_range=weight_range), seen)
        return to


def student_of(config: StudentConfig, datas: list[TaskData], tokenizer: PreTrainedTokenizerBase) -> Student:
    """Random, and so sure of its answers that a wrong product would show."""
    torch.manual_seed(0)
    student = make_student(config, datas, len(tokenizer), LENGTH, None)
    for name, parameter in student.named_parameters():
        if "ngrams" in name:
            torch.nn.init.normal_(parameter)
        elif "heads" in name:
            parameter.data *= 4
    if config.min_count:
        trim(student, *kept_tokens(datas, tokenizer, input_table(student).num_embeddings, config.min_count))
    student.train(False)
    return student


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    root = tmp_path_factory.mktemp(request.param)
    tasks = make_tasks()
    tokenizer = make_tokenizer(root, tasks)
    datas = make_datas(root, tasks, tokenizer, LENGTH)
    student = student_of(KINDS[request.param], datas, tokenizer)
    export_onnx(student, tokenizer, root / "onnx")
    yield Made(student, tokenizer, datas, root)


def batches(made: Made) -> list[tuple[str, Arrays]]:
    """Of every task one row, two, and all, so that some are cut; one of length 1; and rows without any token."""
    layout = layout_of(made.tokenizer, made.student.joined, LENGTH)
    found = []
    for data in made.datas:
        found += [(data.name, padded(data.train, np.arange(40)[rows], layout)) for rows in ([3], [0, 7], slice(None))]
        empty = data.train._replace(a=data.train.a._replace(offsets=data.train.a.offsets * 0))
        found.append((data.name, padded(empty, np.arange(2), layout)))
        if data.train.b is None:
            short = data.train.a._replace(offsets=np.minimum(data.train.a.offsets, 1))
            found.append((data.name, padded(data.train._replace(a=short), np.array([0]), layout)))
    return found


def difference(made: Made, infer: Infer) -> float:
    """The largest between its logits and torch's."""
    own = eager(made.student)
    return max(float(np.abs(infer(batch, task) - own(batch, task)).max()) for task, batch in batches(made))


def spread(made: Made) -> float:
    """The standard deviation of torch's logits."""
    own = eager(made.student)
    return float(np.concatenate([own(batch, task).ravel() for task, batch in batches(made)]).std())


def test_logits_are_torchs_whatever_the_batch(made: Made) -> None:
    assert len({batch.ids.shape for _, batch in batches(made)}) > 6
    assert spread(made) > 0.1
    assert difference(made, Runtime.load(made.folder / "onnx", 1).infer) < 2e-5


def test_raw_texts_are_answered_as_in_torch(made: Made) -> None:
    runtime, own = Runtime.load(made.folder / "onnx", 1), at_work(made.student, made.tokenizer)
    assert (runtime.heads, runtime.layout) == (own.heads, own.layout)
    asked: dict[str, list[Text]] = {"single": ["a good film", "", "the sea " * 40], "pair": [("a film", "the sea"), ("", "")]}
    for task, texts in asked.items():
        for one, other in zip(runtime.predict(texts, task), own.predict(texts, task), strict=True):
            assert one.label == other.label and one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_the_folder_holds_what_its_manifest_names(made: Made) -> None:
    manifest = json.loads((made.folder / "onnx" / MANIFEST).read_text())
    assert list(manifest["files"]) == ["student.onnx", TOKENIZER]
    assert sorted(path.name for path in (made.folder / "onnx").iterdir()) == [MANIFEST, "student.onnx", TOKENIZER]


@pytest.mark.parametrize("weight_range", RANGES)
def test_int8_is_near_and_small(made: Made, weight_range: Range) -> None:
    assert 0 < difference(made, Runtime.load(made.int8(weight_range), 1).infer) < 0.25 * spread(made)
    assert sorted(path.name for path in made.int8(weight_range).iterdir()) == [MANIFEST, "student.onnx", TOKENIZER]


def test_static_int8_is_near(made: Made) -> None:
    own, infer = eager(made.student), Runtime.load(made.int8(calibrated=True), 1).infer
    # A row beyond the range of the calibration's 32 is cut to it: the largest difference is such a row's.
    errors = np.concatenate([(infer(batch, task) - own(batch, task)).ravel() for task, batch in batches(made)])
    assert 0 < np.sqrt((errors**2).mean()) < 0.25 * spread(made)
    assert sorted(path.name for path in made.int8(calibrated=True).iterdir()) == [MANIFEST, "student.onnx", TOKENIZER]


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_dynamic_answer_depends_on_the_other_rows_and_a_static_one_does_not(made: Made, calibrated: bool) -> None:
    """A number on the edge between two of 8 bits may fall to either side by a rounding error: so of most rows."""
    layout = layout_of(made.tokenizer, made.student.joined, LENGTH)
    infer = Runtime.load(made.int8(calibrated=calibrated), 1).infer
    moved = []
    for data in made.datas:
        together = infer(padded(data.train, np.arange(40), layout), data.name)
        alone = np.concatenate([infer(padded(data.train, np.array([row]), layout), data.name) for row in range(40)])
        moved.extend(np.abs(together - alone).max(1) > 1e-4 * spread(made))
    assert np.mean(moved) < 0.1 if calibrated else np.mean(moved) > 0.5


class Weight(NamedTuple):
    """Whole numbers [I, O] of a node, and their scales."""

    numbers: np.ndarray
    scales: np.ndarray


def products(graph: Path) -> list[Weight]:
    """The weights of a graph's products and LSTMs, each direction of an LSTM by itself."""
    model = onnx.load(graph)
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type == "MatMulInteger":
            name = node.input[1]
            found.append(Weight(known[name], known[name.removesuffix("_quantized") + "_scale"]))
        if node.op_type == "DynamicQuantizeLSTM":
            for numbers, scales in ((1, 8), (2, 10)):
                found += [Weight(*both) for both in zip(known[node.input[numbers]], known[node.input[scales]], strict=True)]
        multiplied = [user.input[1] for user in model.graph.node if user.op_type in ("MatMul", "Gemm")]
        if node.op_type == "DequantizeLinear" and node.output[0] in multiplied and node.input[0] in known:
            (axis,) = [one.i for one in node.attribute if one.name == "axis"]
            found.append(Weight(np.moveaxis(known[node.input[0]], axis, -1), known[node.input[1]]))
    return found


@pytest.mark.parametrize("weight_range", RANGES)
@pytest.mark.parametrize("calibrated", [False, True])
def test_each_output_of_a_product_has_a_scale(made: Made, weight_range: Range, calibrated: bool) -> None:
    """So each column of whole numbers reaches to the end of the range."""
    folder = made.int8(weight_range, calibrated)
    found = products(folder / "student.onnx")
    assert len(found) >= 2
    for numbers, scales in found:
        assert numbers.dtype == np.int8 and scales.shape == numbers.shape[1:], (numbers.shape, scales.shape)
        largest = np.abs(numbers.astype(int)).max(0)
        assert set(largest[scales > 0]) <= ({127, 128} if weight_range == "full" else {63, 64}), largest
    assert json.loads((folder / MANIFEST).read_text())["reduced_range"] == (weight_range == "reduced")


@pytest.mark.parametrize("without_vnni", [False, True])
def test_the_range_is_reduced_where_the_processor_has_no_vnni(
    made: Made, without_vnni: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mkd.export.folder.saturates", lambda: without_vnni)
    export_int8(made.folder / "onnx", tmp_path / "int8", ExportConfig())
    assert json.loads((tmp_path / "int8" / MANIFEST).read_text())["reduced_range"] == without_vnni
    assert max(np.abs(weight.numbers.astype(int)).max() for weight in products(tmp_path / "int8" / "student.onnx")) < (
        65 if without_vnni else 129
    )


@pytest.mark.parametrize("config", [BAG, replace(TRANSFORMER, hidden=32)])
def test_products_of_all_8_bits_are_exact_on_any_processor(
    config: StudentConfig, datas: list[TaskData], tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """As ONNX's own evaluator computes them, in whole numbers of 32 bits."""
    student = student_of(config, datas, tokenizer)
    for module in student.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = module.weight.data.abs()  # sums of large products, which 16 bits do not hold
    export_onnx(student, tokenizer, tmp_path / "onnx")
    export_int8(tmp_path / "onnx", tmp_path / "int8", ExportConfig(weight_range="full"))
    reference, student_at_work = ReferenceEvaluator(str(tmp_path / "int8" / "student.onnx")), Runtime.load(tmp_path / "int8", 1)
    heads = json.loads((tmp_path / "int8" / MANIFEST).read_text())["tasks"]
    for data in datas:
        batch = padded(data.train, np.arange(20), student_at_work.layout)
        given = {name: array for name, array in batch._asdict().items() if array is not None}
        found = student_at_work.infer(batch, data.name)
        start = heads[data.name]["start"]
        answered: list[np.ndarray] = reference.run(None, given)  # type: ignore[assignment]
        right = answered[0][:, start : start + found.shape[1]]
        assert found.std() > 0.01 and np.abs(found - right).max() < 1e-3 * right.std(), (np.abs(found - right).max(), right.std())


def test_a_torch_program_is_the_student(made: Made, tmp_path: Path) -> None:
    layout = layout_of(made.tokenizer, made.student.joined, LENGTH)
    export_program(made.student, layout, tmp_path / "student.pt2")
    assert difference(made, load_program(tmp_path / "student.pt2", made.student)) < 2e-5


def test_exporting_leaves_the_student_as_it_was(made: Made) -> None:
    assert all(parameter.requires_grad for parameter in made.student.parameters())
    fresh = type(made.student)(made.student.config)  # type: ignore[arg-type]
    assert made.student.state_dict().keys() == fresh.state_dict().keys()


def test_a_model_too_large_for_one_file_is_refused(
    datas: list[TaskData], tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mkd.export.folder.LARGEST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"^a model of [\d,]+ bytes is too large for ONNX; allowed: at most 1,000$"):
        export_onnx(student_of(BAG, datas, tokenizer), tokenizer, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


def test_calibration_rows_are_spread_over_tasks_and_rows(datas: list[TaskData], tokenizer: PreTrainedTokenizerBase) -> None:
    layout = layout_of(tokenizer, False, 32)
    found = calibration_batches(datas, layout, 12)
    rows = [data.train_rows[i * (len(data.train_rows) // 4)] for data in datas for i in range(4)]
    assert len(found) == 12 and all(len(batch.ids) == 1 for batch in found)
    for batch, (data, row) in zip(found, zip(np.repeat(np.arange(3), 4), rows, strict=True), strict=True):
        np.testing.assert_array_equal(batch.ids, padded(datas[data].train, np.array([row]), layout).ids)


def test_a_bilstm_with_a_whole_vocabulary_is_under_15_mb(datas: list[TaskData], tmp_path: Path) -> None:
    tokenizer = load_tokenizer(MINILM, "tokenizer")
    config = StudentConfig(kind="bilstm", hidden=128, embedding=128)
    student = make_student(config, datas, len(tokenizer), 128, None)
    assert input_table(student).weight.shape == (30522, 128)
    export_onnx(student, tokenizer, tmp_path / "onnx")
    export_int8(tmp_path / "onnx", tmp_path / "int8", ExportConfig())
    assert sum(path.stat().st_size for path in (tmp_path / "int8").iterdir()) < 15_000_000


# The entry point.


DEMO = DataConfig(tasks=["sentiment", "paraphrase", "similarity"], demo=DemoConfig(train_rows=60, unlabelled_rows=0, dev_rows=40))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A random student of the demo's tasks as save_pretrained writes it, and the cache of its tokens."""
    root = tmp_path_factory.mktemp("saved")
    config = replace(DEMO, max_length=32)
    tasks = load_tasks(config)
    tokenizer = make_tokenizer(root, tasks)
    datas = [task_data(root, task, tokenizer, config, 0) for task in tasks if task.name != "similarity"]
    torch.manual_seed(0)
    student = make_student(replace(BAG, ngrams=1), datas, len(tokenizer), 32, None)
    save(student, tokenizer, root / "student")
    return root / "student", root


def config_of(saved: tuple[Path, Path], to: Path, **more: object) -> Export:
    asked = DeliveryConfig(student=str(saved[0]), to=str(to), max_loss=100)
    return Export(
        cache=str(saved[1]), threads=1, data=replace(DEMO, max_length=32),
        speed=SpeedConfig(length=8, batch_size=2, threads=[1], seconds=0.1), export=replace(asked, **more),  # type: ignore[arg-type]
    )  # fmt: skip


def exported(config: Export, origin: Path) -> Delivered:
    return run_export(config.core(), config.export, origin)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.usefixtures("quiet")
def test_a_saved_student_is_exported_and_told_of(saved: tuple[Path, Path], tmp_path: Path) -> None:
    made = exported(config_of(saved, tmp_path / "out" / "home", torch=True), saved[0])
    home = tmp_path / "out" / "home"
    assert [path.name for path in home.parent.iterdir()] == ["home"], "nothing is left beside it"
    assert (made.folder, made.backends, made.notes) == (str(home), ["onnx", "int8", "torch"], [])
    assert {path.name for path in home.iterdir()} == set(made.backends)
    assert [path.name for path in (home / "torch").iterdir()] == ["student.pt2"]
    assert {"quality/sentiment/score", "quality/mean", "export/int8/loss", "speed/int8/b1-text-t1/p50_ms"} <= made.metrics.keys()
    assert not any("similarity" in name for name in made.metrics), "a task that the student does not know"
    assert Runtime.load(home / "int8").predict(["a fine film"], "sentiment")[0].error is None
    lines = export_lines(made)
    assert cells(lines[0]) == ["", "torch", "program", "onnx", "int8"]
    scores = [made.metrics[f"{where}quality/mean"] for where in ("", "export/program/", "export/onnx/", "export/int8/")]
    (mean,) = [line for line in lines if line.startswith("| mean on dev")]
    assert cells(mean)[1:] == [f"{score:.2f}" for score in scores]
    (lost,) = [line for line in lines if line.startswith("| lost in single rows")]
    assert cells(lost)[1:] == ["-", *(f"{made.metrics[f'export/{name}/loss_single_rows']:z.2f}" for name in cells(lines[0])[2:])]


def test_what_cannot_be_exported_is_refused_and_nothing_written(saved: tuple[Path, Path], tmp_path: Path) -> None:
    config = config_of(saved, tmp_path / "home")
    (tmp_path / "there").mkdir()
    data = config.data
    for changed, told in [
        (config_of(saved, tmp_path / "there"), f"export.to is '{tmp_path}/there'; allowed: a folder that is not there yet"),
        (replace(config, export=replace(config.export, to="")), "export.to is ''; allowed: a folder that is not there yet"),
        (
            config_of(saved, tmp_path / "home", student=""),
            "export.student is ''; allowed: a folder that holds a distilled student",
        ),
        (config_of(saved, tmp_path / "home", backends=[]), "export.backends is []; allowed: at least one, or export.torch=true"),
        (
            replace(config, data=replace(data, tasks=["similarity"])),
            "data.tasks: similarity; allowed: at least one that export.student knows: paraphrase, sentiment",
        ),
        (
            replace(config, data=replace(data, max_length=64)),
            "data.max_length is 64; allowed: at most 32, as export.student was trained",
        ),
    ]:
        with pytest.raises(ValueError) as caught:
            exported(changed, saved[0])
        assert str(caught.value) == told
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_nothing_is_delivered_where_no_backend_passes(
    saved: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mkd.export.folder.LARGEST_BYTES", 10)
    with pytest.raises(ValueError, match=r"^export.student is '.*': no onnx: a model of [\d,]+ bytes is too large"):
        exported(config_of(saved, tmp_path / "home"), saved[0])
    assert list(tmp_path.iterdir()) == []


def test_the_entry_point_records_a_run(saved: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    given = [
        f"--export.student={saved[0]}", "--export.to=home", "--export.backends=[]", "--export.torch=true", "--threads=1",
        f"--cache={saved[1]}", "--data.tasks=[sentiment,paraphrase]", "--data.max_length=32", "--data.demo.train_rows=60",
        "--data.demo.unlabelled_rows=0", "--data.demo.dev_rows=40",
        "--speed.length=8", "--speed.seconds=0.1", "--speed.threads=[1]",
    ]  # fmt: skip
    done = command(tmp_path / "work", "export", *given)
    found = outcome(done)
    assert found["folder"] == str(tmp_path / "work" / "home") and found["backends"] == ["torch"]
    run = client(tmp_path / "work").get_run(found["run_id"])
    assert run.data.tags["mkd.kind"] == "export" and run.info.status == "FINISHED"
    assert run.data.tags["mlflow.runName"] == "export student"
    assert run.data.metrics["export/program/bytes"] == (tmp_path / "work" / "home" / "torch" / "student.pt2").stat().st_size
    again = command(tmp_path / "work", "export", *given)
    assert again.returncode == 2
    assert again.stderr == "error: export.to is 'home'; allowed: a folder that is not there yet\n"
