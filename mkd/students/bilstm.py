"""The LSTM student of the paper: a biattentive classification network (McCann et al. 2017).

It has a head for each task.

Axes: B rows, S texts of a row (1 or 2), L tokens, E embedding width, H units per direction, D = 2H.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mkd.students.embeddings import make_room
from mkd.students.heads import Heads, ModelOutput, token_mean
from mkd.students.words import Wide, WordModel, WordsConfig, compared
from mkd.tokenization.tokens import Inputs


class BiLstmConfig(WordsConfig):
    """Sizes of a BiLSTM student. `attention` and `words` are as in the student's settings."""

    model_type = "mkd_bilstm"

    def __init__(self, attention: bool = True, words: bool = False, **kwargs: Any) -> None:
        self.attention = attention
        self.words = words
        super().__init__(**kwargs)


class BiLstm(nn.Module):
    """A bidirectional LSTM on whose output padding has no effect.

    The backward LSTM reads each sequence reversed in place, so that the padding stays at the end.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(width, hidden, batch_first=True)
        self.back = nn.LSTM(width, hidden, batch_first=True)

    def forward(self, x_BLE: torch.Tensor, turn_BL: torch.Tensor) -> torch.Tensor:
        """Maps [B, L, E] to [B, L, 2H].

        - `turn_BL`: for each position, its position in the reversed sequence.
        """
        ahead, _ = self.ahead(x_BLE)
        back, _ = self.back(take(x_BLE, turn_BL))
        return torch.cat([ahead, take(back, turn_BL)], dim=2)


class Maxout(nn.Module):
    """The larger of two linear maps, elementwise (Goodfellow et al. 2013)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2 * out)

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        larger: torch.Tensor = self.linear(x_BD).unflatten(1, (2, -1)).amax(1)
        return larger


