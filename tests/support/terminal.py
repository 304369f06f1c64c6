"""A terminal that records what is drawn on it."""

import io
import re


class Screen(io.StringIO):
    """A text buffer that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def bars(text: str) -> list[str]:
    """The successive states of a progress bar."""
    return [part.strip() for part in re.split(r"[\r\n]", text) if part.strip()]
