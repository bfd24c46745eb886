# SPDX-License-Identifier: Apache-2.0
"""What one run says of itself, as groups of rows for people: asked, effective, knobs, load, what changed. Pure.

The terminal and the page show the same groups. A run.json may lack anything: what is not there gives no row.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..agent.spec import event_lists
from ..stats.causes import of_results
from ..stats.variants import parameters
from ..store.documents import at, objects, text_of
from . import causes as told
from .booted import DEFAULT, booted_for
from .facts import rows as fact_rows
from .grouping import compact
from .modes import name_of
from .units import duration, setting

#: A label and its text.
Row = tuple[str, str]

#: Of the facts before and after a run, what differs always and says nothing.
_TIMES = ("realtime_ns", "boottime_ns", "monotonic_ns")
#: Keys of a list that is a command, and from what on a number of ns is a moment and no duration.
_COMMANDS = ("argv", "command")
_LONGEST_NS = 10**15
#: Interrupts of a CPU and the like: changed counters named at length; the rest is counted.
_NAMED = 12


@dataclass(frozen=True)
class Group:
    """Rows under a title."""

    title: str
    rows: tuple[Row, ...]


def groups(document: Mapping[str, Any]) -> tuple[Group, ...]:
    """All that a run.json, or an attempt.json, says beside its numbers; empty groups are left out."""
    found = (
        asked(document),
        effective(document),
        knobs(document),
        load(document),
        control(document),
        changed(document),
        caused(document),
        *own(document),
        Group("machine", fact_rows({}, document)),
        identity(document),
    )
    return tuple(group for group in found if group.rows)


def asked(document: Mapping[str, Any]) -> Group:
    spec = at(document, "spec")
    if not isinstance(spec, Mapping):
        return Group("asked", ())
    load, argv = spec.get("load"), at(spec, "load", "argv")
    rows = [
        ("bench", " ".join([name_of(spec.get("bench")), parameters(at(spec, "probe", "params"))]).strip()),
        ("mode", short(spec.get("mode"))),
        ("load", name_of(load) + (f": {shlex.join(map(str, argv))}" if isinstance(argv, list) and argv else "")),
    ]
    if (booted := booted_for(document)) != DEFAULT:
        rows.append(("booted", f"{' '.join(booted)}, for session {document.get('session')}"))
    if spec.get("attribution", "off") != "off":
        rows.append(("attribution", short(spec["attribution"])))
    for label, key in (("duration", "duration_ns"), ("settle", "settle_ns")):
        if isinstance(spec.get(key), int):
            rows.append((label, setting(spec[key])))
    return Group("asked", tuple(rows))


def effective(document: Mapping[str, Any]) -> Group:
    found = document.get("effective")
    rows: list[Row] = []
    for key, value in (found if isinstance(found, Mapping) else {}).items():
        if key == "tasks" and isinstance(value, Mapping):
            for cpu, task in value.items():
                start = task.get("start") if isinstance(task, Mapping) else None
                rows.append(("read back, not pinned" if cpu == "any" else f"read back, CPU {cpu}", short(start)))
        else:
            rows.append((str(key), _shown(str(key), value)))
    return Group("effective", tuple(rows))


def knobs(document: Mapping[str, Any]) -> Group:
    """What each knob was asked to be and became, and why not."""
    rows = []
    for knob in objects(document.get("knobs")):
        if "name" not in knob:
            continue
        parts = [f"asked {short(knob.get('requested'))}", f"before {short(knob.get('before'))}"]
        parts.append(f"effective {short(knob.get('effective'))}")
        if knob.get("reason"):
            parts.append(compact(str(knob["reason"])))
        if knob.get("advice"):
            parts.append(f"to change it: {knob['advice']}")
        rows.append((str(knob["name"]), " · ".join(parts)))
    return Group("knobs", tuple(rows))


def load(document: Mapping[str, Any]) -> Group:
    """What the load was and what it used, as measured."""
    found = document.get("load")
    known = found if isinstance(found, Mapping) else {}
    rows = [(str(key), _shown(str(key), value)) for key, value in known.items() if value is not None]
    return Group("load", tuple(rows))


def control(document: Mapping[str, Any]) -> Group:
    """What became of the control beside it; its figures stand among the others, under names of their own."""
    found = document.get("control")
    known = found if isinstance(found, Mapping) else {}
    status = text_of(known, "status")
    rows = [
        ("CPU", short(known.get("cpu")) if known else ""),
        ("state", str(at(known, "validity", "state") or status) if status == "ok" else status),
        ("reason", compact(text_of(known, "reason"))),
    ]
    rows += [(text_of(r, "rule"), compact(text_of(r, "text"))) for r in objects(at(known, "validity", "reasons"))]
    return Group("control", tuple((label, text) for label, text in rows if text))


def caused(document: Mapping[str, Any]) -> Group:
    """What took the time, by attribution, and how far that is to be trusted."""
    results = objects(document.get("results"))
    found = of_results(results)
    if found is None:
        return Group("causes", ())
    late = any(name == "late" for each in results for name, _ in event_lists(each))
    rows = [("taken", f"{told.lost(found, late)}, {told.answer(found, late)}")] if found.rows else []
    return Group("causes", (*rows, *((note.about, note.text) for note in told.notes(found, late))))


def changed(document: Mapping[str, Any]) -> Group:
    """What differed between the facts before and after; of counters, by how much."""
    before, after = (at(document, key) for key in ("facts_before", "facts_after"))
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return Group("changed while it ran", ())
    rows: list[Row] = []
    for key in dict.fromkeys([*before, *after]):
        if key not in _TIMES and before.get(key) != after.get(key):
            rows += _differences(str(key), before.get(key), after.get(key))
    return Group("changed while it ran", tuple(rows))


def _differences(label: str, before: Any, after: Any, of: str = "CPU ") -> Iterator[Row]:
    """One row, or one for each CPU. ``of`` is what the numbers are that stand as keys: CPUs, and below them IRQs."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
        if any(isinstance(side.get(key), Mapping) for side in (before, after) for key in keys):
            for key in keys:
                yield from _differences(f"{label}, CPU {key}", before.get(key) or {}, after.get(key) or {}, "")
            return
        parts = [
            f"{of if str(key).isdigit() else ''}{key} {_difference(before.get(key), after.get(key))}" for key in keys
        ]
        more = f", and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
        yield label, ", ".join(parts[:_NAMED]) + more
    else:
        yield label, _difference(before, after)


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, (int, type(None))) and type(after) is int:  # a counter that was not there was 0
        return f"{after - (before or 0):+,}"
    if isinstance(before, float) and isinstance(after, float):
        return f"{before:g} → {after:g}"
    return f"{short(before)} → {short(after)}"


