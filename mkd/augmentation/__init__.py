"""Augmentation: changed copies of training rows, without labels, for the teacher to label."""
