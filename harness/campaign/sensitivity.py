# SPDX-License-Identifier: Apache-2.0
"""What attribution finds on targets: the bench `sense` carried out as any campaign, and its runs scored.

Each kind is to have :data:`~harness.stats.shares.ENOUGH` trials, and how many disturbances are one is known afterwards.
So the plan asks for :data:`RUNS` at most, and is stopped, in order, when there are as many, whatever came of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..agent.spec import STATES
from ..config.bench import load_bench
from ..config.inventory import Inventory, Target
from ..errors import IsolbenchError
from ..plan import Plan, build_plan
from ..plan.diagnosis import attributed, best_mode
from ..stats import causes
from ..stats.causes import LEVELS
from ..stats.quantiles import CONFIDENCE
from ..stats.sensitivity import Observed, score
from ..stats.shares import BAR, MET, NOTHING, Score, Sensitivity, total
from ..store.files import BrokenResult
from ..store.runs import Run, load_run, read_events, read_gaps
from ..store.sensitivity import CAMPAIGN, IDENTITY
from ..target.session import open_session
from .carry_out import carry_out
from .events import Event, Listener, now
from .execution import Execution, Stop
from .outcome import LaneOutcome, Outcome
from .visit import visit

#: Of a target, what is known so far.
Told = Callable[[str, Sensitivity], None]

BENCH = "sense"
#: At most. Runs are short, so that few disturbances more than needed are made.
RUNS = 24
DURATION_NS = 5 * 10**9
#: Between two disturbances, in the mean.
DISTANCE = "2ms"
#: The first that a target can have: where others may take the CPU, most of the time nothing is effective.
MODES = ("fifo", "pinned")
_ENOUGH = "each kind was tried as often as was to be"


@dataclass(frozen=True)
class About:
    """Of the newest run of the highest level of attribution: what was asked and had, and on what."""

    level: str = LEVELS[0]
    level_reason: str | None = None
    mode: str = ""
    threshold_ns: int | None = None
    unavailable: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """The runs of a target: how many ``finished``, by their ``states``; of those that are not invalid, which
    ``sensitivity`` is of, the ``usable``, and of these the ``complete``: no event is missing by the kernel's counts.
    """

    finished: int
    usable: int
    complete: int
    states: Counter[str]
    sensitivity: Sensitivity
    about: About


def modes_of(targets: Sequence[Target]) -> dict[str, str]:
    """By name the mode for each: the first of :data:`MODES` that it can have. One that cannot be asked has the first,
    and its lane will say why."""
    return {target.name: mode for target, mode in visit(targets, _mode_of)}


def _mode_of(target: Target) -> str:
    if target.disabled is not None:
        return MODES[0]
    try:
        with open_session(target, f"doctor/{target.name}") as session:
            return best_mode(session.welcome["facts"], target, MODES)[0] or MODES[0]
    except (IsolbenchError, KeyError, TypeError, ValueError, AttributeError):  # also facts that cannot be used
        return MODES[0]


def plan_of(modes: Mapping[str, str], inventory: Inventory, duration_ns: int = DURATION_NS) -> Plan:
    """A cell on each target, by name its mode: one CPU, nothing beside it, a cause for every gap."""
    bench = load_bench(BENCH)
    campaign = attributed(
        CAMPAIGN,
        "Is what happens found? Disturbances at known times, held against what attribution says.",
        bench,
        modes,
        duration_ns,
        {"distance": DISTANCE},
        repeat=RUNS,
    )
    return build_plan(campaign, inventory, {BENCH: bench})


def measure(
    execution: Execution, inventory: Inventory, *listeners: Listener, told: Told | None = None
) -> tuple[Outcome, dict[str, Scored]]:
    """Carry ``execution`` out until no target needs another run; the outcome, and the runs of each target scored.

    ``told`` hears after each run what is known of its target by then.
    """
    watch = Watch(execution, told)
    outcome = carry_out(execution, inventory, listeners=(*listeners, watch.listen), stop=watch.stop)
    return outcome, {target: scored(execution, target) for target in execution.plan.targets}


class Watch:
    """A listener: asks the lanes to stop when each target's runs suffice, or it has ended by itself."""

    def __init__(self, execution: Execution, told: Told | None = None) -> None:
        self.stop = Stop()
        self._told = told
        self._execution = execution
        self._wanting = set(execution.plan.targets)
        self._known: dict[Path, _One] = {}

    def listen(self, event: Event) -> None:
        target, ended = str(event.get("target")), event["kind"] == "lane-finished"
        if event["kind"] == "run-stored":
            sensitivity = scored(self._execution, target, self._known).sensitivity
            if self._told is not None:
                self._told(target, sensitivity)
            ended = not sensitivity.wanting()
        if ended:
            self._wanting.discard(target)
        if not self._wanting and not self.stop:
            self.stop.set(_ENOUGH, at_once=False)


@dataclass(frozen=True)
class _One:
    """A run: ``sensitivity`` is None of one that is not used."""

    state: str | None
    complete: bool = False
    sensitivity: Sensitivity | None = None
    about: About = About()


