# SPDX-License-Identifier: Apache-2.0
"""What the page shows of causes: of each section its cells, and how cells compare. Pure.

Tables and timelines have a limit for the whole page, so that one of three hundred cells is not much larger than one of
three: then fewer rows and coarser timelines a cell, and what is left out is added up and said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..advice import explain
from ..stats.causes import CLASSES, Beside, Causes, Row, beside
from ..stats.trails import NO_TRAIL
from . import causes as told
from .cause_plots import Axis, TimePlot, axis_of, bars, time_plot, width
from .figures import events_of
from .kernel_view import name_of
from .rundata import RunCollection
from .timelines import PARTS, Timeline
from .units import duration, plural, printable, series, setting
from .view import ComparedRow, Comparison, ModeView, Section, TargetView, View

#: Rows of the tables of causes in a page, and in one of them at least and at most; the same of columns of timelines.
ROWS, FEWEST_ROWS, MOST_ROWS = 400, 3, 10
COLUMNS, FEWEST_COLUMNS = 5_000, 20
#: Causes in a page for which advice is listed; and cells that are shown open, and whose gaps are read for more.
ADVISED, OPEN = 100, 6
#: Rows of a comparison, and comparisons in a page.
COMPARED_ROWS, COMPARISONS = 10, 40
#: Of what is unexplained, where :func:`~harness.report.causes.unseen` says that nobody looked.
NOT_LOOKED = "the task waited, and nobody looked at the CPU"
CLASS_WORDS = {
    "interrupt": "asynchronous: an interrupt of a device, a timer or another CPU",
    "exception": "synchronous: a page fault",
    "syscall": "a system call of the task's own",
    "unexplained": "no event of the kernel lies in it",
}


@dataclass(frozen=True)
class CauseRow:
    """``trail``: who sent it, or what the tick was needed for, in the run of the timeline."""

    row: Row
    name: str
    what: str
    bars: str
    trail: str


@dataclass(frozen=True)
class CellCauses:
    """One cell. ``rest``: in words what the rows leave out, empty where they do not."""

    mode: ModeView
    causes: Causes
    lost: str
    answer: str
    notes: tuple[told.Note, ...]
    rows: tuple[CauseRow, ...]
    rest: str
    plot: TimePlot | None
    thinned: str


@dataclass(frozen=True)
class BesideTable:
    """Causes of several cells beside each other, ``columns``, the first of which the others are held against; of
    ``late`` wake-ups, or of gaps.

    ``of``: how many causes there are; ``rest`` says what the rows leave out, ``differ`` why they do not compare.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, Beside], ...]
    of: int
    rest: str
    differ: str
    late: bool


@dataclass(frozen=True)
class SectionCauses:
    """``axis`` is of all pictures of the page; ``classes`` are those that came in this section."""

    cells: tuple[CellCauses, ...]
    classes: tuple[str, ...]
    axis: Axis
    bars: int
    late: bool
    beside: BesideTable | None
    differ: str
    open: bool
    advised: int


