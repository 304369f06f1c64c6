"""Quality of a model: its logits on stored rows, and the scores that follow from them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from mkd import names
from mkd.runtime import inference
from mkd.runtime.layout import Arrays, Layout, padded, sequence_lengths
from mkd.students import Student
from mkd.students.heads import MultiTaskConfig
from mkd.tasks.metrics import expected_calibration_error, pearson, score
from mkd.tokenization.tokenise import unpadded
from mkd.tokenization.tokens import TaskData, TokenStore, as_inputs, layout_of

BATCH_TOKENS = 8192
WINDOW_ROWS = 65_536


def eager(model: nn.Module, precision: str = "float32") -> inference.Infer:
    """What computes a model's logits in torch, on the device that it is on; from then on it is in evaluation mode.

    precision: of its matrix products, as of train.precision.
    """
    device = next(model.parameters()).device
    model.train(False)

    def infer(batch: Arrays, task: str) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits: np.ndarray = model(as_inputs(batch).to(device), task).float().cpu().numpy()
        return logits

    return infer


def at_work(model: Any, tokenizer: PreTrainedTokenizerBase, threads: int = 1) -> inference.Student:
    """A student or a classifier as what answers raw texts, in torch. threads: of the tokenizer alone."""
    config: MultiTaskConfig = model.config
    heads = {
        name: inference.Head(tuple(head["labels"]), head["pair"], head["mean"], head["std"])
        for name, head in sorted(config.tasks.items())
    }
    layout = layout_of(tokenizer, model.joined, config.max_tokens)
    return inference.Student(heads, layout, unpadded(tokenizer), eager(model), threads)


def predict(infer: inference.Infer, store: TokenStore, rows: np.ndarray, task: str, layout: Layout) -> np.ndarray:
    """Logits [rows, classes] float32 of a task's head, in the order of `rows`."""
    places, logits = zip(*predictions(infer, store, rows, task, layout), strict=True)
    out = np.concatenate(logits)
    out[np.concatenate(places)] = out.copy()
    return out


def predictions(
    infer: inference.Infer, store: TokenStore, rows: np.ndarray | range, task: str, layout: Layout
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(places in `rows`, logits) batch by batch, like lengths together, a bounded window of rows at a time."""
    for start in range(0, len(rows), WINDOW_ROWS):
        window = np.asarray(rows[start : start + WINDOW_ROWS])
        lengths = np.minimum(sequence_lengths(store, layout, window), layout.max_length)
        for places in inference.by_length(lengths, BATCH_TOKENS):
            yield start + places, infer(padded(store, window[places], layout), task)


def selection_scores(model: Student, datas: list[TaskData], layout: Layout, precision: str = "float32") -> dict[str, float]:
    """Each task's score on its selection rows, and their mean as `mean`; points from 0 to 100. precision: as of `eager`."""
    infer, scores = eager(model, precision), {}
    for data in datas:
        logits = predict(infer, data.train, data.selection_rows, data.name, layout)
        labels = data.train.labels[data.selection_rows]
        scores[data.name] = _mean(score(data.kind, logits, labels, f"task {data.name} on the selection split"))
    return scores | {"mean": _mean(scores)}


def majority(datas: list[TaskData]) -> dict[str, float]:
    """What a model scores that always gives the most frequent class of the rows, or their mean: what is worth having is above it.

    `majority/quality/<task>/score` and `majority/quality/mean` on dev, `majority/selection/<task>` and `majority/selection/mean`
    on the selection split; a correlation of what is constant is 0.
    """
    on_dev = {(data.name, suffix): _constant(data, store.labels) for data in datas for suffix, store in data.dev.items()}
    found = {name: value for name, value in quality(datas, on_dev).items() if names.is_score(name)}
    return names.of(names.MAJORITY, found | names.of(names.SELECTION, majority_on_selection(datas)))


def majority_on_selection(datas: list[TaskData]) -> dict[str, float]:
    """The same of the selection split alone: each task's score, and their mean as `mean`."""
    labels = {data.name: data.train.labels[data.selection_rows] for data in datas}
    scores = {data.name: _mean(score(data.kind, _constant(data, labels[data.name]), labels[data.name])) for data in datas}
    return scores | {"mean": _mean(scores)}


def _constant(data: TaskData, labels_R: np.ndarray) -> np.ndarray:
    """The same logits for each row: of the most frequent class (of equal ones the first), or of a regression's mean."""
    logits_RC = np.zeros((len(labels_R), data.kind.num_logits), dtype=np.float32)
    if data.kind.labels:
        logits_RC[:, np.bincount(labels_R.astype(np.int64)).argmax()] = 1
    return logits_RC


def dev_logits(infer: inference.Infer, datas: list[TaskData], layout: Layout) -> dict[tuple[str, str], np.ndarray]:
    """Logits on each dev split, by task and the split's suffix."""
    return {
        (data.name, suffix): predict(infer, store, np.arange(len(store.labels)), data.name, layout)
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
            for metric, value in score(data.kind, logits[data.name, suffix], store.labels, f"task {data.name} on dev").items()
        }
        scores[data.name] = values[names.SCORE] = _mean(values)
        if data.kind.labels:
            values[names.CALIBRATION_ERROR] = expected_calibration_error(logits[data.name, ""], data.dev[""].labels)
        found |= {names.quality(data.name, metric): value for metric, value in values.items()}
    return found | ({names.QUALITY_MEAN: _mean(scores)} if len(scores) == len(datas) else {})


def answers(datas: list[TaskData], dev: dict[Any, np.ndarray], teacher: dict[Any, np.ndarray]) -> dict[str, np.ndarray]:
    """Each dev row's label and answers as columns: `task`, `split` (its suffix), `row`, `label`, `prediction`, `teacher`.

    An answer is the number of the class with the largest logit; of a regression task the score, on the labels' scale. teacher:
    its logits as far as they are known, NaN for the others.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("task", "split", "row", "label", "prediction", "teacher")}
    for data in datas:
        for suffix, store in data.dev.items():
            rows, key = len(store.labels), (data.name, suffix)
            taught = _answers(data, teacher[key]) if key in teacher else np.full(rows, np.nan)
            named = [np.array([name] * rows, dtype=object) for name in key]
            found = (*named, np.arange(rows), store.labels, _answers(data, dev[key]), taught)
            for column, values in zip(parts.values(), found, strict=True):
                column.append(values)
    return {name: np.concatenate(column) for name, column in parts.items()}


def _answers(data: TaskData, logits_RC: np.ndarray) -> np.ndarray:
    if data.kind.labels:
        classes_R: np.ndarray = logits_RC.argmax(1).astype(np.float64)
        return classes_R
    scores_R: np.ndarray = logits_RC[:, 0].astype(np.float64) * data.std + data.mean
    return scores_R


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
    return names.of(names.AGREEMENT, found)


def retention(student: dict[str, float], teacher: dict[str, float]) -> dict[str, float]:
    """`retention/<task>` and `retention/mean`: the student's score in percent of the teacher's, where that is above 0."""
    tasks = {names.QUALITY_MEAN: names.MEAN} | {name: task for name in student if (task := names.task_of_score(name))}
    kept = {task: 100 * student[name] / teacher[name] for name, task in tasks.items() if teacher.get(name, 0) > 0}
    return names.of(names.RETENTION, kept)


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)
