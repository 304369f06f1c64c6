"""A check for duplicate keys in YAML. PyYAML keeps the last value of a key without an error."""

from collections.abc import Iterator
from typing import Any

import yaml

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_yaml(text: str | bytes, file: str = "") -> None:
    """Raises ValueError at the first duplicate key, and yaml.YAMLError if the YAML is invalid.

    file: name of the file for the error message.
    """
    loader = Loader(text)
    try:
        for mapping in _mappings(loader.get_single_node(), set()):
            _check(loader, mapping, file)
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
                node.value if node.tag.endswith(":merge") else loader.construct_object(node),
            )
            if key in lines:
                where = f"{file}:{line}: " if file else ""
                raise ValueError(
                    f"{where}the key {node.value!r} occurs twice, first in line {lines[key]}; "
                    "allowed: once"
                )
            lines[key] = line
