import json
import os
import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mkd.storage import store
from mkd.storage.store import (
    CACHE_MANIFEST,
    cached_folder,
    file_hash,
    key_of,
    new_array,
    read_array,
)
from tests.support.entry import FORKS
from tests.support.waiting import wait_for_tick

PARTS = {"rows": "abc", "length": 8}


def _build(counter: Path, seconds: float, folder: Path) -> None:
    """Writes a file to the folder and a line to the counter."""
    with counter.open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    (folder / "inner").mkdir()
    np.arange(3, dtype="<i4").tofile(folder / "inner" / "x.int32")


def _request(root: Path, counter: Path, start: Path, result: Path) -> None:
    """Waits for the start, then asks for the folder; two processes do this."""
    (result.parent / f"{result.name}.ready").touch()
    while not start.exists():
        time.sleep(0.01)
    result.write_text(str(cached_folder(root, "kind", PARTS, partial(_build, counter, 0.5))))


def test_equal_parts_in_another_order_have_the_same_key() -> None:
    expected = key_of({"b": {"d": None, "c": [1, 2]}, "a": 1})
    assert key_of({"a": 1, "b": {"c": [1, 2], "d": None}}) == expected


@pytest.mark.parametrize(
    "other", [{"a": 2}, {"b": 1}, {"a": "1"}, {"a": [1]}, {"a": 1, "b": None}, {}]
)
def test_other_parts_have_another_key(other: dict[str, object]) -> None:
    assert key_of({"a": 1}) != key_of(other)


def test_a_part_that_is_not_a_number_has_no_key() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        key_of({"a": float("nan")})


def test_a_file_hash_changes_with_a_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_hash(tmp_path / "a") == expected
    (tmp_path / "b").write_bytes(b"abd")
    assert file_hash(tmp_path / "b") != file_hash(tmp_path / "a")


def test_the_second_call_does_not_build_again(tmp_path: Path) -> None:
    build = partial(_build, tmp_path / "counter", 0)
    folder = cached_folder(tmp_path, "kind", PARTS, build)
    assert folder == tmp_path / "kind" / key_of(PARTS)
    assert cached_folder(tmp_path, "kind", dict(reversed(PARTS.items())), build) == folder
    assert read_array(folder / "inner" / "x.int32", "<i4").tolist() == [0, 1, 2]
    assert len((tmp_path / "counter").read_text().splitlines()) == 1
    cached_folder(tmp_path, "kind", PARTS | {"length": 9}, build)
    assert len((tmp_path / "counter").read_text().splitlines()) == 2


def test_the_manifest_says_what_it_is_made_from(tmp_path: Path) -> None:
    folder = cached_folder(tmp_path, "kind", PARTS, partial(_build, tmp_path / "counter", 0))
    file = folder / "inner" / "x.int32"
    assert json.loads((folder / CACHE_MANIFEST).read_text()) == {
        "parts": PARTS,
        "bytes": {"inner/x.int32": 12},
        "sha256": {"inner/x.int32": file_hash(file)},
        "changed_ns": {"inner/x.int32": file.stat().st_ctime_ns},
    }


def test_a_failure_while_building_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_folder(tmp_path, "kind", PARTS, fail)
    assert [path for path in (tmp_path / "kind").iterdir() if path.is_dir()] == []
    assert cached_folder(tmp_path, "kind", PARTS, partial(_build, tmp_path / "counter", 0)).is_dir()


