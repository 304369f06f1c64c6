"""A disk that fills up while something is stored: one line reports it, and no earlier data is
lost."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from experiments import cli
from experiments.settings import DistillSettings
from mkd.storage.disk import DiskFull
from mkd.storage.store import (
    CACHE_MANIFEST,
    cached_folder,
    key_of,
    new_array,
    write_arrays,
)
from mkd.tokenization.tokenise import token_store
from tests.support.tiny import Tokenizer, make_tasks
from tests.support.waiting import wait_for_tick

PARTS = {"rows": "abc"}
LIMIT = 100_000


@contextmanager
def _small_files() -> Iterator[None]:
    """Simulates a full disk: no file can have more than LIMIT bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _streamed(aside: Path) -> None:
    write_arrays(aside / "x.int32", (np.zeros(10_000, "<i4") for _ in range(9)))


def _in_any_order(aside: Path) -> None:
    new_array(aside / "x.float32", "<f4", (30_000, 3))


def _weights(aside: Path) -> None:
    save_file({"x": torch.zeros(90_000)}, aside / "x.safetensors")


def _nested(aside: Path) -> None:
    cached_folder(aside.parents[1], "inner", PARTS, _streamed)


def _to_full_disk(aside: Path) -> None:
    (aside / "x.int32").symlink_to("/dev/full")
    _streamed(aside)


@pytest.mark.parametrize(
    ("build", "least"), [(_streamed, 80_000), (_in_any_order, 0), (_weights, 0)]
)
def test_a_full_disk_is_reported_with_path_and_bytes_and_loses_nothing(
    tmp_path: Path, build: Callable[[Path], None], least: int
) -> None:
    stored = cached_folder(
        tmp_path, "kind", PARTS, lambda aside: write_arrays(aside / "x", [np.arange(3)])
    )
    with _small_files(), pytest.raises(DiskFull) as caught:
        cached_folder(tmp_path, "kind", {"rows": "new"}, build)
    path, size = str(caught.value).removesuffix(" bytes or more").split(" takes ")
    assert path == f"[Errno 27] File too large: {tmp_path / 'kind' / key_of({'rows': 'new'})}"
    assert least <= int(size.replace(",", "")) <= LIMIT
    assert [path for path in stored.parent.iterdir() if path.is_dir()] == [stored]
    assert (
        cached_folder(tmp_path, "kind", PARTS, lambda aside: pytest.fail("it is stored")) == stored
    )


def test_of_nested_folders_the_one_without_room_is_named(tmp_path: Path) -> None:
    with (
        _small_files(),
        pytest.raises(DiskFull, match=f"{tmp_path / 'inner' / key_of(PARTS)} takes "),
    ):
        cached_folder(tmp_path, "outer", PARTS, _nested)


def test_a_full_disk_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def job(config: DistillSettings) -> None:
        cached_folder(tmp_path, "kind", PARTS, _to_full_disk)

    assert cli.entry(job, "", DistillSettings, []) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(
        f"error: [Errno 28] No space left on device: {tmp_path / 'kind' / key_of(PARTS)} takes "
    )
    assert printed.endswith(" bytes or more\n")
    assert printed.count("\n") == 1
    assert [path.name for path in (tmp_path / "kind").iterdir()] == [f"{key_of(PARTS)}.lock"]


def test_tokens_that_do_not_fit_leave_nothing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (task,) = make_tasks(15_000, ("single",))
    with (
        _small_files(),
        pytest.raises(
            DiskFull, match=f"File too large: {tmp_path / 'tokens'}/[0-9a-f]{{20}} takes "
        ),
    ):
        token_store(tmp_path, task.train, task.kind, tokenizer, 32)
    assert [path for path in (tmp_path / "tokens").iterdir() if path.is_dir()] == []
    assert len(token_store(tmp_path, task.train, task.kind, tokenizer, 32).labels) == 15_000


def test_another_system_error_is_unchanged(tmp_path: Path) -> None:
    def build(aside: Path) -> None:
        (aside / "no" / "folder").write_text("")

    with pytest.raises(FileNotFoundError):
        cached_folder(tmp_path, "kind", PARTS, build)


def test_a_manifest_without_room_leaves_the_folder_whole(tmp_path: Path) -> None:
    stored = cached_folder(
        tmp_path, "kind", PARTS, lambda aside: write_arrays(aside / "x", [np.arange(3)])
    )
    manifest = (stored / CACHE_MANIFEST).read_bytes()
    wait_for_tick(stored / "x")
    os.utime(stored / "x")
    (stored / f"{CACHE_MANIFEST}.new").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=f"No space left on device: {stored} takes "):
        cached_folder(tmp_path, "kind", PARTS, lambda aside: pytest.fail("it is stored"))
    assert (stored / CACHE_MANIFEST).read_bytes() == manifest
    assert (
        cached_folder(tmp_path, "kind", PARTS, lambda aside: pytest.fail("it is stored")) == stored
    )
