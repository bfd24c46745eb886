# SPDX-License-Identifier: Apache-2.0
"""One measurement: settle, snapshot, probes, snapshot, verdict. It leaves a :class:`RunRecord` and its files."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any, Callable, Mapping, Sequence

from . import VERSION
from .control import GRACE_S, Control
from .kmsg import Kmsg
from .knobs import Knob, Outcome
from .loads import Load
from .modes import Mode
from .probe import (
    ProbeProcess,
    command,
    one_line,
    paperwork,
    result_files,
    spooled_name,
    start_of,
)
from .snapshot import take
from .spec import READY_NS, RunRecord, RunSpec, to_json
from .spool import nearly_full, storage_full
from .system import AgentError, Tree, remove_tree
from .validity import Evidence, judge
from .validity.task import start_skew_ns

#: Waits until a time on the monotonic clock or until one of the descriptors is ready; raises when the batch must end.
Wait = Callable[[float, "tuple[int, ...]"], "set[int]"]


class Measurement:
    """Carries out ``spec`` in ``folder`` (the spool's, still invisible)."""

    def __init__(
        self,
        spec: RunSpec,
        mode: Mode,
        binary: str,
        folder: str,
        *,
        load: Load,
        knobs: Sequence[tuple[Knob, Outcome]],
        kmsg: Kmsg,
        tree: Tree,
        affinity: Sequence[int],
        sequence: int,
        wait: Wait,
        control: Control | None = None,
        held: Mapping[str, Any] | None = None,
    ) -> None:
        self._spec = spec
        self._mode = mode
        self._binary = binary
        self._folder = folder
        self._load = load
        self._knobs = knobs
        self._kmsg = kmsg
        self._tree = tree
        self._affinity = affinity
        self._wait = wait
        self._control = control
        self._held = held
        self._probes: list[ProbeProcess] = []
        self._outs: list[str] = []
        self._record = RunRecord(
            run=spec.run,
            status="failed",
            spec=to_json(spec),
            agent_version=VERSION,
            sequence=sequence,
            knobs=[outcome.to_json() for _, outcome in knobs],
        )
        self.log = b""

    def run(self) -> RunRecord:
        """The record of a run that ended well or badly. Only what ends the batch is raised."""
        try:
            self._settle()
            self._run_probes()
            self._finish()
        except AgentError as error:
            # A probe cannot tell a full disk from other trouble with its files; we can.
            self._fail(nearly_full(self._folder) or error)
        except OSError as error:
            self._fail(storage_full(error, "measuring"))
        finally:
            for probe in self._processes():
                probe.kill()
                probe.close()
            self._collect_log()
        return self._record

    def _fail(self, error: AgentError) -> None:
        self._record = replace(self._record, status="failed", fault=error.fault, reason=one_line(error))

    def _settle(self) -> None:
        end_s = time.monotonic() + self._spec.settle_ns / 1e9
        while time.monotonic() < end_s:
            self._wait(end_s, ())

    def _run_probes(self) -> None:
        cpus: list[int | None] = list(self._spec.cpus) if self._mode.pinned else [None]
        for cpu in cpus:
            os.mkdir(self._out(cpu), 0o700)
            self._outs.append(self._out(cpu))
        self._kmsg.mark()
        roaming = () if self._mode.pinned else self._affinity
        aside = paperwork(self._spec, self._affinity)
        beside = () if self._spec.control is None else (self._spec.control.cpu,)
        before = take(self._tree, self._spec.cpus, roaming, beside)
        self._load.begin()
        started_ns = time.monotonic_ns()
        self._record = replace(
            self._record,
            facts_before=before,
            started={"realtime_ns": before["realtime_ns"], "boottime_ns": before["boottime_ns"]},
        )
        together = self._spec.together
        for cpu in cpus:
            argv = command(self._binary, self._spec, self._mode, cpu, self._out(cpu), together=together)
            where = self._affinity if cpu is None else aside
            self._probes.append(ProbeProcess(argv, self._out(cpu), cpu, where, together=together))
        if self._control is not None:
            self._control.start()
        begin_s = self._begin_together() if together else time.monotonic()
        self._await_probes(begin_s + self._spec.allowance_ns / 1e9)
        elapsed_ns = time.monotonic_ns() - started_ns
        load = self._load.end()
        after = take(self._tree, self._spec.cpus, roaming, beside)
        self._record = replace(self._record, elapsed_ns=elapsed_ns, load=load, facts_after=after)

    def _begin_together(self) -> float:
        """Tell all of them one time to begin at, once they are ready: when that is, on time.monotonic()'s clock.

        Raises AgentError where a measured one ended before, or is not ready in time; a control answers for itself.
        """
        self._listen(time.monotonic() + READY_NS / 1e9, lambda probe: not probe.ready)
        for probe in self._processes():
            if probe.poll() is None and not probe.ready:
                probe.timed_out = True
                probe.kill()
        for probe in self._probes:
            if probe.timed_out:
                why = f"the probe on CPU {probe.cpu} was not ready to begin after {READY_NS // 10**9} s"
                raise AgentError("environment", "not-ready", why, "what keeps the target so busy?")
            if not probe.ready:
                probe.result()
                raise AgentError("bug", "not-ready", f"the probe on CPU {probe.cpu} did not ask when to begin")
        ready = [probe for probe in self._processes() if probe.ready]
        start_ns = start_of(len(ready), time.monotonic_ns())
        for probe in ready:
            probe.tell(start_ns)
        return start_ns / 1e9

    def _await_probes(self, deadline_s: float) -> None:
        """Silent until all ended; SIGKILL at the deadline."""
        for probe in self._listen(deadline_s, lambda _: True):
            probe.expire()

    def _listen(self, deadline_s: float, awaited: Callable[[ProbeProcess], bool]) -> list[ProbeProcess]:
        """Take what they say until none that runs is ``awaited`` any more; those that still are at the deadline.

        A stream that ended is not looked at again.
        """
        talking = {probe.output: probe for probe in self._processes()}
        while True:
            left = [probe for probe in self._processes() if probe.poll() is None and awaited(probe)]
            if left and not any(probe in self._probes for probe in left):  # the control alone: not for long
                deadline_s = min(deadline_s, time.monotonic() + GRACE_S)
            if not left or time.monotonic() >= deadline_s:
                return left
            for fd in self._wait(deadline_s, tuple(talking)):
                if not talking[fd].drain():
                    del talking[fd]

    def _processes(self) -> list[ProbeProcess]:
        control = self._control.process if self._control is not None else None
        return self._probes if control is None else [*self._probes, control]

    def _finish(self) -> None:
        measured = [(probe, probe.result()) for probe in self._probes]
        results = [result for _, result in measured]
        for probe, result in measured:
            if result.get("cpu") != probe.cpu:
                raise AgentError("bug", "bad-result", f"asked for CPU {probe.cpu}, the probe says {result.get('cpu')}")
        said = self._kmsg.collect()
        knobs = [self._verified(knob, outcome) for knob, outcome in self._knobs]
        seen = Evidence(
            self._spec,
            self._mode,
            self._record.facts_before,
            self._record.facts_after,
            results,
            self._record.load,
            knobs,
            said,
        )
        for probe, result in measured:
            for name, metric in result_files(result).items():
                target = os.path.join(self._folder, spooled_name(name, metric, probe.cpu))
                os.rename(os.path.join(probe.out, name), target)
        self._record = replace(
            self._record,
            status="ok",
            results=results,
            knobs=knobs,
            effective=self._effective(measured),
            validity=to_json(judge(seen)),
        )
        if self._control is not None:
            control = self._control.finish(self._record.facts_before, self._record.facts_after, results)
            self._record = replace(self._record, control=control)
        if said and said["lines"]:
            self.log += b"--- kernel log ---\n" + "\n".join(said["lines"]).encode() + b"\n"

    def _verified(self, knob: Knob, outcome: Outcome) -> dict[str, Any]:
        meanwhile = knob.verify(outcome) if outcome.ok else None
        return {**outcome.to_json(), "advice": knob.advise(outcome), "meanwhile": meanwhile}

    def _effective(self, measured: Sequence[tuple[ProbeProcess, dict[str, Any]]]) -> dict[str, Any]:
        """The mode as the task itself read it back, by CPU (``any`` where it was not pinned), and its nice value."""
        tasks = {}
        for probe, result in measured:
            helper = self._spec.helper_of(probe.cpu)  # the probe fails where it cannot put its helper there
            tasks["any" if probe.cpu is None else str(probe.cpu)] = {
                **(result.get("effective") or {}),
                "nice": probe.nice,
                **({} if helper is None else {"helper_cpu": helper}),
            }
        effective: dict[str, Any] = {"provider": self._mode.provider, "tasks": tasks}
        if len(measured) > 1:
            effective["start_skew_ns"] = start_skew_ns(result for _, result in measured)
        if self._held is not None:
            effective["held_events"] = dict(self._held)
        return effective

    def _out(self, cpu: int | None) -> str:
        return os.path.join(self._folder, "out-any" if cpu is None else f"out-cpu{cpu}")

    def _collect_log(self) -> None:
        """Keep what the probes said; remove their folders, with whatever else they left there."""
        said = b""
        for probe in self._processes():
            text = probe.log.bytes()
            if text:
                where = "any CPU" if probe.cpu is None else f"CPU {probe.cpu}"
                who = "probe" if probe in self._probes else "control"
                said += f"--- {who} on {where} ---\n".encode() + text.rstrip(b"\n") + b"\n"
        for out in [*self._outs, *([self._control.out] if self._control is not None else [])]:
            remove_tree(out)
        self.log = said + self.log
