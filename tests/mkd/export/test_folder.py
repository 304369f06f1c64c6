"""Each kind of student is exported once and compared with torch on real rows; also quantisation and
the export command."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization import QuantType, quantize_dynamic

from experiments.settings import ExportSettings
from experiments.tracking.table import export_table
from mkd.config import (
    DataConfig,
    DemoConfig,
    ExportConfig,
    ExportFolderConfig,
    SpeedConfig,
    StudentConfig,
)
from mkd.evaluation.scoring import runtime_student, torch_infer
from mkd.export import folder as exporter
from mkd.export.folder import export_bag, export_int8, export_onnx, export_program, load_program
from mkd.runs.export import ExportedFolder, prepare_export, run_export
from mkd.runtime.inference import Infer, saturates
from mkd.runtime.inference import Student as Runtime
from mkd.runtime.layout import Arrays, padded
from mkd.runtime.manifest import MANIFEST, TOKENIZER, manifest_in_graphs
from mkd.runtime.texts import Text
from mkd.student_result import save_model
from mkd.students import Student, make_student
from mkd.students.bag import BagStudent
from mkd.students.embeddings import input_table, trim
from mkd.tasks.sources import load_tasks
from mkd.tokenization.tokenise import tokenise_task
from mkd.tokenization.tokens import layout_of
from mkd.tokenization.vocabulary import kept_tokens
from tests.support.entry import client, command, outcome
from tests.support.tiny import MINILM, Datas, Tokenizer, make_datas, make_tasks, make_tokenizer

LENGTH = 12
WORDS = 30522
"""The size of a whole vocabulary, that of BERT."""
PLAIN = StudentConfig(kind="bilstm", hidden=8, embedding=6, attention=False, words=False, ngrams=0)
TRANSFORMER = StudentConfig(kind="transformer", hidden=16, layers=1, heads=2)
BAG = StudentConfig(kind="bag", hidden=8, embedding=6, buckets=50)
KINDS = {
    "bilstm": StudentConfig(kind="bilstm", hidden=128, embedding=128),
    "bilstm-max": replace(PLAIN, min_count=3),
    "transformer": replace(TRANSFORMER, layers=2, pooling="first"),
    "electra": replace(TRANSFORMER, embedding=6),
    "bag": replace(BAG, min_count=3),
}
"""The first has all parts that a BiLSTM can have, the second none, and no words of its own."""


Range = Literal["full", "reduced"]
RANGES: list[Range] = ["full", "reduced"]


def of_kinds(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("export", kinds, indirect=True)


QUANTISED = of_kinds(*(kind for kind in KINDS if kind != "bag"))
"""The kinds whose int8 export is an ONNX graph with 8-bit products."""


class Made(NamedTuple):
    kind: str
    student: Student
    tokenizer: Tokenizer
    datas: Datas
    folder: Path

    def int8(self, weight_range: Range | None = None) -> Path:
        """Its int8 export, made once; by default in the range that this processor needs."""
        weight_range = weight_range or ("reduced" if saturates() else "full")
        to = self.folder / f"int8-{weight_range}"
        if not to.exists():
            if isinstance(self.student, BagStudent):
                export_bag(self.student, self.tokenizer, to)
            else:
                export_int8(self.folder / "onnx", to, ExportConfig(weight_range=weight_range))
        return to


def student_of(config: StudentConfig, datas: Datas, tokenizer: Tokenizer, words: int) -> Student:
    """A random student with logits so large that a wrong product would show."""
    torch.manual_seed(0)
    student = make_student(config, datas, words, LENGTH, None)
    for name, parameter in student.named_parameters():
        if "wide" in name:
            torch.nn.init.normal_(parameter)
        elif "heads" in name:
            parameter.data *= 4
    if config.min_count:
        trim(
            student,
            *kept_tokens(datas, tokenizer, input_table(student).num_embeddings, config.min_count),
        )
    student.train(False)
    return student


@pytest.fixture(scope="module")
def exports() -> dict[str, Made]:
    """The kinds that have been exported: each is exported once, in whatever order tests run."""
    return {}


@pytest.fixture(params=KINDS)
def export(
    request: pytest.FixtureRequest,
    exports: dict[str, Made],
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    kind = request.param
    if kind not in exports:
        root = tmp_path_factory.mktemp(kind)
        tasks = make_tasks()
        tokenizer = make_tokenizer(root, tasks)
        datas = make_datas(root, tasks, tokenizer, LENGTH)
        words = WORDS if kind == "bilstm" else len(tokenizer)
        student = student_of(KINDS[kind], datas, tokenizer, words)
        export_onnx(student, tokenizer, root / "onnx")
        exports[kind] = Made(kind, student, tokenizer, datas, root)
    return exports[kind]


def batches(export: Made) -> list[tuple[str, Arrays]]:
    """For each task: one row, two rows, and all rows, of which some are truncated; a row of length
    1; and rows without tokens."""
    layout = layout_of(export.tokenizer, export.student.joined, LENGTH)
    named_batches = []
    for data in export.datas:
        named_batches += [
            (data.name, padded(data.train, np.arange(40)[rows], layout))
            for rows in ([3], [0, 7], slice(None))
        ]
        empty = data.train._replace(a=data.train.a._replace(offsets=data.train.a.offsets * 0))
        named_batches.append((data.name, padded(empty, np.arange(2), layout)))
        if data.train.b is None:
            short = data.train.a._replace(offsets=np.minimum(data.train.a.offsets, 1))
            named_batches.append(
                (data.name, padded(data.train._replace(a=short), np.array([0]), layout))
            )
    return named_batches


def difference(export: Made, infer: Infer) -> float:
    """The largest difference between its logits and torch's."""
    reference = torch_infer(export.student)
    return max(
        float(np.abs(infer(batch, task) - reference(batch, task)).max())
        for task, batch in batches(export)
    )