def own(document: Mapping[str, Any]) -> tuple[Group, ...]:
    """What only this probe knows, as it says it: the steps of ``work``, the waker of ``xwake``."""
    found = []
    for result in objects(document.get("results")):
        detail = result.get("detail")
        if isinstance(detail, Mapping) and detail:
            rows = tuple((str(key), short(value)) for key, value in detail.items() if _said(str(key), value))
            found.append(Group(f"{result.get('probe', 'probe')}'s own", rows))
    return tuple(found)


def identity(document: Mapping[str, Any]) -> Group:
    """What must be equal for two runs to be compared."""
    found = document.get("identity")
    known = found if isinstance(found, Mapping) else {}
    rows = [(str(k), short(v)) for k, v in known.items() if v is not None and k != "knobs"]
    return Group("identity", tuple(rows))


def _shown(key: str, value: object) -> str:
    """A command as a shell would take it, a time with a unit that fits, the rest as it is."""
    if key in _COMMANDS and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return shlex.join(value)
    if key.endswith("_ns") and isinstance(value, int | float) and abs(value) < _LONGEST_NS:
        return duration(value)
    return short(value)


def _said(key: str, value: object) -> bool:
    """A reason or an error that is null is none, and not one that nobody knows."""
    return value is not None or key.rpartition("_")[2] not in ("reason", "error")


def short(value: object) -> str:
    """Any JSON value on one line."""
    if isinstance(value, Mapping):
        said = {str(key): inner for key, inner in value.items() if _said(str(key), inner)}
        parts = ((key, _shown(key, inner), isinstance(inner, Mapping)) for key, inner in said.items())
        return ", ".join(f"{key} ({text})" if nested else f"{key} {text}" for key, text, nested in parts)
    if isinstance(value, list):
        return "; ".join(map(short, value)) or "none"
    if value is None:
        return "not known"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
