"""From the logits of a task's head to predictions: labels, probabilities, scores.

Axes: N texts, C classes (1 for regression).
"""

import math
import numbers
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

MANY_CLASSES = 24
"""Number of classes above which numpy computes one row's softmax faster than Python."""


class Head(NamedTuple):
    """A task's head: what its logits mean.

    - `labels`: in the order of the logits; empty for regression, whose score is logit * std + mean.
    - `pair`: whether the task has two texts.
    - `mean`, `std`: scale of a regression's scores.
    - `multilabel`: whether a text has any number of the labels, each with a probability of its own.
    - `cuts`: of a multilabel task, the logit of each label from which on a text has it. Two classes
      may have them too: a text then has the second one if the difference of their logits reaches
      its cut. Else it is empty, and the most probable label counts. They are the logits of the
      stated thresholds, which are probabilities without the temperature.
    - `temperature`: probabilities are those of the logits divided by it.
    """

    labels: tuple[str, ...]
    pair: bool
    mean: float
    std: float
    multilabel: bool = False
    cuts: tuple[float, ...] = ()
    temperature: float = 1.0


class Prediction(NamedTuple):
    """The prediction for one text.

    - `label`: the most probable label, or of two that have thresholds the one that reaches its own;
      empty for regression. Of a multilabel task: all labels that the text has, joined by commas.
      None if the student is not sure enough to answer.
    - `score`: the probability of that label; for regression, the score on the task's own scale. Of
      a multilabel task: the largest probability of a label.
    - `probabilities`: of all labels, in the head's order; empty for regression. Those of a
      multilabel task do not add up to 1.
    - `error`: what is wrong with the text, or None. With an error, the label is empty and the score
      is NaN.
    - `labels`: of a multilabel task, the labels that the text has, in the head's order; there may
      be none. None for other tasks, and without an answer.
    - `answered`: whether there is an answer. There is none with an error, and below the confidence
      that was asked for.
    """

    label: str | None
    score: float
    probabilities: list[float]
    error: str | None = None
    labels: list[str] | None = None
    answered: bool = True


def head_of(stated: Mapping[str, Any]) -> Head:
    """Returns the head that a manifest or a model's config states."""
    multilabel = stated.get("multilabel", False)
    thresholds = stated.get("thresholds", [0.5] * len(stated["labels"]) if multilabel else [])
    return Head(
        tuple(stated["labels"]),
        stated["pair"],
        stated["mean"],
        stated["std"],
        multilabel,
        tuple(_logit(threshold) for threshold in thresholds),
        stated.get("temperature", 1.0),
    )


def _logit(chance: float) -> float:
    """Returns the logit of a probability; infinite for 0 and 1."""
    if not 0 < chance < 1:
        return math.inf if chance else -math.inf
    return math.log(chance) - math.log1p(-chance)


def failed(error: str) -> Prediction:
    """Returns the prediction for a text with an error."""
    return Prediction("", float("nan"), [], error, answered=False)


def check_confidence(least: float, head: Head, task: str) -> None:
    """Raises ValueError if no answer of the task can be asked for with this confidence."""
    if not isinstance(least, numbers.Real) or isinstance(least, bool):
        raise ValueError(f"min_confidence is {least!r:.80}; allowed: a number, from 0 to 1")
    if not 0 <= least <= 1:
        raise ValueError(f"min_confidence is {least!r}; allowed: from 0 to 1")
    if least and not head.labels:
        raise ValueError(
            f"min_confidence is {least!r}; allowed for {task}: 0, as a regression has no confidence"
        )


def confidence(predictions: Prediction, head: Head) -> float:
    """Returns the probability of an answer: that of its label.

    Of a multilabel task it is that of all its labels together, as if they were independent: the
    product over labels of p if the text has the label, else of 1 - p.
    """
    if not head.multilabel:
        return predictions.score
    given = set(predictions.labels or [])
    pairs = zip(head.labels, predictions.probabilities, strict=True)
    return math.prod(chance if label in given else 1 - chance for label, chance in pairs)


def if_sure(answer: Prediction, head: Head, least: float) -> Prediction:
    """Returns the prediction, without its answer if its confidence is below `least`."""
    if not answer.answered or confidence(answer, head) >= least:
        return answer
    return answer._replace(label=None, labels=None, answered=False)


def predictions(logits_NC: np.ndarray, head: Head) -> list[Prediction]:
    """Returns the prediction of each row."""
    if head.multilabel:
        return labelled(logits_NC, head)
    return classified(logits_NC, head) if head.labels else regressed(logits_NC, head)


def classified(logits_NC: np.ndarray, head: Head) -> list[Prediction]:
    """Returns the label of each row. The softmax is in float64."""
    exact_NC = logits_NC.astype(float)
    shifted = (exact_NC - exact_NC.max(1, keepdims=True)) / head.temperature
    chances_NC = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    best = (
        (exact_NC[:, 1] - exact_NC[:, 0] >= head.cuts[1]).astype(int)
        if head.cuts
        else chances_NC.argmax(1)
    ).tolist()
    return [
        Prediction(head.labels[place], row[place], row)
        for place, row in zip(best, chances_NC.tolist(), strict=True)
    ]


def labelled(logits_NC: np.ndarray, head: Head) -> list[Prediction]:
    """Returns the labels of each row of a multilabel task. The sigmoid is in float64."""
    exact_NC = logits_NC.astype(float)
    # exp(-|x|) does not overflow.
    small_NC = np.exp(-np.abs(exact_NC) / head.temperature)
    chances_NC = np.where(exact_NC >= 0, 1.0, small_NC) / (1 + small_NC)
    given_NC = exact_NC >= np.array(head.cuts)
    return [
        _with_labels(chances_C, given_C, head)
        for chances_C, given_C in zip(chances_NC.tolist(), given_NC.tolist(), strict=True)
    ]


def _with_labels(chances_C: list[float], given_C: list[bool], head: Head) -> Prediction:
    labels = [label for label, given in zip(head.labels, given_C, strict=True) if given]
    return Prediction(",".join(labels), max(chances_C), chances_C, None, labels)


def prediction(logits_C: list[float], head: Head) -> Prediction:
    """Returns the prediction for one row, as `predictions` does for many."""
    if head.multilabel:
        return labelled(np.array([logits_C]), head)[0]
    if not head.labels:
        return Prediction("", logits_C[0] * head.std + head.mean, [])
    if len(logits_C) > MANY_CLASSES:
        return classified(np.array([logits_C], dtype=np.float32), head)[0]
    largest = max(logits_C)
    weights = [math.exp((logit - largest) / head.temperature) for logit in logits_C]
    total = sum(weights)
    chances = [weight / total for weight in weights]
    best = int(logits_C[1] - logits_C[0] >= head.cuts[1]) if head.cuts else logits_C.index(largest)
    return Prediction(head.labels[best], chances[best], chances)


def regressed(logits_NC: np.ndarray, head: Head) -> list[Prediction]:
    """Returns the score of each row on the task's own scale."""
    return [
        Prediction("", score, [])
        for score in (logits_NC[:, 0].astype(float) * head.std + head.mean).tolist()
    ]
