# SPDX-License-Identifier: Apache-2.0
"""Kernels and boots on a terminal: who they are, which boots failed, and a table that compares them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from . import cause_tables, cause_view, words
from .kernel_view import BootedView, KernelView, name_of
from .layout import Column, item, line, plain, table
from .tables import state_text
from .units import printable, quantity
from .view import ComparedCell, Comparison, Number, TargetView

_BUILD_ID_DIGITS = 12


def print_kernels(target: TargetView, console: Console) -> None:
    """Everything of a target that was booted; nothing of another."""
    for kernel in target.kernels:
        item(console, f"kernel {kernel.name}", _kernel(kernel), indent=2)
    for booted in target.booted:
        item(console, f"boot {booted.name}", _booted(booted), indent=2)
    for what, why in words.boot_failures(target):
        item(console, what, why, indent=2)
    if target.power_cycles:
        item(console, "power switched", f"{target.power_cycles} times", indent=2)
    if target.comparisons and target.virtual is not None:
        item(console, "virtual machine", "compare kernels by counts, not by latencies", indent=2)
    for one in target.comparisons:
        print_comparison(one, console, "kernel and boot")


def _kernel(kernel: KernelView) -> str:
    known = [kernel.release, kernel.version, kernel.preempt if kernel.preempt not in kernel.version else ""]
    if kernel.build_id:
        known.append(f"build id {kernel.build_id[:_BUILD_ID_DIGITS]}")
    if kernel.artefact_sha256:
        known.append(f"artefact {kernel.artefact_sha256[:_BUILD_ID_DIGITS]}")
    return " · ".join(filter(None, known)) or "never seen running"


def _booted(booted: BootedView) -> str:
    changes = [*(f"+{each}" for each in booted.added), *(f"-{each}" for each in booted.removed)]
    about = booted.cmdline if booted.first else " ".join(changes)
    if booted.cmdline and not about:
        about = "the same command line"
    return "; ".join(filter(None, [about, words.boots(booted), words.took(booted)]))


def print_comparison(one: Comparison, console: Console, key: str) -> None:
    """A row for each of its columns, each of which is a ``key``, below mode and load. ``x``: the ratio to the first.

    Below it what took the time, where causes were looked for.
    """
    console.print()
    first = name_of(one.columns[0])
    title = f"{one.title}: {one.metric}, median of runs, and x times that of {first} (worst: of any run)"
    line(console, title, indent=2)
    # in the order of a row that has them all: some modes have no count of interrupts
    rows_by_labels = sorted(one.rows, key=lambda row: -len(row.labels))
    labels = tuple(dict.fromkeys(label for row in rows_by_labels for label in row.labels))
    columns = [Column(key)]
    for place, label in enumerate(labels):
        columns += [Column(label, right=True, group=place), Column("x", right=True, group=place)]
        if label == "max":
            columns.append(Column("worst", right=True, group=place))
    columns.append(Column("runs", group=len(labels)))
    rows: list[list[Text] | Text] = []
    headings = set()
    for row in one.rows:
        headings.add(len(rows))
        rows.append(plain(f"{row.mode}, load {row.load}", "bold"))
        for booted, cell in zip(one.columns, row.cells, strict=True):
            name = f"  {name_of(booted)}"
            if cell.numbers:
                rows.append([plain(name), *_numbers(cell, labels), _runs(cell)])
            else:
                reason = f" ({cell.reason})" if cell.reason and cell.why != "boot failed" else ""
                rows.append(plain(f"{name}: {cell.why}{reason}", "red" if cell.why == "boot failed" else "dim"))
    table(console, columns, rows, repeated=headings)
    for found in cause_view.compared(one):
        console.print()
        cause_tables.beside(found, console)


def _numbers(cell: ComparedCell, labels: Sequence[str]) -> list[Text]:
    found = []
    for label in labels:
        number = cell.number(label)
        ratio = "" if number is None or number.ratio is None else words.ratio(number.ratio).removeprefix("×")
        found += [plain("-" if number is None else _value(number)), plain(ratio)]
        if label == "max":
            found.append(plain(quantity(number.spread.high, number.unit) if number and number.spread else "-"))
    return found


def _runs(cell: ComparedCell) -> Text:
    """A bare number, where all are valid and none failed: that is what most are."""
    if cell.mode is None:
        return Text("")
    text = state_text(cell.mode)
    number = len(cell.mode.runs)
    return plain(number, "green") if text.plain == f"{number} valid" else text


def _value(number: Number) -> str:
    if number.text:
        return number.text
    return printable(quantity(number.spread.median if number.spread else None, number.unit))