def scored(execution: Execution, target: str, known: dict[Path, _One] | None = None) -> Scored:
    """What lies in the folder now. A broken run is passed over: whoever reads the execution names it.

    Nothing is left out because events are missing: a disturbance that the kernel did not tell of is missed as well.
    ``known``: runs that were looked at before.
    """
    known = {} if known is None else known
    names = sorted(execution.finished(target), key=lambda name: (len(name), name))
    paths = [execution.path / "runs" / target / name for name in names]
    for path in paths:
        if path not in known:
            known[path] = _one(path)
    runs = [known[path] for path in paths]
    used = [(run, run.sensitivity) for run in runs if run.sensitivity is not None]
    return Scored(
        finished=len(runs),
        usable=len(used),
        complete=sum(run.complete for run, _ in used),
        states=Counter(run.state for run in runs if run.state is not None),
        sensitivity=total(sensitivity for _, sensitivity in used),
        about=max(
            (run.about for run, _ in reversed(used)), key=lambda about: LEVELS.index(about.level), default=About()
        ),
    )


def _one(path: Path) -> _One:
    """What a target sent is believed in nothing: of another shape than `sense` gives it, it is a broken run."""
    try:
        run = load_run(path)
        if run.state == "invalid":
            return _One(run.state)
        return _One(run.state, is_complete(run), score(observed_of(run)), about(run))
    except (BrokenResult, LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return _One(None)


def observed_of(run: Run) -> list[Observed]:
    """The measurements of a run, one for each CPU. Raises as :meth:`Observed.of`, and BrokenResult."""
    gaps, disturbances = list(read_gaps(run.path)), list(read_events(run.path, "disturbances"))
    return [
        Observed.of(
            each,
            [line for line in gaps if line["cpu"] == each["cpu"]],
            [line for line in disturbances if line["cpu"] == each["cpu"]],
        )
        for each in run.document["results"]
    ]


def about(run: Run) -> About:
    """Raises as :func:`observed_of`."""
    first, identity = run.document["results"][0], run.document["identity"]
    told, done, threshold_ns = first["attribution"], first["disturbances"], first["disturbances"].get("threshold_ns")
    reason = told.get("reason")
    return About(
        level=LEVELS[LEVELS.index(told["level"])],
        level_reason=None if reason is None else str(reason),
        mode=str(run.document["spec"]["mode"]["name"]),
        threshold_ns=None if threshold_ns is None else int(threshold_ns),
        unavailable={str(kind): str(why) for kind, why in (done.get("unavailable") or {}).items()},
        identity={key: identity.get(key) for key in IDENTITY},
    )


def is_complete(run: Run) -> bool:
    """Whether no event is missing, as far as the kernel's own counts tell: see docs/probes.md#attribution."""
    found = causes.total(result["attribution"] for result in run.document["results"])
    return found.conserved is not False and not (found.lost.records or found.lost.missing)


def document_of(execution: Execution, found: Mapping[str, Scored], outcome: Outcome) -> dict[str, Any]:
    """What sensitivity.json says."""
    lanes = {lane.target: lane for lane in outcome.lanes}
    return {
        "version": __version__,
        "execution": execution.id,
        "measured": now(),
        "confidence": CONFIDENCE,
        "bar": BAR,
        "targets": {target: _target(execution, target, each, lanes.get(target)) for target, each in found.items()},
    }


def _target(execution: Execution, target: str, found: Scored, lane: LaneOutcome | None) -> dict[str, Any]:
    verdict, known = found.sensitivity.verdict(), found.about
    failure, advice = (None, None) if lane is None else (lane.failure, lane.advice)
    unsupported = [str(entry.get("reason")) for entry in execution.lane(target).get("unsupported") or []]
    reason = failure or "; ".join(unsupported) or known.level_reason
    blind = [each.kind for each in found.sensitivity.scores if each.blind]
    return {
        "verdict": verdict,
        "reason": reason if verdict == NOTHING else None,
        "advice": advice if verdict == NOTHING else None,
        "level": known.level,
        "level_reason": known.level_reason,
        "mode": known.mode,
        "threshold_ns": known.threshold_ns,
        "runs": {
            "finished": found.finished,
            **{state: found.states[state] for state in STATES},
            "scored": found.usable,
            "complete": found.complete,
        },
        "kinds": [_kind(each) for each in found.sensitivity.scores],
        "unavailable": {
            **known.unavailable,
            **dict.fromkeys(blind, f"no event that could be opened shows it (level {known.level})"),
        },
        "identity": {key: known.identity.get(key) for key in IDENTITY},
    }


def _kind(each: Score) -> dict[str, Any]:
    return {
        **asdict(each),
        "missed": each.missed,
        "of_all": each.of_all,
        "trials": list(each.trials),
        "recall": each.recall,
        "precision": each.precision,
        "by_chance": each.by_chance,
        "verdict": each.verdict(),
    }


def exit_code(outcome: Outcome, found: Mapping[str, Scored]) -> int:
    """As of every command, first match: a mistake or a signal, a bar that is not met, what broke, nothing measured."""
    verdicts = {each.sensitivity.verdict() for each in found.values()}
    broken = outcome.exit_code
    if broken == 2 or broken > 128:
        return broken
    if verdicts - {MET, NOTHING}:
        return 1
    if broken == 3:
        return broken
    return 4 if NOTHING in verdicts or not found else 0
