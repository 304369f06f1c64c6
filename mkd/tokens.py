"""Rows of text as tokens: on disk, in a batch, and as a model wants them laid out.

Axes: B rows of a batch, S texts of a row (1 or 2), L tokens.
"""

from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from mkd.layout import Layout, Texts
from mkd.tasks import Kind


class TokenStore(NamedTuple):
    """A split's rows as tokens without special ones; labels float32, NaN where there is none.

    parts: of stores that were put one after another, those; what is computed of rows is computed and kept for each part.
    """

    a: Texts
    b: Texts | None
    labels: np.ndarray
    fingerprint: str
    parts: tuple["TokenStore", ...] = ()


class Mix(NamedTuple):
    """How the rows of a batch are mixed: with `share` of themselves, from 0.5 to 1, and the rest of another row.

    partner_B: the other row of each. own_BSL: the mask of each row's own tokens.
    """

    share: float
    partner_B: torch.Tensor
    own_BSL: torch.Tensor

    def of(self, x_B: torch.Tensor) -> torch.Tensor:
        """share * x_i + (1 - share) * x_partner(i)."""
        return self.share * x_B + (1 - self.share) * x_B[self.partner_B]

    def of_embeddings(self, x_BSLE: torch.Tensor) -> torch.Tensor:
        """The same of word embeddings, where a row's padding counts as zeros."""
        return self.of(x_BSLE * self.own_BSL.unsqueeze(3).to(x_BSLE.dtype))


class Inputs(NamedTuple):
    """A batch of token ids with what tells text from padding.

    ids, mask [B, S, L]: S is 1 for single texts and for pairs joined into one sequence. types [B, L] of joined
    sequences, 0 in the first text and 1 in the second; None where the model has no such embedding.
    mix: where rows are mixed, how; the mask is then that of either row, the types are the row's own.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    types: torch.Tensor | None
    mix: Mix | None = None

    def to(self, device: torch.device) -> "Inputs":
        types = None if self.types is None else self.types.to(device)
        mix = self.mix and self.mix._replace(partner_B=self.mix.partner_B.to(device), own_BSL=self.mix.own_BSL.to(device))
        return Inputs(self.ids.to(device), self.mask.to(device), types, mix)


class Found(NamedTuple):
    """What the labelled training rows of a task are like where they are split into those to learn from and to select by.

    version: how they are split. groups, largest: of rows that overlap, their number and the largest one's rows. share: percent
    of the rows that overlap with another. together: what is on one side. selected_groups: those that have selected rows.
    left_out: rows on neither side.
    """

    version: str
    groups: int
    largest: int
    share: float
    together: str
    selected_groups: int = 0
    left_out: int = 0


class TaskData(NamedTuple):
    """A task ready to learn from: its stores, which training rows are for what, and the scale of its labels.

    mean, std: of the labels that are learnt from, for regression; a model's logit is (label - mean) / std.
    found: of the rows, where they were split by groups.
    """

    name: str
    kind: Kind
    train: TokenStore
    dev: dict[str, TokenStore]
    train_rows: np.ndarray
    selection_rows: np.ndarray
    mean: float
    std: float
    found: Found | None = None


def layout_of(tokenizer: PreTrainedTokenizerBase, joined: bool, max_length: int) -> Layout:
    """The layout for a model that takes pairs `joined` by this tokenizer's special tokens, or one by one."""
    pad = tokenizer.pad_token_id or 0
    if not joined:
        return Layout(False, pad, max_length)
    pair = tokenizer("a", "b")
    sides = pair.sequence_ids(0)
    first, second = [i for i, side in enumerate(sides) if side == 0], [i for i, side in enumerate(sides) if side == 1]
    ids = pair["input_ids"]
    types = 1 in pair.get("token_type_ids", [])
    return Layout(
        True, pad, max_length, tuple(ids[: first[0]]), tuple(ids[first[-1] + 1 : second[0]]), tuple(ids[second[-1] + 1 :]), types
    )
