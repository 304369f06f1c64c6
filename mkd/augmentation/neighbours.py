"""Words that can replace each other: neighbours by an encoder's embeddings, or by their contexts.

Axes: V words of a vocabulary, W of them that have neighbours, K neighbours of a word, D entries of
a word's vector.
"""

from itertools import repeat
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mkd.runtime.encoding import encode_all
from mkd.runtime.layout import flattened
from mkd.selection.words import WordStore, row_blocks, take_texts
from mkd.storage import pretrained
from mkd.tokenization.tokenise import backend_tokenizer

MAX_WORDS = 10_000
"""Only the most frequent words, at most this many, have neighbours and are neighbours. The cost of
the search grows with their square."""
CONTEXT_WORDS = 256
"""Without embeddings, words are compared by how often they are next to the most frequent words, at
most this many."""
COSINE_BLOCK = 1024
"""Number of words whose cosines to all other words are in memory at once."""
MAX_WORD_TOKENS = 16
"""Maximum number of tokens of a word that are used."""


def word_neighbours(words: WordStore, k: int, embeddings: Path | None) -> np.ndarray:
    """Returns the numbers of each word's k nearest words by cosine [V, K] int64.

    A word without neighbours has -1 in all places. K is below k if there are too few words.

    - `embeddings`: folder of the encoder whose embedding table is used; None: the words' contexts
      in the task's text.
    """
    num = len(words.vocabulary)
    counts = np.zeros(num, dtype=np.int64)
    for side in words.sides:
        for rows in row_blocks(np.arange(len(words.labels))):
            counts += np.bincount(take_texts(side, rows).ids, minlength=num)
    frequent = np.argsort(-counts, kind="stable")[:MAX_WORDS]
    spelt = [words.vocabulary[word] for word in frequent]
    table_WD = contexts(words, frequent) if embeddings is None else _embedded(spelt, embeddings)
    _, same = np.unique([word.casefold() for word in spelt], return_inverse=True)
    nearest_WK = nearest_rows(table_WD, same, k)
    if nearest_WK.shape[1] == 0:
        return np.full((num, 1), -1)
    neighbours_VK = np.full((num, nearest_WK.shape[1]), -1)
    neighbours_VK[frequent] = frequent[nearest_WK]
    return neighbours_VK


def nearest_rows(table_WD: np.ndarray, same_W: np.ndarray, k: int) -> np.ndarray:
    """Returns the k nearest rows to each row by cosine [W, K], in no order.

    Rows with the same number in `same_W`, which are spellings of one word, are not neighbours. K is
    below k if there are too few rows.
    """
    k = min(k, len(table_WD) - int(np.bincount(same_W).max()))
    unit_WD = table_WD / np.maximum(
        np.linalg.norm(table_WD, axis=1, keepdims=True), np.finfo(np.float32).tiny
    )
    nearest_WK = np.empty((len(table_WD), k), dtype=np.int64)
    for rows in np.array_split(np.arange(len(table_WD)), -(-len(table_WD) // COSINE_BLOCK)):
        cosines = unit_WD[rows] @ unit_WD.T
        cosines[same_W[rows][:, None] == same_W] = -np.inf
        nearest_WK[rows] = np.argpartition(-cosines, k, axis=1)[:, :k]
    return nearest_WK


def contexts(words: WordStore, frequent: np.ndarray) -> np.ndarray:
    """Returns the square roots of neighbour counts [W, D] for words before and after each word.

    A column counts one of the most frequent words or the end of a text, before or after the word.
    Words of the same part of speech have similar contexts (Schuetze 1995, Distributional
    part-of-speech tagging). The root keeps the most frequent contexts from dominating.
    """
    num, end = len(words.vocabulary), min(CONTEXT_WORDS, len(frequent))
    row_V, column_V = np.full(num + 1, -1), np.full(num + 1, -1)
    row_V[frequent] = np.arange(len(frequent))
    column_V[frequent[:end]] = np.arange(end)
    column_V[num] = end
    counts = np.zeros((2, len(frequent), end + 1), dtype=np.float32)
    for side in words.sides:
        for rows in row_blocks(np.arange(len(words.labels))):
            ids, offsets = take_texts(side, rows)
            # The texts are concatenated: the words next to a text's ends are replaced by the number
            # `num`.
            before, after = np.roll(ids, 1), np.roll(ids, -1)
            before[offsets[:-1]] = num
            after[offsets[1:] - 1] = num
            for place, other in enumerate((before, after)):
                row, column = row_V[ids], column_V[other]
                both = (row >= 0) & (column >= 0)
                cells = np.bincount(row[both] * (end + 1) + column[both], minlength=counts[0].size)
                counts[place] += cells.reshape(counts[0].shape)
    return np.sqrt(np.concatenate(counts, axis=1))


def _embedded(words: list[str], folder: Path) -> np.ndarray:
    """Returns the mean of each word's token embeddings, minus the mean of all embeddings [W, D]."""
    tokenizer = pretrained.load_tokenizer(folder, "data.augment.embeddings")
    weight = (
        pretrained.load_encoder(folder, "data.augment.embeddings").get_input_embeddings().weight
    )
    assert isinstance(weight, torch.Tensor), "an embedding's table is a tensor"
    table = weight.detach() - weight.detach().mean(0)
    ids, offsets = flattened(
        encode_all(backend_tokenizer(tokenizer), words), repeat(MAX_WORD_TOKENS)
    )
    means: np.ndarray = F.embedding_bag(
        torch.from_numpy(ids).long(), table, torch.from_numpy(offsets[:-1]), mode="mean"
    ).numpy()
    return means
