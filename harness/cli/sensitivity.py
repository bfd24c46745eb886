# SPDX-License-Identifier: Apache-2.0
"""``doctor --sensitivity``: does attribution find what happens on a target? Measured there, and kept for reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..stats.shares import Sensitivity
    from .progress import Progress


def run(
    targets: Sequence[str],
    inventory: Path | None,
    results: Path,
    *,
    mode: str | None = None,
    duration_ns: int,
    as_json: bool,
) -> int:
    """Measure the sensitivity of ``targets`` (names, globs, ``tag:NAME``); the command's exit code.

    ``mode``: for all of them, else for each the first that it can have. ``duration_ns``: of each run.
    """
    from ..campaign import execution as executions
    from ..campaign import sensitivity
    from ..config.inventory import load_inventory
    from ..plan.select import select_targets
    from ..report.sensitivity import print_sensitivity
    from ..store.sensitivity import read, sentence, write
    from . import options
    from .progress import Progress
    from .render import console, echo_json, printable, unheard

    known = load_inventory(options.inventory_path(inventory))
    chosen = [known.targets[name] for name in select_targets(targets, known.targets)]
    modes = {target.name: mode for target in chosen} if mode else sensitivity.modes_of(chosen)
    plan = sensitivity.plan_of(modes, known, duration_ns)
    execution = executions.create(plan, results, known.path)
    if not as_json:
        click.echo("isolbench: it ends when each kind has been tried as often as its bound wants", err=True)
    with Progress(execution, quiet=as_json) as progress:
        told = partial(so_far, progress)
        outcome, found = sensitivity.measure(execution, known, progress.listen, told=told)
    document = sensitivity.document_of(execution, found, outcome)
    # One that was interrupted says less than the one before it, which reports go on to state.
    path = None if outcome.signum is not None else write(execution.path, document)
    code = sensitivity.exit_code(outcome, found)
    with unheard():
        if as_json:
            echo_json({**document, "exit_code": code, "path": None if path is None else str(path)})
            return code
        print_sensitivity(document, console())
        if path is None:
            click.echo(f"isolbench: {printable(replace(outcome, once=True).sentence)}", err=True)
            return code
        for name, measured in read(path).items():
            if measured.seen:
                click.echo(f"isolbench: {printable(name)}: {printable(sentence(measured, name))}", err=True)
        click.echo(str(path))
    return code


def so_far(progress: Progress, target: str, found: Sensitivity) -> None:
    """How many kinds have their trials, and which takes longest."""
    from ..stats.shares import ENOUGH

    seen = [each for each in found.scores if not each.blind]
    if not seen:
        return
    slowest = min(seen, key=lambda each: each.tried)
    enough = sum(each.tried >= ENOUGH for each in seen)
    text = f"{target}: {enough} of {len(seen)} kinds have their {ENOUGH} trials"
    if slowest.tried < ENOUGH:
        text += f"; {slowest.kind} has {slowest.tried}"
    progress.note(text)
