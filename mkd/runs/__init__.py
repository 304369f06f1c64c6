"""What can be done with a student next to a distillation: a search's candidate, fine-tuning, export, submission."""
