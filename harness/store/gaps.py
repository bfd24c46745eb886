# SPDX-License-Identifier: Apache-2.0
"""What a run's probes kept one by one, with its causes: gaps, late wake-ups, and the control's. Streamed, and checked.

The lists come from a machine under test. A line that is not of its shape is left out, counted and named; text is text,
whatever it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..agent.spec import event_lists
from .documents import LARGEST, objects, text, whole
from .files import BrokenResult
from .runs import Run, read_events

MEASURED, CONTROL = "measured", "control"
#: Of these a probe says what it did itself: no gaps.
DISTURBANCES = "disturbances"


@dataclass(frozen=True, slots=True)
class GapList:
    """One list of a run: ``name`` is that of its file, ``role`` of whom it is."""

    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Gap:
    """One gap, or what came late. ``class_`` is None where nobody looked for causes; ``cause`` is ``kind:name``.

    ``chain``: (ns from the begin, ``kind:name``), as many as were kept; ``more`` were not. ``sender`` has the keys
    ``cpu``, ``tid``, ``task``, ``site``, as far as they are known.
    """

    cpu: int | None
    at_ns: int
    length_ns: int
    class_: str | None = None
    cause: str | None = None
    chain: tuple[tuple[int, str], ...] = ()
    more: int = 0
    address: str | None = None
    tid: int | None = None
    sender: Mapping[str, int | str] | None = None


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What was done on purpose: ``kind``, from when to when; ``effect_ns`` where its effect has a time of its own."""

    cpu: int | None
    kind: str
    at_ns: int
    end_ns: int
    effect_ns: int | None = None
    name: str | None = None


def lists_of(run: Run) -> list[GapList]:
    """The lists of ``run``, the measured ones first."""
    results = objects(run.document.get("results"))
    control = run.control.get("result")
    found = [GapList(name, MEASURED) for each in results for name, _ in event_lists(each) if name != DISTURBANCES]
    if isinstance(control, Mapping):
        found += [GapList(f"control.{name}", CONTROL) for name, _ in event_lists(control) if name != DISTURBANCES]
    return list(dict.fromkeys(found))


def gaps_of(run: Run, of: GapList, warnings: list[str]) -> Iterator[Gap]:
    """One by one, in the order of the file. What cannot be read is named in ``warnings``, and ends it."""
    yield from _checked(run, of.name, gap_of, warnings)


def disturbances_of(run: Run, warnings: list[str]) -> Iterator[Disturbance]:
    """As :func:`gaps_of`; none where nothing was done on purpose."""
    yield from _checked(run, DISTURBANCES, disturbance_of, warnings)


def _checked(run: Run, name: str, read: Any, warnings: list[str]) -> Iterator[Any]:
    strange = 0
    try:
        for line in read_events(run.path, name):
            found = read(line)
            strange += found is None
            if found is not None:
                yield found
    except (BrokenResult, ValueError) as error:
        warnings.append(str(error))
    if strange:
        warnings.append(f"{run.path / name}.jsonl.gz: lines that are not of their shape: {strange}")


def gap_of(line: object) -> Gap | None:
    """The gap of a line of the list, None if it is none. Pure."""
    if not isinstance(line, Mapping):
        return None
    key = next((key for key in line if isinstance(key, str) and key.endswith("_ns") and key != "at_ns"), "")
    cpu, at, length = whole(line.get("cpu")), line.get("at_ns"), whole(line.get(key))
    # Before the begin lies what came after a counter that stepped back.
    if length is None or type(at) is not int or abs(at) >= LARGEST or (cpu is None and line.get("cpu") is not None):
        return None
    return Gap(
        cpu,
        at,
        length,
        text(line.get("class")),
        text(line.get("cause")),
        _chain(line.get("chain")),
        whole(line.get("more")) or 0,
        text(line.get("address")),
        whole(line.get("tid")),
        _sender(line.get("sender")),
    )


def disturbance_of(line: object) -> Disturbance | None:
    """The same of a line of disturbances.jsonl."""
    if not isinstance(line, Mapping):
        return None
    cpu, at, end, effect = (whole(line.get(key)) for key in ("cpu", "at_ns", "end_ns", "effect_ns"))
    kind = text(line.get("kind"))
    if at is None or end is None or kind is None or (cpu is None and line.get("cpu") is not None):
        return None
    return Disturbance(cpu, kind, at, end, effect, text(line.get("name")))


def _chain(value: object) -> tuple[tuple[int, str], ...]:
    """Without what is no pair of a time and a name."""
    pairs = (each for each in value if isinstance(each, list) and len(each) == 2) if isinstance(value, list) else ()
    return tuple((at, what) for at, what in pairs if type(at) is int and abs(at) < LARGEST and isinstance(what, str))


def _sender(value: object) -> Mapping[str, int | str] | None:
    if not isinstance(value, Mapping):
        return None
    known = {
        **{key: whole(value.get(key)) for key in ("cpu", "tid")},
        **{key: text(value.get(key)) for key in ("task", "site")},
    }
    return {key: each for key, each in known.items() if each is not None} or None
