# SPDX-License-Identifier: Apache-2.0
"""How far a lane is, how fast it goes and how long it will take; and that as one line of text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.text import Text

#: Bars: what is done and what is not; without the characters for it, in ASCII.
BAR, ASCII_BAR = ("━", "┈"), ("#", ".")
_NAME = 24  # a longer name is cut
_NARROW = 64  # a terminal of fewer columns has no room for bars


@dataclass
class Pace:
    """One lane. ``run_s`` is what a run takes by the plan; times are of one monotonic clock.

    ``state`` is ``waiting`` (for a connection, for a boot), ``measuring``, ``done`` or ``failed``. Of what it is
    ``doing`` since ``since_s`` the line says for how long: a boot takes minutes in which nothing else is seen.
    """

    name: str
    planned: int
    run_s: float
    done: int = 0
    failed: int = 0
    state: str = "waiting"
    doing: str = "connecting"
    began_s: float | None = None
    since_s: float | None = None
    _finished: int = field(default=0, repr=False)
    _last_s: float = field(default=0.0, repr=False)

    def begin(self, now_s: float) -> None:
        """The target was met: from here on runs are counted by the minute."""
        if self.began_s is None:
            self.began_s = self._last_s = now_s

    def do(self, state: str, doing: str, since_s: float | None = None) -> None:
        self.state, self.doing, self.since_s = state, doing, since_s

    def said(self, now_s: float) -> str:
        """What it is doing, and for how long where that is of interest: ``0:27 booting rt quiet``."""
        return self.doing if self.since_s is None else f"{clock(now_s - self.since_s)} {self.doing}"

    def finish_run(self, now_s: float, *, failed: bool) -> None:
        """A failed run takes as long as any, and does not bring the end nearer."""
        self.begin(now_s)
        self.failed += failed
        self.done += not failed
        self._finished += not failed
        self._last_s = now_s

    @property
    def each_s(self) -> float:
        """What a run takes: as seen so far, else by the plan."""
        if not self._finished or self.began_s is None or self._last_s <= self.began_s:
            return self.run_s
        return (self._last_s - self.began_s) / self._finished

    @property
    def per_minute(self) -> float | None:
        return 60 / self.each_s if self._finished and self.each_s > 0 else None

    def left_s(self, now_s: float) -> float | None:
        """``None`` when it is over, and before the target was met."""
        if self.began_s is None or self.state in ("done", "failed"):
            return None
        return max(0.0, (self.planned - self.done) * self.each_s - (now_s - self._last_s))


def clock(seconds: float) -> str:
    """``0:09``, ``12:34``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rate(per_minute: float | None) -> str:
    """``14/min``, ``0.8/min``; nothing before a run was finished."""
    return "" if per_minute is None else f"{per_minute:.{0 if per_minute >= 9.95 else 1}f}/min"


def together(paces: Sequence[Pace], now_s: float) -> tuple[str, int, int, float | None, float | None, int]:
    """Of all lanes: name, done, planned, runs a minute, time left (lanes go side by side: the longest), failed."""
    rates = [each for pace in paces if pace.state not in ("done", "failed") and (each := pace.per_minute) is not None]
    lefts = [left for pace in paces if (left := pace.left_s(now_s)) is not None]
    return (
        "all",
        sum(pace.done for pace in paces),
        sum(pace.planned for pace in paces),
        sum(rates) if rates else None,
        max(lefts, default=None),
        sum(pace.failed for pace in paces),
    )


def lines(paces: Sequence[Pace], now_s: float, width: int, height: int, bar: tuple[str, str] = BAR) -> list[Text]:
    """A line a lane, never wider than ``width``; of more lanes than there is room for, those that are at work first,
    and how many more there are. Several lanes have a line for all."""
    shown = list(paces)
    more = 0
    if len(shown) > max(1, height - 2):
        order = {"measuring": 0, "waiting": 1, "failed": 2, "done": 3}
        keep = sorted(shown, key=lambda pace: order.get(pace.state, 1))[: max(1, height - 3)]
        more = len(shown) - len(keep)
        shown = [pace for pace in shown if any(pace is each for each in keep)]
    rows = [
        (one.name, one.done, one.planned, one.per_minute, one.left_s(now_s), one.failed, one.said(now_s), one.state)
        for one in shown
    ]
    if len(paces) > 1:
        doing = f"{more} more lanes" if more else ""
        rows.append((*together(paces, now_s), doing, "all"))
    return list(_aligned(rows, width, bar)) if rows else []


def _aligned(
    rows: Sequence[tuple[str, int, int, float | None, float | None, int, str, str]], width: int, bar: tuple[str, str]
) -> Iterable[Text]:
    names = min(_NAME, max(cell_len(row[0]) for row in rows))
    counts = [f"{row[1]}/{row[2]}" for row in rows]
    rates = [rate(row[3]) for row in rows]
    lefts = ["" if row[4] is None else f"{clock(row[4])} left" for row in rows]
    cells = [max(map(len, texts)) for texts in (counts, rates, lefts)]
    bars = 0 if width < _NARROW else min(24, max(8, width // 6))
    for row, *texts in zip(rows, counts, rates, lefts, strict=True):
        name, done, planned, _, _, failed, doing, state = row
        text = Text(no_wrap=True, end="")
        text.append(set_cell_size(name, names), "bold")
        if bars:
            filled = round(bars * min(1.0, done / planned)) if planned else bars
            text.append(f" {bar[0] * filled}", "green").append(bar[1] * (bars - filled), "dim")
        for part, cell in zip(texts, cells, strict=True):
            if cell:
                text.append(f"  {part:>{cell}}")
        if failed:
            text.append(f"  {failed} failed", "red")
        if doing:
            text.append("  ").append(doing, "red" if state == "failed" else "dim" if state != "measuring" else "")
        text.truncate(width, overflow="ellipsis")
        yield text
