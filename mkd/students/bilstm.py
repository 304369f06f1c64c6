"""The paper's LSTM student: a biattentive classification network (McCann et al. 2017) with a head a task.

Axes: B rows, S texts of a row (1 or 2), L tokens, E embedding width, H units a direction, D = 2H.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mkd.students.embeddings import OfWords, make_room
from mkd.students.heads import Answer, Heads, MultiTaskConfig, token_mean
from mkd.tokenization.tokens import Inputs


class BiLstmConfig(MultiTaskConfig):
    """Sizes of a BiLSTM student. attention: as in the settings."""

    model_type = "mkd_bilstm"

    def __init__(
        self, vocab_size: int = 1, embedding: int = 128, hidden: int = 128, attention: bool = True, **kwargs: Any
    ) -> None:
        self.vocab_size = vocab_size
        self.embedding = embedding
        self.hidden = hidden
        self.attention = attention
        super().__init__(**kwargs)


class BiLstm(nn.Module):
    """A bidirectional LSTM that padding cannot reach: the second direction reads each sequence turned round in place."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(width, hidden, batch_first=True)
        self.back = nn.LSTM(width, hidden, batch_first=True)

    def forward(self, x_BLE: torch.Tensor, turn_BL: torch.Tensor) -> torch.Tensor:
        """[B, L, E] -> [B, L, 2H]. turn_BL: for each place of a sequence, the place it has when read backwards."""
        ahead, _ = self.ahead(x_BLE)
        back, _ = self.back(take(x_BLE, turn_BL))
        return torch.cat([ahead, take(back, turn_BL)], dim=2)


