# SPDX-License-Identifier: Apache-2.0
"""What took the core's time, in the words and numbers of all reports: the page and the terminal say the same. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..stats.causes import OTHER, Beside, Causes, Row, Sum
from ..stats.trails import Trail
from ..store.causes import in_words
from .remedies import counted
from .units import duration, plural, quantity, three_digits
from .view import Section

#: Bars of a decade in the histogram of a cause.
PER_DECADE = 5
#: The class of gaps in which no event lies; and what it is called where nobody looked for one.
UNEXPLAINED, UNSEEN = "unexplained", "not looked at"
#: What a sentence names.
NAMED = 3
_LEVELS = {
    "tracepoints": "tracepoints",
    "software": "software events only (task switches and page faults, no interrupts)",
    "nothing": "nothing",
}
_SCOPES = {"cpu": "all that the CPU did", "task": "what happened to the task, on whatever CPU"}


@dataclass(frozen=True)
class Note:
    """How far the causes of a cell can be trusted. ``state``: ``suspect``, or empty: that is as it should be.

    ``about`` in a word or two; ``judged``: the runs are suspect for it, and say so among their reasons.
    """

    state: str
    text: str
    about: str
    judged: bool = False


def bucket_of(low_ns: int) -> int:
    """The lowest value (ns) of the wider bucket, :data:`PER_DECADE` a decade, that a histogram's bucket falls in."""
    return round(10 ** (math.floor(PER_DECADE * math.log10(max(1, low_ns)) + 1e-9) / PER_DECADE))


def adding() -> Sum:
    """For the sum over the runs of a cell, with the buckets that reports show."""
    return Sum(bucket_of)


def unseen(causes: Causes, late: bool) -> bool:
    """Whether nobody looked for what is unexplained: a task that waits to be woken has no events of its own, and those
    of a CPU are seen by tracepoints alone, of a task that is pinned to it.
    """
    return late and bool(causes.measurements) and "cpu" not in causes.scopes


def name_of(row: Row | Beside, blind: bool = False) -> str:
    """In a few words: ``timer tick``. ``blind``: as :func:`unseen` says."""
    if row.cause is None:
        unexplained = UNSEEN if blind else UNEXPLAINED
        return unexplained if row.class_ == UNEXPLAINED else f"{row.class_} without a cause"
    return "further causes" if row.cause == OTHER else in_words(row.cause)


def label_of(row: Row | Beside) -> str:
    """As a probe says it, and what the gap began with, where that is another: ``task:cat by vector:reschedule``."""
    return f"{row.name} by {row.entry}" if row.entry and row.entry != row.cause else row.name


def percent(share: float) -> str:
    """``72 %``, ``9.2 %``, ``0.04 %``; and all but a little is not ``100 %``."""
    value = 100 * share
    if 99.5 <= value < 100:
        return f"{math.floor(10 * value) / 10} %"
    if value == 0 or value >= 9.95:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value >= 0.95 else f"{value:.2g} %" if value >= 0.01 else "under 0.01 %"


def by_name(causes: Causes, late: bool) -> list[tuple[str, int]]:
    """Stolen ns by what a sentence calls it, whatever the entry; the most first."""
    found: dict[str, int] = {}
    for row in causes.rows:
        name = name_of(row, unseen(causes, late))
        found[name] = found.get(name, 0) + row.stolen_ns
    return sorted(found.items(), key=lambda each: -each[1])


def lateness(section: Section) -> bool:
    """Whether what is told apart are late wake-ups, of which each has its lateness, and no gaps in a task that ran."""
    return section.events == "late"


def lost(causes: Causes, late: bool) -> str:
    """``4.3 % of the time was stolen``, ``70.1 µs of each second``; of late wake-ups ``12.0 ms of lateness``.

    Of all measurements together: where there are several, it says so, for their median stands beside it.
    """
    if late:
        return f"{duration(causes.stolen_ns)} of lateness"
    if causes.observed_s <= 0:
        return f"{duration(causes.stolen_ns)} were stolen"
    share = causes.stolen_ns / 1e9 / causes.observed_s
    took = f"{percent(share)} of the time" if share >= 0.001 else f"{duration(share * 1e9)} of each second"
    return f"{took} was stolen{' over all runs' if causes.measurements > 1 else ''}"


