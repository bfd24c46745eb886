# SPDX-License-Identifier: Apache-2.0
"""Histogram logs, version 1.3, as HdrHistogram's own tools read and write them (jHiccup, HistogramLogAnalyzer, hdrh).

::

    #[Histogram log format version 1.3]
    #isolbench: Interval_Max is exact, in ns
    #[BaseTime: 1795136400.250 (seconds since epoch)]
    #[StartTime: 1795136400.250 (seconds since epoch), 2026-11-20T01:00:00.250Z]
    "StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
    Tag=gap_ns.cpu1,0.000,10.000,41234.000,HISTFAAAA…

Timestamps of intervals are seconds from BaseTime, and rise. A tag is ``<metric>.cpu<N>``, or ``<metric>.any`` when
the task was pinned nowhere; it can hold neither comma nor space.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from . import hdr
from .hdr import Counts, HistogramError

LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'

_TAG = re.compile(r"[^\s,]+")
_TIME = re.compile(r"#\[(BaseTime|StartTime): *([0-9.]+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_S = 365 * 24 * 3600.0


@dataclass(frozen=True)
class Interval:
    """One line of a log. Times in seconds, ``start_s`` since the epoch; ``max_value`` as the log states it (ns)."""

    tag: str
    start_s: float
    length_s: float
    max_value: float
    blob: str

    @property
    def payload(self) -> bytes:
        return hdr.from_blob(self.blob)

    def decode(self) -> Counts:
        """The counts. Raises :class:`HistogramError`."""
        return hdr.decode(self.payload)


def tag_of(metric: str, cpu: int | None) -> str:
    return f"{metric}.any" if cpu is None else f"{metric}.cpu{cpu}"


def format_log(intervals: Iterable[Interval], comments: Iterable[str] = ()) -> str:
    """A whole log. Intervals are put in order of time, as readers expect; ``comments`` are one line each."""
    ordered = sorted(intervals, key=lambda interval: (interval.start_s, interval.tag))
    base_s = ordered[0].start_s if ordered else 0.0
    lines = ["#[Histogram log format version 1.3]", "#isolbench: Interval_Max is exact, in ns"]
    lines += ["#" + " ".join(comment.split()) for comment in comments]
    lines += [
        f"#[BaseTime: {base_s:.3f} (seconds since epoch)]",
        f"#[StartTime: {base_s:.3f} (seconds since epoch), {_iso(base_s)}]",
        LEGEND,
    ]
    for interval in ordered:
        if not _TAG.fullmatch(interval.tag):
            raise HistogramError(f"not a tag for a histogram log: {interval.tag!r}")
        offset_s = interval.start_s - base_s
        numbers = f"{offset_s:.3f},{interval.length_s:.3f},{interval.max_value:.3f}"
        lines.append(f"Tag={interval.tag},{numbers},{interval.blob}")
    return "\n".join(lines) + "\n"


def parse_log(text: str, name: str = "histogram log") -> list[Interval]:
    """The intervals of a log, of this or any other implementation. ``name`` stands in errors (:class:`HistogramError`).

    The histograms themselves are not decoded yet. Whether timestamps are absolute when a log states no BaseTime is
    guessed as the Java reader does: they are not if they lie more than a year before StartTime.
    """
    intervals = []
    base_s: float | None = None
    begin_s: float | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if stated := _TIME.match(line):
            time_s = _number(stated[2], f"{name}:{number}")
            base_s, begin_s = (time_s, begin_s) if stated[1] == "BaseTime" else (base_s, time_s)
        if not line.strip() or line.startswith(("#", '"')):
            continue
        tag = ""
        fields = line.split(",")
        if fields[0].startswith("Tag="):
            tag = fields.pop(0)[4:]
        if len(fields) != 4:
            raise HistogramError(f"{name}:{number}: not a line of a histogram log")
        start_s, length_s, max_value = (_number(field, f"{name}:{number}") for field in fields[:3])
        if base_s is None:
            base_s = begin_s if begin_s is not None and start_s < begin_s - _YEAR_S else 0.0
        intervals.append(Interval(tag, base_s + start_s, length_s, max_value, fields[3].strip()))
    return intervals


def read_log(path: Path) -> list[Interval]:
    """:func:`parse_log` of a file; anything wrong with it is a :class:`HistogramError` that names it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise HistogramError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise HistogramError(f"{path}: not a histogram log: {error}") from error
    return parse_log(text, str(path))


def find_interval(path: Path, tag: str) -> Interval:
    """The interval of ``path`` with that tag. Raises :class:`HistogramError` when there is none."""
    for interval in read_log(path):
        if interval.tag == tag:
            return interval
    raise HistogramError(f"{path}: has no histogram tagged {tag}")


def _iso(time_s: float) -> str:
    try:
        moment = _EPOCH + timedelta(seconds=time_s)
    except OverflowError:
        return "?"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise HistogramError(f"{where}: not a number: {text!r}")
    return value
