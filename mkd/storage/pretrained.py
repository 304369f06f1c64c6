"""Loads Hugging Face models and tokenizers from a folder or the hub, without remote code.

A folder is loaded completely, or refused with a ValueError of one line that names the setting, the
folder and the reason. `load_whole` decides this for every model: encoders, classifiers, and the
students and teachers that MKD has saved.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from mkd.storage.checkpoint_name import NO_CHECKPOINT
from mkd.storage.damage import kind_of_file
from mkd.storage.store import file_hash, key_of

# Weights as safetensors only: pickled weights (.bin) can execute code when they are loaded.
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
VOCABULARY_FILES = ["tokenizer.json", "vocab.txt", "vocab.json", "*.model"]

SIZES = ("hidden_size", "num_hidden_layers")
"""Attributes that an encoder's config must have. transformers maps other names to these."""
LARGEST = {
    "hidden_size": 1 << 16,
    "num_hidden_layers": 1000,
    "num_attention_heads": 1 << 12,
    "intermediate_size": 1 << 20,
    "vocab_size": 1 << 24,
    "num_labels": 1 << 16,
    "max_position_embeddings": 1 << 24,
    "type_vocab_size": 1 << 12,
    "layers": 1000,
    "hidden": 1 << 16,
    "embedding": 1 << 16,
    "buckets": 1 << 26,
    "max_tokens": 1 << 20,
}
"""Largest values of a config. Larger ones are slips, and would fill the memory."""
SPARE_WEIGHTS = 2.0
"""A config may describe at most so many times the weights in its files. Checked before any is
made."""
WEIGHT_TYPES = ("F64", "F32", "BF16", "F16")
"""Types of weights. Numbers of 8 bits need scales, which only quantised models have."""
DISAGREE = "its config.json and its weights do not belong together"
RARE_TEXT = "a \N{SNOWMAN}"
"""A text with a token that few tokenizers have."""
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def checkpoint_folder(name: str, setting: str) -> Path:
    """Returns the folder of a checkpoint: `name` if it is a folder, else the files from the hub.

    Files from the hub are downloaded once. setting: name of the setting for error messages.

    Raises ValueError if there is neither a folder nor a hub repository with the name.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except HFValidationError as error:
        raise ValueError(NO_CHECKPOINT.format(setting=setting, name=name)) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"{setting} is {name!r}: no such folder, and the Hugging Face hub does not have it "
            f"({type(error).__name__})"
        ) from error


def checkpoint_fingerprint(folder: Path) -> str:
    """Returns a hash of a checkpoint's config, weights and tokenizer files."""
    names = sorted(p for pattern in HUB_FILES for p in folder.glob(pattern) if p.is_file())
    return key_of({path.name: file_hash(path) for path in names})


def load_config(folder: Path, setting: str, config_class: Any = AutoConfig) -> PreTrainedConfig:
    """Loads config.json.

    Raises ValueError if it is missing or damaged, if its architecture is unknown, if a size is out
    of range, or if it asks for quantised weights or for code from the hub.
    """
    where = _where(folder, setting)
    refusal = f"{where}: it has no readable config.json of a known architecture"
    raw = config_values(folder, setting)
    for values in (raw, raw.get("encoder")):  # a Transformer of MKD's has its encoder's inside
        if isinstance(values, dict):
            _check_quantisation_and_kernel(values, where)
            _check_sizes(values, where)
    with _refused(refusal):
        config: PreTrainedConfig = config_class.from_pretrained(folder, trust_remote_code=False)
    # transformers maps other names to these.
    _check_sizes({name: getattr(config, name, None) for name in LARGEST}, where)
    # These change only the form of what a model returns, and how much it computes at once.
    for name, usual in (("return_dict", True), ("chunk_size_feed_forward", 0)):
        if hasattr(config, name):
            setattr(config, name, usual)
    return config


def config_values(folder: Path, setting: str) -> dict[str, Any]:
    """Returns the content of config.json. Raises ValueError if it is missing or damaged."""
    refusal = f"{_where(folder, setting)}: it has no readable config.json of a known architecture"
    return _json_object(folder / "config.json", refusal)


def model_name(config: PreTrainedConfig) -> str:
    """Returns kind and size of a model, such as `bert-12x768` (layers x width)."""
    return f"{config.model_type}-{config.num_hidden_layers}x{config.hidden_size}"


