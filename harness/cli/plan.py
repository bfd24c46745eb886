# SPDX-License-Identifier: Apache-2.0
"""``plan``: what would run, what would not and why, and how long it takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import attributing, boot_plan, complete, options, tuning
from .placing import lines, placements
from .render import console, echo_json, printable
from .words import bench_titles, plural

if TYPE_CHECKING:
    from ..config.inventory import Inventory, Target
    from ..plan import Estimate, Plan

#: More cells than this per target are counted on a terminal, not listed. --json has them all.
_LISTED = 60
#: What a kernel and its command line allow is seen once they run.
_AFTER_BOOT = "unknown until it is booted"
#: More names than this are not all listed.
_NAMED = 5


@click.command(help="Show what CAMPAIGN would run. Contacts nothing, unless told to by --contact.")
@click.argument("campaign", shell_complete=complete.campaigns)
@options.inventory
@options.targets
@options.sets
@options.kernels
@click.option("--contact", is_flag=True, help="Ask the targets what they can do, instead of trusting the last contact.")
@options.as_json
def plan(
    campaign: str,
    inventory: Path | None,
    target_names: tuple[str, ...],
    sets: tuple[str, ...],
    kernels: tuple[str, ...],
    contact: bool,
    as_json: bool,
) -> int:
    from ..campaign.artefacts import look_at
    from ..campaign.outcome import NOTHING_VALID, OK
    from ..plan.matrix import idle_excludes
    from .planning import read_plan

    known, found = read_plan(campaign, inventory, target_names, sets, kernels)
    looks = look_at(found)
    facts, failures = _facts(found, known, contact=contact)
    verdicts = _verdicts(found, known, {name: each.facts for name, each in facts.items()})
    placed = placements(found, known, {name: each.facts for name, each in facts.items()})
    cells = [cell for cell in found.cells if verdicts[cell.id].status != "no"]
    feasible = boot_plan.estimate_of(found, known.targets, cells)  # what a target is known not to do takes no time
    boots = {name: boot_plan.boots_json(found, known.targets[name], facts[name].facts, looks) for name in found.targets}
    if as_json:
        echo_json(_json(found, verdicts, failures, facts, placed, feasible, boots))
    else:
        idle = idle_excludes(found.campaign, found.targets, known.targets)
        _print(found, verdicts, failures, facts, placed, idle, feasible, boots)
    return NOTHING_VALID if all(verdict.status == "no" for verdict in verdicts.values()) else OK


@dataclass(frozen=True)
class _Known:
    """A target's facts, None for one that was never reached; when they were asked for, in seconds since 1970."""

    facts: dict[str, Any] | None
    at_s: float | None
    now: bool = False


@dataclass(frozen=True)
class _Verdict:
    """``status``: ``yes``, ``no`` or ``unknown`` (never reached); ``reason`` where it is not ``yes``."""

    status: str
    reason: str | None = None

    def __str__(self) -> str:
        return {"yes": "yes", "no": f"no: {self.reason}", "unknown": str(self.reason)}[self.status]


def _facts(plan: Plan, inventory: Inventory, *, contact: bool) -> tuple[dict[str, _Known], dict[str, str]]:
    """Of each target what is known: asked now, or remembered; and why it could not be asked.

    Raises OneMachine where that shows two of them to be one machine: they would not both be measured.
    """
    from ..campaign import facts_cache
    from ..campaign.visit import visit
    from ..errors import IsolbenchError
    from ..target.session import open_session

    targets = [inventory.targets[name] for name in plan.targets]
    known = {each.name: _Known(facts_cache.recall(each), facts_cache.recalled_at(each)) for each in targets}
    failures: dict[str, str] = {}

    def ask(target: Target) -> dict[str, Any] | IsolbenchError:
        try:
            with open_session(target, f"plan/{target.name}") as session:
                facts: dict[str, Any] = session.welcome["facts"]
                facts_cache.remember(target, facts)
                return facts
        except IsolbenchError as error:
            return error

    for target, found in visit(targets if contact else [], ask):
        if isinstance(found, IsolbenchError):
            failures[target.name] = str(found)
        else:
            known[target.name] = _Known(found, time.time(), now=True)
    _one_name_each(known)
    return known, failures


