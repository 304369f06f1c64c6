"""Inference with an exported student, without torch: texts in, predictions out."""
