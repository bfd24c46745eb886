# SPDX-License-Identifier: Apache-2.0
"""``plan``: what would run, what would not and why, and how long it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .render import console, echo_json

if TYPE_CHECKING:
    from ..config.inventory import Inventory
    from ..plan import Plan

#: More cells than this per target are counted on a terminal, not listed. --json has them all.
_LISTED = 60


@click.command(help="Show what CAMPAIGN would run. Contacts nothing, unless told to by --contact.")
@click.argument("campaign")
@options.inventory
@options.targets
@options.sets
@click.option("--contact", is_flag=True, help="Ask the targets what they can do, instead of trusting the last contact.")
@options.as_json
def plan(
    campaign: str,
    inventory: Path | None,
    target_names: tuple[str, ...],
    sets: tuple[str, ...],
    contact: bool,
    as_json: bool,
) -> None:
    from .planning import read_plan

    known, found = read_plan(campaign, inventory, target_names, sets)
    facts, failures = _facts(found, known, contact=contact)
    verdicts = _verdicts(found, known, facts)
    if as_json:
        echo_json(_json(found, verdicts, failures))
    else:
        _print(found, verdicts, failures)


def _facts(
    plan: Plan, inventory: Inventory, *, contact: bool
) -> tuple[dict[str, dict[str, Any] | None], dict[str, str]]:
    """Of each target what is known: asked now, or remembered; and why it could not be asked."""
    from ..campaign import facts_cache
    from ..errors import IsolbenchError
    from ..target.session import open_session

    known: dict[str, dict[str, Any] | None] = {}
    failures: dict[str, str] = {}
    for name in plan.targets:
        target = inventory.targets[name]
        known[name] = facts_cache.recall(target)
        if contact:
            try:
                with open_session(target, f"plan/{name}") as session:
                    known[name] = session.welcome["facts"]
                    facts_cache.remember(target, session.welcome["facts"])
            except IsolbenchError as error:
                failures[name] = str(error)
    return known, failures


def _verdicts(plan: Plan, inventory: Inventory, facts: Mapping[str, dict[str, Any] | None]) -> dict[str, str | None]:
    """By cell: None where it would run, else why not. Admission depends on mode and load alone: asked once for each."""
    from ..errors import TargetUnfit
    from ..plan import admit, place

    verdicts: dict[str, str | None] = {}
    seen: dict[tuple[str, Any, str, str], str | None] = {}
    for cell in plan.cells:
        key = (cell.target, cell.mode, cell.load.name, cell.bench)
        if key not in seen:
            known = facts[cell.target]
            try:
                placement = None if known is None else place(known, inventory.targets[cell.target])
                seen[key] = admit(cell, known, placement)
            except TargetUnfit as error:
                seen[key] = str(error)
        verdicts[cell.id] = seen[key]
    return verdicts


def _json(plan: Plan, verdicts: Mapping[str, str | None], failures: Mapping[str, str]) -> dict[str, Any]:
    estimate = plan.estimate
    return {
        "campaign": plan.campaign.name,
        "runs": plan.runs,
        "seconds": round(estimate.seconds, 1),
        "disabled": dict(plan.disabled),
        "not_reached": dict(failures),
        "targets": {
            name: {"runs": lane.runs, "seconds": round(lane.seconds, 1)} for name, lane in estimate.lanes.items()
        },
        "cells": [{**cell.to_json(), "not_run": verdicts[cell.id]} for cell in plan.cells],
    }


def _print(plan: Plan, verdicts: Mapping[str, str | None], failures: Mapping[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..plan import format_seconds

    out = console()
    each = plan.repeat * plan.sessions
    for name in plan.targets:
        cells = plan.cells_of(name)
        lane = plan.estimate.lanes[name]
        out.print(Text(f"{name}: {len(cells)} cells x {each} runs, {format_seconds(lane.seconds)}", style="bold"))
        if name in failures:
            out.print(Text(f"  not reached: {failures[name]}"))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("  bench", "mode", "load", "duration", "would run"):
            table.add_column(column)
        for cell in cells[:_LISTED]:
            why = verdicts[cell.id]
            table.add_row(
                *map(Text, (f"  {cell.bench}", cell.mode.name, cell.load.name, f"{cell.duration_ns / 1e9:g} s")),
                Text("yes" if why is None else f"no: {why}" if not why.startswith("unknown") else why),
            )
        out.print(table)
        if len(cells) > _LISTED:
            out.print(Text(f"  ... and {len(cells) - _LISTED} cells more (--json lists them all)"))
    for name, why in plan.disabled.items():
        out.print(Text(f"{name}: disabled: {why}"))
    if plan.filtered:
        out.print(Text(f"{plan.filtered} cells taken away by include and exclude"))
    out.print(Text(f"{plan.campaign.name}: {plan.runs} runs, {plan.estimate} (lanes run side by side)"))
