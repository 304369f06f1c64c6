"""Checks of the texts that are passed to a student."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Text = str | tuple[str, str]
"""A text, or the two texts of a pair task."""


def in_order(texts: Iterable[Text]) -> list[Any]:
    """Returns the texts as a list.

    Raises ValueError for a collection without an order, and for one whose items are not its texts:
    the items of a string are its letters, those of a dict its keys, and those of a table its column
    names.
    """
    table = any(hasattr(type(texts), name) for name in ("columns", "column_names"))
    if (
        table
        or isinstance(texts, str | bytes | bytearray | Mapping | set | frozenset)
        or not hasattr(texts, "__iter__")
    ):
        raise ValueError(
            f"texts is {type_words(texts)}; allowed: a list, of one text or more, or a column of a "
            "table"
        )
    if hasattr(texts, "to_pylist"):  # an Arrow array, whose own items are scalars of Arrow
        items = texts.to_pylist()
    else:
        # Iterated, never indexed: texts[0] of a pandas Series is the item with the index label 0.
        items = texts.tolist() if isinstance(texts, np.ndarray) else list(texts)
    if not isinstance(items, list):
        raise ValueError(
            "texts is an array without a dimension; allowed: a list, of one text or more"
        )
    return items


def problem(text: object, pair: bool) -> str | None:
    """Returns what is wrong with an item of a batch, or None."""
    sides = text if pair else (text,)
    if not isinstance(sides, tuple | list):
        return f"{type_words(text)}; allowed: two texts"
    if len(sides) != 2 and pair:
        return f"{len(sides)} texts; allowed: two"
    for place, side in enumerate(sides):
        which = ("the first text is ", "the second text is ")[place] if pair else ""
        if not isinstance(side, str):
            return f"{which}{type_words(side)}; allowed: a string"
        # A lone surrogate is a valid Python string, but the tokenizer cannot encode it.
        if not side.isascii():
            try:
                side.encode()
            except UnicodeEncodeError:
                return f"{which}not valid Unicode; allowed: text that UTF-8 can hold"
    return None


def type_words(value: object) -> str:
    """Returns words for a value that is not a text: `missing`, or its type."""
    return "missing" if value is None else f"of type {type(value).__name__}"
