"""The students whose settings ship, and the one that a command takes if none is asked for."""

from pathlib import Path

import pytest
from transformers import BertConfig, BertModel

from experiments import cli
from experiments.settings import DistillSettings
from experiments.shipped_students import with_default_student, with_student
from mkd.config import StudentConfig

FLOAT = {"train.precision": "float32"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of a small encoder, 32 wide."""
    folder = tmp_path_factory.mktemp("encoder")
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def settings_of(*argv: str, capsys: pytest.CaptureFixture[str]) -> tuple[DistillSettings, str]:
    """Returns the settings that the command gets, and what it prints."""
    jobs: list[DistillSettings] = []
    code = cli.entry(jobs.append, "", DistillSettings, list(argv), with_default_student)
    assert code == 0 and len(jobs) == 1
    return jobs[0], capsys.readouterr().out


def test_beside_a_pretrained_teacher_the_student_is_a_bag_that_starts_from_it(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, printed = settings_of("--teacher.checkpoint", str(checkpoint), capsys=capsys)
    assert (config.student.kind, config.student.init) == ("bag", "teacher")
    assert (config.student.hidden, config.student.embedding) == (256, 32)
    assert config.loss.temperature == 2 and config.train.lazy
    assert config.train.steps == DistillSettings().train.steps
    assert (
        "student: bag-2x256-e32, the default with teacher.checkpoint (others: --config bilstm or "
        "--config transformer)\n"
    ) in printed


def test_explicit_settings_win_over_those_of_the_default_student(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("train:\n  steps: 7\n  sampling: {alpha: 1.0}\n")
    argv = ["--config", str(file), "--loss.temperature", "1", "--data.tasks", '["sentiment"]']
    config, _ = settings_of(*argv, "--teacher.checkpoint", str(checkpoint), capsys=capsys)
    assert config.student.kind == "bag"
    assert (config.train.steps, config.train.sampling.alpha, config.loss.temperature) == (7, 1, 1)
    assert config.data.tasks == ["sentiment"]


def test_on_labels_alone_the_default_student_starts_from_the_checkpoint_without_a_teacher(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--teacher.checkpoint", str(checkpoint), "--loss.hard_weight", "1"]
    config, _ = settings_of(*argv, capsys=capsys)
    assert (config.student.kind, config.student.init) == ("bag", str(checkpoint))


@pytest.mark.parametrize("kind", ["mse", "sse"])
def test_another_loss_does_not_get_the_temperature_of_the_default_student(
    kind: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--teacher.checkpoint", str(checkpoint), "--loss.kind", kind]
    config, _ = settings_of(*argv, capsys=capsys)
    assert (config.student.kind, config.loss.kind, config.loss.temperature) == ("bag", kind, 1)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--teacher.checkpoint={checkpoint}", "--student.kind=transformer"],
        ["--teacher.checkpoint={checkpoint}", "--student.init={checkpoint}", "--student.hidden=32"],
    ],
)
def test_a_student_that_is_asked_for_stays(
    argv: list[str], checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [word.format(checkpoint=checkpoint) for word in argv]
    config, printed = settings_of(*filled, capsys=capsys)
    stated = StudentConfig(init=str(checkpoint), hidden=32) if len(argv) == 3 else StudentConfig()
    assert config.student == stated
    assert config == cli.parse(filled, "", DistillSettings)
    assert "the default with" not in printed


def test_a_transformer_student_is_sized_like_its_teachers_layers() -> None:
    base = DistillSettings()
    student = with_student(base, "transformer", FLOAT).student
    assert (student.layers, student.hidden, student.heads) == (2, 128, 4)


def test_a_shipped_student_is_fitted_to_its_teacher_unless_settings_are_given() -> None:
    settings = with_student(
        DistillSettings(), "bag", {"teacher.hidden": 64, "loss.temperature": 3.0}
    )
    assert (settings.student.init, settings.student.embedding) == ("teacher", 64)
    assert (settings.loss.temperature, settings.train.steps) == (3, DistillSettings().train.steps)
