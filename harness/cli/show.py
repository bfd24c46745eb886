# SPDX-License-Identifier: Apache-2.0
"""``show``: a run or an execution in the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from . import options
from .render import console, echo_json


@click.command(
    help="Show an execution (a folder, an id, a campaign's name) or one run of it: REFERENCE may be a run's folder, or "
    "an execution followed by RUN, a run's name or the beginning of it."
)
@click.argument("reference")
@click.argument("run", required=False)
@options.results
@options.as_json
def show(reference: str, run: str | None, results: Path, as_json: bool) -> None:
    from ..campaign.execution import find
    from ..report.terminal import show as show_run
    from ..report.terminal import summary
    from ..store.runs import load_run

    path = Path(reference)
    if run is not None:
        path = _find_run(find(reference, results), run)
    elif not (path / "run.json").exists():
        path = find(reference, results)
        if as_json:
            from ..store.runs import iter_runs

            echo_json([dict(each.document) for each in iter_runs(path)])
        else:
            summary(path, console())
        return
    if as_json:
        echo_json(dict(load_run(path).document))
    else:
        show_run(path, console())


def _find_run(execution: Path, name: str) -> Path:
    """The one run whose name begins with ``name`` (or with its target: ``rpi5-01/gap...``)."""
    from ..errors import UserError
    from ..store.runs import run_dirs

    found = [
        folder
        for folder in run_dirs(execution)
        if folder.name.startswith(name) or f"{folder.parent.name}/{folder.name}".startswith(name)
    ]
    exact = [folder for folder in found if folder.name == name]
    if len(exact) == 1:
        return exact[0]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"{execution}: no run begins with {name!r}")
    listed = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in found[:6])
    raise UserError(f"{name!r} is the beginning of {len(found)} runs: {listed}{', ...' if len(found) > 6 else ''}")
