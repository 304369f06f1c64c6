"""Rows of text as tokens: on disk, in a batch, and in a model's layout.

Axes: B rows of a batch, S texts of a row (1 or 2), L tokens.
"""

from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from mkd.runtime.layout import Arrays, Layout, Texts, padded
from mkd.selection.split import SplitStatistics
from mkd.tasks.label_sets import unpacked_sets
from mkd.tasks.metrics import GROUP_METRICS
from mkd.tasks.task import Kind


class TokenStore(NamedTuple):
    """A split's rows as tokens without special tokens.

    - `a`, `b`: the first texts and the second texts; `b` is None for single texts.
    - `labels`: float64, NaN for rows without a label. The precision matters: the labels of a
      regression may differ by much less than their size. For a multilabel task it is the number of
      a row's labels.
    - `parts`: the stores that this one consists of, if it was joined. Results for the rows are
      cached for each part.
    - `sets`: the labels of each row of a multilabel task, as `packed_sets` has them; else None.
    """

    a: Texts
    b: Texts | None
    labels: np.ndarray
    fingerprint: str
    parts: tuple["TokenStore", ...] = ()
    sets: np.ndarray | None = None


def labels_of(store: TokenStore, kind: Kind, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Returns the labels of rows as metrics take them: [R], or of a multilabel task 0 and 1 [R, C].

    A row of a multilabel task without a label has zeros.
    """
    if store.sets is None:
        return store.labels[rows]
    return unpacked_sets(store.sets[rows], len(kind.labels))


def groups_of(
    store: TokenStore, kind: Kind, rows: np.ndarray | slice = slice(None)
) -> np.ndarray | None:
    """Returns the number of each row's group [R]: rows with the same first text are one.

    None if no metric of the task asks for groups.
    """
    if not set(GROUP_METRICS) & set(kind.metrics):
        return None
    numbers: dict[bytes, int] = {}
    ids, offsets = store.a
    return np.array(
        [
            numbers.setdefault(ids[offsets[row] : offsets[row + 1]].tobytes(), len(numbers))
            for row in np.arange(len(store.labels))[rows]
        ],
        dtype=np.int64,
    )


def check_groups(datas: list["TaskData"]) -> None:
    """Raises ValueError if a task has a metric of groups, but no group with rows to rank."""
    for data in datas:
        rows_by_part: dict[str, tuple[TokenStore, np.ndarray | slice]] = {
            "dev": (data.dev[""], slice(None)),
            "selection": (data.train, data.selection_rows),
        }
        for part, (store, rows) in rows_by_part.items():
            groups_R, labels_R = groups_of(store, data.kind, rows), store.labels[rows]
            if groups_R is None:
                continue
            both = set(groups_R[labels_R == 1]) & set(groups_R[labels_R == 0])
            if not both:
                names = " and ".join(name for name in data.kind.metrics if name in GROUP_METRICS)
                raise ValueError(
                    f"{data.name}: the metrics {names} rank rows with the same first text; "
                    f"allowed: a task whose {part} rows have a group with both labels"
                )


class Inputs(NamedTuple):
    """A padded batch of token ids.

    - `ids`, `mask` [B, S, L]: S is 1 for single texts and for pairs joined into one sequence. The
      mask is True for tokens and False for padding.
    - `types` [B, L]: token types of joined sequences; None if the model takes none.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    types: torch.Tensor | None

    def to(self, device: torch.device) -> "Inputs":
        types = None if self.types is None else self.types.to(device)
        return Inputs(self.ids.to(device), self.mask.to(device), types)


def as_inputs(batch: Arrays) -> Inputs:
    """Returns the arrays as tensors on the CPU, without a copy."""
    types = None if batch.types is None else torch.from_numpy(batch.types)
    return Inputs(torch.from_numpy(batch.ids), torch.from_numpy(batch.mask), types)


class TaskData(NamedTuple):
    """A task that is ready for training: its token stores, its rows, and the scale of its labels.

    - `dev`: stores of the dev splits, by name.
    - `train_rows`, `selection_rows`: row numbers in the train store.
    - `mean`, `std`: of the training rows' labels for regression, else 0 and 1. A regression logit
      is (label - mean) / std.
    - `split_statistics`: those of the selection split; None if `selection_split` did not make it.
    """

    name: str
    kind: Kind
    train: TokenStore
    dev: dict[str, TokenStore]
    train_rows: np.ndarray
    selection_rows: np.ndarray
    mean: float
    std: float
    split_statistics: SplitStatistics | None = None


def labelled_rows(data: TaskData) -> np.ndarray:
    """Returns the training rows that have a label."""
    unlabelled = np.isnan(data.train.labels[data.train_rows])
    rows: np.ndarray = data.train_rows[~unlabelled]
    return rows


class ModelData(NamedTuple):
    """The data of one model: the tasks in its tokenizer's tokens, and its device."""

    tokenizer: PreTrainedTokenizerBase
    datas: list[TaskData]
    device: torch.device


def layout_of(tokenizer: PreTrainedTokenizerBase, joined: bool, max_length: int) -> Layout:
    """Returns the layout of a model with this tokenizer.

    - `joined`: whether the model takes a pair as one sequence with special tokens, or each text by
      itself.
    - `max_length`: maximum number of tokens in a sequence.

    The special tokens and token types are read from the tokenizer's own output. Raises ValueError
    if rows in this layout would differ from the tokenizer's output.
    """
    pad = tokenizer.pad_token_id or 0
    if not joined:
        return Layout(False, pad, max_length)
    a, b = _sample(tokenizer)
    pair, single = _template(tokenizer, a, b), _template(tokenizer, a)
    prefix, middle, suffix = pair.tokens
    before, after = single.tokens
    layout = Layout(
        True, pad, max_length, prefix, middle, suffix, any(pair.types + single.types),
        None if (before, after) == (prefix, suffix) else (before, after),
    )  # fmt: skip
    if layout.types:
        usual = (0,) * (len(prefix) + 1 + len(middle)) + (1,) * (1 + len(suffix))
        layout = layout._replace(
            pair_types=() if pair.types == usual else pair.types,
            single_types=single.types if any(single.types) else (),
        )
    _check(tokenizer, layout, a, b)
    return layout


class Template(NamedTuple):
    """The special tokens that a tokenizer adds.

    - `tokens`: those before the first text, between the texts, and after the last text.
    - `types`: the token type of each special token and of each text as a whole, from left to right.
    """

    tokens: tuple[tuple[int, ...], ...]
    types: tuple[int, ...]


def _sample(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """Returns two texts for which this tokenizer has tokens."""
    special = set(tokenizer.all_special_tokens)
    for text in chain(
        ("a", "b"), (token for token in tokenizer.get_vocab() if token not in special)
    ):
        if tokenizer(text, add_special_tokens=False)["input_ids"]:
            return text, f"{text} {text}"
    raise ValueError(
        f"the tokenizer {tokenizer.name_or_path!r} finds no token in any text; allowed: one that "
        "does"
    )


def _template(tokenizer: PreTrainedTokenizerBase, *texts: str) -> Template:
    """Returns the template that the tokenizer uses for one or two texts.

    Raises ValueError if the texts are not separate and in order in its output.
    """
    encoding = tokenizer(*texts)
    ids, sides = encoding["input_ids"], encoding.sequence_ids(0)
    types = encoding.get("token_type_ids", [0] * len(ids))
    spans = [
        [place for place, side in enumerate(sides) if side == text] for text in range(len(texts))
    ]
    # Boundaries between special tokens and texts. They ascend only if the texts are apart and in
    # order.
    ends = [0, *(end for span in spans if span for end in (span[0], span[-1] + 1)), len(ids)]
    if not all(spans) or ends != sorted(ends):
        raise ValueError(_cannot(tokenizer))
    tokens = tuple(tuple(ids[start:end]) for start, end in zip(ends[::2], ends[1::2], strict=True))
    first_of_text = {span[0] for span in spans}
    return Template(
        tokens,
        tuple(
            kind
            for place, kind in enumerate(types)
            if sides[place] is None or place in first_of_text
        ),
    )


def _check(tokenizer: PreTrainedTokenizerBase, layout: Layout, a: str, b: str) -> None:
    """Raises ValueError if rows in this layout differ from the tokenizer's output."""
    for texts in ((a,), (b,), (a, b), (b, a)):
        encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        sides = [Texts(np.array(ids, dtype="<i4"), np.array([0, len(ids)])) for ids in encoded]
        store = TokenStore(sides[0], sides[1] if len(sides) == 2 else None, np.full(1, np.nan), "")
        inputs = padded(store, np.array([0]), layout._replace(max_length=len(encoded) * 64 + 64))
        expected = tokenizer(*texts)
        same = inputs.ids[0, 0].tolist() == expected["input_ids"]
        if inputs.types is not None and "token_type_ids" in expected:
            same &= inputs.types[0].tolist() == expected["token_type_ids"]
        if not same:
            raise ValueError(_cannot(tokenizer))


def _cannot(tokenizer: PreTrainedTokenizerBase) -> str:
    return (
        f"the tokenizer {tokenizer.name_or_path!r} combines two texts in an unsupported way; "
        "allowed: each text once, in order, with special tokens before, between and after them"
    )
