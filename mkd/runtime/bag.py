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

LONGEST = 16
"""Largest n of the n-grams."""
FACTORS = tuple(pow(GENERATOR, place + 1, PRIME) for place in range(LONGEST))
"""Factor of each word of an n-gram in its hash."""


class Int8Table(NamedTuple):
    """Rows of numbers in 8 bits, each with a scale of its own: row i is scales[i] * numbers[i]."""

    numbers: np.ndarray
    scales: np.ndarray

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Returns the rows in float32 [..., E]."""
        values: np.ndarray = self.numbers[rows] * self.scales[rows][..., None]
        return values

    def total(self, rows_N: np.ndarray, starts: np.ndarray | None) -> np.ndarray:
        """Returns the sum of all rows [1, E], or the sums of the segments that begin at
        `starts`."""
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
    - `alone`: the first layer for a single text, which takes u and u * u only: there u = v, so
      differences are 0, the cosine is 1, and no word is unmatched.
    - `layers`: the first takes u, v, |u - v|, u * v, the cosine, and the unmatched words.
    - `heads`, `wide`: by task; `wide` has single-text tasks only.
    - `ngrams`, `buckets`: as in the student's settings.
    """

    rows_V: np.ndarray
    words: Int8Table
    alone: Linear
    layers: tuple[Linear, ...]
    heads: Mapping[str, Linear]
    wide: Mapping[str, Int8Table]
    ngrams: int
    buckets: int

    def __call__(self, batch: Arrays, task: str) -> np.ndarray:
        """Returns the logits [B, C] of a task's head."""
        rows, texts, length = batch.ids.shape
        head = self.heads[task]
        if texts == 2:
            return head(self._pair(batch) if rows == 1 else self._pairs(batch))
        if rows == 1:
            words_N, counts, starts = self.rows_V[batch.ids[0, 0]], length, None
        else:
            words_N = self.rows_V[batch.ids[batch.mask]]
            counts = batch.mask.sum(2)
            starts = np.cumsum(counts) - counts.ravel()
            counts = counts.astype(np.float32)
        u = self.words.total(words_N, starts) / counts
        logits = head(self._network(self.alone(np.concatenate([u, u * u], axis=1))))
        if task in self.wide:
            logits += self._wide(self.wide[task], words_N, starts)
        return logits

    def _network(self, hidden: np.ndarray) -> np.ndarray:
        """Returns the last hidden layer [B, H]. `hidden`: the first layer, before its ReLU."""
        for layer in self.layers[1:]:
            hidden = layer(np.maximum(hidden, 0))
        last: np.ndarray = np.maximum(hidden, 0)
        return last

    def _pair(self, batch: Arrays) -> np.ndarray:
        """Returns what `_pairs` does, for a single row in three quarters of the time."""
        mask_SL = batch.mask[0]
        count_a, count_b = mask_SL.sum(1).tolist()
        words_LE = self.words.at(self.rows_V[batch.ids[0][mask_SL]])  # of both texts, no padding
        a, b = words_LE[:count_a], words_LE[count_a:]
        u, v = a.sum(0) / count_a, b.sum(0) / count_b
        cosine = np.array([(u @ v) / max(((u @ u) * (v @ v)) ** 0.5, 1e-8)])
        sizes_L = np.maximum(np.sqrt(np.einsum("le,le->l", words_LE, words_LE)), 1e-12)
        units_LE = words_LE / sizes_L[:, None]
        cosine_AB = units_LE[:count_a] @ units_LE[count_a:].T
        unmatched_a = (1 - cosine_AB.max(1)) @ a / count_a
        unmatched_b = (1 - cosine_AB.max(0)) @ b / count_b
        return self._compared(u, v, cosine, unmatched_a, unmatched_b)[None]

    def _pairs(self, batch: Arrays) -> np.ndarray:
        """Returns the last hidden layer [B, H] of pairs; mkd/students/bag.py has the formulas."""
        words_BSLE = self.words.at(self.rows_V[batch.ids])
        mask_BSL = batch.mask.astype(np.float32)
        counts_BS = mask_BSL.sum(2)
        a, b = words_BSLE[:, 0], words_BSLE[:, 1]
        u, v = (mask_BSL[:, :, None] @ words_BSLE)[:, :, 0].swapaxes(0, 1) / counts_BS.T[..., None]
        cosine = (u * v).sum(1) / np.maximum(np.sqrt((u * u).sum(1) * (v * v).sum(1)), 1e-8)
        sizes = np.maximum(np.sqrt(np.einsum("bsle,bsle->bsl", words_BSLE, words_BSLE)), 1e-12)
        cosine_BAB = a @ b.swapaxes(1, 2) / sizes[:, 0, :, None] / sizes[:, 1, None]
        # Lower than any cosine, so that padding is no word's match.
        padding_a, padding_b = 3 * mask_BSL[:, 0] - 3, 3 * mask_BSL[:, 1] - 3
        matches = (
            (cosine_BAB + padding_b[:, None]).max(2),
            (cosine_BAB + padding_a[:, :, None]).max(1),
        )
        unmatched_words = []
        for side, match_BL in enumerate(matches):
            mask_BL, count_B1 = mask_BSL[:, side], counts_BS[:, side, None]
            unmatched = ((1 - match_BL) * mask_BL)[:, None] @ words_BSLE[:, side]
            unmatched_words.append(unmatched[:, 0] / count_B1)
        return self._compared(u, v, cosine[:, None], *unmatched_words)

    def _compared(
        self,
        u: np.ndarray,
        v: np.ndarray,
        cosine: np.ndarray,
        unmatched_a: np.ndarray,
        unmatched_b: np.ndarray,
    ) -> np.ndarray:
        """Returns the last hidden layer of one pair [H], or of pairs [B, H], from their texts'
        means and unmatched words, [E] or [B, E], and their cosines, [1] or [B, 1]."""
        compared = [u, v, np.abs(u - v), u * v, cosine, unmatched_a, unmatched_b]
        first = self.layers[0](np.concatenate(compared, axis=-1, dtype=np.float32))
        return self._network(first)

    def _wide(self, table: Int8Table, words_N: np.ndarray, starts: np.ndarray | None) -> np.ndarray:
        """Returns the wide part's scores [B, C] of single texts."""
        if starts is None:
            rows_by_length = [words_N, *self._ngrams(words_N)]
            rows_N = np.concatenate(rows_by_length)
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
        rows_by_length, hashed = [], words_N * FACTORS[0]
        for ahead in range(1, min(self.ngrams, len(words_N))):
            hashed = hashed[:-1] + words_N[ahead:] * FACTORS[ahead]
            rows_by_length.append(hashed % PRIME % self.buckets + len(self.words.scales))
        return rows_by_length


def read_bag(content: bytes) -> Bag:
    """Returns the student that `written` has written. Raises ValueError if it is no such file."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = dict(file)

    def named(kind: str) -> list[str]:
        return sorted({name.split("/")[1] for name in arrays if name.startswith(f"{kind}/")})

    def linear(name: str) -> Linear:
        return Linear(arrays[f"{name}/weight"], arrays[f"{name}/bias"])

    def table(name: str) -> Int8Table:
        return Int8Table(arrays[f"{name}/numbers"], arrays[f"{name}/scales"])

    layers = tuple(linear(f"layers/{number}") for number in sorted(named("layers"), key=int))
    first = layers[0]
    # Its inputs are, in order: u, v, |u - v|, u * v, the cosine, the unmatched words of each text.
    width = (len(first.weight) - 1) // 6
    u, v, _, product = first.weight[: 4 * width].reshape(4, width, -1)
    alone = Linear(np.concatenate([u + v, product]), first.bias + first.weight[4 * width])
    return Bag(
        arrays["rows"].astype(np.int64),
        table("words"),
        alone,
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
