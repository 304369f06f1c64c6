"""Runs other than a distillation: a search's candidate, fine-tuning, export, submission, timing."""
