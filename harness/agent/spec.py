# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire between controller and agent, and what a run leaves behind. Pure; Python >= 3.9.

Everything here is JSON: ``to_json`` gives plain dicts, ``from_json`` checks shape and types and raises
:class:`SpecError` with the path of what is wrong. Unknown keys are kept out of the types, never an error: a newer
peer may say more.

Schema history (readers take every older one, writers only the newest):

1. first.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

SCHEMA = 1
PROTOCOL = 1

#: Names that become path components, on either side. Checked again by whoever receives them.
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}")

FAULTS = ("user", "environment", "infrastructure", "bug")
STATES = ("valid", "suspect", "invalid")
#: What a probe finds the causes of its gaps by: nothing, or the kernel's perf events.
ATTRIBUTIONS = ("off", "perf")


#: A probe's own timer ends it after half as long again as it measures, and this much more (csrc/core/probe.c).
SAFETY_EXTRA_NS = 5 * 10**9
#: How long those that begin together wait until all are ready (the same).
READY_NS = 60 * 10**9
#: For the kernel's events to be opened and closed, where a probe attributes (the same).
ATTRIBUTION_NS = 30 * 10**9
#: For that timer's signal to end it, on a slow board.
_DYING_NS = 2 * 10**9


class SpecError(ValueError):
    """A message or a record does not have the shape that this page says."""


def safe_name(name: object, what: str) -> str:
    """``name`` if it may be a path component, else :class:`SpecError`. ``..`` cannot match: a dot never comes first."""
    if isinstance(name, str) and SAFE_NAME.fullmatch(name):
        return name
    raise SpecError(f"{what}: not a safe name: {name!r}")


