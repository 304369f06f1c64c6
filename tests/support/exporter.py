"""Caches the operator table of torch's ONNX exporter.

The exporter rebuilds the table from the source of five hundred functions at each export, which
takes longer than the rest of a tiny student's export. Nothing writes into the table.
"""

from functools import cache

from torch.onnx._internal.exporter._registration import ONNXRegistry


def keep_operators() -> None:
    """From now on, builds the table once per operator set version."""
    kept = staticmethod(cache(ONNXRegistry.from_torchlib))
    ONNXRegistry.from_torchlib = kept  # type: ignore[method-assign]
