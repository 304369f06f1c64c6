"""What weights of 8 bits cost a student on real tasks: one scale a tensor beside one a channel, in both ranges.

    python tests/bench/int8.py FOLDER --data GLUE_FOLDER [--kinds int8 static] [--tasks sst2 mrpc cola rte stsb]

A folder is one that a run has saved a student in (artifact `student` of its model). `full` weights take all 8 bits and are
multiplied without loss, as a processor with VNNI does it, or onnxruntime's slower products where there is none; `reduced` ones
take 7 bits. *Error* is the root of the mean squared difference of a logit from torch's, over 64 dev rows of each task in a batch.
All are timed in turn in one process, on one thread: a row of 128 tokens. The last line is JSON.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from onnxruntime.quantization import quantize_dynamic, quantize_static

from experiments.tracking.table import markdown
from mkd.config import DataConfig, ExportConfig
from mkd.evaluation.scoring import dev_logits, eager
from mkd.evaluation.speed import Setting, Timed, measure
from mkd.evaluation.timing import statistics_of
from mkd.export.backends import checked, in_torch
from mkd.export.folder import calibration_batches, export_int8, export_onnx
from mkd.runtime import inference
from mkd.runtime.layout import padded
from mkd.storage import pretrained
from mkd.students import load_model
from mkd.tasks.sources import load_tasks
from mkd.teachers.teaching import Side
from mkd.tokenization.tokenise import task_data
from mkd.tokenization.tokens import TaskData, layout_of

ONE_ROW = Setting(1, 128, 1)
ROWS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--kinds", nargs="+", choices=("int8", "static"), default=["int8", "static"])
    parser.add_argument("--tasks", nargs="+", default=["sst2", "mrpc", "cola", "rte", "stsb"])
    parser.add_argument("--cache", type=Path, default=Path(".mkd"))
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    student, tokenizer = load_model(given.student), pretrained.load_tokenizer(given.student, "student")
    config = DataConfig(source="glue", path=given.data, tasks=given.tasks)
    datas = [task_data(given.cache, task, tokenizer, config, 0) for task in load_tasks(config)]
    side, layout = Side(tokenizer, datas, torch.device("cpu")), layout_of(tokenizer, student.joined, config.max_length)
    torchs = eager(student)
    dev = dev_logits(torchs, datas, layout)
    seen = calibration_batches(datas, layout, ExportConfig().calibration_rows)
    found: dict[str, dict[str, Any]] = {}
    timed: dict[str, Timed] = {"torch": in_torch(student, tokenizer)}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        export_onnx(student, tokenizer, root / "onnx")
        for kind in given.kinds:
            for scale in ("tensor", "channel"):
                for weight_range in ("full", "reduced"):
                    name = f"{kind}, a scale a {scale}, {weight_range}"
                    quantised(
                        root, root / name, ExportConfig(weight_range=weight_range), scale, seen if kind == "static" else None
                    )
                    infer = inference.Student.load(root / name, 1).infer
                    error = rms(torchs, infer, datas, layout)
                    found[name] = {"error": error} | checked(side, dev, infer, layout)
                    timed[name] = timed["torch"]._replace(load=partial(inference.Student.load, root / name))
                    told = {key: round(found[name][key], 3) for key in ("error", "loss_batches", "loss_single_rows")}
                    print(name, told, flush=True)
        blocks = measure(timed, {}, [ONE_ROW], given.seconds)
        times = {name: statistics_of(found_blocks, 1)["p50_ms"] for (name, _), found_blocks in blocks.items()}
    scores = [f"quality/{task}/score" for task in given.tasks]
    columns = ["quantised", "error", "lost in batches", "lost in single rows", *given.tasks, "ms"]
    rows = [
        [name, *(f"{values[key]:.2f}" for key in ("error", "loss_batches", "loss_single_rows", *scores)), f"{times[name]:.2f}"]
        for name, values in found.items()
    ]
    print("\n".join(markdown([columns, *rows])))
    print(json.dumps({name: values | {"ms": times[name]} for name, values in found.items()} | {"torch_ms": times["torch"]}))


def quantised(root: Path, folder: Path, config: ExportConfig, scale: str, seen: Any) -> None:
    """The export in `root`/onnx in 8 bits, with one scale a tensor too, which mkd/export/folder.py has no setting for."""

    def with_scale(quantise: Callable[..., None]) -> Callable[..., None]:
        return lambda *given, **settings: quantise(*given, **settings | {"per_channel": scale == "channel"})

    with (
        patch("mkd.export.folder.quantize_dynamic", with_scale(quantize_dynamic)),
        patch("mkd.export.folder.quantize_static", with_scale(quantize_static)),
    ):
        export_int8(root / "onnx", folder, config, seen)


def rms(one: inference.Infer, other: inference.Infer, datas: list[TaskData], layout: Any) -> float:
    """The root of the mean squared difference between their logits."""
    batches = [(padded(data.dev[""], np.arange(ROWS), layout), data.name) for data in datas]
    return float(np.sqrt(np.mean(np.concatenate([(one(*batch) - other(*batch)).ravel() ** 2 for batch in batches]))))


if __name__ == "__main__":
    main()
