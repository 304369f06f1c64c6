"""Delays Ctrl-C and SIGTERM while an MLflow run is being opened."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def delayed_interrupts() -> Iterator[None]:
    """Delays the first SIGINT or SIGTERM until the body has ended.

    A second signal interrupts the body at once, because the body may wait for a server. Outside the
    main thread, which alone receives signals, nothing is delayed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def delay(number: int, frame: object) -> None:
        received.append(number)
        restore()

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, delay)
    try:
        yield
    finally:
        restore()
        for each in received:
            signal.raise_signal(each)
