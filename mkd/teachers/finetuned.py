"""A teacher of one task that was fine-tuned elsewhere: any sequence classifier, with its own tokenizer and label order.

Axes: B rows of a batch, C classes (1 for regression).
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from mkd.config import Stores
from mkd.result import Report, silent
from mkd.runtime.layout import Layout
from mkd.storage import pretrained
from mkd.storage.store import key_of
from mkd.students.heads import Answer, MultiTaskConfig, head_configs, on, token_mean
from mkd.tasks.files import listed
from mkd.tasks.metrics import NotFinite
from mkd.tasks.task import Kind, Task
from mkd.teachers.labeller import Reader, splits, standardised, stored_logits
from mkd.tokenization.tokenise import task_data
from mkd.tokenization.tokens import Inputs, TaskData, layout_of


class Classifier(nn.Module):
    """A sequence classifier that is called as a student is, and answers in the order of the task's labels."""

    joined = True

    def __init__(self, model: PreTrainedModel, order: list[int], data: TaskData, max_tokens: int) -> None:
        super().__init__()
        self.model = model
        self.order = order
        self.config = MultiTaskConfig(tasks=head_configs([data]), max_tokens=max_tokens)
        # The segment of a pair's token is for models that have an embedding for the second one.
        self.typed = getattr(model.config, "type_vocab_size", 0) > 1

    def forward(self, inputs: Inputs, task: str, states: bool = False) -> torch.Tensor | Answer:
        """Logits [B, C]; regression: scores in the task's own units. With `states` an Answer."""
        types = {"token_type_ids": inputs.types} if self.typed and inputs.types is not None else {}
        mask_BL, asked = inputs.mask[:, 0], {"output_hidden_states": True} if states else {}
        found = self.model(input_ids=inputs.ids[:, 0], attention_mask=mask_BL, **types, **asked)
        logits_BC: torch.Tensor = found.logits[:, self.order]
        return Answer(logits_BC, [token_mean(state, mask_BL) for state in found.hidden_states]) if states else logits_BC


class FineTuned(NamedTuple):
    """A checkpoint as the Labeller of one task; its weights are read when they are needed.

    name: its model and size. order: which of its outputs is the task's first, second, ... class.
    data: the task by its own tokenizer.
    """

    name: str
    key: str
    folder: Path
    setting: str
    order: list[int]
    data: TaskData
    layout: Layout
    root: Path
    precision: str
    device: torch.device

    def model(self) -> Classifier:
        """The model, on the device. Raises ValueError where the weights do not hold all of a classifier."""
        model = pretrained.load_classifier(self.folder, self.setting)
        # A decoder finds the last token of a text by what padding is.
        model.config.pad_token_id = self.layout.pad
        return on(Classifier(model, self.order, self.data, self.layout.max_length), self.device).eval()

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that came with it."""
        return pretrained.load_tokenizer(self.folder, self.setting)

    def logits(self, split: str, report: Report = silent) -> np.ndarray:
        """As Labeller.logits; computed once."""
        store = splits(self.data)[split]
        by = {"classifier": self.key, "layout": list(self.layout)}
        reader = Reader(cache(self.model), self.layout, self.precision, self.data.name, len(self.order))
        try:
            return standardised(stored_logits(self.root, by, reader, store, report), self.data)
        except NotFinite as error:
            raise NotFinite(f"{self.setting}: {self.folder}: {error}") from None


def fine_tuned(precision: str, stores: Stores, task: Task, checkpoint: str, device: torch.device) -> FineTuned:
    """The task's teacher from a folder or a hub name; precision: of its matrix products.

    Raises ValueError where its labels are not the task's, or where it has no tokenizer or no room for the longest text.
    """
    setting = f"teacher.sources.{task.name}"
    folder = pretrained.resolve(checkpoint, setting)
    theirs = pretrained.load_config(folder, setting)
    order = label_order(theirs, task.kind, f"{setting} is {checkpoint!r}")
    tokenizer = pretrained.load_tokenizer(folder, setting)
    if tokenizer.pad_token_id is None:
        raise ValueError(f"{setting} is {checkpoint!r}: its tokenizer has no padding token; set pad_token in its files")
    length = min(getattr(theirs, "max_position_embeddings", None) or tokenizer.model_max_length, tokenizer.model_max_length)
    longest = stores.data.max_length
    if longest > length:
        raise ValueError(f"data.max_length is {longest}; allowed: at most {length}, the positions of {checkpoint}")
    data = task_data(stores.root, task, tokenizer, stores.data, stores.seed)
    layout = layout_of(tokenizer, True, longest)
    key = key_of({"checkpoint": pretrained.fingerprint(folder), "order": order, "precision": precision})
    name = pretrained.model_name(theirs)
    return FineTuned(name, key, folder, setting, order, data, layout, stores.root, precision, device)


def label_order(theirs: PreTrainedConfig, kind: Kind, where: str) -> list[int]:
    """For each label of the task the place it has in the checkpoint's id2label: the one of that name.

    Case, `-`, `_` and spaces make no difference. Raises ValueError, naming both lists, where they do not pair up one to
    one; for a regression task, where the checkpoint has more than one output.
    """
    names = [str(name) for _, name in sorted((theirs.id2label or {}).items())]
    if not kind.labels:
        if len(names) != 1:
            raise ValueError(f"{where}: it has {len(names)} outputs, {listed(names)}; allowed: one, as the task is a regression")
        return [0]
    found, wanted = [_plain(name) for name in names], [_plain(label) for label in kind.labels]
    if sorted(found) != sorted(wanted) or len(set(wanted)) < len(wanted):
        raise ValueError(
            f"{where}: its labels are {listed(names)}; allowed: {listed(kind.labels)}, in any order (id2label in its config.json)"
        )
    return [found.index(label) for label in wanted]


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).casefold()
