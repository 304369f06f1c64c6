"""Word embeddings: taken from another model at any width, and trimmed to the tokens in use.

Axes: V the tokenizer's vocabulary, R rows of a table, E embedding width.
"""

from typing import Protocol

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel


def project(table_VD: torch.Tensor, width: int) -> torch.Tensor:
    """Returns the table projected onto its `width` main directions [V, width] by PCA.

    This is the best linear approximation of that rank. The table is centred first. The result is
    scaled so that the mean norm of its rows is that of the centred table.

    Raises ValueError if `width` is larger than the table's width.
    """
    if width > table_VD.shape[1]:
        raise ValueError(
            f"student.embedding is {width}; allowed: at most {table_VD.shape[1]}, the width of the "
            "table it is taken from"
        )
    centred = table_VD.float() - table_VD.float().mean(0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    projected: torch.Tensor = centred @ vectors.flip(1)[:, :width]
    scale: torch.Tensor = centred.norm(dim=1).mean() / projected.norm(dim=1).mean()
    return projected * scale


class TrimmedEmbedding(nn.Embedding):
    """An embedding table that has rows for the kept tokens only.

    - `place_V`: the row of each token. All tokens that are not kept have the unknown token's row.
    """

    place_V: torch.Tensor

    def __init__(self, vocab_size: int, kept_tokens: int, width: int) -> None:
        super().__init__(kept_tokens, width)
        self.register_buffer("place_V", torch.zeros(vocab_size, dtype=torch.int32))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(self.place_V[ids])


class HasInputEmbeddings(Protocol):
    """A model with a table of word embeddings."""

    def get_input_embeddings(self) -> nn.Module: ...


def input_table(model: HasInputEmbeddings) -> nn.Embedding:
    """Returns the model's table of word embeddings."""
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding), (
        f"a {type(table).__name__} is no table of word embeddings"
    )
    return table


def make_room(model: PreTrainedModel, kept_tokens: int) -> TrimmedEmbedding:
    """Replaces the model's table by an empty one of `kept_tokens` rows, and returns it.

    A checkpoint or `trim` then fills its weights and `place_V`.
    """
    whole = input_table(model)
    table = TrimmedEmbedding(whole.num_embeddings, kept_tokens, whole.embedding_dim)
    model.set_input_embeddings(table)
    return table


def trim(model: PreTrainedModel, kept: np.ndarray, unknown: int) -> None:
    """Removes the rows of all tokens that are not kept from the model's table.

    - `kept`: ids of the kept tokens, sorted; `unknown`, the id of the unknown token, is one of
      them.
    """
    whole_VE, tokens = input_table(model).weight.detach(), torch.from_numpy(kept)
    table = make_room(model, len(kept))
    table.place_V.fill_(int(np.searchsorted(kept, unknown)))
    table.place_V[tokens] = torch.arange(len(kept), dtype=torch.int32)
    table.weight.data.copy_(whole_VE[tokens])
    model.config.kept_tokens = len(kept)


def rows_of(table: nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    """Returns the table's row for each token id."""
    return table.place_V[ids] if isinstance(table, TrimmedEmbedding) else ids


def token_of_each_row(table: nn.Embedding) -> torch.Tensor:
    """Returns a token [R] for each row; for the unknown token's row, any token that has it."""
    rows = torch.arange(table.num_embeddings)
    if isinstance(table, TrimmedEmbedding):
        place_V = table.place_V.cpu().long()
        return rows.scatter(0, place_V, torch.arange(len(place_V)))
    return rows