def spread(export: Made) -> float:
    """The standard deviation of torch's logits."""
    reference = torch_infer(export.student)
    return float(
        np.concatenate([reference(batch, task).ravel() for task, batch in batches(export)]).std()
    )


def test_logits_match_torch_for_every_batch(export: Made) -> None:
    assert len({batch.ids.shape for _, batch in batches(export)}) > 6
    assert spread(export) > 0.1
    assert difference(export, Runtime.load(export.folder / "onnx", 1).infer) < 2e-5


def test_raw_texts_get_the_same_answers_as_in_torch(export: Made) -> None:
    runtime, reference = (
        Runtime.load(export.folder / "onnx", 1),
        runtime_student(export.student, export.tokenizer),
    )
    assert (runtime.heads, runtime.layout) == (reference.heads, reference.layout)
    asked: dict[str, list[Text]] = {
        "single": ["a good film", "", "the sea " * 40],
        "pair": [("a film", "the sea"), ("", "")],
    }
    for task, texts in asked.items():
        for one, other in zip(
            runtime.predict(texts, task), reference.predict(texts, task), strict=True
        ):
            assert one.label == other.label
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_the_folder_has_the_files_of_its_manifest(export: Made) -> None:
    manifest = json.loads((export.folder / "onnx" / MANIFEST).read_text())
    assert list(manifest["files"]) == ["model.onnx", TOKENIZER]
    assert sorted(path.name for path in (export.folder / "onnx").iterdir()) == [
        "model.onnx",
        MANIFEST,
        TOKENIZER,
    ]


@pytest.mark.parametrize("weight_range", RANGES)
def test_int8_is_close_to_torch_and_has_only_its_files(export: Made, weight_range: Range) -> None:
    assert (
        0
        < difference(export, Runtime.load(export.int8(weight_range), 1).infer)
        < 0.25 * spread(export)
    )
    file = "student.npz" if isinstance(export.student, BagStudent) else "model_int8.onnx"
    names = {path.name for path in export.int8(weight_range).iterdir()}
    assert names == {MANIFEST, file, TOKENIZER}


@QUANTISED
def test_an_int8_answer_depends_on_the_other_rows_of_its_batch(export: Made) -> None:
    """This is documented, and why a backend is also checked in single rows. In float32, only
    rounding differs."""
    layout = layout_of(export.tokenizer, export.student.joined, LENGTH)
    moved = {}
    for name, folder in ("float32", export.folder / "onnx"), ("int8", export.int8()):
        infer = Runtime.load(folder, 1).infer
        apart = []
        for data in export.datas:
            rows = [padded(data.train, np.array([row]), layout) for row in range(40)]
            alone = np.concatenate([infer(row, data.name) for row in rows])
            together = infer(padded(data.train, np.arange(40), layout), data.name)
            apart.append(np.abs(together - alone).max())
        moved[name] = max(apart) / spread(export)
    assert moved["float32"] < 1e-5 < 1e-4 < moved["int8"]


