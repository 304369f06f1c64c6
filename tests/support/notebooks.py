"""Data and settings of short calls in a notebook."""

import pandas as pd

FEW = {
    "teacher.layers": 1, "teacher.hidden": 16, "teacher.heads": 2, "teacher.vocabulary": 120,
    "teacher.train.steps": 4, "teacher.train.eval_every": 4, "train.steps": 4,
    "train.eval_every": 4, "student.hidden": 8, "student.embedding": 8, "student.buckets": 50,
    "data.max_length": 16, "speed.length": 16, "speed.seconds": 0.1, "speed.threads": [1],
    "train.precision": "float32", "threads": 1, "device": "cpu", "export.max_loss": 100,
}  # fmt: skip
"""Settings that make a call take seconds."""
WORDS = {"negative": "bad", "positive": "good"}


def frame(rows: int) -> pd.DataFrame:
    labels = [list(WORDS)[row % 2] for row in range(rows)]
    texts = [f"a {WORDS[label]} film, number {row}" for row, label in enumerate(labels)]
    return pd.DataFrame({"review": texts, "verdict": labels})
