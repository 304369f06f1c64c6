"""The report's pictures. Each has an `info` function for all arithmetic and a `draw` function."""
