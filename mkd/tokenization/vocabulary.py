"""Token frequencies in the tasks' text, and the tokens that a trimmed vocabulary keeps."""

from collections.abc import Iterator

import numpy as np
from transformers import PreTrainedTokenizerBase

from mkd.runtime.layout import Texts
from mkd.tokenization.tokens import TaskData

CHUNK_TOKENS = 1 << 22


def kept_tokens(
    datas: list[TaskData], tokenizer: PreTrainedTokenizerBase, vocab_size: int, min_count: int
) -> tuple[np.ndarray, int]:
    """Returns the sorted ids of the tokens to keep, and the id of the unknown token.

    Kept are the tokens that occur at least `min_count` times in `training_counts`, and all special
    tokens.

    - `vocab_size`: number of rows of the embedding table, which may be larger than the tokenizer's
      vocabulary.

    Raises ValueError if the tokenizer has no unknown token, or if no token occurs `min_count`
    times.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None:
        raise ValueError(
            f"student.min_count is {min_count}; allowed: 0, as the student's tokenizer has no "
            "unknown token"
        )
    count_V = training_counts(datas, vocab_size)
    if count_V.max() < min_count:
        raise ValueError(
            f"student.min_count is {min_count}; allowed: at most {count_V.max()}, the most "
            "frequent token's count"
        )
    count_V[tokenizer.all_special_ids] = min_count
    return np.flatnonzero(count_V >= min_count), unknown


def training_counts(datas: list[TaskData], vocab_size: int) -> np.ndarray:
    """Returns how often each token occurs [vocab_size] int64 in the tasks' train stores.

    Rows without a label count too, and rows that overlap with the selection rows. The selection
    rows themselves do not.
    """
    count_V = np.zeros(vocab_size, dtype=np.int64)
    for data in datas:
        for texts in (data.train.a,) if data.train.b is None else (data.train.a, data.train.b):
            # The selection rows are few. Subtracting their tokens avoids a copy of all other rows.
            for chunk in _chunks(texts):
                count_V += np.bincount(chunk, minlength=vocab_size)
            count_V -= np.bincount(_ids(texts, data.selection_rows), minlength=vocab_size)
    return count_V


def _chunks(texts: Texts) -> Iterator[np.ndarray]:
    for start in range(0, len(texts.ids), CHUNK_TOKENS):
        yield texts.ids[start : start + CHUNK_TOKENS]


def _ids(texts: Texts, rows: np.ndarray) -> np.ndarray:
    """Returns the token ids of the given rows, concatenated."""
    lengths = texts.lengths(rows)
    before = np.cumsum(lengths) - lengths
    ids: np.ndarray = texts.ids[
        np.arange(lengths.sum()) + np.repeat(texts.offsets[rows] - before, lengths)
    ]
    return ids
