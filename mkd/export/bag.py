"""Export of a bag student as tables of 8 bits, which numpy computes (mkd/runtime/bag.py)."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from mkd.runtime.bag import quantised
from mkd.students.bag import BagStudent
from mkd.students.embeddings import rows_of
from mkd.students.words import WIDE_SCALE


def write_bag(student: BagStudent, file: Path) -> None:
    """Writes the student: its tables in 8 bits with a scale for each row, the rest in float32."""
    config, table = student.config, student.embeddings
    arrays: dict[str, np.ndarray] = {
        "rows": rows_of(table, torch.arange(config.vocab_size)).cpu().numpy().astype(np.int32),
        "ngrams": np.array(config.ngrams),
        "buckets": np.array(config.buckets),
    }
    arrays |= _named("words", quantised(_numbers(table.weight)))
    for number, layer in enumerate(student.layers):
        arrays |= _named(f"layers/{number}", _linear(layer))
    for name in student.heads.names:
        arrays |= _named(
            f"heads/{name}", _linear(student.heads.linears[student.heads.names.index(name)])
        )
    for name in student.wide.names:
        scores = WIDE_SCALE * _numbers(student.wide.table(name).weight)
        arrays |= _named(f"wide/{name}", quantised(scores))
    np.savez(file, allow_pickle=False, **arrays)


def _linear(layer: nn.Module) -> dict[str, np.ndarray]:
    own = dict(layer.named_parameters())
    return {"weight": _numbers(own["weight"]).T.copy(), "bias": _numbers(own["bias"])}


def _numbers(weight: torch.Tensor) -> np.ndarray:
    numbers: np.ndarray = weight.detach().float().cpu().numpy()
    return numbers


def _named(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}
