"""Two processes that train together, started as users start them, beside one that sees the same batches alone."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from entry import TINY, client, command, environment, outcome, runs
from safetensors.torch import load_file
from test_kill import student

from mkd import processes
from mkd.batches import Batch
from mkd.config import Config, LossConfig, TrainConfig
from mkd.pipeline import prepare
from mkd.tokens import Inputs

# The batches of an epoch's end have few rows, the teacher's one: a process may have none.
RUN = [
    *TINY, "--data.tasks=[sentiment, similarity]", "--teacher.dropout=0", "--train.batch_size=7", "--teacher.train.batch_size=5",
    "--train.steps=60", "--teacher.train.steps=60", "--train.eval_every=20", "--loss.hard_weight=0.5",
    "--loss.balance=uncertainty", "--loss.match.weight=1",
    # Its table of n-grams has sparse gradients.
    "--student.kind=bag", "--student.buckets=4096", "--train.lazy=true",
]  # fmt: skip


def launched(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """The entry point in two processes on the CPU, joined by gloo."""
    # Of its options this is the one that starts several processes without MPI, with GPUs or without.
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"]
    rest = ["--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0", "-m", "experiments.distill", *argv]
    return subprocess.run([*launcher, *rest], cwd=folder, env=environment(), capture_output=True, text=True, timeout=280)


def losses(folder: Path, run_id: str) -> dict[str, list[float]]:
    """All losses that the run was told of, by name, in the order of their steps."""
    names = [name for name in client(folder).get_run(run_id).data.metrics if "train/" in name and "rate" not in name]
    return {
        name: [m.value for m in sorted(client(folder).get_metric_history(run_id, name), key=lambda m: m.step)] for name in names
    }


@pytest.mark.timeout(600)
def test_two_processes_have_the_losses_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Teacher, student and twin; rows with and without labels, and all that is learnt or projected beside the model."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    alone, together = outcome(command(one, "distill", *RUN)), outcome(launched(two, *RUN))
    (run,) = runs(two)
    assert run.info.status == "FINISHED" and run.data.metrics["quality/mean"] == together["metrics"]["quality/mean"]
    expected, found = losses(one, alone["run_id"]), losses(two, together["run_id"])
    assert {name.split("train/")[0] for name in expected} == {"teacher/", "", "baseline/"}
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-3, abs=1e-4), name

    monkeypatch.chdir(one)
    weights = load_file(student(one, alone["run_id"]))
    monkeypatch.chdir(two)
    for name, value in load_file(student(two, together["run_id"])).items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=5e-3, msg=name)


def test_several_gpus_cannot_add_up_sparse_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(processes, "kind_of", lambda device: "cuda")
    with pytest.raises(ValueError, match="^train.lazy is true; allowed on several GPUs: false"):
        prepare(Config(train=TrainConfig(lazy=True)))


def test_rows_cannot_be_mixed_across_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="loss.mixup is 0.4; allowed: 0 with several processes"):
        prepare(Config(loss=LossConfig(mixup=0.4)))


def batch(labels: list[float]) -> Batch:
    ids = torch.arange(len(labels)).reshape(-1, 1, 1)
    return Batch("t", Inputs(ids, torch.ones_like(ids, dtype=torch.bool), None), torch.tensor(labels), None)


@pytest.mark.parametrize("rank", [0, 1])
def test_shares_and_what_they_count_for_by_hand(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))
    nan = float("nan")
    own, parts = processes.share(batch([1.0, nan, 0.0, nan, 2.0]))
    rows: Any = [[0, 2, 4], [1, 3]][rank]
    assert own.inputs.ids.flatten().tolist() == rows
    assert parts.of_mean == pytest.approx([6 / 5, 4 / 5][rank])
    assert parts.of_terms.tolist() == pytest.approx([[3 / 5, 3 / 5, 1, 3 / 5], [2 / 5, 2 / 5, 0, 2 / 5]][rank])


def test_of_one_row_one_process_has_none_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    own, parts = processes.share(batch([1.0]))
    assert own.inputs.ids.flatten().tolist() == [0] and parts.of_mean == 0 and parts.of_terms.tolist() == [0, 0, 0, 0]


def test_one_process_has_the_whole_batch_as_it_is() -> None:
    whole = batch([1.0, 2.0])
    own, parts = processes.share(whole)
    assert own is whole and parts.of_mean == 1 and parts.of_terms.tolist() == [1, 1, 1, 1]
