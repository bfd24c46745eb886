# SPDX-License-Identifier: Apache-2.0
"""Is what was done found, and is what is found what was done? Disturbances at known times held against gaps. Pure.

A disturbance is *effective* if no gap is open at its instant: else the measured task is not running, and there is
nothing to interrupt. It is *found* if a gap that it falls into names it: by class and cause, or, where something else
came in the same gap and says more, in its chain. A gap that names a kind without a disturbance of it is *false*. Where
the kernel does not say who sent an interrupt, that cannot be counted, and shams bound what comes by chance: instants
at which nothing was done, judged as if it had been.

Nothing is left out but what cannot be judged, and that is counted: what lies beyond the run's ends, or beyond the last
gap that there was room for, and what fell into a gap with more events than are kept, or in which another task came:
whether or not such a gap names it, for who is judged must not hang on what is found.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, cycle
from typing import Any

from .marks import BY_TASK, SENT_BY, SHAM, Mark, marks_of
from .shares import Sensitivity, Tally, total

#: Who only sends an interrupt and does not wait for it: so long after, the gap has begun.
AFTER_NS = 300_000
#: Of one disturbance no more gaps are looked at: what says that it took all of the run is not to take all day here.
_MOST_GAPS = 256
_WAITED_FOR = frozenset(("membarrier", "tlb"))
#: Of a tick it is the tick itself that is to be found, whatever else there was.
_ALWAYS_EFFECTIVE = frozenset(("tick",))

#: Events with which another task comes; and those about one task, of which only the measured one's are told.
_COMES = frozenset(("task", "switch"))
_FOR_ONE = frozenset(("task", "switch", "signal", "syscall", "fault"))


@dataclass(frozen=True)
class Observed:
    """One measurement. ``gaps`` are lines of gaps.jsonl, ``disturbances`` of disturbances.jsonl; times from one start.

    ``end_ns``: when it ended; later ones were not kept if ``gaps_lost`` or ``disturbances_lost``. ``made``: by kind,
    those that were not kept included. ``injector``: the tid of who made them; ``task``: of who came. ``events``: of the
    kernel, those open.
    """

    gaps: Sequence[Mapping[str, Any]]
    disturbances: Sequence[Mapping[str, Any]]
    end_ns: int
    events: Collection[str] = ()
    injector: int | None = None
    task: int | None = None
    made: Mapping[str, int] = field(default_factory=dict)
    gaps_lost: bool = False
    disturbances_lost: bool = False
    clock_error_ns: int = 0

    @classmethod
    def of(
        cls, result: Mapping[str, Any], gaps: Iterable[Mapping[str, Any]], disturbances: Iterable[Mapping[str, Any]]
    ) -> Observed:
        """Of what `sense` left: its result.json, and the lines of both files, of that CPU. Raises what a document of
        another shape does: KeyError, TypeError, ValueError, AttributeError, OverflowError."""
        told, made, detail = (result[key] for key in ("attribution", "disturbances", "detail"))
        return cls(
            gaps=list(gaps),
            disturbances=list(disturbances),
            end_ns=int(result["duration_ns"]),
            events=tuple((told.get("events") or {}).get("open") or ()),
            injector=detail["injector"]["tid"],
            task=(detail.get("task") or {}).get("tid"),
            made={str(kind): int(number) for kind, number in made["made"].items()},
            gaps_lost=bool(result["gaps"]["dropped"]),
            disturbances_lost=bool(made["dropped"]),
            clock_error_ns=round(told.get("clock_error_ns") or 0),
        )


def score(observed: Iterable[Observed]) -> Sensitivity:
    """All measurements together."""
    return total(_Measurement(each).sensitivity() for each in observed)


@dataclass(frozen=True)
class _Gap:
    begin: int
    end: int
    class_: str | None
    cause: str | None
    chain: tuple[str, ...]
    more: int
    sender: int | None
    tid: int | None

    @property
    def called(self) -> str:
        return "not taken" if self.class_ is None else " ".join(filter(None, (self.class_, self.cause)))


@dataclass(frozen=True)
class _Disturbance:
    """``since`` .. ``until``: what a gap has to overlap to be the one that it made."""

    kind: str
    at: int
    since: int
    until: int
    label: str | None

    @property
    def span(self) -> tuple[int, int]:
        return min(self.at, self.since), self.until


class _Measurement:
    def __init__(self, observed: Observed) -> None:
        self._injector, self._task = observed.injector, observed.task
        self._gaps = sorted(_gaps(observed.gaps), key=lambda gap: gap.begin)
        self._begins = [gap.begin for gap in self._gaps]
        self._done = sorted(_disturbances(observed), key=lambda each: each.at)
        self._made = observed.made
        self._marks = marks_of(observed.events)
        self._begin = self._done[0].at if self._done else 0  # before it, the injector's own start is seen
        self._end = observed.end_ns
        if observed.gaps_lost:
            self._end = min(self._end, max((gap.end for gap in self._gaps), default=0))
        if observed.disturbances_lost:
            self._end = min(self._end, max((each.at for each in self._done), default=0))

    def sensitivity(self) -> Sensitivity:
        by_kind: dict[str, list[_Disturbance]] = {kind: [] for kind in self._made}
        for each in self._done:
            by_kind.setdefault(each.kind, []).append(each)
        shams = [each for each in by_kind.get(SHAM, ()) if self._judged(each)]
        tallies: dict[str, Tally] = {}
        for kind, several in by_kind.items():
            if kind == SHAM or not (several or self._made.get(kind)):
                continue
            tally = tallies[kind] = Tally()
            tally.counts["made"] += max(len(several), self._made.get(kind, 0))
            tally.counts["not_judged"] += max(0, self._made.get(kind, 0) - len(several))
            mark = self._marks.get(kind)
            tally.blind = mark is None
            if mark is None:
                tally.counts["not_judged"] += len(several)
                continue
            tally.precise &= mark.precise
            labels = _labels(mark, several)
            others = () if mark.own else SENT_BY.get(kind, ())
            sent = (each for by in (kind, *others) for each in by_kind.get(by, ()))
            covered = _Covered(each.span for each in sent)
            self._recall(several, mark, tally)
            if mark.precise:
                self._precision(mark, labels, covered, tally)
            self._shams(shams, several, mark, labels, covered, tally)
        return Sensitivity(tuple(tally.score(kind) for kind, tally in tallies.items()), 1)

    # -- is it found? -----------------------------------------------------------------------------------------------

    def _recall(self, several: Iterable[_Disturbance], mark: Mark, tally: Tally) -> None:
        taken: Counter[int] = Counter()
        for each in several:
            if not self._judged(each):
                tally.counts["not_judged"] += 1
                continue
            effective = each.kind in _ALWAYS_EFFECTIVE or not self._is_open(each.at)
            labels = mark.labels if each.label is None else (each.label,)
            theirs = list(self._overlapping(each.since, each.until))
            free = [i for i in theirs if taken[i] < max(1, sum(label in labels for label in self._gaps[i].chain))]
            found, by_cause = self._found(free, mark, labels)
            crowded = any(_hides(self._gaps[i], labels) for i in theirs)
            if found is not None:
                taken[found] += 1
            if not effective:
                also = found is not None and not crowded
                tally.counts.update(not_effective=1, also_found=also, also_crowded=crowded)
            elif crowded:
                tally.counts["crowded"] += 1
            else:
                tally.counts.update(effective=1, found=found is not None, in_chain=found is not None and not by_cause)
                if found is None:
                    tally.called[self._longest(theirs)] += 1

    def _found(self, several: Sequence[int], mark: Mark, labels: Sequence[str]) -> tuple[int | None, bool]:
        """The first of these gaps that names it, and whether by its cause; one that does is taken before others."""
        for i in several:
            if self._named(self._gaps[i], mark, labels):
                return i, True
        return next((i for i in several if self._in_chain(self._gaps[i], mark, labels)), None), False

    def _judged(self, each: _Disturbance) -> bool:
        return each.span[0] >= 0 and each.span[1] <= self._end

    def _is_open(self, at: int) -> bool:
        """Whether a gap is: neighbours share an end, which is in neither."""
        i = bisect_left(self._begins, at) - 1
        return i >= 0 and self._gaps[i].end > at

    def _overlapping(self, since: int, until: int) -> Iterator[int]:
        first = max(0, bisect_right(self._begins, since) - 1)
        for i in range(first, min(bisect_left(self._begins, max(until, since + 1)), first + _MOST_GAPS)):
            if self._gaps[i].end > since:
                yield i

    def _longest(self, several: Sequence[int]) -> str:
        gaps = [self._gaps[i] for i in several]
        return max(gaps, key=lambda gap: gap.end - gap.begin).called if gaps else "no gap"

    # -- by whom? ---------------------------------------------------------------------------------------------------

    def _named(self, gap: _Gap, mark: Mark, labels: Sequence[str]) -> bool:
        """By class and cause, and by who it was where the kernel says so."""
        ours = (not mark.told or self._ours(gap)) and (not mark.task or self._came(gap))
        return gap.class_ == mark.class_ and gap.cause in labels and ours

    def _in_chain(self, gap: _Gap, mark: Mark, labels: Sequence[str]) -> bool:
        """What says who it is for counts anywhere; of others, which a task that came in between may have got instead of
        ours, only before that. A gap's sender is that of the first that was sent: who sent later ones is not known."""
        before = next((i for i, label in enumerate(gap.chain) if _kind_of(label) in _COMES), len(gap.chain))
        first = next((i for i, label in enumerate(gap.chain) if _is_sent(label)), None)
        unsaid = gap.sender is None and not mark.told
        return any(
            (self._ours(gap) or unsaid if i == first else mark.own or unsaid)
            and (i != before or not mark.task or self._came(gap))
            for i, label in enumerate(gap.chain)
            if label in labels and (i < before or _kind_of(label) in _FOR_ONE)
        )

    def _came(self, gap: _Gap) -> bool:
        """Whether the first task that came was the one of ours, as far as that is known."""
        return gap.tid is None or self._task in (None, gap.tid)

    def _ours(self, gap: _Gap) -> bool:
        return gap.sender is not None and gap.sender == self._injector

    # -- is it what was done? ---------------------------------------------------------------------------------------

    def _precision(self, mark: Mark, labels: Sequence[str], covered: _Covered, tally: Tally) -> None:
        for gap in self._gaps:
            if gap.end < self._begin or gap.end > self._end:
                continue
            if self._named(gap, mark, labels) or self._in_chain(gap, mark, labels):
                tally.counts["named"] += 1
                tally.counts["false"] += not covered.touches(gap.begin, gap.end)

    def _shams(
        self,
        shams: Iterable[_Disturbance],
        several: Sequence[_Disturbance],
        mark: Mark,
        labels: Sequence[str],
        covered: _Covered,
        tally: Tally,
    ) -> None:
        """Each judged as one of ``several`` in turn. A gap that one of the kind explains is no chance."""
        for sham, like in zip(shams, cycle(several), strict=False):
            since, until = (sham.at + time - like.at for time in (like.since, like.until))
            if until > self._end:
                continue
            gaps = (self._gaps[i] for i in self._overlapping(since, until))
            hit = any(
                (self._named(gap, mark, labels) or self._in_chain(gap, mark, labels))
                and not covered.touches(gap.begin, gap.end)
                for gap in gaps
            )
            also = "also_" if self._is_open(sham.at) else ""
            tally.counts.update({f"{also}shams": 1, f"{also}chance": hit})


