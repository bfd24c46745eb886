# SPDX-License-Identifier: Apache-2.0
"""``show``: an execution, a run or a failed attempt in the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from . import complete, options
from .render import console, echo_json, mail_console


@click.command(
    help="Show an execution (a folder, an id; a campaign's name is its newest), or one run or failed attempt of it: "
    "REFERENCE may be their folder, or an execution followed by RUN, the name or the beginning of it. An attempt's "
    "name ends in `-a` and its number."
)
@click.argument("reference", shell_complete=complete.references)
@click.argument("run", required=False, shell_complete=complete.runs)
@click.option("--plain", is_flag=True, help="ASCII in less than 80 columns, without colours: to paste into a mail.")
@options.results
@options.as_json
def show(reference: str, run: str | None, plain: bool, results: Path, as_json: bool) -> None:
    from ..campaign.references import find
    from ..report import detail
    from ..report.document import document
    from ..report.model import build_view
    from ..report.terminal import summary
    from ..store.runs import load_attempt, load_run

    out = mail_console() if plain else console()
    path = Path(reference)
    if run is not None:
        path = _find_run(find(reference, results), run)
    elif not _is_run(path) and not _is_attempt(path):
        path = find(reference, results)
        if as_json:
            echo_json(document(build_view(path)))
        else:
            summary(path, out)
        return
    failed = _is_attempt(path)
    if as_json:
        echo_json(load_attempt(path) if failed else dict(load_run(path).document))
    elif failed:
        detail.show_attempt(path, out)
    else:
        detail.show(path, out)


def _is_run(path: Path) -> bool:
    return (path / "run.json").exists()


def _is_attempt(path: Path) -> bool:
    return (path / "attempt.json").exists()


def _find_run(execution: Path, name: str) -> Path:
    """The one run whose name begins with ``name`` (or with its target: ``rpi5-01/gap...``), else the one attempt."""
    from ..errors import UserError
    from ..store.runs import attempt_dirs, run_dirs

    attempts = attempt_dirs(execution)
    runs = list(run_dirs(execution)) if (execution / "runs").is_dir() else []
    found = [folder for folder in runs if _begins(folder, name)] or [each for each in attempts if _begins(each, name)]
    exact = [folder for folder in [*runs, *attempts] if name in (folder.name, f"{folder.parent.name}/{folder.name}")]
    if len(exact) == 1:
        return exact[0]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"{execution}: no run and no failed attempt begins with {name!r}")
    listed = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in found[:6])
    what = "runs" if found[0].parent.parent.name == "runs" else "failed attempts"
    raise UserError(f"{name!r} is the beginning of {len(found)} {what}: {listed}{', …' if len(found) > 6 else ''}")


def _begins(folder: Path, name: str) -> bool:
    return folder.name.startswith(name) or f"{folder.parent.name}/{folder.name}".startswith(name)
