# SPDX-License-Identifier: Apache-2.0
"""Live progress: a line per lane on a terminal, plain lines in a pipe. On stderr: stdout is for results."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from ..report.booted import boot_of
from .live import drawn, stderr_console
from .pace import ASCII_BAR, BAR, Pace, lines
from .render import printable, restored, unheard
from .words import bench_titles, plural

if TYPE_CHECKING:
    from ..campaign.events import Event
    from ..campaign.execution import Execution
    from ..plan import Estimate, Plan


class Progress:
    """A listener for an execution's events. ``quiet`` says only what went wrong."""

    def __init__(self, execution: Execution, *, quiet: bool = False, estimate: Estimate | None = None) -> None:
        self._execution = execution
        self._estimate = estimate or execution.plan.estimate
        self._quiet = quiet
        self._console = stderr_console()
        self._drawn = self._console.is_terminal and not quiet
        self._bar = BAR if _can_write(self._console.encoding, "".join(BAR)) else ASCII_BAR
        self._lanes: dict[str, Pace] = {}
        self._names = _names(execution.plan)
        self._each = execution.plan.repeat * execution.plan.sessions
        self._showing = contextlib.ExitStack()

    def __enter__(self) -> Progress:
        plan, path = self._execution.plan, self._execution.path
        boots = f", {plural(self._estimate.boots, 'boot')}" if self._estimate.boots else ""
        self._say(
            f"{plan.campaign.name} {self._execution.id}: {plural(plan.runs, 'run')}{boots}, about {self._estimate} "
            f"without retries, {path}"
        )
        for target, why in plan.disabled.items():
            self._say(f"{target}: disabled: {why}")
        for target in plan.targets:
            planned = self._each * len(plan.cells_of(target))
            lane = self._estimate.lanes[target]
            self._lanes[target] = Pace(printable(target), planned, lane.seconds / max(1, lane.runs))
        if self._drawn:
            self._showing.enter_context(drawn(self._console, self.drawing))
        return self

    def __exit__(self, *_: object) -> None:
        self._showing.close()

    def note(self, text: str) -> None:
        """A line beside what events say; may be called from within :meth:`listen`'s thread."""
        self._say(text)

    def drawing(self) -> Group:
        """What a terminal shows now: asked for anew at each redrawing, so that it follows the terminal's size."""
        size = self._console.size
        return Group(*lines(list(self._lanes.values()), time.monotonic(), size.width, size.height, self._bar))

    def listen(self, event: Event) -> None:
        """Called from the lanes' threads, one event at a time."""
        kind, target = str(event["kind"]), str(event.get("target", ""))
        self._follow(kind, target, event)
        if kind in ("run-stored", "run-failed"):
            self._run(kind, target, event)
        elif kind in ("restored", "not-restored"):
            what = event.get("what")
            left = "an earlier agent had left this changed: " if kind == "restored" else ""
            for entry in what if isinstance(what, list) else [what]:
                self._say(f"{target}: {left}{restored(entry)}", important=True)
        elif kind in _SAID:
            self._say(f"{target}: {_SAID[kind].format_map(self._fields(event))}", important=kind in _IMPORTANT)
        elif kind == "lane-finished" and event.get("failure") and len(self._lanes) > 1:
            # Of a single lane the outcome, which comes at once, says the same.
            self._say(f"{target}: {event['failure']}", important=True)

    def _follow(self, kind: str, target: str, event: Event) -> None:
        """What the event means for the lane's line."""
        lane = self._lanes.get(target)
        if lane is None:
            return
        if kind == "lane-started":
            lane.done = int(event.get("finished", 0))
        elif kind == "contacted":
            lane.planned = int(event.get("planned", 0))
            lane.do("measuring", "measuring" if event.get("cells", 1) else "about to boot")
            lane.begin(time.monotonic())
        elif kind in ("unpacking", "installing", "booting", "booted"):
            what = printable(f"{kind} {event.get('kernel', '?')} {event.get('boot', '')}".rstrip())
            lane.do("waiting", what, None if kind == "booted" else time.monotonic())
        elif kind == "power-cycled":
            lane.do("waiting", "its power was switched off and on", time.monotonic())
        elif kind == "uploaded":
            done, total = _number(event.get("bytes")), _number(event.get("of"))
            what = f"uploading {event.get('kernel', '?')}: {_size(done)} of {_size(total)}"
            lane.doing = printable(what if done < total else f"installing {event.get('kernel', '?')}")
        elif kind == "run-started":
            lane.do("measuring", printable(self._shown(event.get("run", ""))))
        elif kind in ("run-stored", "run-failed"):
            lane.finish_run(time.monotonic(), failed=kind == "run-failed")
        elif kind in ("connection-lost", "waiting"):
            lane.do("waiting", printable(str(event.get("message"))))
        elif kind == "lane-finished":
            failure, stopped = event.get("failure"), event.get("stopped")
            lane.do("failed" if failure else "done", printable(str(failure or stopped or "done")))

    def _run(self, kind: str, target: str, event: Event) -> None:
        failed = kind == "run-failed"
        if self._drawn and not failed:
            return
        lane = self._lanes.get(target)
        count = f"[{lane.done}/{lane.planned}]" if lane else ""
        what, reason = str(event.get("state")), str(event.get("reason") or "")
        if failed and boot_of(reason) is not None:
            return  # its boot was told to have failed, with the reason
        if failed:
            again = ", will be tried again" if event.get("retried") else ""
            what = _invalid(reason) or f"failed ({event.get('fault')}): {reason}"
            what += again
        elif what == "invalid":
            what = _invalid(reason) or what
        self._say(f"{target} {count} {self._shown(event.get('run'))} {what}", important=failed)

    def _shown(self, run: object) -> str:
        """``pinned/idle 2/3`` for a run of the plan: the hash in its name tells a person nothing."""
        cell, _, repeat = str(run).rpartition("-r")
        return f"{self._names[cell]} {repeat}/{self._each}" if cell in self._names else str(run)

    def _fields(self, event: Event) -> _Fields:
        cell = str(event.get("cell"))
        return _Fields(
            {
                **event,
                "size": _size(_number(event.get("bytes"))),
                "took": f" in {took:.0f} s" if isinstance(took := event.get("took_s"), int | float) else "",
                "then": "trying again" if event.get("retried") else "its runs are not measured",
                "cell": self._names.get(cell, cell),
                "run": self._shown(event.get("run", "?")),
            }
        )

    def _say(self, text: str, *, important: bool = False) -> None:
        if important or not self._quiet:
            with unheard():
                self._console.print(Text(printable(text)))


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _size(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


def _invalid(reason: str) -> str:
    """``invalid (load spin had 74 % of its CPU)``: the machine did not hold still, nothing broke. Else empty."""
    word, _, why = reason.partition(": ")
    return f"invalid ({why})" if word == "invalid" and why else ""


def _can_write(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


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
    "unpacking": "unpacking kernel {kernel}",
    "installing": "installing kernel {kernel} ({release}): {size} to upload",
    "booting": "booting {kernel} {boot} by {method}",
    "booted": "booted {kernel} {boot}{took}, and proved it",
    "boot-failed": "boot of {kernel} {boot} failed, {then}: {message}",
    "power-cycled": "{message}; its power was switched off and on",
    "booting-home-first": "{message}; back to what it boots by itself first, on the way to {kernel} {boot}",
    "going-back": "{message}: it is sent back to what it boots by itself (interrupt once more to leave it as it is)",
    "booted-back": "back to what it boots by itself, and proved it",
    "power-failed": "{message}",
    "left-booted": "still runs {kernel} {boot}: {message}",
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
_IMPORTANT = {
    "boot-failed", "power-cycled", "power-failed", "going-back", "left-booted", "connection-lost", "unsupported",
    "cancelled", "events-lost", "note-lost", "stray-run",
}  # fmt: skip
