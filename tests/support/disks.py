"""Small disks: mounts that only this process and its children see, and that vanish with it."""

import ctypes
import os
from pathlib import Path

import pytest

from tests.support.entry import started

READ_ONLY = 1
NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000
RECURSIVE, PRIVATE, REMOUNT = 1 << 14, 1 << 18, 1 << 5
LIBC = ctypes.CDLL(None, use_errno=True)


def own_mounts() -> None:
    """Gives this process, which must have one thread, a mount namespace of its own.

    Raises OSError if the system does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    _check(LIBC.unshare(NEW_MOUNTS | (NEW_USER if user else 0)))
    if user:  # becomes root of its own user namespace, which may mount
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _check(LIBC.mount(b"none", b"/", None, RECURSIVE | PRIVATE, None))


def skip_without_mounts(folder: Path) -> None:
    """Skips the test if the system does not allow a mount namespace of one's own."""
    tried = started(folder, own_mounts).end()
    if tried.returncode:
        pytest.skip(f"this system allows no mounts: {tried.stderr.strip().splitlines()[-1]}")


def mount(folder: Path, size: int, again: bool = False, read_only: bool = False) -> None:
    """Mounts an empty disk of `size` bytes on a folder. again: remounts it with another size."""
    flags = (REMOUNT if again else 0) | (READ_ONLY if read_only else 0)
    options = f"size={size}".encode()
    _check(LIBC.mount(b"none", os.fsencode(folder), b"tmpfs", flags, options))


def _check(code: int) -> None:
    if code:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