def _one_name_each(known: Mapping[str, _Known]) -> None:
    from ..campaign.machines import OneMachine, one_machine

    met: dict[str, _Known] = {}
    for name, each in known.items():
        for other, theirs in met.items() if each.facts is not None else ():
            if theirs.facts is not None and (why := one_machine(theirs.facts, each.facts or {})):
                error = OneMachine(name, other, why)
                if not (each.now and theirs.now):
                    error.advice = (
                        f"{error.advice}; if that has changed since they were asked: isolbench plan --contact"
                    )
                raise error
        met[name] = each


def _verdicts(plan: Plan, inventory: Inventory, facts: Mapping[str, dict[str, Any] | None]) -> dict[str, _Verdict]:
    """By cell. Admission depends on mode and load alone: asked once for each."""
    from ..errors import TargetUnfit
    from ..plan import UNKNOWN, admit, lacks, place

    verdicts: dict[str, _Verdict] = {}
    seen: dict[tuple[str, Any, str, str, Any], _Verdict] = {}
    for cell in plan.cells:
        key = (cell.target, cell.mode, cell.load.name, cell.bench, cell.booted)
        if key not in seen:
            known = facts[cell.target]
            arch = (known or {}).get("arch") or inventory.targets[cell.target].arch
            kernel = plan.kernels.get(cell.kernel)
            if kernel is not None and (lacking := lacks(kernel, arch, known)) is not None:
                seen[key] = verdicts[cell.id] = _Verdict("no", lacking)
                continue
            if not cell.booted.is_default and known is not None:
                seen[key] = _Verdict("unknown", _AFTER_BOOT)  # what is known is of what the machine boots by itself
                verdicts[cell.id] = seen[key]
                continue
            try:
                placement = None if known is None else place(known, inventory.targets[cell.target], cell.cpus)
                why = admit(cell, known, placement)
            except TargetUnfit as error:
                why = str(error)
            seen[key] = _Verdict("yes" if why is None else "unknown" if why == UNKNOWN else "no", why)
        verdicts[cell.id] = seen[key]
    return verdicts


def _json(
    plan: Plan,
    verdicts: Mapping[str, _Verdict],
    failures: Mapping[str, str],
    facts: Mapping[str, _Known],
    placed: Mapping[str, dict[str, Any] | None],
    feasible: Estimate,
    boots: Mapping[str, dict[str, Any] | None],
) -> dict[str, Any]:
    from ..plan import LaneEstimate

    nothing = LaneEstimate(0, 0.0)
    return {
        "campaign": plan.campaign.name,
        "runs": plan.runs,
        "runs_feasible": feasible.runs,
        "seconds": round(feasible.seconds, 1),
        "boots": feasible.boots,
        "disabled": dict(plan.disabled),
        "not_reached": dict(failures),
        "targets": {
            name: {
                "runs": lane.runs,
                "runs_feasible": feasible.lanes.get(name, nothing).runs,
                "seconds": round(feasible.lanes.get(name, nothing).seconds, 1),
                "boots": feasible.lanes.get(name, nothing).boots,
                "booting": boots[name],
                "facts_of": None if facts[name].at_s is None else round(facts[name].at_s or 0),
                "placement": placed[name],
                "tune_lacks": tuning.lacks(plan, facts[name].facts),
                "attribution": attributing.level(facts[name].facts),
            }
            for name, lane in plan.estimate.lanes.items()
        },
        "cells": [
            {**cell.to_json(), "would_run": verdicts[cell.id].status, "reason": verdicts[cell.id].reason}
            for cell in plan.cells
        ],
    }


