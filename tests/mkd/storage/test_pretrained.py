import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2Model,
    MraConfig,
    NystromformerConfig,
    PreTrainedConfig,
    RobertaConfig,
    YosoConfig,
)

from mkd.storage.pretrained import (
    checkpoint_fingerprint,
    checkpoint_folder,
    load_classifier,
    load_encoder,
    load_tokenizer,
    positions,
)
from tests.support.tiny import MINILM, Tokenizer

SETTING = "teacher.checkpoint"


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """Returns a tiny BERT, saved in half precision with its language-model head."""
    config = BertConfig(
        vocab_size=len(tokenizer),
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


def test_an_unavailable_hub_name_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = "teacher.checkpoint is 'nobody/nothing': no such folder, and the Hugging Face hub"
    with pytest.raises(ValueError, match=message):
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
    message = "no sequence classifier of its architecture, vit, is known"
    with pytest.raises(ValueError, match=message):
        load_classifier(tmp_path, SETTING)


def test_missing_weights_are_refused_rather_than_drawn_at_random(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    lost = "bert.encoder.layer.0.output.dense.weight"
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    message = "1 of its weights are missing, such as encoder.layer.0.output.dense.weight"
    with pytest.raises(ValueError, match=message):
        load_encoder(folder, SETTING)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it has no readable config.json of a known architecture"):
        load_encoder(tmp_path, SETTING)


def test_code_that_comes_with_a_checkpoint_is_not_run(folder: Path) -> None:
    """The config names code of the checkpoint for an architecture that transformers does not
    know."""
    (folder / "theirs.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    auto = {
        "AutoConfig": "theirs.Config",
        "AutoModel": "theirs.Model",
        "AutoTokenizer": ["theirs.Tokenizer", None],
    }
    (folder / "config.json").write_text(json.dumps({"model_type": "theirs", "auto_map": auto}))
    message = "it has no readable config.json of a known architecture"
    with pytest.raises(ValueError, match=message):
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
    message = "teacher.checkpoint is '.*': it has no readable tokenizer"
    with pytest.raises(ValueError, match=message):
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


@pytest.mark.parametrize(
    ("config_class", "stated"),
    [
        (BertConfig, 16),
        (RobertaConfig, 18),  # the table has two rows before the first position
        (NystromformerConfig, 16),
        (YosoConfig, 16),
        (MraConfig, 16),
    ],
)
def test_positions_are_those_that_the_model_can_look_up(
    config_class: Callable[..., PreTrainedConfig], stated: int
) -> None:
    config = config_class(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=stated,
    )
    model = AutoModel.from_config(config)
    assert positions(model) == 16
    embeddings = model.embeddings
    assert embeddings(torch.full((1, 16), 5)).shape == (1, 16, 16)
    with pytest.raises((IndexError, RuntimeError)):
        embeddings(torch.full((1, 17), 5))


def changed(folder: Path, name: str, **values: object) -> None:
    """Changes values in a JSON file."""
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_hidden_layers": 2}, "16 of its weights are missing, such as encoder.layer.1."),
        ({"num_hidden_layers": 0}, "16 of its weights are not in the model of its config.json"),
        (
            {"hidden_size": 18},
            "have another shape than config.json says, such as embeddings.Lay",
        ),
        ({"hidden_size": "16"}, "it has no readable config.json of a known architecture (Valid"),
        ({"hidden_size": 10**9}, "hidden_size in its config.json is 1000000000; allowed: 0 to 65,"),
        (
            {"num_labels": 10**9},
            "num_labels in its config.json is 1000000000; allowed: 0 to 65,536",
        ),
        ({"hidden_size": 20_000}, "its config.json and its weights do not belong together (a mode"),
        ({"num_attention_heads": 3}, "its config.json and its weights do not belong together (The"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers in its config.json is 1000000000; allow"),
        ({"quantization_config": {"quant_method": "gptq"}}, "its weights are quantised"),
        ({"_attn_implementation": "they/kernel"}, "_attn_implementation in its config.json is"),
    ],
)
def test_a_config_that_disagrees_with_the_weights_is_refused(
    folder: Path, values: dict[str, object], message: str
) -> None:
    load_encoder(folder, SETTING)
    changed(folder, "config.json", **values)
    with pytest.raises(ValueError) as caught:
        load_encoder(folder, SETTING)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{SETTING} is {str(folder)!r}: ")


DAMAGED: dict[str, tuple[bytes, str]] = {
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS point"),
    "empty": (b"", "empty"),
    "zeros": (bytes(1000), "nothing but zeros"),
    "a page": (b"<!DOCTYPE html><html>not found</html>", "a web page (HTML)"),
    "a list": (b"[]", ""),
    "deep": (b"[" * 100_000, ""),
    "noise": (bytes(range(256)) * 9, ""),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
)
def test_a_damaged_file_is_refused_by_name(folder: Path, name: str, damage: str) -> None:
    content, cause = DAMAGED[damage]
    (folder / name).write_bytes(content)
    load = load_tokenizer if name.startswith("tokenizer") else load_encoder
    with pytest.raises(ValueError) as caught:
        load(folder, SETTING)
    assert f"{name} is {cause}" in str(caught.value) or (not cause and name in str(caught.value))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused_by_name(folder: Path, value: float) -> None:
    weights = load_file(folder / "model.safetensors")
    part = "embeddings.LayerNorm.bias"
    weights[next(name for name in weights if name.endswith(part))][0] = value
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=f"{part} in its weights has values that are not finite"):
        load_encoder(folder, SETTING)


