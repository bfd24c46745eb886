# SPDX-License-Identifier: Apache-2.0
"""Lines, items and tables on a terminal or in a pipe.

On a terminal a long item goes on under its own text, and a table that is too wide becomes two, each with the key
column. In a pipe an item is one line however long, a table as wide as it is, and no line ends with blanks: what reads
it can split, search and count lines. Text is never obeyed as markup, and a key is never cut short.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from .units import printable

_GAP = 2
_HANG = 2


@dataclass(frozen=True)
class Column:
    """``group``: columns of one group stay in one table as long as they fit. The first column is the key."""

    title: str
    right: bool = False
    group: int = 0


def plain(text: object, style: str = "") -> Text:
    return Text(printable(text), style=style)


def line(console: Console, text: str | Text, style: str = "", indent: int = 0, hang: int = _HANG) -> None:
    """One line, or on a terminal as many as it takes, the further ones indented by ``hang`` more."""
    body = text if isinstance(text, Text) else plain(text, style)
    room = console.width - indent - hang
    if not console.is_terminal or cell_len(body.plain) <= console.width - indent or room < 20:
        _print(console, Text(" " * indent) + body)
        return
    for number, part in enumerate(body.wrap(console, room)):
        part.rstrip()
        _print(console, Text(" " * (indent + (hang if number else 0))) + part)


def item(console: Console, label: str, text: str, indent: int = 4) -> None:
    body = Text()
    body.append(f"{printable(label)}: ", style="dim")
    body.append(printable(text))
    line(console, body, indent=indent)


def advice(console: Console, text: str, indent: int = 6) -> None:
    if text:
        line(console, plain(f"advice: {text}"), indent=indent)


def heading(console: Console, text: str, indent: int = 2) -> None:
    console.print()
    line(console, plain(text, "bold"), indent=indent)


def table(
    console: Console,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Text] | Text],
    indent: int = 2,
    titled: bool = True,
    repeated: Container[int] = (),
) -> None:
    """A row has a text for each of ``columns``, or is one text that goes across. Without any nothing is printed.

    ``repeated``: texts that go across, by their place in ``rows``, which stand in each of the tables that a wide one
    becomes, as headings do; the others stand in the first.
    """
    cells = [row for row in rows if not isinstance(row, Text)]
    if not cells:
        return
    widths = [
        max(cell_len(column.title), *(cell_len(row[place].plain) for row in cells))
        for place, column in enumerate(columns)
    ]
    room = console.width - indent if console.is_terminal else 1 << 30
    for number_of_block, block in enumerate(_blocks(columns, widths, room)):
        titles = [Text(column.title, style="dim") for column in columns]
        for place_of_row, row in enumerate((titles, *rows) if titled else rows, start=-1 if titled else 0):
            if isinstance(row, Text):
                if place_of_row in repeated or not number_of_block:
                    line(console, row, indent=indent)
                continue
            out = Text(" " * indent)
            for number, place in enumerate(block):
                cell, pad = row[place], " " * (widths[place] - cell_len(row[place].plain))
                last = number == len(block) - 1
                if columns[place].right:
                    out.append(pad).append_text(cell)
                else:
                    out.append_text(cell).append("" if last else pad)
                out.append("" if last else " " * _GAP)
            out.rstrip()
            line(console, out)


def _blocks(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[list[int]]:
    """The columns of each table, by place, the key first in all: whole groups as long as they fit."""
    groups: list[list[int]] = []
    for place in range(1, len(columns)):
        if groups and columns[groups[-1][0]].group == columns[place].group:
            groups[-1].append(place)
        else:
            groups.append([place])
    blocks: list[list[int]] = [[0]]
    left = room - widths[0]
    for group in groups:
        need = sum(widths[place] + _GAP for place in group)
        if need > left and len(blocks[-1]) > 1:
            blocks.append([0])
            left = room - widths[0]
        for place in group:
            if widths[place] + _GAP > left and len(blocks[-1]) > 1:
                blocks.append([0])
                left = room - widths[0]
            blocks[-1].append(place)
            left -= widths[place] + _GAP
    return blocks


def _print(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True)
