"""Loads Hugging Face encoders and tokenizers from a folder or the hub, without remote code."""

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import (
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

from mkd.storage.store import file_hash, key_of

# Weights as safetensors only: pickled weights (.bin) can execute code when they are loaded.
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
VOCABULARY_FILES = ["tokenizer.json", "vocab.txt", "vocab.json", "*.model"]

SIZES = ("hidden_size", "num_hidden_layers")
"""Attributes that an encoder's config must have. transformers maps other names to these."""


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
        raise ValueError(
            f"{setting} is {name!r}: no such folder; allowed: a folder or a name on the Hugging "
            "Face hub"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"{setting} is {name!r}: no such folder, and the Hugging Face hub does not have it "
            f"({type(error).__name__})"
        ) from error


def checkpoint_fingerprint(folder: Path) -> str:
    """Returns a hash of a checkpoint's config, weights and tokenizer files."""
    names = sorted(p for pattern in HUB_FILES for p in folder.glob(pattern))
    return key_of({path.name: file_hash(path) for path in names})


def load_config(folder: Path, setting: str) -> PreTrainedConfig:
    """Loads config.json. Raises ValueError if it is missing or its architecture is unknown."""
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{setting} is {str(folder)!r}: it has no readable config.json of a known architecture"
        ) from error
    return config


def model_name(config: PreTrainedConfig) -> str:
    """Returns kind and size of a model, such as `bert-12x768` (layers x width)."""
    return f"{config.model_type}-{config.num_hidden_layers}x{config.hidden_size}"


def load_encoder(folder: Path, setting: str) -> PreTrainedModel:
    """Loads the encoder in a folder, in float32.

    Raises ValueError if the model is not an encoder, or if safetensors weights are missing or
    incomplete.
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
    return _whole(AutoModel, folder, setting, unused=("pooler.",))


def load_classifier(folder: Path, setting: str) -> PreTrainedModel:
    """Loads the sequence classifier in a folder, in float32.

    Raises ValueError if the architecture has no sequence classifier, or if safetensors weights are
    missing or incomplete.
    """
    model_type = load_config(folder, setting).model_type
    if model_type not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        raise ValueError(
            f"{setting} is {str(folder)!r}: no sequence classifier of its architecture, "
            f"{model_type}, is known"
        )
    return _whole(AutoModelForSequenceClassification, folder, setting)


def _whole(auto: Any, folder: Path, setting: str, unused: tuple[str, ...] = ()) -> PreTrainedModel:
    """Loads a model and raises ValueError if weights are missing.

    Weights whose names start with one of `unused` may be missing. transformers fills missing
    weights with random values; without this check, an encoder that was never fine-tuned would
    become a teacher with a random head.
    """
    try:
        model, found = auto.from_pretrained(
            folder,
            use_safetensors=True,
            dtype="float32",
            trust_remote_code=False,
            output_loading_info=True,
        )
    except OSError as error:
        raise ValueError(
            f"{setting} is {str(folder)!r}: its weights cannot be read; allowed: safetensors files"
        ) from error
    # Loading adds new weights for the missing ones and only logs a warning.
    missing = sorted(name for name in found["missing_keys"] if not name.startswith(unused))
    if missing:
        raise ValueError(
            f"{setting} is {str(folder)!r}: {len(missing)} of its weights are missing, as "
            f"{missing[0]}"
        )
    whole: PreTrainedModel = model
    return whole


def load_tokenizer(folder: Path, setting: str) -> PreTrainedTokenizerBase:
    """Loads the tokenizer in a folder. Raises ValueError if there is none, or if it is not fast."""
    # Without a vocabulary file transformers returns a tokenizer with an empty vocabulary.
    if not any(path for pattern in VOCABULARY_FILES for path in folder.glob(pattern)):
        raise ValueError(f"{setting} is {str(folder)!r}: it has no readable tokenizer")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{setting} is {str(folder)!r}: it has no readable tokenizer") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(
            f"{setting} is {str(folder)!r}: its tokenizer is not a fast one (tokenizer.json)"
        )
    return tokenizer
