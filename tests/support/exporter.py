"""torch's ONNX exporter with its table of operators kept in a process.

At each export it makes the table anew, from the source text of five hundred functions: that takes
longer than all else in the export of a tiny student. Nothing writes into the table.
"""

from functools import cache

from torch.onnx._internal.exporter._registration import ONNXRegistry


def keep_operators() -> None:
    """Makes the table once for each version of the operators, from now on."""
    kept = staticmethod(cache(ONNXRegistry.from_torchlib))
    ONNXRegistry.from_torchlib = kept  # type: ignore[method-assign]
