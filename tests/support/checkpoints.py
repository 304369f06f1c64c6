"""Tiny fine-tuned classifiers, saved as transformers saves them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

from mkd.config import Config, DataConfig, SpeedConfig
from mkd.tasks.task import Task
from mkd.teachers.finetuned import FineTunedTeacher, load_fine_tuned
from tests.support.tiny import Tokenizer, make_tasks

CPU = torch.device("cpu")


def bert(labels: Sequence[str], tokenizer: Tokenizer, **more: Any) -> BertConfig:
    """The configuration of a classifier with one layer of width 16."""
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "id2label": dict(enumerate(labels)),
    }
    return BertConfig(vocab_size=len(tokenizer), **sizes | more)


def saved(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> str:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def classifier(folder: Path, tokenizer: Tokenizer, *labels: str, **more: Any) -> str:
    """Saves a classifier of these labels with random weights, and returns its folder."""
    return saved(
        BertForSequenceClassification(bert(labels, tokenizer, **more)), tokenizer, folder / "c"
    )


def labeller(
    cache: Path, task: str | Task, checkpoint: str, precision: str = "float32"
) -> FineTunedTeacher:
    """A checkpoint as the teacher of a task; a task's name means that of tiny.py."""
    data = DataConfig(max_length=32, selection_fraction=0.2)
    config = Config(cache=str(cache), data=data, speed=SpeedConfig(length=16))
    known = make_tasks(names=[task])[0] if isinstance(task, str) else task
    return load_fine_tuned(precision, config.stores, known, checkpoint, CPU)
