# SPDX-License-Identifier: Apache-2.0
"""What a lane has done and has still to do: an index of the execution's folder, in memory.

The folder is the truth. While a process holds the lane's lock nobody else writes there, so it is read once, and what
is written since is added.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, Protocol

from ..agent.spec import FAULTS, RunSpec, SpecError
from ..config.bench import CONTROL_BENCH, Bench, load_bench
from ..store.files import BrokenResult
from ..store.record import CorruptTransfer, RunContext
from ..store.runs import load_run, write_attempt, write_run
from ..target.deploy import agent_zip
from .execution import Execution

#: What the bookkeeping calls a run that the target measured and judged invalid; its attempt is the environment's.
_INVALID = "invalid"
#: Characters of a reason that are kept: a target may send megabytes.
_MOST_REASON = 2000


class Emit(Protocol):
    def __call__(self, kind: str, /, **fields: Any) -> None: ...


class Ledger:
    """The runs of ``target`` in ``execution``. ``facts`` are those of the last contact: results are identified by them.

    ``proof`` is what was seen of the boot that runs, of a campaign that boots.

    ``finished`` runs lie in the folder; ``given_up`` have used up their tries in this carrying-out (a resumed
    execution has them again).
    """

    def __init__(self, execution: Execution, target: str, emit: Emit) -> None:
        self.wanted = execution.run_names[target]
        self.finished: set[str] = set()
        self.given_up: set[str] = set()
        self.facts: Mapping[str, Any] = {}
        self.proof: Mapping[str, Any] = {}
        self._execution = execution
        self._target = target
        self._emit = emit
        self._cells = {cell.id: cell for cell in execution.plan.cells_of(target)}
        self._metrics = {name: _metrics(bench) for name, bench in execution.plan.benches.items()}
        controlled = any(cell.control for cell in self._cells.values())
        self._control = _metrics(load_bench(CONTROL_BENCH)) if controlled else {}
        self._attempts: defaultdict[str, set[int]] = defaultdict(set)
        self._retry = execution.plan.campaign.retry
        self._asked: set[str] = set()
        self._tries: Counter[tuple[str, str]] = Counter()

    def read(self) -> None:
        """Read the folder: once the lane's lock is ours."""
        self.finished = self._execution.finished(self._target) & self.wanted
        self._attempts.clear()
        for name in self._execution.attempts(self._target):
            run, _, number = name.rpartition("-a")
            if number.isdecimal():
                self._attempts[run].add(int(number))

    @property
    def settled(self) -> int:
        """How many runs need nothing more: it grows whenever something was achieved."""
        return len(self.finished) + len(self.given_up)

    @property
    def complete(self) -> bool:
        return self.finished >= self.wanted

    def open(self, run: str) -> bool:
        """Whether ``run`` is still to be measured."""
        return run in self.wanted and run not in self.finished and run not in self.given_up

    def begin(self, run: str) -> int:
        """The number of the attempt that is asked of the target now."""
        self._asked.add(run)
        return self._next_attempt(run)

    def _next_attempt(self, run: str) -> int:
        return max(self._attempts[run], default=0) + 1

    def keep(self, run: str, record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Keep what a run left, as a finished run or as a failed attempt. Believes nothing of what it is given."""
        validity = record.get("validity")
        state = validity.get("state") if isinstance(validity, Mapping) else None
        log = files.get("log.txt", b"")
        if record.get("status") != "ok":
            fault = str(record.get("fault"))
            self.fail(run, str(record.get("reason")), fault if fault in FAULTS else "bug", record=record, log=log)
        elif state == _INVALID and self._retry.invalid and self._may_retry(run, _INVALID):
            assert isinstance(validity, Mapping)
            self.fail(run, _why_invalid(validity), "environment", kind=_INVALID, record=record, log=log)
        else:
            self._write(run, record, files)

    def _write(self, run: str, record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        try:
            self._check_asked(run, record)
            path = write_run(self._execution.path, self._target, record, files, self._context(run))
            kept = load_run(path)
        except (SpecError, BrokenResult, CorruptTransfer) as error:
            fault = "bug" if isinstance(error, SpecError) else error.fault
            self.fail(run, f"the target's record cannot be used: {error}", fault, log=files.get("log.txt", b""))
            return
        self.finished.add(run)
        why = {"reason": _why_invalid(kept.document["validity"])} if kept.state == _INVALID else {}
        self._emit("run-stored", run=run, state=kept.state, **why)

    def _check_asked(self, run: str, record: Mapping[str, Any]) -> None:
        """A record is of what the plan asked for, or it is no result of this cell. Its placement may be older."""
        spec = RunSpec.from_json(record.get("spec"), "record.spec")
        if spec.run != run:
            raise SpecError(f"record.spec.run: {spec.run} instead of {run}")
        cell = self._cells[spec.cell]
        asked = (cell.bench, cell.mode, cell.load, dict(cell.params), cell.settle_ns, cell.duration_ns)
        found = (spec.bench, spec.mode, spec.load, spec.probe.params, spec.settle_ns, spec.duration_ns)
        if found != asked or (spec.control is not None) != cell.control:
            raise SpecError("record.spec: it is not what was asked for")

    def fail(
        self,
        run: str,
        reason: str,
        fault: str,
        *,
        kind: str | None = None,
        record: Mapping[str, Any] | None = None,
        log: bytes = b"",
        final: bool = False,
    ) -> None:
        """Keep a failed attempt, and decide by its ``kind`` (by default its ``fault``) whether the run is tried again.

        An attempt that is kept already is not kept, or counted, twice: the process that kept it was killed before it
        could tell the target. A ``final`` one is not tried again in any case.
        """
        kind = kind or fault
        attempt = _attempt_of(record) or self._next_attempt(run)
        if attempt in self._attempts[run]:
            return
        reason = reason[:_MOST_REASON]
        retried = not final and self._may_retry(run, kind)
        try:
            self._write_attempt(run, attempt, reason, fault, record, log)
        except SpecError:  # what it sent cannot even be written down
            self._write_attempt(run, attempt, reason, fault, None, log)
        self._attempts[run].add(attempt)
        if run in self._asked:
            self._tries[run, kind] += 1
        if not retried:
            self.given_up.add(run)
        self._emit("run-failed", run=run, reason=reason, fault=fault, retried=retried)

    def _write_attempt(
        self, run: str, attempt: int, reason: str, fault: str, record: Mapping[str, Any] | None, log: bytes
    ) -> None:
        cell, _, repeat = run.rpartition("-r")
        write_attempt(
            self._execution.path, self._target, cell=cell, repeat=int(repeat), attempt=attempt, reason=reason,
            fault=fault, context=self._context(run), record=record, log=log,
        )  # fmt: skip

    def _may_retry(self, run: str, kind: str) -> bool:
        """What an earlier carrying-out asked for, and the spool still held, takes no try from this one."""
        allowed = {"infrastructure": self._retry.infrastructure, _INVALID: self._retry.invalid}.get(kind, 0)
        return run not in self._asked or self._tries[run, kind] < allowed

    def _context(self, run: str) -> RunContext:
        cell, _, repeat = run.rpartition("-r")
        return RunContext(
            campaign=self._execution.campaign,
            execution=self._execution.id,
            session=(int(repeat) - 1) // self._execution.plan.repeat + 1,
            metrics=self._metrics[self._cells[cell].bench],
            agent_sha256=agent_zip()[1],
            facts=self.facts,
            proof=self.proof,
            control=self._control,
            kernel=self._cells[cell].kernel,
            boot=self._cells[cell].boot,
        )


def _metrics(bench: Bench) -> dict[str, dict[str, Any]]:
    return {key: metric.model_dump(mode="json", exclude_none=True) for key, metric in bench.metrics.items()}


def _why_invalid(validity: Mapping[str, Any]) -> str:
    reasons = validity.get("reasons")
    texts = [
        str(each.get("text"))
        for each in (reasons if isinstance(reasons, list) else [])
        if isinstance(each, Mapping) and each.get("state") == _INVALID
    ]
    return "invalid: " + ("; ".join(texts) or "the target gives no reason")


def _attempt_of(record: Mapping[str, Any] | None) -> int | None:
    """The number under which an attempt was asked for; None if the record does not say so."""
    try:
        return None if record is None else RunSpec.from_json(record.get("spec")).attempt
    except SpecError:
        return None
