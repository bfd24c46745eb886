# SPDX-License-Identifier: Apache-2.0
"""Carrying out a batch: knobs and loads once for runs of equal needs, each run into the spool, everything put back."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any, Mapping, Protocol

from . import VERSION
from .blobs import Blobs
from .control import Control
from .held import HeldEvents
from .kmsg import Kmsg
from .knobs import Knob, Outcome, all_knobs
from .knobs.partition import Partition
from .loads import Load
from .loads import make as make_load
from .loads import needs as load_needs
from .measure import Measurement, Wait
from .modes import Mode
from .modes import from_spec as mode_from_spec
from .paths import Paths
from .probe import one_line
from .spec import Batch, RunRecord, RunSpec, to_json
from .spool import Entry, Spool, nearly_full, storage_full
from .system import AgentError, Tree, write_durably
from .undo import Undo

_RUNNING = "running.json"


class Cancelled(Exception):
    """The controller wants the batch to end now."""


class Publisher(Protocol):
    """Where news of a batch goes: the connection of the controller, if there is one."""

    def event(self, kind: str, **details: Any) -> None: ...

    def finished(self, entry: Entry) -> None:
        """Push a run, and wait a little for its acknowledgement. Raises :class:`Cancelled`."""

    def measuring(self, on: bool) -> None:
        """From now on (not) a word but urgent answers."""


class Runner:
    """One batch. ``facts`` are the machine's, ``marker`` what all our processes carry, ``spare`` those not to kill."""

    def __init__(
        self,
        batch: Batch,
        paths: Paths,
        tree: Tree,
        spool: Spool,
        undo: Undo,
        *,
        facts: Mapping[str, Any],
        marker: str,
        spare: frozenset[int],
        wait: Wait,
        publisher: Publisher,
    ) -> None:
        self.batch = batch
        self.pending = list(batch.runs)
        self.current = batch.runs[0].run if batch.runs else ""  # the last one stays until all is put back
        self.put_back: list[dict[str, Any]] = []  # at the end: what was, and what could not be
        self._paths = paths
        self._tree = tree
        self._spool = spool
        self._undo = undo
        self._facts = facts
        self._marker = marker
        self._spare = spare
        self._wait = wait
        self._publisher = publisher
        self._blobs = Blobs(paths.deploy)
        self._kmsg = Kmsg(tree)
        self._affinity = sorted(os.sched_getaffinity(0))
        self._all_knobs: dict[str, Knob] = all_knobs(tree)
        self._partition: Knob = Partition(tree)
        self._knobs: list[tuple[Knob, Outcome]] = []
        self._segment: list[tuple[str, list[int], list[int]]] = []
        self._load: Load | None = None
        self._load_key: tuple[Any, ...] = ()
        self._binaries: dict[str, str] = {}
        self._held = HeldEvents(batch.runs, wait)

    def run(self) -> dict[str, Any]:
        """All runs, in order. Returns what ``batch-finished`` says; the machine is as it was found by then.

        Also when an exception passes through: the machine is put back first.
        """
        done = failed = 0
        cancelled = False
        stopped: AgentError | None = None
        try:
            self._undo.record([{"kind": "processes", "marker": self._marker}])
            sequence = reserve(self._paths.state, len(self.batch.runs))
            for spec in self.batch.runs:
                entry = self._spooled(spec) or self._attempt(spec, sequence)
                sequence += 1
                done, failed = (done + 1, failed) if entry.status == "ok" else (done, failed + 1)
                self.pending.remove(spec)
                self._publisher.finished(entry)
        except Cancelled:
            cancelled = True
        except AgentError as error:
            stopped = error
        except OSError as error:
            stopped = storage_full(error, "batch")
        finally:
            self.put_back = self._put_back()
        return {
            "execution": self.batch.execution,
            "done": done,
            "failed": failed,
            "cancelled": cancelled,
            "remaining": [spec.run for spec in self.pending],
            "stopped": stopped.to_json() if stopped else None,
            "restored": [each for each in self.put_back if not each["ok"]],
        }

    def _spooled(self, spec: RunSpec) -> Entry | None:
        """A run that an earlier, interrupted batch finished, and nobody has fetched yet: not measured twice."""
        entry = self._spool.get(self.batch.execution, spec.run)
        return entry if entry is not None and entry.attempt >= spec.attempt else None

    def _attempt(self, spec: RunSpec, sequence: int) -> Entry:
        """Measure and spool. Raises :class:`AgentError` only where the rest of the batch is as hopeless."""
        self.current = spec.run
        execution = self.batch.execution
        self._publisher.event("run-started", execution=execution, run=spec.run, attempt=spec.attempt)
        self._publisher.measuring(True)
        told = False
        try:
            self._check_space()
            write_running(self._paths.runtime, execution, spec)
            folder = self._spool.begin(execution, spec.run)
            record, log = self._measure(spec, folder, sequence)
            entry = finish(self._spool, execution, record, log)
            told = True
            return entry
        except AgentError as error:
            told = True
            details = {"execution": execution, "run": spec.run, "attempt": spec.attempt}
            self._publisher.event("run-failed", **details, error=error.to_json())
            raise
        except Cancelled:
            told = True
            raise
        finally:
            self._spool.abandon(execution, spec.run)
            if told:  # else whatever ends us makes a failed run of this one
                forget_running(self._paths.runtime)
            self._publisher.measuring(False)

    def _measure(self, spec: RunSpec, folder: str, sequence: int) -> tuple[RunRecord, bytes]:
        try:
            mode = self._admit(spec)
            binary = self._binary(spec.probe.sha256)
            self._step_aside(spec)
            self._held.before(spec, binary)
            self._set_knobs(spec, mode)
            load = self._start_load(spec)
        except AgentError as error:
            return failed_record(spec, sequence, error), b""
        measurement = Measurement(
            spec,
            mode,
            binary,
            folder,
            load=load,
            knobs=self._knobs,
            kmsg=self._kmsg,
            tree=self._tree,
            affinity=self._affinity,
            sequence=sequence,
            wait=self._wait,
            control=None if spec.control is None else Control(spec, self._binary, folder, self._affinity),
            held=self._held.told,
        )
        record = measurement.run()
        if record.status != "ok" or record.load.get("ended"):
            self._stop_load()  # whatever state it is in, the next run gets a fresh one
        return record, measurement.log

    def _binary(self, sha256: str) -> str:
        """The path of an uploaded probe, verified before its first use in this batch."""
        if sha256 not in self._binaries:
            self._binaries[sha256] = self._blobs.verified(sha256)
        return self._binaries[sha256]

    def _admit(self, spec: RunSpec) -> Mode:
        mode = mode_from_spec(spec.mode)
        reasons = mode.needs(self._facts, spec.cpus, spec.housekeeping)
        reasons += mode.suits(helper=bool(spec.helpers), polls=False)  # which bench polls, the plan knows
        reasons += load_needs(spec.load, self._facts, spec.rest)
        if reasons:
            raise AgentError("environment", "unsupported", "; ".join(reasons))
        return mode

    def _check_space(self) -> None:
        os.makedirs(self._spool.folder, mode=0o700, exist_ok=True)
        full = nearly_full(self._spool.folder)
        if full is not None:
            raise full

    def _step_aside(self, spec: RunSpec) -> None:
        """The agent itself keeps to the housekeeping CPUs, but for those that the control and helpers have."""
        if spec.rest:
            try:
                os.sched_setaffinity(0, spec.rest)
            except OSError as error:
                raise AgentError(
                    "environment", "affinity", f"housekeeping CPUs {spec.rest}: {error.strerror}"
                ) from None

    def _set_knobs(self, spec: RunSpec, mode: Mode) -> None:
        """What mode and campaign ask for, in the order of the knobs. What the run before had as well stays.

        It is a stack: what lies on a knob that is to go is put back before it, and set again.
        """
        wanted = self._wanted(spec, mode)
        same = 0
        while same < min(len(wanted), len(self._segment)) and wanted[same] == self._segment[same]:
            same += 1
        self._restore_knobs(keep=same)
        for step in wanted[same:]:
            name, cpus, housekeeping = step
            knob = self._partition if name == self._partition.name else self._all_knobs[name]
            self._segment.append(step)
            self._knobs.append((knob, knob.set(cpus, housekeeping, self._undo)))
        if mode.partitioned and not self._knobs[-1][1].ok:
            self._refuse_partition()

    def _refuse_partition(self) -> None:
        """The run is not measured in another mode than was asked for."""
        knob, outcome = self._knobs[-1]
        self._restore_knobs(keep=len(self._knobs) - 1)
        errno = f" ({outcome.errno})" if outcome.errno else ""
        raise AgentError("environment", "partition", f"no partition: {outcome.reason}{errno}", knob.advise(outcome))

    def _wanted(self, spec: RunSpec, mode: Mode) -> list[tuple[str, list[int], list[int]]]:
        """Names of knobs, each with the CPUs that it is for."""
        unknown = [name for name in spec.tune if name not in self._all_knobs]
        if unknown:
            raise AgentError("user", "unknown-knob", f"tune: this agent has no knob {', '.join(unknown)}")
        names = {*mode.knobs, *spec.tune}
        found = []
        for name, knob in self._all_knobs.items():
            if name in names:
                cpus = self._affinity if knob.roams and not mode.pinned else spec.cpus
                beside = spec.helpers if knob.helpers else []
                found.append((name, list(dict.fromkeys([*cpus, *beside])), list(spec.housekeeping)))
        if mode.partitioned:  # last: what it takes from others is given back before anything else is
            found.append((self._partition.name, list(spec.cpus), list(spec.housekeeping)))
        return found

    def _restore_knobs(self, keep: int = 0) -> list[dict[str, Any]]:
        """All but the first ``keep``."""
        gone = self._knobs[keep:]
        del self._knobs[keep:], self._segment[keep:]
        for knob, _ in reversed(gone):
            knob.restore()
        return self._undo.play(only=frozenset(knob.name for knob, _ in gone)) if gone else []

    def _start_load(self, spec: RunSpec) -> Load:
        key = (spec.load, spec.rest)
        if self._load is None or key != self._load_key:
            left = self._stop_load()
            if left:
                pids = ", ".join(map(str, left))
                what = f"processes of load {self._load_key[0].name} do not die, not by SIGKILL either: {pids}"
                raise AgentError("environment", "load-stays", what, "see dmesg on the target, and reboot it")
            self._load = make_load(spec.load, spec.rest, self._tree)
            self._load.start()
            self._load_key = key
        return self._load

    def _stop_load(self) -> list[int]:
        """Returns what is left of it: nothing, unless it hangs in the kernel."""
        load, self._load = self._load, None
        return [] if load is None else load.stop()

    def _put_back(self) -> list[dict[str, Any]]:
        self._stop_load()
        self._held.close()
        restored = self._restore_knobs()
        restored += self._undo.play(spare=self._spare)
        os.sched_setaffinity(0, self._affinity)
        self._kmsg.close()
        self._blobs.prune(self._binaries)
        return restored


