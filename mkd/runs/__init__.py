"""Runs other than a distillation: a search's candidate, fine-tuning, export and submission."""
