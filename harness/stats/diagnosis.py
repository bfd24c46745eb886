# SPDX-License-Identifier: Apache-2.0
"""Why a core is not quiet, and what to do: one attributed run, held against what is known of causes. Pure.

In: run.json (docs/formats.md) and the facts of its target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..advice import Remedy, remedies
from ..advice.state import get, listed_cpus
from ..agent.knobs import NAMES as KNOBS
from ..store.gaps import Gap
from . import causes
from .causes import Causes, Side
from .trails import NO_TRAIL, Trail, trails


@dataclass(frozen=True)
class Complaint:
    """One cause, whatever interrupt it came by. ``remedies``: what helps most first; ``trail``: what gaps say of it."""

    name: str
    count: int
    stolen_ns: int
    max_ns: int
    remedies: tuple[Remedy, ...]
    trail: Trail = NO_TRAIL


@dataclass(frozen=True)
class Treatment:
    """One remedy that is not in effect, as far as is known: for the complaints at ``numbers`` (1 is the first), which
    took ``share`` of all stolen time."""

    remedy: Remedy
    numbers: tuple[int, ...]
    share: float


@dataclass(frozen=True)
class Diagnosis:
    """``count`` gaps of ``threshold_ns`` and more in ``seconds``, ``stolen_ns`` in all; ``at_most_hz``: with 95 %
    confidence there are no more in a second. ``complaints``: the most stolen time first.

    ``cpu`` is None where the task might run on any. ``state`` and ``reasons`` are the run's validity; ``knobs`` what
    was set for it, by name; ``identity`` what it was measured on.
    """

    target: str
    run: str
    mode: str
    cpu: int | None
    seconds: float
    threshold_ns: int
    count: int
    stolen_ns: int
    at_most_hz: float | None
    state: str
    reasons: tuple[str, ...]
    causes: Causes
    complaints: tuple[Complaint, ...]
    knobs: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> str:
        return self.causes.level

    def share(self, stolen_ns: int) -> float:
        """The part of all stolen time, 0 to 1."""
        return min(1.0, stolen_ns / self.stolen_ns) if self.stolen_ns else 0.0

    def rate_hz(self, count: int) -> float:
        return count / self.seconds if self.seconds else 0.0

    def per_s(self, stolen_ns: int) -> float:
        """ns taken in a second."""
        return stolen_ns / self.seconds if self.seconds else 0.0


def diagnose(document: Mapping[str, Any], facts: Mapping[str, Any], gaps: Iterable[Gap] = ()) -> Diagnosis | None:
    """``gaps``: those that the run kept one by one, which say more of a cause than its name.

    None for a run that tells nothing of gaps: of another probe, or of a target that says what it likes."""
    try:
        result = next(each for each in document["results"] if isinstance(each.get("gaps"), Mapping))
        return _diagnosis(document, result, facts, trails(gaps))
    except (StopIteration, LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _diagnosis(
    document: Mapping[str, Any], result: Mapping[str, Any], facts: Mapping[str, Any], told: Mapping[str, Trail]
) -> Diagnosis:
    found = causes.of_results([result]) or Causes()
    knobs = {str(each["name"]): each for each in document.get("knobs") or () if "name" in each}
    cpu = None if result["cpu"] is None else int(result["cpu"])
    seconds = result["duration_ns"] / 1e9
    rate = result["scalars"]["gap_rate_hz"]
    mode = document["spec"]["mode"]
    meanwhile = _isolating(facts, cpu) if mode.get("where") == "partition" else facts
    return Diagnosis(
        target=str(document["target"]),
        run=str(document["run"]),
        mode=str(mode["name"]),
        cpu=cpu,
        seconds=seconds,
        threshold_ns=int(result["gaps"]["threshold_ns"]),
        count=int(result["gaps"]["count"]),
        stolen_ns=round(result["scalars"]["stolen_ppm"]["value"] * seconds * 1e3),
        at_most_hz=rate.get("upper"),
        state=str(document["validity"]["state"]),
        reasons=tuple(str(each["text"]) for each in document["validity"]["reasons"]),
        causes=found,
        complaints=tuple(
            _complaints(found, told, lambda name: remedies(name, meanwhile, knobs, cpu, str(mode.get("sched")))),
        ),
        knobs=knobs,
        identity=document.get("identity") or {},
    )


def _isolating(facts: Mapping[str, Any], cpu: int | None) -> Mapping[str, Any]:
    """As a partition has it while the run lasts: isolated, as the kernel lists it at no other time."""
    cpus, own = get(facts, "cpus"), [] if cpu is None else [cpu]
    isolated = sorted({*listed_cpus(facts, "isolated"), *own})
    return {**facts, "cpus": {**cpus, "isolated": isolated}} if isinstance(cpus, Mapping) else facts


def _complaints(
    found: Causes, told: Mapping[str, Trail], against: Callable[[str], tuple[Remedy, ...]]
) -> Iterable[Complaint]:
    """The rows of one name as one, whatever began them. What kept the tick on is what has to be removed first."""
    by_name: dict[str, list[causes.Row]] = {}
    for row in found.rows:
        by_name.setdefault(row.name, []).append(row)
    summed = []
    for name, rows in by_name.items():
        trail = told.get(name, NO_TRAIL)
        each = [remedy for cause in (*(tick for tick, _ in trail.ticks[:1]), name) for remedy in against(cause)]
        count, stolen = sum(row.count for row in rows), sum(row.stolen_ns for row in rows)
        longest = max(row.max_ns for row in rows)
        summed.append(Complaint(name, count, stolen, longest, tuple(dict.fromkeys(each)), trail))
    return sorted(summed, key=lambda each: (-each.stolen_ns, -each.count, each.name))


def treatments(found: Diagnosis) -> tuple[Treatment, ...]:
    """Each remedy once; first what probably helps most.

    A remedy counts for each of its causes by the time that this took: wholly where it is the first that helps against
    it, for half as the second, and so on. One of which nobody knows whether it is in effect counts for half of that.
    """
    where: dict[Remedy, list[tuple[int, int]]] = {}
    for number, complaint in enumerate(found.complaints, 1):
        for place, remedy in enumerate(complaint.remedies):
            if remedy.in_effect is not True:
                where.setdefault(remedy, []).append((number, place))
    made = []
    for remedy, places in where.items():
        numbers = tuple(number for number, _ in places)
        score = sum(found.complaints[number - 1].stolen_ns / (1 + place) for number, place in places)
        made.append(
            (score if remedy.in_effect is False else score / 2, Treatment(remedy, numbers, _sum(found, numbers)))
        )
    return tuple(each for _, each in sorted(made, key=lambda item: (-item[0], item[1].numbers)))


def _sum(found: Diagnosis, numbers: Iterable[int]) -> float:
    return found.share(sum(found.complaints[number - 1].stolen_ns for number in numbers))


def in_effect(found: Diagnosis) -> tuple[Remedy, ...]:
    """Remedies of what was found that are in effect already."""
    each = (remedy for complaint in found.complaints for remedy in complaint.remedies if remedy.in_effect)
    return tuple(dict.fromkeys(each))


def fixable(found: Diagnosis) -> tuple[str, ...]:
    """The knobs that would help, can be had, are not set and were not tried: what ``tune`` takes, in its order."""
    wanted = {  # of a knob that cannot be had nobody says that it is not in effect
        treatment.remedy.knob for treatment in treatments(found) if treatment.remedy.in_effect is False
    }
    return tuple(name for name in KNOBS if name in wanted and name not in found.knobs)


def parameters(found: Diagnosis) -> tuple[str, ...]:
    """What a boot profile would add (with ``{isolated}``), for what is known not to be in effect."""
    each = (
        treatment.remedy.parameter
        for treatment in treatments(found)
        if treatment.remedy.parameter is not None and treatment.remedy.in_effect is False
    )
    return tuple(dict.fromkeys(each))


@dataclass(frozen=True)
class Change:
    """A cause before and after."""

    name: str
    before: Side
    after: Side


def changes(before: Diagnosis, after: Diagnosis) -> tuple[Change, ...]:
    """Cause by cause, the most changed first."""
    by_name: dict[str, list[Sequence[Side]]] = {}
    for each in causes.beside([before.causes, after.causes]):
        by_name.setdefault(each.name, []).append(each.sides)
    found = [Change(name, *map(causes.summed, zip(*rows, strict=True))) for name, rows in by_name.items()]
    return tuple(sorted(found, key=_by_change))


def _by_change(each: Change) -> tuple[float, float, str]:
    before, after = each.before.per_s, each.after.per_s
    return -abs(after - before), -max(before, after), each.name
