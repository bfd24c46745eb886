# SPDX-License-Identifier: Apache-2.0
"""Runs as a trace for the Perfetto viewer: when the core was interrupted, and by what, beside others' traces of it.

A run is a group of tracks: per measured CPU its gaps as slices, with the events that lay in each as instants; per CPU
the time stolen so far, in all and by cause, as counters; what was done on purpose as instants; the control's gaps.
Nothing is kept in memory but the run at hand's few totals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .causes import in_words
from .clocks import Clock, Moment, begins, clock_of, cpu_of, moment_of, results_of, with_monotonic
from .documents import LARGEST, at, objects, whole
from .gaps import CONTROL, Gap, GapList, disturbances_of, gaps_of, lists_of
from .pftrace import TraceWriter
from .runs import Run, iter_runs

#: Causes that have a counter of their own, by stolen time; the others have one together.
COUNTED = 12
#: Slices that overlap lie on tracks beside each other: so many, then the rest is left out, and said.
_LANES = 8
#: Of what is wrong, so many are named.
_NAMED = 5
#: By which (ns) one gap may reach into the next, where both are rounded.
_ROUNDING = 2
_OTHER = "other causes"
#: Lists by name: what is in them, and one of it.
_KINDS = {"gaps": ("gaps", "gap"), "late": ("late wake-ups", "late wake-up"), "slow": ("slow pieces", "slow piece")}


def write_trace(path: Path, out: BinaryIO, warnings: list[str]) -> None:
    """Write the runs under ``path`` to ``out`` as one trace.

    Runs of one boot lie at the machine's CLOCK_BOOTTIME, as those of other tracers do; runs of several boots or
    machines at their time of day. What cannot be read is named in ``warnings``, and left out.
    """
    boots: set[tuple[str, str]] = set()
    executions: set[str] = set()
    order: list[tuple[Moment, Path]] = []
    for run in iter_runs(path, warnings):
        begin = begins(run)
        if begin is None:
            warnings.append(f"{run.path}: no time of its begin")
            continue
        boots.add((run.target, str(at(run.document, "facts_before", "boot_id"))))
        executions.add(str(run.document["execution"]))
        order.append((begin, run.path))
    clock = "realtime" if len(boots) > 1 else "boottime"
    writer = TraceWriter(out, clock)
    for rank, (_, folder) in enumerate(sorted(order, key=lambda each: (each[0][clock], each[1]))):
        # What could be read a moment ago can be read now, or is named once more.
        for run in iter_runs(folder, warnings):
            _Writing(writer, run, clock, rank, warnings, named_by_execution=len(executions) > 1).run()


class _Writing:
    """One run into a trace."""

    def __init__(
        self, writer: TraceWriter, run: Run, clock: str, rank: int, warnings: list[str], *, named_by_execution: bool
    ) -> None:
        self.writer = writer
        self._run = run
        self._clock = clock
        self._warnings = warnings
        self._top = self._uuid()
        self._rank = 0
        execution = f" {run.document['execution']}" if named_by_execution else ""
        writer.track(self._top, f"{run.target} {run.name}{execution}", rank=rank, about=_about(run))

    def run(self) -> None:
        run = self._run
        results = results_of(run)
        begin = begins(run)
        assert begin is not None
        if self._clock == "boottime":
            self.writer.clocks(with_monotonic(begin, run).readings)
        else:
            self.writer.clocks({"realtime": begin["realtime"]})
        clocks = {cpu_of(each): clock_of(each, begin, self._clock) for each in results}
        span = next(iter(clocks.values()), Clock(begin[self._clock]))
        length_ns = max((whole(each.get("duration_ns")) or 0 for each in results), default=0)
        self.writer.begin(span.at(0), self._top, _title(run), run.state, _facts(run, self._clock))
        for each in lists_of(run):
            if each.role == CONTROL:
                result = run.control.get("result")
                clocks = {cpu_of(result): clock_of(result, begin, self._clock)} if isinstance(result, Mapping) else {}
            self._gaps(each, clocks, results)
        self._disturbances({cpu_of(each): clock_of(each, begin, self._clock) for each in results})
        self.writer.end(span.at(length_ns), self._top)
        end = moment_of(results[0].get("ended")) if results else None
        if end is not None and self._clock == "boottime" and end["boottime"] > begin["boottime"]:
            self.writer.clocks(end.readings)

    def _gaps(self, of: GapList, clocks: Mapping[int | None, Clock], results: list[Mapping[str, Any]]) -> None:
        causes = {cpu_of(each): _causes(each) for each in results}
        tracks: dict[int | None, _GapTrack] = {}
        strange: dict[int | None, None] = {}  # CPUs, in order
        for gap in gaps_of(self._run, of, self._warnings):
            clock = clocks.get(gap.cpu)
            if clock is None:
                if len(strange) < _NAMED:
                    strange.setdefault(gap.cpu)
                continue
            if gap.cpu not in tracks:
                tracks[gap.cpu] = _GapTrack(self, of, gap.cpu, clock, causes.get(gap.cpu, ()))
            tracks[gap.cpu].add(gap)
        if strange:
            cpus = ", ".join(map(str, strange))
            self._warnings.append(f"{self._run.path}: {of.name} of CPU {cpus}, which was not measured")
        for cpu, track in tracks.items():
            if track.left_out:
                self._warnings.append(
                    f"{self._run.path}: {of.name} of CPU {cpu}: {track.left_out} that overlap too many others"
                )

    def _disturbances(self, clocks: Mapping[int | None, Clock]) -> None:
        tracks: dict[int | None, int] = {}
        for each in disturbances_of(self._run, self._warnings):
            if each.cpu not in clocks:
                continue
            if each.cpu not in tracks:
                tracks[each.cpu] = self.track(f"disturbances of {named(each.cpu)}")
            args: dict[str, int | str] = {"done after (ns)": each.end_ns - each.at_ns}
            if each.effect_ns is not None:
                args["effect after (ns)"] = each.effect_ns - each.at_ns
            if each.name is not None:
                args["name"] = each.name
            name = "nothing, on purpose" if each.kind == "none" else each.kind
            self.writer.instant(clocks[each.cpu].at(each.at_ns), tracks[each.cpu], name, "disturbance", args)

    def track(self, name: str, parent: int | None = None) -> int:
        """One more track below this run's, or below ``parent``."""
        self._rank += 1
        uuid = self._uuid(self._rank)
        self.writer.track(uuid, name, parent=parent or self._top, rank=self._rank)
        return uuid

    def counter(self, name: str, parent: int) -> int:
        self._rank += 1
        uuid = self._uuid(self._rank)
        self.writer.counter_track(uuid, name, parent=parent, rank=self._rank, scale=str(parent))
        return uuid

    def _uuid(self, *path: object) -> int:
        """The same for the same track in any trace, so that two of them may be opened together; never 0."""
        document = self._run.document
        words = [document["campaign"], document["execution"], self._run.target, self._run.name, *path]
        digest = hashlib.sha256("\0".join(map(str, words)).encode("utf-8", "backslashreplace")).digest()
        return int.from_bytes(digest[:8], "little") >> 1 | 1


