"""Keys that occur twice, in all YAML that the project reads."""

from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentError

from experiments import cli
from experiments.settings import DistillSettings
from mkd.config import DataConfig
from mkd.storage.addresses import one_line
from mkd.storage.strict_yaml import check_yaml
from mkd.tasks.sources import load_tasks

TWICE: dict[str, tuple[str, str, int, int]] = {
    "at the top": ("a: 1\nb: 2\na: 3\n", "a", 3, 1),
    "in a section": ("train:\n  steps: 1\n  sampling:\n    alpha: 1\n    alpha: 2\n", "alpha", 5,
                     4),
    "in a list": ("- {x: 1}\n- {y: 1,\n   y: 1}\n", "y", 3, 2),
    "quoted": ("a: 1\n'a': 1\n", "a", 2, 1), "read as equal": ("yes: 1\ntrue: 1\n", "true", 2, 1),
    "below an anchor": ("base: &b {a: 1, a: 2}\nc: *b\n", "a", 1, 1),
    "two merges": ("b: &b {a: 1}\nc:\n  <<: *b\n  <<: *b\n", "<<", 4, 3),
    "JSON": ('{"a": 1, "a": 1}', "a", 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", TWICE)
def test_a_key_that_occurs_twice_is_refused_with_file_and_line(name: str) -> None:
    text, key, line, first = TWICE[name]
    for content in (text, text.encode()):
        with pytest.raises(ValueError) as caught:
            check_yaml(content, "f.yaml")
        assert (
            str(caught.value)
            == f"f.yaml:{line}: the key {key!r} occurs twice, first in line {first}; allowed: once"
        )


@pytest.mark.parametrize(
    "text",
    ["", "3", "a: 1\nb: {a: 1}\n", "- {a: 1}\n- {a: 1}\n",
     "b: &b {a: 1}\nc: {<<: *b, a: 2}\nd: *b\n", "a: &x [*x]\n", "1: a\n'1': b\n"],
)  # fmt: skip
def test_yaml_with_each_key_once_is_accepted(text: str) -> None:
    check_yaml(text)


def test_invalid_yaml_is_a_yaml_error() -> None:
    with pytest.raises(yaml.YAMLError):
        check_yaml("a: [}")


def refused(*argv: str) -> str:
    with pytest.raises((ValueError, ArgumentError)) as caught:
        cli.parse(list(argv), "", DistillSettings)
    return one_line(caught.value)


def test_files_of_settings_and_values_on_the_command_line_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("seed: 1\ntrain: {steps: 10}\nloss: {kind: mse}\ntrain: {batch_size: 20}\n")
    expected = f"{file}:4: the key 'train' occurs twice, first in line 2; allowed: once"
    assert refused("--config", str(file)) == expected == refused(f"--config={file}")
    file.write_text("train:\n  steps: 10\n  steps: 20\n")
    assert refused("--config", str(file)).startswith(f"{file}:3: the key 'steps' occurs twice")
    assert "the key 'a' occurs twice" in refused("--loss.task_weights", '{"a": 1, "a": 2}')
    message = "the key 'seed' occurs twice, first in line 1; allowed: once"
    with pytest.raises(ValueError, match=message):
        cli.from_yaml("seed: 1\nseed: 2\n", DistillSettings)
    file.write_text(
        "train: {steps: 10, learning_rate: 3e-5}\nsearch: {space: {train.steps: [1, 2]}}\n"
    )
    assert cli.parse(["--config", str(file)], "", DistillSettings).train.learning_rate == 3e-5


def test_a_mistake_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("seed: 1\nseed: 2\n")
    assert cli.entry(lambda config: None, "", DistillSettings, ["--config", str(file)]) == 2
    expected = f"error: {file}:2: the key 'seed' occurs twice, first in line 1; allowed: once\n"
    assert capsys.readouterr().err == expected


TASK = "{kind: regression, text: t, label: s, metrics: pearson, train: a.csv, dev: a.csv}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"reviews: {TASK}\nstars: {TASK}\nreviews: {TASK}\n",
         ":3: the key 'reviews' occurs twice, first in line 1"),
        ("reviews:\n  train: a.csv\n  dev: a.csv\n  train: b.csv\n",
         ":4: the key 'train' occurs twice, first in line 2"),
    ],
)  # fmt: skip
def test_a_file_of_tasks_is_read_so(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "tasks.yaml").write_text(text)
    with pytest.raises(ValueError) as caught:
        load_tasks(DataConfig(source="files", path=str(tmp_path / "tasks.yaml")))
    assert str(caught.value) == f"{tmp_path / 'tasks.yaml'}{message}; allowed: once"


KEY, VALUE, ITEM = "a: 1\n{}: 2\n", "a: 1\nb: {}\n", "a: 1\nb: [{}]\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, "2020-13-45") for text in (KEY, VALUE, ITEM)),
        *((text, "9" * 5000) for text in (VALUE, ITEM)),
        *((text, "0x" + "f" * 5000) for text in (VALUE, ITEM)),
    ],
)
def test_a_value_that_only_looks_like_a_date_or_a_number_is_named(text: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"^f.yaml:2: (2020-13-45|9{40}|0xf{38}) .* in quotes$"):
        check_yaml(text.format(value), "f.yaml")
