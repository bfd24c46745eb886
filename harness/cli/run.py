# SPDX-License-Identifier: Apache-2.0
"""``run`` and ``resume``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import complete, options

if TYPE_CHECKING:
    from ..campaign.execution import Execution


@click.command(help="Carry out CAMPAIGN: a file, or the name of a shipped one (`quick`).")
@click.argument("campaign", required=False, shell_complete=complete.campaigns)
@options.inventory
@options.targets
@options.sets
@options.kernels
@options.results
@click.option(
    "--execution",
    metavar="ID",
    shell_complete=complete.executions,
    help="Carry out this execution instead of starting one (with --lane).",
)
@options.lanes
@click.option("--report/--no-report", default=True, help="Write report.html at the end.  [default: report]")
@options.as_json
def run(
    campaign: str | None,
    inventory: Path | None,
    target_names: tuple[str, ...],
    sets: tuple[str, ...],
    kernels: tuple[str, ...],
    results: Path,
    execution: str | None,
    lanes: tuple[str, ...],
    report: bool,
    as_json: bool,
) -> int:
    from ..campaign import execution as executions
    from ..campaign.artefacts import look_at, pinned
    from .planning import read_plan

    if (campaign is None) == (execution is None):
        raise click.UsageError("name a campaign, or an execution by --execution")
    if execution is not None:
        if target_names or sets or kernels:
            raise click.UsageError(
                "an execution is fixed: --target, --set and --kernel belong to a new one (use --lane)"
            )
        found = executions.load(executions.find(execution, results))
    else:
        assert campaign is not None
        known, plan = read_plan(campaign, inventory, target_names, sets, kernels, compile_all=True)
        plan = pinned(plan, look_at(plan))
        found = executions.create(plan, results, known.path)
    return _carry_out(found, inventory, lanes, report=report, as_json=as_json)


@click.command(help="Continue EXECUTION: a folder, an id, or a campaign's name (its newest).")
@click.argument("execution", shell_complete=complete.executions)
@options.inventory
@options.results
@options.lanes
@click.option("--report/--no-report", default=True, help="Write report.html at the end.  [default: report]")
@options.as_json
def resume(
    execution: str, inventory: Path | None, results: Path, lanes: tuple[str, ...], report: bool, as_json: bool
) -> int:
    from ..campaign import execution as executions

    found = executions.load(executions.find(execution, results))
    return _carry_out(found, inventory, lanes, report=report, as_json=as_json)


def _carry_out(
    execution: Execution, inventory: Path | None, lanes: tuple[str, ...], *, report: bool, as_json: bool
) -> int:
    from ..campaign.carry_out import carry_out
    from ..config.inventory import load_inventory
    from ..errors import IsolbenchError
    from .boot_plan import estimate_of
    from .progress import Progress
    from .render import echo_json, error_lines, outcome_json, say_outcome, unheard
    from .reporting import write_report

    known = execution.inventory() if inventory is None else load_inventory(inventory)
    estimate = estimate_of(execution.plan, known.targets)
    with Progress(execution, quiet=as_json, estimate=estimate) as progress:
        outcome = carry_out(execution, known, lanes=lanes, listeners=(progress.listen,))
    page = None
    with unheard():
        if report and outcome.finished:
            try:
                page = write_report(execution.path)
            except IsolbenchError as error:  # a full disk, mostly: how the measurement ended is said all the same
                for line in error_lines(error):
                    click.echo(line, err=True)
        if as_json:
            echo_json({**outcome_json(execution, outcome), "report": None if page is None else str(page)})
        else:
            say_outcome(execution, outcome, page)
    return outcome.exit_code
