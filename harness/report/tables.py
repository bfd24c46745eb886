# SPDX-License-Identifier: Apache-2.0
"""A section as a table on a terminal: a row a mode, the worst run beside the median, a row a CPU below it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from rich.console import Console
from rich.text import Text

from ..stats.quantiles import Spread
from . import cause_tables, words
from .facts import ranges
from .layout import Column, item, line, plain, table
from .units import quantity, setting
from .view import STATES, CpuView, ModeView, Section

#: How states look.
STYLES = {"valid": "green", "suspect": "yellow", "invalid": "red", "failed": "red"}
#: The quantiles of a table: what a core of some hundred million intervals a second can tell.
SHOWN = ("p50", "p99", "p99.9", "p99.99", "p99.9999")
_BARS = "▁▂▃▄▅▆▇█"


def section_table(section: Section, console: Console) -> None:
    console.print()
    line(console, _title(section), indent=2)
    several = any(mode.maximum and mode.maximum.runs > 1 for mode in section.modes)
    shown = _telling(section)
    columns = [Column("mode"), *(Column(name, right=True) for name in (*shown, "max"))]
    if section.rated:
        columns += _with_worst(f"{section.rated}/s", several)
    for scalar in section.scalars:
        columns += _with_worst(scalar.label, several)
    if section.missed:
        columns.append(Column("missed", right=True, group=1))
    columns += [Column("runs", group=1), Column("p50 to max", group=1)]
    rows: list[list[Text]] = []
    scale = _scale(section)
    for mode in section.modes:
        cells = [plain(mode.name), *_levels(mode, section.unit, shown)]
        if section.rated:
            cells += _median_and_worst(_rate(mode), mode.rate, "", several)
        for scalar in section.scalars:
            found = mode.scalars.get(scalar.metric)
            median = quantity(found.median, scalar.unit) if found else "-"
            cells += _median_and_worst(median, found, scalar.unit, several)
        if section.missed:
            cells.append(plain(f"{mode.missed:,}", "yellow" if mode.missed else ""))
        rows.append([*cells, state_text(mode), plain(shape(mode, scale))])
        for cpu in mode.cpus:
            cells = [plain(f"  CPU {cpu.cpu}"), *_levels(cpu, section.unit, shown)]
            cells += [Text("")] * (len(columns) - len(cells) - 1)
            rows.append([*cells, plain(shape(cpu, scale))])
    table(console, columns, rows)
    _notes(section, console)
    cause_tables.summarise(section, console)


def _title(section: Section) -> str:
    over = ""
    if section.events and section.threshold_ns:
        over = f"; {section.events}: over {setting(section.threshold_ns)}"
    what = f"{section.title}, load {section.load}"
    cpus = [run.cpus for mode in section.modes for run in mode.runs]
    if section.role == "control":
        what = f"beside {what}, the control on CPU {ranges(cpu for each in cpus for cpu in each)}"
    of = ", the worst CPU of each" if any(len(each) > 1 for each in cpus) else ""
    return f"{what}: {section.metric}, median of runs{of} (max: the longest of any){over}"


def _telling(section: Section) -> list[str]:
    """Of the quantiles those that say something: the first, and each that does not read in all rows as the next one.

    A loop of 10 ns reads 10 ns four times, and what befell it would be in another table.
    """
    rows: list[ModeView | CpuView] = []
    for mode in section.modes:
        rows += [mode, *mode.cpus]
    texts = {name: [_quantile(each, name, section.unit).plain for each in rows] for name in SHOWN}
    between = [
        name
        for name, after in pairwise(SHOWN[1:])
        if texts[name] != texts[after] or {"-", "n too small"} & set(texts[name])
    ]
    return [SHOWN[0], *between, SHOWN[-1]]


def _with_worst(title: str, several: bool) -> list[Column]:
    """A median hides what befell one run of many: the worst stands beside it."""
    return [Column(name, right=True, group=1) for name in ([title, "worst"] if several else [title])]


def _median_and_worst(median: str, spread: Spread | None, unit: str, several: bool) -> list[Text]:
    worst = quantity(spread.high, unit) if spread else "-"
    return [plain(text) for text in ([median, worst] if several else [median])]


def _levels(of: ModeView | CpuView, unit: str, shown: Sequence[str]) -> list[Text]:
    longest = plain(quantity(of.maximum.high, unit) if of.maximum else "-")
    return [*(_quantile(of, name, unit) for name in shown), longest]


def _notes(section: Section, console: Console) -> None:
    spreads = []
    for mode in section.modes:
        gate = mode.quantile(section.gate)
        if gate and gate.spread and gate.enough and gate.spread.low != gate.spread.high:
            low, high = (quantity(value, section.unit) for value in (gate.spread.low, gate.spread.high))
            spreads.append(f"{mode.name} {low} to {high}")
    if spreads:
        item(console, f"{section.gate} over runs", ", ".join(spreads))
    for mode in section.modes:
        if missed := words.missed(mode):
            item(console, mode.name, missed)
        if mode.rate_upper_hz is not None and section.events:
            over = f" over {setting(section.threshold_ns)}" if section.threshold_ns else ""
            bound = quantity(mode.rate_upper_hz, "/s")
            item(
                console,
                mode.name,
                f"0 {section.events}{over} in {mode.observed_s:.3g} s: below {bound} with 95 % confidence",
            )


def _points(of: ModeView | CpuView) -> list[float | None]:
    """The quantiles that the samples suffice for, and the maximum."""
    known: list[float | None] = [
        each.spread.median if each.enough and each.spread is not None else None for each in of.quantiles
    ]
    return [*known, of.maximum.high if of.maximum else None]


def _scale(section: Section) -> tuple[float, float]:
    """One for all modes of a section, so that their shapes can be compared: the logs of the least and the most."""
    logs: list[float] = []
    for mode in section.modes:
        logs += _logs(_points(mode))
        for cpu in mode.cpus:
            logs += _logs(_points(cpu))
    return (min(logs), max(logs)) if logs else (0.0, 0.0)


def _logs(points: Iterable[float | None]) -> Iterable[float]:
    return (math.log10(max(1.0, point)) for point in points if point is not None and point != math.inf)


def shape(of: ModeView | CpuView, scale: tuple[float, float]) -> str:
    """The percentiles from p50 to p99.99999, and the maximum, as a line of bars.

    ? where n is too small, the highest where a percentile lies among missed periods.
    """
    low, high = scale
    text = ""
    for point in _points(of):
        if point is None:
            text += "?"
        elif point == math.inf:
            text += _BARS[-1]
        else:
            (log,) = _logs([point])
            text += _BARS[round((log - low) / (high - low) * (len(_BARS) - 1)) if high > low else 0]
    return text


def _quantile(of: ModeView | CpuView, name: str, unit: str) -> Text:
    view = of.quantile(name)
    if view is None or view.spread is None:
        return Text("-")
    if not view.enough:
        return Text("n too small", style="dim")
    return plain(quantity(view.spread.median, unit))


def _rate(mode: ModeView) -> str:
    if mode.rate_upper_hz is not None:
        return f"<{quantity(mode.rate_upper_hz, '')}"
    return quantity(mode.rate.median, "") if mode.rate else "-"


def state_text(mode: ModeView) -> Text:
    text = Text()
    numbers: Sequence[tuple[str, int]] = [*((state, mode.number(state)) for state in STATES), ("failed", mode.failed)]
    for state, number in numbers:
        if number:
            text.append(", " if text else "").append(f"{number} {state}", style=STYLES[state])
    return text
