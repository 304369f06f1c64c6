"""A whole run in a process of its own that is killed again and again: it goes on as the same run, to the same end."""

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import mlflow
import pytest
from entry import TINY, client, command, entry_point, outcome, runs, started, wait_until
from safetensors.torch import load_file
from torch import equal

from experiments.run import make_database

RUN = [
    *TINY, "--data.tasks=[sentiment, similarity]", "--checkpoint_seconds=0.2", "--teacher.train.steps=150",
    "--train.steps=400", "--train.eval_every=50", "--teacher.train.eval_every=50",
]  # fmt: skip
SHORT = [*RUN, "--train.steps=50", "--baseline=false"]
KILLS = 10


def killed(folder: Path, argv: list[str], moment: Callable[[], object]) -> bool:
    """Starts the run, kills it when `moment`, called when its settings are printed, returns; whether it was still at work."""
    child = started(folder, entry_point, "distill", *argv)
    wait_until(child.stdout.read_text)
    moment()
    child.process.kill()
    return child.end().returncode == -signal.SIGKILL


def make_store(folder: Path) -> None:
    """The folder with MLflow's database, which takes longer to be made than some of the processes live."""
    folder.mkdir(exist_ok=True)
    make_database(f"sqlite:///{folder / 'mlflow.db'}")


def checkpoints(folder: Path) -> set[tuple[Path, int]]:
    """All weights that are kept in the folder's cache, and when they were written."""
    found = set()
    for path in folder.glob(".mkd/*/**/*.safetensors"):
        with suppress(FileNotFoundError):  # replaced or removed meanwhile
            found.add((path, path.stat().st_mtime_ns))
    return found


def newer(folder: Path, known: set[tuple[Path, int]]) -> set[tuple[Path, int]]:
    return checkpoints(folder) - known


def student(folder: Path, run_id: str) -> Path:
    """The weights of the student that the run has logged."""
    store = f"sqlite:///{folder / 'mlflow.db'}"
    (found,) = Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/student", tracking_uri=store)).rglob("model.safetensors")
    return found


@pytest.mark.timeout(600)
def test_a_run_that_is_killed_ten_times_is_one_run_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    make_store(whole)
    make_store(broken)
    begin = time.monotonic()
    expected = outcome(command(whole, "distill", *RUN))
    seconds = time.monotonic() - begin
    moments, kills = random.Random(), 0
    for turn in range(KILLS):
        # At any moment, and in turn right after a checkpoint: on a slow machine all random ones may be before the first.
        written = partial(wait_until, partial(newer, broken, checkpoints(broken)))
        kills += killed(broken, RUN, written if turn % 2 else partial(time.sleep, moments.uniform(0, 0.8 * seconds / KILLS)))
    assert kills == KILLS, "the run is too short to be killed so often"
    found = outcome(command(broken, "distill", *RUN))
    (run,) = runs(broken)
    assert (run.info.status, run.info.run_id) == ("FINISHED", found["run_id"])
    scores = {name: value for name, value in expected["metrics"].items() if "speed/" not in name}
    assert {name: found["metrics"][name] for name in scores} == scores

    monkeypatch.chdir(whole)
    weights = load_file(student(whole, expected["run_id"]))
    monkeypatch.chdir(broken)
    again = load_file(student(broken, found["run_id"]))
    assert weights.keys() == again.keys() and all(equal(weights[name], again[name]) for name in weights)

    for name in ("train/learning_rate", "selection/mean", "teacher/train/learning_rate", "baseline/selection/mean"):
        one, other = (
            [(metric.step, metric.value) for metric in client(folder).get_metric_history(run_id, name)]
            for folder, run_id in ((whole, expected["run_id"]), (broken, found["run_id"]))
        )
        assert len(one) > 1 and sorted(other) == sorted(one), f"{name}: each step is told once"
    assert not list((broken / ".mkd" / "runs").glob("*/")), "nothing is left of a run that has ended"


def test_a_damaged_checkpoint_is_named_and_kept_and_a_run_of_mlflows_own_gives_way(tmp_path: Path) -> None:
    """The teacher's; then a start as `mlflow run` makes it, which has a run of its own by then."""
    make_store(tmp_path)
    refining = partial(tmp_path.glob, ".mkd/teachers/*.safetensors")
    assert killed(tmp_path, SHORT, partial(wait_until, lambda: list(refining())))
    (file,) = refining()
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    refused = command(tmp_path, "distill", *SHORT)
    assert refused.returncode == 2 and file.read_bytes() == whole[:-1]
    assert refused.stderr.strip().splitlines()[-1].startswith(f"error: the checkpoint {file.relative_to(tmp_path)} is damaged")

    file.write_bytes(whole)
    (run,) = runs(tmp_path)
    own = client(tmp_path).create_run(run.info.experiment_id).info.run_id
    found = outcome(command(tmp_path, "distill", *SHORT, MLFLOW_RUN_ID=own))
    assert found["run_id"] == run.info.run_id
    assert client(tmp_path).get_run(run.info.run_id).info.status == "FINISHED"
    empty = client(tmp_path).get_run(own)
    assert empty.info.run_name.endswith(f"goes on in {run.info.run_id}") and empty.data.metrics == {}
