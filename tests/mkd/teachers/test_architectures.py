"""Every encoder architecture of transformers works in all steps of a run, or is refused in one
line."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from mkd.evaluation.speed import flops
from mkd.storage import pretrained
from mkd.students import load_model
from mkd.students.transformer import TransformerStudent, keep_layers, on_encoder
from mkd.teachers.architectures import check_steps, padding_error, padding_note
from mkd.tokenization.tokens import Inputs

LAYERS = 3
SIZES = {
    "vocab_size": 120, "hidden_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 48, "d_model": 16, "encoder_layers": LAYERS,
    "embedding_size": 16,
}  # fmt: skip
"""Each architecture gets those settings that it has."""

RELATIVE = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
}
OWN: dict[str, dict[str, Any]] = {
    "deberta": RELATIVE,
    "deberta-v2": RELATIVE
    | {"position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
    "esm": {"pad_token_id": 1, "mask_token_id": 3},
    "funnel": {
        "block_sizes": [1] * LAYERS, "n_head": 2, "d_head": 8, "d_inner": 32,
        "architectures": ["FunnelModel"],
    },
    "longformer": {"attention_window": [4] * LAYERS},
    "neomme": {"num_key_value_heads": 2},
    "reformer": {
        "attn_layers": ["local", "lsh", "local"], "attention_head_size": 8, "feed_forward_size": 32,
        "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4, "num_buckets": 2,
        "axial_pos_embds": False, "is_decoder": False,
    },
    "roc_bert": {"enable_pronunciation": False, "enable_shape": False},
}  # fmt: skip
"""Settings of published checkpoints; the classes' defaults are simpler."""
LARGE: dict[str, dict[str, Any]] = {
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 8},
    "roc_bert": {"pronunciation_vocab_size": 8, "shape_vocab_size": 8},
}
"""Small sizes for tables that are not used here, such as that of half a million entities."""

REFUSED = {
    "bart": "is no encoder", "mbart": "is no encoder", "mvp": "is no encoder",
    "perceiver": "whose config has no", "modernvbert": "whose config has no",
    "ultravbert": "whose config has no", "xmod": "training in float32 fails", "ibert": "fails",
    "reformer": "training in float32 fails", "funnel": "a text of one token fails",
}  # fmt: skip
"""Models that are not text encoders or need more than token ids, with a part of the error."""

WHOLE = ("albert", "esm", "neomme")
"""Single layers cannot be selected: ALBERT shares one, ESM has a head over all, and NeoMME has
settings per layer number."""

PADDING = ("convbert", "fnet", "mobilebert", "nystromformer", "yoso")
"""Their answers depend on padding."""

TASKS = {"task": {"labels": ["a", "b"], "pair": False, "mean": 0.0, "std": 1.0}}
SHARED = {"tasks": TASKS, "dropout": 0.0, "max_tokens": 40}

ENCODERS = sorted(set(MODEL_FOR_MASKED_LM_MAPPING_NAMES) - set(REFUSED))


def encoder(name: str) -> PreTrainedModel:
    usual = AutoConfig.for_model(name)
    sizes = {key: value for key, value in SIZES.items() if hasattr(usual, key)}
    if name == "funnel":  # its block_sizes give the number
        del sizes["num_hidden_layers"]
    for key in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        if (getattr(usual, key, None) or 0) >= SIZES["vocab_size"]:
            sizes[key] = 1
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModel.from_config(
        AutoConfig.for_model(name, **(sizes | OWN.get(name, {}) | LARGE.get(name, {})))
    ).eval()
    with torch.no_grad():  # a checkpoint's embedding of padding need not be zero, as a new one is
        weight_VE: torch.Tensor = model.get_input_embeddings().weight  # type: ignore[assignment]
        weight_VE[model.config.pad_token_id or 0] = weight_VE[7]
    return model


def inputs() -> Inputs:
    ids = torch.arange(5, 41).view(3, 1, 12)
    return Inputs(ids, torch.ones_like(ids, dtype=torch.bool), None)


