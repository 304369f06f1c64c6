"""Two to four processes that train together, compared with one that sees the same batches; two are
started with accelerate, as users do."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mkd import precision
from mkd.config import Config, TrainConfig
from mkd.tokenization.tokens import Inputs
from mkd.training.batches import Batch
from mkd.training.shares import split_batch
from tests.support.database import put_database
from tests.support.entry import (
    TINY,
    client,
    command,
    entry_point,
    environment,
    outcome,
    runs,
    started,
)
from tests.support.entry import weights_of as student
from tests.support.serve import free_port

# Batches of two or three rows are smaller than most numbers of processes, so that up to three
# processes have no row.
RUN = [
    *TINY, "--data.tasks=[sentiment, similarity]", "--teacher.dropout=0", "--train.batch_size=3",
    "--teacher.train.batch_size=2", "--train.steps=16", "--teacher.train.steps=16",
    "--train.eval_every=8", "--loss.hard_weight=0.5", "--loss.balance=uncertainty",
    "--loss.match.weight=1",
    # The bag's table of n-grams uses a lazy Adam.
    "--student.kind=bag", "--student.buckets=4096", "--train.lazy=true",
]  # fmt: skip


def launched(folder: Path, number: int, *argv: str) -> subprocess.CompletedProcess[str]:
    """Runs the entry point in `number` processes on the CPU, connected by gloo."""
    # --multi_gpu starts several processes without MPI, whether or not there are GPUs.
    launcher = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        f"--num_processes={number}",
    ]
    rest = [
        "--num_machines=1",
        "--mixed_precision=no",
        "--dynamo_backend=no",
        "--main_process_port=0",
    ]
    whole = [*launcher, *rest, "-m", "experiments.distill", "--json", *argv]
    # The fault handler shows where a process aborts; the launcher's long output is cut.
    done = subprocess.run(
        whole,
        cwd=folder,
        env=environment(PYTHONFAULTHANDLER="1"),
        capture_output=True,
        text=True,
        timeout=560,
    )
    done.stderr = done.stderr.partition("torch/distributed/elastic")[0]
    return done


def together(
    folder: Path, number: int, work: Callable[..., None], *args: Any
) -> list[subprocess.CompletedProcess[str]]:
    """Runs work(*args) in `number` processes, with the environment of accelerate's launcher."""
    port = str(free_port())
    group = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    places = [group | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number)]
    ends = [child.end() for child in [started(folder, work, *args, **place) for place in places]]
    assert not any(done.returncode for done in ends), [done.stderr[-1000:] for done in ends]
    return ends


def forked(folder: Path, number: int, *argv: str) -> subprocess.CompletedProcess[str]:
    put_database(folder)
    return together(folder, number, entry_point, "distill", "--json", *argv)[0]


def losses(folder: Path, run_id: str) -> dict[str, list[float]]:
    """All logged losses of a run, by name, in the order of their steps."""
    names = [
        name
        for name in client(folder).get_run(run_id).data.metrics
        if "train/" in name and "rate" not in name
    ]
    return {
        name: [
            m.value
            for m in sorted(client(folder).get_metric_history(run_id, name), key=lambda m: m.step)
        ]
        for name in names
    }


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, list[float]], dict[str, torch.Tensor]]:
    """The losses of a run with one process, and its student's weights."""
    folder = tmp_path_factory.mktemp("one")
    result = outcome(command(folder, "distill", *RUN))
    return losses(folder, result["run_id"]), weights(folder, result["run_id"])


def weights(folder: Path, run_id: str) -> dict[str, torch.Tensor]:
    """The weights of the student that the run has logged."""
    with chdir(folder):
        return load_file(student(folder, run_id))