class Weight(NamedTuple):
    """Integer weights [I, O] of a node, and their scales."""

    numbers: np.ndarray
    scales: np.ndarray


def products(graph: Path) -> list[Weight]:
    """The weights of a graph's products and LSTMs, per direction of an LSTM."""
    model = onnx.load(graph)
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = []
    for node in model.graph.node:
        if node.op_type == "MatMulInteger":
            name = node.input[1]
            weights.append(Weight(known[name], known[name.removesuffix("_quantized") + "_scale"]))
        if node.op_type == "DynamicQuantizeLSTM":
            for numbers, scales in ((1, 8), (2, 10)):
                weights += [
                    Weight(*both)
                    for both in zip(
                        known[node.input[numbers]], known[node.input[scales]], strict=True
                    )
                ]
    return weights


@QUANTISED
@pytest.mark.parametrize("weight_range", RANGES)
def test_each_output_of_a_product_has_a_scale(export: Made, weight_range: Range) -> None:
    """So each column of integers reaches the end of the range."""
    folder = export.int8(weight_range)
    weights = products(folder / "model_int8.onnx")
    assert weights
    for numbers, scales in weights:
        assert numbers.dtype == np.int8 and scales.shape == numbers.shape[1:], (
            numbers.shape,
            scales.shape,
        )
        largest = np.abs(numbers.astype(int)).max(0)
        assert set(largest[scales > 0]) <= ({127, 128} if weight_range == "full" else {63, 64}), (
            largest
        )
    expected = weight_range == "reduced"
    assert json.loads((folder / MANIFEST).read_text())["reduced_range"] == expected


@QUANTISED
@pytest.mark.parametrize("weight_range", RANGES)
def test_each_row_of_a_table_has_a_scale_and_the_heads_stay_in_float32(
    export: Made, weight_range: Range
) -> None:
    """Tables use all 8 bits, whatever the range of the products: no error exceeds half a step of
    its row."""
    graph = onnx.load(export.int8(weight_range) / "model_int8.onnx").graph
    written = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    tables = {
        name: module.weight.detach().numpy()
        for name, module in export.student.named_modules()
        if isinstance(module, torch.nn.Embedding)
    }
    read = [name for name in tables if f"student.{name}.weight_numbers" in written]
    assert read and not any(f"student.{name}.weight" in written for name in tables)
    for name in read:
        table = tables[name]
        numbers, scales = (
            written[f"student.{name}.weight_numbers"],
            written[f"student.{name}.weight_scales"],
        )
        assert numbers.dtype == np.int8 and scales.shape == (len(table), 1)
        steps = np.abs(table).max(1, keepdims=True) / 127
        assert (np.abs(numbers * scales - table) <= steps * (0.5 + 1e-4)).all()
    linears = export.student.heads.linears
    heads = np.concatenate([linear.weight.detach().numpy() for linear in linears])  # type: ignore[operator]
    assert any(
        tensor.shape == heads.T.shape and (tensor == heads.T).all()
        for tensor in written.values()
        if tensor.dtype == np.float32
    )


def eight_bits(x_BLI: torch.Tensor, weight_OI: torch.Tensor, most: int) -> torch.Tensor:
    """Their product by the formulas of dynamic quantisation, with integers in float64.

    x has one scale and one zero point: 0 to 255 cover its range, extended to 0. Each row of weights
    has a scale, for -most to most. The scales are float32, as in a graph. If the product changes
    the width of tokens, each token is first divided by its largest absolute value.
    """
    if x_BLI.dim() == 3 and weight_OI.shape[0] != weight_OI.shape[1]:
        largest = x_BLI.abs().amax(2, keepdim=True).clamp(min=1e-30)
        return largest * whole_product(x_BLI / largest, weight_OI, most)
    return whole_product(x_BLI, weight_OI, most)


def whole_product(x_BLI: torch.Tensor, weight_OI: torch.Tensor, most: int) -> torch.Tensor:
    """The same without scales per token."""
    x, weight = x_BLI.numpy(), weight_OI.numpy()
    low, high = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
    step = np.float32((high - low) / np.float32(255))
    zero = np.clip(np.rint(-low / step), 0, 255)
    whole = np.clip(np.rint(x / step) + zero, 0, 255).astype(float) - zero
    scales = (np.abs(weight).max(1, keepdims=True) / most).astype(np.float32)
    return torch.from_numpy(
        (whole @ np.rint(weight / scales).astype(float).T * (float(step) * scales[:, 0])).astype(
            np.float32
        )
    )


