"""The demo suite: five text tasks generated from a seed, of any size, without network access.

The tasks mirror the kinds of tasks in GLUE and share one lexicon. Each row starts as a semantic
form. Its text is one of several realisations of the form, and its label is a function of the form.
Therefore word counts alone do not determine the label.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import cycle, islice
from random import Random
from statistics import NormalDist
from typing import Literal

from mkd.config import DemoConfig
from mkd.tasks.demo import acceptability, entailment, paraphrase, sentiment, similarity
from mkd.tasks.demo.rng import Rng
from mkd.tasks.task import Kind, Row

DEMO_VERSION = 1
"""Version of the generator. Raise it with any change that generates other rows for the same
settings; then everything that was cached for the demo is computed again."""

SplitName = Literal["train", "dev"]

DEMO_TASKS: dict[str, Kind] = {
    "sentiment": Kind(("negative", "positive"), False, ("accuracy",)),
    "acceptability": Kind(("unacceptable", "acceptable"), False, ("matthews",)),
    "paraphrase": Kind(("not_equivalent", "equivalent"), True, ("accuracy", "f1")),
    "entailment": Kind(("entailment", "neutral", "contradiction"), True, ("accuracy",)),
    "similarity": Kind((), True, ("pearson", "spearman"), (0.0, 5.0)),
}
_MAKERS: dict[str, Callable[[Rng], Row]] = {
    "sentiment": sentiment.make,
    "acceptability": acceptability.make,
    "paraphrase": paraphrase.make,
    "entailment": entailment.make,
    "similarity": similarity.make,
}
_DEV_SHARE = 4
"""One in _DEV_SHARE texts belongs to dev, by its hash. All others belong to train."""
_KEPT_ROWS = 10_000
"""A split of at most so many rows is kept in memory: a run reads it several times, and generating
the rows takes longer than tokenizing them."""
_NOISE_SD = 1.5
"""Standard deviation of the normal noise that is added to noisy scores of a regression task."""


def belongs_to_split(split: SplitName, row: Row) -> bool:
    """Returns whether all texts of the row belong to the split.

    A hash assigns each text to one split, so no text is in both.
    """
    texts = (row.text_a,) if row.text_b is None else (row.text_a, row.text_b)
    return all((zlib.crc32(text.encode()) % _DEV_SHARE == 0) == (split == "dev") for text in texts)


def _noisy(label: float, kind: Kind, uniform: float) -> float:
    """Returns another class, or the score with noise. uniform, in [0, 1), decides which."""
    if kind.range is None:
        others = [index for index in range(len(kind.labels)) if index != label]
        return float(others[int(uniform * len(others))])
    low, high = kind.range
    return round(
        min(max(label + NormalDist(0, _NOISE_SD).inv_cdf(max(uniform, 1e-12)), low), high), 2
    )


def _generated(task: str, split: SplitName, seed: int) -> Iterator[Row]:
    """Yields rows without noise. Classes take turns, so that all are equally frequent."""
    rng, make = Rng(f"{seed} {task} {split}"), _MAKERS[task]
    for wanted in cycle(
        range(len(DEMO_TASKS[task].labels)) if DEMO_TASKS[task].labels else (None,)
    ):
        row = make(rng)
        while wanted not in (None, row.label) or not belongs_to_split(split, row):
            row = make(rng)
        yield row


@lru_cache(maxsize=32)
def _kept(task: str, split: SplitName, seed: int, num: int) -> tuple[Row, ...]:
    return tuple(islice(_generated(task, split, seed), num))


def _clean(task: str, split: SplitName, seed: int, num: int) -> Iterator[Row]:
    """Yields the first `num` rows, without noise."""
    if num > _KEPT_ROWS:
        return islice(_generated(task, split, seed), num)
    return iter(_kept(task, split, seed, num))


def _train(task: str, config: DemoConfig) -> Iterator[Row]:
    num = config.train_rows + config.unlabelled_rows
    clean = _clean(task, "train", config.seed, num)
    noise = Random(f"{config.seed} {task} noise")
    for row in islice(clean, config.train_rows):
        # Each row draws both numbers, noisy or not. So the numbers of a row do not depend on
        # label_noise, and a higher value only adds noisy rows.
        changed, uniform = noise.random() < config.label_noise, noise.random()
        assert row.label is not None, "a generated row has a label"
        yield row._replace(label=_noisy(row.label, DEMO_TASKS[task], uniform)) if changed else row
    for row in clean:
        yield row._replace(label=None)


def _check(task: str, split: str) -> None:
    if task not in DEMO_TASKS:
        raise ValueError(f"demo task is {task!r}; allowed: {', '.join(DEMO_TASKS)}")
    if split not in ("train", "dev"):
        raise ValueError(f"demo split is {split!r}; allowed: train, dev")


def demo_rows(task: str, split: SplitName, config: DemoConfig) -> Iterator[Row]:
    """Yields the rows of a split.

    train has the labelled rows first, then the unlabelled ones. dev has labels without noise. Rows
    depend on config.seed, task and split only; a larger number of rows keeps the first ones.

    Raises ValueError if task or split is unknown.
    """
    _check(task, split)
    return (
        _train(task, config)
        if split == "train"
        else _clean(task, "dev", config.seed, config.dev_rows)
    )


def demo_fingerprint(task: str, split: str, config: DemoConfig) -> str:
    """Returns a hash that changes if the rows can change.

    It covers the generator's version, the task, the split and the settings.
    """
    _check(task, split)
    return hashlib.sha256(repr((DEMO_VERSION, task, split, config)).encode()).hexdigest()
