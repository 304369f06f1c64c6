"""Export of a trained student to a folder that runs without PyTorch.

The folder contains the model (an ONNX graph in float32 or int8, or the tables of a bag student),
the tokenizer, and a manifest that describes the outputs. This module also writes torch.export
programs.

Axes: B rows of a batch, S texts of a row, L tokens, E input width, H units per direction of an
LSTM, D width of the representation, C logits of all tasks.
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
from mkd.runtime.inference import Infer, saturates
from mkd.runtime.layout import Arrays, Layout
from mkd.runtime.manifest import (
    FORMAT,
    MANIFEST,
    REDUCED,
    TABLES_ENDING,
    TABLES_FORMAT,
    TOKENIZER,
    digest_of,
)
from mkd.students import Student
from mkd.students.bag import BagStudent
from mkd.students.bilstm import BiLstm, take
from mkd.students.heads import Heads
from mkd.students.transformer import TransformerStudent
from mkd.students.words import Wide, WordModel
from mkd.tokenization.tokenise import backend_tokenizer
from mkd.tokenization.tokens import Inputs, layout_of

GRAPH = "model.onnx"
INT8_GRAPH = "model_int8.onnx"
"""File names of the graphs by precision, as the Hugging Face hub's tools expect them."""
TABLES = f"student{TABLES_ENDING}"
PROGRAM = "student.pt2"
OPSET = 20
LSTM_MODE = 2
"""Number by which PyTorch's oneDNN operator identifies an LSTM."""
LARGEST_BYTES = 2**31 - 2**24
"""Maximum size of the weights of an ONNX model.

An ONNX file is smaller than 2 GiB; 16 MiB are left for everything except the weights.
"""
QUANTISED = ["MatMul", "LSTM"]
"""Operators with constant weights that onnxruntime quantises.

It converts Gemm to MatMul first. Embedding tables are quantised by `_quantise_tables`.
"""
LOGITS = "logits"
"""Name of the graph's output."""
HEADS = "student.heads.weight"
"""Name of the weight of all heads in a graph."""
EXAMPLE = (3, 2, 7)
"""Rows, texts and tokens of the batch with which a graph is traced.

The exported graph also takes other sizes.
"""


class AllHeads(nn.Module):
    """The heads of several tasks as one linear layer.

    Maps a representation [B, D] to [B, C]: the logits of all tasks in `names`, concatenated in that
    order.
    """

    def __init__(self, heads: Heads, names: list[str]) -> None:
        super().__init__()
        own = [dict(heads.linears[heads.names.index(name)].named_parameters()) for name in names]
        self.weight = nn.Parameter(torch.cat([parameters["weight"].detach() for parameters in own]))
        self.bias = nn.Parameter(torch.cat([parameters["bias"].detach() for parameters in own]))

    def forward(self, pooled_BD: torch.Tensor, task: str) -> torch.Tensor:
        return F.linear(pooled_BD, self.weight, self.bias)


class AllWide(nn.Module):
    """The wide part of a student for several tasks at once.

    Adds its scores to logits [B, C], the concatenated logits of the tasks in `names`. For pair
    tasks it adds 0.
    """

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
    """A copy of a student, on the CPU, that takes tensors and no task name.

    Returns [B, C]: the logits of all tasks in `names`, concatenated in that order.
    """

    def __init__(self, student: Student, names: list[str]) -> None:
        super().__init__()
        own: Any = copy.deepcopy(student).cpu()
        own.heads = AllHeads(student.heads, names)
        if isinstance(student, WordModel) and student.wide.names:
            own.wide = AllWide(own.wide, student.config.tasks, names)
        if isinstance(own, TransformerStudent):
            # Fused attention would be exported as more nodes: it also handles rows whose tokens are
            # all masked.
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
    """Writes the student to a new folder as one float32 ONNX graph with the heads of all tasks.

    The graph takes batches of any size and length.

    Raises ValueError if the weights are larger than LARGEST_BYTES.
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
    """Writes a bag student to a new folder as 8-bit tables for NumPy (mkd/export/bag.py)."""
    folder.mkdir(parents=True)
    write_bag(student, folder / TABLES)
    layout = layout_of(tokenizer, student.joined, student.config.max_tokens)
    heads = _heads(student, TABLES)
    _write_folder(folder, tokenizer, {"format": TABLES_FORMAT, "tasks": heads, "layout": layout})


def _heads(student: Student, file: str) -> dict[str, dict[str, Any]]:
    """Returns the manifest's entry of each task: its head's settings, and the model's file."""
    keys = ("labels", "pair", "mean", "std", "multilabel", "thresholds", "temperature")
    return {
        name: {key: head[key] for key in keys if key in head} | {"graph": file}
        for name, head in sorted(student.config.tasks.items())
    }


def _write_folder(
    folder: Path, tokenizer: PreTrainedTokenizerBase, manifest: dict[str, Any]
) -> None:
    backend_tokenizer(tokenizer).save(str(folder / TOKENIZER))
    _write_manifest(folder, manifest | {"layout": manifest["layout"]._asdict()})


