# SPDX-License-Identifier: Apache-2.0
"""What was booted on a target: who each kernel is, what its command line has, which boots failed. Pure.

The truth are runs, which say what ran, and failed attempts, whose reason is the boot's. Events add what neither
has: boots that failed and then did not, how long each took, boards whose power was switched.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..stats.variants import Variant
from ..store.documents import at, text_of
from ..store.runs import Run
from .grouping import compact
from .kernel_view import Booted, BootedView, BootFailure, KernelView

DEFAULT: Booted = (Variant("").kernel, Variant("").boot)
#: Parameters that a boot loader or isolbench adds to know a boot by: they are no difference between two of them.
_MARKS = ("BOOT_IMAGE", "initrd", "isolbench.boot")
_PARAMETER = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')
_KERNEL = ("release", "version", "preempt", "build_id", "config_sha256", "artefact_sha256")


@dataclass
class Seen:
    """What runs and events say of one kernel with one boot profile on one target."""

    kernel: dict[str, dict[str, None]] = field(default_factory=dict)  # by key its values, in order
    boot_ids: set[str] = field(default_factory=set)
    took_s: list[float] = field(default_factory=list)
    failed: list[tuple[str, int]] = field(default_factory=list)  # message, session: of each try
    lost: dict[str, set[int]] = field(default_factory=dict)  # sessions given up, by the reason

    def note(self, said: Mapping[str, Any], boot_id: object) -> None:
        for key in (*_KERNEL, "cmdline"):
            if said.get(key):
                self.kernel.setdefault(key, {})[str(said[key]).strip()] = None
        if boot_id:
            self.boot_ids.add(str(boot_id))

    def text(self, key: str) -> str:
        """What was seen; of several values all, the newest last: somebody changed the machine meanwhile."""
        return "; ".join(self.kernel.get(key, {}))

    @property
    def cmdline(self) -> str:
        """The newest: two of them together would be none."""
        return next(reversed(self.kernel.get("cmdline", {})), "")


class Boots:
    """Collects, by target, what was booted there; then says it."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[Booted, Seen]] = {}
        self._power_cycles: Counter[str] = Counter()

    def add(self, run: Run) -> None:
        identity = run.document.get("identity")
        known = dict(identity) if isinstance(identity, Mapping) else {}
        known.update({key: known.get(f"kernel_{key}") for key in ("release", "version")})
        self._of(run.target, booted_for(run.document)).note(known, at(run.document, "facts_before", "boot_id"))

    def lose(self, attempt: Mapping[str, Any]) -> None:
        """A failed attempt, as its ``attempt.json``: of its boot, if that was why."""
        if (found := boot_of(str(attempt.get("reason")))) is not None:
            booted, reason = found
            session = attempt.get("session")
            lost = self._of(str(attempt.get("target")), booted).lost.setdefault(reason, set())
            lost.add(session if isinstance(session, int) else 0)

    def read(self, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            kind, target = event.get("kind"), str(event.get("target"))
            booted = (text_of(event, "kernel"), text_of(event, "boot"))
            if kind == "booted":
                seen = self._of(target, booted)
                proof = event.get("proof")
                seen.note(proof if isinstance(proof, Mapping) else {}, at(event, "proof", "boot_id"))
                if isinstance(took_s := event.get("took_s"), int | float):
                    seen.took_s.append(float(took_s))
            elif kind == "boot-failed":
                session = event.get("session")
                number = session if isinstance(session, int) else 0
                self._of(target, booted).failed.append((text_of(event, "message"), number))
            elif kind == "power-cycled":
                self._power_cycles[target] += 1

    def power_cycles(self, target: str) -> int:
        return self._power_cycles[target]

    def kernels(self, target: str, columns: Sequence[Booted]) -> tuple[KernelView, ...]:
        """In the order of ``columns``; what its boot profiles have seen of a kernel is one."""
        found = {}
        for name in dict.fromkeys(kernel for kernel, _ in columns):
            whole = Seen()
            for booted in columns:
                for key, values in self._of(target, booted).kernel.items() if booted[0] == name else ():
                    whole.kernel.setdefault(key, {}).update(values)
            found[name] = KernelView(name, *(whole.text(key) for key in _KERNEL))
        return tuple(found.values())

    def views(self, target: str, columns: Sequence[Booted], sessions: int) -> tuple[BootedView, ...]:
        first = next((each for each in columns if self._of(target, each).cmdline), None)
        base = "" if first is None else self._of(target, first).cmdline
        found = []
        for booted in columns:
            seen = self._of(target, booted)
            cmdline = seen.cmdline
            added, removed = difference(cmdline, base) if cmdline else ((), ())
            view = BootedView(
                booted=booted,
                cmdline=cmdline,
                added=added,
                removed=removed,
                first=booted == first,
                sessions=sessions,
                boots=len(seen.boot_ids),
                took_s=tuple(seen.took_s),
                failures=_failures(seen.failed, seen.lost),
            )
            found.append(view)
        return tuple(found)

    def _of(self, target: str, booted: Booted) -> Seen:
        return self._seen.setdefault(target, {}).setdefault(booted, Seen())


def booted_for(document: Mapping[str, Any]) -> Booted:
    """What the run of a ``run.json`` was to have: what machines boot by themselves, where it does not say."""
    return str(document.get("kernel") or DEFAULT[0]), str(document.get("boot") or DEFAULT[1])


def boot_of(reason: str) -> tuple[Booted, str] | None:
    """What was to be booted, and why it was not, of the reason of a run that was given up for its boot."""
    found = re.match(r"boot of (\S+) (\S+): (.*)", reason, re.DOTALL)
    return None if found is None else ((found[1], found[2]), found[3])


def difference(cmdline: str, base: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The parameters that ``cmdline`` has more than ``base``, and those that it lacks, each in its order."""
    own, other = (_parameters(line) for line in (cmdline, base))
    return _less(own, other), _less(other, own)


def _parameters(line: str) -> list[str]:
    return [each for each in _PARAMETER.findall(line) if each.partition("=")[0] not in _MARKS]


def _less(these: Sequence[str], those: Sequence[str]) -> tuple[str, ...]:
    left = Counter(those)
    found = []
    for each in these:
        if left[each]:
            left[each] -= 1
        else:
            found.append(each)
    return tuple(found)


def _failures(told: Sequence[tuple[str, int]], lost: Mapping[str, set[int]]) -> tuple[BootFailure, ...]:
    """By reason; that of an attempt may be but the beginning of what the event had."""
    found = []
    whole = {reason: next((each for each, _ in told if each.startswith(reason)), reason) for reason in lost}
    for reason in dict.fromkeys([*(message for message, _ in told), *whole.values()]):
        tries = [session for message, session in told if message == reason]
        given_up = {session for short, sessions in lost.items() if whole[short] == reason for session in sessions}
        sessions = tuple(sorted({*tries, *given_up} - {0}))
        found.append(BootFailure(compact(reason), sessions, max(len(tries), len(given_up)), len(given_up)))
    return tuple(found)
