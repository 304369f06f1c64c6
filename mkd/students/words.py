"""What students with their own table of words share: comparing texts by words, and n-grams.

Axes: B rows, S texts of a row (1 or 2), L tokens, N n-grams, E embedding width, C classes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from mkd.runtime.bag import FACTORS, PRIME
from mkd.students.embeddings import rows_of
from mkd.students.heads import MultiTaskConfig
from mkd.tokenization.tokens import Inputs

WIDE_SCALE = 5.0
"""Factor on the scores of the wide part. Adam moves a weight by about the learning rate a step, and
most n-grams are in few steps; without the factor their scores stay too small to count."""


class WordsConfig(MultiTaskConfig):
    """Sizes that all students with their own table of words have.

    - `ngrams`, `buckets`: as in the student's settings.
    """

    def __init__(
        self,
        vocab_size: int = 1,
        embedding: int = 64,
        hidden: int = 64,
        ngrams: int = 0,
        buckets: int = 1,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.embedding = embedding
        self.hidden = hidden
        self.ngrams = ngrams
        self.buckets = buckets
        super().__init__(**kwargs)


class Wide(nn.Module):
    """Scores for each class of each single-text task, straight from words and hashed n-grams.

    A table has a row for each row of the words' table, then one for each bucket of n-grams. With
    n-grams of length 0 there are no tables.
    """

    def __init__(self, config: WordsConfig, words: int) -> None:
        super().__init__()
        self.names = sorted(
            name for name, head in config.tasks.items() if config.ngrams and not head["pair"]
        )
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
        total_BC = summed(table(rows_BN), inside_BN)
        return total_BC * WIDE_SCALE * inside_BN.sum(1, keepdim=True).rsqrt()


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


class WordModel(PreTrainedModel):
    """Base class of models with their own table of word embeddings, and a wide part.

    The wide part (Cheng et al. 2016), for tasks of a single text: each word and each n-gram has a
    score for each class. Their sum, divided by the root of their number, is added to the logits,
    times WIDE_SCALE.
    """

    config: WordsConfig
    embeddings: nn.Embedding
    wide: Wide

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the table of words; the wide part is reinitialised with as many rows."""
        assert isinstance(value, nn.Embedding), "words have a table"
        self.embeddings = value
        self.wide = Wide(self.config, value.num_embeddings)

    def with_wide(self, logits_BC: torch.Tensor, inputs: Inputs, task: str) -> torch.Tensor:
        """Returns the logits with the scores of a text's words and n-grams added."""
        # The wide part has rows of the trimmed table, not token ids: all tokens that are not kept
        # are the same unknown word.
        rows_BL = rows_of(self.embeddings, inputs.ids[:, 0])
        mask_BL = inputs.mask[:, 0].to(self.embeddings.weight.dtype)
        scored: torch.Tensor = self.wide(logits_BC, rows_BL, mask_BL, task)
        return scored


def compared(words_BSLE: torch.Tensor, mask_BSL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns what the words say of a row's texts [B, 6E + 1], and the sums of the words [B, S, E].

    A text is the mean of its word embeddings. Two texts u, v are compared by u, v, |u - v|, u * v
    (Conneau et al. 2017), their cosine, and the words of each that the other does not match
    (`unmatched`). A single text is compared with itself. So both kinds of task train the same
    network in the same ranges of values.
    """
    total_BSE = summed(words_BSLE.flatten(0, 1), mask_BSL.flatten(0, 1)).unflatten(
        0, words_BSLE.shape[:2]
    )
    mean_BSE = total_BSE / mask_BSL.sum(2, keepdim=True)
    # The last text of a single-text row is its first.
    u, v = mean_BSE[:, 0], mean_BSE[:, -1]
    cosine = F.cosine_similarity(u, v, dim=1).unsqueeze(1)
    if words_BSLE.shape[1] == 1 and not torch.compiler.is_exporting():
        # A text matches itself. An exported program has no branches, so it computes that.
        rest = [torch.zeros_like(u)] * 2
    else:
        rest = unmatched(*((words_BSLE[:, side], mask_BSL[:, side]) for side in (0, -1)))
    return torch.cat([u, v, (u - v).abs(), u * v, cosine, *rest], dim=1), total_BSE


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
        summed(words_BLE, (1 - match_BL) * mask_BL) / mask_BL.sum(1, keepdim=True)
        for (words_BLE, mask_BL), match_BL in zip((a, b), matches, strict=True)
    ]


def summed(x_BLE: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
    """Returns the sum over the tokens that the mask shows [B, E]."""
    # A matrix product needs one pass and no masked copy.
    return (mask_BL.unsqueeze(1) @ x_BLE).squeeze(1)
