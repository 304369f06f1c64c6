"""Quality of a model: its logits on stored rows, and the scores computed from them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from mkd import names
from mkd.evaluation.calibration import UNCALIBRATED, Temperatures, fit_temperature
from mkd.evaluation.thresholds import HALF, Thresholds, fit_thresholds
from mkd.result import Report, no_report
from mkd.runtime import inference
from mkd.runtime.answers import head_of
from mkd.runtime.encoding import Encoder
from mkd.runtime.layout import Arrays, Layout, padded, sequence_lengths
from mkd.students import Student
from mkd.students.heads import MultiTaskConfig
from mkd.tasks.metrics import (
    check_finite,
    expected_calibration_error,
    score,
)
from mkd.tokenization.tokenise import backend_tokenizer
from mkd.tokenization.tokens import (
    TaskData,
    TokenStore,
    as_inputs,
    groups_of,
    labels_of,
    layout_of,
)

SCORING_BATCH_TOKENS = 8192
"""Maximum number of tokens of a batch, padding included."""
SORT_WINDOW_ROWS = 65_536
"""Rows that are sorted by length together."""


def torch_infer(model: nn.Module, precision: str = "float32") -> inference.Infer:
    """Returns a function that computes the model's logits in PyTorch, on the model's device.

    Sets the model to evaluation mode. `precision` is that of matrix products, as in
    train.precision.
    """
    device = next(model.parameters()).device
    model.train(False)

    def infer(batch: Arrays, task: str) -> np.ndarray:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"),
        ):
            # float(): autocast may return bfloat16, which numpy lacks.
            logits: np.ndarray = model(as_inputs(batch).to(device), task).float().cpu().numpy()
        return logits

    return infer


def runtime_student(
    model: Any, tokenizer: PreTrainedTokenizerBase, threads: int = 1
) -> inference.Student:
    """Returns a runtime student for raw texts that runs the model in PyTorch.

    `model` is a student or a classifier. `threads` is the number of threads of the tokenizer only.
    """
    config: MultiTaskConfig = model.config
    heads = {name: head_of(head) for name, head in sorted(config.tasks.items())}
    layout = layout_of(tokenizer, model.joined, config.max_tokens)
    encode = Encoder(backend_tokenizer(tokenizer), parallel=threads > 1)
    return inference.Student(heads, layout, encode, torch_infer(model))


def counted(infer: inference.Infer, total: int, report: Report) -> inference.Infer:
    """Returns the same function; it reports after each batch how many of `total` rows are done."""
    done = 0

    def counting(batch: Arrays, task: str) -> np.ndarray:
        nonlocal done
        logits = infer(batch, task)
        done += len(logits)
        report(done, {names.SHARE: done / total})
        return logits

    return counting


def predict_logits(
    infer: inference.Infer, store: TokenStore, rows: np.ndarray, task: str, layout: Layout
) -> np.ndarray:
    """Returns the logits [rows, classes] float32 of a task's head, in the order of `rows`."""
    places, logits = zip(*predict_batches(infer, store, rows, task, layout), strict=True)
    out = np.concatenate(logits)
    # The batches are in order of length: scatter their logits back to the order of `rows`.
    out[np.concatenate(places)] = out.copy()
    return out


