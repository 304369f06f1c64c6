"""The fastest student: a mean of word embeddings, a feed-forward network, and a linear part.

The linear part gives a score for each class straight from words and n-grams. There is a head for
each task.

Axes: B rows, S texts of a row (1 or 2), L tokens, N n-grams, E embedding width, C classes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mkd.runtime.bag import FACTORS, PRIME
from mkd.students.embeddings import OfWords, make_room, rows_of
from mkd.students.heads import Heads, ModelOutput, MultiTaskConfig
from mkd.tokenization.tokens import Inputs

WIDE_SCALE = 5.0
"""Factor on the scores of the wide part. Adam moves a weight by about the learning rate a step, and
most n-grams are in few steps; without the factor their scores stay too small to count."""


class BagConfig(MultiTaskConfig):
    """Sizes of a bag student.

    - `layers`: number of feed-forward layers, each `hidden` wide.
    - `ngrams`, `buckets`: as in the student's settings.
    """

    model_type = "mkd_wide_bag"

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
    """Bag of words with feed-forward layers (Iyyer et al. 2015) beside a linear model of n-grams.

    The deep part: a text is the mean of its word embeddings. Two texts u, v are compared by u, v,
    |u - v|, u * v (Conneau et al. 2017), their cosine, and the words of each that the other does
    not match (`unmatched`). A single text is compared with itself. So both kinds of task train the
    same network in the same ranges of values.

    The wide part (Cheng et al. 2016), for tasks of a single text: each word and each n-gram has a
    score for each class. Their sum, divided by the root of their number, is added to the logits,
    times WIDE_SCALE.
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

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the table of words; the wide part is reinitialised with as many rows."""
        super().set_input_embeddings(value)
        self.wide = Wide(self.config, self.embeddings.num_embeddings)

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
        total_BSE = _sum(words_BSLE.flatten(0, 1), mask_BSL.flatten(0, 1)).unflatten(
            0, inputs.ids.shape[:2]
        )
        mean_BSE = total_BSE / mask_BSL.sum(2, keepdim=True)
        # The last text of a single-text row is its first.
        u, v = mean_BSE[:, 0], mean_BSE[:, -1]
        cosine = F.cosine_similarity(u, v, dim=1).unsqueeze(1)
        if inputs.ids.shape[1] == 1 and not torch.compiler.is_exporting():
            # A text matches itself. An exported program has no branches, so it computes that.
            rest = [torch.zeros_like(u)] * 2
        else:
            rest = unmatched(*((words_BSLE[:, side], mask_BSL[:, side]) for side in (0, -1)))
        hidden = torch.cat([u, v, (u - v).abs(), u * v, cosine, *rest], dim=1)
        after = []
        for layer in self.layers:
            hidden = F.relu(layer(self.dropout(hidden)))
            after.append(hidden)
        logits: torch.Tensor = self.heads(hidden, task)
        # The wide part has rows of the trimmed table, not token ids: all tokens that are not kept
        # are the same unknown word.
        rows_BL = rows_of(self.embeddings, inputs.ids[:, 0])
        logits = self.wide(logits, rows_BL, mask_BSL[:, 0], task)
        return (
            ModelOutput(logits, [total_BSE.sum(1) / mask_BSL.sum((1, 2)).unsqueeze(1), *after])
            if states
            else logits
        )


def unmatched(
    a: tuple[torch.Tensor, torch.Tensor], b: tuple[torch.Tensor, torch.Tensor]
) -> list[torch.Tensor]:
    """Returns for each of two texts the mean of its words, weighted by 1 - match [B, E].

    A word's match is its largest cosine with a word of the other text (as in BERTScore, Zhang et
    al. 2020). If both texts are the same, all matches are 1.

    - `a`, `b`: the words' embeddings [B, L, E] and mask [B, L].
    """
    unit_a, unit_b = (F.normalize(words, dim=2) for words, _ in (a, b))
    cosine_BAB = unit_a @ unit_b.transpose(1, 2)
    matches = [
        cosine_BAB.masked_fill(b[1].unsqueeze(1) == 0, -1).amax(2),
        cosine_BAB.masked_fill(a[1].unsqueeze(2) == 0, -1).amax(1),
    ]
    return [
        _sum(words_BLE, (1 - match_BL) * mask_BL) / mask_BL.sum(1, keepdim=True)
        for (words_BLE, mask_BL), match_BL in zip((a, b), matches, strict=True)
    ]


class Wide(nn.Module):
    """Scores for each class of each single-text task, straight from words and hashed n-grams.

    A table has a row for each row of the words' table, then one for each bucket of n-grams.
    """

    def __init__(self, config: BagConfig, words: int) -> None:
        super().__init__()
        self.names = sorted(name for name, head in config.tasks.items() if not head["pair"])
        self.words = words
        self.ngrams = config.ngrams
        self.buckets = config.buckets if config.ngrams > 1 else 0
        classes = [len(config.tasks[name]["labels"]) or 1 for name in self.names]
        self.tables = nn.ModuleList(nn.Embedding(words + self.buckets, c) for c in classes)
        for name in self.names:
            nn.init.zeros_(self.table(name).weight)

    def forward(
        self, logits_BC: torch.Tensor, words_BL: torch.Tensor, mask_BL: torch.Tensor, task: str
    ) -> torch.Tensor:
        """Returns the logits with the scores of a text's words and n-grams added."""
        if task not in self.names:
            return logits_BC
        rows_BN, inside_BN = self.rows(words_BL, mask_BL)
        return logits_BC + self.scores(self.table(task), rows_BN, inside_BN)

    def table(self, task: str) -> nn.Embedding:
        """Returns the scores of a single-text task."""
        table = self.tables[self.names.index(task)]
        assert isinstance(table, nn.Embedding), "all of them are"
        return table

    def rows(
        self, words_BL: torch.Tensor, mask_BL: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the tables' rows of a text's words and n-grams, and 1 where there is one."""
        if self.ngrams == 1:
            return words_BL, mask_BL
        buckets, inside = hashed_ngrams(words_BL, mask_BL, self.ngrams, self.buckets)
        rows = torch.cat([words_BL, self.words + buckets], dim=1)
        return rows, torch.cat([mask_BL, inside], dim=1)

    @staticmethod
    def scores(table: nn.Module, rows_BN: torch.Tensor, inside_BN: torch.Tensor) -> torch.Tensor:
        """Returns the rows' summed scores / sqrt(number of rows), times WIDE_SCALE [B, C]."""
        return _sum(table(rows_BN), inside_BN) * WIDE_SCALE * inside_BN.sum(1, keepdim=True).rsqrt()


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
    total, totals = words[:, :length] * FACTORS[0], []
    for ahead in range(1, longest):
        total = total + words[:, ahead : ahead + length] * FACTORS[ahead]
        totals.append(total)
    inside = [mask[:, ahead : ahead + length] for ahead in range(1, longest)]
    return torch.cat(totals, dim=1) % PRIME % buckets, torch.cat(inside, dim=1)


def _sum(x_BLE: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
    """Returns the sum over the tokens that the mask shows [B, E]."""
    # A matrix product needs one pass and no masked copy.
    return (mask_BL.unsqueeze(1) @ x_BLE).squeeze(1)
