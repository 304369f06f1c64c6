"""The student models by name, their construction from settings, and their loading."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from transformers import BertConfig, PreTrainedModel

from mkd.config import Pooling, StudentConfig
from mkd.storage import pretrained
from mkd.storage.memory import check_fits
from mkd.students.bag import BagConfig, BagStudent
from mkd.students.bilstm import BiLstmConfig, BiLstmStudent
from mkd.students.embeddings import input_table, project
from mkd.students.heads import check_head_configs, head_configs
from mkd.students.transformer import (
    TransformerConfig,
    TransformerStudent,
    keep_layers,
    on_encoder,
)
from mkd.tokenization.tokens import TaskData

Student = BiLstmStudent | TransformerStudent | BagStudent

STUDENTS: dict[str, type[BiLstmStudent] | type[TransformerStudent] | type[BagStudent]] = {
    "bilstm": BiLstmStudent,
    "transformer": TransformerStudent,
    "bag": BagStudent,
}
"""The model class of each student.kind."""
SIZES = "the sizes in student"


def make_student(
    config: StudentConfig,
    datas: list[TaskData],
    vocab_size: int,
    max_length: int,
    encoder: PreTrainedModel | None,
) -> Student:
    """Returns a new student of the kind and size in the settings.

    - `datas`: the tasks; each gets a head with random weights.
    - `vocab_size`: number of rows of the embedding table, if there is no `encoder`.
    - `max_length`: maximum number of tokens of a text.
    - `encoder`: the model that the embeddings (bilstm, bag) or layers (transformer) are taken from;
      None: all weights are random. A Transformer's layers that are not kept are removed from it.

    Raises ValueError if the sizes in the settings do not match the encoder's.
    """
    shared = {"tasks": head_configs(datas), "dropout": config.dropout, "max_tokens": max_length}
    student = _with_random_heads(config, shared, vocab_size, encoder)
    student.heads.start_at_frequencies(datas)
    return student


def _with_random_heads(
    config: StudentConfig,
    shared: dict[str, Any],
    vocab_size: int,
    encoder: PreTrainedModel | None,
) -> Student:
    if config.kind != "transformer":
        return _on_words(config, shared, vocab_size, encoder)
    if encoder is not None:
        _check_width(config, encoder)
        keep_layers(encoder, config.keep or list(range(config.layers)))
        return on_encoder(encoder, config.pooling, shared)
    sizes = bert_config(
        vocab_size,
        config.layers,
        config.hidden,
        config.heads,
        config.dropout,
        shared["max_tokens"],
    )
    if config.embedding_width != config.hidden:
        # ELECTRA's encoder (Clark et al. 2020) is BERT's with a projection from narrower
        # embeddings.
        sizes |= {"model_type": "electra", "embedding_size": config.embedding_width}
    whole = TransformerConfig(encoder=sizes, pooling=config.pooling, **shared)
    check_fits(lambda: TransformerStudent(whole), SIZES)
    return TransformerStudent(whole)


def bert_config(
    vocab_size: int, layers: int, hidden: int, heads: int, dropout: float, max_length: int
) -> dict[str, object]:
    """Returns the config of BERT's architecture (Devlin et al. 2019) at any size.

    The feed-forward layers are four times as wide as the model. Random weights have a standard
    deviation of 1 / sqrt(width), so that a layer keeps the scale of its input. BERT's own 0.02 is
    near this value at its width of 768. At a width of 48 it is only a seventh, and the layers would
    need a large part of a short training to have any effect.
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


def _on_words(
    config: StudentConfig, shared: dict[str, Any], vocab_size: int, encoder: PreTrainedModel | None
) -> Student:
    """Returns a BiLSTM or bag student; only its word embeddings can come from an encoder."""
    table = (
        None
        if encoder is None
        else project(input_table(encoder).weight.detach(), config.embedding_width)
    )
    sizes = shared | {
        "vocab_size": vocab_size if table is None else len(table),
        "embedding": config.embedding_width,
        "hidden": config.hidden,
        "ngrams": config.ngrams,
        "buckets": config.buckets,
    }
    make: Callable[[], BiLstmStudent | BagStudent]
    if config.kind == "bilstm":
        if not config.words:
            sizes["ngrams"] = 0
        kind_sizes = {"attention": config.attention, "words": config.words}
        make = partial(BiLstmStudent, BiLstmConfig(**kind_sizes, **sizes))
    else:
        make = partial(BagStudent, BagConfig(layers=config.layers, **sizes))
    check_fits(make, SIZES)
    student = make()
    if table is not None:
        # Scaled to a standard deviation of 1, as a BiLSTM's random embeddings. A bag's products of
        # means would otherwise be too small for pretrained embeddings to have an effect.
        student.embeddings.weight.data.copy_(table / table.std())
    return student


def _check_width(config: StudentConfig, encoder: PreTrainedModel) -> None:
    for name, found in (
        ("hidden", encoder.config.hidden_size),
        ("heads", encoder.config.num_attention_heads),
    ):
        value = getattr(config, name)
        if value != found:
            raise ValueError(
                f"student.{name} is {value}; allowed: {found}, as in the checkpoint that "
                "student.init names"
            )


def load_model(folder: Path, setting: str = "the model") -> Student:
    """Loads a student or teacher that save_pretrained has written; safetensors only.

    config.json determines its class. Its logits equal those of the saved model bit for bit.
    `setting` is the setting that names the folder, for error messages.

    Raises ValueError for an unknown type of model, and if a file is damaged or config and weights
    do not belong together.
    """
    kinds = {model.config_class.model_type: model for model in STUDENTS.values()}
    model_type = pretrained.config_values(folder, setting).get("model_type")
    if not isinstance(model_type, str) or model_type not in kinds:
        raise ValueError(
            f"{setting} is {str(folder)!r}: it holds a model of type {model_type!r:.80}; allowed: "
            f"{', '.join(kinds)}"
        )
    kind = kinds[model_type]
    config = pretrained.load_config(folder, setting, kind.config_class)
    where = f"{setting} is {str(folder)!r}: config.json"
    check_head_configs(config, where)
    poolings = get_args(Pooling)
    if (pooling := getattr(config, "pooling", poolings[0])) not in poolings:
        raise ValueError(f"{where}: pooling is {pooling!r}; allowed: {', '.join(poolings)}")
    model = cast(Student, pretrained.load_whole(kind, config, folder, setting, exact=True))
    if isinstance(model, TransformerStudent):
        rows = pretrained.positions(model.encoder)
        if rows is not None and config.max_tokens > rows:
            raise ValueError(
                f"{where}: max_tokens is {config.max_tokens}; allowed: at most {rows}, the "
                "positions of its encoder"
            )
    # Loaded weights lie in the mapped file, aligned as they are there. The last bits of a product
    # depend on the alignment of its factors, so each is copied to memory that torch aligns.
    for weight in model.parameters():
        weight.data = weight.data.clone()
    return model
