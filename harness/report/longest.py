# SPDX-License-Identifier: Apache-2.0
"""The longest gaps of one run on a terminal: when, how long, and all that is known of why; and what its files hold."""

from __future__ import annotations

import heapq
import shlex
from pathlib import Path

from rich.console import Console

from ..store.causes import in_words
from ..store.gaps import MEASURED, Gap, gaps_of, lists_of
from ..store.runs import Run
from .layout import heading, item, line, plain
from .units import duration, three_digits

#: So many of each list.
SHOWN = 5
#: Events of a chain that are said here; the rest is in the file.
_EVENTS = 6
_TITLES = {"gaps": "the longest gaps", "late": "the latest wake-ups", "slow": "the slowest pieces"}
_FILES = {
    "run.json": "all of the run but its histograms",
    "histograms.hlog": "opens in any HdrHistogram tool",
    "log.txt": "what the probe and the kernel said",
    "disturbances.jsonl.gz": "what was done on purpose, and when",
}


def longest(run: Run, console: Console) -> None:
    """Of each list that the probes kept the longest, the longest first. What cannot be read is said."""
    for of in lists_of(run):
        if of.role != MEASURED:
            continue
        warnings: list[str] = []
        found = heapq.nlargest(SHOWN, gaps_of(run, of, warnings), key=lambda gap: gap.length_ns)
        if found or warnings:
            heading(console, _TITLES.get(of.name, f"the longest of {of.name}"))
        for warning in warnings:
            item(console, "not read", warning)
        attributed = any(gap.class_ is not None for gap in found)
        several = len({gap.cpu for gap in found}) > 1
        for gap in found:
            where = f" on CPU {gap.cpu}" if several else ""
            when = f"{duration(gap.length_ns)} at {three_digits(gap.at_ns / 1e9)} s{where}"
            if attributed:
                item(console, when, _why(gap))
            else:
                line(console, plain(when), indent=4)
            if gap.chain:
                item(console, "in it, after µs", _chain(gap), indent=6)


def files(run_dir: Path, console: Console) -> None:
    """Where the run lies, what is there, and what opens its gaps on a time line."""
    heading(console, "files")
    line(console, str(run_dir), indent=4)
    names = sorted(path.name for path in run_dir.iterdir() if path.is_file())
    for name in names:
        about = _FILES.get(name) or ("each one, a JSON object a line" if name.endswith(".jsonl.gz") else "")
        item(console, name, f"{_bytes((run_dir / name).stat().st_size)}{f', {about}' if about else ''}", indent=6)
    if any(name.endswith(".jsonl.gz") for name in names):
        export = f"isolbench export {shlex.quote(str(run_dir))} --format perfetto --out trace.pftrace"
        item(console, "on a time line", export, indent=6)


def _why(gap: Gap) -> str:
    """``interrupt, TLB shootdown by another CPU, from CPU 0 (make)``."""
    if gap.class_ is None:
        return "came faster than its cause could be taken"
    sender, parts = gap.sender or {}, [gap.class_]
    if gap.cause:
        parts.append(in_words(gap.cause))
    if sender:
        task = f" ({sender['task']})" if "task" in sender else ""
        parts.append(f"from CPU {sender.get('cpu', '?')}{task}")
    if gap.address:
        parts.append(f"at {gap.address}")
    return ", ".join(parts)


def _chain(gap: Gap) -> str:
    shown = [f"{three_digits(at / 1e3)} {what}" for at, what in gap.chain[:_EVENTS]]
    left = len(gap.chain) - len(shown) + gap.more
    return ", ".join([*shown, *([f"{left} more"] if left else [])])


def _bytes(size: int) -> str:
    return f"{size} bytes" if size < 1000 else f"{size / 1e3:,.0f} kB" if size < 1e6 else f"{size / 1e6:,.1f} MB"
