"""Recognises files that stand in place of others, such as a Git LFS pointer or a web page."""

from pathlib import Path

START_BYTES = 512


def kind_of_file(path: Path) -> str:
    """Returns words for a file that stands in the place of another, or "" for any other file.

    It reads the first bytes only.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        return "a device or a pipe"
    try:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
    except IsADirectoryError:
        return "a folder"
    except OSError as error:
        return f"not readable ({error.strerror})"
    if not start:
        return "empty"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer; `git lfs pull` fetches the file"
    if not start.strip(b"\0"):
        return "nothing but zeros"
    page = start.lstrip().lower()
    if page.startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML)"
    return ""
