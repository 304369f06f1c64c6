"""Addresses and messages as they are shown: without passwords, on one line."""

import pytest

from mkd.storage.addresses import first_line, one_line, without_passwords


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgresql://mkd:secret@host:5432/optuna", "postgresql://mkd:***@host:5432/optuna"),
        ("postgresql://mkd:sec/ret@host/optuna", "postgresql://mkd:***@host/optuna"),
        ("postgresql://mkd:sec:ret@host/optuna", "postgresql://mkd:***@host/optuna"),
        ("postgresql://mkd@site:secret@host/optuna", "postgresql://mkd@site:***@host/optuna"),
        ("postgresql://:secret@host/optuna", "postgresql://:***@host/optuna"),
        (
            "postgresql://host/optuna?user=mkd&password=secret&x=1",
            "postgresql://host/optuna?user=mkd&password=***&x=1",
        ),
        ("postgresql://host/optuna?password=secret", "postgresql://host/optuna?password=***"),
        ("postgresql://mkd@host:5432/optuna", "postgresql://mkd@host:5432/optuna"),
        ("postgresql://host:5432/optuna", "postgresql://host:5432/optuna"),
        ("postgresql://mkd:it's@host/optuna", "postgresql://mkd:***@host/optuna"),
        ("http://mkd:secret@host:5000/a@b", "http://mkd:***@host:5000/a@b"),
        ("http://host:5000/?q=a@b", "http://host:5000/?q=a@b"),
        ("no 'http://mkd:secret@h' and http://x:y@z", "no 'http://mkd:***@h' and http://x:***@z"),
        ("models:/mkd@champion", "models:/mkd@champion"),
        ("sqlite:///optuna.db", "sqlite:///optuna.db"),
        ("sqlite:////data/a:b@c/optuna.db", "sqlite:////data/a:b@c/optuna.db"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, expected: str) -> None:
    assert without_passwords(address) == expected


def test_an_error_without_a_message_has_the_name_of_its_type() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(OSError()) == first_line(OSError(" \n")) == "OSError"


def test_a_message_is_one_line_that_can_be_read() -> None:
    error = ValueError(f"data.path is {'x' * 5000!r};\n  allowed:\ta file at http://u:secret@h")
    message = f"data.path is '{'x' * 59}... allowed: a file at http://u:***@h"
    assert one_line(error) == message
    assert one_line(ValueError("a/" * 140)) == "a/" * 140, "a path is not truncated"