def answer(causes: Causes, late: bool) -> str:
    """What took most, and what came next: ``72 % of it by device interrupt virtio1-req.0, 9.2 % by timer tick, …``."""
    named = by_name(causes, late)
    parts = []
    for place, (name, ns) in enumerate(named[:NAMED]):
        by = name if name in (UNEXPLAINED, UNSEEN) else f"by {name}"
        parts.append(f"{percent(causes.share(ns))} {by if place else f'of it {by}'}")
    if rest := sum(ns for _, ns in named[NAMED:]):
        parts.append(f"{percent(causes.share(rest))} by {plural(len(named) - NAMED, 'other')}")
    return ", ".join(parts)


def shown(causes: Causes, most: int, noun: str) -> tuple[tuple[Row, ...], str]:
    """The rows of a table, and in words what it leaves out."""
    rows, rest = causes.rows[:most], causes.rows[most:]
    if not rest:
        return rows, ""
    stolen, count = sum(row.stolen_ns for row in rest), sum(row.count for row in rest)
    took = f"{duration(stolen)} ({percent(causes.share(stolen))}) in {count:,} {noun}"
    return rows, f"and {plural(len(rest), 'cause')} more: {took}"


def notes(causes: Causes, late: bool) -> tuple[Note, ...]:
    """By what the causes are known, whether all of them are there, and what the instruments took themselves."""
    found = [_level(causes)]
    if unseen(causes, late) and causes.classes[UNEXPLAINED].count:
        text = "while a task waits, only tracepoints of a CPU that it is pinned to can tell"
        found.append(Note("suspect", f"What is unexplained was not looked at: {text}.", "not looked at"))
    if len(causes.levels) > 1 or causes.level != "nothing":
        found += [*_complete(causes, late), *_instruments(causes, late), *_steal(causes)]
    if causes.tracers:
        found.append(Note("suspect", f"Not alone: {', '.join(causes.tracers)} traced as well.", "others", judged=True))
    return tuple(found)


def _level(causes: Causes) -> Note:
    reason = f": {'; '.join(causes.reasons)}" if causes.reasons else ""
    if causes.level == "nothing" and len(causes.levels) == 1:
        return Note("suspect", f"Causes were asked for, and none could be had{reason or '.'}", "seen")
    scopes = " and ".join(_SCOPES.get(scope, scope) for scope in causes.scopes)
    if len(causes.levels) > 1:
        each = ", ".join(f"{number} by {_LEVELS[level]}" for level, number in reversed(list(causes.levels.items())))
        return Note("suspect", f"Not all were seen by the same means: {each}{reason}", "seen")
    state = "" if causes.level == "tracepoints" else "suspect"
    where = f", {scopes}" if scopes and not state else ""
    return Note(state, f"Seen by {_LEVELS[causes.level]}{where}{reason or '.'}", "seen")


def _complete(causes: Causes, late: bool) -> Iterable[Note]:
    count = "the kernel's own count of interrupts"
    if causes.conserved:
        yield Note("", f"Complete by {count}.", "complete")
    elif causes.conserved is False:
        seen = (
            f"{_irq(each.row)}: {_seen(each.at_least, each.at_most)} of {each.interrupts:,}" for each in causes.wrong
        )
        rows = ", ".join(seen) or "not known"
        yield Note("suspect", f"Not complete by {count}, events of it: {rows}.", "complete", judged=True)
    elif causes.checked:
        part = f"{causes.checked} of {causes.measurements}; of others it cannot be said"
        yield Note("", f"Complete by {count} in {part}.", "complete")
    elif "task" in causes.scopes:
        yield Note(
            "", f"Whether it is complete cannot be said: {count} is of CPUs, and only the task was seen.", "complete"
        )
    else:
        yield Note("", f"Whether it is complete cannot be held against {count}.", "complete")
    if causes.unseen:
        rows = ", ".join(f"{_irq(row)} ({number:,})" for row, number in causes.unseen.items())
        yield Note("", f"Interrupts of which the kernel has no event: {rows}.", "no events of")
    gone = causes.lost
    counts = (
        (gone.records, "found no room in the ring"),
        (gone.missing, "were counted by the kernel and never written"),
        (gone.unknown, "could not be read"),
        (0 if late else gone.outside, "lay outside every gap"),
    )
    parts = [f"{number:,} {what}" for number, what in counts if number]
    if gone.gaps:
        parts.append(f"{plural(gone.gaps, 'gap')} came faster than they were taken")
    if parts:
        read = plural(gone.events, "event")
        yield Note("suspect", f"Lost, beside {read} that were read: {', '.join(parts)}.", "lost", judged=True)
    else:
        where = "" if late else ", and none lay outside every gap"
        yield Note("", f"Of {plural(gone.events, 'event')} none was lost{where}.", "lost")