@of_kinds("transformer", "electra")
@pytest.mark.parametrize("weight_range", RANGES)
def test_int8_matches_the_student_with_integer_products_and_tables(
    export: Made, weight_range: Range
) -> None:
    """The reference is torch with integer products in numpy in each linear layer but the heads."""
    student = copy.deepcopy(export.student)
    plain, infer = torch_infer(export.student), Runtime.load(export.int8(weight_range), 1).infer
    layout = layout_of(export.tokenizer, student.joined, LENGTH)
    inputs = [(padded(data.train, np.arange(20), layout), data.name) for data in export.datas]
    right, logits = (
        np.concatenate([one(*each).ravel() for each in inputs]) for one in (plain, infer)
    )
    most = 127 if weight_range == "full" else 64
    for name, module in student.named_modules():
        if isinstance(module, torch.nn.Embedding):
            steps = module.weight.data.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
            module.weight.data = torch.round(module.weight.data / steps) * steps
        elif isinstance(module, torch.nn.Linear) and "heads" not in name:
            weight, bias = module.weight.detach(), module.bias.detach()
            module.forward = lambda x, weight=weight, bias=bias: eight_bits(x, weight, most) + bias  # type: ignore[misc,method-assign]
    expected = np.concatenate([torch_infer(student)(*each).ravel() for each in inputs])
    error = np.sqrt(((expected - right) ** 2).mean())
    # A value halfway between two 8-bit numbers may be rounded either way.
    assert np.sqrt(((logits - expected) ** 2).mean()) < 0.1 * error, (
        error,
        np.abs(logits - expected).max(),
    )


def one_product(inputs: int, outputs: int) -> onnx.ModelProto:
    """A graph that only multiplies tokens [B, L, inputs] by a weight."""
    weight = np.random.default_rng(0).normal(size=(inputs, outputs)).astype(np.float32)
    sizes = {"tokens": inputs, "product": outputs}
    tokens, product = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["B", "L", size])
        for name, size in sizes.items()
    )
    node = onnx.helper.make_node("MatMul", ["tokens", "weight"], ["product"], "only")
    graph = onnx.helper.make_graph(
        [node], "one", [tokens], [product], [numpy_helper.from_array(weight, "weight")]
    )
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", exporter.OPSET)], ir_version=10
    )