class Maxout(nn.Module):
    """The larger of two linear maps, entry by entry (Goodfellow et al. 2013)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2 * out)

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        larger: torch.Tensor = self.linear(x_BD).unflatten(1, (2, -1)).amax(1)
        return larger


class BiLstmStudent(OfWords):
    """Embeddings, ReLU layer, BiLSTM, biattention, integrating BiLSTM, four poolings, maxout layers, a head a task.

    The two texts of a pair attend to each other; a single text attends to itself (Liu et al. 2019, section 3.2).

    Without attention it is the BiLSTM-max of Conneau et al. 2017: the first BiLSTM alone, pooled by its largest values, and two
    texts compared by u, v, |u - v|, u * v, a single one with itself.
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
        self.maxouts = nn.ModuleList([Maxout((8 if config.attention else 4) * width, width), Maxout(width, width)])
        self.dropout = nn.Dropout(config.dropout)
        self.heads = Heads(width, config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keeps signals at their size from layer to layer: torch's own start for an LSTM lets them all but vanish.

        Embeddings normal with sd 1; the ReLU layer by He et al. 2015; an LSTM's input weights by Glorot and Bengio 2010,
        its recurrent ones orthogonal, its forget gate open (bias 1). All else is left as torch makes it.
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
                nn.init.constant_(bias.data[rows], float(gate == 1))
            nn.init.zeros_(bias_twice)

    @property
    def state_widths(self) -> list[int]:
        """Widths of an Answer's states: of the words and of each BiLSTM."""
        return [self.config.embedding, *(2 if self.config.attention else 1) * [2 * self.config.hidden]]

    def forward(self, inputs: Inputs, task: str, states: bool = False) -> torch.Tensor | Answer:
        """Logits [B, C] of a task's head; with `states` an Answer."""
        texts = inputs.ids.shape[1]
        words = self.embeddings(inputs.ids).flatten(0, 1)
        mask = inputs.mask.flatten(0, 1)
        turn = _turn(mask)
        x = self.dropout(F.relu(self.feed_forward(self.dropout(words))))
        layers = [self.encoder(x, turn)]
        if self.config.attention:
            layers.append(self._integrate(layers[0], mask, turn, texts))
            pooled = self._pool(layers[1], mask).unflatten(0, (-1, texts))
            hidden = torch.cat([pooled[:, 0], pooled[:, -1]], dim=1)
        else:
            largest = _largest(layers[0], mask).unflatten(0, (-1, texts))
            u, v = largest[:, 0], largest[:, -1]
            hidden = torch.cat([u, v, (u - v).abs(), u * v], dim=1)
        for maxout in self.maxouts:
            hidden = maxout(self.dropout(hidden))
        logits: torch.Tensor = self.heads(hidden, task)
        return Answer(logits, [_row_mean(x, mask, texts) for x in (words, *layers)]) if states else logits

    def _integrate(self, encoded_BLD: torch.Tensor, mask_BL: torch.Tensor, turn_BL: torch.Tensor, texts: int) -> torch.Tensor:
        """What the integrating BiLSTM makes of the encoded texts and of what they see in their partners [B, L, D].

        A row's texts lie side by side: the partner of one is the other, or, of a single text, itself.
        """
        partner, partners_mask = (tensor.unflatten(0, (-1, texts)).flip(1).flatten(0, 1) for tensor in (encoded_BLD, mask_BL))
        context = _attend(encoded_BLD, partner, partners_mask)
        compared = torch.cat([encoded_BLD, encoded_BLD - context, encoded_BLD * context], dim=2)
        integrated: torch.Tensor = self.integrator(self.dropout(compared), turn_BL)
        return integrated

    def _pool(self, x_BLD: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        """Max, mean, min and self-attentive pooling over the tokens, side by side [B, 4D]."""
        padding = ~mask_BL.bool().unsqueeze(2)
        largest = torch.finfo(x_BLD.dtype).max
        weights = self.attention(x_BLD).masked_fill(padding, -largest).softmax(1)
        mean = x_BLD.masked_fill(padding, 0).sum(1) / mask_BL.sum(1, keepdim=True)
        smallest = x_BLD.masked_fill(padding, largest).amin(1)
        return torch.cat([_largest(x_BLD, mask_BL), mean, smallest, (weights * x_BLD).sum(1)], dim=1)


def _largest(x_BLD: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
    """Each dimension's largest value over the tokens [B, D]."""
    return x_BLD.masked_fill(~mask_BL.bool().unsqueeze(2), -torch.finfo(x_BLD.dtype).max).amax(1)


def _row_mean(x_BLD: torch.Tensor, mask_BL: torch.Tensor, texts: int) -> torch.Tensor:
    """The mean over the tokens of all texts of a row, of which B is a multiple [B / texts, D]."""
    return token_mean(x_BLD.unflatten(0, (-1, texts)).flatten(1, 2), mask_BL.unflatten(0, (-1, texts)).flatten(1, 2))


def _turn(mask_BL: torch.Tensor) -> torch.Tensor:
    """Places that turn each sequence round and leave its padding where it is."""
    place = torch.arange(mask_BL.shape[1], device=mask_BL.device).unsqueeze(0)
    back = mask_BL.sum(1, keepdim=True) - 1 - place
    return torch.where(back >= 0, back, place)


def take(x_BLD: torch.Tensor, places_BL: torch.Tensor) -> torch.Tensor:
    """Each sequence's tokens at these places. Copies rows whole: `gather` takes 5 times as long, entry by entry."""
    starts_B = torch.arange(0, places_BL.numel(), places_BL.shape[1], device=places_BL.device)
    return x_BLD.flatten(0, 1).index_select(0, (starts_B.unsqueeze(1) + places_BL).flatten()).view_as(x_BLD)


def _attend(x_BLD: torch.Tensor, other_BMD: torch.Tensor, other_mask_BM: torch.Tensor) -> torch.Tensor:
    """For each token of x a mean of the other's tokens, weighted by the softmax of their products [B, L, D]."""
    scores = x_BLD @ other_BMD.transpose(1, 2)
    scores = scores.masked_fill(~other_mask_BM.bool().unsqueeze(1), torch.finfo(scores.dtype).min)
    return scores.softmax(2) @ other_BMD
