"""Makes SIGTERM end a command even while Python ignores exceptions of signal handlers."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

AGAIN_SECONDS = 0.05
"""Seconds after which an ignored signal is sent again."""


def end_on_sigterm(
    handler: Callable[[int, FrameType | None], object], raised: type[BaseException]
) -> None:
    """Handles SIGTERM by `handler`, and sends SIGTERM and Ctrl-C again if Python ignores them.

    - `handler`: raises an exception.
    - `raised`: the class of that exception.

    Python prints and ignores an exception of a handler that interrupts a finaliser or a callback of
    the garbage collector, such as those of SQLAlchemy's connections.
    """
    signal.signal(signal.SIGTERM, handler)
    original = sys.unraisablehook

    def repeat(ignored: Any) -> None:
        if not isinstance(ignored.exc_value, (raised, KeyboardInterrupt)):
            original(ignored)
            return
        number = signal.SIGTERM if isinstance(ignored.exc_value, raised) else signal.SIGINT
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)  # it wanted to be the last
        # Not from here: it would be ignored again.
        again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    sys.unraisablehook = repeat
