"""Output of a command: tables and links for a reader, or only JSON for a program."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import Any

_RESULT: ContextVar[dict[str, Any] | None] = ContextVar("_RESULT", default=None)
"""Holder of the command's result, if its JSON is wanted."""


@contextmanager
def json_only(wanted: bool) -> Iterator[None]:
    """Prints the result of the body to stdout as a line of JSON, if wanted, and nothing else.

    All that the body and its child processes print goes to stderr then. A body that raises prints
    no JSON.
    """
    if not wanted:
        yield
        return
    result: dict[str, Any] = {}
    token = _RESULT.set(result)
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)  # child processes write to the descriptor, and not to sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        _RESULT.reset(token)
    print(json.dumps(result), flush=True)


def set_result(result: Mapping[str, Any]) -> None:
    """Stores the result of a command as JSON values. `json_only` prints the last one."""
    if (wanted := _RESULT.get()) is not None:
        wanted.clear()
        wanted.update(result)