def _irq(row: str) -> str:
    """A row of /proc/interrupts: a device's is a number there."""
    return f"irq {row}" if row.isdigit() else row


def _seen(at_least: int, at_most: int) -> str:
    return f"{at_least:,}" if at_least == at_most else f"{at_least:,} to {at_most:,}"


def _instruments(causes: Causes, late: bool) -> Iterable[Note]:
    own = causes.instruments
    if own is None:
        return
    text = f"The instruments' own part: {plural(own.events, 'event')}"
    if own.cost_ns and causes.sample_ns:
        text += f" at some {duration(causes.sample_ns.median)} each, {duration(own.cost_ns)} in all"
        if causes.stolen_ns and not late:
            text += f", at most {percent(min(1.0, own.cost_ns / causes.stolen_ns))} of the stolen time"
    disturbed = own.own + own.wakeups
    came = plural(disturbed, "interrupt") if disturbed else "no interrupt"
    yield Note("", f"{text}; {came} of theirs meanwhile.", "instruments")
    if own.others:
        opened = plural(own.others, "perf event")
        yield Note("suspect", f"Others opened {opened} on the machine meanwhile.", "others", judged=True)


def _steal(causes: Causes) -> Iterable[Note]:
    if causes.steal_ns:
        unexplained = causes.classes[UNEXPLAINED].stolen_ns
        yield Note(
            "", f"The host took {duration(causes.steal_ns)} (steal); unexplained are {duration(unexplained)}.", "host"
        )


def looked_alike(named: Sequence[tuple[str, Causes]], late: bool) -> list[tuple[str, Causes]]:
    """Those whose causes can stand beside each other: those that were looked at, or all, where none was."""
    looked = [(name, causes) for name, causes in named if not unseen(causes, late)]
    return looked or list(named)


def differ(named: Sequence[tuple[str, Causes | None]], late: bool) -> str:
    """One line where what stands beside each other was not seen by the same instruments, which disturb, or not looked
    at in the same places; else empty.
    """
    known = [(name, causes) for name, causes in named if causes is not None]
    looked = [name for name, _ in looked_alike(known, late)]
    blind = [name for name, _ in known if name not in looked]
    why = f"{', '.join(blind)}: what is unexplained was not looked at; the causes do not compare." if blind else ""
    return " ".join(filter(None, [_instruments_differ(named), why]))


def _instruments_differ(named: Sequence[tuple[str, Causes | None]]) -> str:
    """One line where what stands beside each other was not seen by the same instruments, which disturb; else empty."""
    groups: dict[str, list[str]] = {}
    for name, causes in named:
        if causes is None:
            level = "no attribution"
        else:
            levels = [_LEVELS[each].partition(" (")[0] for each in reversed(list(causes.levels))]
            level = f"attribution by {' and '.join(levels)}"
        groups.setdefault(level, []).append(name)
    if len(groups) < 2:
        return ""
    each = "; ".join(f"{', '.join(names)}: {level}" for level, names in groups.items())
    return f"Not measured by the same instruments, which disturb: their numbers do not compare. {each}."


def per_second(value_ns: float | None) -> str:
    """``31.0 ms/s``."""
    return "-" if value_ns is None else f"{duration(value_ns)}/s"


def rate(value_hz: float | None) -> str:
    return quantity(value_hz, "/s")


def trail(found: Trail) -> str:
    """``sent by python (12), CPU 0 (3)``; of the tick ``needed for POSIX_TIMER (51)``; empty where nothing is known."""
    ticks = [(name.removeprefix("tick:"), number) for name, number in found.ticks]
    parts = (("sent by", found.senders), ("needed for", ticks))
    return "; ".join(f"{what} {counted(names)}" for what, names in parts if names)


def change(each: Beside, place: int) -> str:
    """``new``, ``gone``, or how many times the first side's stolen time the side at ``place`` has."""
    state = each.state(place)
    if state != "both":
        return state.replace("none", "")
    first, own = each.sides[0].per_s, each.sides[place].per_s
    return f"×{three_digits(own / first)}" if first else ""
