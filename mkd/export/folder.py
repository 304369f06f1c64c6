"""A trained student as a folder that runs anywhere: ONNX graphs, in float32 or int8, its tokenizer,
and what its outputs mean.

Axes: B rows of a batch, S texts of a row, L tokens, E width of the input, H units of an LSTM's
direction.
"""

import copy
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn
from torch.export import Dim
from transformers import PreTrainedTokenizerBase

from mkd.config import Int8Config
from mkd.export.bag import write_bag
from mkd.runtime.inference import (
    FORMAT,
    MANIFEST,
    REDUCED,
    TABLES_ENDING,
    TABLES_FORMAT,
    TOKENIZER,
    Infer,
    digest_of,
    saturates,
)
from mkd.runtime.layout import Arrays, Layout
from mkd.students import Student
from mkd.students.bag import BagStudent, Wide
from mkd.students.bilstm import BiLstm, take
from mkd.students.heads import Heads
from mkd.students.transformer import TransformerStudent
from mkd.tokenization.tokenise import backend_tokenizer
from mkd.tokenization.tokens import Inputs, layout_of

GRAPH = "student.onnx"
TABLES = f"student{TABLES_ENDING}"
PROGRAM = "student.pt2"
OPSET = 20
LSTM_MODE = 2
"""torch's number of an LSTM among its recurrent networks."""
LARGEST_BYTES = 2**31 - 2**24
"""A file of ONNX's format has less than 2 GiB; some are left for all that is not a weight."""
QUANTISED = ["MatMul", "LSTM"]
"""What onnxruntime turns to 8 bits, where its weights are constant; it makes products of Gemm too.
Tables are done here."""
LOGITS = "logits"
"""The name of a graph's output."""
EXAMPLE = (3, 2, 7)
"""Rows, texts and tokens of the batch that a graph is traced with; all three may be others
afterwards."""


class AllHeads(nn.Module):
    """The logits of some tasks side by side, in their order, as one product with the
    representation."""

    def __init__(self, heads: Heads, names: list[str]) -> None:
        super().__init__()
        own = [dict(heads.linears[heads.names.index(name)].named_parameters()) for name in names]
        self.weight = nn.Parameter(torch.cat([parameters["weight"].detach() for parameters in own]))
        self.bias = nn.Parameter(torch.cat([parameters["bias"].detach() for parameters in own]))

    def forward(self, pooled_BD: torch.Tensor, task: str) -> torch.Tensor:
        return F.linear(pooled_BD, self.weight, self.bias)


class AllWide(nn.Module):
    """The wide part of a bag student for some tasks side by side; it adds nothing to pair tasks."""

    def __init__(self, wide: Wide, tasks: dict[str, dict[str, Any]], names: list[str]) -> None:
        super().__init__()
        self.wide = wide
        rows = wide.words + wide.buckets
        classes = {name: len(head["labels"]) or 1 for name, head in tasks.items()}
        columns = [
            wide.table(name).weight.detach()
            if name in wide.names
            else torch.zeros(rows, classes[name])
            for name in names
        ]
        self.table = nn.Embedding.from_pretrained(torch.cat(columns, dim=1))

    def forward(
        self, logits_BC: torch.Tensor, words_BL: torch.Tensor, mask_BL: torch.Tensor, task: str
    ) -> torch.Tensor:
        return logits_BC + self.wide.scores(self.table, *self.wide.rows(words_BL, mask_BL))


class Graph(nn.Module):
    """A student as a function of tensors alone, with the logits of these tasks side by side."""

    def __init__(self, student: Student, names: list[str]) -> None:
        super().__init__()
        own: Any = copy.deepcopy(student).cpu()
        own.heads = AllHeads(student.heads, names)
        if isinstance(student, BagStudent):
            own.wide = AllWide(own.wide, student.config.tasks, names)
        if isinstance(own, TransformerStudent):
            # Plain products: fused attention comes apart into more nodes, which look out for rows
            # that see nothing.
            own.encoder.set_attn_implementation("eager")
        self.student = own
        self.train(False)
        self.requires_grad_(False)

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None
    ) -> torch.Tensor:
        logits: torch.Tensor = self.student(Inputs(ids, mask, types), "")
        return logits


