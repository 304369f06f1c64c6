"""Files of --config: lookup by path or name, and errors with file and line."""

from pathlib import Path

import pytest

from experiments.command_line.config_files import CONFIGS, config_file, line_of, read_config


def test_a_config_file_is_found_by_path_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text("seed: 1")
    (tmp_path / "bag").mkdir()
    assert config_file("own.yaml") == Path("own.yaml")
    assert config_file("bilstm") == CONFIGS / "bilstm.yaml"
    assert config_file("bag") == CONFIGS / "bag.yaml", "a folder is no file"
    (tmp_path / "bilstm").write_text("seed: 1")
    assert config_file("bilstm") == Path("bilstm"), "a path wins"


@pytest.mark.parametrize("name", ["lstm", "no/bilstm", "", "/"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="is no file; allowed: a YAML file, or ablation, bag, "):
        config_file(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nthreads: [1\n", ":3: not valid YAML"),
        ("seed: 1\nseed: 2\n", ":2: the key 'seed' occurs twice"),
        ("secret words\nof a user\n", ": not a mapping"),
        ("- secret\n", ": not a mapping"),
        ("", ": not a mapping"),
        ("a: b\x00secret", ": not valid YAML"),
        ("seed: 1\n1: secret\n", ": the key 1 is no text"),
    ],
)
def test_a_wrong_file_is_named_without_its_content(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_config(file)
    assert str(caught.value).startswith(f"{file}{message}") and "secret" not in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"seed: \xff\n")
    with pytest.raises(ValueError, match="c.yaml: not text in UTF-8"):
        read_config(tmp_path / "c.yaml")


def test_the_line_of_a_setting_is_found(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("seed: 1\ntrain:\n  steps: 3\n  sampling: {order: epoch,\n    alpha: 1}\n")
    keys = [["seed"], ["train"], ["train", "steps"], ["train", "sampling", "alpha"]]
    assert [line_of(file, each) for each in keys] == [1, 2, 3, 5]
    assert line_of(file, ["train", "lazy"]) is None and line_of(file, ["seed", "x"]) is None
