"""A teacher of one task that was fine-tuned elsewhere: any sequence classifier.

It keeps its own tokenizer; its outputs are put in the order of the task's labels.

Axes: B rows of a batch, C classes (1 for regression).
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedConfig

from mkd.config import Stores
from mkd.result import Report, no_report
from mkd.runtime.layout import Layout
from mkd.storage import pretrained
from mkd.storage.store import key_of
from mkd.students.heads import on
from mkd.tasks.files import listed
from mkd.tasks.metrics import NotFinite
from mkd.tasks.task import Kind, Task
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
from mkd.tokenization.tokens import layout_of


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
        reader = TaskModel(
            cache(self.model), self.layout, self.precision, self.data.name, len(self.order)
        )
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