class _GapTrack:
    """The gaps of one CPU, and what they add up to."""

    def __init__(self, writing: _Writing, of: GapList, cpu: int | None, clock: Clock, causes: Iterable[str]) -> None:
        self._writing, self._writer, self._clock = writing, writing.writer, clock
        name = of.name.removeprefix("control.")
        several, self._what = _KINDS.get(name, (name, name))
        control = "control, " if of.role == CONTROL else ""
        self._name = f"{control}{several} of {named(cpu)}"
        self._lanes = [[writing.track(self._name), 0]]  # each a track, and the end of its last slice
        self._group = writing.track(f"{control}time taken from {named(cpu)}")
        self._counters: dict[str, list[int]] = {}  # a track, and what was counted
        self._own = frozenset(causes)
        self.left_out = 0

    def add(self, gap: Gap) -> None:
        begin, end = self._clock.at(gap.at_ns), self._clock.at(gap.at_ns + gap.length_ns)
        lane = self._lane(begin)
        if lane is None:
            self.left_out += 1
            return
        begin, end = max(begin, lane[1]), max(end, lane[1])
        lane[1] = end
        track = lane[0]
        name = in_words(gap.cause) if gap.cause else gap.class_ or self._what
        self._writer.begin(begin, track, name, gap.class_ or self._what, _args(gap))
        for offset, what in gap.chain:
            within = min(end, max(begin, self._clock.at(gap.at_ns + offset)))
            self._writer.plain_instant(within, track, in_words(what), "event", what)
        self._writer.end(end, track)
        self._count("all", end, gap.length_ns)
        if gap.class_ is not None:
            cause = gap.cause or gap.class_
            self._count(in_words(cause) if cause in self._own else _OTHER, end, gap.length_ns)

    def _lane(self, begin: int) -> list[int] | None:
        for lane in self._lanes:
            if lane[1] <= begin + _ROUNDING:
                return lane
        if len(self._lanes) == _LANES:
            return None
        self._lanes.append([self._writing.track(f"{self._name}, at the same time ({len(self._lanes)})"), 0])
        return self._lanes[-1]

    def _count(self, name: str, at_ns: int, length_ns: int) -> None:
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = [self._writing.counter(name, self._group), 0]
            self._writer.count(self._clock.at(0), counter[0], 0)
        counter[1] = min(counter[1] + length_ns, LARGEST)
        self._writer.count(at_ns, counter[0], counter[1])


