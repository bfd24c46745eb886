# SPDX-License-Identifier: Apache-2.0
"""What the contact with a target decides: where it is measured, what it can do, and so what the next batch is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..agent.spec import Batch, ControlSpec, ProbeSpec, RunSpec, allowance_ns
from ..build import Built, build_probe
from ..config.bench import CONTROL_BENCH, Bench, load_bench
from ..errors import TargetUnfit
from ..plan import Booted, Cell, Placement, Seats, admit, lacks, place, placement_json, seats_of, sessions_of
from ..plan import Session as PlannedSession
from ..store.record import mapping
from ..target.deploy import agent_zip
from ..target.session import Session
from .events import now
from .execution import Execution
from .ledger import Ledger


@dataclass(frozen=True)
class Work:
    """``cells`` can run on ``placement`` with ``probes`` (by name); ``refused`` cannot: the reason by the cell's id.

    ``seats`` by the id of each cell that can run.
    """

    placement: Placement
    cells: tuple[Cell, ...]
    refused: Mapping[str, str]
    probes: Mapping[str, Built]
    seats: Mapping[str, Seats]
    #: What these cells want booted; None where the campaign boots nothing.
    booted: Booted | None = None
    #: The inventory declares that others may use the siblings of measured CPUs.
    smt_shared: bool = False


def work_out(execution: Execution, session: Session, booted: Booted | None = None) -> Work:
    """Admission and placement by the facts of this contact, and the probes built for its architecture.

    ``booted``: what runs, proved; its cells alone are looked at. Without it a campaign that boots has none yet.

    Raises TargetUnfit, BuildError.
    """
    target = session.target
    every = cells = execution.plan.cells_of(target.name)
    if execution.plan.boots:
        cells = tuple(cell for cell in cells if cell.booted == booted)
    try:
        facts = mapping(session.welcome.get("facts"), "facts")
        placement = place(facts, target, execution.plan.campaign.cpus)
        refused = {cell.id: reason for cell in cells if (reason := admit(cell, facts, placement)) is not None}
        refused |= _without_kernel(execution, every, facts)
        admitted = tuple(cell for cell in cells if cell.id not in refused)
        seats = {cell.id: seats_of(cell, facts, placement) for cell in admitted}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TargetUnfit(f"what the target says of itself cannot be used: {type(error).__name__}: {error}") from error
    arch = str(facts.get("arch") or session.contact.arch)
    names = {execution.plan.benches[cell.bench].probe for cell in admitted}
    if any(cell.control for cell in admitted):
        names.add(load_bench(CONTROL_BENCH).probe)
    probes = {name: build_probe(name, arch) for name in sorted(names)}
    return Work(placement, admitted, refused, probes, seats, booted, target.smt == "shared")


def _without_kernel(execution: Execution, cells: tuple[Cell, ...], facts: Mapping[str, Any]) -> dict[str, str]:
    """Of all cells, also those that want another boot: the kernels that this machine cannot have."""
    kernels = execution.plan.kernels
    whys = {name: lacks(kernel, facts.get("arch"), facts) for name, kernel in kernels.items()}
    return {cell.id: why for cell in cells if (why := whys.get(cell.kernel)) is not None}


def document_of(
    execution: Execution,
    session: Session,
    work: Work,
    refused: Mapping[str, str],
    boot: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """``lanes/<target>.json``, for `status`, the report, and whoever reads the results in a year.

    ``refused``: of all that was booted so far. ``boot``: what runs now, with its proof.
    """
    contact = session.contact
    return {
        "contacted": now(),
        "contact": {
            "user": contact.user,
            "sudo": contact.sudo,
            "python": ".".join(map(str, contact.python_version)),
            "deploy_root": contact.deploy_root,
            "notes": list(contact.notes),
        },
        "agent_sha256": agent_zip()[1],
        "probes": {name: {"sha256": built.sha256, "compiler": built.compiler} for name, built in work.probes.items()},
        "facts": session.welcome["facts"],
        "placement": placement_json(work.placement, work.seats.values()),
        "unsupported": [
            {"cell": cell.id, "bench": cell.bench, "mode": cell.mode.name, "load": cell.load.name, "reason": reason}
            for cell in execution.plan.cells_of(session.target.name)
            if (reason := refused.get(cell.id)) is not None
        ],
        "boot": None if boot is None else dict(boot),
        "failure": None,
    }


def next_session(execution: Execution, target: str, ledger: Ledger, refused: Collection[str]) -> PlannedSession | None:
    """The next session that has runs left, with those; ``refused`` are cells. None when nothing is left."""
    plan = execution.plan
    cells = [cell for cell in plan.cells_of(target) if cell.id not in refused]
    for session in sessions_of(cells, plan.repeat, plan.sessions, execution.id, boots=plan.boots):
        left = tuple((cell, repeat) for cell, repeat in session.runs if ledger.open(f"{cell.id}-r{repeat}"))
        if left:
            return replace(session, runs=left)
    return None


def batch_of(
    execution: Execution, target: str, session: PlannedSession, work: Work, ledger: Ledger, token: int
) -> Batch:
    """The runs of ``session``, to be handed to the agent at once."""
    runs = [_spec(execution, cell, repeat, work, ledger) for cell, repeat in session.runs]
    return Batch(execution.spool, target, token, session.index, runs)


def _spec(execution: Execution, cell: Cell, repeat: int, work: Work, ledger: Ledger) -> RunSpec:
    bench = execution.plan.benches[cell.bench]
    seats = work.seats[cell.id]
    run = f"{cell.id}-r{repeat}"
    return RunSpec(
        run=run,
        cell=cell.id,
        repeat=repeat,
        attempt=ledger.begin(run),
        bench=cell.bench,
        probe=ProbeSpec(bench.probe, work.probes[bench.probe].sha256, dict(cell.params), bench.helper or ""),
        mode=cell.mode,
        load=cell.load,
        cpus=list(work.placement.measured),
        housekeeping=list(work.placement.housekeeping),
        settle_ns=cell.settle_ns,
        duration_ns=cell.duration_ns,
        helpers=list(seats.helpers),
        load_cpus=list(seats.load),
        control=None if seats.control is None else _control(bench, cell, work, seats.control),
        tune=list(cell.tune),
        attribution=cell.attribution,
        smt="shared" if work.smt_shared else None,
    )


def _control(bench: Bench, cell: Cell, work: Work, cpu: int) -> ControlSpec:
    """The control's loop; where the cell measures by that loop itself, with the cell's own parameters."""
    own = load_bench(CONTROL_BENCH)
    params = cell.params if bench.probe == own.probe else own.options({})
    return ControlSpec(ProbeSpec(own.probe, work.probes[own.probe].sha256, dict(params)), cpu)


def longest_s(run: RunSpec | Cell) -> float:
    """The longest that a run may take on the target, in seconds: the agent kills it after that."""
    allowed_ns = allowance_ns(run.duration_ns, together=run.together, attribution=run.attribution)
    return (run.settle_ns + allowed_ns) / 1e9
