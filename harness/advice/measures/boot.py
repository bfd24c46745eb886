# SPDX-License-Identifier: Apache-2.0
"""What the kernel's command line can do."""

from __future__ import annotations

from collections.abc import Mapping

from .base import KTHREADS, PARAMETERS, Holds, Measure

_WATCHDOGS = "admin-guide/lockup-watchdogs.rst"


def _boot(
    text: str,
    holds: Holds,
    doc: str = PARAMETERS,
    *,
    parameter: str | None = None,
    option: str | None = None,
    arch: str | None = None,
    mode: str | None = None,
) -> Measure:
    return Measure("boot", text, doc, holds, parameter=parameter, option=option, arch=arch, mode=mode)


MEASURES: Mapping[str, Measure] = {
    "nohz-full": _boot(
        "boot with nohz_full={cpu}: the tick stops while one task alone runs there",
        lambda state: state.cpu in state.nohz_full,
        "timers/no_hz.rst",
        parameter="nohz_full={isolated}",
        option="NO_HZ_FULL",
    ),
    "isolcpus": _boot(
        "boot with isolcpus=domain,{cpu}, or measure in mode partition: nothing is balanced onto the CPU",
        lambda state: state.cpu in state.isolated,
        parameter="isolcpus=managed_irq,domain,{isolated}",
        mode="partition",
    ),
    "managed-irq": _boot(
        "boot with isolcpus=managed_irq,{cpu}: queues that the kernel itself spreads over the CPUs keep off it",
        lambda state: state.listed("isolcpus", "managed_irq"),
        parameter="isolcpus=managed_irq,domain,{isolated}",
    ),
    "irqaffinity": _boot(
        "boot with irqaffinity= and the housekeeping CPUs: interrupts of devices go there from the start",
        lambda state: state.spared("irqaffinity"),
        "core-api/irq/irq-affinity.rst",
    ),
    "rcu-nocbs": _boot(
        "boot with rcu_nocbs={cpu}: callbacks of RCU run in threads elsewhere (nohz_full implies it)",
        lambda state: state.cpu in state.nohz_full or state.listed("rcu_nocbs"),
        KTHREADS,
        parameter="rcu_nocbs={isolated}",
        option="RCU_NOCB_CPU",
    ),
    "nmi-watchdog": _boot(
        "boot with nmi_watchdog=0: no NMI of the hard-lockup detector on any CPU",
        lambda state: _either(state.word("nmi_watchdog", "0"), state.word("nowatchdog")),
        _WATCHDOGS,
        parameter="nmi_watchdog=0",
    ),
    "nowatchdog": _boot(
        "boot with nowatchdog: no lockup detectors on any CPU",
        lambda state: state.word("nowatchdog"),
        _WATCHDOGS,
    ),
    "tsc-reliable": _boot(
        "boot with tsc=reliable where the TSC can be trusted: no timer checks it against another clock",
        lambda state: state.word("tsc", "reliable", "nowatchdog"),
        arch="x86_64",
    ),
    "skew-tick": _boot(
        "boot with skew_tick=1: ticks of the CPUs do not come at one instant, and wait for no common lock",
        lambda state: state.word("skew_tick", "1"),
    ),
    "mce-ignore-ce": _boot(
        "boot with mce=ignore_ce: corrected errors are not polled for (nor reported)",
        lambda state: state.word("mce", "ignore_ce"),
        arch="x86_64",
    ),
    "rcu-normal": _boot(
        "boot with rcupdate.rcu_normal_after_boot=1: grace periods are not hurried by interrupting each CPU "
        "(with PREEMPT_RT they never are)",
        lambda state: state.realtime or state.word("rcupdate.rcu_normal_after_boot", "1"),
        parameter="rcupdate.rcu_normal_after_boot=1",
    ),
    "nosmt": _boot(
        "boot with nosmt: no second thread shares the core",
        lambda state: _either(state.alone_on_its_core, state.word("nosmt")),
    ),
    "mitigations-off": _boot(
        "boot with mitigations=off where all that runs is trusted: entries get shorter, not fewer",
        lambda state: state.word("mitigations", "off"),
        "admin-guide/hw-vuln/index.rst",
    ),
}


def _either(first: bool | None, second: bool | None) -> bool | None:
    """True if one is; else None if one is not known."""
    if first or second:
        return True
    return None if None in (first, second) else False