def named(cpu: int | None) -> str:
    return "the task (not pinned)" if cpu is None else f"CPU {cpu}"


def _args(gap: Gap) -> dict[str, int | str]:
    found: dict[str, int | str] = {"length (ns)": gap.length_ns}
    if gap.class_ is not None:
        found["class"] = gap.class_
    if gap.cause is not None:
        found["cause"] = gap.cause
    if gap.chain:
        more = f", and {gap.more} more" if gap.more else ""
        found["chain"] = ", ".join(f"{offset} {what}" for offset, what in gap.chain) + more
    if gap.address is not None:
        found["address"] = gap.address
    if gap.tid is not None:
        found["task came (tid)"] = gap.tid
    for key, value in (gap.sender or {}).items():
        found[f"sender {key}"] = value
    return found


def _title(run: Run) -> str:
    spec = run.document["spec"]
    words = (at(spec, "bench"), at(spec, "mode", "name"), at(spec, "load", "name"))
    return " ".join(word for word in words if isinstance(word, str)) or run.name


def _about(run: Run) -> str:
    return f"{run.document['campaign']} {run.document['execution']}: {run.target} {run.name}, {run.state}"


def _facts(run: Run, clock: str) -> dict[str, int | str]:
    """What one wants to know of a run before one believes its gaps."""
    document = run.document
    found: dict[str, int | str] = {"validity": run.state}
    reasons = [str(each.get("text")) for each in document["validity"].get("reasons") or ()]
    if reasons:
        found["reasons"] = "; ".join(reasons)
    kernel = document["identity"].get("kernel_release")
    if isinstance(kernel, str):
        found["kernel"] = kernel
    for key in ("campaign", "execution", "cell"):
        found[key] = str(document[key])
    found["times"] = "CLOCK_BOOTTIME" if clock == "boottime" else "time of day: the trace has runs of several boots"
    for result in results_of(run):
        told = result.get("attribution")
        if isinstance(told, Mapping):
            reason = f": {told['reason']}" if isinstance(told.get("reason"), str) else ""
            found[f"attribution, {named(cpu_of(result))}"] = f"{told.get('level')}{reason}"
        for name in _KINDS:
            if dropped := whole(at(result, name, "dropped")):
                found[f"{name} counted and not kept, {named(cpu_of(result))}"] = dropped
    return found


def _causes(result: Mapping[str, Any]) -> list[str]:
    """The causes of most stolen time, as the probe added them up; without one, the class."""
    stolen: dict[str, int] = {}
    for each in objects(at(result, "attribution", "causes")):
        if isinstance(cause := each.get("cause") or each.get("class"), str):
            stolen[cause] = stolen.get(cause, 0) + (whole(each.get("stolen_ns")) or 0)
    return sorted(stolen, key=lambda cause: -stolen[cause])[:COUNTED]
