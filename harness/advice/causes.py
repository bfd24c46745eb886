# SPDX-License-Identifier: Apache-2.0
"""What interrupted a core, in plain words, and what removes it: from a cause as attribution names it. Pure.

A cause is ``kind:name`` as in gaps.jsonl (docs/probes.md, Attribution), or None and ``unexplained`` where no event of
the kernel lies in a gap.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .known import KNOWN
from .measures import MEASURES, Measure
from .state import State
from .table import Known

_UNEXPLAINED = "unexplained"
_ADDRESS = re.compile(r"0x[0-9a-f]+")
#: What lets ordinary tasks come in the place of one that goes before them: none of them comes otherwise.
_LETS_IN = ("fair-server", "rt-throttling")
_OTHERS = ("task", "work", "switch")
#: Of no use to a guest: the firmware that takes its CPU is its host's.
_OF_METAL = frozenset({"firmware", "secure-world", "hwlat"})
#: By the first of their names: tasks that go before it all by themselves, or on its behalf.
_GO_FIRST = frozenset({"migration", "irq", "ktimers", "rcuc", "watchdog*", "idle_inject*", "slept"})


@dataclass(frozen=True)
class Remedy:
    """One thing that removes a cause, or makes it rarer.

    ``kind``: ``boot``, ``knob``, ``kernel-option``, ``application`` or ``host``. ``in_effect``: is it so here? None
    where that cannot be known. ``knob``: its name for ``tune``. ``doc``: a place in the kernel's ``Documentation/``, or
    a manual page. ``parameter``: what a boot profile adds, where that may be tried without a second thought and the
    kernel heeds it; ``{isolated}`` stands for the CPUs, as it does in profiles.
    """

    text: str
    kind: str
    in_effect: bool | None
    knob: str | None
    doc: str
    parameter: str | None = None


def explain(cause: str | None) -> str:
    """What the cause is, in one line without its name."""
    words = _known(cause).words
    return f"{words} (a function without a name)" if _nameless(cause) else words


def remedies(
    cause: str | None,
    facts: Mapping[str, Any],
    knobs: Mapping[str, Any] | None = None,
    cpu: int | None = None,
    sched: str = "",
) -> tuple[Remedy, ...]:
    """What removes it, what helps most first; never none.

    ``knobs``: what a run says of its own, ``{name: outcome}``, as in run.json: else what ``facts`` show of them.
    ``cpu``: the measured one, else that which would be. What is of another architecture is left out, and
    in a virtual machine what is of metal alone.
    ``sched``: how the measured task was scheduled, ``fifo:1``: what came in its place was let in.
    """
    state = State(facts, knobs, cpu, sched)
    found = _known(cause)
    keys = ("kallsyms", *found.measures) if _nameless(cause) else found.measures
    if state.ahead and found.kind in _OTHERS and found.names[0] not in _GO_FIRST:
        keys = tuple(dict.fromkeys((*_LETS_IN, *keys)))
    suited = [key for key in keys if MEASURES[key].arch in (None, state.arch) or state.arch is None]
    if state.virtual:
        suited = [key for key in suited if key not in _OF_METAL]
    return tuple(_remedy(MEASURES[key], state) for key in suited or _UNKNOWN.measures)


def _nameless(cause: str | None) -> bool:
    """A function that the kernel does not name: its address stands there."""
    return bool(_ADDRESS.fullmatch((cause or "").partition(":")[2]))


def _known(cause: str | None) -> Known:
    kind, _, name = (cause or _UNEXPLAINED).partition(":")
    return next((each for each in KNOWN if each.covers(kind, name)), _UNKNOWN)


#: Of a kind that this version has not heard of.
_UNKNOWN = Known("", ("*",), "not known to this version", ("look-up", "more-events"))


def _remedy(measure: Measure, state: State) -> Remedy:
    lacking = measure.option if measure.option and state.option(measure.option) is False else None
    text = measure.text.replace("{cpu}", str(state.cpu))
    if measure.mode and not state.can(measure.mode):
        text = text.replace(measure.or_mode, "")
    return Remedy(
        f"{text}; this kernel lacks CONFIG_{lacking}" if lacking else text,
        measure.kind,
        measure.holds(state),
        measure.knob,
        measure.doc,
        None if lacking else measure.parameter,
    )