class BiLstmStudent(WordModel):
    """A biattentive LSTM network with a head for each task (Liu et al. 2019, section 3.2).

    Its layers are: embeddings, a ReLU layer, a BiLSTM, biattention, an integrating BiLSTM, four
    poolings, two maxout layers, and the heads. The texts of a pair attend to each other; a single
    text attends to itself.

    Without attention it is the BiLSTM-max of Conneau et al. 2017: one BiLSTM with max pooling. Two
    texts u, v are compared by u, v, |u - v|, u * v; a single text is compared with itself.

    With `words` the first maxout layer also gets what a bag's first layer gets (`compared`). With
    `ngrams` there is a wide part (`WordModel`).
    """

    config_class = BiLstmConfig
    config: BiLstmConfig
    joined = False

    def __init__(self, config: BiLstmConfig) -> None:
        super().__init__(config)
        width = 2 * config.hidden
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding)
        if config.kept_tokens:
            make_room(self, config.kept_tokens)
        self.feed_forward = nn.Linear(config.embedding, config.embedding)
        self.encoder = BiLstm(config.embedding, config.hidden)
        if config.attention:
            self.integrator = BiLstm(3 * width, config.hidden)
            self.attention = nn.Linear(width, 1)
        pooled = (8 if config.attention else 4) * width
        if config.words:
            pooled += 6 * config.embedding + 1
        self.maxouts = nn.ModuleList([Maxout(pooled, width), Maxout(width, width)])
        self.dropout = nn.Dropout(config.dropout)
        self.heads = Heads(width, config)
        self.wide = Wide(config, self.embeddings.num_embeddings)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialises weights so that signals keep their scale from layer to layer.

        With torch's own LSTM weights they nearly vanish. Embeddings are normal with a standard
        deviation of 1. The ReLU layer follows He et al. 2015. The input weights of an LSTM follow
        Glorot and Bengio 2010; its recurrent weights are orthogonal, and its forget gate is open
        (bias 1). All other weights keep torch's initialisation.
        """
        if module is self.embeddings:
            nn.init.normal_(module.weight)
        elif module is self.feed_forward:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.LSTM):
            from_input, recurrent, bias, bias_twice = module.parameters()
            for gate in range(4):
                rows = slice(gate * module.hidden_size, (gate + 1) * module.hidden_size)
                nn.init.xavier_uniform_(from_input.data[rows])
                nn.init.orthogonal_(recurrent.data[rows])
                # torch's gates are input, forget, cell, output.
                nn.init.constant_(bias.data[rows], float(gate == 1))
            nn.init.zeros_(bias_twice)

    @property
    def state_widths(self) -> list[int]:
        """Returns the widths of a ModelOutput's states: of the embeddings and of each BiLSTM."""
        return [
            self.config.embedding,
            *(2 if self.config.attention else 1) * [2 * self.config.hidden],
        ]

    def forward(
        self, inputs: Inputs, task: str, states: bool = False
    ) -> torch.Tensor | ModelOutput:
        """Returns the logits [B, C] of a task's head, or a ModelOutput if `states` is true."""
        texts = inputs.ids.shape[1]
        words_BSLE = self.embeddings(inputs.ids)
        words = words_BSLE.flatten(0, 1)
        mask = inputs.mask.flatten(0, 1)
        turn = reversal(mask)
        x = self.dropout(F.relu(self.feed_forward(self.dropout(words))))
        layers = [self.encoder(x, turn)]
        if self.config.attention:
            layers.append(self._integrate(layers[0], mask, turn, texts))
            pooled = self._pool(layers[1], mask).unflatten(0, (-1, texts))
            # The last text of a single-text row is its first: it is then its own partner.
            hidden = torch.cat([pooled[:, 0], pooled[:, -1]], dim=1)
        else:
            largest = _largest(layers[0], mask).unflatten(0, (-1, texts))
            u, v = largest[:, 0], largest[:, -1]
            hidden = torch.cat([u, v, (u - v).abs(), u * v], dim=1)
        if self.config.words:
            features, _ = compared(words_BSLE, inputs.mask.to(words_BSLE.dtype))
            hidden = torch.cat([hidden, features], dim=1)
        for maxout in self.maxouts:
            hidden = maxout(self.dropout(hidden))
        logits = self.with_wide(self.heads(hidden, task), inputs, task)
        return (
            ModelOutput(logits, [_row_mean(x, mask, texts) for x in (words, *layers)])
            if states
            else logits
        )

    def _integrate(
        self, encoded_BLD: torch.Tensor, mask_BL: torch.Tensor, turn_BL: torch.Tensor, texts: int
    ) -> torch.Tensor:
        """Returns the output of the integrating BiLSTM [B, L, D].

        Its input is each text with its attention to the partner: the other text of a pair, or a
        single text itself.
        """
        # Texts of a row are adjacent in the batch. Flipping axis S swaps a pair and keeps a single
        # text.
        partner, partners_mask = (
            tensor.unflatten(0, (-1, texts)).flip(1).flatten(0, 1)
            for tensor in (encoded_BLD, mask_BL)
        )
        context = attend(encoded_BLD, partner, partners_mask)
        compared = torch.cat([encoded_BLD, encoded_BLD - context, encoded_BLD * context], dim=2)
        integrated: torch.Tensor = self.integrator(self.dropout(compared), turn_BL)
        return integrated

    def _pool(self, x_BLD: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        """Returns max, mean, min and self-attentive pooling over the tokens [B, 4D]."""
        padding = ~mask_BL.bool().unsqueeze(2)
        largest = torch.finfo(x_BLD.dtype).max
        weights = self.attention(x_BLD).masked_fill(padding, -largest).softmax(1)
        mean = x_BLD.masked_fill(padding, 0).sum(1) / mask_BL.sum(1, keepdim=True)
        smallest = x_BLD.masked_fill(padding, largest).amin(1)
        return torch.cat(
            [_largest(x_BLD, mask_BL), mean, smallest, (weights * x_BLD).sum(1)], dim=1
        )


def _largest(x_BLD: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
    """Returns the maximum over the tokens [B, D]."""
    return x_BLD.masked_fill(~mask_BL.bool().unsqueeze(2), -torch.finfo(x_BLD.dtype).max).amax(1)


def _row_mean(x_BLD: torch.Tensor, mask_BL: torch.Tensor, texts: int) -> torch.Tensor:
    """Returns the mean over the tokens of all texts of a row [B / texts, D]."""
    return token_mean(
        x_BLD.unflatten(0, (-1, texts)).flatten(1, 2),
        mask_BL.unflatten(0, (-1, texts)).flatten(1, 2),
    )


def reversal(mask_BL: torch.Tensor) -> torch.Tensor:
    """Returns positions [B, L] that reverse each sequence and leave its padding in place."""
    place = torch.arange(mask_BL.shape[1], device=mask_BL.device).unsqueeze(0)
    back = mask_BL.sum(1, keepdim=True) - 1 - place
    return torch.where(back >= 0, back, place)


def take(x_BLD: torch.Tensor, places_BL: torch.Tensor) -> torch.Tensor:
    """Returns each sequence's tokens at the given positions."""
    # index_select copies whole rows. gather works elementwise and takes 5 times as long.
    starts_B = torch.arange(0, places_BL.numel(), places_BL.shape[1], device=places_BL.device)
    return (
        x_BLD.flatten(0, 1)
        .index_select(0, (starts_B.unsqueeze(1) + places_BL).flatten())
        .view_as(x_BLD)
    )


def attend(
    x_BLD: torch.Tensor, other_BMD: torch.Tensor, other_mask_BM: torch.Tensor
) -> torch.Tensor:
    """Returns for each token of x a mean of the other text's tokens [B, L, D].

    The weights are the softmax of the dot products.
    """
    scores = x_BLD @ other_BMD.transpose(1, 2)
    scores = scores.masked_fill(~other_mask_BM.bool().unsqueeze(1), torch.finfo(scores.dtype).min)
    return scores.softmax(2) @ other_BMD
