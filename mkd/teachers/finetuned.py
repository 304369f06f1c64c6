"""A teacher of one task that was fine-tuned elsewhere: any sequence classifier.

It keeps its own tokenizer; its outputs are put in the order of the task's labels.

Axes: B rows of a batch, C classes (1 for regression).
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedConfig

from mkd.config import Stores
from mkd.result import Report, no_report
from mkd.runtime.layout import Layout, padded, sequence_lengths
from mkd.storage import pretrained
from mkd.storage.store import cached_folder, key_of
from mkd.storage.versions import version_key
from mkd.students.heads import on
from mkd.tasks.files import listed
from mkd.tasks.metrics import NotFinite
from mkd.tasks.task import Kind, Task
from mkd.teachers.architectures import batch_error, padding_note
from mkd.teachers.classifier import Classifier
from mkd.teachers.task_teacher import (
    RunnableModel,
    StateModel,
    TaskModel,
    TaskTeacher,
    cached_logits,
    standardise_scores,
    stores_by_split,
)
from mkd.tokenization.tokenise import tokenise_task
from mkd.tokenization.tokens import as_inputs, layout_of

PADDING_FILE = "error.json"
PADDED_ROWS = 1000
"""Rows of which the shortest and the longest show whether a model reads padding."""


@dataclass(frozen=True)
class FineTunedTeacher(TaskTeacher):
    """A checkpoint as the TaskTeacher of one task. The weights are loaded on first use.

    - `order`: for each class of the task, the index of the checkpoint's output
    """

    folder: Path
    setting: str
    order: list[int]
    layout: Layout
    root: Path
    precision: str
    device: torch.device

    def model(self) -> Classifier:
        """Returns the model, on the device and in evaluation mode.

        Raises ValueError if the weights of the classifier are incomplete.
        """
        model = pretrained.load_classifier(self.folder, self.setting)
        # A decoder uses the padding token to find the last token of a text.
        model.config.pad_token_id = self.layout.pad
        return on(
            Classifier(model, self.order, self.data, self.layout.max_length), self.device
        ).eval()

    def runnable_model(self) -> RunnableModel:
        """See TaskTeacher.runnable_model."""
        return RunnableModel(self.model(), pretrained.load_tokenizer(self.folder, self.setting))

    @property
    def notes(self) -> list[str]:
        """See TaskTeacher.notes. A model that reads padding is named."""
        note = padding_note(self._padding_error(self.model), f"{self.data.name}: {self.name}")
        return [note] if note else []

    def _padding_error(self, model: Callable[[], Classifier]) -> float:
        """Returns the model's `batch_error` on rows of the task; computed once and stored."""
        store = self.data.train

        def build(aside: Path) -> None:
            lengths = sequence_lengths(
                store, self.layout, np.arange(len(store.labels))[:PADDED_ROWS]
            )
            places = [int(lengths.argmax()), int(lengths.argmin())]
            together, alone = (
                as_inputs(padded(store, np.array(rows), self.layout)).to(self.device)
                for rows in (places, places[1:])
            )
            error = batch_error(model(), together, alone)
            (aside / PADDING_FILE).write_text(json.dumps(error))

        by = {"classifier": self.key, "layout": list(self.layout), "rows": store.fingerprint}
        folder = cached_folder(self.root, "padding", by | version_key("padding"), build)
        return float(json.loads((folder / PADDING_FILE).read_text()))

    def state_model(self) -> StateModel:
        """See TaskTeacher.state_model."""
        config = pretrained.load_config(self.folder, self.setting)
        by = {"classifier": self.key, "layout": list(self.layout), "precision": self.precision}
        num_states, width = 1 + config.num_hidden_layers, config.hidden_size
        return StateModel(
            cache(self.model),
            self.key,
            by,
            self.layout,
            self.precision,
            self.data,
            num_states,
            width,
        )

    def logits(self, split: str, report: Report = no_report) -> np.ndarray:
        """Returns what TaskTeacher.logits describes; computed once and stored.

        Raises NotFinite if a logit is not a finite number.
        """
        store = stores_by_split(self.data)[split]
        by = {"classifier": self.key, "layout": list(self.layout)}
        model = cache(self.model)
        reader = TaskModel(model, self.layout, self.precision, self.data.name, len(self.order))
        # Here, so that the notes at the end of a run do not load the weights a second time.
        self._padding_error(model)
        try:
            return standardise_scores(
                cached_logits(self.root, by, reader, store, report), self.data
            )
        except NotFinite as error:
            raise NotFinite(f"{self.setting}: {self.folder}: {error}") from None


def load_fine_tuned(
    precision: str, stores: Stores, task: Task, checkpoint: str, device: torch.device
) -> FineTunedTeacher:
    """Returns the task's teacher from a folder or a hub name.

    `precision` is that of matrix products.

    Raises ValueError if the checkpoint's labels differ from the task's, if its tokenizer has no
    padding token, or if data.max_length exceeds its positions.
    """
    setting = f"teacher.sources.{task.name}"
    folder = pretrained.checkpoint_folder(checkpoint, setting)
    model_config = pretrained.load_config(folder, setting)
    order = label_order(model_config, task.kind, f"{setting} is {checkpoint!r}")
    tokenizer = pretrained.load_tokenizer(folder, setting)
    if tokenizer.pad_token_id is None:
        raise ValueError(
            f"{setting} is {checkpoint!r}: its tokenizer has no padding token; set pad_token in "
            "its files"
        )
    length = min(
        pretrained.check_classifier(folder, setting) or tokenizer.model_max_length,
        tokenizer.model_max_length,
    )
    longest = stores.data.max_length
    if longest > length:
        raise ValueError(
            f"data.max_length is {longest}; allowed: at most {length}, the positions of "
            f"{checkpoint}"
        )
    data = tokenise_task(stores.root, task, tokenizer, stores.data, stores.seed)
    layout = layout_of(tokenizer, True, longest)
    key = key_of(
        {
            "checkpoint": pretrained.checkpoint_fingerprint(folder),
            "order": order,
            "precision": precision,
        }
    )
    name = pretrained.model_name(model_config)
    return FineTunedTeacher(
        name, key, data, folder, setting, order, layout, stores.root, precision, device
    )


def label_order(model_config: PreTrainedConfig, kind: Kind, where: str) -> list[int]:
    """Returns, for each label of the task, its index in the checkpoint's id2label.

    Labels match by name; case, `-`, `_` and spaces are ignored. For regression it returns [0].

    Raises ValueError, with both lists, if the names do not match one to one. Also raises it if a
    checkpoint for a regression has more than one output.
    """
    names = [str(name) for _, name in sorted((model_config.id2label or {}).items())]
    if not kind.labels:
        if len(names) != 1:
            raise ValueError(
                f"{where}: it has {len(names)} outputs, {listed(names)}; allowed: one, as the task "
                "is a regression"
            )
        return [0]
    outputs, labels = [_plain(name) for name in names], [_plain(label) for label in kind.labels]
    if sorted(outputs) != sorted(labels) or len(set(labels)) < len(labels):
        raise ValueError(
            f"{where}: its labels are {listed(names)}; allowed: {listed(kind.labels)}, in any "
            "order (id2label in its config.json)"
        )
    return [outputs.index(label) for label in labels]


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).casefold()
