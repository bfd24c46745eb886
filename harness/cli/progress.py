# SPDX-License-Identifier: Apache-2.0
"""Live progress: a line per lane on a terminal, plain lines in a pipe. On stderr: stdout is for results."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from .consoles import Console
from .render import printable, restored, unheard
from .words import bench_titles, plural

if TYPE_CHECKING:
    from ..campaign.events import Event
    from ..campaign.execution import Execution
    from ..plan import Plan

#: A terminal is redrawn this often: a machine that measures itself should not be busy with drawing.
_REFRESH_HZ = 2


class Progress:
    """A listener for an execution's events. ``quiet`` says only what went wrong."""

    def __init__(self, execution: Execution, *, quiet: bool = False) -> None:
        self._execution = execution
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        self._live = self._console.is_terminal and not quiet
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[doing]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=self._console,
            refresh_per_second=_REFRESH_HZ,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}
        self._planned: dict[str, int] = {}
        self._names = _names(execution.plan)
        self._each = execution.plan.repeat * execution.plan.sessions

    def __enter__(self) -> Progress:
        plan, path = self._execution.plan, self._execution.path
        self._say(
            f"{plan.campaign.name} {self._execution.id}: {plural(plan.runs, 'run')}, about {plan.estimate} without "
            f"retries, {path}"
        )
        for target, why in plan.disabled.items():
            self._say(f"{target}: disabled: {why}")
        self._bars.start()
        for target in plan.targets:
            planned = plan.repeat * plan.sessions * len(plan.cells_of(target))
            self._tasks[target] = self._bars.add_task(printable(target), total=planned, doing="connecting")
            self._planned[target], self._done[target] = planned, 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def listen(self, event: Event) -> None:
        """Called from the lanes' threads, one event at a time."""
        kind, target = str(event["kind"]), str(event.get("target", ""))
        if kind == "lane-started":
            self._progress(target, done=event.get("finished", 0))
        elif kind == "contacted":
            self._progress(target, planned=event.get("planned", 0), doing="measuring")
        elif kind == "run-started":
            self._progress(target, doing=self._shown(event.get("run", "")))
        elif kind in ("run-stored", "run-failed"):
            self._run(kind, target, event)
        elif kind in ("restored", "not-restored"):
            what = event.get("what")
            left = "an earlier agent had left this changed: " if kind == "restored" else ""
            for entry in what if isinstance(what, list) else [what]:
                self._say(f"{target}: {left}{restored(entry)}", important=True)
        elif kind in _SAID:
            self._say(f"{target}: {_SAID[kind].format_map(self._fields(event))}", important=kind in _IMPORTANT)
        elif kind == "lane-finished" and event.get("failure") and len(self._tasks) > 1:
            # Of a single lane the outcome, which comes at once, says the same.
            self._say(f"{target}: {event['failure']}", important=True)

    def _run(self, kind: str, target: str, event: Event) -> None:
        failed = kind == "run-failed"
        if not failed:
            self._progress(target, done=self._done.get(target, 0) + 1)
        if self._live and not failed:
            return
        count = f"[{self._done.get(target, 0)}/{self._planned.get(target, 0)}]"
        what = event.get("state")
        if failed:
            again = ", will be tried again" if event.get("retried") else ""
            fault = event.get("fault")
            # The reason of an invalid run begins with that word already.
            what = (
                f"{event.get('reason')}{again}"
                if fault == "invalid"
                else f"failed ({fault}): {event.get('reason')}{again}"
            )
        self._say(f"{target} {count} {self._shown(event.get('run'))} {what}", important=failed)

    def _shown(self, run: object) -> str:
        """``pinned/idle 2/3`` for a run of the plan: the hash in its name tells a person nothing."""
        cell, _, repeat = str(run).rpartition("-r")
        return f"{self._names[cell]} {repeat}/{self._each}" if cell in self._names else str(run)

    def _fields(self, event: Event) -> _Fields:
        cell = str(event.get("cell"))
        return _Fields({**event, "cell": self._names.get(cell, cell), "run": self._shown(event.get("run", "?"))})

    def _progress(
        self, target: str, *, done: int | None = None, planned: int | None = None, doing: str | None = None
    ) -> None:
        if target not in self._tasks:
            return
        if done is not None:
            self._done[target] = done
        if planned is not None:
            self._planned[target] = planned
        task = self._tasks[target]
        self._bars.update(task, completed=self._done[target], total=self._planned[target])
        if doing is not None:
            self._bars.update(task, doing=printable(doing))

    def _say(self, text: str, *, important: bool = False) -> None:
        if important or not self._quiet:
            with unheard():
                self._console.print(Text(printable(text)))


def _names(plan: Plan) -> dict[str, str]:
    """By cell id ``mode/load``, with the bench in front where there is more than one."""
    titles = bench_titles(plan)
    several = len(set(titles.values())) > 1
    return {
        cell.id: (f"{titles[cell.id]} " if several else "") + f"{cell.mode.name}/{cell.load.name}"
        for cell in plan.cells
    }


class _Fields(dict[str, object]):
    """An event's fields for a sentence; one that is missing is a question mark, never an error."""

    def __missing__(self, key: str) -> str:
        return "?"


_SAID = {
    "connection-lost": "{message}; trying again in {retry_in_s:g} s",
    "waiting": "{message}; trying again in {retry_in_s:g} s",
    "unsupported": "{cell} is not supported: {reason}",
    "adopted": "the agent kept on measuring: {runs} runs of its batch are to come",
    "cancelled": "stopped, and put back as it was found",
    "left": "{message}",
    "stray-run": "{run}: {message}",
    "events-lost": "{message}: events are no longer written",
    "note-lost": "{message}",
}
_IMPORTANT = {"connection-lost", "unsupported", "cancelled", "events-lost", "note-lost", "stray-run"}