def export_onnx(student: Student, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes the student to the folder as one graph for all heads, of any batch and length, in
    float32.

    Raises ValueError for one that is too large for a graph in one file.
    """
    num_bytes = 4 * sum(parameter.numel() for parameter in student.parameters())
    if num_bytes > LARGEST_BYTES:
        raise ValueError(
            f"a model of {num_bytes:,} bytes is too large for ONNX; allowed: at most "
            f"{LARGEST_BYTES:,}"
        )
    names = sorted(student.config.tasks)
    layout = layout_of(tokenizer, student.joined, student.config.max_tokens)
    folder.mkdir(parents=True)
    _write_graph(Graph(student, names), layout, folder / GRAPH)
    heads = _heads(student, GRAPH)
    start = 0
    for head in heads.values():
        head["start"] = start
        start += len(head["labels"]) or 1
    _write_folder(folder, tokenizer, {"format": FORMAT, "tasks": heads, "layout": layout})


def export_bag(student: BagStudent, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes a bag student to the folder in 8 bits, for numpy (mkd/export/bag.py)."""
    folder.mkdir(parents=True)
    write_bag(student, folder / TABLES)
    layout = layout_of(tokenizer, student.joined, student.config.max_tokens)
    heads = _heads(student, TABLES)
    _write_folder(folder, tokenizer, {"format": TABLES_FORMAT, "tasks": heads, "layout": layout})


def _heads(student: Student, file: str) -> dict[str, dict[str, Any]]:
    """Returns the manifest's entry of each task: what its logits mean, and who computes them."""
    keys = ("labels", "pair", "mean", "std")
    return {
        name: {key: head[key] for key in keys} | {"graph": file}
        for name, head in sorted(student.config.tasks.items())
    }


def _write_folder(
    folder: Path, tokenizer: PreTrainedTokenizerBase, manifest: dict[str, Any]
) -> None:
    backend_tokenizer(tokenizer).save(str(folder / TOKENIZER))
    _write_manifest(folder, manifest | {"layout": manifest["layout"]._asdict()})


def export_int8(source: Path, folder: Path, config: Int8Config) -> None:
    """The exported float32 student with weights of 8 bits: tables, products and LSTMs; its small
    heads stay as they are.

    What is multiplied with them is turned to 8 bits too, by its range in each batch (dynamic
    quantisation), in a Transformer's feed-forward layers after each token is divided by its
    largest number. A product's weights have a scale for each output, an LSTM's for each gate of
    each unit, in each direction; a table of embeddings for each row.

    Weights are signed and what they meet is not: an x86 processor without VNNI adds two products
    of 8 bits in 16, which may saturate. Weights of 7 bits (config.weight_range) do not; those of
    all 8 are multiplied there by slower, exact products (mkd/runtime/inference.py), as the
    manifest says which they are. Tables, which nothing is multiplied with, are of 8 in either
    case.
    """
    folder.mkdir(parents=True)
    reduced = saturates() if config.weight_range == "auto" else config.weight_range == "reduced"
    manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8")) | {REDUCED: reduced}
    for name in sorted({head["graph"] for head in manifest["tasks"].values()}):
        prepared = folder / f"{name}.prepared"
        quant_pre_process(source / name, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        prepared.unlink()
        _quantise_tables(model.graph)
        if not any(
            node.op_type == "LSTM" for node in model.graph.node
        ):  # whose outputs are below 1
            _scale_tokens(model.graph)
        (head,) = [node.name for node in model.graph.node if LOGITS in node.output]
        quantize_dynamic(
            model,
            folder / name,
            QUANTISED,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=reduced,
            # onnxruntime gives this name to the product that it makes of a Gemm.
            nodes_to_exclude=[f"{head}_MatMul"],
        )
    (folder / TOKENIZER).write_bytes((source / TOKENIZER).read_bytes())
    _write_manifest(folder, manifest)


def _quantise_tables(graph: onnx.GraphProto) -> None:
    """Has each table of embeddings read as whole numbers of 8 bits, and each of its rows times a
    scale of its own.

    onnxruntime itself would give the table one scale: that of its largest number.
    """
    tables = {
        one.name: one
        for one in graph.initializer
        if one.data_type == onnx.TensorProto.FLOAT and len(one.dims) == 2
    }
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type != "Gather" or node.input[0] not in tables:
            graph.node.append(node)
            continue
        (name, ids), (found,) = node.input, node.output
        numbers, scales = f"{name}_numbers", f"{name}_scales"
        if tables[name] in graph.initializer:  # a table may be read twice
            rows = numpy_helper.to_array(tables[name])
            largest = np.abs(rows).max(1, keepdims=True)
            whole = np.round(127 * rows / np.where(largest > 0, largest, 1)).astype(np.int8)
            graph.initializer.remove(tables[name])
            graph.initializer.extend(
                [
                    numpy_helper.from_array(whole, numbers),
                    numpy_helper.from_array(largest / 127, scales),
                ]
            )
        numbers_out, float_out = f"{found}_numbers", f"{found}_float"
        graph.node.extend([
            helper.make_node("Gather", [numbers, ids], [numbers_out]),
            helper.make_node("Cast", [numbers_out], [float_out], to=onnx.TensorProto.FLOAT),
            helper.make_node("Gather", [scales, ids], [f"{found}_scales"]),
            helper.make_node("Mul", [float_out, f"{found}_scales"], [found]),
        ])  # fmt: skip


def _scale_tokens(graph: onnx.GraphProto) -> None:
    """Has each token divided by its largest number before a product that widens or narrows it, and
    the product times that number.

    In float32 nothing changes by it. In 8 bits each token has a scale of its own by it, where
    onnxruntime has one for all of a call: in an encoder's feed-forward layers a few tokens have
    numbers many times as large as the others', and would set it. Attention's products, which are
    square, meet no such tokens, and stay as they are.
    """
    weights = {
        one.name for one in graph.initializer if len(one.dims) == 2 and one.dims[0] != one.dims[1]
    }
    axis, least = "tokens_axis", "tokens_least"
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), axis))
    graph.initializer.append(
        numpy_helper.from_array(np.array(1e-30, np.float32), least)
    )  # a token may be all zeros
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type != "MatMul" or node.input[1] not in weights:
            graph.node.append(node)
            continue
        token, product = node.input[0], node.output[0]
        sizes, largest, scale, scaled, found = (
            f"{product}_{part}" for part in ("sizes", "largest", "scale", "scaled", "found")
        )
        node.input[0], node.output[0] = scaled, found
        graph.node.extend([
            helper.make_node("Abs", [token], [sizes]),
            helper.make_node("ReduceMax", [sizes, axis], [largest], keepdims=1),
            helper.make_node("Max", [largest, least], [scale]),
            helper.make_node("Div", [token, scale], [scaled]),
            node,
            helper.make_node("Mul", [found, scale], [product]),
        ])  # fmt: skip


