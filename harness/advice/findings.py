# SPDX-License-Identifier: Apache-2.0
"""Cause -> remedy: what a target's facts say about how quiet its cores can be, and what would change it. Pure.

``doctor`` shows all findings, the report those that are not ``ok``. Kernel documentation is named by its place in the
kernel's ``Documentation/``. What a broken rule of validity calls for stands in that rule's entry
(:data:`harness.agent.validity.RULES`), is kept with each reason, and is said here in the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..agent import loads
from ..agent.spec import LoadSpec
from ..agent.validity import RULES
from .attribution import TRACEPOINTS, forecast
from .state import State, get, measured_cpu

#: From best to worst. ``note`` limits what can be measured; ``warn`` disturbs; ``fail`` prevents.
LEVELS = ("ok", "note", "warn", "fail")
_SKEW_TOLD_NS = 10**9


@dataclass(frozen=True)
class Finding:
    """``text`` is what was seen, ``advice`` what would change it (empty where nothing needs to)."""

    level: str
    topic: str
    text: str
    advice: str = ""


def findings(facts: Mapping[str, Any]) -> list[Finding]:
    """What :mod:`harness.agent.facts` found, judged. A fact that could not be read is a note, never an error."""
    return [finding for rule in _RULES for finding in rule(facts)]


def worst(found: Iterable[Finding]) -> str:
    return max((finding.level for finding in found), key=LEVELS.index, default="ok")


def _cpus(facts: Mapping[str, Any]) -> Iterable[Finding]:
    online = get(facts, "cpus", "online") or []
    if len(online) < 2:
        yield Finding(
            "warn",
            "CPUs",
            f"{len(online)} CPU online: the measured task shares it with everything else",
            "measure on a machine with two CPUs or more; mode fifo is refused on this one",
        )
    else:
        yield Finding("ok", "CPUs", f"{len(online)} online")


def _isolation(facts: Mapping[str, Any]) -> Iterable[Finding]:
    isolated = get(facts, "cpus", "isolated") or []
    nohz_full = get(facts, "cpus", "nohz_full") or []
    measured = (isolated or get(facts, "cpus", "online") or [0])[-1]
    if isolated:
        yield Finding("ok", "isolation", f"isolated CPUs: {', '.join(map(str, isolated))}")
    else:
        yield Finding(
            "warn",
            "isolation",
            "no isolated CPU: the scheduler balances other tasks onto the measured one",
            f"boot with isolcpus=managed_irq,domain,{measured} (Documentation/admin-guide/kernel-parameters.txt)",
        )
    if not set(isolated or [measured]) <= set(nohz_full):
        yield Finding(
            "warn",
            "tick",
            "the timer tick runs on the measured CPU (nohz_full does not cover it)",
            f"boot with nohz_full={measured} rcu_nocbs={measured}, on a kernel with CONFIG_NO_HZ_FULL "
            "(Documentation/timers/no_hz.rst)",
        )
    else:
        yield Finding("ok", "tick", f"nohz_full CPUs: {', '.join(map(str, nohz_full))}")


def _rcu(facts: Mapping[str, Any]) -> Iterable[Finding]:
    """On PREEMPT_RT the callbacks of RCU run in threads of each CPU: SCHED_FIFO 1, as mode fifo, so behind its task."""
    if get(facts, "kernel", "preempt") != "PREEMPT_RT":
        return
    measured = measured_cpu(facts)
    # nohz_full implies it.
    if measured not in (get(facts, "cpus", "nohz_full") or []) and not State(facts).listed("rcu_nocbs"):
        yield Finding(
            "warn",
            "RCU",
            f"PREEMPT_RT, and CPU {measured} runs its own RCU callbacks: a busy FIFO task keeps them from running",
            f"boot with rcu_nocbs={measured}, else expect RCU stalls and memory that is not freed in mode fifo "
            "(Documentation/admin-guide/kernel-parameters.txt)",
        )


def _smt(facts: Mapping[str, Any]) -> Iterable[Finding]:
    topology = get(facts, "cpus", "topology") or {}
    shared = [cpu for cpu, where in topology.items() if len((where or {}).get("siblings") or []) > 1]
    if shared:
        yield Finding(
            "note",
            "SMT",
            "cores have sibling threads; the measured CPU's sibling is kept idle by the placement",
            f"other programs may still use it, and then runs are invalid: {RULES['sibling-busy'].remedy}",
        )


def _clock(facts: Mapping[str, Any]) -> Iterable[Finding]:
    source = get(facts, "clocksource")
    if source in ("tsc", "arch_sys_counter", "kvm-clock"):
        yield Finding("ok", "clock", f"clocksource {source}")
    elif source:
        yield Finding(
            "warn",
            "clock",
            f"clocksource {source}: clock_gettime is a system call here",
            "dmesg says why the TSC was refused; in a virtual machine boot with tsc=reliable",
        )


def _time_of_day(facts: Mapping[str, Any]) -> Iterable[Finding]:
    """How far the target's clock is off the controller's: told beyond a second, and never a reason for anything."""
    skew_ns, uncertainty_ns = (get(facts, "clock", key) for key in ("skew_ns", "uncertainty_ns"))
    if not isinstance(skew_ns, int) or not isinstance(uncertainty_ns, int):
        return
    if abs(skew_ns) - uncertainty_ns <= _SKEW_TOLD_NS:
        yield Finding("ok", "time of day", f"within {max(0.001, (abs(skew_ns) + uncertainty_ns) / 1e9):.3g} s of here")
        return
    days, seconds = divmod(abs(skew_ns) / 1e9, 86_400)
    length = f"{days:.0f} days" if days >= 2 else f"{days * 86_400 + seconds:.0f} s"
    yield Finding(
        "note",
        "time of day",
        f"its clock is {length} {'ahead of' if skew_ns > 0 else 'behind'} this controller's",
        "times in results are the target's own; nothing else goes by its clock, and isolbench never sets it: "
        "timedatectl set-ntp true, or ntpd, does",
    )


def _virtual(facts: Mapping[str, Any]) -> Iterable[Finding]:
    virtual = get(facts, "virtual")
    if virtual:
        yield Finding(
            "note",
            "machine",
            f"virtual ({virtual}): figures also show what the host did (steal, exits)",
            "compare kernels by counts on virtual machines, by latencies on metal",
        )
    else:
        yield Finding("ok", "machine", "metal, as far as can be seen")


def _privileges(facts: Mapping[str, Any]) -> Iterable[Finding]:
    root = get(facts, "privileges", "root")
    if root:
        yield Finding("ok", "privileges", "root")
    elif get(facts, "privileges", "sys_nice") or get(facts, "privileges", "rtprio_limit"):
        yield Finding(
            "note",
            "privileges",
            "not root: real-time scheduling works, knobs cannot be set",
            "allow sudo without a password for this user, or run as root",
        )
    else:
        yield Finding(
            "warn",
            "privileges",
            "not root: no real-time scheduling and no knobs; modes shared and pinned only",
            "allow sudo without a password for this user, or raise rtprio in /etc/security/limits.conf",
        )


def _knobs(facts: Mapping[str, Any]) -> Iterable[Finding]:
    """Those that can be set in one line; of the others one for each reason."""
    listed = get(facts, "knobs")
    listed = listed if isinstance(listed, Mapping) else {}
    known = {name: knob for name, knob in listed.items() if isinstance(knob, Mapping)}
    able = [name for name, knob in known.items() if knob.get("available")]
    if able and get(facts, "privileges", "root") is False:
        yield Finding("note", "knobs", f"need root to be set: {', '.join(able)}")  # how to become that is said once
    elif able:
        yield Finding("ok", "knobs", f"can be set: {', '.join(able)}")
    lost: dict[tuple[str, str], list[str]] = {}
    for name, knob in known.items():
        if not knob.get("available") and not (name == "services" and get(facts, "meddlers")):  # told by name, below
            reason, advice = str(knob.get("reason") or "no reason given"), str(knob.get("advice") or "")
            if name == "governor" and get(facts, "virtual"):
                advice = "set it on the host: a virtual machine has no frequency of its own to govern"
            lost.setdefault((reason, advice) if knob.get("needed", True) else ("", ""), []).append(name)
    if unneeded := lost.pop(("", ""), []):
        yield Finding("ok", "knobs", f"nothing to set here: {', '.join(unneeded)}")
    for (reason, advice), names in lost.items():
        yield Finding("note", "knobs", f"{', '.join(names)}: not available: {reason}", advice)


def _meddlers(facts: Mapping[str, Any]) -> Iterable[Finding]:
    """By systemd's units where it runs, else by processes."""
    active, processes = get(facts, "knobs", "services", "value"), get(facts, "meddlers")
    units = [str(unit) for unit in active] if isinstance(active, list) else []
    timers = [unit for unit in units if unit.endswith(".timer")]
    services = [unit for unit in units if unit not in timers]
    others = [str(name) for name in processes] if isinstance(processes, list) and not services else []
    disturbs, advice = (
        "running, and may undo what a run sets up",
        "tune: [services] in a campaign stops them for its runs",
    )
    if services:
        yield Finding(
            "warn",
            "services",
            f"{disturbs}: {', '.join(services)}",
            f"{advice}; or systemctl stop {' '.join(services)}",
        )
    if others:
        yield Finding(
            "warn",
            "services",
            f"{disturbs}: {', '.join(others)}",
            "end them: service NAME stop, with OpenRC rc-service NAME stop; start them again afterwards",
        )
    if timers:
        text = f"timers that may start work during a run: {', '.join(timers)}"
        yield Finding("note", "services", text, f"{advice}; or systemctl stop {' '.join(timers)}")