def computed(model: onnx.ModelProto, x_BLI: np.ndarray) -> np.ndarray:
    """The output of onnxruntime, with 8-bit products as exact as with VNNI."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (output,) = session.run(None, {"tokens": x_BLI})
    return np.asarray(output)


def with_one_huge_token() -> np.ndarray:
    """Normally distributed tokens [2, 5, 8], except for one that is a hundred times as large and
    one of zeros."""
    x_BLI = np.random.default_rng(1).normal(size=(2, 5, 8)).astype(np.float32)
    x_BLI[0, 1] *= 100
    x_BLI[1, 2] = 0
    return x_BLI


def test_scaling_tokens_changes_nothing_in_float32_and_skips_square_products() -> None:
    wide, square = one_product(8, 32), one_product(8, 8)
    before = computed(wide, with_one_huge_token())
    exporter._scale_tokens(wide.graph)
    exporter._scale_tokens(square.graph)
    onnx.checker.check_model(wide)
    assert len(wide.graph.node) == 6 and [node.op_type for node in square.graph.node] == ["MatMul"]
    assert computed(wide, with_one_huge_token()) == pytest.approx(before, rel=1e-5, abs=1e-5)


@QUANTISED
def test_only_transformers_have_scaled_tokens(export: Made) -> None:
    """Twice per layer, and once where ELECTRA projects embeddings to the width of its layers."""
    nodes = onnx.load(export.int8() / "model_int8.onnx").graph.node
    count = sum(node.op_type == "Div" and node.output[0].endswith("_scaled") for node in nodes)
    assert count == {"transformer": 4, "electra": 3}.get(export.kind, 0)


def test_a_huge_token_does_not_reduce_the_precision_of_others(tmp_path: Path) -> None:
    """With one scale per call, they would keep only three of their eight bits."""
    x_BLI = with_one_huge_token()
    others = np.abs(x_BLI).max(2) < 50
    right = computed(one_product(8, 32), x_BLI)
    errors = {}
    weight_OI = torch.from_numpy(
        numpy_helper.to_array(one_product(8, 32).graph.initializer[0]).T.copy()
    )
    for scaled, formula in ((False, whole_product), (True, eight_bits)):
        model = one_product(8, 32)
        if scaled:
            exporter._scale_tokens(model.graph)
        quantize_dynamic(
            model, tmp_path / "int8.onnx", ["MatMul"], per_channel=True, weight_type=QuantType.QInt8
        )
        output = computed(onnx.load(tmp_path / "int8.onnx"), x_BLI)
        expected = formula(torch.from_numpy(x_BLI), weight_OI, 127).numpy()
        assert output == pytest.approx(expected, rel=1e-3, abs=1e-3 * float(right[others].std()))
        errors[scaled] = float(
            np.sqrt(((output - right)[others] ** 2).mean()) / right[others].std()
        )
        assert output[1, 2] == pytest.approx(np.zeros(32))
    assert errors[True] < 0.01 and errors[False] > 0.1, errors


@of_kinds("bilstm-max", "electra")
@pytest.mark.parametrize("without_vnni", [False, True])
def test_the_weight_range_is_reduced_without_vnni(
    export: Made, without_vnni: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mkd.export.folder.saturates", lambda: without_vnni)
    export_int8(export.folder / "onnx", tmp_path / "int8", ExportConfig())
    assert json.loads((tmp_path / "int8" / MANIFEST).read_text())["reduced_range"] == without_vnni
    assert max(
        np.abs(weight.numbers.astype(int)).max()
        for weight in products(tmp_path / "int8" / "model_int8.onnx")
    ) < (65 if without_vnni else 129)


@of_kinds("bag", "transformer")
def test_products_of_all_8_bits_are_exact_on_any_processor(export: Made, tmp_path: Path) -> None:
    """Compared with ONNX's reference evaluator, which uses 32-bit integers.

    All weights of products are made positive: sums of such products overflow 16 bits."""
    shutil.copytree(export.folder / "onnx", tmp_path / "onnx")
    model = onnx.load(tmp_path / "onnx" / "model.onnx")
    read = {node.input[1] for node in model.graph.node if node.op_type in ("MatMul", "Gemm")}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in read]
    assert len(weights) > 1
    for weight in weights:
        positive = np.abs(numpy_helper.to_array(weight))
        weight.CopyFrom(numpy_helper.from_array(positive, weight.name))
    onnx.save(model, tmp_path / "onnx" / "model.onnx")
    export_int8(tmp_path / "onnx", tmp_path / "int8", ExportConfig(weight_range="full"))
    reference, student_at_work = (
        ReferenceEvaluator(str(tmp_path / "int8" / "model_int8.onnx")),
        Runtime.load(tmp_path / "int8", 1),
    )
    heads = json.loads((tmp_path / "int8" / MANIFEST).read_text())["tasks"]
    for data in export.datas:
        batch = padded(data.train, np.arange(20), student_at_work.layout)
        inputs = {name: array for name, array in batch._asdict().items() if array is not None}
        logits = student_at_work.infer(batch, data.name)
        start = heads[data.name]["start"]
        answered: list[np.ndarray] = reference.run(None, inputs)  # type: ignore[assignment]
        right = answered[0][:, start : start + logits.shape[1]]
        assert logits.std() > 0.01 and np.abs(logits - right).max() < 1e-3 * right.std(), (
            np.abs(logits - right).max(),
            right.std(),
        )


@of_kinds("bilstm", "bilstm-max", "electra", "bag")
@pytest.mark.slow
def test_a_torch_program_has_the_logits_of_the_student(export: Made, tmp_path: Path) -> None:
    layout = layout_of(export.tokenizer, export.student.joined, LENGTH)
    export_program(export.student, layout, tmp_path / "student.pt2")
    assert difference(export, load_program(tmp_path / "student.pt2", export.student)) < 2e-5


def test_an_export_does_not_change_the_student(export: Made) -> None:
    assert all(parameter.requires_grad for parameter in export.student.parameters())
    fresh = type(export.student)(export.student.config)  # type: ignore[arg-type]
    assert export.student.state_dict().keys() == fresh.state_dict().keys()


def test_a_model_too_large_for_one_file_is_refused(
    datas: Datas,
    tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mkd.export.folder.LARGEST_BYTES", 1000)
    message = r"^a model of [\d,]+ bytes is too large for ONNX; allowed: at most 1,000$"
    with pytest.raises(ValueError, match=message):
        export_onnx(student_of(BAG, datas, tokenizer, 120), tokenizer, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


@of_kinds("bilstm")
def test_a_bilstm_with_a_whole_vocabulary_is_under_15_mb(export: Made) -> None:
    assert input_table(export.student).weight.shape == (WORDS, 128)
    others = [path.stat().st_size for path in export.int8().iterdir() if path.name != TOKENIZER]
    whole = (MINILM / TOKENIZER).stat().st_size
    assert sum(others) + whole < 15_000_000


# The entry point.


DEMO = DataConfig(
    tasks=["sentiment", "paraphrase", "similarity"],
    demo=DemoConfig(train_rows=60, unlabelled_rows=0, dev_rows=40),
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A random student of demo tasks, saved by save_pretrained, and the cache of its tokens."""
    root = tmp_path_factory.mktemp("saved")
    config = replace(DEMO, max_length=32)
    tasks = load_tasks(config)
    tokenizer = make_tokenizer(root, tasks)
    datas = [
        tokenise_task(root, task, tokenizer, config, 0)
        for task in tasks
        if task.name != "similarity"
    ]
    torch.manual_seed(0)
    student = make_student(TRANSFORMER, datas, len(tokenizer), 32, None)
    save_model(student, tokenizer, root / "student")
    return root / "student", root


