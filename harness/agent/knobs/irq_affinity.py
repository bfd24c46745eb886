# SPDX-License-Identifier: Apache-2.0
"""Device interrupts off the measured CPUs and their SMT siblings: each IRQ's affinity, and the default for IRQs to
come. A handler on a sibling takes its share of the measured core. No more is taken from an IRQ than these CPUs.

On x86 without interrupt remapping an IRQ moves only as it comes for the next time: once more to its old CPU.

Some cannot be moved: those of a single CPU's chip, and managed ones of multi-queue devices (EIO, EPERM); they are
listed with their errno. A managed IRQ of an idle queue never fires, so one that stays is no harm by itself.

Per-CPU ones are no device's and are left out: on arm64 the tick, the PMU and the like have a number, and an affinity
that reads as all CPUs, but each CPU has its own.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Sequence

from ..system import Tree, errno_name, format_cpus, format_mask, parse_cpus, parse_mask
from ..undo import Undo, file_entry
from .base import Outcome, shown
from .where import cleared, without

_DEFAULT = "/proc/irq/default_smp_affinity"
_ONLINE = "/sys/devices/system/cpu/online"
#: Hardware numbers of an Arm GIC's private interrupts: SGIs and PPIs, and the extended PPIs.
_GIC_PRIVATE = (range(32), range(1056, 1120))
_PER_CPU_NAMES = frozenset({"arch_timer", "arm-pmu"})


def _path(irq: str) -> str:
    return f"/proc/irq/{irq}/smp_affinity_list"


def is_per_cpu(tree: Tree, irq: str) -> bool:
    """Does each CPU have this interrupt for itself? The kernel does not say so outright; its chip and name do."""
    about = f"/sys/kernel/irq/{irq}"
    if (tree.read(f"{about}/actions") or "") in _PER_CPU_NAMES:
        return True
    hwirq = tree.number(f"{about}/hwirq")
    gic = (tree.read(f"{about}/chip_name") or "").upper().startswith("GIC")
    return gic and hwirq is not None and any(hwirq in numbers for numbers in _GIC_PRIVATE)


@dataclass
class _Narrowed:
    """The default affinity as :meth:`IrqAffinity.set` found and left it, and the IRQs that were there by then."""

    undo: Undo
    before: list[int]
    now: list[int]
    seen: set[str]


class IrqAffinity:
    name = "irq-affinity"
    roams = False
    helpers = False

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree = tree or Tree()
        self._narrowed: _Narrowed | None = None

    def _irqs(self) -> list[str]:
        """The numbers of all that a device may raise."""
        numbers = (name for name in self.tree.names("/proc/irq") if name.isdigit())
        return sorted((irq for irq in numbers if not is_per_cpu(self.tree, irq)), key=int)

    def _per_cpu(self) -> list[str]:
        return [irq for irq in self.tree.names("/proc/irq") if irq.isdigit() and is_per_cpu(self.tree, irq)]

    def show(self) -> dict[str, Any]:
        value = {irq: self.tree.read(_path(irq)) for irq in self._irqs()}
        known = bool(value) or self.tree.exists(_DEFAULT)
        reason = None if known else "/proc/irq cannot be read"
        return shown(value, reason, advice="mount /proc; in a container run the agent on the machine itself")

    def set(self, measured: Sequence[int], housekeeping: Sequence[int], undo: Undo) -> Outcome:
        """``requested`` and ``effective`` are the IRQs still allowed where none should be: none, and those left."""
        away = cleared(self.tree, measured, housekeeping)
        before = {irq: self.tree.read(_path(irq)) or "" for irq in self._irqs()}
        allowed = {irq: parse_cpus(text) for irq, text in before.items()}
        if not before and not self.tree.exists(_DEFAULT):
            return Outcome(self.name, [], None, None, None, "/proc/irq cannot be read")
        here = {irq: cpus for irq, cpus in allowed.items() if away & set(cpus)}
        stay = sorted(here, key=int)
        detail = {"measured": sorted(measured), "cleared": sorted(away), "per_cpu": self._per_cpu()}
        if not housekeeping:
            why = "no other CPU to move interrupts to"
            return Outcome(self.name, [], stay, None, None, why, detail=detail)
        default = self.tree.read(_DEFAULT)
        entries = [file_entry(self.name, _path(irq), before[irq], vanishes=True) for irq in here]
        move_default = default is not None and bool(away & set(parse_mask(default)))
        if move_default and default is not None:
            entries.append(file_entry(self.name, _DEFAULT, default))
        try:
            undo.record(entries)
        except OSError as error:
            code = errno_name(error.errno or 0)
            return Outcome(self.name, [], stay, stay, code, "undo cannot be written", detail=detail)
        refused = {}
        for irq in here:
            number = self.tree.write(_path(irq), without(before[irq], away, housekeeping))
            if number:
                refused[irq] = errno_name(number)
        if move_default:
            rest = set(parse_mask(default)) - away or set(housekeeping)
            number = self.tree.write(_DEFAULT, format_mask(rest))
            if number:
                refused["default"] = errno_name(number)
            self._narrowed = _Narrowed(undo, sorted(parse_mask(default)), sorted(rest), set(before))
        left = self._left(away)
        reason = None
        if left:
            reason = "not movable: " + ", ".join(f"{irq} ({refused.get(irq, 'no error')})" for irq in left)
        return Outcome(
            self.name,
            [],
            stay,
            left,
            next((refused[irq] for irq in left if irq in refused), None),
            reason,
            detail={
                **detail,
                "moved": len(here) - len(left),
                "moved_irqs": format_cpus(int(irq) for irq in here if irq not in left),
                "unmovable": refused,
            },
        )

    def _left(self, away: frozenset[int]) -> list[str]:
        left = [irq for irq in self._irqs() if away & set(parse_cpus(self.tree.read(_path(irq))))]
        return left + (["default"] if away & set(parse_mask(self.tree.read(_DEFAULT))) else [])

    def verify(self, outcome: Outcome) -> str | None:
        self._note_new()
        cleared = outcome.detail.get("cleared", [])
        back = sorted(set(self._left(frozenset(cleared))) - set(outcome.effective or []))
        return f"interrupts came back to CPU {format_cpus(cleared)}: {', '.join(back)}" if back else None

    def restore(self) -> None:
        """The undo is played next: so what came since the last run is put into it."""
        self._note_new()
        self._narrowed = None

    def _note_new(self) -> None:
        """IRQs that were requested under our default would keep it: for the undo they had the one before.

        One that says something else got it from its driver or from somebody, and is left alone.
        """
        narrowed = self._narrowed
        if narrowed is None:
            return
        new = [irq for irq in self._irqs() if irq not in narrowed.seen]
        narrowed.seen.update(new)
        online = set(parse_cpus(self.tree.read(_ONLINE))) or set(narrowed.before)
        was = format_cpus(set(narrowed.before) & online)
        ours = [irq for irq in new if set(parse_cpus(self.tree.read(_path(irq)))) == set(narrowed.now) & online]
        # Without room for it the IRQ keeps our default; that is no reason to fail a run.
        with contextlib.suppress(OSError):
            narrowed.undo.record([file_entry(self.name, _path(irq), was, vanishes=True) for irq in ours])

    def advise(self, outcome: Outcome) -> str | None:
        if outcome.ok:
            return None
        if outcome.errno == "EACCES":  # at opening the file; a managed IRQ is EPERM or EIO at writing
            return "run the agent as root (become: sudo)"
        return "boot with isolcpus=managed_irq,domain,<cpus>, and stop irqbalance"
