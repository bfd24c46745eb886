# SPDX-License-Identifier: Apache-2.0
"""What all forms of a report say in the same words, and what its words mean, of the benches that are in it. Pure."""

from __future__ import annotations

from ..stats.budgets import FAILED, Verdict, counted
from ..store.documents import at, mapping
from .grouping import one_of, pattern
from .kernel_view import BootedView, BootFailure
from .units import plural, quantity, setting, three_digits
from .view import STATES, ModeView, Section, TargetView, View


def totals(view: View) -> str:
    """``11 of 12 runs: 10 valid, 1 suspect; 2 attempts failed; 1 cell unsupported``."""
    done = plural(view.finished, "run")
    if view.planned is not None:
        done = f"{view.finished:,} of {plural(view.planned, 'run')}"
    states = ", ".join(f"{view.states[state]:,} {state}" for state in STATES if view.states.get(state))
    parts = [done + (f": {states}" if states else "")]
    if view.attempts:
        parts.append(f"{plural(len(view.attempts), 'attempt')} failed")
    if checks := counted(view.budgets):
        parts.append(checks)
    if view.unsupported:
        parts.append(f"{plural(len(view.unsupported), 'cell')} unsupported")
    failed = sum(failure.number for target in view.targets for each in target.booted for failure in each.failures)
    if failed:
        parts.append(f"{plural(failed, 'boot')} failed")
    return "; ".join(parts)


def bare(target: str, message: str) -> str:
    """``message`` without the target's name in front, where it stands already."""
    return message.removeprefix(f"{target}: ")


def is_now(verdict: Verdict) -> str:
    """What the runs have: a failure without a value is one whose quantile lies among missed periods."""
    return "missed" if verdict.value is None and verdict.result == FAILED else quantity(verdict.value, verdict.unit)


def at_most(verdict: Verdict) -> str:
    """The limit as somebody chose it: ``20 µs``, ``100 ppm``."""
    if verdict.unit == "ns":
        return setting(verdict.at_most)
    return f"{verdict.at_most:,g} {verdict.unit}".rstrip()


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


def ratio(value: float) -> str:
    """``×0.42``: a median to that of the first column."""
    return f"×{three_digits(value)}"


def boots(booted: BootedView) -> str:
    """``2 boots, each proved``, ``1 of 2 boots proved, 1 session not measured``."""
    what = f"{booted.boots} of {plural(booted.sessions, 'boot')} proved"
    if booted.boots >= booted.sessions:
        what = f"{plural(booted.boots, 'boot')}, {'each ' if booted.boots > 1 else ''}proved"
    return f"{what}, {plural(booted.given_up, 'session')} not measured" if booted.given_up else what


def took(booted: BootedView) -> str:
    """``26 s each``, ``26 to 31 s each``; nothing where it was not seen."""
    seconds = sorted(round(each) for each in booted.took_s)
    if not seconds:
        return ""
    return f"{seconds[0]} s each" if seconds[0] == seconds[-1] else f"{seconds[0]} to {seconds[-1]} s each"


def boot_failures(target: TargetView) -> list[tuple[str, str]]:
    """What was to be booted, with how often that failed; and why. What failed alike for the same reason is one."""
    by_reason: dict[str, list[tuple[str, BootFailure]]] = {}
    for booted in target.booted:
        for failure in booted.failures:
            by_reason.setdefault(pattern(failure.reason), []).append((booted.name, failure))
    found = []
    for each in by_reason.values():
        number, lost = (sum(getattr(failure, key) for _, failure in each) for key in ("number", "given_up"))
        cost = f", {plural(lost, 'session')} not measured" if lost else ", then it booted"
        names = ", ".join(dict.fromkeys(name for name, _ in each))
        found.append((f"{names}: {plural(number, 'boot')} failed{cost}", one_of([f.reason for _, f in each])))
    return found


def of(view: View) -> list[tuple[str, str]]:
    """Term and explanation for "How to read this": what each bench measures, of what, and what it counts."""
    sections = [section for target in view.targets for section in target.sections]
    found: dict[str, str] = {}
    for section in sections:
        about = mapping(view.benches.get(section.bench))
        found.setdefault(f"The bench {section.bench}", str(about.get("description") or ""))
    for section in sections:
        found.setdefault(f"Percentiles of {section.metric}", "")
        found[f"Percentiles of {section.metric}"] = found[f"Percentiles of {section.metric}"] or _percentiles(section)
    for section in sections:
        if section.rated:
            what = f"{section.sample}s over the threshold of the bench, counted by the second"
            found.setdefault(f"{section.rated}/s", what[0].upper() + what[1:] + ".")
    for section in sections:
        for scalar in section.scalars:
            about = mapping(at(view.benches, section.bench, "metrics", scalar.metric))
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
