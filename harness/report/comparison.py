# SPDX-License-Identifier: Apache-2.0
"""How kernels and boot profiles compare on a target: modes and loads against what was booted. Pure.

Medians, ranges and how many runs there are behind them; the ratio is of two medians. No judgement of significance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..stats.quantiles import Spread, spread
from ..stats.variants import Variant, variant_of_cell
from .booted import DEFAULT, boot_of
from .kernel_view import Booted
from .modes import name_of
from .view import Attempt, ComparedCell, ComparedRow, Comparison, ModeView, Number, Section, Unsupported

#: Units of counts, in their order where they come first.
_COUNTED = {"count": 0, "": 1}
_NOT_RUN = ComparedCell(None, None, (), "not measured")


def booted_of(variant: Variant) -> Booted:
    return variant.kernel, variant.boot


def base_of(variant: Variant) -> Variant:
    """What is measured, whatever is booted."""
    return replace(variant, kernel=DEFAULT[0], boot=DEFAULT[1])


def columns_of(cells: Iterable[Mapping[str, Any]], sections: Iterable[Section]) -> tuple[Booted, ...]:
    """What was asked for and what ran, by kernel: in the order of the plan, first what machines boot by themselves."""
    found = dict.fromkeys([*(booted_of(variant_of_cell(cell)) for cell in cells), *(each.booted for each in sections)])
    kernels, boots = (list(dict.fromkeys(each[part] for each in found)) for part in (0, 1))

    def place(booted: Booted) -> tuple[bool, int, bool, int]:
        kernel, boot = booted
        return kernel != DEFAULT[0], kernels.index(kernel), boot != DEFAULT[1], boots.index(boot)

    return tuple(sorted(found, key=place))


def comparisons(
    target: str,
    sections: Sequence[Section],
    columns: Sequence[Booted],
    cells: Mapping[str, Mapping[str, Any]],
    bases: Mapping[Variant, str],
    unsupported: Mapping[str, Unsupported],
    attempts: Sequence[Attempt],
    *,
    virtual: bool,
) -> tuple[Comparison, ...]:
    """The comparisons of ``target``, whose own ``cells`` these are, by id; ``bases`` names what is measured.

    Of a ``virtual`` machine counts come first: its latencies are the host's as well.
    """
    if not columns:
        return ()
    asked: dict[str, dict[tuple[str, str], dict[Booted, str]]] = {}
    for key, cell in cells.items():
        variant = variant_of_cell(cell)
        place = (name_of(cell.get("mode")), name_of(cell.get("load")))
        asked.setdefault(bases[base_of(variant)], {}).setdefault(place, {})[booted_of(variant)] = key
    measured: dict[tuple[str, str], dict[tuple[str, str], dict[Booted, tuple[Section, ModeView]]]] = {}
    for section in sections:
        own = measured.setdefault((section.base, section.metric), {})
        for mode in section.modes:
            own.setdefault((mode.name, section.load), {})[section.booted] = (section, mode)
    lost = _lost(attempts)
    found = []
    for (title, metric), places in measured.items():
        rows = []
        known = asked.get(title, {})
        for place in dict.fromkeys([*known, *places]):
            by_boot, ids = places.get(place, {}), known.get(place, {})
            first = by_boot.get(columns[0])
            compared = tuple(
                compared_cell(*by_boot[each], None if first is None or each == columns[0] else first[1], virtual)
                if each in by_boot
                else _missing(ids.get(each), unsupported, lost)
                for each in columns
            )
            rows.append(ComparedRow(*place, compared))
        about = next(section for section in sections if (section.base, section.metric) == (title, metric))
        found.append(Comparison(target, title, metric, about.unit, about.gate, tuple(columns), tuple(rows)))
    return tuple(found)


def compared_cell(section: Section, mode: ModeView, first: ModeView | None, virtual: bool) -> ComparedCell:
    """The numbers of a cell, and their ratios to those of ``first``, if it is not that itself."""
    if mode.basis is None:
        return ComparedCell(section, mode, (), "no usable run")
    gate = mode.quantile(section.gate)
    numbers = []
    if gate is not None:
        other = None if first is None else first.quantile(section.gate)
        base = other.spread if other is not None and other.enough else None
        if gate.spread is not None and not gate.enough:
            numbers.append(Number(section.gate, section.unit, None, None, "n too small"))
        else:
            numbers.append(Number(section.gate, section.unit, gate.spread, _ratio(gate.spread, base)))
    largest = None if first is None else first.maximum
    numbers.append(Number("max", section.unit, mode.maximum, _ratio(mode.maximum, largest)))
    if section.rated:
        none = mode.rate_upper_hz is not None
        ratio = None if none or first is None else _ratio(mode.rate, first.rate)
        numbers.append(Number(f"{section.rated}/s", "", mode.rate, ratio, "0" if none else ""))
    came = _interrupts(mode)
    if came is not None:
        numbers.append(Number("interrupts", "count", came, _ratio(came, None if first is None else _interrupts(first))))
    if virtual:
        numbers.sort(key=lambda number: _COUNTED.get(number.unit, len(_COUNTED)))
    return ComparedCell(section, mode, tuple(numbers))


def _interrupts(mode: ModeView) -> Spread | None:
    return spread(run.interrupts for run in mode.used)


def _ratio(own: Spread | None, first: Spread | None) -> float | None:
    if own is None or first is None or not first.median or math.inf in (own.median, first.median):
        return None
    return own.median / first.median


def _missing(
    cell: str | None, unsupported: Mapping[str, Unsupported], lost: Mapping[str, tuple[str, str]]
) -> ComparedCell:
    if cell is None:
        return replace(_NOT_RUN, why="not asked for")
    if cell in unsupported:
        return replace(_NOT_RUN, why="unsupported", reason=unsupported[cell].reason)
    if cell in lost:
        return replace(_NOT_RUN, why=lost[cell][0], reason=lost[cell][1])
    return _NOT_RUN


def _lost(attempts: Iterable[Attempt]) -> dict[str, tuple[str, str]]:
    """By cell, why none of its runs was had: that of its boot, or of the last attempt."""
    found: dict[str, tuple[str, str]] = {}
    for attempt in attempts:
        boot = boot_of(attempt.reason)
        what = ("failed", attempt.reason) if boot is None else ("boot failed", boot[1])
        found[attempt.run.rpartition("-r")[0]] = what
    return found