def failed_record(spec: RunSpec, sequence: int, error: AgentError) -> RunRecord:
    return RunRecord(
        run=spec.run,
        status="failed",
        spec=to_json(spec),
        agent_version=VERSION,
        sequence=sequence,
        fault=error.fault,
        reason=one_line(error),
    )


def finish(spool: Spool, execution: str, record: RunRecord, log: bytes) -> Entry:
    """Seal the entry of a run. The record lists the files beside it; the MANIFEST lists the record as well."""
    files = {"log.txt": log}
    listed = spool.describe(execution, record.run, files)
    text = json.dumps(to_json(replace(record, files=listed)), allow_nan=False)
    return spool.finish(execution, record.run, {**files, "record.json": text.encode()})


def reserve(state: str, count: int) -> int:
    """Take ``count`` sequence numbers for good, in one write; returns the first."""
    path = os.path.join(state, "sequence")
    try:
        with open(path, "rb") as file:
            last = int(file.read(32))
    except (OSError, ValueError):
        last = 0
    write_durably(path, str(last + count).encode())
    return last + 1


def write_running(runtime: str, execution: str, spec: RunSpec) -> None:
    """Say which run is under way, for whoever finds us dead. In memory: nothing to be written during a measurement."""
    with open(os.path.join(runtime, _RUNNING), "w", encoding="ascii") as file:
        json.dump({"execution": execution, "spec": to_json(spec)}, file)


def forget_running(runtime: str) -> None:
    try:
        os.unlink(os.path.join(runtime, _RUNNING))
    except OSError:
        return


def bury(paths: Paths, reason: str) -> str | None:
    """Make a failed record of the run that was under way when the agent died, if there was one; its name."""
    try:
        with open(os.path.join(paths.runtime, _RUNNING), "rb") as file:
            found = json.load(file)
        execution, spec = str(found["execution"]), RunSpec.from_json(found["spec"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    spool = Spool(paths.state)
    done = spool.get(execution, spec.run)
    try:
        spool.abandon(execution, spec.run)
        if done is None or done.attempt < spec.attempt:
            spool.begin(execution, spec.run)
            record = failed_record(spec, 0, AgentError("infrastructure", "agent-died", reason))
            finish(spool, execution, record, b"")
    except AgentError:
        return None
    finally:
        forget_running(paths.runtime)
    return spec.run