def _print(
    plan: Plan,
    verdicts: Mapping[str, _Verdict],
    failures: Mapping[str, str],
    facts: Mapping[str, _Known],
    placed: Mapping[str, dict[str, Any] | None],
    idle: Sequence[int],
    feasible: Estimate,
    boots: Mapping[str, dict[str, Any] | None],
) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..plan import format_seconds

    out = console()
    notes = {
        name: (
            *lines(placed[name]),
            *tuning.lines(plan, facts[name].facts),
            *attributing.lines(plan, facts[name].facts),
            *boot_plan.lines(boots[name]),
        )
        for name in plan.targets
    }
    for names, (rows, noted) in _groups(plan, verdicts, notes).items():
        seconds = max(feasible.lanes[name].seconds if name in feasible.lanes else 0.0 for name in names)
        runs = _runs(feasible.lanes[names[0]].runs if names[0] in feasible.lanes else 0, len(rows) * _each(plan))
        each = f"{plural(len(rows), 'cell')} x {plural(_each(plan), 'run')}" + (" on each" if len(names) > 1 else "")
        ups = feasible.lanes[names[0]].boots if names[0] in feasible.lanes else 0
        booted = f", {plural(ups, 'boot')}" if ups else ""
        head = f"{_listed_names(names)}: {runs} ({each}){booted}, {format_seconds(seconds)}{_as_of(names, facts)}"
        out.print(Text(printable(head), style="bold"))
        for line in noted:
            out.print(Text(printable(f"  {line}"), style="dim"))
        for name in names:
            if name in failures:
                out.print(Text(printable(f"  not reached: {name}: {failures[name]}")))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("  bench", "mode", "load", "duration", "would run"):
            table.add_column(column, no_wrap=column != "would run")
        common = _common(rows[:_LISTED])
        for title, mode, load, duration_ns, verdict in rows[:_LISTED]:
            said = f"no ({common[verdict.reason]})" if verdict.reason in common else str(verdict)
            shown = (f"  {title}", mode, load, f"{duration_ns / 1e9:g} s", said)
            table.add_row(*(Text(printable(text)) for text in shown))
        out.print(table)
        for reason, number in common.items():
            out.print(Text(printable(f"  ({number}) {reason}")))
        if len(rows) > _LISTED:
            out.print(Text(f"  ... and {plural(len(rows) - _LISTED, 'cell')} more (--json lists them all)"))
    for why, disabled in _inverted(plan.disabled).items():
        out.print(Text(printable(f"{_listed_names(disabled)}: disabled: {why}")))
    for index in idle:
        out.print(Text(printable(f"note: {plan.campaign.problem(('exclude', index), 'it takes no cell away')}")))
    if plan.filtered:
        out.print(Text(f"{plural(plan.filtered, 'cell')} taken away by include and exclude"))
    unsupported = sum(verdict.status == "no" for verdict in verdicts.values())
    refused = f"; {plural(unsupported, 'cell')} unsupported" if unsupported else ""
    side_by_side = ", targets side by side" if len(plan.targets) > 1 else ""
    time_it_takes = f"about {feasible} without retries{side_by_side}"
    out.print(Text(f"{plan.campaign.name}: {_runs(feasible.runs, plan.runs)}, {time_it_takes}{refused}"))


Row = tuple[str, str, str, int, _Verdict]


def _common(rows: Sequence[Row]) -> dict[str | None, int]:
    """Reason → number, of the reasons why several of ``rows`` will not run: each is said once, below them."""
    count = Counter(verdict.reason for *_, verdict in rows if verdict.status == "no")
    return {reason: number for number, reason in enumerate((each for each in count if count[each] > 1), start=1)}


def _groups(
    plan: Plan, verdicts: Mapping[str, _Verdict], notes: Mapping[str, tuple[str, ...]]
) -> dict[tuple[str, ...], tuple[list[Row], tuple[str, ...]]]:
    """The targets that would do the same in the same place, together: a lab's boards are mostly alike."""
    title = bench_titles(plan)
    alike: dict[tuple[tuple[Row, ...], tuple[str, ...]], list[str]] = {}
    for name in plan.targets:
        rows = tuple(
            (title[cell.id], cell.mode.name, cell.load.name, cell.duration_ns, verdicts[cell.id])
            for cell in plan.cells_of(name)
        )
        alike.setdefault((rows, notes[name]), []).append(name)
    return {tuple(names): (list(rows), noted) for (rows, noted), names in alike.items()}


def _each(plan: Plan) -> int:
    return plan.repeat * plan.sessions


def _runs(feasible: int, asked: int) -> str:
    return plural(asked, "run") if feasible == asked else f"{feasible} of {plural(asked, 'run')}"


def _as_of(names: Sequence[str], facts: Mapping[str, _Known]) -> str:
    """When the oldest of the facts were asked for; nothing where all are of now, or there are none."""
    times = [at_s for name in names if (at_s := facts[name].at_s) is not None and not facts[name].now]
    if not times:
        return ""
    then = time.localtime(min(times))
    today = then[:3] == time.localtime()[:3]
    return f" (as of {time.strftime('%H:%M' if today else '%Y-%m-%d %H:%M', then)}; --contact asks again)"


def _listed_names(names: Sequence[str]) -> str:
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[: _NAMED - 1])}, ... {names[-1]} ({len(names)} targets)"


def _inverted(disabled: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, why in disabled.items():
        found.setdefault(why, []).append(name)
    return found
