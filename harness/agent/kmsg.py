# SPDX-License-Identifier: Apache-2.0
"""The kernel's log since a remembered position, from /dev/kmsg without a fork. Patterns only: dmesg always moves."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

from .system import Tree

#: What makes a run worthless. Not "error" as such, nor "warning" in small letters: drivers say that on good days too.
PATTERNS = re.compile(
    r"WARNING:|\bBUG\b|\bOops\b|\bUBSAN:|EDAC .*\b[CU]E\b|"
    # A program's own fault says the same without the number of the Oops.
    r"(?i:general protection fault.*\[#[0-9]+\]|list_(?:add|del) corruption|"
    # A pipe of USB stalls as well, and any driver may throttle.
    r"lockup|\brcu.*\bstall|self-detected stall|detected (?:expedited )?stalls|blocked for more than [0-9]+ seconds|"
    r"out of memory: Killed|page allocation (?:failure|stalls)|"
    r"Machine Check|\bMCE\b|mce:|Hardware Error|NMI received for unknown reason|split lock|"
    r"(?:therm|temperature).*throttl|throttl.*(?:therm|temperature)|clock throttled|RT throttling|"
    r"under-?voltage|critical temperature|"
    r"TSC unstable|TSC warp|Marking clocksource 'tsc.*unstable|Clocksource .* unstable)"
)
_KEEP_BYTES = 64 << 10
_MAX_MATCHES = 100


class Kmsg:
    """Held open over the runs of a batch; unusable (``readable`` is False) where the log is not ours to read."""

    def __init__(self, tree: Tree | None = None) -> None:
        try:
            self._fd = os.open((tree or Tree()).path("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    @property
    def readable(self) -> bool:
        return self._fd >= 0

    def mark(self) -> None:
        """Forget all that was said so far."""
        if self._fd >= 0:
            try:
                os.lseek(self._fd, 0, os.SEEK_END)
            except OSError:
                self.close()

    def collect(self) -> dict[str, Any] | None:
        """``{lines, matches, lost}`` since the mark (lines: the last 64 KiB); None where the log is unreadable.

        ``matches`` are the kernel's own lines alone: anybody with the right to may write to its log as well.
        ``lost`` is True where the ring was overwritten before it was read.
        """
        if self._fd < 0:
            return None
        lines: list[str] = []
        matches: list[str] = []
        size = 0
        lost = False
        while True:
            try:
                record = os.read(self._fd, 8192)
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten; the next read goes on with the oldest there is
                    lost = True
                    continue
                break  # EAGAIN: that was the newest
            if not record:
                break
            head, _, text = record.decode("utf-8", "replace").partition(";")
            line = text.partition("\n")[0]
            stamp = head.split(",")[2] if head.count(",") >= 2 else "0"
            lines.append(f"[{int(stamp) / 1e6:.6f}] {line}" if stamp.isdigit() else line)
            size += len(lines[-1])
            if _of_kernel(head) and PATTERNS.search(line) and len(matches) < _MAX_MATCHES:
                matches.append(lines[-1])
            while size > _KEEP_BYTES and len(lines) > 1:
                size -= len(lines.pop(0))
        return {"lines": lines, "matches": matches, "lost": lost}

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _of_kernel(head: str) -> bool:
    """Is this record of facility 0 (its first number is facility * 8 + level)?"""
    number = head.partition(",")[0]
    return not number.isdigit() or int(number) >> 3 == 0