@pytest.mark.parametrize("made_again", [False, True])
def test_a_cache_that_is_deleted_while_a_folder_is_built_is_named(
    made_again: bool, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"

    def build(folder: Path) -> None:
        os.rename(cache, tmp_path / "gone")
        if made_again:  # as another command would
            (cache / "kind").mkdir(parents=True)
        (folder / "x").write_text("")

    with pytest.raises(OSError) as caught:
        cached_folder(cache, "kind", PARTS, build)
    assert str(caught.value).startswith(f"{cache / 'kind'} was deleted while the command worked")
    assert str(caught.value).endswith("again: it goes on, and computes again what is missing")
    assert cached_folder(cache, "kind", PARTS, lambda folder: None).exists()


def test_the_error_of_a_missing_file_outside_the_cache_is_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.csv'$"):
        cached_folder(tmp_path, "kind", PARTS, lambda _: (tmp_path / "none.csv").open().close())


def test_two_processes_that_ask_for_the_same_folder_build_it_once(tmp_path: Path) -> None:
    results = [tmp_path / "found0", tmp_path / "found1"]
    start = tmp_path / "start"
    workers = [
        FORKS.Process(target=_request, args=(tmp_path, tmp_path / "counter", start, path))
        for path in results
    ]
    for worker in workers:
        worker.start()
    while not all((tmp_path / f"{path.name}.ready").exists() for path in results):
        assert all(worker.exitcode is None for worker in workers)
        time.sleep(0.01)
    start.touch()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert {path.read_text() for path in results} == {str(tmp_path / "kind" / key_of(PARTS))}
    assert len((tmp_path / "counter").read_text().splitlines()) == 1


@pytest.mark.parametrize(("damage", "size"), [("cut", 11), ("removed", 0), ("longer", 13)])
def test_a_file_of_another_size_is_named(tmp_path: Path, damage: str, size: int) -> None:
    build = partial(_build, tmp_path / "counter", 0)
    file = cached_folder(tmp_path, "kind", PARTS, build) / "inner" / "x.int32"
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes((file.read_bytes() + b"x")[:size])
    with pytest.raises(ValueError) as caught:
        cached_folder(tmp_path, "kind", PARTS, build)
    assert str(caught.value).startswith(
        f"{file} has {size} bytes; allowed: 12, as written: delete {file.parent.parent}, "
    )


def _alter(file: Path) -> None:
    """Changes the last byte, and restores the modification time. Programs can set that time, but
    not the time of the last status change."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        opened.write(b"?")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Returns a stored folder with one file, inner/x.int32."""
    return cached_folder(tmp_path, "kind", PARTS, partial(_build, tmp_path / "counter", 0))


def _again(stored: Path) -> Path:
    """Asks for the stored folder again; building it is an error."""
    return cached_folder(
        stored.parents[1], "kind", PARTS, lambda aside: pytest.fail("it is stored")
    )


@pytest.mark.parametrize("always_hashed", [store.ALWAYS_HASHED_BYTES, 0])
def test_a_file_with_another_byte_is_named(
    stored: Path, always_hashed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ALWAYS_HASHED_BYTES", always_hashed)
    assert _again(stored) == stored
    wait_for_tick(stored / "inner" / "x.int32")
    _alter(stored / "inner" / "x.int32")
    with pytest.raises(ValueError) as caught:
        _again(stored)
    message = f"{stored / 'inner' / 'x.int32'} was changed after it was written: delete {stored}, "
    assert str(caught.value).startswith(message)


def _manifest(folder: Path) -> dict[str, dict[str, object]]:
    content: dict[str, dict[str, object]] = json.loads((folder / CACHE_MANIFEST).read_text())
    return content


def test_a_large_file_is_hashed_if_changed(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest gets a wrong hash. Nothing notices it until the file is touched."""
    (stored / CACHE_MANIFEST).write_text(
        json.dumps(_manifest(stored) | {"sha256": {"inner/x.int32": "0"}})
    )
    monkeypatch.setattr(store, "ALWAYS_HASHED_BYTES", 0)
    assert _again(stored) == stored
    wait_for_tick(stored / "inner" / "x.int32")
    os.utime(stored / "inner" / "x.int32")
    with pytest.raises(ValueError, match="changed after it was written"):
        _again(stored)


def test_a_copied_folder_is_hashed_once_and_recorded_again(stored: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other" / "kind" / stored.name
    wait_for_tick(stored / "inner" / "x.int32")
    shutil.copytree(stored, copy)
    assert _manifest(copy)["changed_ns"] == _manifest(stored)["changed_ns"]
    assert _again(copy) == copy
    expected = {"inner/x.int32": (copy / "inner" / "x.int32").stat().st_ctime_ns}
    assert _manifest(copy)["changed_ns"] == expected
    assert _manifest(copy)["sha256"] == _manifest(stored)["sha256"]
    assert sorted(path.name for path in copy.iterdir()) == ["inner", CACHE_MANIFEST]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", json.dumps({"parts": PARTS, "bytes": {}}), None]
)
def test_a_damaged_manifest_is_named(stored: Path, text: str | None) -> None:
    if text is None:
        (stored / CACHE_MANIFEST).unlink()
    else:
        (stored / CACHE_MANIFEST).write_text(text)
    with pytest.raises(ValueError) as caught:
        _again(stored)
    expected = f"{stored / CACHE_MANIFEST} is missing or damaged: delete {stored}, and it will be"
    assert str(caught.value).startswith(expected)


def test_a_manifest_of_something_else_is_named(stored: Path) -> None:
    (stored / CACHE_MANIFEST).write_text(
        json.dumps(_manifest(stored) | {"parts": {"rows": "abd", "length": 8}})
    )
    message = f"{CACHE_MANIFEST} has the key [0-9a-f]{{20}}, not the folder's name: delete {stored}"
    with pytest.raises(ValueError, match=message):
        _again(stored)


def test_the_remains_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    left = tmp_path / "kind" / f".{key_of(PARTS)}-abc"
    other = tmp_path / "kind" / f".{key_of({})}-abc"
    for folder in (left, other):
        (folder / "inner").mkdir(parents=True)
    cached_folder(tmp_path, "kind", PARTS, partial(_build, tmp_path / "counter", 0))
    assert not left.exists()
    assert other.exists(), "another process may be using it"


def test_an_array_to_be_written_in_any_order_is_nan_at_first(tmp_path: Path) -> None:
    array = new_array(tmp_path / "x", "<f4", (5, 2))
    array[[3, 0]] = [[1, 2], [3, 4]]
    array.flush()
    expected = np.full((5, 2), np.nan)
    expected[3], expected[0] = [1, 2], [3, 4]
    np.testing.assert_array_equal(read_array(tmp_path / "x", "<f4").reshape(5, 2), expected)


def test_arrays_are_read_only_and_may_be_empty(tmp_path: Path) -> None:
    np.array([1.5, np.nan], "<f4").tofile(tmp_path / "a")
    (tmp_path / "b").touch()
    array = read_array(tmp_path / "a", "<f4")
    np.testing.assert_array_equal(array, np.array([1.5, np.nan], "<f4"))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0
    assert read_array(tmp_path / "b", "<i8").shape == (0,)
