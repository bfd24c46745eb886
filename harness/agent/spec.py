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
from typing import Any, Dict, List, Optional

SCHEMA = 1
PROTOCOL = 1

#: Names that become path components, on either side. Checked again by whoever receives them.
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}")

FAULTS = ("user", "environment", "infrastructure", "bug")
STATES = ("valid", "suspect", "invalid")


class SpecError(ValueError):
    """A message or a record does not have the shape that this page says."""


def safe_name(name: object, what: str) -> str:
    """``name`` if it may be a path component, else :class:`SpecError`. ``..`` cannot match: a dot never comes first."""
    if isinstance(name, str) and SAFE_NAME.fullmatch(name):
        return name
    raise SpecError(f"{what}: not a safe name: {name!r}")


@dataclass(frozen=True)
class ModeSpec:
    """How the measured task is isolated: where x sched x hold."""

    name: str
    where: str = "shared"
    sched: str = "other"
    hold: str = "none"


@dataclass(frozen=True)
class LoadSpec:
    """Work on the housekeeping CPUs. ``argv`` only for ``kind == "argv"``."""

    name: str
    kind: str = "idle"
    argv: List[str] = field(default_factory=list)


@dataclass(frozen=True)
class ProbeSpec:
    """The binary, by content, and its parameters as the probe's own options (``{"threshold": "1000ns"}``)."""

    name: str
    sha256: str
    params: Dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunSpec:
    """One measurement, as asked. ``cpus`` and ``housekeeping`` are the placement, decided by the controller's plan."""

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


@dataclass(frozen=True)
class Batch:
    """The runs of one session, handed over at once."""

    execution: str
    lane: str
    token: int
    session: int
    runs: List[RunSpec]


@dataclass(frozen=True)
class Validity:
    """``state`` and the reasons for it; each reason is ``{"rule", "state", "text", "advice"}``."""

    state: str
    reasons: List[Dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class RunRecord:
    """What a run left. ``status`` is ``ok`` or ``failed``; a failed one has a ``reason`` and whose ``fault`` it is.

    ``results`` holds the probes' own ``result.json``, one for each measured CPU (or one with ``cpu: null``).
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
    files: List[Dict[str, Any]] = field(default_factory=list)


def to_json(value: Any) -> Dict[str, Any]:
    return asdict(value)