def config_of(saved: tuple[Path, Path], to: Path, **more: object) -> ExportSettings:
    asked = ExportFolderConfig(student=str(saved[0]), to=str(to), max_loss=100)
    return ExportSettings(
        cache=str(saved[1]),
        threads=1,
        data=replace(DEMO, max_length=32),
        speed=SpeedConfig(length=8, batch_size=2, threads=[1], seconds=0.1),
        export=replace(asked, **more),  # type: ignore[arg-type]
    )


BACKENDS = ("onnx", "int8")


def exported(config: ExportSettings, origin: Path) -> ExportedFolder:
    return run_export(prepare_export(config.core(), config.export, origin), config.export)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.slow
@pytest.mark.usefixtures("quiet")
def test_a_saved_student_is_exported_with_a_card(saved: tuple[Path, Path], tmp_path: Path) -> None:
    result = exported(config_of(saved, tmp_path / "out" / "home", torch=True), saved[0])
    home = tmp_path / "out" / "home"
    assert [path.name for path in home.parent.iterdir()] == ["home"], "nothing is left beside it"
    assert (result.folder, result.backends, result.notes) == (
        str(home),
        ["onnx", "int8", "torch"],
        [],
    )
    common_files = {"README.md", "config.json", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in home.iterdir()} == {"onnx", "torch"} | common_files
    graphs = {"model.onnx", "model_int8.onnx", "student.json", "student_int8.json", TOKENIZER}
    assert {path.name for path in (home / "onnx").iterdir()} == graphs
    card = (home / "README.md").read_text()
    assert "| onnx | `onnx/model.onnx` |" in card and "| int8 | `onnx/model_int8.onnx` |" in card
    about = json.loads((home / "config.json").read_text())
    assert about["backends"] == ["onnx", "int8"] and about["backend"] in about["backends"]
    assert Runtime.load(home).predict(["a fine film"], "sentiment")[0].error is None
    assert [path.name for path in (home / "torch").iterdir()] == ["student.pt2"]
    assert {
        "quality/sentiment/score",
        "quality/mean",
        "export/int8/loss",
        "speed/int8/b1-text-t1/p50_ms",
    } <= result.metrics.keys()
    # The student does not know this task.
    assert not any("similarity" in name for name in result.metrics)
    answers = [Runtime.load(home / name).predict(["a fine film"], "sentiment") for name in BACKENDS]
    assert answers[0][0].error is None
    assert answers[0] != answers[1], "each backend is loaded by its name"
    # Earlier versions exported a folder per backend.
    for name, answer in zip(BACKENDS, answers, strict=True):
        old = tmp_path / "old" / name
        old.mkdir(parents=True)
        manifest = manifest_in_graphs(name)
        stated = json.loads((home / "onnx" / manifest).read_text())
        for file in stated["files"]:
            shutil.copy(home / "onnx" / file, old / file)
        shutil.copy(home / "onnx" / manifest, old / MANIFEST)
        assert Runtime.load(old).predict(["a fine film"], "sentiment") == answer
    shutil.copy(home / "config.json", tmp_path / "old")
    fastest = BACKENDS.index(about["backend"])
    assert Runtime.load(tmp_path / "old").predict(["a fine film"], "sentiment") == answers[fastest]
    lines = export_table(result)
    assert cells(lines[0]) == ["", "torch", "program", "onnx", "int8"]
    scores = [
        result.metrics[f"{where}quality/mean"]
        for where in ("", "export/program/", "export/onnx/", "export/int8/")
    ]
    (mean,) = [line for line in lines if line.startswith("| mean on dev")]
    assert cells(mean)[1:] == [f"{score:.2f}" for score in scores]
    (lost,) = [line for line in lines if line.startswith("| lost in single rows")]
    assert cells(lost)[1:] == [
        "-",
        *(
            f"{result.metrics[f'export/{name}/loss_single_rows']:z.2f}"
            for name in cells(lines[0])[2:]
        ),
    ]


