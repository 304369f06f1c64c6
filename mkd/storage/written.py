"""Records the output of a run, so that the run recognises it after it was killed."""

import json
import os
from pathlib import Path
from typing import Any

NOTE = "written.json"
"""File in a run's folder: its output, and the summary to log."""


def put_in_place(aside: Path, target: Path, folder: Path, summary: dict[str, Any]) -> None:
    """Renames `aside` to `target`, after a file in the run's folder records it as the run's output.

    folder: the run's folder. summary: the result of `earlier_output`, as values that JSON can hold.
    """
    note = folder / f"{NOTE}.aside"
    # The number of a file or folder stays the same when it is renamed.
    note.write_text(json.dumps({"inode": aside.stat().st_ino, "summary": summary}), "utf-8")
    os.replace(note, folder / NOTE)
    os.rename(aside, target)


def earlier_output(target: Path, folder: Path) -> dict[str, Any] | None:
    """Returns the summary of the output if an earlier start of the run has written it.

    None: there is no such output, or another run has written it.
    """
    try:
        known = json.loads((folder / NOTE).read_text("utf-8"))
        return dict(known["summary"]) if target.stat().st_ino == known["inode"] else None
    except (FileNotFoundError, NotADirectoryError, KeyError):
        return None