def export_int8(source: Path, folder: Path, config: Int8Config) -> None:
    """Quantises an exported float32 student to 8 bits.

    - `source`: folder that `export_onnx` has written
    - `folder`: new folder for the quantised student

    Embedding tables and the weights of matrix products and LSTMs are quantised. The heads are small
    and stay in float32. Scales are per row of a table, per output of a product, and per gate, unit
    and direction of an LSTM. Activations are quantised by their range in each batch (dynamic
    quantisation); in the feed-forward layers of a Transformer each token is scaled first
    (`_scale_tokens`).

    Weights are signed and activations unsigned. An x86 processor without VNNI adds two of their
    products in 16 bits, and this sum may saturate. With 7-bit weights (config.weight_range) it
    cannot. With 8-bit weights such a processor uses slower, exact products
    (mkd/runtime/inference.py). The manifest states the range of the weights. Tables always use 8
    bits, because they are not multiplied with activations.
    """
    folder.mkdir(parents=True)
    reduced = saturates() if config.weight_range == "auto" else config.weight_range == "reduced"
    manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8")) | {REDUCED: reduced}
    prepared = folder / "prepared"
    quant_pre_process(source / GRAPH, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    prepared.unlink()
    _quantise_tables(model.graph)
    # Outputs of an LSTM are below 1 and need no scaling.
    if not any(node.op_type == "LSTM" for node in model.graph.node):
        _scale_tokens(model.graph)
    (head,) = [node.name for node in model.graph.node if HEADS in node.input]
    quantize_dynamic(
        model,
        folder / INT8_GRAPH,
        QUANTISED,
        per_channel=True,
        weight_type=QuantType.QInt8,
        reduce_range=reduced,
        # onnxruntime replaces a Gemm by a MatMul of this name.
        nodes_to_exclude=[f"{head}_MatMul"],
    )
    for stated in manifest["tasks"].values():
        stated["graph"] = INT8_GRAPH
    (folder / TOKENIZER).write_bytes((source / TOKENIZER).read_bytes())
    _write_manifest(folder, manifest)


def _quantise_tables(graph: onnx.GraphProto) -> None:
    """Quantises each embedding table of the graph to int8, with one scale per row.

    onnxruntime itself would use one scale for the whole table.
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
        (name, ids), (output,) = node.input, node.output
        numbers, scales = f"{name}_numbers", f"{name}_scales"
        if tables[name] in graph.initializer:  # several nodes may read the same table
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
        numbers_out, float_out = f"{output}_numbers", f"{output}_float"
        graph.node.extend(
            [
                helper.make_node("Gather", [numbers, ids], [numbers_out]),
                helper.make_node("Cast", [numbers_out], [float_out], to=onnx.TensorProto.FLOAT),
                helper.make_node("Gather", [scales, ids], [f"{output}_scales"]),
                helper.make_node("Mul", [float_out, f"{output}_scales"], [output]),
            ]
        )


def _scale_tokens(graph: onnx.GraphProto) -> None:
    """Scales each token of the inputs of products whose weights are not square.

    Each token is divided by its largest absolute value before the product, and the result is
    multiplied by that value. In float32 this changes nothing but rounding. In 8 bits it gives each
    token its own scale, whereas onnxruntime uses one scale for a whole call. In the feed-forward
    layers of a Transformer a few tokens have much larger values than the others and would determine
    this scale. The products of attention have square weights and no such tokens; they stay as they
    are.
    """
    weights = {
        one.name for one in graph.initializer if len(one.dims) == 2 and one.dims[0] != one.dims[1]
    }
    axis, least = "tokens_axis", "tokens_least"
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), axis))
    # A token may be all zeros: avoid a division by 0.
    graph.initializer.append(numpy_helper.from_array(np.array(1e-30, np.float32), least))
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
        graph.node.extend(
            [
                helper.make_node("Abs", [token], [sizes]),
                helper.make_node("ReduceMax", [sizes, axis], [largest], keepdims=1),
                helper.make_node("Max", [largest, least], [scale]),
                helper.make_node("Div", [token, scale], [scaled]),
                node,
                helper.make_node("Mul", [found, scale], [product]),
            ]
        )


def export_program(student: Student, layout: Layout, file: Path) -> None:
    """Writes the student to a file as a torch.export program for a CPU.

    The program takes ids and mask [B, S, L] and, if the layout has types, types [B, L]. It returns
    the logits [B, C] of all tasks, in the order of their sorted names.

    S is 1 if the student takes a pair as one sequence, and otherwise 2. A single text is then
    passed twice, because such a student compares a single text with itself. L is at least 2,
    because torch.export specializes a size of 1.

    Raises ValueError for a BiLSTM if this PyTorch has no oneDNN, and the errors of torch.export.
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
    """Returns a function that computes logits with the student's torch.export program.

    It repeats a single text and pads sequences of one token, as `export_program` requires.
    """
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
    """Suppresses irrelevant warnings of PyTorch's exporters within the context.

    They are about deprecated calls in the exporters themselves and about missing libraries.
    """
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
    """Returns a batch to trace with, and the dynamic dimensions of each of its tensors.

    All dimensions are dynamic, except S for joined texts, which is 1.
    """
    rows, texts, tokens = EXAMPLE
    ids_BSL = torch.ones(rows, 1 if joined else texts, tokens, dtype=torch.long)
    free = {place: Dim.DYNAMIC for place in ((0, 2) if joined else (0, 1, 2))}
    given = (ids_BSL, torch.ones_like(ids_BSL, dtype=torch.bool))
    if not types:
        return given, (free, free)
    return (*given, torch.zeros_like(ids_BSL[:, 0])), (free, free, {0: Dim.DYNAMIC, 1: Dim.DYNAMIC})


def _as_one_node(lstm: BiLstm) -> None:
    """Makes the exporter write both directions of a BiLstm as one bidirectional LSTM node of ONNX.

    The node gets the lengths of the sequences. PyTorch orders the gates i, f, g, o; ONNX orders
    them i, o, f, c, where c is PyTorch's g.
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
    """Maps [B, L, E] to [B, L, 2H], like BiLstm.forward, by one LSTM node of ONNX.

    turn_BL[:, 0] is the last position of each sequence, hence its length minus 1.
    """
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
    """Maps [B, L, E] to [B, L, 2H], like BiLstm.forward, by PyTorch's oneDNN operator.

    torch.export would unroll nn.LSTM to the length of the example.
    """

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
