# SPDX-License-Identifier: Apache-2.0
"""YAML to plain data with positions, without YAML's surprises. Every failure is a :class:`ConfigError`.

A plain (unquoted) scalar becomes a :class:`Plain`: its literal text. What it means is decided by the model that reads
it: where text is wanted, ``6.10`` stays "6.10" and ``no`` stays "no"; where a number is wanted, only what every reader
takes for that number is one (see :mod:`harness.config.types`). Quoted scalars are ``str``; an empty value, ``~`` and
``null`` are ``None``.

The parser's *events* are read rather than its nodes: composing nodes recurses, and a file of brackets would take the
process with it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 40
#: Values after aliases are expanded: stops the alias that doubles, doubled.
MAX_VALUES = 500_000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Any = yaml.resolver.Resolver()
_CORE = "tag:yaml.org,2002:"
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

Loc = tuple[int | str, ...]


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


@dataclass(frozen=True)
class Document:
    """A parsed file: ``name`` as the user wrote it, ``root`` always a mapping."""

    name: str
    root: Node

    @property
    def data(self) -> dict[str, Any]:
        """Plain data: dicts, lists, ``str`` (:class:`Plain` where unquoted) and ``None``."""
        plain = plain_data(self.root)
        assert isinstance(plain, dict)
        return plain

    def nearest(self, loc: Loc) -> Loc:
        """``loc`` without the steps that the file does not have: ``gap`` may stand for ``{bench: gap}``."""
        node = self.root
        for depth, step in enumerate(loc):
            child = _child(node, step)
            if child is None:
                return loc[:depth]
            node = child
        return loc

    def position(self, loc: Loc, *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at ``loc`` (or of its key); of what is around it where it is missing."""
        node = self.root
        at_key = (node.line, node.column)
        for step in loc:
            child = _child(node, step)
            if child is None:
                break
            at_key = node.keys[step] if isinstance(step, str) else (child.line, child.column)
            node = child
        return at_key if key else (node.line, node.column)

    def problem(self, loc: Loc, what: str, *, key: bool = False) -> str:
        """``file:line:column: path: what``."""
        line, column = self.position(loc, key=key)
        path = path_text(loc)
        return f"{self.name}:{line}:{column}: {path}: {what}" if path else f"{self.name}:{line}:{column}: {what}"


def _child(node: Node, step: int | str) -> Node | None:
    if isinstance(node.value, dict) and isinstance(step, str):
        return node.value.get(step)
    if isinstance(node.value, list) and isinstance(step, int) and 0 <= step < len(node.value):
        return node.value[step]
    return None


def path_text(loc: Loc) -> str:
    """``("targets", "rpi5-[1-2]", "tags", 0)`` → ``targets."rpi5-[1-2]".tags[0]``."""
    text = ""
    for step in loc:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            quoted = step if _BARE_KEY.fullmatch(step) else '"' + step.replace('"', '\\"') + '"'
            text += f".{quoted}" if text else quoted
    return text


def suggest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for a near miss, else a short list of what there is, else nothing."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f" (known: {', '.join(names)})" if 0 < len(names) <= 12 else ""


def plain_data(node: Node, memo: dict[int, Any] | None = None) -> Any:
    """``node`` without positions. An aliased node becomes one shared object."""
    memo = {} if memo is None else memo
    if id(node) not in memo:
        if isinstance(node.value, dict):
            memo[id(node)] = {key: plain_data(child, memo) for key, child in node.value.items()}
        elif isinstance(node.value, list):
            memo[id(node)] = [plain_data(child, memo) for child in node.value]
        else:
            memo[id(node)] = node.value
    return memo[id(node)]


def load(path: Path) -> Document:
    """Read and parse ``path``; :class:`ConfigError` says in one line what is wrong with the file as a whole."""
    name = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([f"{name}: cannot be read: {reason}"]) from None
    return parse(content, name)


def parse(content: bytes | str, name: str) -> Document:
    """Parse one document whose root is a mapping."""
    if len(content) > MAX_BYTES:
        raise ConfigError([f"{name}: larger than {MAX_BYTES // 1024 // 1024} MiB"])
    text = _decode(content, name) if isinstance(content, bytes) else content
    wrong = _FORBIDDEN.search(text, 1 if text.startswith("\ufeff") else 0)
    if wrong is not None:
        raise ConfigError([f"{_place(text, wrong.start(), name)}: a control character (U+{ord(wrong[0]):04X})"])
    builder = _Builder(name)
    try:
        root = builder.build(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        raise ConfigError([*builder.problems, _syntax(error, text, name)]) from None
    except yaml.YAMLError as error:
        raise ConfigError([*builder.problems, f"{name}: {' '.join(str(error).split())}"]) from None
    except ValueError:  # \U00110000 in quotes, in the pure-Python parser
        raise ConfigError([*builder.problems, f"{name}: an escape that is no character"]) from None
    if root is None:
        raise ConfigError([f"{name}: the file is empty"])
    if builder.problems:
        raise ConfigError(builder.problems)
    if not isinstance(root.value, dict):
        what = f"expected 'key: value' lines, found {describe(root.value)}"
        raise ConfigError([f"{name}:{root.line}:{root.column}: {what}"])
    return Document(name, root)


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


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        what = f"not UTF-8 (byte 0x{content[error.start]:02x})"
        raise ConfigError([f"{_place(before, len(before), name)}: {what}"]) from None


def _place(text: str, offset: int, name: str) -> str:
    lines = _LINE_BREAK.split(text[:offset])
    return f"{name}:{len(lines)}:{len(lines[-1]) + 1}"


def _syntax(error: yaml.MarkedYAMLError, text: str, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"{name}: {error.problem}"
    lines = _LINE_BREAK.split(text)
    line = lines[mark.line] if mark.line < len(lines) else ""
    where = f"{name}:{mark.line + 1}:{mark.column + 1}"
    if line[: mark.column + 1].strip() == "" and "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{where}: a tab: YAML is indented with spaces"
    return f"{where}: {error.problem}" + (f" {error.context}" if error.context else "")


class _Builder:
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
            wrong = _FORBIDDEN.search(value)  # escapes in double quotes can make what the file may not hold
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
