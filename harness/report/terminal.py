# SPDX-License-Identifier: Apache-2.0
"""The summary on a terminal or in a pipe: 80 columns are enough, and without a terminal there is no escape sequence.

Everything goes through :func:`~harness.report.units.printable` and :class:`rich.text.Text`, never through rich's
markup: what a target or a YAML file says cannot colour, move or hide anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..stats.quantiles import QUANTILES, enough, samples_needed
from ..store.hdr import Counts, fraction
from ..store.runs import Run, load_run
from . import facts as fact_rows
from .model import build_view
from .modes import run_view
from .units import count, plural, printable, quantity, setting
from .view import STATES, ModeView, Section, TargetView, View

_STYLES = {"valid": "green", "suspect": "yellow", "invalid": "red", "failed": "red"}
_SHOWN = ("p50", "p99", "p99.9", "p99.99")
_BARS = "▁▂▃▄▅▆▇█"


def summary(execution_dir: Path, console: Console) -> None:
    """Print what an execution found. Raises :class:`~harness.errors.UserError` when it is none."""
    print_view(build_view(Path(execution_dir)), console)


def print_view(view: View, console: Console) -> None:
    _line(console, f"{view.campaign} {view.execution}", "bold")
    _line(console, totals(view))
    for target in view.targets:
        _target(target, console)
    if view.disabled:
        _heading(console, "disabled in the inventory")
        for name, why in view.disabled:
            _item(console, name, why)
    if view.attempts:
        _heading(console, "failed attempts")
        for attempt in view.attempts:
            _item(
                console, f"{attempt.target} {attempt.run} attempt {attempt.attempt} ({attempt.fault})", attempt.reason
            )
            _advice(console, attempt.advice)
    if view.warnings:
        _heading(console, "result files that could not be read")
        for warning in view.warnings:
            _item(console, "skipped", warning)


def totals(view: View) -> str:
    """``11 of 12 runs: 10 valid, 1 suspect; 2 attempts failed; 1 cell unsupported``."""
    done = plural(view.finished, "run") if view.planned is None else f"{view.finished} of {plural(view.planned, 'run')}"
    states = ", ".join(f"{view.states[state]} {state}" for state in STATES if view.states.get(state))
    parts = [done + (f": {states}" if states else "")]
    if view.attempts:
        parts.append(f"{plural(len(view.attempts), 'attempt')} failed")
    if view.unsupported:
        parts.append(f"{plural(len(view.unsupported), 'cell')} unsupported")
    return "; ".join(parts)


def _target(target: TargetView, console: Console) -> None:
    known = dict(target.facts)
    about = [text for label in ("Kernel", "Machine") if (text := known.get(label))]
    console.print()
    _line(console, f"{target.name}: {' · '.join(about)}" if about else target.name, "bold")
    if target.failure:
        _item(console, f"ended early ({target.failure.fault})", target.failure.message)
        _advice(console, target.failure.advice)
    if not target.sections:
        _line(console, "  nothing measured")
    for section in target.sections:
        _section(section, console)
    for note in target.notes:
        _item(console, "note", note)
    if target.unsupported:
        _heading(console, "unsupported on this target")
        for each in target.unsupported:
            _item(console, f"{each.bench}.{each.mode}.{each.load}", each.reason)


def _section(section: Section, console: Console) -> None:
    console.print()
    _line(console, f"  {section.bench}, load {section.load}: {section.metric}, median of runs (max: of any)")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(Text("mode"), overflow="ellipsis", no_wrap=True, max_width=12)
    for name in (*_SHOWN, "max", "over/s", "stolen"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    table.add_column(Text("runs"), no_wrap=True)
    for mode in section.modes:
        cells = [_quantile(mode, name, section.unit) for name in _SHOWN]
        cells.append(_plain(quantity(mode.maximum.high, section.unit) if mode.maximum else "-"))
        cells.append(_plain(_rate(mode)))
        stolen = mode.scalars.get("stolen_ppm")
        cells.append(_plain(quantity(stolen.median, "ppm") if stolen else "-"))
        table.add_row(Text(printable(mode.name)), *cells, _states(mode))
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    _footnotes(section, console)


def _footnotes(section: Section, console: Console) -> None:
    gates = []
    for mode in section.modes:
        gate = mode.quantile(section.gate)
        if gate and gate.spread and gate.enough and gate.spread.runs > 1:
            gates.append(f"{mode.name} {_spread(gate.spread.low, gate.spread.high, section.unit)}")
    if gates:
        _item(console, f"{section.gate} over runs", ", ".join(gates))
    small = sorted({q.name for mode in section.modes for q in mode.quantiles if q.spread and not q.enough})
    if shown := [name for name in small if name in _SHOWN]:
        needed = ", ".join(f"{name} {samples_needed(name):,}" for name in shown)
        _item(console, "n too small", f"a run has fewer samples than a 95 % bound needs ({needed})")
    for mode in section.modes:
        if mode.basis == "suspect":
            _item(console, mode.name, "no valid run: the numbers are of suspect ones")
        elif mode.basis is None:
            _item(console, mode.name, "no usable run: no numbers")
        if mode.rate_upper_hz is not None:
            over = f"no gap over {setting(section.threshold_ns)}" if section.threshold_ns else "no gap counted"
            bound = quantity(mode.rate_upper_hz, "/s")
            _item(console, mode.name, f"{over} in {mode.observed_s:.3g} s: below {bound} with 95 % confidence")
        for reason in mode.reasons:
            _item(console, f"{mode.name}, {plural(reason.runs, 'run')} {reason.state}", reason.text)
            _advice(console, reason.advice)


def show(run_dir: Path, console: Console) -> None:
    """Print one run in detail. Raises :class:`~harness.store.files.BrokenResult`, naming the file."""
    run = load_run(Path(run_dir))
    document = run.document
    _line(console, f"{run.target} {run.name}", "bold")
    _line(console, f"{document['campaign']} {document['execution']}, session {document.get('session', '?')}")
    state = Text("validity: ")
    state.append(run.state, style=_STYLES[run.state])
    console.print(state)
    for reason in document["validity"].get("reasons") or []:
        _item(console, str(reason.get("state", "")), str(reason.get("text", "")))
        _advice(console, str(reason.get("advice") or ""))
    for metric in run.metrics:
        if metric.get("kind") == "histogram":
            _histogram(run, metric, console)
    scalars = [m for m in run.metrics if m.get("kind") == "scalar"]
    if scalars:
        _heading(console, "other metrics")
        for metric in scalars:
            upper = metric.get("upper")
            bound = f" (95 % upper bound {quantity(upper, str(metric['unit']))})" if upper is not None else ""
            _item(console, str(metric["metric"]), quantity(metric.get("value"), str(metric["unit"])) + bound)
    _heading(console, "mode")
    requested = document["spec"].get("mode")
    _item(console, "requested", _short(requested))
    effective = document.get("effective")
    for key, value in (effective if isinstance(effective, Mapping) else {}).items():
        if key == "tasks" and isinstance(value, Mapping):
            for cpu, task in value.items():
                start = task.get("start") if isinstance(task, Mapping) else None
                _item(console, "read back, not pinned" if cpu == "any" else f"read back, CPU {cpu}", _short(start))
        else:
            _item(console, key, _short(value))
    _heading(console, "facts")
    for label, text in fact_rows.rows({}, document):
        _item(console, label, text)
    _item(console, "files", str(run.path))


def _histogram(run: Run, metric: Mapping[str, object], console: Console) -> None:
    name, unit = str(metric["metric"]), str(metric.get("unit", "ns"))
    cpu = metric.get("cpu")
    counts = run.counts(name, cpu if isinstance(cpu, int) else None)
    view = run_view(run, name)
    _heading(console, f"{name}, {'not pinned' if cpu is None else f'CPU {cpu}'}")
    _item(console, "recorded", f"{count(view.recorded)}, {count(view.overflow)} beyond the range")
    exact_max = metric.get("max") if isinstance(metric.get("max"), int) else None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for _ in range(3):
        table.add_column(no_wrap=True, justify="right")
    table.add_column()
    smallest = metric.get("min")
    table.add_row(
        Text("min"), _plain(quantity(smallest if isinstance(smallest, int) else None, unit)), Text(""), Text("")
    )
    for level in QUANTILES:
        value = counts.value_at(fraction(level), exact_max if isinstance(exact_max, int) else None)
        note = "" if enough(level, counts.total) else f"n too small: needs {samples_needed(level):,}"
        table.add_row(Text(level), _plain(quantity(value, unit)), Text(""), Text(note))
    table.add_row(
        Text("max"), _plain(quantity(exact_max if isinstance(exact_max, int) else None, unit)), Text(""), Text("")
    )
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    _item(console, "shape", f"{sparkline(counts)}  (p50 left to p99.9999 right, height log)")


def sparkline(counts: Counts, width: int = 40) -> str:
    """The percentile curve in one line: x as in a percentile plot, 1/(1-p) on a log axis from p50; height log."""
    if counts.total == 0:
        return "empty"
    values = []
    for step in range(width):
        exponent = math.log10(2) + step / (width - 1) * (6 - math.log10(2))
        value = counts.value_at(1 - Fraction(10**-exponent).limit_denominator(10**9))
        values.append(math.log10(max(1, value or 1)))
    low, high = min(values), max(values)
    if high == low:
        return _BARS[0] * width
    return "".join(_BARS[min(len(_BARS) - 1, int((value - low) / (high - low) * len(_BARS)))] for value in values)


def _quantile(mode: ModeView, name: str, unit: str) -> Text:
    view = mode.quantile(name)
    if view is None or view.spread is None:
        return Text("-")
    if not view.enough:
        return Text("n too small", style="dim")
    return _plain(quantity(view.spread.median, unit))


def _rate(mode: ModeView) -> str:
    if mode.rate_upper_hz is not None:
        return f"<{quantity(mode.rate_upper_hz, '')}"
    return quantity(mode.rate.median, "") if mode.rate else "-"


def _states(mode: ModeView) -> Text:
    text = Text()
    numbers: Sequence[tuple[str, int]] = [*((state, mode.number(state)) for state in STATES), ("failed", mode.failed)]
    for state, number in numbers:
        if number:
            text.append(" " if text else "").append(f"{number} {state}", style=_STYLES[state])
    return text


def _spread(low: float, high: float, unit: str) -> str:
    first, last = quantity(low, unit), quantity(high, unit)
    return first if first == last else f"{first} to {last}"


def _short(value: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)


def _plain(text: str) -> Text:
    return Text(printable(text))


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(printable(text), style=style))


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(f"  {printable(text)}", style="bold"))


def _item(console: Console, label: str, text: str) -> None:
    body = Text(f"{printable(label)}: ", style="dim")
    body.append(printable(text), style="not dim")
    console.print(Padding(body, (0, 0, 0, 4), expand=False))


def _advice(console: Console, advice: str) -> None:
    if advice:
        console.print(Padding(Text(f"advice: {printable(advice)}"), (0, 0, 0, 6), expand=False))
