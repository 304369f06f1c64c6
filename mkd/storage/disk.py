"""Disk space: checked before a run is opened; a full disk is an error of one line."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers for a full disk, an exceeded quota and a file above the size limit."""
SAYS_FULL = ("No space left on device", "database or disk is full", "Disk quota exceeded")
"""Messages of libraries about a full disk whose errors have no errno."""

LONGEST_NAME = 180
"""Largest number of bytes in the name of an output. The temporary folder beside it has a longer
name, of at most 255."""


class DiskFull(OSError):
    """Raised if the disk is too full for a folder. The message has path and size."""


def error_number(error: BaseException) -> int:
    """Returns the errno of an error, or 0. Rust libraries give the number in the message only."""
    in_message = re.search(r"\(os error (\d+)\)", str(error))
    return int(in_message[1]) if in_message else getattr(error, "errno", None) or 0


def check_room(folder: Path, least: int, what: str) -> None:
    """Raises DiskFull if the disk of a folder has less room than `least` bytes.

    folder: need not exist yet. what: what takes the space, for the message.
    """
    free = shutil.disk_usage(_nearest(folder)).free
    if free < least:
        number = errno.ENOSPC
        raise DiskFull(
            number,
            f"{os.strerror(number)}: {folder.absolute()} is on a disk with {free:,} bytes free; "
            f"{what} {least:,} bytes or more",
        )


def check_output(target: Path, setting: str) -> None:
    """Raises ValueError if an output that does not exist cannot be created, with the folders above.

    setting: the name of the setting that holds it, for the message.
    Raises OSError if the disk is full.
    """
    length = len(os.fsencode(target.name))
    try:  # permissions alone do not tell: /proc seems to be writable
        os.rmdir(tempfile.mkdtemp(dir=_nearest(target)))
    except OSError as error:
        if error_number(error) in DISK_FULL_ERRORS:
            raise
        raise ValueError(
            f"{setting} is {str(target)!r}; allowed: a path below a folder that can be written to"
        ) from None
    if length > LONGEST_NAME:
        raise ValueError(
            f"{setting} ends in a name of {length} bytes; allowed: at most {LONGEST_NAME}"
        )


@contextmanager
def symlink_loops_named() -> Iterator[None]:
    """Converts Python's RuntimeError for a loop of symbolic links to a ValueError."""
    try:
        yield
    except RuntimeError as error:  # from Python 3.13 on it is an OSError
        if not str(error).startswith("Symlink loop"):
            raise
        path = str(error).removeprefix("Symlink loop from ")
        raise ValueError(f"{path} is a loop of symbolic links; allowed: a path that ends") from None


@contextmanager
def full_disk_errors(places: Sequence[Path]) -> Iterator[None]:
    """Converts any error that a full disk causes to a DiskFull with the path and the free bytes.

    places: folders that the body writes to, besides the temporary ones. If the error has no path,
        the fullest one is named.
    """
    try:
        yield
    # Libraries raise errors of many types for a full disk.
    except Exception as error:
        full = next((each for each in _chain(error) if _is_full(each)), None)
        if full is None or any(isinstance(each, DiskFull) for each in _chain(error)):
            raise
        number = error_number(full) or errno.ENOSPC
        path = _path_of(full) or min(
            [*places, Path(tempfile.gettempdir())],
            key=lambda place: shutil.disk_usage(_nearest(place)).free,
        )
        free = shutil.disk_usage(_nearest(path)).free
        raise DiskFull(
            number,
            f"{os.strerror(number)}: {path.absolute()} is on a disk with {free:,} bytes free; give "
            "the command again once there is room",
        ) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and those that caused it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is_full(error: BaseException) -> bool:
    number = error_number(error)
    return number in DISK_FULL_ERRORS or any(said in str(error) for said in SAYS_FULL)


def _path_of(error: BaseException) -> Path | None:
    """Returns the path that an OSError names, which may be the second of two."""
    if not isinstance(error, OSError):
        return None
    named = error.filename2 or error.filename
    return Path(os.fsdecode(named)) if isinstance(named, str | bytes) else None


def _nearest(folder: Path) -> Path:
    """Returns the folder itself, or the nearest one above it that exists."""
    whole = folder.absolute()
    return next(each for each in (whole, *whole.parents) if each.exists())
