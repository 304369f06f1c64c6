"""Refuses YAML that PyYAML reads differently from what its writer meant.

PyYAML keeps the last value of a duplicate key, and reads 077 as 63 and 12:30 as 750. Deeply nested
brackets overflow its stack, and aliases of aliases fill the memory.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

DEEPEST = 64
"""Largest depth of nested mappings and lists."""
LARGEST = 1_000_000
"""Largest number of values, with those that aliases repeat."""
SHOWN = 40
"""Maximum number of characters of a value in an error message."""
PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.\w+")
"""Numbers that read as they look, among them .5 and .inf."""

EXPONENT = re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$")
"""Numbers such as 1e3, which PyYAML reads as text, and a task file as numbers."""

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


LINE_BREAKS = "\x85\u2028\u2029"
"""Characters that YAML 1.1 reads as line breaks, besides the usual ones."""


class Dumper(yaml.SafeDumper):
    """Writes YAML for task files: a text such as 1e3 is in quotes.

    So is one with Unicode's line breaks, which PyYAML would fold into blanks.
    """

    def represent_str(self, text: str) -> yaml.ScalarNode:
        """Returns the node of a text."""
        style = '"' if set(text) & set(LINE_BREAKS) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


Dumper.add_representer(str, Dumper.represent_str)
Dumper.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789"))


def check_yaml(text: str | bytes, file: str = "") -> None:
    """Raises ValueError, with the line, for YAML that is read differently from how it looks.

    Refused are duplicate keys, numbers such as 077 or 12:30 in a file, and too many levels or
    values. Raises yaml.YAMLError if the YAML is invalid.

    file: name of the file for the error message.
    """
    _check_depth(text, file)
    loader = Loader(text)
    try:
        root = loader.get_single_node()
        if _size(root, {}) > LARGEST:
            raise ValueError(f"{file or 'YAML'}: its aliases stand for over {LARGEST:,} values")
        for mapping in _mappings(root, set()):
            _check(loader, mapping, file)
        if file:
            _check_scalars(loader, root, file, set())
    finally:
        loader.dispose()


def _mappings(node: Any, seen: set[int]) -> Iterator[Any]:
    """Yields all mappings at or below a node, each once.

    `seen` is needed because each alias leads to the node of its anchor again, even in a cycle.
    """
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        yield node
        for key, value in node.value:
            yield from _mappings(key, seen)
            yield from _mappings(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _mappings(item, seen)


def _check(loader: Any, mapping: Any, file: str) -> None:
    """Raises ValueError if a mapping has a duplicate key.

    Keys are compared by the value that they are read as, so that `yes` and `true` are duplicates.
    """
    lines: dict[Any, int] = {}
    for node, _ in mapping.value:
        if isinstance(node, yaml.ScalarNode):
            # A merge key (<<) has no value of its own to construct.
            line, key = (
                node.start_mark.line + 1,
                node.value if node.tag.endswith(":merge") else _value(loader, node, file),
            )
            if key in lines:
                where = f"{file}:{line}: " if file else ""
                raise ValueError(
                    f"{where}the key {node.value!r} occurs twice, first in line {lines[key]}; "
                    "allowed: once"
                )
            lines[key] = line


def _check_depth(text: str | bytes, file: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader):
        depth += isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent)
        depth -= isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent)
        if depth > DEEPEST:
            line = f":{event.start_mark.line + 1}" if event.start_mark else ""
            raise ValueError(f"{file or 'YAML'}{line}: more than {DEEPEST} levels")


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _size(node: Any, known: dict[int, int]) -> int:
    """Returns the number of values at or below a node, where an alias counts as what it repeats."""
    if node is None or id(node) in known:
        return known.get(id(node), 0)
    known[id(node)] = 1  # within itself, which an alias can lead to
    known[id(node)] = 1 + sum(_size(child, known) for child in _children(node))
    return known[id(node)]


def _value(loader: Any, node: Any, file: str) -> Any:
    """Returns the value of a scalar. Raises ValueError, with the line, if it has none."""
    try:
        value = loader.construct_object(node)
        str(value)
    except ValueError as error:  # a date such as 2020-13-45, or an integer of 5,000 digits
        where = f"{file}:{node.start_mark.line + 1}: " if file else ""
        kind = node.tag.rpartition(":")[2]
        raise ValueError(
            f"{where}{node.value[:SHOWN]} looks like a value of the kind {kind}, but is none "
            f"({str(error).partition(';')[0]}); allowed: text in quotes"
        ) from None
    return value


def _check_scalars(loader: Any, node: Any, file: str, seen: set[int]) -> None:
    """Raises ValueError for a number that is read differently from how it looks.

    Also for a scalar that has no value, such as a date of month 13.
    """
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    for child in _children(node):
        _check_scalars(loader, child, file, seen)
    if isinstance(node, yaml.ScalarNode) and not node.tag.endswith(":merge"):
        _value(loader, node, file)
    number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    if isinstance(node, yaml.ScalarNode) and number and not PLAIN_NUMBER.fullmatch(node.value):
        raise ValueError(
            f"{file}:{node.start_mark.line + 1}: {node.value} is read as the number "
            f"{loader.construct_object(node)}; allowed: {node.value!r} in quotes, or the number"
        )
