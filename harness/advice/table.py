# SPDX-License-Identifier: Apache-2.0
"""The shape of a known cause. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Known:
    """``names``: patterns of what stands behind the kind, ``tick_*``. ``words`` say what it is, in one line.

    ``measures``: keys of :data:`harness.advice.measures.MEASURES`, what helps most first.
    """

    kind: str
    names: tuple[str, ...]
    words: str
    measures: tuple[str, ...]

    def covers(self, kind: str, name: str) -> bool:
        return kind == self.kind and any(fnmatchcase(name, pattern) for pattern in self.names)


def known(kind: str, names: str, words: str, measures: str) -> Known:
    """From words between blanks: ``known("call", "ipi_mb ipi_sync_core", "membarrier(2) …", "no-membarrier")``.

    A name with blanks in it stands alone, between bars: ``|Rescheduling interrupts|``.
    """
    names_of = tuple(name for name in names.split("|") if name.strip()) if "|" in names else tuple(names.split())
    return Known(kind, names_of, words, tuple(measures.split()))
