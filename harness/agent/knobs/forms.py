# SPDX-License-Identifier: Apache-2.0
"""How a kernel file spells its value: one form to compare, another to write. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable

from ..system import format_cpus, format_mask, parse_cpus, parse_mask

_CHOSEN = re.compile(r"\[([^\[\]]+)\]")


def _same(text: str) -> str:
    return text


def chosen(text: str) -> str:
    """Of ``always [madvise] never`` the word in brackets; the text itself where none is."""
    match = _CHOSEN.search(text)
    return match.group(1) if match else text


@dataclass(frozen=True)
class Form:
    """``parse``: what the file says -> the value that outcomes show. ``spell``: that value -> what the file takes.

    ``back``: what it said -> what brings that back.
    """

    parse: Callable[[str], str] = _same
    spell: Callable[[str], str] = _same
    back: Callable[[str], str] = _same


PLAIN = Form()
#: All words, the chosen one in brackets; it takes the one word.
CHOICE = Form(parse=chosen, back=chosen)
#: ``0-2,5``. Values are CPU lists in every form, so that outcomes read alike.
CPU_LIST = Form(parse=lambda text: format_cpus(parse_cpus(text)))
#: Hex in groups of 32 bits; read with leading zeros to the last possible CPU, taken without.
CPU_MASK = Form(parse=lambda text: format_cpus(parse_mask(text)), spell=lambda value: format_mask(parse_cpus(value)))
