"""The suite that ships with the project: five text tasks generated from a seed, at any size, with no network.

They mirror the kinds of GLUE and share one lexicon. A row begins as a semantic form; its text is one of the form's
realisations and its label a function of the form, so that word counts alone do not give the label away.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import Literal

from mkd.config import DemoConfig
from mkd.tasks.demo import acceptability, entailment, paraphrase, sentiment, similarity
from mkd.tasks.demo.draw import Draw
from mkd.tasks.task import Kind, Row

SplitName = Literal["train", "dev"]

TASKS: dict[str, Kind] = {
    "sentiment": Kind(("negative", "positive"), False, ("accuracy",)),
    "acceptability": Kind(("unacceptable", "acceptable"), False, ("matthews",)),
    "paraphrase": Kind(("not_equivalent", "equivalent"), True, ("accuracy", "f1")),
    "entailment": Kind(("entailment", "neutral", "contradiction"), True, ("accuracy",)),
    "similarity": Kind((), True, ("pearson", "spearman"), (0.0, 5.0)),
}
_MAKERS: dict[str, Callable[[Draw], Row]] = {
    "sentiment": sentiment.make,
    "acceptability": acceptability.make,
    "paraphrase": paraphrase.make,
    "entailment": entailment.make,
    "similarity": similarity.make,
}
_DEV_SHARE = 4
"""One text in so many belongs to dev, by its hash; all others to train."""
_NOISE_SD = 1.5
"""How far a noisy score of a regression task is moved: standard deviation of a normal."""


def is_of(split: SplitName, row: Row) -> bool:
    """Whether all texts of the row belong to the split: a hash decides of each, so none is in both."""
    texts = (row.text_a,) if row.text_b is None else (row.text_a, row.text_b)
    return all((zlib.crc32(text.encode()) % _DEV_SHARE == 0) == (split == "dev") for text in texts)


def _noisy(label: float, kind: Kind, uniform: float) -> float:
    """Another class, or the score moved; `uniform`, between 0 and 1, says which or how far."""
    if kind.range is None:
        others = [index for index in range(len(kind.labels)) if index != label]
        return float(others[int(uniform * len(others))])
    low, high = kind.range
    return round(min(max(label + NormalDist(0, _NOISE_SD).inv_cdf(max(uniform, 1e-12)), low), high), 2)


def _clean(task: str, split: SplitName, seed: int) -> Iterator[Row]:
    """Each class in its turn, so that all are equally common."""
    draw, make = Draw(f"{seed} {task} {split}"), _MAKERS[task]
    for wanted in cycle(range(len(TASKS[task].labels)) if TASKS[task].labels else (None,)):
        row = make(draw)
        while not is_of(split, row) or wanted not in (None, row.label):
            row = make(draw)
        yield row


def _train(task: str, config: DemoConfig) -> Iterator[Row]:
    clean, noise = _clean(task, "train", config.seed), Random(f"{config.seed} {task} noise")
    for row in islice(clean, config.train_rows):
        changed, uniform = noise.random() < config.label_noise, noise.random()
        assert row.label is not None, "a generated row has a label"
        yield row._replace(label=_noisy(row.label, TASKS[task], uniform)) if changed else row
    for row in islice(clean, config.unlabelled_rows):
        yield row._replace(label=None)


def _check(task: str, split: str) -> None:
    if task not in TASKS:
        raise ValueError(f"demo task is {task!r}; allowed: {', '.join(TASKS)}")
    if split not in ("train", "dev"):
        raise ValueError(f"demo split is {split!r}; allowed: train, dev")


def rows(task: str, split: SplitName, config: DemoConfig) -> Iterator[Row]:
    """The rows, made one by one: in train the labelled ones, then those without a label; in dev all have clean labels.

    They depend on config.seed, task and split alone; asking for more rows keeps the first ones.
    """
    _check(task, split)
    return _train(task, config) if split == "train" else islice(_clean(task, "dev", config.seed), config.dev_rows)


def fingerprint(task: str, split: str, config: DemoConfig) -> str:
    """Changes whenever the rows would: sha256 of the generator's source, the task, the split and the settings."""
    _check(task, split)
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    digest.update(repr((task, split, config)).encode())
    return digest.hexdigest()
