# SPDX-License-Identifier: Apache-2.0
"""``doctor``: what this machine and targets have and lack, why a core is not quiet, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import complete, doctor_fix, doctor_lab, options
from .doctor_facts import DISABLED, LEASE, controller, meet, show, twins
from .doctor_measure import Examination, worst_of
from .render import console, echo_json

if TYPE_CHECKING:
    from ..advice import Finding
    from ..config.inventory import Target

#: No target can be called so.
_CONTROLLER = "this controller"
_DURATION = "5s"


def _duration(context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    if value is None or context.resilient_parsing:  # a Tab: nobody wants to know
        return None
    from ..config.campaign import to_run_duration

    try:
        return int(to_run_duration(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _mode(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    from ..agent.modes import MODES
    from ..config.yaml import suggest

    names = [mode.name for mode in MODES]
    if value not in names:
        raise click.BadParameter(f"unknown mode {value!r}{suggest(value, names, most=len(names))}")
    return value


@click.command(
    help="Check the controller and TARGETs (names, globs, tag:NAME): tools, keys, sudo, knobs, isolation; with advice. "
    "Then a run of a few seconds on each says why its core is not quiet, and what to do about it. Without a TARGET "
    "local is checked, and measured only where an option asks for that: --fix, --mode, --duration or --sensitivity. "
    "Exit code 3 when something prevents a measurement, a target that somebody else uses included."
)
@click.argument("targets", nargs=-1, shell_complete=complete.targets)
@click.option("--facts", "facts_alone", is_flag=True, help="Measure nothing: only look at what there is.")
@click.option(
    "--fix",
    is_flag=True,
    help="Measure again with the knobs that may help and can be set now, show before beside after, and put all back.",
)
@click.option(
    "--mode",
    shell_complete=complete.modes,
    callback=_mode,
    help="How the task is isolated.  [default: the quietest of nohz-full, pinned and shared that the target can do]",
)
@click.option("--duration", callback=_duration, help=f"How long each run takes.  [default: {_DURATION}]")
@click.option(
    "--sensitivity",
    is_flag=True,
    help="Instead: does attribution find what happens there? Disturbs the measured CPU at known times, for 40 s to "
    "3 min, and keeps what was found for reports.",
)
@options.inventory
@options.results
@options.as_json
def doctor(
    targets: tuple[str, ...],
    facts_alone: bool,
    fix: bool,
    sensitivity: bool,
    mode: str | None,
    duration: int | None,
    inventory: Path | None,
    results: Path,
    as_json: bool,
) -> int:
    from ..advice import worst
    from ..campaign.visit import visit
    from ..config.campaign import to_run_duration
    from ..config.inventory import load_inventory
    from ..plan.select import select_targets

    asked = fix or mode is not None or duration is not None
    duration_ns = int(to_run_duration(_DURATION)) if duration is None else duration
    if sensitivity:
        from .sensitivity import run

        if facts_alone or fix:
            raise click.UsageError("--sensitivity is a measurement of its own: without --facts and --fix")
        return run(targets or ("local",), inventory, results, mode=mode, duration_ns=duration_ns, as_json=as_json)
    if facts_alone and asked:
        raise click.UsageError("--fix, --mode and --duration are about measuring: without --facts")
    measures = bool(targets or asked) and not facts_alone
    known = load_inventory(options.inventory_path(inventory))
    chosen = [known.targets[name] for name in select_targets(targets or ("local",), known.targets)]
    findings = {_CONTROLLER: [*controller(), *doctor_lab.findings(known)]}
    if not as_json:
        show(_CONTROLLER, findings[_CONTROLLER])
    met: dict[str, dict[str, Any]] = {}
    for target, (facts, found) in visit(chosen, meet):
        findings[target.name] = [*found, *twins(facts, met)]
        met[target.name] = facts
        if not as_json:
            show(target.name, findings[target.name])
    codes = [3] if any(worst(found) == "fail" for found in findings.values()) else []
    left_out = {name: why for name in met if (why := _prevents(findings[name]))}
    if measures:
        codes += _refusals(chosen, findings)
    examined = Examination(
        known,
        {name: facts for name, facts in met.items() if name not in left_out},
        left_out,
        results,
        duration_ns,
        mode,
        quiet=as_json,
        fixes=fix,
    )
    fixed: list[dict[str, Any]] = []
    if measures:
        out = console()
        measured = examined.measure(out)
        if fix and measured is not None:
            fixed = doctor_fix.fix(examined, measured, out)
    if as_json:
        told = {name: [asdict(finding) for finding in found] for name, found in findings.items()}
        echo_json(
            {
                "controller": told.pop(_CONTROLLER),
                "targets": told,
                "measured": examined.told,
                "fixed": fixed,
            }
        )
    return worst_of([*codes, *examined.codes])


def _prevents(found: Sequence[Finding]) -> tuple[str, str] | None:
    """Why nothing is measured on a target of which this was found, and what to do about it."""
    not_now = (DISABLED, LEASE)
    return next(
        ((each.text, each.advice) for each in found if each.level == "fail" or each.topic in not_now),
        None,
    )


def _refusals(chosen: Sequence[Target], findings: Mapping[str, Sequence[Finding]]) -> list[int]:
    """The exit codes of what is no fault, and yet is not measured: as of ``run``."""
    if all(target.disabled is not None for target in chosen):
        return [2]
    return [3 for target in chosen for each in findings[target.name] if each.topic == LEASE]