def load_encoder(folder: Path, setting: str) -> PreTrainedModel:
    """Loads the encoder in a folder, in float32.

    Raises ValueError if the model is not an encoder, or as `load_whole` does.
    """
    config = load_config(folder, setting)
    if config.is_encoder_decoder or config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise ValueError(
            f"{setting} is {str(folder)!r}: a {config.model_type} model is no encoder; allowed: "
            "BERT and its like"
        )
    for size in SIZES:
        if not isinstance(getattr(config, size, None), int):
            raise ValueError(
                f"{setting} is {str(folder)!r}: a {config.model_type} model, whose config has no "
                f"{size}"
            )
    return load_whole(AutoModel, config, folder, setting, optional=("pooler.",))


def load_classifier(folder: Path, setting: str) -> PreTrainedModel:
    """Loads the sequence classifier in a folder, in float32.

    Raises ValueError if the architecture has no sequence classifier, or as `load_whole` does.
    """
    config = _classifier_config(folder, setting)
    return load_whole(AutoModelForSequenceClassification, config, folder, setting)


def check_classifier(folder: Path, setting: str) -> int | None:
    """Checks the sequence classifier in a folder without reading its weights.

    Returns its largest number of tokens, or None if that is unknown. Raises ValueError as
    `load_classifier` does, if files are missing or damaged, or if the config describes another
    number of weights.
    """
    config = _classifier_config(folder, setting)
    return positions(_described(AutoModelForSequenceClassification, config, folder, setting))


def _classifier_config(folder: Path, setting: str) -> PreTrainedConfig:
    config = load_config(folder, setting)
    if config.model_type not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        raise ValueError(
            f"{setting} is {str(folder)!r}: no sequence classifier of its architecture, "
            f"{config.model_type}, is known"
        )
    return config


def positions(model: PreTrainedModel) -> int | None:
    """Returns the maximum number of tokens of a model, or None if it is unknown.

    RoBERTa and similar models count positions from the padding token's id + 1; the rows before are
    unused. Nystromformer, YOSO and MRA leave two rows unused and do not say so.
    """
    stated: int | None = getattr(model.config, "max_position_embeddings", None)
    if stated is not None and stated <= 0:
        stated = None  # XLNet has -1: any number
    tables = [
        module
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    ]
    if not tables:
        return stated
    unusable = 0 if tables[0].padding_idx is None else tables[0].padding_idx + 1
    rows = tables[0].num_embeddings - unusable
    return rows if stated is None else min(rows, stated)


def load_whole(
    model_class: Any,
    config: PreTrainedConfig,
    folder: Path,
    setting: str,
    optional: tuple[str, ...] = (),
    exact: bool = False,
) -> PreTrainedModel:
    """Loads the model of this config from the folder's safetensors files, in float32.

    - `model_class`: a class of transformers' kind, with from_pretrained.
    - `optional`: weights whose names start so may be missing.
    - `exact`: whether the files must hold no other weights. Without it, weights of other parts of a
      model (a language-model head) are ignored, but not layers beyond those of the config.

    Raises ValueError if a file is missing or damaged, if weights are missing, unexpected or of
    another shape, or if the tokenizer in the folder has more tokens than the model.
    """
    where = _where(folder, setting)
    _described(model_class, config, folder, setting)
    with _refused(f"{where}: {DISAGREE}"):
        # transformers fills missing weights with random values and only logs a warning: an encoder
        # that was never fine-tuned would become a teacher with a random head.
        model, loaded = model_class.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype="float32",
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, with the first one's name
        )
    _check_loaded(model, loaded, where, optional, exact)
    for name, weights in model.named_parameters():
        if not torch.isfinite(weights).all():
            raise ValueError(f"{where}: {name} in its weights has values that are not finite")
    whole: PreTrainedModel = model
    return whole


def _check_loaded(
    model: PreTrainedModel,
    loading_info: dict[str, Any],
    where: str,
    optional: tuple[str, ...],
    exact: bool,
) -> None:
    """Raises ValueError if weights were missing, unexpected or of another shape."""
    missing = sorted(name for name in loading_info["missing_keys"] if not name.startswith(optional))
    if missing:
        raise ValueError(
            f"{where}: {len(missing)} of its weights are missing, such as {missing[0]}"
        )
    if mismatched := sorted(loading_info["mismatched_keys"], key=str):
        name, has, needs = mismatched[0]
        raise ValueError(
            f"{where}: {len(mismatched)} of its weights have another shape than config.json says, "
            f"such as {name}: {tuple(has)}; allowed: {tuple(needs)}"
        )
    unexpected = sorted(
        name for name in loading_info["unexpected_keys"] if exact or _is_numbered_layer(model, name)
    )
    if unexpected:
        raise ValueError(
            f"{where}: {len(unexpected)} of its weights are not in the model of its config.json, "
            f"such as {unexpected[0]}"
        )