def answer(model: TransformerStudent) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model.eval()(inputs(), "task")
    return logits


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_works_in_every_step(name: str, tmp_path: Path) -> None:
    """It is loaded, made a teacher, trained, its FLOPs counted and its states read; then saved and
    loaded with the same answers."""
    encoder(name).save_pretrained(tmp_path / "encoder")
    model = on_encoder(
        pretrained.load_encoder(tmp_path / "encoder", "teacher.checkpoint"), "mean", SHARED
    )
    check_steps(model, "float32", True, "teacher.checkpoint")
    assert flops(model, 16) > flops(model, 8) > 0
    model.save_pretrained(tmp_path / "model")
    loaded = answer(load_model(tmp_path / "model"))  # type: ignore[arg-type]
    torch.testing.assert_close(loaded, answer(model), rtol=0, atol=0)
    assert (padding_error(model) > 0) == (name in PADDING)


@pytest.mark.parametrize("name", ENCODERS)
def test_selected_layers_form_a_student_or_are_refused(name: str) -> None:
    whole = encoder(name)
    if name in WHOLE:
        with pytest.raises(ValueError, match="cannot be taken one by one|cannot be rebuilt"):
            on_encoder(keep_layers(whole, [0, 2]), "mean", SHARED)
        return
    student = on_encoder(keep_layers(copy.deepcopy(whole), [0, 2]), "mean", SHARED)
    check_steps(student, "float32", True, "student.init")
    # Keeping all layers keeps the whole encoder.
    every = on_encoder(keep_layers(copy.deepcopy(whole), list(range(LAYERS))), "mean", SHARED)
    unchanged = on_encoder(whole, "mean", SHARED)
    unchanged.heads.load_state_dict(every.heads.state_dict())
    torch.testing.assert_close(answer(every), answer(unchanged), rtol=0, atol=0)
    assert flops(student, 8) < flops(every, 8)


def test_layers_of_a_funnel_cannot_be_taken() -> None:
    with pytest.raises(ValueError, match="names a funnel model, whose layers cannot be taken"):
        keep_layers(encoder("funnel"), [0, 2])


@pytest.mark.parametrize(("name", "line"), REFUSED.items())
def test_unsuitable_models_are_refused_in_one_line(name: str, line: str, tmp_path: Path) -> None:
    if line.startswith(("is no", "whose")):
        AutoConfig.for_model(name).save_pretrained(tmp_path)
        message = f"teacher.checkpoint is .*: a {name} model.* {line}"
        with pytest.raises(ValueError, match=message) as refused:
            pretrained.load_encoder(tmp_path, "teacher.checkpoint")
    else:
        refusal = f"teacher.checkpoint names a {name} model, with which .*{line}"
        with pytest.raises(ValueError, match=refusal) as refused:
            check_steps(
                on_encoder(encoder(name), "mean", SHARED), "float32", False, "teacher.checkpoint"
            )
    assert "\n" not in str(refused.value)


def test_an_encoder_without_half_precision_training_is_refused_only_for_bfloat16() -> None:
    model = on_encoder(encoder("deberta"), "mean", SHARED)
    check_steps(model, "float32", False, "teacher.checkpoint")
    message = "names a deberta model, with which training in bfloat16 fails"
    with pytest.raises(ValueError, match=message):
        check_steps(model, "bfloat16", False, "teacher.checkpoint")


def test_a_check_does_not_change_weights_gradients_mode_or_the_random_state() -> None:
    model = on_encoder(encoder("bert"), "mean", SHARED).train()
    weights, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    check_steps(model, "float32", True, "teacher.checkpoint")
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_flops_include_the_products_of_relative_positions() -> None:
    """DeBERTa passes a weight between modules, which once broke the counter; it needs more FLOPs
    than BERT."""
    relative, plain = (on_encoder(encoder(name), "mean", SHARED) for name in ("deberta-v2", "bert"))
    assert flops(relative, 16) > flops(plain, 16)


def test_a_model_that_reads_padding_has_a_note() -> None:
    fnet, plain = (on_encoder(encoder(name), "mean", SHARED) for name in ("fnet", "bert"))
    assert padding_note(padding_error(fnet), "fnet-3x16").startswith("fnet-3x16 reads padding")
    assert padding_note(padding_error(plain), "bert-3x16") == ""


def test_settings_per_layer_are_those_of_the_kept_layers() -> None:
    """ModernBERT attends to all tokens in every third layer, starting with the first."""
    whole = encoder("modernbert")
    kinds = list(whole.config.layer_types)
    assert kinds == ["full_attention", "sliding_attention", "sliding_attention"]
    kept = on_encoder(keep_layers(whole, [0, 2]), "mean", SHARED)
    assert json.loads(kept.config.to_json_string())["encoder"]["layer_types"] == [
        kinds[0],
        kinds[2],
    ]