@pytest.mark.parametrize(
    ("number", "start"),
    [pytest.param(2, launched, marks=pytest.mark.slow), (3, forked), (4, forked)],
)
def test_several_processes_have_the_same_losses_as_one(
    number: int,
    start: Callable[..., subprocess.CompletedProcess[str]],
    alone: tuple[dict[str, list[float]], dict[str, torch.Tensor]],
    tmp_path: Path,
) -> None:
    """Teacher, student and baseline; labelled and unlabelled rows; learnt loss weights and
    projections."""
    together = outcome(start(tmp_path, number, *RUN))
    (run,) = runs(tmp_path)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["quality/mean"] == together["metrics"]["quality/mean"]
    expected, actual = alone[0], losses(tmp_path, together["run_id"])
    assert {name.split("train/")[0] for name in expected} == {"teacher/", "", "baseline/"}
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        assert actual[name] == pytest.approx(values, rel=1e-3, abs=1e-4), name
    for name, value in weights(tmp_path, together["run_id"]).items():
        torch.testing.assert_close(value, alone[1][name], rtol=0, atol=5e-3, msg=name)


def resolved(folder: Path) -> None:
    """Writes the precision that `auto` becomes in this process. By their own measurements, only the
    first would use bfloat16."""
    rank = os.environ["RANK"]
    measured = 3.0 if rank == "0" else 0.1
    pytest.MonkeyPatch().setattr(precision, "measure_speedup", lambda device: measured)
    config = Config(device="cpu", cache=str(folder / rank), train=TrainConfig(precision="auto"))
    (folder / f"{rank}.txt").write_text(precision.resolve_precision(config, config).train.precision)


def test_all_processes_use_the_precision_measured_by_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    together(folder, 3, resolved, folder)
    assert [(folder / f"{rank}.txt").read_text() for rank in range(3)] == ["bfloat16"] * 3
    assert [file.name for file in folder.iterdir() if file.is_dir()] == ["0"], "only it measures"


def batch(labels: list[float]) -> Batch:
    ids = torch.arange(len(labels)).reshape(-1, 1, 1)
    return Batch(
        "t", Inputs(ids, torch.ones_like(ids, dtype=torch.bool), None), torch.tensor(labels), None
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_shares_and_factors_match_hand_values(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))
    nan = float("nan")
    local_batch, part = split_batch(batch([1.0, nan, 0.0, nan, 2.0]))
    rows: Any = [[0, 2, 4], [1, 3]][rank]
    assert local_batch.inputs.ids.flatten().tolist() == rows
    assert part.factor() == pytest.approx([6 / 5, 4 / 5][rank])
    expected = pytest.approx([[3 / 5, 3 / 5, 1, 3 / 5], [2 / 5, 2 / 5, 0, 2 / 5]][rank])
    assert [part.of(term) for term in ("loss", "soft", "hard", "match")] == expected


@pytest.mark.parametrize("rank", range(1, 8))
def test_one_row_counts_in_one_process(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("RANK", str(rank))
    local_batch, part = split_batch(batch([1.0]))
    assert (
        local_batch.inputs.ids.flatten().tolist() == [0] and part == (0, 0) and part.factor() == 0
    )


@pytest.mark.parametrize("number", [2, 3, 4, 8])
@pytest.mark.parametrize("rows", range(1, 10))
def test_the_shares_of_all_processes_add_up_to_the_batch(
    number: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Averaged over processes, mean loss times factor is the mean over the batch's rows."""
    monkeypatch.setenv("WORLD_SIZE", str(number))
    values, mean = [float(value**2) for value in range(rows)], 0.0
    for rank in range(number):
        monkeypatch.setenv("RANK", str(rank))
        local_batch, part = split_batch(batch(values))
        mean += float(local_batch.labels_B.mean()) * part.factor() / number
    assert mean == pytest.approx(sum(values) / rows)


def test_one_process_has_the_unchanged_batch() -> None:
    whole = batch([1.0, 2.0])
    local_batch, part = split_batch(whole)
    assert local_batch is whole and part == (1, 1) and part.factor() == 1
