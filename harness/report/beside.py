# SPDX-License-Identifier: Apache-2.0
"""Two executions beside each other on a terminal or in a pipe, and as one JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console

from . import cause_view
from .compared import print_comparison
from .document import cell_document
from .layout import heading, item, line, plain
from .sides import COLUMNS, Apart, Sides, TargetSides
from .units import plural
from .view import Comparison

#: Cells that were not compared, listed for a target; more are counted.
_LISTED = 12


def print_sides(found: Sides, console: Console) -> None:
    for (_, which), execution in zip(COLUMNS, found.names, strict=True):
        line(console, f"{which}: {' '.join(execution)}", "bold")
    line(console, plain("medians over runs and their ratio, no verdicts", "dim"))
    for target in found.targets:
        _target(target, console)
    for name, side in found.only:
        console.print()
        item(console, name, f"only in the {COLUMNS[side][1]}", indent=0)
    if not found.targets:
        line(console, "no target was measured in both")


def _target(target: TargetSides, console: Console) -> None:
    console.print()
    line(console, target.name, "bold")
    for label, before, after in target.changed:
        item(console, label, f"{before} | {after}", indent=2)
    if target.virtual:
        item(console, "virtual machine", "compare by counts, not by latencies", indent=2)
    for one in target.comparisons:
        print_comparison(one, console, "execution")
    if not target.comparisons:
        line(console, "nothing was measured in both", indent=2)
    apart = [each for each in target.apart if not each.side or not (each.instead or each.differ)]  # a pair once
    if apart:
        heading(console, "not compared")
        for each in apart[:_LISTED]:
            item(console, f"{each.mode}, load {each.load}", _why(each), indent=4)
        if len(apart) > _LISTED:
            line(console, f"and {plural(len(apart) - _LISTED, 'cell')} more", indent=4)


def _why(each: Apart) -> str:
    if each.differ:
        return f"{each.title}, not the same: {each.differ}"
    if not each.instead:
        return f"{each.title} only in the {COLUMNS[each.side][1]}"
    why = "attribution's instruments disturb" if "attribution=" in each.title + each.instead else "not the same"
    return f"{each.title} | {each.instead}: {why}"


def document(found: Sides) -> dict[str, Any]:
    """Times in ns; each cell as ``show --json`` has it."""
    return {
        "sides": [{"campaign": campaign, "execution": execution} for campaign, execution in found.names],
        "targets": [
            {
                "target": target.name,
                "changed": [
                    {"what": label, "before": before, "after": after} for label, before, after in target.changed
                ],
                "cells": [row for one in target.comparisons for row in _rows(one)],
                "not_compared": [asdict(each) for each in target.apart],
            }
            for target in found.targets
        ],
        "only": [{"target": name, "side": side} for name, side in found.only],
    }


def _rows(one: Comparison) -> list[dict[str, Any]]:
    causes = {table.title: table for table in cause_view.compared(one)}
    found = []
    for row in one.rows:
        table = causes.get(cause_view.row_title(row))
        known = [(each.section, each.mode) for each in row.cells]
        found.append(
            {
                "title": one.title,
                "metric": one.metric,
                "mode": row.mode,
                "load": row.load,
                "sides": [cell_document(section, mode) if section and mode else None for section, mode in known],
                "ratios": {number.label: number.ratio for number in row.cells[1].numbers},
                "differ": table.differ if table else "",
            }
        )
    return found
