"""Calls of a function every few seconds while other code runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(call: Callable[[], object], seconds: float) -> Iterator[None]:
    """Calls `call` in a thread every `seconds` while the body runs; the first call is after
    `seconds`.

    At the end of the body, a running call is waited for. An error in a call stops only the calls.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            call()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
