# SPDX-License-Identifier: Apache-2.0
"""``compare``: two executions beside each other."""

from __future__ import annotations

from pathlib import Path

import click

from . import complete, options
from .render import console, echo_json, printable


@click.command(
    help="Show two executions beside each other (folders, ids; a campaign's name is its newest, `nightly@-2` the one "
    "before): of each cell that both measured the medians, their ratio to the first, and with attribution what took "
    "the time, most changed first; what else changed on the machine; and what was not compared, and why. Numbers, no "
    "verdicts."
)
@click.argument("first", shell_complete=complete.executions)
@click.argument("second", shell_complete=complete.executions)
@options.results
@options.as_json
def compare(first: str, second: str, results: Path, as_json: bool) -> None:
    from ..campaign.references import find
    from ..report.beside import document, print_sides
    from ..report.model import build_view
    from ..report.sides import sides_of

    views = [build_view(find(reference, results)) for reference in (first, second)]
    for view in views:
        for warning in view.warnings:
            click.echo(f"isolbench: skipped: {printable(warning)}", err=True)
    found = sides_of(*views)
    if as_json:
        echo_json(document(found))
    else:
        print_sides(found, console())
