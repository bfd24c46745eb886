# SPDX-License-Identifier: Apache-2.0
"""``report``."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command(help="Write the HTML report of EXECUTION: a folder, an id, or a campaign's name (its newest).")
@click.argument("execution")
@options.results
@click.option("--out", "-o", type=click.Path(path_type=Path, dir_okay=False), help="[default: its folder/report.html]")
def report(execution: str, results: Path, out: Path | None) -> None:
    from ..campaign.execution import find
    from .reporting import write_report

    click.echo(str(write_report(find(execution, results), out)))