def _tracers(facts: Mapping[str, Any]) -> Iterable[Finding]:
    found = get(facts, "tracers")
    for name, held in found.items() if isinstance(found, Mapping) else ():
        what = ", ".join(map(str, held)) if isinstance(held, list) else str(held)
        yield Finding(
            "warn",
            "tracing",
            f"{name} has {what}: every entry into the kernel may take longer, and runs are suspect",
            "stop it while measuring",
        )


def _loads(facts: Mapping[str, Any]) -> Iterable[Finding]:
    """Those that can run in one line; of the others each with what to do. Without a second CPU none can: said above."""
    others = (get(facts, "cpus", "online") or [])[1:]
    able = []
    for name in loads.NAMES if others else ():
        reasons = loads.needs(LoadSpec(name, name), facts, others)
        if not reasons:
            able.append(name)
        for reason in reasons:
            text, _, remedy = reason.rpartition(": ")
            yield Finding("note", f"load {name}", text, remedy)
    if able:
        yield Finding("ok", "loads", f"can run: {', '.join(able)}")


def _attribution(facts: Mapping[str, Any]) -> Iterable[Finding]:
    if "attribution" not in facts:
        return  # an agent's of before it said so
    found = forecast(facts)
    yield Finding(
        "ok" if found.level == TRACEPOINTS and found.sure else "note", "attribution", str(found), found.advice
    )


_RULES = (
    _cpus,
    _isolation,
    _rcu,
    _smt,
    _clock,
    _time_of_day,
    _virtual,
    _privileges,
    _attribution,
    _knobs,
    _meddlers,
    _tracers,
    _loads,
)
