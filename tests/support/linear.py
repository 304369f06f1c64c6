"""A linear baseline on word counts, and the effective number of distinct rows."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
from scipy.sparse import csr_matrix, hstack
from scipy.stats import pearsonr, spearmanr
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from mkd.tasks.task import Kind, Row

METRIC: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy_score,
    "f1": f1_score,
    "matthews": matthews_corrcoef,
    "pearson": lambda truth, predicted: pearsonr(truth, predicted)[0],
    "spearman": lambda truth, predicted: spearmanr(truth, predicted)[0],
}


def texts_of(rows: Iterable[Row]) -> list[str]:
    """All texts of the rows, in order."""
    return [text for row in rows for text in (row.text_a, row.text_b) if text is not None]


def effective(items: Iterable[Hashable]) -> float:
    """The effective number of distinct items: (sum m)^2 / sum m^2 over the multiplicities m."""
    multiplicities = np.array(list(Counter(items).values()))
    return float(multiplicities.sum() ** 2 / (multiplicities**2).sum())


def linear_score(train: list[Row], dev: list[Row], kind: Kind, penalties: Sequence[float]) -> float:
    """The dev score of a linear model on counts of 1- to 3-grams: the mean of the task's metrics,
    in points.

    The two texts of a pair have separate features. The penalty is chosen on dev, so the score is an
    upper bound.
    """
    words = CountVectorizer(token_pattern=r"\S+", ngram_range=(1, 3), min_df=2).fit(texts_of(train))
    (x_train, y_train), (x_dev, truth) = (
        (_counts(rows, words), np.array([r.label for r in rows])) for rows in (train, dev)
    )
    scores = []
    for penalty in penalties:
        model = LogisticRegression(C=1 / penalty, max_iter=300) if kind.labels else Ridge(penalty)
        predicted = model.fit(x_train, y_train).predict(x_dev)
        scores.append(
            100 * float(np.mean([METRIC[name](truth, predicted) for name in kind.metrics]))
        )
    return max(scores)


def _counts(rows: list[Row], words: CountVectorizer) -> csr_matrix:
    sides = [[row.text_a for row in rows]]
    if rows[0].text_b is not None:
        sides.append([str(row.text_b) for row in rows])
    return hstack([words.transform(texts) for texts in sides]).tocsr().astype(float)
