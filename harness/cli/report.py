# SPDX-License-Identifier: Apache-2.0
"""``report``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from . import complete, options


@click.command(help="Write the HTML report of EXECUTION: a folder, an id, or a campaign's name (its newest).")
@click.argument("execution", shell_complete=complete.executions)
@options.results
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file; - is stdout.  [default: its folder/report.html]",
)
def report(execution: str, results: Path, out: Path | None) -> None:
    from ..campaign.references import find
    from ..report import html
    from .reporting import file_or_stdout, write_report

    file = file_or_stdout(out)
    path = find(execution, results)
    if out is not None and file is None:
        sys.stdout.buffer.write(html.render(path).encode("utf-8"))
        sys.stdout.buffer.flush()
    else:
        click.echo(str(write_report(path, file)))
