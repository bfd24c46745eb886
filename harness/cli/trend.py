# SPDX-License-Identifier: Apache-2.0
"""``trend``: a campaign's figures over its executions."""

from __future__ import annotations

from pathlib import Path

import click

from . import complete, options
from .render import console, echo_json, printable

_LAST = 20


@click.command(
    help="Show the figures of CAMPAIGN (its name, or the folder of its results) over its executions: the median over "
    "runs, its spread, how many runs (n), the change against the execution before and against the median of all "
    "before; and what else changed (kernel, firmware, microcode, command line). Numbers, no verdicts."
)
@click.argument("campaign", shell_complete=complete.executions)
@click.option(
    "--metric",
    metavar="NAME",
    shell_complete=complete.metrics,
    help="This metric.  [default: those that have a gate, and beside them the scalars]",
)
@click.option("--bench", metavar="NAME", shell_complete=complete.benches, help="This bench alone.")
@click.option("--target", "-t", metavar="NAME", shell_complete=complete.names, help="This target alone.")
@click.option("--mode", metavar="NAME", shell_complete=complete.modes, help="This mode alone.")
@click.option("--load", metavar="NAME", shell_complete=complete.loads, help="This load alone.")
@click.option(
    "--last", type=click.IntRange(min=1), default=_LAST, show_default=True, help="Show so many executions, the newest."
)
@options.results
@options.as_json
def trend(
    campaign: str,
    metric: str | None,
    bench: str | None,
    target: str | None,
    mode: str | None,
    load: str | None,
    last: int,
    results: Path,
    as_json: bool,
) -> None:
    from ..errors import UserError
    from ..report import trend as report
    from ..stats.trend import COLUMNS, series
    from ..store.catalogue import refresh

    path = _folder(campaign, results)
    warnings: list[str] = []
    rows = refresh(path, warnings).select(list(COLUMNS)).to_pylist()
    asked = {"metric": metric, "bench": bench, "target": target, "mode": mode, "load": load}
    for key, wanted in asked.items():
        if wanted is not None:
            kept = [row for row in rows if row[key] == wanted]
            if rows and not kept:
                known = ", ".join(sorted({str(row[key]) for row in rows}))
                raise UserError(f"no {key} {wanted!r} in {path} (there: {known})")
            rows = kept
    if metric is None:
        rows = [
            row for row in rows if row["gate"] is not None or (row["kind"] == "scalar" and row["better"] != "higher")
        ]
    found = series(rows)
    for warning in warnings:
        click.echo(f"isolbench: skipped: {printable(warning)}", err=True)
    if as_json:
        echo_json(report.document(path.name, str(path), found, last, warnings))
    elif not found:
        click.echo(f"no runs in {path}")
    else:
        report.show(path.name, found, last, console())


def _folder(campaign: str, results: Path) -> Path:
    """The folder of all executions; of one execution, that it lies in. :class:`~harness.errors.UserError`."""
    from ..campaign.references import executions
    from ..errors import UserError
    from ..store.files import is_execution

    path = Path(campaign).absolute()
    if is_execution(path):
        return path.parent
    for folder in (path, (results / campaign).absolute()):
        if folder.is_dir() and executions(folder.parent, folder.name):
            return folder
    listed = ", ".join(sorted({each.parent.name for each in executions(results)})) or "nothing"
    raise UserError(f"no campaign {campaign!r}: no such folder with executions, and {results}/ holds {listed}")