def export_program(student: Student, layout: Layout, file: Path) -> None:
    """The student as a torch.export program for a CPU, with the logits of all tasks side by side,
    for those who stay in torch.

    It takes ids and mask [B, S, L] and, where the layout has them, types [B, L]. S is 1 for
    joined texts and else 2: a single text is given twice, which is what it is to a student that
    compares texts. L is 2 or more: torch.export takes 1 for another shape. Raises ValueError
    where torch cannot.
    """
    graph = Graph(student, sorted(student.config.tasks))
    for module in graph.modules():
        if isinstance(module, BiLstm):
            if not torch.backends.mkldnn.is_available():
                raise ValueError(
                    "export.torch is True; allowed for a BiLSTM: false, as torch has no oneDNN here"
                )
            module.forward = MethodType(_onednn_lstm, module)  # type: ignore[method-assign]
    given, (ids, _, *others) = _example(student.joined, layout.types)
    free = {place: Dim.DYNAMIC for place in ids if place != 1}
    file.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        torch.export.save(
            torch.export.export(graph, given, dynamic_shapes=(free, free, *others)), file
        )


def load_program(file: Path, student: Student) -> Infer:
    """What computes logits by the torch.export program of the student."""
    program = torch.export.load(file).module()
    names = sorted(student.config.tasks)
    sizes = [len(student.config.tasks[name]["labels"]) or 1 for name in names]

    def infer(batch: Arrays, task: str) -> np.ndarray:
        given = [torch.from_numpy(array) for array in batch if array is not None]
        if not student.joined:
            given = [
                F.pad(tensor, (0, max(0, 2 - tensor.shape[2]))).expand(-1, 2, -1)
                for tensor in given
            ]
        with torch.inference_mode():
            logits: np.ndarray = program(*given).split(sizes, dim=1)[names.index(task)].numpy()
        return logits

    return infer


def _write_graph(graph: Graph, layout: Layout, file: Path) -> None:
    for module in graph.modules():
        if isinstance(module, BiLstm):
            _as_one_node(module)
    names = ["ids", "mask", *(["types"] if layout.types else [])]
    given, shapes = _example(graph.student.joined, layout.types)
    with _quiet():
        program = torch.onnx.export(
            graph,
            given,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=names,
            output_names=[LOGITS],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None, "torch.onnx.export returns the program where it is given no file"
    program.save(file)
    onnx.checker.check_model(file)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of itself: of its own deprecated calls, and of libraries
    that are not there."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", "The tensor attributes .*_flat_weights")
            yield
    finally:
        logger.setLevel(level)


