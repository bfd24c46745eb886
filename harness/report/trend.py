# SPDX-License-Identifier: Apache-2.0
"""Series over executions, as tables in a terminal or a pipe and as one JSON document."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from ..stats.quantiles import samples_needed
from ..stats.trend import Change, Point, Series
from .layout import Column, item, line, plain, table
from .units import plural, quantity, setting

_LABELS = {
    "kernel": "kernel",
    "kernel_version": "kernel version",
    "build_id": "build id",
    "artefact_sha256": "artefact",
    "cmdline": "command line",
    "firmware": "firmware",
    "microcode": "microcode",
    "attribution_level": "attribution by",
}
_LEGEND = (
    "v/s/i: how many runs (n) are valid/suspect/invalid; numbers are of the valid, of the suspect ones where none is "
    "valid. before, earlier: change against the execution before, and the median of all before"
)
_BARS = "▁▂▃▄▅▆▇█"


def document(campaign: str, path: str, found: Sequence[Series], last: int | None, warnings: Sequence[str]) -> Any:
    """For machines: the newest ``last`` points of each series."""
    listed = [{**asdict(each), "points": [_point(point) for point in newest(each, last)]} for each in found]
    return {"campaign": campaign, "path": path, "series": listed, "warnings": list(warnings)}


def _point(point: Point) -> dict[str, Any]:
    """A quantile that lies among missed periods is more than any number: ``None``."""
    return {key: None if value == math.inf else value for key, value in asdict(point).items()}


def newest(series: Series, last: int | None) -> tuple[Point, ...]:
    return series.points if last is None else series.points[-last:]


def show(campaign: str, found: Sequence[Series], last: int | None, console: Console) -> None:
    """Print a table a series, an execution a row, in order, and between rows what else changed."""
    executions = {point.execution for each in found for point in newest(each, last)}
    line(console, plain(f"{campaign}: {len(found)} series, {plural(len(executions), 'execution')}", "bold"))
    line(console, plain(_LEGEND, "dim"))
    gated = {_cell(each) for each in found if each.quantile}
    beside: dict[tuple[str, ...], list[Series]] = {}
    for each in found:
        if not each.quantile:
            beside.setdefault(_cell(each), []).append(each)
    target = None
    for each in (each for each in found if each.quantile or _cell(each) not in gated):
        if each.target != target:
            console.print()
            line(console, plain(each.target, "bold"))
            target = each.target
        _series(each, newest(each, last), beside.get(_cell(each), []) if each.quantile else [], console)


def _cell(series: Series) -> tuple[str, ...]:
    """What the metrics of the same runs have in common."""
    return series.target, series.cell, series.role


def _series(series: Series, points: Sequence[Point], beside: Sequence[Series], console: Console) -> None:
    """A table; ``beside`` are single numbers of the same runs, a column each: median, and change against before."""
    console.print()
    what = f"{series.metric} {series.quantile}" if series.quantile else series.metric
    role = "" if series.role == "measured" else f", {series.role}"
    lasted = f" of {setting(series.duration_ns)}" if series.duration_ns else ""
    line(console, f"{series.title}, {series.mode}, load {series.load}{role}: {what}, median of runs{lasted}", indent=2)
    if sum(each.bounded is not None for each in points) > 1:
        item(console, "medians", f"{sparkline([each.bounded for each in points])} (oldest left, height from 0)")
    columns = [Column("execution"), *(Column(name, right=True) for name in ("median", "low", "high"))]
    if series.quantile:
        columns.append(Column("max", right=True))
    columns += [Column("v/s/i", right=True), *(Column(name, right=True, group=1) for name in ("before", "earlier"))]
    columns += [Column(each.metric, right=True, group=2) for each in beside]
    numbers = [{point.execution: point for point in each.points} for each in beside]
    rows: list[list[Text] | Text] = []
    for point in points:
        rows += [plain(f"  {_change(change)}", "cyan") for change in point.changed]
        cells = [point.execution, *_numbers(point, series)]
        cells += [quantity(point.longest, series.unit)] if series.quantile else []
        cells += ["/".join(map(str, point.states.values())), _percent(point.change), _percent(point.change_earlier)]
        cells += [_beside(known.get(point.execution), each) for known, each in zip(numbers, beside, strict=True)]
        rows.append([plain(cell) for cell in cells])
    table(console, columns, rows)
    if series.quantile and any(point.runs and not point.enough for point in points):
        needed = samples_needed(series.quantile)
        item(console, "n too small", f"a run has fewer than the {needed:,} samples that bound {series.quantile}")


def _beside(point: Point | None, series: Series) -> str:
    """``40,200 (x 4.54)``: the unit is in the metric's name, or of a time in the number."""
    if point is None or point.median is None:
        return "-"
    shown = quantity(point.median, "ns" if series.unit == "ns" else "")
    return shown if point.change is None else f"{shown} ({_percent(point.change)})"


def _numbers(point: Point, series: Series) -> list[str]:
    if point.median is not None and not point.enough:
        return ["n too small", "", ""]
    return [quantity(value, series.unit) for value in (point.median, point.low, point.high)]


def _percent(change: float | None) -> str:
    """``+7.5 %``, ``+120 %``, ``x 15``: what a change needs to be seen."""
    if change is None:
        return "-"
    if change >= 9:
        return f"x {change + 1:,.0f}"
    return f"{100 * change:+.{0 if change >= 0.9995 else 1}f} %"


def _change(change: Change) -> str:
    label = _LABELS.get(change.what, change.what)
    if change.what == "cmdline" and change.before is not None and change.after is not None:
        return f"{label}: {_words(change.before, change.after)}"
    return f"{label}: {change.before or 'not known'}, then {change.after or 'not known'}"


def _words(before: str, after: str) -> str:
    """``-quiet +nohz_full=3``: a command line is long, and little of it changes."""
    old, new = _split(before), _split(after)
    parts = [f"-{word}" for word in old if word not in new] + [f"+{word}" for word in new if word not in old]
    return " ".join(parts) or "in another order"


def _split(text: str) -> Mapping[str, None]:
    try:
        return dict.fromkeys(shlex.split(text))
    except ValueError:
        return dict.fromkeys(text.split())


def sparkline(values: Sequence[float | None]) -> str:
    """A character a value, ? where there is none, the highest where it was missed. Zero is the ground."""
    top = max((value for value in values if value is not None and value != math.inf), default=0)
    if top <= 0:
        return "".join("?" if value is None else _BARS[0] for value in values)
    steps = len(_BARS) - 1
    return "".join("?" if value is None else _BARS[round(min(1.0, max(0.0, value) / top) * steps)] for value in values)
