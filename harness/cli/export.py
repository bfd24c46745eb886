# SPDX-License-Identifier: Apache-2.0
"""``export``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from . import options


@click.command(
    help="Export REFERENCE (a results folder, a campaign's folder, an execution or a run; or an execution by id or "
    "campaign name) in another tool's format."
)
@click.argument("reference")
@click.option("--format", "-f", "kind", type=click.Choice(["parquet", "csv", "jsonl", "hlog"]), required=True)
@click.option("--out", "-o", type=click.Path(path_type=Path, dir_okay=False), help="A file.  [default: stdout]")
@click.option("--merge", is_flag=True, help="hlog: one histogram per cell, of its valid runs, instead of one per run.")
@options.results
def export(reference: str, kind: str, out: Path | None, merge: bool, results: Path) -> None:
    from ..campaign.execution import find
    from ..store.export import export as write
    from .render import printable

    if merge and kind != "hlog":
        raise click.UsageError("--merge belongs to --format hlog")
    if out is None and kind == "parquet" and sys.stdout.isatty():
        raise click.UsageError("parquet is binary: name a file by --out")
    path = Path(reference) if Path(reference).is_dir() else find(reference, results)
    for warning in write(path, kind, out or sys.stdout.buffer, merge_cells=merge):
        click.echo(f"isolbench: skipped: {printable(warning)}", err=True)
