"""A function is called repeatedly while other code runs, and never afterwards."""

import threading

import pytest

from mkd.repeat import repeated


def test_the_function_is_called_until_the_body_ends() -> None:
    calls: list[int] = []
    third = threading.Event()

    def call() -> None:
        calls.append(len(calls))
        if len(calls) == 3:
            third.set()

    with repeated(call, 0.001):
        assert third.wait(60)
    number = len(calls)
    threading.Event().wait(0.02)
    assert len(calls) == number


def test_an_error_in_the_body_ends_the_calls() -> None:
    threads = threading.active_count()
    with pytest.raises(ValueError, match="of the body"), repeated(lambda: None, 0.001):
        raise ValueError("of the body")
    assert threading.active_count() == threads
