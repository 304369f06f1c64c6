"""A Transformer encoder with a head for each task: the Transformer student and the teacher.

Axes: B rows, L tokens, D model width.
"""

from contextlib import AbstractContextManager, nullcontext
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from mkd.storage.pretrained import positions
from mkd.students.embeddings import make_room
from mkd.students.heads import Heads, ModelOutput, MultiTaskConfig, token_mean
from mkd.tokenization.tokens import Inputs


class TransformerConfig(MultiTaskConfig):
    """Settings of a Transformer.

    - `encoder`: the config of any Hugging Face encoder as a dict, with its model_type.
    - `pooling`: `mean` over the tokens, or the `first` token.
    """

    model_type = "mkd_transformer"

    def __init__(
        self, encoder: dict[str, Any] | None = None, pooling: str = "mean", **kwargs: Any
    ) -> None:
        self.encoder = encoder or {}
        self.pooling = pooling
        super().__init__(**kwargs)


class TransformerStudent(PreTrainedModel):
    """Any Hugging Face encoder with task heads. A pair is one sequence with special tokens."""

    config_class = TransformerConfig
    config: TransformerConfig
    joined = True

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        encoder = AutoConfig.for_model(**config.encoder)
        self.encoder = without_pooler(AutoModel.from_config(encoder))
        self.shortened = shorten(self.encoder) if config.pooling == "first" else []
        self.whole = False
        """Whether a shortened last layer computes all tokens all the same."""
        if config.kept_tokens:
            make_room(self, config.kept_tokens)
        self.heads = Heads(encoder.hidden_size, config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keeps the encoder's own initialisation, and torch's initialisation of the heads."""

    def get_input_embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.encoder.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.encoder.set_input_embeddings(value)

    @property
    def state_widths(self) -> list[int]:
        """Returns the widths of a ModelOutput's states."""
        sizes = self.encoder.config
        return [sizes.hidden_size] * (1 + sizes.num_hidden_layers)

    def forward(
        self, inputs: Inputs, task: str, states: bool = False
    ) -> torch.Tensor | ModelOutput:
        """Returns the logits [B, C] of a task's head, or a ModelOutput if `states` is true."""
        mask_BL = inputs.mask[:, 0]
        types = {} if inputs.types is None else {"token_type_ids": inputs.types}
        asked = {"output_hidden_states": True} if states else {}
        for layer in self.shortened:
            # Hidden states are means over all tokens, so the last layer must compute all of them.
            layer.whole = states or self.whole
        with attention_kernel(mask_BL.device.type):
            output = self.encoder(
                input_ids=inputs.ids[:, 0], attention_mask=mask_BL, **types, **asked
            )
        logits: torch.Tensor = self.heads(self._pool(output.last_hidden_state, mask_BL), task)
        return (
            ModelOutput(logits, [token_mean(state, mask_BL) for state in output.hidden_states])
            if states
            else logits
        )

    def _pool(self, states_BLD: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        if self.config.pooling == "first":
            return states_BLD[:, 0]
        return token_mean(states_BLD, mask_BL)


BERTS = ("BertLayer", "ElectraLayer", "RobertaLayer", "XLMRobertaLayer")
"""Layer classes with the structure of BERT's layer."""


def shorten(encoder: PreTrainedModel) -> list[Any]:
    """Makes the encoder's last layer compute only the first token, and returns the changed layer.

    The first token still attends to all tokens, so its output is unchanged. Only the keys and
    values, a sixth of the layer's products, are still computed for every token. Encoders whose
    layers are not like BERT's stay unchanged; the list is then empty.
    """
    layers: list[Any] = [module for module in encoder.modules() if type(module).__name__ in BERTS]
    for layer in layers[-1:]:
        layer.whole, layer.forward = False, MethodType(_first_token, layer)
    return layers[-1:]


def _first_token(
    layer: Any,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *rest: Any,
    **named: Any,
) -> Any:
    """Computes a BERT layer for the first token only [B, 1, D].

    - `attention_mask`: [B, 1, L, L] or None. For other shapes the whole layer is computed.
    """
    if layer.whole or (attention_mask is not None and attention_mask.dim() != 4):
        return type(layer).forward(layer, hidden_states, attention_mask, *rest, **named)
    own, first = layer.attention.self, hidden_states[:, :1]
    asked, keys, values = (
        linear(x).unflatten(2, (own.num_attention_heads, -1)).transpose(1, 2)
        for linear, x in ((own.query, first), (own.key, hidden_states), (own.value, hidden_states))
    )
    mask = None if attention_mask is None else attention_mask[:, :, :1]
    seen = F.scaled_dot_product_attention(
        asked, keys, values, mask, own.dropout.p if own.training else 0.0
    )
    return layer.feed_forward_chunk(layer.attention.output(seen.transpose(1, 2).flatten(2), first))


def attention_kernel(device: str) -> AbstractContextManager[None]:
    """Returns the context in which attention is computed.

    torch chooses the kernel, except on a CPU that trains in half precision. There the backward pass
    of the fused kernel takes several times as long as in float32, so plain matrix products are
    used.
    """
    half = device == "cpu" and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
    return sdpa_kernel(SDPBackend.MATH) if half else nullcontext()


def on_encoder(
    encoder: PreTrainedModel, pooling: str, shared: dict[str, Any]
) -> TransformerStudent:
    """Returns a Transformer with an encoder's weights and new heads.

    - `shared`: the settings of MultiTaskConfig.

    Raises ValueError if the encoder has fewer positions than `max_tokens`, or cannot be built from
    its own config.
    """
    longest = positions(encoder)
    if longest is not None and shared["max_tokens"] > longest:
        raise ValueError(
            f"data.max_length is {shared['max_tokens']}; allowed: at most {longest}, the "
            "checkpoint's positions"
        )
    try:
        model = TransformerStudent(
            TransformerConfig(encoder=encoder.config.to_dict(), pooling=pooling, **shared)
        )
        model.encoder.load_state_dict(without_pooler(encoder).state_dict())
    except (RuntimeError, ValueError) as error:
        kind, reason = encoder.config.model_type, " ".join(str(error).split())[:200]
        raise ValueError(
            f"a {kind} model cannot be rebuilt from its own config or its kept layers: {reason}"
        ) from error
    return model


def without_pooler(encoder: PreTrainedModel) -> PreTrainedModel:
    """Returns the encoder without its pooling layer, as the heads have their own pooling.

    The pooler is replaced by a module without weights instead of None, because some architectures
    (LayoutLM, SqueezeBERT) always call it.
    """
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = nn.Identity()
    return encoder


def keep_layers(encoder: PreTrainedModel, layers: list[int]) -> PreTrainedModel:
    """Reduces the encoder to the given layers, in the given order, and returns it.

    Raises ValueError for a layer that does not exist, and for an architecture whose layers cannot
    be selected.
    """
    count = encoder.config.num_hidden_layers
    unknown = [layer for layer in layers if layer >= count]
    if unknown:
        raise ValueError(
            f"layers {unknown} are not there: the checkpoint has layers 0 to {count - 1} "
            "(student.layers, student.keep)"
        )
    lists = {
        name: m
        for name, m in encoder.named_modules()
        if isinstance(m, nn.ModuleList) and len(m) == count
    }
    outer = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    # A layer of XLM is split over several lists, which are attributes of the same module.
    if len({name.rpartition(".")[0] for name in outer}) != 1:
        raise ValueError(
            f"student.init names a {encoder.config.model_type} model, whose layers cannot be taken "
            "one by one"
        )
    for name in outer:
        parent, _, child = name.rpartition(".")
        setattr(
            encoder.get_submodule(parent),
            child,
            nn.ModuleList(lists[name][layer] for layer in layers),
        )
    _keep_settings(encoder.config, count, layers)
    return encoder


def _keep_settings(config: PreTrainedConfig, count: int, layers: list[int]) -> None:
    """Selects the same layers in settings with one value per layer, such as ModernBERT's attention
    types."""
    by_layer = {
        name: [value[layer] for layer in layers]
        for name, value in vars(config).items()
        if isinstance(value, list | tuple)
        and len(value) == count
        and name not in ("architectures", "keys_to_ignore_at_inference")
    }
    for name, value in by_layer.items():
        setattr(config, name, value)
    try:
        config.num_hidden_layers = len(layers)
    except NotImplementedError as error:  # Funnel computes it from its blocks
        raise ValueError(
            f"student.init names a {config.model_type} model, whose layers cannot be taken one by "
            "one"
        ) from error
