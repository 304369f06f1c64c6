"""A terminal that keeps what is drawn on it."""

import io
import re


class Screen(io.StringIO):
    """Takes what is drawn, as a terminal does."""

    def isatty(self) -> bool:
        return True


def bars(text: str) -> list[str]:
    """The states that were drawn, one over another."""
    return [part.strip() for part in re.split(r"[\r\n]", text) if part.strip()]
