"""A run reports a full disk in one line, and finishes once there is space."""

import json
from pathlib import Path

import pytest

from tests.bench.full_disks import tried
from tests.support import disks
from tests.support.entry import started

KIB = 1 << 10


def try_disks() -> None:
    """Prints the outcome of a run on each small disk, as JSON lines."""
    for place, size in (("cache", 64 * KIB), ("artifacts", 64 * KIB)):
        print(json.dumps([place, *tried(place, size)]), flush=True)


@pytest.mark.slow
def test_a_full_disk_is_reported_and_the_run_finishes_on_a_larger_one(tmp_path: Path) -> None:
    folder = tmp_path / "disks"
    folder.mkdir()
    disks.skip_without_mounts(folder)
    done = started(folder, try_disks).end()
    assert done.returncode == 0, done.stderr[-2000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert results == [["cache", "told", ""], ["artifacts", "told", ""]]
