"""Checks of settings. A wrong one is a ValueError that names what is allowed."""


def require(condition: bool, setting: str, value: object, allowed: str) -> None:
    """Raises ValueError if condition is false; it names setting, value and allowed values."""
    if not condition:
        raise ValueError(f"{setting} is {value!r}; allowed: {allowed}")


def require_at_most(settings: object, group: str, **most: float) -> None:
    """Raises ValueError if one of the named settings of a group is larger than its bound.

    The bounds are far above any use. They refuse slips, such as a digit too many, which would
    otherwise fill the memory or run for years.
    """
    for name, bound in most.items():
        value = getattr(settings, name)
        large = value is not None and value > bound
        require(not large, f"{group}.{name}".lstrip("."), value, f"at most {bound:,}")


def require_path(setting: str, value: str) -> None:
    """Raises ValueError if no file or folder can have this path."""
    possible = "\0" not in value and len(value.encode(errors="replace")) < 4096
    require(possible, setting, value[:80], "a path of at most 4,095 bytes, without a zero byte")


MOST_THREADS = 512
"""Largest number of threads. With many more, the libraries of threads end the process."""
MOST_ROWS = 100_000_000