def test_wrong_export_settings_are_refused(saved: tuple[Path, Path], tmp_path: Path) -> None:
    config = config_of(saved, tmp_path / "home")
    (tmp_path / "there").mkdir()
    data = config.data
    for changed, message in [
        (
            config_of(saved, tmp_path / "there"),
            f"export.to is '{tmp_path}/there'; allowed: a folder that does not exist yet",
        ),
        (
            config_of(saved, Path("/dev/null/home")),
            "export.to is '/dev/null/home'; allowed: a path below a folder that can be written to",
        ),
        (
            replace(config, export=replace(config.export, to="")),
            "export.to is ''; allowed: a folder that does not exist yet",
        ),
        (
            config_of(saved, tmp_path / "home", student=""),
            "export.student is ''; allowed: a folder that holds a distilled student",
        ),
        (
            config_of(saved, tmp_path / "home", backends=[]),
            "export.backends is []; allowed: at least one, or export.torch=true",
        ),
        (
            replace(config, data=replace(data, tasks=["similarity"])),
            "data.tasks: similarity; allowed: at least one that export.student knows: "
            "paraphrase, sentiment",
        ),
    ]:
        with pytest.raises(ValueError) as caught:
            exported(changed, saved[0])
        assert str(caught.value) == message
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_no_folder_is_written_if_no_backend_passes(
    saved: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mkd.export.folder.LARGEST_BYTES", 10)
    message = r"^export.student is '.*': no onnx: a model of [\d,]+ bytes is too large"
    with pytest.raises(ValueError, match=message):
        exported(config_of(saved, tmp_path / "home"), saved[0])
    assert list(tmp_path.iterdir()) == []


def test_the_entry_point_records_a_run(saved: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    options = [
        f"--export.student={saved[0]}", "--export.to=home", "--export.backends=[]",
        "--export.torch=true", "--threads=1", f"--cache={saved[1]}",
        "--data.tasks=[sentiment,paraphrase]", "--data.max_length=32", "--data.demo.train_rows=60",
        "--data.demo.unlabelled_rows=0", "--data.demo.dev_rows=40", "--speed.length=8",
        "--speed.seconds=0.1", "--speed.threads=[1]",
    ]  # fmt: skip
    done = command(tmp_path / "work", "export", *options)
    result = outcome(done)
    assert result["folder"] == str(tmp_path / "work" / "home") and result["backends"] == ["torch"]
    run = client(tmp_path / "work").get_run(result["run_id"])
    assert run.data.tags["mkd.kind"] == "export" and run.info.status == "FINISHED"
    assert run.data.tags["mlflow.runName"] == "export student"
    expected = (tmp_path / "work" / "home" / "torch" / "student.pt2").stat().st_size
    assert run.data.metrics["export/program/bytes"] == expected
    again = command(tmp_path / "work", "export", *options)
    assert again.returncode == 2
    message = "error: export.to is 'home'; allowed: a folder that does not exist yet\n"
    assert again.stderr.endswith(message)
