# SPDX-License-Identifier: Apache-2.0
"""How things look on a terminal: errors, outcomes, and text that came from elsewhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import click

from ..errors import IsolbenchError
from .written import Written

if TYPE_CHECKING:
    from rich.console import Console

    from ..campaign.execution import Execution
    from ..campaign.outcome import Outcome
    from ..stats.budgets import Verdict

#: For tables in a pipe: wide enough that nothing is wrapped or cut.
_PIPE_WIDTH = 10_000
#: With room to be quoted twice in 80 columns.
_MAIL_WIDTH = 76


def printable(text: object) -> str:
    """``text`` on one line, with control characters shown and not obeyed (a target may send what it likes)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def restored(entry: Any) -> str:
    """One line for an entry of a target's undo that was played back: what, from what to what, or why not."""
    if not isinstance(entry, Mapping):
        return printable(entry)
    what = entry.get("path") or entry.get("name")
    if entry.get("kind") == "processes":
        done = f"ended {', '.join(map(str, entry.get('killed') or [])) or 'none'}"
    elif entry.get("name") == "kernels":
        done = "not booted next any more" if entry.get("kind") == "armed" else "removed"
    else:
        done = f"{entry.get('before')!r} again, was {entry.get('found')!r}"
    return printable(f"{what}: {done}" if entry.get("ok") else f"{what}: NOT put back: {entry.get('reason')}")


@contextmanager
def unheard() -> Iterator[None]:
    """Whoever reads our output may leave (`| head`): what is measured, and the exit code, do not hang on it."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def error_lines(error: IsolbenchError) -> list[str]:
    """One line for each problem, and one for the advice."""
    lines = [f"isolbench: {printable(line)}" for line in str(error).splitlines() or [type(error).__name__]]
    if error.advice:
        lines.append(f"  advice: {printable(error.advice)}")
    return lines


def echo_json(value: Any) -> None:
    """One JSON document on stdout, for machines."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def console() -> Console:
    """stdout for tables: coloured on a terminal; in a pipe plain, as wide as it takes, whatever the environment says.

    Where the encoding has no ``µ`` and the like, they are spelt in ASCII.
    """
    from .consoles import Console

    found = Console(highlight=False)
    file = cast("IO[str]", Written(sys.stdout, strip=not found.is_terminal))
    if found.is_terminal:
        return Console(file=file, highlight=False)
    return Console(file=file, highlight=False, width=_PIPE_WIDTH, color_system=None, force_terminal=False)


def mail_console() -> Console:
    """stdout for what people paste into a mail: plain ASCII, no line longer than mail likes, no colours."""
    from .consoles import Console

    file = cast("IO[str]", Written(sys.stdout, strip=True, encoding="ascii"))
    return Console(file=file, highlight=False, width=_MAIL_WIDTH, color_system=None, force_terminal=True)


def outcome_json(execution: Execution, outcome: Outcome) -> Mapping[str, Any]:
    return {
        "campaign": execution.campaign,
        "execution": execution.id,
        "path": str(execution.path),
        "exit_code": outcome.exit_code,
        "sentence": outcome.sentence,
        "planned": outcome.planned,
        "finished": outcome.finished,
        "usable": outcome.usable,
        "over_budget": [_budget(verdict) for verdict in outcome.over_budget],
        "not_judged": [_budget(verdict) for verdict in outcome.not_judged],
        "lanes": [asdict(lane) for lane in outcome.lanes],
    }


def _budget(verdict: Verdict) -> Mapping[str, Any]:
    keys = (
        "target",
        "bench",
        "mode",
        "load",
        "cell",
        "metric",
        "quantile",
        "unit",
        "value",
        "at_most",
        "runs",
        "state",
        "why",
        "judged_at",
    )
    return {key: getattr(verdict, key) for key in keys}


def say_outcome(execution: Execution, outcome: Outcome, page: Path | None) -> None:
    """The tables with all that went wrong, or that alone where nothing was measured; one sentence; the report's path.

    What the tables say is not said again, and what befell many targets alike is said once.
    """
    from ..report.terminal import summary
    from ..report.words import bare

    if outcome.finished or outcome.usable or any(lane.unsupported for lane in outcome.lanes):
        summary(execution.path, console())
    else:
        failures: dict[tuple[str, str | None], list[str]] = {}
        for lane in outcome.lanes:
            if lane.failure:
                failures.setdefault((bare(lane.target, lane.failure), lane.advice), []).append(lane.target)
        for (failure, advice), targets in failures.items():
            click.echo(f"isolbench: {', '.join(targets)}: {printable(failure)}", err=True)
            if advice:
                click.echo(f"  advice: {printable(advice)}", err=True)
    click.echo(f"isolbench: {printable(outcome.sentence)}", err=True)
    if page is not None:
        click.echo(str(page))
