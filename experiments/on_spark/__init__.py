"""Spark: labels a corpus with a model, and runs the trials of a search."""
