"""Evaluation of a model: scores, speed, size, and the notes that follow from them."""
