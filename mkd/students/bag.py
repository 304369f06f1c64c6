"""The fastest student: mean embeddings of words and n-grams, then a feed-forward network.

N-grams are hashed. There is a head for each task.

Axes: B rows, S texts of a row (1 or 2), L tokens, E embedding width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mkd.students.embeddings import OfWords, make_room, rows_of
from mkd.students.heads import Answer, Heads, MultiTaskConfig
from mkd.tokenization.tokens import Inputs

PRIME = 2**31 - 1
"""Modulus of the hash. The product of two smaller numbers fits in 64 bits."""
GENERATOR = 48271
"""Base of the hash's factors: its powers modulo PRIME take all values from 1 to PRIME - 1 (Park,
Miller and Stockmeyer 1993)."""


class BagConfig(MultiTaskConfig):
    """Sizes of a bag student.

    - `layers`: number of feed-forward layers, each `hidden` wide.
    - `ngrams`, `buckets`: as in the student's settings.
    """

    model_type = "mkd_bag"

    def __init__(
        self,
        vocab_size: int = 1,
        embedding: int = 64,
        hidden: int = 64,
        layers: int = 1,
        ngrams: int = 2,
        buckets: int = 1,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.embedding = embedding
        self.hidden = hidden
        self.layers = layers
        self.ngrams = ngrams
        self.buckets = buckets
        super().__init__(**kwargs)


class BagStudent(OfWords):
    """Bag of words and n-grams (Joulin et al. 2017), then feed-forward layers (Iyyer et al. 2015).

    A text is the mean over its tokens; each token counts with its own embedding and those of the
    n-grams that begin with it. Two texts u, v are compared by u, v, |u - v|, u * v (Conneau et al.
    2017). A single text is compared with itself. So both kinds of task train the same network in
    the same ranges of values.
    """

    config_class = BagConfig
    config: BagConfig
    joined = False

    def __init__(self, config: BagConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding)
        if config.kept_tokens:
            make_room(self, config.kept_tokens)
        if config.ngrams > 1:
            self.ngrams = nn.Embedding(config.buckets, config.embedding)
        widths = [4 * config.embedding] + config.layers * [config.hidden]
        self.layers = nn.ModuleList(nn.Linear(width, config.hidden) for width in widths[:-1])
        self.dropout = nn.Dropout(config.dropout)
        self.heads = Heads(config.hidden, config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialises random word embeddings with small values, as fastText does.

        Training then soon outweighs their random part. N-gram embeddings start at 0: an n-gram that
        was never trained has no effect. The ReLU layers follow He et al. 2015.
        """
        if module is self.embeddings:
            nn.init.normal_(module.weight, std=0.03)
        elif isinstance(module, nn.Embedding):
            nn.init.zeros_(module.weight)
        elif isinstance(module, nn.Linear) and any(module is layer for layer in self.layers):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    @property
    def state_widths(self) -> list[int]:
        """Returns the widths of an Answer's states: of the mean embedding and of each layer."""
        return [self.config.embedding, *self.config.layers * [self.config.hidden]]

    def forward(self, inputs: Inputs, task: str, states: bool = False) -> torch.Tensor | Answer:
        """Returns the logits [B, C] of a task's head, or an Answer if `states` is true."""
        total_BSE = self._total(inputs.ids.flatten(0, 1), inputs.mask.flatten(0, 1)).unflatten(
            0, inputs.ids.shape[:2]
        )
        mean_BSE = total_BSE / inputs.mask.sum(2, keepdim=True)
        # The last text of a single-text row is its first.
        u, v = mean_BSE[:, 0], mean_BSE[:, -1]
        hidden = torch.cat([u, v, (u - v).abs(), u * v], dim=1)
        after = []
        for layer in self.layers:
            hidden = F.relu(layer(self.dropout(hidden)))
            after.append(hidden)
        logits: torch.Tensor = self.heads(hidden, task)
        return (
            Answer(logits, [total_BSE.sum(1) / inputs.mask.sum((1, 2)).unsqueeze(1), *after])
            if states
            else logits
        )

    def _total(self, ids_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        words_BLE = self.embeddings(ids_BL)
        mask_BL = mask_BL.to(words_BLE.dtype)
        total_BE = _sum(words_BLE, mask_BL)
        if self.config.ngrams > 1:
            # Hashes table rows, not token ids: all tokens that are not kept are the same unknown
            # word in n-grams.
            buckets, inside = hashed_ngrams(
                rows_of(self.embeddings, ids_BL), mask_BL, self.config.ngrams, self.config.buckets
            )
            total_BE = total_BE + _sum(self.ngrams(buckets), inside)
        return total_BE


def hashed_ngrams(
    words_BL: torch.Tensor, mask_BL: torch.Tensor, longest: int, buckets: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns buckets of the n-grams of 2 to `longest` words, and whether each ends in its text.

    Both are [B, (longest - 1) * L]; an n-gram is at the position of its first word. The bucket of
    words x_0, x_1, ... is (sum of a_k x_k mod PRIME) mod buckets, with fixed factors a_k (Carter
    and Wegman 1979, the multilinear hash).
    """
    length = words_BL.shape[1]
    words, mask = F.pad(words_BL.long(), (0, longest - 1)), F.pad(mask_BL, (0, longest - 1))
    total, totals = words[:, :length] * GENERATOR, []
    for ahead in range(1, longest):
        total = total + words[:, ahead : ahead + length] * pow(GENERATOR, ahead + 1, PRIME)
        totals.append(total)
    inside = [mask[:, ahead : ahead + length] for ahead in range(1, longest)]
    return torch.cat(totals, dim=1) % PRIME % buckets, torch.cat(inside, dim=1)


def _sum(x_BLE: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
    """Returns the sum over the tokens that the mask shows [B, E]."""
    # A matrix product needs one pass and no masked copy.
    return (mask_BL.unsqueeze(1) @ x_BLE).squeeze(1)
