# SPDX-License-Identifier: Apache-2.0
"""What helps against a cause, and who was behind it, in the words of reports and of doctor. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..advice import Remedy
from .units import plural

#: Whose a remedy is, by its kind, where nobody can see from outside whether it is so.
WHOSE = {"application": "in the application", "host": "below the kernel, or around it"}
#: So many are named.
_NAMED = 3


def effect(remedy: Remedy) -> str:
    """Whether it is so here; where nobody can see that from outside, whose it is."""
    if remedy.in_effect is None:
        return WHOSE.get(remedy.kind, "not known whether here")
    return "in effect here" if remedy.in_effect else "not in effect here"


def documentation(doc: str) -> str:
    """``Documentation/…`` of the kernel; a manual page as it is."""
    return doc if doc.endswith(")") else f"Documentation/{doc}"


def counted(found: Sequence[tuple[str, int]]) -> str:
    """``python (12), sshd (3), CPU 0 (2) and 4 others``."""
    names = ", ".join(f"{name} ({number:,})" for name, number in found[:_NAMED])
    return f"{names} and {plural(len(found) - _NAMED, 'other')}" if len(found) > _NAMED else names
