# SPDX-License-Identifier: Apache-2.0
"""The parser's events to values with positions.

Events are read rather than PyYAML's nodes: composing nodes recurses, and a file of brackets would take the process
with it. What is built here is bounded in depth and in size, aliases expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from ..errors import ConfigError

MAX_DEPTH = 40
#: Values after aliases are expanded: stops the alias that doubles, doubled.
MAX_VALUES = 500_000

_RESOLVER: Any = yaml.resolver.Resolver()
_CORE = "tag:yaml.org,2002:"
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Plain(str):
    """The literal text of an unquoted scalar."""

    __slots__ = ()


@dataclass(slots=True)
class Node:
    """A value and where it stands (1-based). ``keys`` are the positions of a mapping's keys."""

    line: int
    column: int
    value: str | list[Node] | dict[str, Node] | None
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    size: int = 1


def describe(value: object) -> str:
    """What ``value`` is, to a person."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(str(value))
    return text if len(text) <= 60 else f"{text[:57]}…'"


class Builder:
    """Events to nodes. Faults that leave the structure readable are collected; the parser's own end it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[str] = []
        self.anchors: dict[str, Node | None] = {}
        self.total = 0

    def _problem(self, node: Node | Any, what: str) -> None:
        self.problems.append(f"{self.name}:{node.line}:{node.column}: {what}")

    def _stop(self, node: Node, what: str) -> ConfigError:
        self._problem(node, what)
        return ConfigError(self.problems)

    def build(self, events: Iterator[Any]) -> Node | None:
        root: Node | None = None
        stack: list[tuple[Node, str | None]] = []  # open collections, and under which anchor
        pending: list[tuple[str, tuple[int, int]] | None] = []  # the key that waits for its value, per collection
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._stop(_node(event, None), "a second document: one file holds one")
            if isinstance(event, yaml.CollectionEndEvent):
                node, anchor = stack.pop()
                pending.pop()
                if anchor is not None:
                    self.anchors[anchor] = node
                if stack:
                    stack[-1][0].size += node.size
                continue
            node_or_none = self._start(event)
            if node_or_none is None:
                continue
            node = node_or_none
            self.total += node.size
            if self.total > MAX_VALUES:
                raise self._stop(_node(event, None), f"more than {MAX_VALUES} values, aliases expanded")
            if not stack:
                root = node
            else:
                self._attach(stack[-1][0], node, pending)
            if isinstance(event, yaml.CollectionStartEvent):
                if len(stack) >= MAX_DEPTH:
                    raise self._stop(node, f"nested deeper than {MAX_DEPTH}")
                stack.append((node, event.anchor))
                pending.append(None)
                if event.anchor is not None:
                    self.anchors[event.anchor] = None
            elif stack:
                stack[-1][0].size += node.size
        return root

    def _start(self, event: Any) -> Node | None:
        """The node that ``event`` begins; None for events that are no value."""
        if isinstance(event, yaml.AliasEvent):
            node = _node(event, None)
            if event.anchor not in self.anchors:
                raise self._stop(node, f"alias *{event.anchor}: no such anchor")
            target = self.anchors[event.anchor]
            if target is None:
                raise self._stop(node, f"alias *{event.anchor} contains itself")
            return target
        if isinstance(event, yaml.ScalarEvent):
            node = _node(event, self._scalar(event))
            if event.anchor is not None:
                self.anchors[event.anchor] = node
            return node
        if isinstance(event, yaml.SequenceStartEvent):
            node = _node(event, [])
            self._tag(event, node, ("seq",))
            return node
        if isinstance(event, yaml.MappingStartEvent):
            node = _node(event, {})
            self._tag(event, node, ("map",))
            return node
        return None

    def _scalar(self, event: Any) -> str | None:
        tag = self._tag(event, _node(event, None), ("str", "int", "float", "bool", "null"))
        value: str = event.value
        if tag in ("!", f"{_CORE}str") or (tag is None and not event.implicit[0]):
            wrong = FORBIDDEN.search(value)  # escapes in double quotes can make what the file may not hold
            if wrong is not None:
                self._problem(_node(event, None), f"a control character (U+{ord(wrong[0]):04X})")
            return value
        return None if value in _NULLS else Plain(value)

    def _tag(self, event: Any, node: Node, allowed: tuple[str, ...]) -> str | None:
        tag: str | None = event.tag
        if tag in (None, "!") or tag in {_CORE + name for name in allowed}:
            return tag
        shown = "!!" + tag[len(_CORE) :] if tag is not None and tag.startswith(_CORE) else tag
        self._problem(node, f"the tag {shown} is not allowed here")
        return tag

    def _attach(self, parent: Node, node: Node, pending: list[tuple[str, tuple[int, int]] | None]) -> None:
        if isinstance(parent.value, list):
            parent.value.append(node)
            return
        assert isinstance(parent.value, dict)
        waiting = pending[-1]
        if waiting is not None:
            key, at = waiting
            pending[-1] = None
            if key in parent.value:
                first = parent.keys[key]
                self.problems.append(f"{self.name}:{at[0]}:{at[1]}: duplicate key {key!r} (first in line {first[0]})")
                return
            parent.value[key] = node
            parent.keys[key] = at
            return
        pending[-1] = (self._key(node), (node.line, node.column))

    def _key(self, node: Node) -> str:
        value = node.value
        if value is None or not isinstance(value, str):
            self._problem(node, f"expected a name as the key, found {describe(value)}")
            return f"\0{len(self.problems)}"  # unlike any key of the file; the file is refused anyway
        if value == "<<" and isinstance(value, Plain):
            self._problem(node, "merge keys (<<) are not supported")
        elif isinstance(value, Plain) and _RESOLVER.resolve(yaml.ScalarNode, value, (True, False)) != f"{_CORE}str":
            self._problem(node, f"the key {value} is no text to YAML: write '{value}'")
        return str(value)


def _node(event: Any, value: Any) -> Node:
    return Node(event.start_mark.line + 1, event.start_mark.column + 1, value)