_REQUIRED: Any = object()
_PARAM = re.compile(r"[a-z][a-z0-9-]{0,39}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _object(value: Any, path: str) -> Dict[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(f"{path}: an object is wanted, not {_show(value)}")
    return value


def _take(
    value: Dict[str, Any], key: str, kind: Union[type, Tuple[type, ...]], path: str, default: Any = _REQUIRED
) -> Any:
    """``value[key]`` if it is of ``kind``; a bool is no int. Absent: ``default``, or an error if there is none."""
    if key not in value:
        if default is _REQUIRED:
            raise SpecError(f"{path}.{key}: missing")
        return default
    found = value[key]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
        names = " or ".join("null" if each is type(None) else each.__name__ for each in kinds)
        raise SpecError(f"{path}.{key}: {names} is wanted, not {_show(found)}")
    return found


def _whole(value: Dict[str, Any], key: str, low: int, high: int, path: str, default: Any = _REQUIRED) -> int:
    number: int = _take(value, key, int, path, default)
    if not low <= number <= high:
        raise SpecError(f"{path}.{key}: {number} is not within {low}..{high}")
    return number


def _list_of(value: Dict[str, Any], key: str, kind: type, path: str, default: Any = _REQUIRED) -> List[Any]:
    items = _take(value, key, list, path, default)
    for index, item in enumerate(items):
        if not isinstance(item, kind) or (isinstance(item, bool) and kind is not bool):
            raise SpecError(f"{path}.{key}[{index}]: {kind.__name__} is wanted, not {_show(item)}")
    return list(items)


def _cpus(value: Dict[str, Any], key: str, path: str, default: Any = _REQUIRED) -> List[int]:
    cpus = _list_of(value, key, int, path, default)
    if any(not 0 <= cpu < 1 << 16 for cpu in cpus) or len(set(cpus)) != len(cpus):
        raise SpecError(f"{path}.{key}: CPU numbers, each once, are wanted, not {_show(cpus)}")
    return cpus


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class ModeSpec:
    """How the measured task is isolated: where x sched x hold."""

    name: str
    where: str = "shared"
    sched: str = "other"
    hold: str = "none"

    @classmethod
    def from_json(cls, value: Any, path: str = "mode") -> ModeSpec:
        obj = _object(value, path)
        return cls(
            safe_name(_take(obj, "name", str, path), f"{path}.name"),
            _take(obj, "where", str, path, "shared"),
            _take(obj, "sched", str, path, "other"),
            _take(obj, "hold", str, path, "none"),
        )


@dataclass(frozen=True)
class LoadSpec:
    """Work on the housekeeping CPUs. ``argv`` only for ``kind == "argv"``."""

    name: str
    kind: str = "idle"
    argv: List[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, value: Any, path: str = "load") -> LoadSpec:
        obj = _object(value, path)
        kind = _take(obj, "kind", str, path, "idle")
        argv = _list_of(obj, "argv", str, path, [])
        if any("\0" in word for word in argv):
            raise SpecError(f"{path}.argv: a NUL byte cannot be passed to a command")
        if bool(argv) != (kind == "argv"):
            raise SpecError(f"{path}.argv: a command is wanted exactly where kind is argv (kind is {_show(kind)})")
        return cls(safe_name(_take(obj, "name", str, path), f"{path}.name"), kind, argv)


@dataclass(frozen=True)
class ProbeSpec:
    """The binary, by content, and its parameters as the probe's own options (``{"threshold": "1000ns"}``).

    ``helper`` is the option that takes the CPU of the probe's helper, empty for a probe without one.
    """

    name: str
    sha256: str
    params: Dict[str, str] = field(default_factory=dict)
    helper: str = ""

    @classmethod
    def from_json(cls, value: Any, path: str = "probe") -> ProbeSpec:
        obj = _object(value, path)
        sha256 = _take(obj, "sha256", str, path)
        if not _SHA256.fullmatch(sha256):
            raise SpecError(f"{path}.sha256: not a SHA-256 in hex: {_show(sha256)}")
        params = _object(_take(obj, "params", dict, path, {}), f"{path}.params")
        for name, setting in params.items():
            if not _PARAM.fullmatch(name) or not isinstance(setting, str) or "\0" in setting:
                raise SpecError(f"{path}.params: not an option of a probe: {_show(name)} = {_show(setting)}")
        helper = _take(obj, "helper", str, path, "")
        if helper and not _PARAM.fullmatch(helper):
            raise SpecError(f"{path}.helper: not an option of a probe: {_show(helper)}")
        return cls(safe_name(_take(obj, "name", str, path), f"{path}.name"), sha256, dict(params), helper)


@dataclass(frozen=True)
class ControlSpec:
    """The A/A control of a run: this probe, pinned to this housekeeping CPU, at the same time."""

    probe: ProbeSpec
    cpu: int

    @classmethod
    def from_json(cls, value: Any, path: str = "control") -> ControlSpec:
        obj = _object(value, path)
        probe = ProbeSpec.from_json(_take(obj, "probe", dict, path), f"{path}.probe")
        return cls(probe, _whole(obj, "cpu", 0, (1 << 16) - 1, path))


@dataclass(frozen=True)
class RunSpec:
    """One measurement, as asked. The CPUs are the placement, decided by the controller's plan.

    ``helpers`` has a CPU for the helper of each probe, in the order of ``cpus``, or nothing where the probe needs none;
    ``load_cpus`` are those of the housekeeping ones that load and agent keep to, none named: all of them.
    """

    run: str  # "<cell>-r<repeat>", a safe name
    cell: str
    repeat: int
    attempt: int
    bench: str
    probe: ProbeSpec
    mode: ModeSpec
    load: LoadSpec
    cpus: List[int]
    housekeeping: List[int]
    settle_ns: int
    duration_ns: int
    helpers: List[int] = field(default_factory=list)
    load_cpus: List[int] = field(default_factory=list)
    control: Optional[ControlSpec] = None
    tune: List[str] = field(default_factory=list)  # knobs to set beside those of the mode
    smt: Optional[str] = None  # "shared": the inventory declares that others may use the measured core's siblings
    attribution: str = "off"  # by what the probe is to find causes: one of ATTRIBUTIONS

    @property
    def together(self) -> bool:
        """Does it have several probes, that begin at one time?"""
        return self.control is not None or (len(self.cpus) > 1 and self.mode.where != "shared")

    @property
    def allowance_ns(self) -> int:
        """How long its probes may take."""
        return allowance_ns(self.duration_ns, together=self.together, attribution=self.attribution)

    @property
    def rest(self) -> List[int]:
        """Where load and agent run."""
        return self.load_cpus or self.housekeeping

    def helper_of(self, cpu: Optional[int]) -> Optional[int]:
        """The CPU of the helper of the probe on ``cpu`` (None: of the one that is not pinned), if it has one."""
        if not self.helpers:
            return None
        return self.helpers[0 if cpu is None else self.cpus.index(cpu)]

    @classmethod
    def from_json(cls, value: Any, path: str = "run") -> RunSpec:
        obj = _object(value, path)
        cell = safe_name(_take(obj, "cell", str, path), f"{path}.cell")
        repeat = _whole(obj, "repeat", 1, 1 << 31, path)
        run = safe_name(_take(obj, "run", str, path), f"{path}.run")
        if run != f"{cell}-r{repeat}":
            raise SpecError(f"{path}.run: {run!r} is not repeat {repeat} of cell {cell!r}")
        spec = cls(
            run=run,
            cell=cell,
            repeat=repeat,
            attempt=_whole(obj, "attempt", 1, 1 << 31, path),
            bench=safe_name(_take(obj, "bench", str, path), f"{path}.bench"),
            probe=ProbeSpec.from_json(_take(obj, "probe", dict, path), f"{path}.probe"),
            mode=ModeSpec.from_json(_take(obj, "mode", dict, path), f"{path}.mode"),
            load=LoadSpec.from_json(_take(obj, "load", dict, path), f"{path}.load"),
            cpus=_cpus(obj, "cpus", path),
            housekeeping=_cpus(obj, "housekeeping", path),
            settle_ns=_whole(obj, "settle_ns", 0, 86_400 * 10**9, path),
            duration_ns=_whole(obj, "duration_ns", 1, 7 * 86_400 * 10**9, path),
            helpers=_helpers(obj, path),
            load_cpus=_cpus(obj, "load_cpus", path, []),
            control=None if obj.get("control") is None else ControlSpec.from_json(obj["control"], f"{path}.control"),
            tune=[safe_name(name, f"{path}.tune") for name in _list_of(obj, "tune", str, path, [])],
            smt=_take(obj, "smt", (str, type(None)), path, None),
            attribution=_take(obj, "attribution", str, path, "off"),
        )
        if spec.attribution not in ATTRIBUTIONS:
            raise SpecError(f"{path}.attribution: {_show(spec.attribution)} is none of {', '.join(ATTRIBUTIONS)}")
        if not spec.cpus:
            raise SpecError(f"{path}.cpus: at least one CPU to measure is wanted")
        if set(spec.cpus) & set(spec.housekeeping):
            raise SpecError(f"{path}: a CPU cannot be measured and keep house: {spec.cpus} and {spec.housekeeping}")
        if len(spec.helpers) != (len(spec.cpus) if spec.probe.helper else 0):
            raise SpecError(f"{path}.helpers: one for each measured CPU is wanted exactly where the probe takes one")
        others = {
            "helpers": spec.helpers,
            "load_cpus": spec.load_cpus,
            "control": [spec.control.cpu] if spec.control else [],
        }
        for key, cpus in others.items():
            if not set(cpus) <= set(spec.housekeeping):
                raise SpecError(f"{path}.{key}: no housekeeping CPU: {sorted(set(cpus) - set(spec.housekeeping))}")
        return spec


def _helpers(value: Dict[str, Any], path: str) -> List[int]:
    """CPU numbers; probes may share one."""
    cpus = _list_of(value, "helpers", int, path, [])
    if any(not 0 <= cpu < 1 << 16 for cpu in cpus):
        raise SpecError(f"{path}.helpers: CPU numbers are wanted, not {_show(cpus)}")
    return cpus


@dataclass(frozen=True)
class Batch:
    """The runs of one session, handed over at once."""

    execution: str
    lane: str
    token: int
    session: int
    runs: List[RunSpec]

    @classmethod
    def from_json(cls, value: Any, path: str = "batch") -> Batch:
        obj = _object(value, path)
        runs = [
            RunSpec.from_json(run, f"{path}.runs[{index}]")
            for index, run in enumerate(_list_of(obj, "runs", dict, path))
        ]
        if len({run.run for run in runs}) != len(runs):
            raise SpecError(f"{path}.runs: one run is asked for twice")
        return cls(
            safe_name(_take(obj, "execution", str, path), f"{path}.execution"),
            safe_name(_take(obj, "lane", str, path), f"{path}.lane"),
            _whole(obj, "token", 0, 1 << 62, path),
            _whole(obj, "session", 0, 1 << 31, path, 0),
            runs,
        )


@dataclass(frozen=True)
class Validity:
    """``state`` and the reasons for it; each reason is ``{"rule", "state", "text", "advice"}``."""

    state: str
    reasons: List[Dict[str, str]] = field(default_factory=list)

    @classmethod
    def from_json(cls, value: Any, path: str = "validity") -> Validity:
        obj = _object(value, path)
        state = _take(obj, "state", str, path)
        if state not in STATES:
            raise SpecError(f"{path}.state: {_show(state)} is none of {', '.join(STATES)}")
        return cls(state, _list_of(obj, "reasons", dict, path, []))


@dataclass(frozen=True)
class RunRecord:
    """What a run left. ``status`` is ``ok`` or ``failed``; a failed one has a ``reason`` and whose ``fault`` it is.

    ``results`` holds the probes' own ``result.json``, one for each measured CPU (or one with ``cpu: null``).
    ``control`` is what the control left, if one was asked for: ``{cpu, status, reason, validity, result}``.
    ``files`` are the names, sizes in bytes and SHA-256 of the files beside the record.
    """

    run: str
    status: str
    spec: Dict[str, Any]
    schema: int = SCHEMA
    agent_version: str = ""
    sequence: int = 0  # counts the runs of this agent: orders them where a clock is wrong
    reason: Optional[str] = None
    fault: Optional[str] = None
    started: Dict[str, int] = field(default_factory=dict)  # realtime_ns, boottime_ns
    elapsed_ns: int = 0
    effective: Dict[str, Any] = field(default_factory=dict)  # mode as read back; errno where refused
    knobs: List[Dict[str, Any]] = field(default_factory=list)
    load: Dict[str, Any] = field(default_factory=dict)
    facts_before: Dict[str, Any] = field(default_factory=dict)
    facts_after: Dict[str, Any] = field(default_factory=dict)
    validity: Dict[str, Any] = field(default_factory=dict)
    results: List[Dict[str, Any]] = field(default_factory=list)
    control: Dict[str, Any] = field(default_factory=dict)
    files: List[Dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_json(cls, value: Any, path: str = "record") -> RunRecord:
        obj = _object(value, path)
        schema = _whole(obj, "schema", 1, 1 << 31, path)
        if schema > SCHEMA:
            raise SpecError(f"{path}.schema: {schema} is newer than this version reads ({SCHEMA})")
        status = _take(obj, "status", str, path)
        if status not in ("ok", "failed"):
            raise SpecError(f"{path}.status: {_show(status)} is neither ok nor failed")
        fault = _take(obj, "fault", (str, type(None)), path, None)
        reason = _take(obj, "reason", (str, type(None)), path, None)
        if status == "failed" and (fault not in FAULTS or not reason):
            raise SpecError(f"{path}: a failed run needs a reason and a fault, not {_show(reason)}, {_show(fault)}")
        validity = _take(obj, "validity", dict, path, {})
        if validity or status == "ok":
            Validity.from_json(validity, f"{path}.validity")
        return cls(
            run=safe_name(_take(obj, "run", str, path), f"{path}.run"),
            status=status,
            spec=_take(obj, "spec", dict, path),
            schema=schema,
            agent_version=_take(obj, "agent_version", str, path, ""),
            sequence=_whole(obj, "sequence", 0, 1 << 62, path, 0),
            reason=reason,
            fault=fault,
            started=_take(obj, "started", dict, path, {}),
            elapsed_ns=_whole(obj, "elapsed_ns", 0, 1 << 62, path, 0),
            effective=_take(obj, "effective", dict, path, {}),
            knobs=_list_of(obj, "knobs", dict, path, []),
            load=_take(obj, "load", dict, path, {}),
            facts_before=_take(obj, "facts_before", dict, path, {}),
            facts_after=_take(obj, "facts_after", dict, path, {}),
            validity=validity,
            results=_list_of(obj, "results", dict, path, []),
            control=_control(_take(obj, "control", dict, path, {}), f"{path}.control"),
            files=_list_of(obj, "files", dict, path, []),
        )


def _control(value: Dict[str, Any], path: str) -> Dict[str, Any]:
    if not value:
        return {}
    _whole(value, "cpu", 0, (1 << 16) - 1, path)
    status = _take(value, "status", str, path)
    if status not in ("ok", "unavailable"):
        raise SpecError(f"{path}.status: {_show(status)} is neither ok nor unavailable")
    if status == "ok":
        Validity.from_json(_take(value, "validity", dict, path), f"{path}.validity")
        _take(value, "result", dict, path)
    else:
        _take(value, "reason", str, path)
    return value


def to_json(value: Any) -> Dict[str, Any]:
    """Any of the types above as plain dicts, lists, strings and numbers."""
    return asdict(value)


def event_lists(result: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a probe kept one by one, by name: the gaps of ``gap``, the late wake-ups of ``wake``."""
    for name, value in result.items():
        if isinstance(value, dict) and "stored" in value:
            yield name, value


def allowance_ns(duration_ns: int, *, together: bool = False, attribution: str = "off") -> int:
    """How long a probe may take in all before the agent kills it: until its own timer must have ended it.

    What is slow ends by that timer, then; what is killed hangs, or never came to run. The timer of one that begins
    ``together`` with others runs while it waits for them, too.
    """
    extra_ns = (READY_NS if together else 0) + (0 if attribution == "off" else ATTRIBUTION_NS)
    return extra_ns + duration_ns + duration_ns // 2 + SAFETY_EXTRA_NS + _DYING_NS