def predict_batches(
    infer: inference.Infer, store: TokenStore, rows: np.ndarray | range, task: str, layout: Layout
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (positions in `rows`, logits) batch by batch.

    Rows of similar length form a batch, so that little is padded. Only SORT_WINDOW_ROWS rows are in
    memory at once. The order is by length within such a window, so the caller has to use the
    positions.
    """
    for start in range(0, len(rows), SORT_WINDOW_ROWS):
        window = np.asarray(rows[start : start + SORT_WINDOW_ROWS])
        lengths = np.minimum(sequence_lengths(store, layout, window), layout.max_length)
        for places in inference.by_length(lengths, SCORING_BATCH_TOKENS):
            yield start + places, infer(padded(store, window[places], layout), task)


def selection_scores(
    model: Student, datas: list[TaskData], layout: Layout, precision: str = "float32"
) -> dict[str, float]:
    """Returns each task's score on its selection rows, and their mean as `mean`.

    Scores are in points from 0 to 100. Thresholds are those that fit these rows best. `precision`
    is as in `torch_infer`.

    Raises NotFinite if a logit is not a finite number.
    """
    return scores_on_selection(datas, selection_logits(model, datas, layout, precision))


def scores_on_selection(
    datas: list[TaskData], all_logits: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Returns the scores that `selection_scores` describes for logits of the selection rows."""
    scores = {}
    for data in datas:
        logits = all_logits[data.name]
        labels = labels_of(data.train, data.kind, data.selection_rows)
        of = f"task {data.name} on the selection split"
        check_finite(logits, of)
        fitted = fit_thresholds(data.kind, logits, labels)
        groups = groups_of(data.train, data.kind, data.selection_rows)
        scores[data.name] = _mean(score(data.kind, logits, labels, of, fitted, groups))
    return scores | {"mean": _mean(scores)}


def selection_logits(
    model: Student, datas: list[TaskData], layout: Layout, precision: str = "float32"
) -> dict[str, np.ndarray]:
    """Returns the model's logits for the selection rows, by task."""
    infer = torch_infer(model, precision)
    return {
        data.name: predict_logits(infer, data.train, data.selection_rows, data.name, layout)
        for data in datas
    }


def fit_decisions(
    datas: list[TaskData], logits: Mapping[str, np.ndarray]
) -> tuple[Thresholds, Temperatures]:
    """Returns thresholds and temperatures that fit a model's logits for the selection rows best.

    Tasks with classes have a temperature, and some have thresholds.
    """
    labels = {data.name: labels_of(data.train, data.kind, data.selection_rows) for data in datas}
    fitted = {
        data.name: fit_thresholds(data.kind, logits[data.name], labels[data.name]) for data in datas
    }
    thresholds = {
        name: task_thresholds
        for name, task_thresholds in fitted.items()
        if task_thresholds is not None
    }
    temperatures = {
        data.name: fit_temperature(logits[data.name], labels[data.name])
        for data in datas
        if data.kind.labels
    }
    return thresholds, temperatures


def majority_metrics(datas: list[TaskData]) -> dict[str, float]:
    """Returns the scores of a model that always predicts the most frequent class.

    For regression it predicts the mean; the correlation of a constant counts as 0. For a multilabel
    task it predicts the most frequent label alone. The metrics are `majority/quality/<task>/score`
    and `majority/quality/mean` on dev, `majority/selection/<task>` and `majority/selection/mean` on
    the selection split.
    """
    on_dev = {
        (data.name, suffix): _constant(data, labels_of(store, data.kind))
        for data in datas
        for suffix, store in data.dev.items()
    }
    scores = {
        name: value
        for name, value in quality_metrics(datas, on_dev).items()
        if names.is_score(name)
    }
    return names.of(
        names.MAJORITY, scores | names.of(names.SELECTION, majority_selection_scores(datas))
    )


def majority_selection_scores(datas: list[TaskData]) -> dict[str, float]:
    """Returns the same scores on the selection split only, by task, and their mean as `mean`."""
    labels = {data.name: labels_of(data.train, data.kind, data.selection_rows) for data in datas}
    scores = {
        data.name: _mean(
            score(
                data.kind,
                _constant(data, labels[data.name]),
                labels[data.name],
                groups=groups_of(data.train, data.kind, data.selection_rows),
            )
        )
        for data in datas
    }
    return scores | {"mean": _mean(scores)}


def _constant(data: TaskData, labels_R: np.ndarray) -> np.ndarray:
    """Returns the same logits for every row: of the most frequent class, or 0 for regression.

    Of equally frequent classes it is the first. 0 is the mean on a regression's standardized scale.
    """
    logits_RC = np.zeros((len(labels_R), data.kind.num_logits), dtype=np.float32)
    if data.kind.multilabel:
        logits_RC[:] = -1
        logits_RC[:, labels_R.sum(0, dtype=np.int64).argmax()] = 1
    elif data.kind.labels:
        logits_RC[:, np.bincount(labels_R.astype(np.int64)).argmax()] = 1
    return logits_RC


def dev_logits(
    infer: inference.Infer, datas: list[TaskData], layout: Layout, report: Report = no_report
) -> dict[tuple[str, str], np.ndarray]:
    """Returns the logits on each dev split, by task and suffix of the split."""
    total = sum(len(store.labels) for data in datas for store in data.dev.values())
    infer = counted(infer, total, report)
    return {
        (data.name, suffix): predict_logits(
            infer, store, np.arange(len(store.labels)), data.name, layout
        )
        for data in datas
        for suffix, store in data.dev.items()
    }


def quality_metrics(
    datas: list[TaskData],
    logits: dict[tuple[str, str], np.ndarray],
    thresholds: Thresholds = HALF,
    temperatures: Temperatures = UNCALIBRATED,
) -> dict[str, float]:
    """Returns the metrics of the logits on dev, in points from 0 to 100.

    `thresholds` and `temperatures` are those of the model that computed the logits.

    - `quality/<task>/<metric>`: each metric
    - `quality/<task>/score`: the mean of the task's metrics
    - `quality/<task>/ece`: the expected calibration error of a classification, from 0 to 1
    - `quality/mean`: the mean of the scores

    A task without logits for all of its dev splits is left out; `quality/mean` is then left out
    too.

    Raises NotFinite if a logit is not a finite number.
    """
    metrics: dict[str, float] = {}
    scores: dict[str, float] = {}
    for data in datas:
        if any((data.name, suffix) not in logits for suffix in data.dev):
            continue
        values = {
            metric + suffix: value
            for suffix, store in data.dev.items()
            for metric, value in score(
                data.kind,
                logits[data.name, suffix],
                labels_of(store, data.kind),
                f"task {data.name} on dev",
                thresholds.get(data.name),
                groups_of(store, data.kind),
            ).items()
        }
        scores[data.name] = values[names.SCORE] = _mean(values)
        if data.kind.labels:
            values[names.CALIBRATION_ERROR] = expected_calibration_error(
                logits[data.name, ""] / temperatures.get(data.name, 1.0),
                labels_of(data.dev[""], data.kind),
            )
        metrics |= {names.quality(data.name, metric): value for metric, value in values.items()}
    return metrics | ({names.QUALITY_MEAN: _mean(scores)} if len(scores) == len(datas) else {})


def retention_metrics(student: dict[str, float], teacher: dict[str, float]) -> dict[str, float]:
    """Returns `retention/<task>` and `retention/mean`: the student's score in % of the teacher's.

    A task in which the teacher scores 0 or less is left out.
    """
    tasks = {names.QUALITY_MEAN: names.MEAN} | {
        name: task for name in student if (task := names.task_of_score(name))
    }
    kept = {
        task: 100 * student[name] / teacher[name]
        for name, task in tasks.items()
        if teacher.get(name, 0) > 0
    }
    return names.of(names.RETENTION, kept)


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)
