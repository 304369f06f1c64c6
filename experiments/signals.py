"""Makes SIGTERM and Ctrl-C end a command, but not in the middle of a database call, and also while
Python ignores exceptions of signal handlers."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], object]

AGAIN_SECONDS = 0.05
"""Seconds after which a delayed or ignored signal is sent again."""
LONGEST_DELAY = 5.0
"""Seconds after which a signal interrupts a database call all the same."""
DATABASE_MODULES = (
    "sqlalchemy.",
    "mlflow.store.db.",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "optuna.storages._rdb.",
)
"""What the names of modules begin with that have a transaction open while they are at work."""


def end_on_signals(handler: Handler, raised: type[BaseException]) -> None:
    """Handles SIGTERM by `handler`; delays or repeats SIGTERM and Ctrl-C that would go wrong.

    - `handler`: raises an exception.
    - `raised`: the class of that exception.

    A signal is delayed while the main thread is in a database call, for LONGEST_DELAY at most. An
    exception in there can leave a transaction open as long as its traceback lives; what the
    command then writes at its end would wait for its own lock.

    Python prints and ignores an exception of a handler that interrupts a finaliser or a callback of
    the garbage collector, such as those of SQLAlchemy's connections. Such a signal is sent again.
    """
    handlers = {signal.SIGTERM: _outside_database_calls(handler)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored
        handlers[signal.SIGINT] = _outside_database_calls(signal.default_int_handler)
    for number, each in handlers.items():
        signal.signal(number, each)
    original = sys.unraisablehook

    def repeat(ignored: Any) -> None:
        if not isinstance(ignored.exc_value, (raised, KeyboardInterrupt)):
            original(ignored)
            return
        number = signal.SIGTERM if isinstance(ignored.exc_value, raised) else signal.SIGINT
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handlers[number])  # it wanted to be the last
        # Not from here: it would be ignored again.
        _send_again(number)

    sys.unraisablehook = repeat


def _outside_database_calls(handler: Handler) -> Handler:
    """Returns the handler, which is called once the main thread has left its database call."""
    since: float | None = None

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal since
        since = since or time.monotonic()
        if in_database_call(frame) and time.monotonic() - since < LONGEST_DELAY:
            _send_again(number)
            return
        since = None
        handler(number, frame)

    return handle


def in_database_call(frame: FrameType | None) -> bool:
    """Whether a frame is below one of a database library."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(DATABASE_MODULES):
            return True
        frame = frame.f_back
    return False


def _send_again(number: int) -> None:
    """Sends a signal to this process after AGAIN_SECONDS."""
    again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
