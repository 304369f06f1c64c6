"""Word embeddings: from another model's table at any width, and with rows for the tokens in use alone.

Axes: V the tokenizer's vocabulary, R rows of a table, E embedding width.
"""

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel


def project(table_VD: torch.Tensor, width: int) -> torch.Tensor:
    """The table in its `width` main directions [V, width]: the best linear approximation of that rank (PCA).

    Scaled so that an entry's standard deviation is 1 / sqrt(width) * the mean norm a row had, that is: rows keep
    their mean length. Raises ValueError where width exceeds the table's.
    """
    if width > table_VD.shape[1]:
        raise ValueError(
            f"student.embedding is {width}; allowed: at most {table_VD.shape[1]}, the width of the table it is taken from"
        )
    centred = table_VD.float() - table_VD.float().mean(0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    projected: torch.Tensor = centred @ vectors.flip(1)[:, :width]
    scale: torch.Tensor = centred.norm(dim=1).mean() / projected.norm(dim=1).mean()
    return projected * scale


class OfWords(PreTrainedModel):
    """A model with a table of word embeddings of its own."""

    embeddings: nn.Embedding

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        assert isinstance(value, nn.Embedding), "words have a table"
        self.embeddings = value


class TrimmedEmbedding(nn.Embedding):
    """A table of the kept tokens: place_V is each token's row, that of the unknown token for all that are not kept."""

    place_V: torch.Tensor

    def __init__(self, vocab_size: int, kept_tokens: int, width: int) -> None:
        super().__init__(kept_tokens, width)
        self.register_buffer("place_V", torch.zeros(vocab_size, dtype=torch.int32))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(self.place_V[ids])


def input_table(model: PreTrainedModel) -> nn.Embedding:
    """The model's table of word embeddings."""
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding), f"a {type(table).__name__} is no table of word embeddings"
    return table


def make_room(model: PreTrainedModel, kept_tokens: int) -> TrimmedEmbedding:
    """Puts an empty table of so many rows into the place of the model's, to be filled by a checkpoint or by `trim`."""
    whole = input_table(model)
    table = TrimmedEmbedding(whole.num_embeddings, kept_tokens, whole.embedding_dim)
    model.set_input_embeddings(table)
    return table


def trim(model: PreTrainedModel, kept: np.ndarray, unknown: int) -> None:
    """Leaves the model's table with the rows of the kept tokens alone; kept: their ids, sorted, `unknown` among them."""
    whole_VE, tokens = input_table(model).weight.detach(), torch.from_numpy(kept)
    table = make_room(model, len(kept))
    table.place_V.fill_(int(np.searchsorted(kept, unknown)))
    table.place_V[tokens] = torch.arange(len(kept), dtype=torch.int32)
    table.weight.data.copy_(whole_VE[tokens])
    model.config.kept_tokens = len(kept)


def rows_of(table: nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    """The row of the table that each token has."""
    return table.place_V[ids] if isinstance(table, TrimmedEmbedding) else ids


def token_of_each_row(table: nn.Embedding) -> torch.Tensor:
    """A token [R] of each row; of the unknown token's, any of those that share it."""
    rows = torch.arange(table.num_embeddings)
    if isinstance(table, TrimmedEmbedding):
        place_V = table.place_V.cpu().long()
        return rows.scatter(0, place_V, torch.arange(len(place_V)))
    return rows
