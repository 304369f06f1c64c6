import json
import multiprocessing
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mkd.store import MANIFEST, file_hash, key_of, read_array, stored

PARTS = {"rows": "abc", "length": 8}


def _build(counter: Path, seconds: float, folder: Path) -> None:
    """Leaves a file in the folder and a line in the counter."""
    with counter.open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    (folder / "inner").mkdir()
    np.arange(3, dtype="<i4").tofile(folder / "inner" / "x.int32")


def _want(root: Path, counter: Path, start: Path, found: Path) -> None:
    """What each of two processes does: waits for the start, then wants the folder."""
    (found.parent / f"{found.name}.ready").touch()
    while not start.exists():
        time.sleep(0.01)
    found.write_text(str(stored(root, "kind", PARTS, partial(_build, counter, 0.5))))


def test_equal_parts_in_another_order_have_the_same_key() -> None:
    assert key_of({"a": 1, "b": {"c": [1, 2], "d": None}}) == key_of({"b": {"d": None, "c": [1, 2]}, "a": 1})


@pytest.mark.parametrize("other", [{"a": 2}, {"b": 1}, {"a": "1"}, {"a": [1]}, {"a": 1, "b": None}, {}])
def test_other_parts_have_another_key(other: dict[str, object]) -> None:
    assert key_of({"a": 1}) != key_of(other)


def test_a_part_that_is_not_a_number_has_no_key() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        key_of({"a": float("nan")})


def test_a_file_hash_changes_with_a_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "b").write_bytes(b"abd")
    assert file_hash(tmp_path / "b") != file_hash(tmp_path / "a")


def test_the_second_call_does_not_build_again(tmp_path: Path) -> None:
    build = partial(_build, tmp_path / "counter", 0)
    folder = stored(tmp_path, "kind", PARTS, build)
    assert folder == tmp_path / "kind" / key_of(PARTS)
    assert stored(tmp_path, "kind", dict(reversed(PARTS.items())), build) == folder
    assert read_array(folder / "inner" / "x.int32", "<i4").tolist() == [0, 1, 2]
    assert len((tmp_path / "counter").read_text().splitlines()) == 1
    stored(tmp_path, "kind", PARTS | {"length": 9}, build)
    assert len((tmp_path / "counter").read_text().splitlines()) == 2


def test_the_manifest_says_what_it_is_made_from(tmp_path: Path) -> None:
    folder = stored(tmp_path, "kind", PARTS, partial(_build, tmp_path / "counter", 0))
    assert json.loads((folder / MANIFEST).read_text()) == {"parts": PARTS, "bytes": {"inner/x.int32": 12}}


def test_a_failure_while_building_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path, "kind", PARTS, fail)
    assert [path for path in (tmp_path / "kind").iterdir() if path.is_dir()] == []
    assert stored(tmp_path, "kind", PARTS, partial(_build, tmp_path / "counter", 0)).is_dir()


def test_two_processes_that_want_the_same_folder_build_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    found = [tmp_path / "found0", tmp_path / "found1"]
    start = tmp_path / "start"
    workers = [context.Process(target=_want, args=(tmp_path, tmp_path / "counter", start, path)) for path in found]
    for worker in workers:
        worker.start()
    while not all((tmp_path / f"{path.name}.ready").exists() for path in found):
        assert all(worker.exitcode is None for worker in workers)
        time.sleep(0.01)
    start.touch()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert {path.read_text() for path in found} == {str(tmp_path / "kind" / key_of(PARTS))}
    assert len((tmp_path / "counter").read_text().splitlines()) == 1


@pytest.mark.parametrize(("damage", "found"), [("cut", 11), ("removed", 0), ("longer", 13)])
def test_a_file_of_another_size_is_named(tmp_path: Path, damage: str, found: int) -> None:
    build = partial(_build, tmp_path / "counter", 0)
    file = stored(tmp_path, "kind", PARTS, build) / "inner" / "x.int32"
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes((file.read_bytes() + b"x")[:found])
    with pytest.raises(ValueError) as caught:
        stored(tmp_path, "kind", PARTS, build)
    assert str(caught.value).startswith(f"{file} has {found} bytes, 12 were written: remove {file.parent.parent} ")


def test_arrays_are_read_only_and_may_be_empty(tmp_path: Path) -> None:
    np.array([1.5, np.nan], "<f4").tofile(tmp_path / "a")
    (tmp_path / "b").touch()
    array = read_array(tmp_path / "a", "<f4")
    np.testing.assert_array_equal(array, np.array([1.5, np.nan], "<f4"))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0
    assert read_array(tmp_path / "b", "<i8").shape == (0,)
