"""Which of a tokenizer's tokens the tasks use."""

from collections.abc import Iterator

import numpy as np
from transformers import PreTrainedTokenizerBase

from mkd.runtime.layout import Texts
from mkd.tokenization.tokens import TaskData

CHUNK_TOKENS = 1 << 22


def kept_tokens(
    datas: list[TaskData], tokenizer: PreTrainedTokenizerBase, vocab_size: int, min_count: int
) -> tuple[np.ndarray, int]:
    """Ids of the tokens to keep, sorted, and the unknown token's: those seen at least `min_count` times, and all special ones.

    vocab_size: rows of the table, which may have more than the tokenizer has tokens. Raises ValueError where the tokenizer
    has no unknown token, or no token is seen so often.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None:
        raise ValueError(f"student.min_count is {min_count}; allowed: 0, as the student's tokenizer has no unknown token")
    count_V = training_counts(datas, vocab_size)
    if count_V.max() < min_count:
        raise ValueError(f"student.min_count is {min_count}; allowed: at most {count_V.max()}, the most frequent token's count")
    count_V[tokenizer.all_special_ids] = min_count
    return np.flatnonzero(count_V >= min_count), unknown


def training_counts(datas: list[TaskData], vocab_size: int) -> np.ndarray:
    """How often each token occurs [vocab_size] int64 in the tasks' training rows, with a label and without."""
    count_V = np.zeros(vocab_size, dtype=np.int64)
    for data in datas:
        for texts in (data.train.a,) if data.train.b is None else (data.train.a, data.train.b):
            # The rows that are set apart are few: all rows less those are counted without gathering anything large.
            for chunk in _chunks(texts):
                count_V += np.bincount(chunk, minlength=vocab_size)
            count_V -= np.bincount(_ids(texts, data.selection_rows), minlength=vocab_size)
    return count_V


def _chunks(texts: Texts) -> Iterator[np.ndarray]:
    for start in range(0, len(texts.ids), CHUNK_TOKENS):
        yield texts.ids[start : start + CHUNK_TOKENS]


def _ids(texts: Texts, rows: np.ndarray) -> np.ndarray:
    """The token ids of these rows, one row after another."""
    lengths = texts.lengths(rows)
    before = np.cumsum(lengths) - lengths
    ids: np.ndarray = texts.ids[np.arange(lengths.sum()) + np.repeat(texts.offsets[rows] - before, lengths)]
    return ids