def _kind_of(label: str) -> str:
    return label.partition(":")[0]


def _hides(gap: _Gap, labels: Iterable[str]) -> bool:
    """Whether a gap may hold it without naming it: it has more events than are kept, or another task came, which it
    then was for, or which made it needless."""
    for_one = all(_kind_of(label) in _FOR_ONE for label in labels)
    return gap.more > 0 or (not for_one and any(_kind_of(label) in _COMES for label in gap.chain))


def _is_sent(label: str) -> bool:
    return _kind_of(label) in ("call", "ipi") or label == "vector:reschedule"


class _Covered:
    """The times in which something of ours was at work."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(spans)
        self._begins = [begin for begin, _ in ordered]
        self._ends = list(accumulate((end for _, end in ordered), max))

    def touches(self, begin: int, end: int) -> bool:
        i = bisect_right(self._begins, end) - 1
        return i >= 0 and self._ends[i] >= begin


def _labels(mark: Mark, several: Iterable[_Disturbance]) -> tuple[str, ...]:
    said = {each.label for each in several if each.label is not None}
    return tuple(sorted(said)) or mark.labels


def _gaps(lines: Iterable[Mapping[str, Any]]) -> Iterator[_Gap]:
    for line in lines:
        sender = line.get("sender")
        chain = tuple(str(event[1]) for event in line.get("chain") or ())
        class_, cause = line.get("class"), line.get("cause")
        tid = sender.get("tid") if isinstance(sender, Mapping) else None
        yield _Gap(
            line["at_ns"],
            line["at_ns"] + line["gap_ns"],
            class_,
            cause,
            chain,
            line.get("more", 0),
            tid,
            line.get("tid"),
        )


def _disturbances(observed: Observed) -> Iterator[_Disturbance]:
    for line in observed.disturbances:
        kind, at, end, effect = str(line["kind"]), line["at_ns"], line["end_ns"], line.get("effect_ns")
        name = line.get("name")
        if effect is not None:
            around = observed.clock_error_ns + 1  # of rounding
            since, until = effect - around, effect + around
        else:
            waited = kind in _WAITED_FOR or kind in BY_TASK
            since, until = at, end if waited else end + AFTER_NS
        yield _Disturbance(kind, at, since, max(until, since), f"{kind}:{name}" if name is not None else None)
