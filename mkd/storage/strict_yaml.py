"""YAML in which no key stands twice: YAML's own reader drops the first without a word."""

from collections.abc import Iterator
from typing import Any

import yaml

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check(text: str | bytes, file: str = "") -> None:
    """Raises ValueError at the first key that stands twice, and yaml.YAMLError where the text is no YAML. file: for the error."""
    loader = Loader(text)
    try:
        for mapping in _mappings(loader.get_single_node(), set()):
            _check(loader, mapping, file)
    finally:
        loader.dispose()


def _mappings(node: Any, seen: set[int]) -> Iterator[Any]:
    """All mappings at or below a node, once each: an anchor's node is met again at each of its aliases."""
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
    """Keys are equal where they are read as equal, such as yes and true."""
    lines: dict[Any, int] = {}
    for node, _ in mapping.value:
        if isinstance(node, yaml.ScalarNode):
            line, key = node.start_mark.line + 1, node.value if node.tag.endswith(":merge") else loader.construct_object(node)
            if key in lines:
                where = f"{file}:{line}: " if file else ""
                raise ValueError(f"{where}the key {node.value!r} stands twice, first in line {lines[key]}; allowed: once")
            lines[key] = line
