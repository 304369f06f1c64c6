"""A bag student in 8 bits, computed by numpy alone (mkd/students/bag.py has the architecture).

For so small a model a graph runtime takes more time than the model.

Axes: B rows, S texts of a row, N words and n-grams of all texts, E embedding width, H width of the
network, C classes.
"""

import io
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mkd.runtime.layout import Arrays

PRIME = 2**31 - 1
"""Modulus of the hash of n-grams. The product of two smaller numbers fits in 64 bits."""
GENERATOR = 48271
"""Base of the hash's factors: its powers modulo PRIME take all values from 1 to PRIME - 1 (Park,
Miller and Stockmeyer 1993)."""


class Table(NamedTuple):
    """Rows of numbers in 8 bits, each with a scale of its own: row i is scales[i] * numbers[i]."""

    numbers: np.ndarray
    scales: np.ndarray

    def total(self, rows_N: np.ndarray, starts: np.ndarray | None) -> np.ndarray:
        """Returns the sums of the rows: of all [1, E], or of each stretch from `starts` on."""
        values = self.numbers[rows_N].astype(np.float32)
        scales_N = self.scales[rows_N]
        if starts is None:
            total: np.ndarray = (scales_N @ values)[None]
            return total
        return np.add.reduceat(values * scales_N[:, None], starts, axis=0)


class Linear(NamedTuple):
    """A layer: x @ weight + bias."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        product: np.ndarray = x @ self.weight + self.bias
        return product


class Bag(NamedTuple):
    """The student's weights.

    - `rows_V`: the table row of each token.
    - `alone`: the first layer for a single text, which takes u and u * u only: there u = v, so the
      difference is 0 and the cosine 1.
    - `layers`: the first takes u, v, |u - v|, u * v and the cosine.
    - `heads`, `wide`: by task; `wide` has single-text tasks only.
    - `ngrams`, `buckets`: as in the student's settings.
    """

    rows_V: np.ndarray
    words: Table
    alone: Linear
    layers: tuple[Linear, ...]
    heads: Mapping[str, Linear]
    wide: Mapping[str, Table]
    ngrams: int
    buckets: int

    def __call__(self, batch: Arrays, task: str) -> np.ndarray:
        """Returns the logits [B, C] of a task's head."""
        rows, texts, _ = batch.ids.shape
        if rows == texts == 1:
            words_N, counts, starts = self.rows_V[batch.ids[0, 0]], batch.ids.shape[2], None
        else:
            words_N = self.rows_V[batch.ids[batch.mask]]
            counts = batch.mask.sum(2).ravel()
            starts = np.cumsum(counts) - counts
            counts = counts.astype(np.float32)[:, None]
        mean_TE = self.words.total(words_N, starts) / counts
        logits = self.heads[task](self._network(mean_TE.reshape(rows, texts, -1)))
        if task in self.wide:
            logits += self._wide(self.wide[task], words_N, starts)
        return logits

    def _network(self, mean_BSE: np.ndarray) -> np.ndarray:
        """Returns the last hidden layer [B, H]."""
        u = mean_BSE[:, 0]
        if mean_BSE.shape[1] == 1:
            hidden = self.alone(np.concatenate([u, u * u], axis=1))
        else:
            v = mean_BSE[:, 1]
            lengths = np.linalg.norm(mean_BSE, axis=2).clip(min=1e-8)
            cosine = (u * v).sum(1, keepdims=True) / lengths.prod(1, keepdims=True)
            compared = [u, v, np.abs(u - v), u * v, cosine]
            hidden = self.layers[0](np.concatenate(compared, axis=1))
        for layer in self.layers[1:]:
            hidden = layer(np.maximum(hidden, 0))
        return np.maximum(hidden, 0)

    def _wide(self, table: Table, words_N: np.ndarray, starts: np.ndarray | None) -> np.ndarray:
        """Returns the wide part's scores [B, C] of single texts."""
        if starts is None:
            found = [words_N, *self._ngrams(words_N)]
            rows_N = np.concatenate(found)
            scores: np.ndarray = table.total(rows_N, None) * len(rows_N) ** -0.5
            return scores
        ends = np.append(starts[1:], len(words_N))
        text_N = np.repeat(np.arange(len(starts)), ends - starts)
        rows, texts = [words_N], [text_N]
        for ahead, buckets in enumerate(self._ngrams(words_N), 1):
            # An n-gram lies in its text if its last word belongs to the text of its first.
            inside = text_N[:-ahead] == text_N[ahead:]
            rows.append(buckets[inside])
            texts.append(text_N[:-ahead][inside])
        of_text = np.concatenate(texts)
        order = np.argsort(of_text, kind="stable")
        counts = np.bincount(of_text, minlength=len(starts))
        total = table.total(np.concatenate(rows)[order], np.cumsum(counts) - counts)
        summed: np.ndarray = total * counts.astype(np.float32)[:, None] ** -0.5
        return summed

    def _ngrams(self, words_N: np.ndarray) -> list[np.ndarray]:
        """Returns the table rows of the n-grams of each length from 2, at each first word."""
        found, hashed = [], words_N * GENERATOR
        for ahead in range(1, min(self.ngrams, len(words_N))):
            factor = pow(GENERATOR, ahead + 1, PRIME)
            hashed = hashed[:-1] + words_N[ahead:] * factor
            found.append(len(self.words.scales) + hashed % PRIME % self.buckets)
        return found


def read(content: bytes) -> Bag:
    """Returns the student that `written` has written. Raises ValueError if it is no such file."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = dict(file)

    def named(kind: str) -> list[str]:
        return sorted({name.split("/")[1] for name in arrays if name.startswith(f"{kind}/")})

    def linear(name: str) -> Linear:
        return Linear(arrays[f"{name}/weight"], arrays[f"{name}/bias"])

    def table(name: str) -> Table:
        return Table(arrays[f"{name}/numbers"], arrays[f"{name}/scales"])

    layers = tuple(linear(f"layers/{number}") for number in sorted(named("layers"), key=int))
    first, width = layers[0], (len(layers[0].weight) - 1) // 4
    u, v, _, product = np.split(first.weight[:-1], 4)
    assert len(u) == width, "four parts and the cosine"
    return Bag(
        arrays["rows"].astype(np.int64),
        table("words"),
        Linear(np.concatenate([u + v, product]), first.bias + first.weight[-1]),
        layers,
        {name: linear(f"heads/{name}") for name in named("heads")},
        {name: table(f"wide/{name}") for name in named("wide")},
        int(arrays["ngrams"]),
        int(arrays["buckets"]),
    )


def quantised(weights: np.ndarray) -> dict[str, np.ndarray]:
    """Returns a float table's `numbers` in 8 bits and the `scales` of its rows."""
    largest = np.abs(weights).max(1)
    whole = np.round(127 * weights / np.where(largest > 0, largest, 1)[:, None])
    return {"numbers": whole.astype(np.int8), "scales": (largest / 127).astype(np.float32)}
