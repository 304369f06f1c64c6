"""A whole run in its own process that is killed repeatedly: it resumes as the same run and ends
with the same result."""

import json
import random
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import equal

from tests.support.database import put_database
from tests.support.entry import (
    TINY,
    Event,
    client,
    command,
    counting,
    dying,
    entry_point,
    outcome,
    runs,
    started,
    wait_until,
)
from tests.support.entry import weights_of as student

RUN = [
    *TINY, "--data.tasks=[sentiment, similarity]", "--checkpoint_seconds=0",
    "--teacher.train.steps=24", "--train.steps=48", "--train.eval_every=2",
    "--teacher.train.eval_every=2",
]  # fmt: skip
SHORT = [*RUN, "--train.steps=40", "--baseline=false"]
KILLS = 10
ANY, CHECKPOINT = Event(), Event("os.rename", ".safetensors")
"""CHECKPOINT replaces the previous checkpoint."""


def killed(folder: Path, argv: list[str], event: Event, times: int) -> bool:
    """Starts a run that kills itself at an occurrence of an event; returns whether it did."""
    return (
        started(folder, dying, event, times, "distill", *argv).end().returncode == -signal.SIGKILL
    )


@pytest.mark.slow
def test_ten_kills_change_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kills alternate between any file event and the replacement of a checkpoint.

    Each start gets less than a tenth of the way, so that the run is unfinished at the next kill.
    """
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
        put_database(folder)  # some of the processes are killed before they could create it
    kinds = [ANY, CHECKPOINT]
    expected = outcome(
        started(whole, counting, kinds, tmp_path / "counts", "distill", *RUN, "--json").end()
    )
    counts, draw = json.loads((tmp_path / "counts").read_text()), random.Random()
    assert min(counts) >= 5 * KILLS
    moments = [
        (kinds[turn % 2], 1 + draw.randrange(counts[turn % 2] // KILLS)) for turn in range(KILLS)
    ]
    for moment in moments:
        assert killed(broken, RUN, *moment), f"{moment} of {moments}"
    again = outcome(command(broken, "distill", *RUN))
    (run,) = runs(broken)
    assert (run.info.status, run.info.run_id) == ("FINISHED", again["run_id"])
    scores = {
        name: value
        for name, value in expected["metrics"].items()
        if "speed/" not in name and name not in ("ms", "times_faster")
    }
    assert {name: again["metrics"][name] for name in scores} == scores

    monkeypatch.chdir(whole)
    weights = load_file(student(whole, expected["run_id"]))
    monkeypatch.chdir(broken)
    other = load_file(student(broken, again["run_id"]))
    assert weights.keys() == other.keys()
    assert all(equal(weights[name], other[name]) for name in weights)

    for name in (
        "train/learning_rate",
        "selection/mean",
        "teacher/train/learning_rate",
        "baseline/selection/mean",
    ):
        one, two = (
            [
                (metric.step, metric.value)
                for metric in client(folder).get_metric_history(run_id, name)
            ]
            for folder, run_id in ((whole, expected["run_id"]), (broken, again["run_id"]))
        )
        assert len(one) > 1 and sorted(two) == sorted(one), f"{name}: each step is told once"
    # A finished run leaves no folder.
    assert not list((broken / ".mkd" / "runs").glob("*/"))


def test_a_run_killed_from_outside_resumes(tmp_path: Path) -> None:
    put_database(tmp_path)
    child = started(tmp_path, entry_point, "distill", *SHORT)
    wait_until(child.stdout.read_text)
    child.process.kill()
    assert child.end().returncode == -signal.SIGKILL
    again = outcome(command(tmp_path, "distill", *SHORT))
    expected = [(again["run_id"], "FINISHED")]
    assert [(run.info.run_id, run.info.status) for run in runs(tmp_path)] == expected


@pytest.mark.slow
def test_a_damaged_checkpoint_is_reported_and_kept(tmp_path: Path) -> None:
    """The teacher's checkpoint. The last start already has another run, as under `mlflow run`."""
    put_database(tmp_path)
    assert killed(
        tmp_path, SHORT, Event("os.rename", "/teachers/"), 2
    )  # after the first checkpoint
    (file,) = tmp_path.glob(".mkd/teachers/*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    refused = command(tmp_path, "distill", *SHORT)
    assert refused.returncode == 2 and file.read_bytes() == whole[:-1]
    assert (
        refused.stderr.strip()
        .splitlines()[-1]
        .startswith(f"error: the checkpoint {file.relative_to(tmp_path)} is damaged")
    )

    file.write_bytes(whole)
    (run,) = runs(tmp_path)
    other_run = client(tmp_path).create_run(run.info.experiment_id).info.run_id
    again = outcome(command(tmp_path, "distill", *SHORT, MLFLOW_RUN_ID=other_run))
    assert again["run_id"] == run.info.run_id
    assert client(tmp_path).get_run(run.info.run_id).info.status == "FINISHED"
    empty = client(tmp_path).get_run(other_run)
    assert empty.info.run_name.endswith(f"continues in {run.info.run_id}")
    assert empty.data.metrics == {}


def test_a_killed_run_resumes_in_a_folder_with_apostrophes_and_spaces(tmp_path: Path) -> None:
    """The run is found by its folder's path, and MLflow's filters have no escapes."""
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    put_database(folder)
    argv = [
        *TINY, "--data.tasks=[sentiment]", "--checkpoint_seconds=0", "--baseline=false",
        "--cache=my cache's", "--speed.seconds=0",
    ]  # fmt: skip
    assert killed(folder, argv, CHECKPOINT, 2)
    ((first, status),) = [(run.info.run_id, run.info.status) for run in runs(folder)]
    assert status == "RUNNING"
    assert outcome(command(folder, "distill", *argv))["run_id"] == first
    assert [run.info.status for run in runs(folder)] == ["FINISHED"]
    assert list((folder / "my cache's" / "tokens").glob("*/manifest.json"))
