"""An output that a run has put in its place, so that the run, if it was killed, knows it again."""

import json
import os
from pathlib import Path
from typing import Any

NOTE = "written.json"
"""File in a run's folder: which output is its own, and what is to be logged of it."""


def put_in_place(aside: Path, target: Path, folder: Path, told: dict[str, Any]) -> None:
    """Renames `aside` to `target`, once the run's folder tells that this output is the run's own.

    folder: the run's folder. told: what `put_earlier` returns, as values that JSON can hold.
    """
    note = folder / f"{NOTE}.aside"
    # The number of a file or folder stays the same when it is renamed.
    note.write_text(json.dumps({"inode": aside.stat().st_ino, "told": told}), "utf-8")
    os.replace(note, folder / NOTE)
    os.rename(aside, target)


def put_earlier(target: Path, folder: Path) -> dict[str, Any] | None:
    """Returns what was told of the output, if an earlier start of the run has put it in its place.

    None: there is no such output, or it is of another.
    """
    try:
        known = json.loads((folder / NOTE).read_text("utf-8"))
        return dict(known["told"]) if target.stat().st_ino == known["inode"] else None
    except (FileNotFoundError, NotADirectoryError):
        return None
