# SPDX-License-Identifier: Apache-2.0
"""What a serial console says: one boot after the other, a panic, a hang, and the blocks of a count board. Pure."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from itertools import pairwise

#: A kernel's first message, whatever the time stamp says.
_FIRST = re.compile(r"^(?:\[ *[0-9]+\.[0-9]+\] *)?(?:Booting Linux on physical CPU|Linux version [0-9])", re.M)
_STAMP = r"^\[ *[0-9]+\.[0-9]+\](?:\[[^\]]*\])? *"
#: The worst first: what a board does not come back from.
_TROUBLE: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(_STAMP + pattern + r".*$", re.M))
    for kind, pattern in (
        ("panic", r"(?:Kernel panic - not syncing|lab: .*cannot go on)"),
        ("oops", r"(?:BUG: |Oops: |Internal error: |Unable to handle kernel )"),
        (
            "hang",
            r"(?:watchdog: BUG: soft lockup|NMI watchdog: Watchdog detected|rcu: INFO: |INFO: task .* blocked for)",
        ),
    )
)
_BLOCK = re.compile(r"^isolbench-file (\S+) ([0-9]+) ([0-9a-f]{8})\n((?:[0-9a-f]+\n)*)isolbench-end$", re.M)
_BOOT_ENDED = re.compile(_STAMP + r"reboot: (?:Restarting system|Power down|System halted)", re.M)
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>c])")
_QUOTED = 8


@dataclass(frozen=True)
class Trouble:
    """``kind`` is ``panic``, ``oops`` or ``hang``; ``quote`` the lines to show, the first of which says it."""

    kind: str
    quote: tuple[str, ...]


def text_of(data: bytes) -> str:
    """Bytes of a serial line as text: one line end, no terminal's commands (firmware likes them)."""
    text = re.sub("\r+\n?", "\n", data.decode("utf-8", "replace"))
    return _ESCAPES.sub("", text)


def boots(text: str) -> list[str]:
    """``text`` cut before each kernel's first message. What came before the first (firmware) belongs to the first."""
    starts = [match.start() for match in _FIRST.finditer(text)]
    # arm64 says two first lines, one after the other
    starts = [at for index, at in enumerate(starts) if index == 0 or text.count("\n", starts[index - 1], at) > 1]
    if not starts:
        return [text] if text else []
    edges = [0, *starts[1:], len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def last_lines(text: str, count: int = _QUOTED) -> tuple[str, ...]:
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-count:]


def trouble(text: str) -> Trouble | None:
    """The first sign of the worst kind in one boot's console, or None."""
    for kind, pattern in _TROUBLE:
        if match := pattern.search(text):
            after = [line.rstrip() for line in text[match.start() :].splitlines() if line.strip()]
            return Trouble(kind, tuple(after[:_QUOTED]))
    return None


def fate(text: str) -> str | None:
    """How a machine that ran went down while it said ``text``, with a quote; None if nothing tells that it did."""
    found = trouble(text)
    if found is not None and found.kind == "panic":
        return f"panic: {found.quote[0]}"
    ended = _BOOT_ENDED.search(text) or _FIRST.search(text)
    return None if ended is None else f"it booted, or was switched off: {text[ended.start() :].splitlines()[0]}"


def account(text: str, *, ended: bool = False) -> str:
    """Why a board that was waited for did not come, in one line with a quote: for errors.

    ``ended``: it was switched off, or its QEMU ended; so it does not hang.
    """
    last = boots(text)[-1] if text else ""
    if found := trouble(last):
        return f"{found.kind}: {found.quote[0]}"
    end = last_lines(last, 1)
    if not end:
        return "not a word on its console"
    if ended:
        return f"last on its console: {end[0]}"
    if _BOOT_ENDED.search(last):
        return f"it went down and did not come up again; last on its console: {end[0]}"
    return f"it hangs, or takes longer than it was given; last on its console: {end[0]}"


def blocks(text: str) -> dict[str, bytes]:
    """What a count board said, by name. Raises ValueError for a block that did not arrive whole."""
    found: dict[str, bytes] = {}
    for name, size, crc, digits in _BLOCK.findall(text):
        data = bytes.fromhex(digits.replace("\n", ""))
        if len(data) != int(size) or zlib.crc32(data) != int(crc, 16):
            raise ValueError(f"block {name}: {len(data)} of {size} bytes, or the wrong ones, came over the console")
        found[name] = data
    said = re.findall(r"^isolbench-file (\S+)", text, re.M)
    if lost := [name for name in said if name not in found]:
        raise ValueError(f"block {lost[0]}: something else on the console got into it")
    return found


def interrupts(text: str, cpu: int) -> dict[str, int]:
    """A CPU's column of /proc/interrupts, by the line's label and, where there is a description, its last word too."""
    lines = text.splitlines()
    columns = [int(name.removeprefix("CPU")) for name in lines[0].split()] if lines else []
    if cpu not in columns:
        return {}
    found: dict[str, int] = {}
    for line in lines[1:]:
        label, _, rest = line.partition(":")
        fields = rest.split()
        if len(fields) < len(columns) or not all(field.isdigit() for field in fields[: len(columns)]):
            continue
        count = int(fields[columns.index(cpu)])
        found[label.strip()] = count
        if len(fields) > len(columns):
            found.setdefault(fields[-1], count)
    return found