def of(view: View, runs: RunCollection) -> dict[tuple[str, str, str, str], SectionCauses]:
    """By :func:`key` of the section, those in which attribution was asked for."""
    sections = [section for target in view.targets for section in target.sections]
    attributed = [section for section in sections if any(mode.causes for mode in section.modes)]
    every = [mode.causes for section in attributed for mode in section.modes if mode.causes]
    if not every:
        return {}
    axis = axis_of(every)
    rows = max(FEWEST_ROWS, min(MOST_ROWS, ROWS // len(every)))
    parts = max(FEWEST_COLUMNS, min(PARTS, COLUMNS // len(every)))
    few = len(every) <= OPEN
    found = {}
    for section in attributed:
        late = told.lateness(section)
        cells = tuple(
            _cell(section, mode, mode.causes, runs, axis, rows, parts, late, few)
            for mode in section.modes
            if mode.causes
        )
        named = [(mode.name, mode.causes) for mode in section.modes if mode.basis]
        differ = told.differ(named, late)
        side_by_side = beside_of(named, "", late) if not view.boots and len(every) <= COMPARISONS else None
        came = [cell.causes for cell in cells]
        classes = tuple(name for name in CLASSES if any(name in c.classes and c.classes[name].count for c in came))
        found[key(section)] = SectionCauses(
            cells,
            classes,
            axis,
            width(axis),
            late,
            side_by_side,
            differ,
            open=few,
            advised=max(1, ADVISED // len(attributed)),
        )
    return found


def key(section: Section) -> tuple[str, str, str, str]:
    return section.target, section.title, section.load, section.metric


def _cell(
    section: Section,
    mode: ModeView,
    causes: Causes,
    runs: RunCollection,
    axis: Axis,
    most: int,
    parts: int,
    late: bool,
    trailed: bool,
) -> CellCauses:
    noun = events_of(section) or "events"
    blind = told.unseen(causes, late)
    first = {row.name: row for row in reversed(causes.rows)}  # a trail is of a cause, whatever it came by
    rows, rest = told.shown(causes, most, noun)
    timeline = runs.timelines.of(section.target, mode.cell, mode.basis)
    plot = time_plot(timeline, axis, parts) if timeline else None
    trails = runs.trails(timeline) if timeline and trailed else {}
    thinned = ""
    if plot is not None and timeline is not None:
        thinned = _thinned(timeline, plot.parts, len(mode.used), noun)
    return CellCauses(
        mode=mode,
        causes=causes,
        lost=told.lost(causes, late),
        answer=told.answer(causes, late),
        notes=told.notes(causes, late),
        rows=tuple(
            CauseRow(
                row,
                told.name_of(row, blind),
                NOT_LOOKED if blind and row.class_ == told.UNEXPLAINED else explain(row.cause),
                bars(row, axis),
                told.trail(trails.get(row.name, NO_TRAIL) if first[row.name] is row else NO_TRAIL),
            )
            for row in rows
        ),
        rest=rest,
        plot=plot,
        thinned=thinned,
    )


def _thinned(timeline: Timeline, parts: int, runs: int, noun: str) -> str:
    """What a timeline shows, and of what."""
    which = f"Run {timeline.repeat}, the worst" if runs > 1 else "The run"
    where = "" if timeline.cpu is None else f", CPU {timeline.cpu}"
    text = f"{which}{where}: the longest of each class in each 1/{parts} of its time, of {timeline.told:,} {noun}"
    return f"{text}; {timeline.more:,} later ones were counted and not kept" if timeline.more else text


def beside_of(named: Sequence[tuple[str, Causes | None]], title: str, late: bool) -> BesideTable | None:
    """Causes side by side; without rows where fewer than two sides have any, and None where nothing is to be said."""
    known = [(name, causes) for name, causes in named if causes is not None and causes.observed_s > 0]
    differ = told.differ(named, late)
    known = told.looked_alike(known, late)
    if len(known) < 2:
        return BesideTable(title, tuple(name for name, _ in named), (), 0, "", differ, late) if differ else None
    found = [each for each in beside([causes for _, causes in known]) if any(side.count for side in each.sides)]
    rest = ""
    if len(found) > COMPARED_ROWS:
        most = max(each.change for each in found[COMPARED_ROWS:])
        others = plural(len(found) - COMPARED_ROWS, "cause")
        rest = f"and {others} more, each of which changed by at most {duration(most)}/s"
    blind = all(told.unseen(causes, late) for _, causes in known)
    rows = tuple((told.name_of(each, blind), each) for each in found[:COMPARED_ROWS])
    return BesideTable(title, tuple(name for name, _ in known), rows, len(found), rest, differ, late)


def compared(one: Comparison) -> list[BesideTable]:
    """What was booted beside each other, for each mode and load that has causes on two of them."""
    found = []
    for row in one.rows:
        named = [
            (name_of(booted), cell.mode.causes)
            for booted, cell in zip(one.columns, row.cells, strict=True)
            if cell.mode is not None and cell.mode.basis
        ]
        late = any(cell.section is not None and told.lateness(cell.section) for cell in row.cells)
        table = beside_of(named, row_title(row), late)
        if table is not None:
            found.append(table)
    return found


def row_title(row: ComparedRow) -> str:
    return f"{row.mode}, load {row.load}"


def headline(target: TargetView, section: Section) -> str:
    """What took most under each mode: one sentence, empty where nothing is told. Where most was not looked at, no cause
    took it."""
    late = told.lateness(section)
    parts, blind = [], []
    for mode in section.modes:
        if mode.causes is None or not mode.causes.rows:
            continue
        name, ns = told.by_name(mode.causes, late)[0]
        if name == told.UNSEEN:
            blind.append(mode.name)
            continue
        parts.append(f"{name} under {mode.name} ({told.percent(mode.causes.share(ns))})")
    if not parts:
        return ""
    what = "lateness" if late else "stolen time"
    rest = f"; {told.UNSEEN} under {series(blind)}" if blind else ""
    where = f"{target.name}, {section.title}, load {section.load}"
    return printable(f"{where}: most {what} was taken by {series(parts)}{rest}.")


def key_of(class_: str) -> str:
    """The style of a class's colour, of one that this version has not heard of too."""
    return f"k-{class_}" if class_ in CLASSES else "k-other"


def axis_words(axis: Axis) -> str:
    return f"{setting(axis.low)} to {setting(axis.high)}, log"
