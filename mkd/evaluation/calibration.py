"""Temperatures that make a model's probabilities true to how often it is right.

Axes: R rows, C classes.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax

Temperatures = Mapping[str, float]
"""Temperatures by task. A task that is not in it has 1."""
UNCALIBRATED: Temperatures = MappingProxyType({})
"""1 for each task."""
LARGEST = 20.0
"""Maximum temperature; the minimum is 1 / LARGEST. Without bounds it would be 0 for a model that is
right in all rows."""


def fit_temperature(logits_RC: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature T with the smallest negative log-likelihood (Guo et al. 2017).

    The probabilities are softmax(logits / T). For labels [R, C] of a multilabel task they are
    sigmoid(logits / T), with one T for all labels. T changes no answer. 1 if there are no rows.

    - logits_RC: of rows that the model was not trained on.
    - labels: [R], or 0 and 1 [R, C].
    """
    if not len(labels):
        return 1.0
    exact_RC = logits_RC.astype(np.float64)
    optimum = minimize_scalar(
        lambda log_t: negative_log_likelihood(exact_RC / np.exp(log_t), labels),
        bounds=(-np.log(LARGEST), np.log(LARGEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(optimum.x))


def negative_log_likelihood(logits_RC: np.ndarray, labels: np.ndarray) -> float:
    """Returns -log p(labels), the mean over rows. labels: as in `fit_temperature`."""
    if labels.ndim == 2:
        signed_RC = np.where(labels > 0, logits_RC, -logits_RC)
        return -float(log_expit(signed_RC).sum(1).mean())
    chances_RC = log_softmax(logits_RC, axis=1)
    return -float(chances_RC[np.arange(len(labels)), labels.astype(np.int64)].mean())
