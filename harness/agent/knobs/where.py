# SPDX-License-Identifier: Apache-2.0
"""Which CPUs a knob clears of other work: the measured ones, and what shares their cores."""

from __future__ import annotations

from typing import Sequence

from ..system import Tree, format_cpus, parse_cpus

_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def cleared(tree: Tree, measured: Sequence[int], housekeeping: Sequence[int]) -> frozenset[int]:
    """The measured CPUs and their SMT siblings; not a sibling that has to keep house, for want of another CPU."""
    siblings = {other for cpu in measured for other in parse_cpus(tree.read(_SIBLINGS.format(cpu)))}
    return frozenset({*measured, *siblings} - (set(housekeeping) - set(measured)))


def without(cpus: str, away: frozenset[int], housekeeping: Sequence[int]) -> str:
    """The CPU list without ``away``: no more is taken than needs be; the housekeeping CPUs where nothing is left."""
    return format_cpus(set(parse_cpus(cpus)) - away or housekeeping)