def test_other_files_of_a_folder_are_no_part_of_its_content(folder: Path) -> None:
    before = checkpoint_fingerprint(folder)
    (folder / "more.json").mkdir()
    (folder / "gone.txt").symlink_to("nowhere")
    assert checkpoint_fingerprint(folder) == before


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool, torch.float8_e4m3fn])
def test_a_weight_that_is_no_float_is_refused_by_name(folder: Path, dtype: torch.dtype) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith(".bias"))
    save_file(weights | {name: weights[name].to(dtype)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{name} in model.safetensors is of type .*; allowed"):
        load_encoder(folder, SETTING)
    positions = {"embeddings.position_ids": torch.arange(9)}
    save_file(weights | positions, folder / "model.safetensors")
    load_encoder(folder, SETTING)


@pytest.mark.parametrize("damage", ["a pointer", "empty", "zeros", "a page"])
@pytest.mark.parametrize("name", ["vocab.txt", "merges.txt"])
def test_a_damaged_vocabulary_without_a_tokenizer_json_is_refused(
    folder: Path, name: str, damage: str
) -> None:
    content, problem = DAMAGED[damage]
    if name == "merges.txt":
        (folder / "vocab.json").write_text('{"a": 0}')
    (folder / name).write_bytes(content)
    load_tokenizer(folder, SETTING)  # tokenizer.json has priority
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError) as caught:
        load_tokenizer(folder, SETTING)
    start = f"{SETTING} is {str(folder)!r}: it has no readable tokenizer: {name} is {problem}"
    assert str(caught.value).startswith(start) and "\n" not in str(caught.value)


def without(content: dict[str, Any], token: str) -> dict[str, Any]:
    """A tokenizer.json without one of its tokens."""
    vocabulary = dict(content["model"]["vocab"])
    vocabulary.pop(token)
    added = [each for each in content["added_tokens"] if each["content"] != token]
    return content | {"model": content["model"] | {"vocab": vocabulary}, "added_tokens": added}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda raw: without(raw, "[UNK]"),
            "it has no readable tokenizer (WordPiece error: Missing",
        ),
        (
            lambda raw: json.loads(json.dumps(raw).replace('"ids": [2]', '"ids": [5000]')),
            "its tokenizer has 5,001 tokens, and its model",
        ),
        (
            lambda raw: json.loads(json.dumps(raw).replace('"type_id": 1', '"type_id": 7')),
            "its tokenizer has 8 token types, and its model 2 (type_vocab_size in config.json)",
        ),
        (
            lambda raw: (
                raw | {"model": raw["model"] | {"vocab": raw["model"]["vocab"] | {"a": 5000}}}
            ),
            "its tokenizer has 5,001 tokens, and its model",
        ),
    ],
)
def test_a_tokenizer_whose_tokens_the_model_lacks_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    changed(folder, "tokenizer_config.json", unk_token=None)
    with pytest.raises(ValueError) as caught:
        load_tokenizer(folder, SETTING)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "null", '{"model_type": "bert", "hidden_size": "16"}'])
def test_a_tokenizer_is_not_blamed_for_a_damaged_config(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match="it has no readable config.json of a known architecture"):
        load_tokenizer(folder, SETTING)


def test_a_tokenizer_whose_length_is_no_number_is_refused(folder: Path) -> None:
    changed(folder, "tokenizer_config.json", model_max_length="512")
    with pytest.raises(ValueError, match="model_max_length in tokenizer_config.json is '512'; all"):
        load_tokenizer(folder, SETTING)


def test_a_vocabulary_alone_is_a_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film"]
    (folder / "vocab.txt").write_text("\n".join(words))
    assert load_tokenizer(folder, SETTING)("film")["input_ids"] == [2, 5, 3]


def test_an_index_cannot_point_out_of_the_folder(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"weight_map": {"a": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="names files that are not in the folder"):
        load_encoder(folder, SETTING)


def test_a_tokenizer_that_cannot_be_read_is_refused_with_what_to_do(folder: Path) -> None:
    changed(folder, "tokenizer.json", pre_tokenizer={"type": "Unheard"})
    with pytest.raises(ValueError, match="it has no readable tokenizer"):
        load_tokenizer(folder, SETTING)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    (folder / "spm.model").write_bytes(b"\n")
    with pytest.raises(ValueError, match="spm.model alone, a sentencepiece model.; allowed: tok"):
        load_tokenizer(folder, SETTING)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder: Path) -> None:
    load_tokenizer(folder, SETTING)
    changed(folder, "config.json", vocab_size=10)
    with pytest.raises(ValueError, match="tokens, and its model 10 .vocab_size in config.json"):
        load_tokenizer(folder, SETTING)
