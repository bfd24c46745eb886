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
@options.as_json
def report(execution: str, results: Path, out: Path | None, as_json: bool) -> None:
    from ..campaign.references import find
    from ..report import html
    from .render import echo_json
    from .reporting import file_or_stdout, write_report

    file = file_or_stdout(out)
    if as_json and out is not None and file is None:
        raise click.UsageError("stdout is for one thing: name a file by --out, or leave --json out")
    path = find(execution, results)
    if out is not None and file is None:
        sys.stdout.buffer.write(html.render(path).encode("utf-8"))
        sys.stdout.buffer.flush()
    else:
        page = write_report(path, file)
        if as_json:
            echo_json({"execution": str(path), "report": str(page)})
        else:
            click.echo(str(page))
