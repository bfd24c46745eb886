# SPDX-License-Identifier: Apache-2.0
"""What a machine has in effect, read off its facts: what each measure against an interruption is held against. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..agent import modes
from .cpulists import cpus_of
from .wishes import granted


def get(facts: Mapping[str, Any], *path: str) -> Any:
    """What lies at ``path``, or None."""
    value: Any = facts
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def measured_cpu(facts: Mapping[str, Any]) -> int:
    """The CPU that is measured where nobody says otherwise: the last isolated one, else the last."""
    return (listed_cpus(facts, "isolated") or listed_cpus(facts, "online") or [0])[-1]


def listed_cpus(facts: Mapping[str, Any], which: str) -> list[int]:
    """The CPUs of a list among facts; what is none is left out: facts are what a target says."""
    found = get(facts, "cpus", which)
    return [cpu for cpu in found if isinstance(cpu, int)] if isinstance(found, list) else []


class State:
    """Facts (:mod:`harness.agent.facts`), seen from the measured ``cpu``.

    ``knobs``: outcomes of a run by knob (``{name: {"ok": …}}``), which say more of that run than what facts show.
    ``sched``: how it was scheduled (``fifo:1``); ``ahead``: so that ordinary tasks wait for it.
    """

    def __init__(
        self,
        facts: Mapping[str, Any],
        knobs: Mapping[str, Any] | None = None,
        cpu: int | None = None,
        sched: str = "",
    ) -> None:
        self._facts = facts
        self._outcomes = knobs or {}
        self.ahead = sched.partition(":")[0] in ("fifo", "rr")
        self.cpu = measured_cpu(facts) if cpu is None else cpu
        self.online = frozenset(listed_cpus(facts, "online"))
        self.isolated = frozenset(listed_cpus(facts, "isolated"))
        self.nohz_full = frozenset(listed_cpus(facts, "nohz_full"))
        arch = get(facts, "arch")
        self.arch = arch if isinstance(arch, str) else None
        self.virtual = bool(get(facts, "virtual"))
        preempt = get(facts, "kernel", "preempt")
        self.realtime = preempt == "PREEMPT_RT" if isinstance(preempt, str) else None

    @property
    def alone_on_its_core(self) -> bool | None:
        siblings = get(self._facts, "cpus", "topology", str(self.cpu), "siblings")
        return len(siblings) <= 1 if isinstance(siblings, list) else None

    def can(self, mode: str) -> bool:
        """Can the CPU be measured in this mode? What facts do not say is not held against the machine."""
        if not self.online:
            return True
        try:
            return not modes.from_name(mode).needs(self._facts, [self.cpu], sorted(self.online - {self.cpu}))
        except (LookupError, TypeError, ValueError, AttributeError):  # facts are what a target says
            return True

    def _values(self, name: str) -> list[str] | None:
        """What the command line gives for a parameter, or None where there is no telling."""
        cmdline = get(self._facts, "kernel", "cmdline")
        if not isinstance(cmdline, str):
            return None
        words = (word.partition("=") for word in cmdline.split())
        return [value for key, _, value in words if key.replace("-", "_") == name.replace("-", "_")]

    def word(self, name: str, *values: str) -> bool | None:
        """Is ``name`` on the command line, with one of ``values`` where there are any?"""
        found = self._values(name)
        if found is None:
            return None
        return any(not values or value in values for value in found)

    def listed(self, name: str, flag: str | None = None) -> bool | None:
        """Is the CPU on the list that a parameter gives, beside this flag where one is asked for?"""
        found = self._values(name)
        if found is None:
            return None
        return any(
            self.cpu in cpus_of(value, self.online) and (not flag or flag in value.split(",")) for value in found
        )

    def spared(self, name: str) -> bool | None:
        """Does a parameter give a list, without the CPU?"""
        found = self._values(name)
        if found is None:
            return None
        return bool(found) and all(self.cpu not in cpus_of(value, self.online) for value in found)

    def option(self, name: str) -> bool | None:
        """Was the kernel built with this option?"""
        options = get(self._facts, "kernel", "options")
        return bool(options[name]) if isinstance(options, Mapping) and name in options else None

    def knob(self, name: str) -> bool | None:
        """Is the knob as ``tune`` would set it for the CPU? Where there is nothing to set, nothing is lost."""
        outcome = self._outcomes.get(name)
        if isinstance(outcome, Mapping) and isinstance(outcome.get("ok"), bool):
            return bool(outcome["ok"])
        shown = get(self._facts, "knobs", name)
        if not isinstance(shown, Mapping):
            return None
        if not shown.get("available"):
            return None if shown.get("needed", True) else True
        return granted(name, shown.get("value"), self.cpu)
