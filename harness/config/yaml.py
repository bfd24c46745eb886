# SPDX-License-Identifier: Apache-2.0
"""YAML to plain data with positions, without YAML's surprises. Every failure is a :class:`ConfigError`.

A plain (unquoted) scalar becomes a :class:`Plain`: its literal text. What it means is decided by the model that reads
it: where text is wanted, ``6.10`` stays "6.10" and ``no`` stays "no"; where a number is wanted, only what every reader
takes for that number is one (see :mod:`harness.config.types`). Quoted scalars are ``str``; an empty value, ``~`` and
``null`` are ``None``.

:mod:`harness.config.nodes` turns the parser's events into values with positions.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from .nodes import FORBIDDEN, Builder, Node, Plain, describe

MAX_BYTES = 4 * 1024 * 1024
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
#: As libyaml and PyYAML say it.
_UNCLOSED = re.compile("expected ',' or '[]}]'|unexpected end of stream")
_CLOSED_BY = {"[": "]", "{": "}", '"': '"', "'": "'"}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

Loc = tuple[int | str, ...]

__all__ = ["MAX_BYTES", "Document", "Loc", "Plain", "describe", "load", "parse", "path_text", "plain_data", "suggest"]


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


def suggest(name: str, known: Iterable[str], most: int = 12) -> str:
    """``"; did you mean 'x'?"`` for a near miss, else what there is, if no more than ``most``."""
    names = sorted(set(known))
    lower = {each.lower(): each for each in names}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {lower[near[0]]!r}?"
    return f" (known: {', '.join(names)})" if 0 < len(names) <= most else ""


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
    wrong = FORBIDDEN.search(text, 1 if text.startswith("\ufeff") else 0)
    if wrong is not None:
        raise ConfigError([f"{_place(text, wrong.start(), name)}: a control character (U+{ord(wrong[0]):04X})"])
    builder = Builder(name)
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
    if str(error.problem).startswith("mapping values are not allowed"):
        return f"{where}: a second ': ' in one value: put the text in quotes, or what follows on lines of its own"
    opened = error.context_mark
    bracket = "" if opened is None else text[opened.index : opened.index + 1]
    if opened is not None and bracket in _CLOSED_BY and _UNCLOSED.search(str(error.problem)):
        where = f"{name}:{opened.line + 1}:{opened.column + 1}"
        return f"{where}: {bracket} without its {_CLOSED_BY[bracket]} (missed at {mark.line + 1}:{mark.column + 1})"
    return f"{where}: {error.problem}" + (f" {error.context}" if error.context else "")
