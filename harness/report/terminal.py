# SPDX-License-Identifier: Apache-2.0
"""The summary on a terminal or in a pipe: 80 columns are enough, and without a terminal there is no escape sequence.

Everything goes through :func:`~harness.report.units.printable` and :class:`rich.text.Text`, never through rich's
markup: what a target or a YAML file says cannot colour, move or hide anything.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from rich.console import Console

from ..stats.budgets import FAILED, NOT_JUDGED, PASSED
from ..stats.quantiles import QUANTILES, samples_needed
from . import grouping
from .compared import print_kernels
from .layout import Column, advice, heading, item, line, plain, table
from .model import build_view
from .tables import SHOWN, section_table
from .units import plural
from .view import TargetView, View
from .words import at_most, bare, is_now, totals

#: Budgets that were kept, listed one by one; more are counted.
LISTED_PASSES = 20
_RESULTS = {FAILED: "red", NOT_JUDGED: "yellow"}


def summary(execution_dir: Path, console: Console) -> None:
    """Print what an execution found. Raises :class:`~harness.errors.UserError` when it is none."""
    print_view(build_view(Path(execution_dir)), console)


def print_view(view: View, console: Console) -> None:
    line(console, f"{view.campaign} {view.execution}", "bold")
    line(console, totals(view))
    for target in view.targets:
        _target(target, console)
    _budgets(view, console)
    _unsupported(view, console)
    if view.disabled:
        heading(console, "disabled in the inventory")
        for name, why in view.disabled:
            item(console, name, why)
    if view.attempts:
        heading(console, "failed attempts")
        for each in grouping.failures(view.attempts):
            label = f"{each.target}, {plural(each.number, 'attempt')} ({each.fault})"
            item(console, label, f"{each.where}: {each.reason}")
            advice(console, each.advice)
            item(console, "log", f"isolbench show {view.campaign}/{view.execution} {each.example}", indent=6)
    if view.warnings:
        heading(console, "result files that could not be read")
        for warning in view.warnings:
            item(console, "skipped", warning)


def _target(target: TargetView, console: Console) -> None:
    known = dict(target.facts)
    about = [text for label in ("Kernel", "Machine") if (text := known.get(label))]
    console.print()
    line(console, f"{target.name}: {' · '.join(about)}" if about else target.name, "bold")
    if target.failure:
        item(console, f"ended early ({target.failure.fault})", bare(target.name, target.failure.message))
        advice(console, target.failure.advice)
    print_kernels(target, console)
    if not target.sections:
        line(console, "nothing measured", indent=2)
    for section in (*target.sections, *target.controls):
        section_table(section, console)
    if target.sections:
        _footnotes(target, console)
    for note in target.notes:
        item(console, "note", note)


def _footnotes(target: TargetView, console: Console) -> None:
    """What stands below the tables of a target, once for all of them."""
    console.print()
    modes = [mode for section in target.sections for mode in section.modes]
    item(console, "p50 to max", f"a bar each for {', '.join(QUANTILES)} and max, height log; ? where n is too small")
    small = {q.name for mode in modes for q in mode.quantiles if q.spread and not q.enough}
    if shown := [name for name in SHOWN if name in small]:
        needed = ", ".join(f"{name} {samples_needed(name):,}" for name in shown)
        item(console, "n too small", f"a run has fewer samples than a 95 % bound needs ({needed})")
    for state, where in grouping.without_valid(target.sections):
        text = "no valid run, the numbers are of suspect ones" if state == "suspect" else "no usable run, no numbers"
        item(console, where, text)
    for who, sections in (("", target.sections), ("control beside ", target.controls)):
        for each in grouping.findings(sections, target.unsupported):
            item(console, f"{who}{each.where}, {plural(each.runs, 'run')} {each.state}", each.text)
            advice(console, each.advice)


def _budgets(view: View, console: Console) -> None:
    if not view.budgets:
        return
    heading(console, "budgets")
    for (what, allowed), group in groupby(view.budgets, key=lambda verdict: (verdict.what, at_most(verdict))):
        verdicts = list(group)
        kept = [verdict for verdict in verdicts if verdict.result == PASSED and not verdict.why]
        listed = verdicts if len(kept) <= LISTED_PASSES else [each for each in verdicts if each not in kept]
        line(console, f"{what}, at most {allowed}", indent=4)
        rows = [
            [
                plain(verdict.where),
                plain(verdict.result, _RESULTS.get(verdict.result, "green")),
                plain(is_now(verdict)),
                plain(f"{plural(verdict.runs, 'run')}{', suspect' if verdict.state == 'suspect' else ''}"),
            ]
            for verdict in listed
        ]
        table(console, [Column("cell"), Column("verdict"), Column("is", right=True), Column("of")], rows, indent=6)
        for verdict in listed:
            if verdict.why:
                item(console, verdict.where, verdict.why, indent=6)
        if len(listed) < len(verdicts):
            line(console, f"and {len(kept):,} that passed", indent=6)


def _unsupported(view: View, console: Console) -> None:
    if not view.unsupported:
        return
    heading(console, "unsupported")
    every = {target.name: grouping.universe_of(target.sections, target.unsupported) for target in view.targets}
    for each in grouping.missing(view.unsupported, every):
        item(console, f"{', '.join(each.targets)}: {each.where}", each.reason)
