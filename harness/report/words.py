# SPDX-License-Identifier: Apache-2.0
"""What the words and numbers of a report mean, said of the benches that are in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .modes import at
from .units import plural, setting, three_digits
from .view import ModeView, Section, View


def missed(mode: ModeView) -> str:
    """``12 of 600 periods missed (2.00 %): each counts as later than any``; empty when every period has its value."""
    numbers = ((mode.missed, "missed"), (mode.left_out, "left out by the probe"))
    parts = [
        f"{number:,} of {plural(mode.periods, 'period')} {what} ({three_digits(100 * number / mode.periods)} %)"
        for number, what in numbers
        if number
    ]
    if mode.left_out:
        parts[-1] += ": no quantile knows of them"
    if mode.missed:
        parts[0] += ": each counts as later than any"
    return "; ".join(parts)


def of(view: View) -> list[tuple[str, str]]:
    """Term and explanation for "How to read this": what each bench measures, of what, and what it counts."""
    sections = [section for target in view.targets for section in target.sections]
    found: dict[str, str] = {}
    for section in sections:
        about = _mapping(view.benches.get(section.bench))
        found.setdefault(f"The bench {section.bench}", str(about.get("description") or ""))
    for section in sections:
        found.setdefault(f"Percentiles of {section.metric}", "")
        found[f"Percentiles of {section.metric}"] = found[f"Percentiles of {section.metric}"] or _percentiles(section)
    for section in sections:
        if section.events:
            what = f"{section.sample}s over the threshold of the bench, counted by the second"
            found.setdefault(f"{section.events}/s", what[0].upper() + what[1:] + ".")
    for section in sections:
        for scalar in section.scalars:
            about = _mapping(at(view.benches, section.bench, "metrics", scalar.metric))
            found.setdefault(f"{scalar.label} ({scalar.metric})", str(about.get("description") or ""))
    if any(section.missed for section in sections):
        found["Missed"] = (
            "Periods that passed before the task was ready for them. They have no value; the percentiles of the "
            "tables, and budgets, count each as later than any, and say missed where a percentile lies among them. "
            "The plots and max are of the others alone and look better than what the task saw."
        )
    return [(term, text) for term, text in found.items() if text]


def _percentiles(section: Section) -> str:
    """How many values a second there are, and so how often something must come for p99.99 to move."""
    runs = [run for mode in section.modes for run in mode.used if run.recorded and run.duration_s]
    if not runs:
        return ""
    rate = sorted(run.recorded / run.duration_s for run in runs)[len(runs) // 2]
    one = 1e9 * 10_000 / rate
    return (
        f"They count {section.sample}s, not time: there are some {three_digits(rate)} a second here. p99.99 leaves out "
        f"one in 10,000, that is {_often(one)}: what comes more rarely does not move it, however long it takes. "
        "For that read max, and the right end of the plot."
    )


def _often(period_ns: float) -> str:
    if period_ns < 1e9:
        return f"{three_digits(1e9 / period_ns)} a second"
    return f"one in {setting(float(three_digits(period_ns / 1e9).replace(',', '')) * 1e9)}"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
