"""Quality of a model: its logits on stored rows, and the scores that follow from them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from mkd.batches import gather, sequence_lengths
from mkd.metrics import expected_calibration_error, pearson, score
from mkd.record import Report, silent
from mkd.students import Student
from mkd.tokenise import from_texts
from mkd.tokens import Layout, TaskData, TokenStore, layout_of

BATCH_TOKENS = 8192
WINDOW_ROWS = 65_536


def predict(
    model: Student, store: TokenStore, rows: np.ndarray, task: str, layout: Layout, report: Report = silent
) -> np.ndarray:
    """Logits [rows, classes] float32 of a task's head, in the order of `rows`."""
    out = np.empty((len(rows), len(model.config.tasks[task]["labels"]) or 1), dtype=np.float32)
    for places, logits in predictions(model, store, rows, task, layout):
        out[places] = logits
    return out


def predictions(
    model: nn.Module, store: TokenStore, rows: np.ndarray | range, task: str, layout: Layout
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(places in `rows`, logits) batch by batch, like lengths together, a bounded window of rows at a time."""
    device = next(model.parameters()).device
    model.train(False)
    for start in range(0, len(rows), WINDOW_ROWS):
        window = np.asarray(rows[start : start + WINDOW_ROWS])
        lengths = sequence_lengths(store, layout, window)
        waiting = np.argsort(lengths, kind="stable")
        while len(waiting):
            count = max(1, BATCH_TOKENS // (int(min(lengths[waiting[-1]], layout.max_length)) + 1))
            places, waiting = waiting[-count:], waiting[:-count]
            with torch.inference_mode():
                logits = model(gather(store, window[places], layout).to(device), task)
            yield start + places, logits.float().cpu().numpy()


class Prediction(NamedTuple):
    """One text's answer: the label, its probability, and those of all labels; regression: an empty label, the score, none."""

    label: str
    score: float
    probabilities: list[float]


def predict_texts(
    model: Student, tokenizer: PreTrainedTokenizerBase, task: str, texts: list[str], pairs: list[str] | None
) -> list[Prediction]:
    """Answers of a task's head to raw texts. Raises ValueError as text_logits does."""
    logits_BC = text_logits(model, tokenizer, task, texts, pairs)
    labels = model.config.tasks[task]["labels"]
    if not labels:
        return [Prediction("", score, []) for score in logits_BC[:, 0].tolist()]
    chances = torch.from_numpy(logits_BC).softmax(1).tolist()
    best = logits_BC.argmax(1)
    return [Prediction(labels[index], row[index], row) for index, row in zip(best, chances, strict=True)]


def text_logits(
    model: Student, tokenizer: PreTrainedTokenizerBase, task: str, texts: list[str], pairs: list[str] | None
) -> np.ndarray:
    """A task's logits [B, C] float32 for raw texts, for regression the scores [B, 1] in the task's own units.

    Raises ValueError for an unknown task, or pairs where it takes none.
    """
    if task not in model.config.tasks:
        raise ValueError(f"task is {task!r}; allowed: {', '.join(model.config.tasks)}")
    head = model.config.tasks[task]
    if head["pair"] != (pairs is not None):
        raise ValueError(f"task {task} takes {'two texts' if head['pair'] else 'one text'} a row")
    length = model.config.max_tokens
    store = from_texts(tokenizer, texts, pairs, length)
    logits_BC = predict(model, store, np.arange(len(texts)), task, layout_of(tokenizer, model.joined, length))
    return logits_BC if head["labels"] else logits_BC * head["std"] + head["mean"]


def selection_scores(model: Student, datas: list[TaskData], layout: Layout) -> dict[str, float]:
    """Each task's score on its selection rows, and their mean as `mean`; points from 0 to 100."""
    scores = {}
    for data in datas:
        logits = predict(model, data.train, data.selection_rows, data.name, layout)
        scores[data.name] = _mean(score(data.kind, logits, data.train.labels[data.selection_rows]))
    return scores | {"mean": _mean(scores)}


def dev_logits(model: Student, datas: list[TaskData], layout: Layout) -> dict[tuple[str, str], np.ndarray]:
    """Logits on each dev split, by task and the split's suffix."""
    return {
        (data.name, suffix): predict(model, store, np.arange(len(store.labels)), data.name, layout)
        for data in datas
        for suffix, store in data.dev.items()
    }


def quality(datas: list[TaskData], logits: dict[tuple[str, str], np.ndarray]) -> dict[str, float]:
    """`quality/<task>/<metric>`, `quality/<task>/score` (the mean of its metrics), `quality/mean` (of the scores); points.

    `quality/<task>/ece` is the expected calibration error of a classification task, from 0 to 1. A task without logits for
    all its dev splits is left out, and then so is the mean.
    """
    found: dict[str, float] = {}
    scores: dict[str, float] = {}
    for data in datas:
        if any((data.name, suffix) not in logits for suffix in data.dev):
            continue
        values = {
            metric + suffix: value
            for suffix, store in data.dev.items()
            for metric, value in score(data.kind, logits[data.name, suffix], store.labels).items()
        }
        scores[data.name] = values["score"] = _mean(values)
        if data.kind.labels:
            values["ece"] = expected_calibration_error(logits[data.name, ""], data.dev[""].labels)
        found |= {f"quality/{data.name}/{metric}": value for metric, value in values.items()}
    return found | ({"quality/mean": _mean(scores)} if len(scores) == len(datas) else {})


def likeness(datas: list[TaskData], student: dict[Any, np.ndarray], teacher: dict[Any, np.ndarray]) -> dict[str, float]:
    """`agreement/<task>`: share of dev rows where both choose the same class, or the correlation of both scores; points.

    A task without logits of the teacher is left out, and then so is `agreement/mean`.
    """
    found = {}
    for data in datas:
        key = (data.name, "")
        if key not in teacher:
            continue
        if data.kind.labels:
            found[data.name] = 100 * float(np.mean(student[key].argmax(1) == teacher[key].argmax(1)))
        else:
            found[data.name] = pearson(student[key], teacher[key][:, 0])
    if len(found) == len(datas):
        found["mean"] = _mean(found)
    return {f"agreement/{name}": value for name, value in found.items()}


def retention(student: dict[str, float], teacher: dict[str, float]) -> dict[str, float]:
    """`retention/<task>` and `retention/mean`: the student's score in percent of the teacher's, where that is above 0."""
    names = {"quality/mean": "mean"} | {k: k.split("/")[1] for k in student if k.endswith("/score")}
    return {f"retention/{name}": 100 * student[key] / teacher[key] for key, name in names.items() if teacher.get(key, 0) > 0}


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)
