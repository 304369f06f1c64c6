"""Error messages about servers and databases: addresses without passwords, and reasons."""

import re

MAX_REASON_LENGTH = 300
"""Maximum length of a reason, in characters."""
MAX_WORD_LENGTH, KEPT_LENGTH = 300, 60
"""A word of a message with more characters than the first is cut to the second. No path is as
long."""

# The first form takes a password up to the last @ before a slash. The second one is for passwords
# with a slash, unless what follows the colon is a port.
_USER_PASSWORD = re.compile(r"(://[^:/\s]*):(?:[^\s/]*|(?!\d{1,5}(?:[/?#]|$))[^\s@]*)@")
_QUERY_PASSWORD = re.compile(
    r"([?&][\w-]*(?:password|passwd|passphrase|pwd|secret|token)[\w-]*=)[^&\s'\"]*", re.IGNORECASE
)


def without_passwords(text: str) -> str:
    """Returns a text with the passwords of all addresses in it replaced by ***.

    The text may be an address, or a message with addresses in it. Covers `user:password@host` and
    passwords and tokens in the query, such as `?password=`.
    """
    return _QUERY_PASSWORD.sub(r"\1***", _USER_PASSWORD.sub(r"\1:***@", text))


def one_line(error: BaseException) -> str:
    """Returns an error's message on one line, without passwords; overlong words are cut."""
    words = str(error).split()
    short = (word if len(word) <= MAX_WORD_LENGTH else f"{word[:KEPT_LENGTH]}..." for word in words)
    return without_passwords(" ".join(short))


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def reason(error: BaseException) -> str:
    """Returns why a server or a database cannot be used, on one line and without passwords.

    Libraries put the reason into nested errors, statements and names of classes. This is the part
    that a user can act on.
    """
    cause: BaseException | None = error
    while cause is not None and getattr(cause, "orig", None) is None:
        cause = cause.__cause__ or cause.__context__
    # SQLAlchemy keeps the error of the database's own library in `orig`.
    said = str(getattr(cause, "orig", None) or error).strip() or type(error).__name__
    if match := re.search(r"Read timed out\. \(read timeout=([\d.]+)\)", said):
        return f"no answer within {match[1]} seconds"
    if match := re.search(r"Connection to (\S+) timed out", said):
        return f"{match[1]} cannot be reached"
    if match := re.search(r"\[Errno -?\d+\] ([^'\")\]]+)", said):
        return match[1].strip()
    if match := re.search(r"too many (\d+) error responses", said):
        return f"it answers with errors (HTTP {match[1]})"
    first = re.sub(r"^\([\w.]+\) ", "", said.splitlines()[0])
    return without_passwords(first)[:MAX_REASON_LENGTH]
