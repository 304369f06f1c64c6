"""The student models by name, and how one is made from settings."""

from pathlib import Path
from typing import Any

from transformers import BertConfig, PreTrainedConfig, PreTrainedModel

from mkd.config import StudentConfig
from mkd.students.bag import BagConfig, BagStudent
from mkd.students.bilstm import BiLstmConfig, BiLstmStudent
from mkd.students.embeddings import input_table, project
from mkd.students.heads import head_configs
from mkd.students.transformer import TransformerConfig, TransformerStudent, keep_layers, on_encoder
from mkd.tokenization.tokens import TaskData

Student = BiLstmStudent | TransformerStudent | BagStudent

STUDENTS: dict[str, type[BiLstmStudent] | type[TransformerStudent] | type[BagStudent]] = {
    "bilstm": BiLstmStudent,
    "transformer": TransformerStudent,
    "bag": BagStudent,
}


def make_student(
    config: StudentConfig, datas: list[TaskData], vocab_size: int, max_length: int, encoder: PreTrainedModel | None
) -> Student:
    """A student of the stated kind and size. encoder: where its embeddings or layers come from; None: random weights."""
    shared = {"tasks": head_configs(datas), "dropout": config.dropout, "max_tokens": max_length}
    if config.kind != "transformer":
        return _on_words(config, shared, vocab_size, encoder)
    if encoder is not None:
        _check_width(config, encoder)
        keep_layers(encoder, config.keep or list(range(config.layers)))
        return on_encoder(encoder, config.pooling, shared)
    sizes = bert_config(vocab_size, config.layers, config.hidden, config.heads, config.dropout, max_length)
    if config.embedding_width != config.hidden:
        # ELECTRA's encoder (Clark et al. 2020) is BERT's behind a projection from narrower embeddings.
        sizes |= {"model_type": "electra", "embedding_size": config.embedding_width}
    return TransformerStudent(TransformerConfig(encoder=sizes, pooling=config.pooling, **shared))


def bert_config(vocab_size: int, layers: int, hidden: int, heads: int, dropout: float, max_length: int) -> dict[str, object]:
    """BERT's architecture (Devlin et al. 2019) at any size, with a feed-forward of four times the width.

    Random weights have the standard deviation 1 / sqrt(width), at which a layer keeps its input's size. BERT's 0.02 is near that
    at its width of 768; at 48 it is a seventh of it, and much of a short training goes by before the layers say anything.
    """
    config = BertConfig(
        vocab_size=vocab_size,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=max_length,
        initializer_range=hidden**-0.5,
    )
    values: dict[str, object] = config.to_dict()
    return values


def _on_words(config: StudentConfig, shared: dict[str, Any], vocab_size: int, encoder: PreTrainedModel | None) -> Student:
    """A student whose only part that can come from an encoder is its table of word embeddings."""
    table = None if encoder is None else project(input_table(encoder).weight.detach(), config.embedding_width)
    sizes = shared | {
        "vocab_size": vocab_size if table is None else len(table),
        "embedding": config.embedding_width,
        "hidden": config.hidden,
    }
    student: BiLstmStudent | BagStudent
    if config.kind == "bilstm":
        student = BiLstmStudent(BiLstmConfig(attention=config.attention, **sizes))
    else:
        student = BagStudent(BagConfig(layers=config.layers, ngrams=config.ngrams, buckets=config.buckets, **sizes))
    if table is not None:
        # As large as a BiLSTM's random ones: what they know already has to weigh in a bag's products of means too.
        student.embeddings.weight.data.copy_(table / table.std())
    return student


def _check_width(config: StudentConfig, encoder: PreTrainedModel) -> None:
    for name, found in (("hidden", encoder.config.hidden_size), ("heads", encoder.config.num_attention_heads)):
        value = getattr(config, name)
        if value != found:
            raise ValueError(f"student.{name} is {value}; allowed: {found}, as in the checkpoint that student.init names")


def load_model(folder: Path) -> Student:
    """A student or teacher that save_pretrained wrote, told by its config.json; safetensors only.

    Its logits are those of the model that was saved, bit for bit: read weights lie in the mapped file, wherever it has them, and
    the last bits of a product depend on where its factors lie; each is copied to where torch would have it.
    """
    kinds = {model.config_class.model_type: model for model in STUDENTS.values()}
    model_type = PreTrainedConfig.get_config_dict(folder)[0].get("model_type")
    if model_type not in kinds:
        raise ValueError(f"{folder} holds a model of type {model_type!r}; allowed: {', '.join(kinds)}")
    model: Student = kinds[model_type].from_pretrained(folder, use_safetensors=True)
    for weight in model.parameters():
        weight.data = weight.data.clone()
    return model