def _is_numbered_layer(model: PreTrainedModel, name: str) -> bool:
    """Returns whether a weight's name is that of a numbered layer within a part of the model."""
    first, *rest = name.removeprefix(f"{model.base_model_prefix}.").split(".")
    submodule_names = {
        part for part, _ in (*model.named_children(), *model.base_model.named_children())
    }
    return first in submodule_names and any(part.isdecimal() for part in rest)


def _num_weights(folder: Path, refusal: str) -> int:
    """Returns the number of weights in the safetensors files of a folder.

    Raises ValueError, with `refusal` first, if a file is missing or damaged, or if a weight is no
    floating-point number.
    """
    files = [folder / WEIGHTS]
    if not files[0].exists() and (folder / INDEX).exists():
        names = _json_object(folder / INDEX, refusal).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise ValueError(f"{refusal}: {INDEX} has no weight_map")
        # A name with a directory in it could point out of the folder.
        if any(not isinstance(name, str) or Path(name).name != name for name in names.values()):
            raise ValueError(f"{refusal}: {INDEX} names files that are not in the folder")
        files = [folder / name for name in sorted(set(names.values()))]
    total = 0
    for file in files:
        if not file.is_file():
            raise ValueError(
                f"{refusal}; allowed: safetensors files"
                + ("" if file.name == WEIGHTS else f"; {file.name} is missing")
            )
        try:
            with safe_open(file, "pt") as opened:
                slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
                types = {name: each.get_dtype() for name, each in slices.items()}
                total += sum(math.prod(each.get_shape()) for each in slices.values())
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            what = kind_of_file(file) or f"damaged ({_one_line(error)})"
            raise ValueError(f"{refusal}: {file.name} is {what}") from None
        for name, kind in types.items():
            # Others are lists of positions, as early checkpoints have them.
            if name.endswith((".weight", ".bias")) and kind not in WEIGHT_TYPES:
                raise ValueError(
                    f"{refusal}: {name} in {file.name} is of type {kind}; allowed: "
                    f"{', '.join(WEIGHT_TYPES)}"
                )
    return total


def _described(
    model_class: Any, config: PreTrainedConfig, folder: Path, setting: str
) -> PreTrainedModel:
    """Returns the model that a config describes, without memory for its weights.

    Raises ValueError if files of weights are missing or damaged, or if the config describes a much
    larger model than they hold.
    """
    where = _where(folder, setting)
    held = _num_weights(folder, f"{where}: its weights cannot be read")
    with _refused(f"{where}: {DISAGREE}"), torch.device("meta"), torch.random.fork_rng(devices=[]):
        model: PreTrainedModel = (
            model_class.from_config(config, trust_remote_code=False)
            if hasattr(model_class, "from_config")
            else model_class(config)
        )
    described = sum(weight.numel() for weight in model.parameters())
    if described > SPARE_WEIGHTS * held:
        raise ValueError(
            f"{where}: {DISAGREE} (a model of {described:,} weights, and files with {held:,})"
        )
    return model


def _check_quantisation_and_kernel(raw: dict[str, Any], where: str) -> None:
    """Raises ValueError if a config asks for quantised weights or for a kernel from the hub."""
    if raw.get("quantization_config"):
        raise ValueError(
            f"{where}: its weights are quantised (quantization_config); allowed: float weights"
        )
    for name in ("attn_implementation", "_attn_implementation"):
        kernel = raw.get(name)
        if kernel not in (None, "eager", "sdpa"):
            raise ValueError(
                f"{where}: {name} in its config.json is {_short(kernel)}; allowed: eager, sdpa, "
                "or no such key, as others may be code from the hub"
            )


def _check_sizes(values: dict[str, Any], where: str) -> None:
    for name, largest in LARGEST.items():
        value = values.get(name)
        if isinstance(value, int | float) and not 0 <= value <= largest:
            raise ValueError(
                f"{where}: {name} in its config.json is {value}; allowed: 0 to {largest:,}"
            )


