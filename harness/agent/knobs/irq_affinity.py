# SPDX-License-Identifier: Apache-2.0
"""Device interrupts off the measured CPUs: each IRQ's affinity, and the default for IRQs to come.

Some cannot be moved: per-CPU ones, those of a single CPU's chip, and managed ones of multi-queue devices (EIO, EPERM);
they are listed with their errno. A managed IRQ of an idle queue never fires, so one that stays is no harm by itself.
"""

from __future__ import annotations

from typing import Any, Sequence

from ..system import Tree, errno_name, format_cpus, format_mask, parse_cpus, parse_mask
from ..undo import Undo, file_entry
from .base import Outcome

_DEFAULT = "/proc/irq/default_smp_affinity"


def _path(irq: str) -> str:
    return f"/proc/irq/{irq}/smp_affinity_list"


class IrqAffinity:
    name = "irq-affinity"

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree = tree or Tree()

    def _irqs(self) -> list[str]:
        return sorted((name for name in self.tree.names("/proc/irq") if name.isdigit()), key=int)

    def show(self) -> dict[str, Any]:
        value = {irq: self.tree.read(_path(irq)) for irq in self._irqs()}
        known = bool(value) or self.tree.exists(_DEFAULT)
        reason = None if known else "/proc/irq cannot be read"
        return {"available": known, "value": value, "reason": reason}

    def set(self, measured: Sequence[int], housekeeping: Sequence[int], undo: Undo) -> Outcome:
        """``requested`` and ``effective`` are the IRQs still allowed on the measured CPUs: none, and those left."""
        away = frozenset(measured)
        before = {irq: self.tree.read(_path(irq)) or "" for irq in self._irqs()}
        allowed = {irq: parse_cpus(text) for irq, text in before.items()}
        if not before and not self.tree.exists(_DEFAULT):
            return Outcome(self.name, [], None, None, None, "/proc/irq cannot be read")
        here = {irq: cpus for irq, cpus in allowed.items() if away & set(cpus)}
        if not housekeeping:
            return Outcome(self.name, [], sorted(here, key=int), None, None, "no other CPU to move interrupts to")
        default = self.tree.read(_DEFAULT)
        entries = [file_entry(self.name, _path(irq), before[irq], vanishes=True) for irq in here]
        move_default = default is not None and bool(away & set(parse_mask(default)))
        if move_default and default is not None:
            entries.append(file_entry(self.name, _DEFAULT, default))
        try:
            undo.record(entries)
        except OSError as error:
            stay = sorted(here, key=int)
            return Outcome(self.name, [], stay, stay, errno_name(error.errno or 0), "undo cannot be written")
        refused = {}
        for irq, cpus in here.items():
            number = self.tree.write(_path(irq), format_cpus(set(cpus) - away or set(housekeeping)))
            if number:
                refused[irq] = errno_name(number)
        if move_default:
            rest = set(parse_mask(default)) - away or set(housekeeping)
            number = self.tree.write(_DEFAULT, format_mask(rest))
            if number:
                refused["default"] = errno_name(number)
        left = self._left(away)
        reason = None
        if left:
            reason = "not movable: " + ", ".join(f"{irq} ({refused.get(irq, 'no error')})" for irq in left)
        return Outcome(
            self.name,
            [],
            sorted(here, key=int),
            left,
            refused[left[0]] if left and left[0] in refused else None,
            reason,
            detail={"moved": len(here) - len(left), "unmovable": refused, "measured": sorted(away)},
        )

    def _left(self, away: frozenset[int]) -> list[str]:
        left = [irq for irq in self._irqs() if away & set(parse_cpus(self.tree.read(_path(irq))))]
        return left + (["default"] if away & set(parse_mask(self.tree.read(_DEFAULT))) else [])

    def verify(self, outcome: Outcome) -> str | None:
        back = sorted(set(self._left(frozenset(outcome.detail.get("measured", [])))) - set(outcome.effective or []))
        return f"interrupts came back to the measured CPU: {', '.join(back)}" if back else None

    def restore(self) -> None:
        return

    def advise(self, outcome: Outcome) -> str | None:
        if outcome.ok:
            return None
        if outcome.errno == "EACCES":  # at opening the file; a managed IRQ is EPERM or EIO at writing
            return "run the agent as root (become: sudo)"
        return "boot with isolcpus=managed_irq,domain,<cpus>, and stop irqbalance"
