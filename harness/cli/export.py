# SPDX-License-Identifier: Apache-2.0
"""``export``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from . import complete, options


@click.command(
    help="Export REFERENCE in another tool's format. A campaign's name is its newest execution alone; a folder is all "
    "that lies in it: `export results/nightly` has the same rows as harness.load('results/nightly'), those of every "
    "execution. It may also be an execution by its id, or a run's folder. Format perfetto is a trace for the Perfetto "
    "viewer (ui.perfetto.dev): each gap, with its cause."
)
@click.argument("reference", shell_complete=complete.references)
@click.option(
    "--format", "-f", "kind", type=click.Choice(["parquet", "csv", "jsonl", "hlog", "perfetto"]), required=True
)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, dir_okay=False), help="A file; - is stdout.  [default: stdout]"
)
@click.option("--gaps", is_flag=True, help="parquet, csv, jsonl: a row per gap, with its cause, instead of per metric.")
@click.option("--merge", is_flag=True, help="hlog: one histogram per cell, of its valid runs, instead of one per run.")
@options.results
@options.as_json
def export(reference: str, kind: str, out: Path | None, gaps: bool, merge: bool, results: Path, as_json: bool) -> None:
    from ..campaign.references import find
    from ..store.export import TABLES
    from ..store.export import export as write
    from .render import echo_json, printable
    from .reporting import file_or_stdout

    file = file_or_stdout(out)
    if as_json and file is None:
        raise click.UsageError("stdout is for one thing: name a file by --out, or leave --json out")
    if merge and kind != "hlog":
        raise click.UsageError("--merge belongs to --format hlog")
    if gaps and kind not in TABLES:
        raise click.UsageError(f"--gaps belongs to --format {', '.join(TABLES)}")
    if file is None and kind in ("parquet", "perfetto") and sys.stdout.isatty():
        raise click.UsageError(f"{kind} is binary: name a file by --out")
    path = Path(reference) if Path(reference).is_dir() else find(reference, results)
    skipped = write(path, kind, file or sys.stdout.buffer, merge_cells=merge, gaps=gaps)
    for warning in skipped:
        click.echo(f"isolbench: skipped: {printable(warning)}", err=True)
    if as_json:
        echo_json({"source": str(path), "format": kind, "file": str(file), "skipped": skipped})
