# SPDX-License-Identifier: Apache-2.0
"""Causes on a terminal: a line a cell in a summary, a table of one run, and cells beside each other."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ..stats.causes import Beside, Causes, Row
from . import causes as told
from .cause_view import BesideTable
from .layout import Column, heading, item, line, plain, table
from .units import duration
from .view import Section

#: Rows of the table of a run, and of cells beside each other.
ROWS, BESIDE_ROWS = 10, 6


def summarise(section: Section, console: Console) -> None:
    """Of each attributed cell of a section one line, and why it is not more; nothing where nobody asked for causes."""
    late = told.lateness(section)
    attributed = [(mode.name, mode.causes) for mode in section.modes if mode.causes is not None]
    if not attributed:
        return
    line(console, plain(f"{'lateness' if late else 'stolen time'} by cause", "bold"), indent=4)
    why: dict[str, list[str]] = {}
    for name, causes in attributed:
        if causes.rows:
            item(console, name, f"{told.lost(causes, late)}, {told.answer(causes, late)}", indent=6)
        for note in told.notes(causes, late):
            if note.state and not note.judged:
                why.setdefault(note.text, []).append(name)
    for text, names in why.items():
        item(console, ", ".join(names), text, indent=6)
    differ = told.differ([(mode.name, mode.causes) for mode in section.modes if mode.basis], late)
    if differ:
        item(console, "not comparable", differ, indent=6)


def of_run(causes: Causes, kept: str, console: Console) -> None:
    """The causes of one run: ``kept`` is the name of the probe's list of what they are of, ``gaps`` or ``late``."""
    late = kept == "late"
    heading(console, f"{'lateness' if late else 'stolen time'} by cause")
    if causes.rows:
        line(console, f"{told.lost(causes, late)}, {told.answer(causes, late)}", indent=4)
        rows, rest = told.shown(causes, ROWS, "late wake-ups" if late else kept)
        columns = [
            Column("cause"),  # which tells the class, by its entry
            *(Column(name, right=True) for name in ("share", "per s", "Hz", "longest")),
        ]
        cells: list[list[Text] | Text] = [
            [
                plain(_label(row)),
                plain(told.percent(causes.share(row.stolen_ns))),
                plain(duration(causes.per_s(row.stolen_ns))),
                plain(told.rate(causes.rate_hz(row.count)).removesuffix(" /s")),
                plain(duration(row.max_ns)),
            ]
            for row in rows
        ]
        table(console, columns, [*cells, *([plain(rest, "dim")] if rest else [])], indent=2)
    for note in told.notes(causes, late):
        line(console, plain(note.text, "yellow" if note.state else ""), indent=4)


def beside(found: BesideTable, console: Console) -> None:
    """Sides beside each other, by what changed most: ns taken in a second, and times that of the first side."""
    if found.differ:
        line(console, plain(f"{found.title}: {found.differ}", "yellow"), indent=2)
    if not found.rows:
        return
    what = "lateness" if found.late else "stolen"
    line(console, plain(f"{found.title}: {what} a second by cause, and x times that of {found.columns[0]}"), indent=2)
    columns = [Column("cause")]
    for place, name in enumerate(found.columns):
        columns.append(Column(name, right=True, group=place))
        if place:
            columns.append(Column("x", right=True, group=place))
    rows: list[list[Text] | Text] = []
    for _, each in found.rows[:BESIDE_ROWS]:
        cells = [plain(_label(each))]
        for place, side in enumerate(each.sides):
            cells.append(plain(duration(side.per_s) if side.count else "-"))
            if place:
                cells.append(_change(told.change(each, place)))
        rows.append(cells)
    table(console, columns, rows, indent=2)
    if more := found.of - len(rows):
        line(console, plain(f"and {more} more", "dim"), indent=2)


def _label(row: Row | Beside) -> str:
    """Narrow, so that a table fits in 80 columns: what a cause came by is an interrupt's vector, unless it says."""
    return told.label_of(row).replace(" by vector:", " by ")


def _change(text: str) -> Text:
    return plain(text.removeprefix("×"), {"new": "red", "gone": "green"}.get(text, ""))
