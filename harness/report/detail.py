# SPDX-License-Identifier: Apache-2.0
"""One run, or one attempt that failed, in detail on a terminal or in a pipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ..agent.spec import event_lists
from ..stats.causes import of_results
from ..stats.quantiles import QUANTILES, enough, samples_needed
from ..store.documents import at, objects
from ..store.hdr import Counts
from ..store.runs import Run, load_attempt, load_run
from ..store.values import quantile_with_missed, samples
from . import account, cause_tables, longest
from . import facts as fact_rows
from .grouping import compact
from .layout import Column, advice, heading, item, line, plain, table
from .modes import run_view
from .tables import STYLES
from .units import count, quantity

_BARS = "▁▂▃▄▅▆▇█"
#: Of a histogram, what is not in its quantiles.
_LOST = {
    "overflow": "beyond the range",
    "negative": "negative",
    "dropped": "dropped",
    "missed": "missed: periods that gave no value, each later than any",
}
#: Of an attempt's log, the lines shown.
_LOG_LINES = 40


def show(run_dir: Path, console: Console) -> None:
    """Print one run in detail. Raises :class:`~harness.store.files.BrokenResult`, naming the file."""
    run = load_run(Path(run_dir))
    document = run.document
    line(console, f"{run.target} {run.name}", "bold")
    line(console, f"{document['campaign']} {document['execution']}, session {document.get('session', '?')}")
    line(console, Text("validity: ").append(run.state, style=STYLES[run.state]))
    _reasons(document, console)
    _control(run.control, console)
    for metric in run.metrics:
        if metric.get("kind") == "histogram":
            _histogram(run, metric, console)
    results = objects(document.get("results"))
    if (found := of_results(results)) is not None:
        kept = next((name for each in results for name, _ in event_lists(each)), "gaps")
        cause_tables.of_run(found, kept, console)
    longest.longest(run, console)
    scalars = [m for m in run.metrics if m.get("kind") == "scalar"]
    if scalars:
        heading(console, "other metrics")
        for metric in scalars:
            upper = metric.get("upper")
            bound = f" (95 % upper bound {quantity(upper, str(metric['unit']))})" if upper is not None else ""
            item(console, str(metric["metric"]), quantity(metric.get("value"), str(metric["unit"])) + bound)
    for group in (*account.own(document), account.asked(document), account.effective(document)):
        _group(group, console)
    heading(console, "facts")
    for label, text in fact_rows.rows({}, document):
        item(console, label, text)
    longest.files(run.path, console)


def show_attempt(attempt_dir: Path, console: Console) -> None:
    """Print one attempt that failed: why, what was asked, and the end of its log. Raises as :func:`show` does."""
    folder = Path(attempt_dir)
    document = load_attempt(folder)
    line(console, f"{document['target']} {document['run']}, attempt {document.get('attempt', '?')}", "bold")
    line(console, f"{document.get('campaign', '?')} {document.get('execution', '?')}")
    line(console, Text("failed ", style=STYLES["failed"]).append_text(plain(f"({document['fault']})")))
    item(console, "reason", compact(str(document["reason"])))
    advice(console, str(document.get("advice") or ""))
    _reasons(document, console)
    _group(account.asked(document), console)
    _group(account.effective(document), console)
    log = folder / "log.txt"
    try:
        lines = log.read_bytes().decode("utf-8", "replace").splitlines()
    except OSError as error:
        lines = [f"{log}: {error.strerror}"]
    heading(console, f"log, the last {_LOG_LINES} of {len(lines)} lines" if len(lines) > _LOG_LINES else "log")
    for text in lines[-_LOG_LINES:] or ["empty"]:
        line(console, text, indent=4)
    longest.files(folder, console)


def _control(control: Mapping[str, Any], console: Console) -> None:
    """What became of it; its figures stand among the others, under names of their own."""
    if not control:
        return
    state = str(at(control, "validity", "state") or control.get("status"))
    line(console, Text(f"control on CPU {control.get('cpu')}: ").append_text(plain(state, STYLES.get(state, "yellow"))))
    if control.get("reason"):
        item(console, "reason", compact(str(control["reason"])))
    _reasons(control, console)


def _reasons(document: Mapping[str, Any], console: Console) -> None:
    for reason in objects(at(document, "validity", "reasons")):
        item(console, str(reason.get("state", "")), compact(str(reason.get("text", ""))))
        advice(console, str(reason.get("advice") or ""))


def _group(group: account.Group, console: Console) -> None:
    if group.rows:
        heading(console, group.title)
        for label, text in group.rows:
            item(console, label, text)


def _histogram(run: Run, metric: Mapping[str, Any], console: Console) -> None:
    name, unit = str(metric["metric"]), str(metric.get("unit", "ns"))
    cpu = metric.get("cpu")
    counts = run.counts(name, cpu if isinstance(cpu, int) else None)
    view = run_view(run, name)
    heading(console, f"{name}, {'not pinned' if cpu is None else f'CPU {cpu}'}")
    numbers = {key: metric.get(key) for key in ("recorded", *_LOST)}
    lost = [f"{count(number)} {_LOST[key]}" for key, number in numbers.items() if key in _LOST and number]
    item(console, "recorded", ", ".join([count(numbers["recorded"] or 0), *(lost or ["nothing lost"])]))
    smallest, largest = metric.get("min"), metric.get("max")
    lost_periods = int(metric.get("missed") or 0)
    step = view.granularity_ns
    note = ""
    if step and smallest is not None and smallest < step:
        note = f"the clock steps by {step:.3g} ns: a value is known to one step"
    rows = [[plain("min"), plain(quantity(smallest, unit)), plain(note, "dim")]]
    for level in QUANTILES:
        if not enough(level, samples(metric)):
            rows.append([plain(level), plain("-"), plain(f"n too small: needs {samples_needed(level):,}", "dim")])
            continue
        value = quantile_with_missed(counts, level, lost_periods, largest)
        rows.append([plain(level), plain(quantity(value, unit)), Text("")])
    rows.append([plain("max"), plain(quantity(largest, unit)), Text("")])
    table(console, [Column(""), Column("", right=True), Column("")], rows, indent=4, titled=False)
    item(console, "shape", f"{sparkline(counts)}  (p50 left to p99.9999 right, height log)")


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
