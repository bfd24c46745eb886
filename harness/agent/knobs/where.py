# SPDX-License-Identifier: Apache-2.0
"""Which CPUs there are, and which a knob clears of other work: the measured ones, and what shares their cores."""

from __future__ import annotations

from typing import Sequence

from ..system import Tree, format_cpus, parse_cpus

_CPU = "/sys/devices/system/cpu"
_SIBLINGS = f"{_CPU}/cpu{{}}/topology/thread_siblings_list"


def cpus_of(tree: Tree) -> list[int]:
    """All CPUs that the kernel knows, online or not."""
    return sorted(int(name[3:]) for name in tree.names(_CPU) if name.startswith("cpu") and name[3:].isdigit())


def by_cpu(tree: Tree, name: str) -> dict[str, str]:
    """What the file ``name`` of each CPU reads: ``{text: CPU list}``."""
    found: dict[str, list[int]] = {}
    for cpu in cpus_of(tree):
        text = tree.read(f"{_CPU}/cpu{cpu}/{name}")
        if text is not None:
            found.setdefault(text, []).append(cpu)
    return {text: format_cpus(cpus) for text, cpus in found.items()}


def cleared(tree: Tree, measured: Sequence[int], housekeeping: Sequence[int]) -> frozenset[int]:
    """The measured CPUs and their SMT siblings; not a sibling that has to keep house, for want of another CPU."""
    siblings = {other for cpu in measured for other in parse_cpus(tree.read(_SIBLINGS.format(cpu)))}
    return frozenset({*measured, *siblings} - (set(housekeeping) - set(measured)))


def without(cpus: str, away: frozenset[int], housekeeping: Sequence[int]) -> str:
    """The CPU list without ``away``: no more is taken than needs be; the housekeeping CPUs where nothing is left."""
    return format_cpus(set(parse_cpus(cpus)) - away or housekeeping)
