"""The student models by name, and how one is made from settings."""

from pathlib import Path

import torch
from transformers import BertConfig, PreTrainedModel

from mkd.config import StudentConfig
from mkd.students.bilstm import BiLstmConfig, BiLstmStudent
from mkd.students.embeddings import project
from mkd.students.heads import head_configs
from mkd.students.transformer import TransformerConfig, TransformerStudent, keep_layers
from mkd.tokens import TaskData

STUDENTS: dict[str, type[BiLstmStudent] | type[TransformerStudent]] = {"bilstm": BiLstmStudent, "transformer": TransformerStudent}

Student = BiLstmStudent | TransformerStudent


def make_student(
    config: StudentConfig, datas: list[TaskData], vocab_size: int, max_length: int, encoder: PreTrainedModel | None
) -> Student:
    """A student of the stated kind and size. encoder: where its embeddings or layers come from; None: random weights."""
    tasks = head_configs(datas)
    if config.kind == "bilstm":
        student = BiLstmStudent(
            BiLstmConfig(
                vocab_size=vocab_size, embedding=config.embedding, hidden=config.hidden, tasks=tasks, dropout=config.dropout
            )
        )
        if encoder is not None:
            table = encoder.get_input_embeddings().weight
            with torch.no_grad():
                student.embeddings.weight.copy_(project(table, config.embedding))
        return student
    if encoder is not None:
        return _from_layers(config, tasks, encoder)
    return TransformerStudent(
        TransformerConfig(
            encoder=bert_config(vocab_size, config.layers, config.hidden, config.heads, config.dropout, max_length),
            pooling=config.pooling,
            tasks=tasks,
            dropout=config.dropout,
        )
    )


def bert_config(vocab_size: int, layers: int, hidden: int, heads: int, dropout: float, max_length: int) -> dict[str, object]:
    """BERT's architecture (Devlin et al. 2019) at any size, with a feed-forward of four times the width."""
    config = BertConfig(
        vocab_size=vocab_size,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=max_length,
    )
    values: dict[str, object] = config.to_dict()
    return values


def _from_layers(config: StudentConfig, tasks: dict[str, dict[str, object]], encoder: PreTrainedModel) -> TransformerStudent:
    found = encoder.config
    for name, value in (("hidden", found.hidden_size), ("heads", found.num_attention_heads)):
        if getattr(config, name) != value:
            raise ValueError(
                f"student.{name} is {getattr(config, name)}; allowed: {value}, as in the checkpoint that student.init names"
            )
    keep_layers(encoder, config.keep or list(range(config.layers)))
    student = TransformerStudent(
        TransformerConfig(encoder=encoder.config.to_dict(), pooling=config.pooling, tasks=tasks, dropout=config.dropout)
    )
    student.encoder.load_state_dict(encoder.state_dict())
    return student


def load_model(folder: Path) -> Student:
    """A student or teacher that save_pretrained wrote, told by its config.json; safetensors only."""
    kinds = {model.config_class.model_type: model for model in STUDENTS.values()}
    from transformers import PreTrainedConfig

    model_type = PreTrainedConfig.get_config_dict(folder)[0].get("model_type")
    if model_type not in kinds:
        raise ValueError(f"{folder} holds a model of type {model_type!r}; allowed: {', '.join(kinds)}")
    return kinds[model_type].from_pretrained(folder, use_safetensors=True)
