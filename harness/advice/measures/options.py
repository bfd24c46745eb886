# SPDX-License-Identifier: Apache-2.0
"""What has to be decided when the kernel is built."""

from __future__ import annotations

from collections.abc import Mapping

from ..state import State
from .base import KTHREADS, Holds, Measure


def _with(name: str) -> Holds:
    return lambda state: state.option(name)


def _without(name: str) -> Holds:
    def holds(state: State) -> bool | None:
        found = state.option(name)
        return None if found is None else not found

    return holds


def _option(text: str, doc: str, holds: Holds) -> Measure:
    return Measure("kernel-option", text, doc, holds)


MEASURES: Mapping[str, Measure] = {
    "no-hz-full": _option(
        "a kernel with CONFIG_NO_HZ_FULL: nohz_full= needs it", "timers/no_hz.rst", _with("NO_HZ_FULL")
    ),
    "rcu-nocb-cpu": _option("a kernel with CONFIG_RCU_NOCB_CPU: rcu_nocbs= needs it", KTHREADS, _with("RCU_NOCB_CPU")),
    "low-hz": _option(
        "a kernel with CONFIG_HZ of 250 or less: fewer ticks where they cannot be stopped",
        "timers/no_hz.rst",
        _without("HZ_1000"),
    ),
    "kfence-static-keys": _option(
        "a kernel without CONFIG_KFENCE_STATIC_KEYS (or kfence.sample_interval=0 at boot): its code is not patched "
        "for samples",
        "dev-tools/kfence.rst",
        _without("KFENCE_STATIC_KEYS"),
    ),
    "preempt-rt": _option(
        "a kernel with CONFIG_PREEMPT_RT: what follows an interrupt is done by threads, which a FIFO task outranks",
        "core-api/real-time/theory.rst",
        lambda state: state.realtime,
    ),
    "hwlat": _option(
        "a kernel with CONFIG_HWLAT_TRACER: its tracer shows what the firmware takes (SMI), and counts NMIs",
        "trace/hwlat_detector.rst",
        _with("HWLAT_TRACER"),
    ),
    "osnoise": _option(
        "a kernel with CONFIG_OSNOISE_TRACER: the tracer osnoise tells hardware noise from the kernel's",
        "trace/osnoise-tracer.rst",
        _with("OSNOISE_TRACER"),
    ),
    "kallsyms": _option(
        "a kernel with CONFIG_KALLSYMS_ALL, read as root with kernel.kptr_restrict below 2: functions get names",
        "admin-guide/sysctl/kernel.rst",
        _with("KALLSYMS_ALL"),
    ),
}
