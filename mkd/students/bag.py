"""The fastest student: a mean of word embeddings, a feed-forward network, and a linear part.

The linear part gives a score for each class straight from words and n-grams. There is a head for
each task.

Axes: B rows, S texts of a row (1 or 2), L tokens, E embedding width, C classes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mkd.students.embeddings import make_room
from mkd.students.heads import Heads, ModelOutput
from mkd.students.words import Wide, WordModel, WordsConfig, compared
from mkd.tokenization.tokens import Inputs


class BagConfig(WordsConfig):
    """Sizes of a bag student.

    - `layers`: number of feed-forward layers, each `hidden` wide.
    """

    model_type = "mkd_wide_bag"

    def __init__(self, layers: int = 1, ngrams: int = 2, **kwargs: Any) -> None:
        self.layers = layers
        super().__init__(ngrams=ngrams, **kwargs)


class BagStudent(WordModel):
    """Bag of words with feed-forward layers (Iyyer et al. 2015) beside a linear model of n-grams.

    The layers are over what the words say of the texts (`compared`). The linear model is the wide
    part.
    """

    config_class = BagConfig
    config: BagConfig
    joined = False

    def __init__(self, config: BagConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding)
        if config.kept_tokens:
            make_room(self, config.kept_tokens)
        widths = [6 * config.embedding + 1] + config.layers * [config.hidden]
        self.layers = nn.ModuleList(nn.Linear(width, config.hidden) for width in widths[:-1])
        self.dropout = nn.Dropout(config.dropout)
        self.heads = Heads(config.hidden, config)
        self.wide = Wide(config, self.embeddings.num_embeddings)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialises random word embeddings with small values, as fastText does.

        Training then soon outweighs their random part. The wide part starts at 0: an n-gram that
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
        """Returns the widths of a ModelOutput's states: of the mean embedding and of each layer."""
        return [self.config.embedding, *self.config.layers * [self.config.hidden]]

    def forward(
        self, inputs: Inputs, task: str, states: bool = False
    ) -> torch.Tensor | ModelOutput:
        """Returns the logits [B, C] of a task's head, or a ModelOutput if `states` is true."""
        words_BSLE = self.embeddings(inputs.ids)
        mask_BSL = inputs.mask.to(words_BSLE.dtype)
        hidden, total_BSE = compared(words_BSLE, mask_BSL)
        after = []
        for layer in self.layers:
            hidden = F.relu(layer(self.dropout(hidden)))
            after.append(hidden)
        logits = self.with_wide(self.heads(hidden, task), inputs, task)
        return (
            ModelOutput(logits, [total_BSE.sum(1) / mask_BSL.sum((1, 2)).unsqueeze(1), *after])
            if states
            else logits
        )
