# SPDX-License-Identifier: Apache-2.0
"""What ``lanes/<target>.json`` says of a target, for a view: what it cannot do, notes, why it ended early. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..stats.variants import Variant, variant_of_cell
from ..store.documents import at, objects, text_of
from .grouping import compact
from .modes import name_of
from .view import Failure, Section, Unsupported

_ALLOW = "let sudo work without a password"


def unsupported(
    target: str, entry: Mapping[str, Any], cells: Mapping[str, Mapping[str, Any]], named: Mapping[Variant, str]
) -> Unsupported:
    bench, mode, load = (name_of(entry.get(key)) for key in ("bench", "mode", "load"))
    cell = cells.get(str(entry.get("cell")))
    title = bench if cell is None else named[variant_of_cell(cell)]
    return Unsupported(target, title, mode, load, compact(str(entry.get("reason") or "no reason given")))


def without_sudo(sections: Iterable[Section]) -> tuple[Section, ...]:
    """Advice for a target whose sudo was found to ask for a password: ``become: sudo`` is not enough there."""
    return tuple(
        replace(
            section,
            modes=tuple(
                replace(mode, reasons=tuple(replace(each, advice=allow_sudo(each.advice)) for each in mode.reasons))
                for mode in section.modes
            ),
        )
        for section in sections
    )


def allow_sudo(advice: str) -> str:
    return advice.replace("become: sudo in the inventory", _ALLOW).replace("become: sudo", _ALLOW)


def notes(lane: Mapping[str, Any]) -> tuple[str, ...]:
    found = [at(lane, where, "notes") for where in ("contact", "placement")]
    return tuple(str(note) for notes in found if isinstance(notes, list) for note in notes)


def failure(entry: object) -> Failure | None:
    if not isinstance(entry, Mapping):
        return None
    return Failure(text_of(entry, "fault"), text_of(entry, "message"), text_of(entry, "advice"))


def by_cell(lane: Mapping[str, Any], unsupported: Iterable[Unsupported]) -> dict[str, Unsupported]:
    entries = objects(lane.get("unsupported"))
    return {str(entry.get("cell")): each for entry, each in zip(entries, unsupported, strict=True)}
