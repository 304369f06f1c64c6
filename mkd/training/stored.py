"""A training whose result is in the cache: made once, by all processes together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkd import processes
from mkd.storage.run_folder import Checkpoint
from mkd.storage.store import cached_folder, key_of

Save = Callable[[Path], None]
"""Writes the trained model to a folder."""


def trained_folder(
    root: Path,
    kind: str,
    key_values: dict[str, Any],
    checkpoint_seconds: float,
    train: Callable[[Checkpoint], Save],
) -> Path:
    """Returns the folder of a training in the cache. It is trained now unless it is there.

    - `root`, `kind`, `key_values`: as in `cached_folder`.
    - `train`: trains, continuing from the checkpoint, and returns the function that writes the
      result.
    """
    # Named by the key: the next run that needs this training continues it.
    file = root / kind / f"{key_of(key_values)}.safetensors"
    checkpoint = Checkpoint(file, key_values, checkpoint_seconds)
    called = False

    def build(aside: Path) -> None:
        nonlocal called
        called = processes.from_first(lambda: True)
        train(checkpoint)(aside)

    # Training is collective, but `cached_folder` holds a lock. Only the first process takes the
    # lock and finds out whether there is something to train; the others wait for its broadcast, not
    # for the lock. If `build` runs, it broadcasts True and all train together, else the first
    # process broadcasts False.
    if processes.is_first():
        cached_folder(root, kind, key_values, build)
        if not called:
            processes.from_first(lambda: False)
        checkpoint.file.unlink(missing_ok=True)
    elif processes.from_first(lambda: False):
        train(checkpoint)
    processes.wait()
    return cached_folder(root, kind, key_values, build)