def load_tokenizer(folder: Path, setting: str) -> PreTrainedTokenizerBase:
    """Loads the tokenizer in a folder.

    Raises ValueError if there is none, if it cannot be read or is not fast, or if it has more
    tokens than the model in the folder.
    """
    where = _where(folder, setting)
    unreadable = f"{where}: it has no readable tokenizer"
    for path in folder.iterdir():
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would never end
            raise ValueError(f"{unreadable}: {path.name} is {kind_of_file(path)}")
    # Without a vocabulary file transformers returns a tokenizer with an empty vocabulary.
    files = [path.name for pattern in VOCABULARY_FILES for path in folder.glob(pattern)]
    if not files:
        raise ValueError(unreadable)
    if all(name.endswith(".model") for name in files):
        raise ValueError(
            f"{unreadable} ({files[0]} alone, a sentencepiece model); allowed: tokenizer.json, "
            "which AutoTokenizer writes where sentencepiece is installed"
        )
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json"):
        if (folder / name).exists():
            _json_object(folder / name, unreadable)
    if "tokenizer.json" not in files:  # then any text in these would be read as a vocabulary
        for name in ("vocab.txt", "merges.txt"):
            if (folder / name).exists() and (what := kind_of_file(folder / name)):
                raise ValueError(f"{unreadable}: {name} is {what}")
    try:
        with _refused(unreadable):
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False
            )
    except ValueError:
        _check_config(folder, setting)  # transformers reads it, too
        raise
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(f"{where}: its tokenizer is not a fast one (tokenizer.json)")
    if not isinstance(tokenizer.model_max_length, int | float):
        raise ValueError(
            f"{unreadable}: model_max_length in tokenizer_config.json is "
            f"{_short(tokenizer.model_max_length)}; allowed: a number"
        )
    with _refused(unreadable):
        # It may lack the token of unknown words, or add special tokens that are not its own.
        probes = (tokenizer(RARE_TEXT), tokenizer(RARE_TEXT, RARE_TEXT))
        ids = [*tokenizer.get_vocab().values(), *chain(*(probe["input_ids"] for probe in probes))]
        types = chain(*(probe.get("token_type_ids", [0]) for probe in probes))
        tokens, most_types = 1 + max(ids), 1 + max(types)
    known = _size(folder / "config.json", "vocab_size")
    known_types = _size(folder / "config.json", "type_vocab_size") or 0
    # A model with one type is not given any.
    if known_types > 1 and most_types > known_types:
        raise ValueError(
            f"{where}: its tokenizer has {most_types} token types, and its model {known_types} "
            "(type_vocab_size in config.json); allowed: at most as many"
        )
    if known is not None and tokens > known:
        raise ValueError(
            f"{where}: its tokenizer has {tokens:,} tokens, and its model {known:,} (vocab_size in "
            "config.json); allowed: at most as many"
        )
    return tokenizer


def _check_config(folder: Path, setting: str) -> None:
    """Raises ValueError if there is a config.json that is damaged."""
    if (folder / "config.json").exists():
        kind = config_values(folder, setting).get("model_type")
        if isinstance(kind, str) and kind in CONFIG_MAPPING:
            load_config(folder, setting)


def _size(config: Path, name: str) -> int | None:
    """Returns a size of the model of a config.json, if the file has it."""
    try:
        raw = json.loads(config.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    inner = raw.get("encoder", raw) if isinstance(raw, dict) else None
    size = inner.get(name) if isinstance(inner, dict) else None
    return size if type(size) is int else None


def _where(folder: Path, setting: str) -> str:
    return f"{setting} is {str(folder)!r}"


def _json_object(file: Path, refusal: str) -> dict[str, Any]:
    """Returns the object in a JSON file. Raises ValueError, with `refusal` first, without one."""
    if file.exists() and not file.is_file():  # a pipe would never end
        raise ValueError(f"{refusal}: {file.name} is {kind_of_file(file)}")
    try:
        value = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise ValueError(refusal) from None
    except (OSError, ValueError, RecursionError) as error:
        what = kind_of_file(file) or f"not valid JSON: {_one_line(error)}"
        raise ValueError(f"{refusal}: {file.name} is {what}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{refusal}: {file.name} holds {_short(value)}; allowed: a JSON object")
    return value


@contextmanager
def _refused(refusal: str) -> Iterator[None]:
    """Converts any error of a library that reads a folder to a ValueError of one line."""
    try:
        yield
    # Damaged files make transformers, tokenizers and safetensors raise errors of any type, among
    # them a bare Exception.
    except Exception as error:
        raise ValueError(f"{refusal} ({_one_line(error)})") from error


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return _short(text, str)


def _short(value: object, shown: Any = repr) -> str:
    text: str = shown(value)
    return text if len(text) <= 200 else text[:197] + "..."
