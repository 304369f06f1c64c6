"""Multi-task knowledge distillation of language models: a Config in, numbers out."""