def _example(
    joined: bool, types: bool
) -> tuple[tuple[torch.Tensor, ...], tuple[dict[int, Any], ...]]:
    """A batch to trace with, and which of its dimensions are free: all but the texts of joined
    pairs, which are one."""
    rows, texts, tokens = EXAMPLE
    ids_BSL = torch.ones(rows, 1 if joined else texts, tokens, dtype=torch.long)
    free = {place: Dim.DYNAMIC for place in ((0, 2) if joined else (0, 1, 2))}
    given = (ids_BSL, torch.ones_like(ids_BSL, dtype=torch.bool))
    if not types:
        return given, (free, free)
    return (*given, torch.zeros_like(ids_BSL[:, 0])), (free, free, {0: Dim.DYNAMIC, 1: Dim.DYNAMIC})


def _as_one_node(lstm: BiLstm) -> None:
    """Has both directions of the LSTM written as ONNX's own bidirectional one, which is told the
    lengths.

    torch orders the gates i, f, g, o, ONNX i, o, f, c.
    """
    own = {
        name: torch.stack([_gates(parameter) for parameter in pair])
        for name, pair in _pairs(lstm).items()
    }
    weights = [
        own["weight_ih_l0"],
        own["weight_hh_l0"],
        torch.cat([own["bias_ih_l0"], own["bias_hh_l0"]], dim=1),
    ]
    for number, weight in enumerate(weights):
        lstm.register_buffer(f"onnx_{number}", weight)
    lstm.forward = MethodType(_onnx_lstm, lstm)  # type: ignore[method-assign]


def _pairs(lstm: BiLstm) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    ahead, back = dict(lstm.ahead.named_parameters()), dict(lstm.back.named_parameters())
    return {name: (ahead[name].detach(), back[name].detach()) for name in ahead}


def _gates(x_4H: torch.Tensor) -> torch.Tensor:
    i, f, g, o = x_4H.chunk(4)
    return torch.cat([i, o, f, g])


def _onnx_lstm(lstm: Any, x_BLE: torch.Tensor, turn_BL: torch.Tensor) -> torch.Tensor:
    """[B, L, E] -> [B, L, 2H], as BiLstm.forward. A sequence's first place is, read backwards, its
    last."""
    batch, length, hidden = *x_BLE.shape[:2], lstm.ahead.hidden_size
    y_L2BH, _, _ = torch.onnx.ops.symbolic_multi_out(
        "LSTM",
        (x_BLE.transpose(0, 1), lstm.onnx_0, lstm.onnx_1, lstm.onnx_2, (turn_BL[:, 0] + 1).int()),
        attrs={"hidden_size": hidden, "direction": "bidirectional"},
        dtypes=(x_BLE.dtype,) * 3,
        shapes=((length, 2, batch, hidden), (2, batch, hidden), (2, batch, hidden)),
    )
    return y_L2BH.permute(2, 0, 1, 3).flatten(2)


def _onednn_lstm(lstm: Any, x_BLE: torch.Tensor, turn_BL: torch.Tensor) -> torch.Tensor:
    """BiLstm.forward by the operator that torch runs on a CPU; its own call would be unrolled to
    the length of the example."""

    def read(layer: nn.LSTM, given_BLE: torch.Tensor) -> torch.Tensor:
        start_1BH = given_BLE.new_zeros(1, given_BLE.shape[0], layer.hidden_size)
        weights = (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0)
        read_LBH: torch.Tensor = torch.ops.aten.mkldnn_rnn_layer(
            given_BLE.transpose(0, 1).contiguous(), *weights, start_1BH, start_1BH, False, [],
            LSTM_MODE, layer.hidden_size, 1, True, False, False, False,
        )[0]  # fmt: skip
        return read_LBH.transpose(0, 1)

    return torch.cat(
        [read(lstm.ahead, x_BLE), take(read(lstm.back, take(x_BLE, turn_BL)), turn_BL)], dim=2
    )


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    files = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
    manifest = {key: value for key, value in manifest.items() if key != "digest"} | {
        "files": digests
    }
    text = json.dumps(
        manifest | {"digest": digest_of(manifest)}, indent=1, sort_keys=True, ensure_ascii=False
    )
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
