"""Stopped trainings, which continue from their checkpoints and end with identical weights."""

import json
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mkd import names
from mkd.config import LossConfig, SamplingConfig, StudentConfig, TrainConfig
from mkd.evaluation.scoring import selection_scores
from mkd.result import RunStopped
from mkd.storage.run_folder import (
    Checkpoint,
    SavedState,
    result_settings,
    run_folder,
    run_folder_path,
)
from mkd.students import make_student
from mkd.tokenization.tokens import layout_of
from mkd.training.batches import Batch, TaskRows, joint_batches
from mkd.training.trainer import TrainingOutcome, train_model
from tests.support.entry import started
from tests.support.tiny import Datas, Tokenizer

SAVED = SavedState(
    {"a": torch.arange(6.0).reshape(2, 3), "b/count": torch.tensor(3)},
    {"step": 7, "score": float("-inf")},
)
OF = {"seed": 1, "loss": {"kind": "kl", "temperature": 2.0}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Returns the file of a checkpoint."""
    Checkpoint(tmp_path / "a" / "student.safetensors", OF, 0).save(SAVED)
    return tmp_path / "a" / "student.safetensors"


def test_what_was_saved_is_loaded(file: Path) -> None:
    loaded = Checkpoint(file, OF, 0).load()
    assert loaded is not None and loaded.numbers == SAVED.numbers
    assert loaded.tensors.keys() == SAVED.tensors.keys()
    assert all(torch.equal(loaded.tensors[name], value) for name, value in SAVED.tensors.items())
    # No temporary file is left.
    assert [path.name for path in file.parent.iterdir()] == ["student.safetensors"]


def test_where_nothing_was_saved_nothing_is_loaded(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "none", OF, 0).load() is None


def test_a_checkpoint_is_due_when_it_is_old_enough(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "x", OF, 0).due()
    assert not Checkpoint(tmp_path / "x", OF, 60).due()


def test_a_checkpoint_of_other_settings_is_refused_with_both_named(file: Path) -> None:
    other = Checkpoint(file, {"seed": 2, "loss": {"kind": "kl", "temperature": 4.0}}, 0)
    message = (
        "with another setting: loss.temperature was 2.0 and is 4.0; seed was 1 and is 2: delete"
    )
    with pytest.raises(ValueError, match=message):
        other.load()


def test_another_version_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mkd.storage.run_folder.CHECKPOINT_FORMAT", 2)
    message = r"made with another version: format was 1 and is 2: delete .*student.safetensors"
    with pytest.raises(ValueError, match=message):
        Checkpoint(file, OF, 0).load()


@pytest.mark.parametrize("length", [0, 5, 200, -1])
def test_a_truncated_checkpoint_is_named(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match=f"the checkpoint {file} is damaged"):
        Checkpoint(file, OF, 0).load()


def test_a_folder_in_place_of_a_checkpoint_is_named(file: Path) -> None:
    file.unlink()
    file.mkdir()
    with pytest.raises(ValueError, match=f"the checkpoint {file} is a folder: delete {file} to st"):
        Checkpoint(file, OF, 0).load()


def test_a_single_changed_bit_is_found_wherever_it_is(file: Path) -> None:
    """It may be in the header, which has settings and numbers, or in the weights."""
    whole = file.read_bytes()
    for position in range(8, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 1
        file.write_bytes(bytes(changed))
        with pytest.raises(ValueError, match="is damaged"):
            Checkpoint(file, OF, 0).load()


def test_numbers_that_were_changed_by_hand_are_found(file: Path) -> None:
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    about = json.loads(metadata["about"]) | {"numbers": {"step": 8}}
    save_file(load_file(file), file, metadata | {"about": json.dumps(about)})
    with pytest.raises(ValueError, match="its content was changed after it was written"):
        Checkpoint(file, OF, 0).load()


def save_without_room(file: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
    try:
        Checkpoint(file, OF, 0).save(SavedState({"a": torch.zeros(10000)}, {}))
    except OSError as error:
        sys.exit(str(error))


def test_without_room_file_and_bytes_are_named_and_the_last_stays(file: Path) -> None:
    """The kernel limits the files of the process to 20,000 bytes and refuses what exceeds them."""
    done = started(file.parents[1], save_without_room, file).end()
    assert f"{file}: a checkpoint of 40,000 bytes cannot be written (" in done.stderr
    assert "Traceback" not in done.stderr
    loaded = Checkpoint(file, OF, 0).load()
    assert loaded is not None and loaded.numbers["step"] == 7
    assert [path.name for path in file.parent.iterdir()] == ["student.safetensors"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_settings_that_change_nothing_are_not_part_of_a_trainings_settings() -> None:
    free = {"cache": "x", "checkpoint_seconds": 1, "threads": 2, "registry": {"name": "a"}}
    free |= {"export": {"max_loss": 1.0}, "speed": {"seconds": 3}, "baseline": False}
    assert result_settings(free | {"seed": 1, "loss": {}}) == {"seed": 1, "loss": {}}
    assert run_folder_path(free, "distill") == run_folder_path({"cache": "x"}, "distill")


def test_a_run_folder_depends_on_the_export_folder_but_not_on_the_master_of_a_labelling() -> None:
    exports = [{"cache": "x", "export": {"to": to}} for to in ("a", "b")]
    assert len({run_folder_path(each, "export") for each in exports}) == 2
    labels = [{"cache": "x", "label": {"task": "t", "master": master}} for master in ("a", "b")]
    assert len({run_folder_path(each, "label") for each in labels}) == 1


class Stop(Exception):
    """Ends a training in the middle, like the end of its process."""


VARIANTS: dict[str, tuple[StudentConfig, LossConfig, dict[str, Any]]] = {
    "bilstm": (StudentConfig(kind="bilstm", hidden=8, dropout=0.2), LossConfig(), {}),
    "transformer": (StudentConfig(kind="transformer", hidden=16, dropout=0.2),
                    LossConfig(hard_weight_end=1.0), {}),
    "bag, lazy": (StudentConfig(kind="bag", hidden=8, buckets=4096, dropout=0.2), LossConfig(),
                  {"lazy": True}),
    "uncertainty": (StudentConfig(kind="bilstm", hidden=8), LossConfig(balance="uncertainty"), {}),
    "moving alpha": (StudentConfig(kind="bag", hidden=8), LossConfig(),
                     {"sampling": SamplingConfig(alpha_end=-1.0)}),
    "patience": (StudentConfig(kind="bag", hidden=8), LossConfig(),
                 {"patience": 2, "eval_every": 5}),
}  # fmt: skip


class Training:
    """One training of a variant, which can be stopped after a number of reports."""

    def __init__(self, name: str, datas: Datas, tokenizer: Tokenizer, file: Path) -> None:
        self.student_config, self.loss, settings = VARIANTS[name]
        self.config = TrainConfig(
            **({"steps": 70, "batch_size": 4, "learning_rate": 0.01, "eval_every": 30} | settings)
        )
        self.datas, self.tokenizer, self.file = datas, tokenizer, file
        self.steps: list[int] = []

    def run(
        self, stop_after: int = 1000, seed: int = 0
    ) -> tuple[TrainingOutcome, dict[str, torch.Tensor]]:
        """Runs the training from its checkpoint, if there is one.

        - `seed`: of a new student and of torch; it does not influence what the checkpoint restores
        """
        torch.manual_seed(seed)
        student = make_student(self.student_config, self.datas, len(self.tokenizer), 32, None)
        layout = layout_of(self.tokenizer, student.joined, 32)
        teacher = [
            np.random.default_rng(0).normal(size=(len(d.train.labels), d.kind.num_logits))
            for d in self.datas
        ]
        sources = [
            TaskRows(d, d.train_rows, t.astype(np.float32))
            for d, t in zip(self.datas, teacher, strict=True)
        ]
        reports = 0

        def batches(start: int) -> Iterator[Batch]:
            return joint_batches(
                sources, layout, self.config.batch_size, self.config.sampling, 0, self.config.steps,
                start,
            )  # fmt: skip

        def report(step: int, metrics: dict[str, float]) -> None:
            nonlocal reports
            if metrics.keys() <= {names.SHARE, names.SHOWN_LOSS}:  # for a progress bar
                return
            reports += 1
            self.steps.append(step)
            if reports > stop_after:
                raise Stop

        def scores() -> dict[str, float]:
            return selection_scores(student, self.datas, layout)

        checkpoint = Checkpoint(self.file, {}, 0)
        trained = train_model(student, batches, scores, self.loss, self.config, report, checkpoint)
        return trained, student.state_dict()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    name: str, datas: Datas, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """It is stopped several times and continued with new objects; the weights are bit-identical."""
    whole = Training(name, datas, tokenizer, tmp_path / "whole")
    expected, weights = whole.run()
    stopped, starts = Training(name, datas, tokenizer, tmp_path / "stopped"), 1
    for seed in range(20):
        try:
            outcome, final_weights = stopped.run(stop_after=2, seed=seed)
        except Stop:
            starts += 1
        else:
            break
    assert starts > 2 and outcome == expected
    assert final_weights.keys() == weights.keys()
    assert all(torch.equal(final_weights[key], value) for key, value in weights.items())
    assert set(stopped.steps) == set(whole.steps), "no report is missing"


def test_a_finished_run_is_not_repeated(datas: Datas, tokenizer: Tokenizer, tmp_path: Path) -> None:
    training = Training("bilstm", datas, tokenizer, tmp_path / "file")
    expected, weights = training.run()
    training.steps.clear()
    outcome, again = training.run(seed=5)
    assert outcome == expected
    assert all(torch.equal(again[key], value) for key, value in weights.items())
    assert training.steps == [70], "only the final metrics are reported again"


def test_a_run_folder_stays_as_long_as_there_is_something_to_continue_from(tmp_path: Path) -> None:
    config = {"cache": str(tmp_path)}
    with pytest.raises(ValueError, match="refused"), run_folder(config, "distill") as folder:
        raise ValueError("refused")
    assert not folder.exists(), "the run had stored nothing"
    with pytest.raises(Stop), run_folder(config, "distill") as again:
        (again / "started").touch()
        raise Stop
    assert again == folder and folder.exists()
    with pytest.raises(ValueError, match="refused"), run_folder(config, "distill"):
        raise ValueError("refused")
    assert folder.exists(), "the later start is refused, and the work of the earlier one is kept"
    with run_folder(config, "distill"):
        pass
    assert not folder.exists(), "the run has ended"
    with (
        run_folder(config, "teacher") as other,
        run_folder(config | {"seed": 1}, "distill") as third,
    ):
        assert len({folder, other, third}) == 3


def test_two_processes_cannot_work_on_the_same_run(tmp_path: Path) -> None:
    config, both = {"cache": str(tmp_path)}, "another process is running the same training"
    with (
        run_folder(config, "distill"),
        pytest.raises(ValueError, match=both),
        run_folder(config, "distill"),
    ):
        raise AssertionError("both runs were started")


# Runs that end on purpose.


def test_the_folder_of_a_run_that_ended_for_good_is_gone(tmp_path: Path) -> None:
    config = {"cache": str(tmp_path)}
    with (
        pytest.raises(RunStopped, match="behind the others") as caught,
        run_folder(config, "trial") as folder,
    ):
        (folder / "student.safetensors").touch()
        raise RunStopped("pruned", "behind the others")
    assert caught.value.state == "pruned"
    assert folder == run_folder_path(config, "trial") and not folder.exists()
    with run_folder(config, "trial") as again:
        assert list(again.iterdir()) == [], "a run with the same settings starts anew"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_runs_folder_is_kept(error: type[BaseException], tmp_path: Path) -> None:
    config = {"cache": str(tmp_path)}
    with pytest.raises(error), run_folder(config, "trial") as folder:
        (folder / "student.safetensors").write_text("as far as it was")
        raise error
    with run_folder(config, "trial") as again:
        assert (again / "student.safetensors").read_text() == "as far as it was"
    assert not folder.exists()


def test_a_run_that_was_interrupted_and_then_ended_for_good_leaves_nothing(tmp_path: Path) -> None:
    config = {"cache": str(tmp_path)}
    with pytest.raises(KeyboardInterrupt), run_folder(config, "trial") as folder:
        (folder / "student.safetensors").touch()
        raise KeyboardInterrupt
    with pytest.raises(RunStopped), run_folder(config, "trial"):
        raise RunStopped("infeasible", "too slow")
    assert not folder.exists()


# What else may happen to the folder.


def test_empty_folders_are_removed(tmp_path: Path) -> None:
    config = {"cache": str(tmp_path)}
    with pytest.raises(ConnectionError), run_folder(config, "distill") as folder:
        raise ConnectionError("the store is away")
    assert not folder.exists()
    folder.mkdir()  # as a killed process leaves it
    with run_folder(config, "teacher"):
        assert not folder.exists()


def test_an_empty_folder_that_is_in_use_stays(tmp_path: Path) -> None:
    config = {"cache": str(tmp_path)}
    with run_folder(config, "distill") as folder, run_folder(config, "teacher"):
        assert folder.exists()


def test_a_folder_that_is_deleted_under_its_run_is_named(tmp_path: Path) -> None:
    config = {"cache": str(tmp_path / "cache")}
    message = "was deleted while the run worked in it .* starts anew$"
    with pytest.raises(OSError, match=message), run_folder(config, "distill") as folder:
        shutil.rmtree(tmp_path / "cache")
        (folder / "file").write_text("")
    with run_folder(config, "distill") as folder:
        shutil.rmtree(tmp_path / "cache")
    assert not (tmp_path / "cache").exists(), "the run did not need it any more"
