"""A run on a disk that is too small is told in one line, and finishes once there is room."""

import json
from pathlib import Path

from tests.bench.full_disks import tried
from tests.support import disks
from tests.support.entry import started

KIB = 1 << 10


def try_disks() -> None:
    """Prints what became of a run with each small disk, as JSON lines; nothing: no mounts here."""
    for place, size in (("cache", 64 * KIB), ("artifacts", 64 * KIB)):
        print(json.dumps([place, *tried(place, size)]), flush=True)


def test_a_small_disk_is_told_and_the_run_finishes_on_a_large_one(tmp_path: Path) -> None:
    folder = tmp_path / "disks"
    folder.mkdir()
    disks.skip_without_mounts(folder)
    done = started(folder, try_disks).end()
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [["cache", "told", ""], ["artifacts", "told", ""]]
