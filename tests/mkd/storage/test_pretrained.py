import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2Model

from mkd.storage.pretrained import (
    checkpoint_fingerprint,
    checkpoint_folder,
    load_classifier,
    load_encoder,
    load_tokenizer,
)
from tests.support.tiny import MINILM, Tokenizer

SETTING = "teacher.checkpoint"


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A tiny BERT, saved in half precision with its language-model head, as some are."""
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertForMaskedLM(config).half().save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_a_folder_is_its_own_checkpoint(folder: Path) -> None:
    assert checkpoint_folder(str(folder), SETTING) == folder


@pytest.mark.parametrize("name", ["/no/such/folder", "./no such", "a/b/c"])
def test_a_folder_that_is_not_there_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        checkpoint_folder(name, SETTING)
    assert str(caught.value).startswith(f"{SETTING} is {name!r}: no such folder")


def test_a_hub_name_that_cannot_be_had_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    told = "teacher.checkpoint is 'nobody/nothing': no such folder, and the Hugging Face hub"
    with pytest.raises(ValueError, match=told):
        checkpoint_folder("nobody/nothing", SETTING)


def test_an_encoder_is_read_in_float32(folder: Path) -> None:
    encoder = load_encoder(folder, SETTING)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    saved = BertForMaskedLM.from_pretrained(folder, dtype="float32").bert
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(encoder.state_dict()[name], saved.state_dict()[name])


def test_a_decoder_is_refused(tmp_path: Path) -> None:
    GPT2Model(
        GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError) as caught:
        load_encoder(tmp_path, SETTING)
    assert (
        str(caught.value)
        == f"{SETTING} is {str(tmp_path)!r}: a gpt2 model is no encoder; allowed: BERT and its like"
    )


def test_weights_other_than_safetensors_are_refused(folder: Path) -> None:
    torch.save(load_encoder(folder, SETTING).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="its weights cannot be read; allowed: safetensors files"):
        load_encoder(folder, SETTING)


def test_a_classifiers_weights_other_than_safetensors_are_refused(folder: Path) -> None:
    torch.save(load_encoder(folder, SETTING).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="its weights cannot be read; allowed: safetensors files"):
        load_classifier(folder, SETTING)


def test_an_architecture_that_cannot_classify_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    told = "no sequence classifier of its architecture, vit, is known"
    with pytest.raises(ValueError, match=told):
        load_classifier(tmp_path, SETTING)


def test_missing_weights_are_refused_rather_than_drawn_at_random(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    lost = "bert.encoder.layer.0.output.dense.weight"
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    told = "1 of its weights are missing, as encoder.layer.0.output.dense.weight"
    with pytest.raises(ValueError, match=told):
        load_encoder(folder, SETTING)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it has no readable config.json of a known architecture"):
        load_encoder(tmp_path, SETTING)


def test_code_that_comes_with_a_checkpoint_is_not_run(folder: Path) -> None:
    """Its config names code of its own for an architecture that transformers does not know."""
    (folder / "theirs.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    auto = {
        "AutoConfig": "theirs.Config",
        "AutoModel": "theirs.Model",
        "AutoTokenizer": ["theirs.Tokenizer", None],
    }
    (folder / "config.json").write_text(json.dumps({"model_type": "theirs", "auto_map": auto}))
    told = "it has no readable config.json of a known architecture"
    with pytest.raises(ValueError, match=told):
        load_encoder(folder, SETTING)
    assert not (folder / "ran").exists()


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="teacher.checkpoint is '.*': it has no readable tokenizer"
    ):
        load_tokenizer(tmp_path, SETTING)


def test_an_encoder_without_a_tokenizer_is_refused(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    told = "teacher.checkpoint is '.*': it has no readable tokenizer"
    with pytest.raises(ValueError, match=told):
        load_tokenizer(folder, SETTING)


def test_minilm_comes_with_its_tokenizer() -> None:
    assert load_tokenizer(MINILM, SETTING)("hello")["input_ids"] == [101, 7592, 102]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_the_fingerprint_changes_with_a_byte(name: str, folder: Path) -> None:
    before = checkpoint_fingerprint(folder)
    (folder / "README.md").write_text("no part of it")
    assert checkpoint_fingerprint(folder) == before
    data = bytearray((folder / name).read_bytes())
    data[-3] ^= 1
    (folder / name).write_bytes(data)
    assert checkpoint_fingerprint(folder) != before


def test_the_fingerprint_does_not_depend_on_the_folders_name(folder: Path, tmp_path: Path) -> None:
    assert checkpoint_fingerprint(
        Path(shutil.copytree(folder, tmp_path / "copy"))
    ) == checkpoint_fingerprint(folder)
