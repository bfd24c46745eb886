# SPDX-License-Identifier: Apache-2.0
"""Did the world hold still during a run? Pure rules over what was read before, after and by the probe.

A run is never judged by its own result: a rule may look at what was done to the run, not at how long its gaps are.
What a machine does not show (None) trips nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterator, Mapping, Sequence

from . import services
from .modes import Mode
from .spec import RunSpec, Validity, event_lists
from .system import parse_cpus

MIN_LOAD_SHARE = 0.9
#: A sibling hyperthread that is busy for more than this share of the run shares the core's time.
MAX_SIBLING_SHARE = 0.05
#: Two clocks cannot be read at one instant: less than this between them is no suspend.
SUSPEND_NS = 50 * 10**6
#: Two calibrations of a sound counter agree far better, beyond what either states as its own error.
MAX_DRIFT_PPM = 100.0
#: Probes that begin together do so within microseconds; one that was late has another start and end.
MAX_SKEW_NS = 10 * 10**6
USER_HZ = 100  # of /proc/stat, on every architecture we run on
#: The CPU time of a running task is as old as its last tick, at the slowest of 100 Hz: so much may be missing.
TICK_NS = 10**9 // USER_HZ
#: A load that works in bursts cannot be told from one that does nothing in less than this.
LEAST_FOR_ARGV_NS = 20 * TICK_NS

INVALID, SUSPECT = "invalid", "suspect"


@dataclass(frozen=True)
class Evidence:
    """All that the rules may look at. ``knobs`` are the outcomes, ``kmsg`` what the kernel said meanwhile, or None."""

    spec: RunSpec
    mode: Mode
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    results: Sequence[Mapping[str, Any]]
    load: Mapping[str, Any]
    knobs: Sequence[Mapping[str, Any]]
    kmsg: Mapping[str, Any] | None

    def changed(self, key: str) -> bool:
        """True if a fact is known on both sides and differs."""
        before, after = self.before.get(key), self.after.get(key)
        return before is not None and after is not None and before != after


Finding = tuple[str, str, str, str]  # rule, state, text, advice
Rule = Callable[[Evidence], Iterator[Finding]]


def judge(evidence: Evidence, rules: Sequence[Rule] | None = None) -> Validity:
    """The verdict of all rules, or of ``rules``: the worst state, and every reason."""
    reasons = [
        {"rule": rule, "state": state, "text": text, "advice": advice}
        for each in (RULES if rules is None else rules)
        for rule, state, text, advice in each(evidence)
    ]
    states = {reason["state"] for reason in reasons}
    return Validity(INVALID if INVALID in states else SUSPECT if SUSPECT in states else "valid", reasons)


def _machine(seen: Evidence) -> Iterator[Finding]:
    """What must not change at all while a run goes on."""
    for key, rule, what, advice in (
        ("boot_id", "rebooted", "the machine was rebooted", "run it again; if it crashes each time, see its console"),
        ("kernel", "kernel-changed", "the kernel changed", "run it again"),
        ("kernel_version", "kernel-changed", "the kernel's build changed", "run it again"),
        ("clocksource", "clocksource-changed", "the clocksource changed", "see dmesg; boot with tsc=reliable if it is"),
        ("clocksources", "tsc-state", "the kernel's trust in a clock changed", "see dmesg for the reason"),
        ("online", "cpus-changed", "a CPU went online or offline", "stop whatever hotplugs CPUs"),
        ("modules_sha256", "modules-changed", "a module was loaded or removed", "load what the load needs beforehand"),
        ("livepatch", "livepatch-changed", "a livepatch was switched", "do not patch while measuring"),
        ("sched_ext", "scheduler-changed", "a BPF scheduler was loaded or left", "stop scx services while measuring"),
        ("tracing", "tracing-changed", "tracing was switched by others", "leave tracefs alone while measuring"),
    ):
        if seen.changed(key):
            yield rule, INVALID, f"{what}: {_short(seen.before[key])} -> {_short(seen.after[key])}", advice
    asleep = [side["boottime_ns"] - side["monotonic_ns"] for side in (seen.before, seen.after) if "boottime_ns" in side]
    if len(asleep) == 2 and asleep[1] - asleep[0] > SUSPEND_NS:
        yield (
            "suspended",
            INVALID,
            "the machine was suspended",
            "disable suspend (systemd-inhibit, or mask sleep.target)",
        )


def _placement(seen: Evidence) -> Iterator[Finding]:
    """The task was where, and as, it was asked to be, at its start and at its end."""
    if seen.mode.pinned and {result.get("cpu") for result in seen.results} != set(seen.spec.cpus):
        yield "wrong-cpu", INVALID, "not each asked CPU was measured", "see log.txt; this is a bug if it stays"
    for result in seen.results:
        cpu = result.get("cpu")
        effective = result.get("effective") or {}
        start, end = (effective.get(when) or {} for when in ("start", "end"))
        if not seen.mode.pinned and start and end and start.get("affinity") != end.get("affinity"):
            text = f"allowed on CPU {start.get('affinity')} at its start, on {end.get('affinity')} at its end"
            yield "affinity-changed", INVALID, text, "stop what moves tasks: cpuset managers, tuned, numad"
        for when in ("start", "end"):
            state = effective.get(when)
            if not isinstance(state, Mapping):
                yield "unknown-placement", INVALID, f"the probe did not read back its {when}", "see log.txt"
                continue
            affinity = parse_cpus(str(state.get("affinity", "")))
            if seen.mode.pinned and (affinity != [cpu] or state.get("cpu", cpu) != cpu):
                text = f"asked for CPU {cpu}, at its {when} on {state.get('cpu')}, allowed {state.get('affinity')}"
                yield "affinity-lost", INVALID, text, "stop what moves tasks: cpuset managers, tuned, numad"
            if (state.get("policy"), state.get("priority") or 0) != (seen.mode.policy, seen.mode.priority):
                text = f"asked for {seen.mode.sched}, at its {when} {state.get('policy')}:{state.get('priority')}"
                yield "policy-lost", INVALID, text, "stop what renices tasks: rtkit, ananicy, uresourced"
        if effective.get("memory_locked") is False:
            text = f"memory not locked: {effective.get('memory_error') or 'refused'}"
            yield "memory-unlocked", SUSPECT, text, "become: sudo, or raise the memlock limit"


def _together(seen: Evidence) -> Iterator[Finding]:
    """The probes of one run, on several CPUs, cover the same time."""
    starts = [(result.get("started") or {}).get("monotonic_raw_ns") for result in seen.results]
    known = [start for start in starts if isinstance(start, int)]
    skew_ns = max(known, default=0) - min(known, default=0)
    if skew_ns > max(MAX_SKEW_NS, seen.spec.duration_ns // 100):
        text = f"the probes began up to {skew_ns // 10**6} ms apart: they did not measure the same time"
        yield "started-apart", SUSPECT, text, "measure for longer, or find what keeps the target from starting them"


def _faults(seen: Evidence) -> Iterator[Finding]:
    advice = "free memory on the target; switch THP, KSM and NUMA balancing off"
    for result in seen.results:
        faults = result.get("faults") or {}
        if faults.get("major"):
            yield "major-faults", INVALID, f"{faults['major']} major page faults", advice
        if faults.get("minor"):
            yield "minor-faults", INVALID, f"{faults['minor']} minor page faults after arming", advice


def _power(seen: Evidence) -> Iterator[Finding]:
    for cpu, counts in (seen.after.get("throttled") or {}).items():
        earlier = (seen.before.get("throttled") or {}).get(cpu) or {}
        grown = [name for name, count in counts.items() if name in earlier and count > earlier[name]]
        if grown:
            yield "throttled", INVALID, f"CPU {cpu} was throttled by heat ({', '.join(grown)})", "cool it; lower turbo"
    for key, what in (("frequency", "governor or frequency limits"), ("energy", "turbo, boost or SMT setting")):
        if seen.changed(key):
            yield f"{key}-changed", SUSPECT, f"{what} changed", "stop tuned, thermald, power-profiles-daemon"


def _neighbours(seen: Evidence) -> Iterator[Finding]:
    """Who else used the core, or the machine."""
    before, after = seen.before.get("busy_ticks") or {}, seen.after.get("busy_ticks") or {}
    elapsed_s = max(1, seen.after.get("monotonic_ns", 0) - seen.before.get("monotonic_ns", 0)) / 1e9
    # A task that is not pinned may itself be what keeps a sibling busy: it shares the machine, as asked.
    for cpu, siblings in (seen.before.get("siblings") or {}).items() if seen.mode.pinned else ():
        for other in {str(each) for each in siblings} - {str(each) for each in seen.spec.cpus}:
            share = (after.get(other, 0) - before.get(other, 0)) / USER_HZ / elapsed_s
            ticks = after.get(other, 0) - before.get(other, 0)
            if ticks > 1 and share > MAX_SIBLING_SHARE:
                text = f"CPU {other}, the sibling of CPU {cpu}, was busy for {share:.0%} of the run"
                yield "sibling-busy", INVALID, text, "isolate the whole core, or switch SMT off"
    for cpu, steal in (seen.after.get("steal_ticks") or {}).items():
        stolen = steal - (seen.before.get("steal_ticks") or {}).get(cpu, steal)
        if stolen > 0:
            text = f"the hypervisor took {stolen * 1000 // USER_HZ} ms from CPU {cpu}"
            yield "steal", SUSPECT, text, "measure on metal, or pin the virtual CPU on its host"
    stops = (seen.after.get("quota_throttled") or 0) - (seen.before.get("quota_throttled") or 0)
    if stops > 0:
        text = f"a CPU quota stopped the agent's cgroup {stops} times"
        yield "quota", SUSPECT, text, "lift the container's CPU limit (cpu.max, --cpus, CPUQuota=)"
    if seen.changed("irq_affinity_sha256"):
        yield "irq-affinity-changed", SUSPECT, "somebody changed the affinity of interrupts", "stop irqbalance"
    swap_before, swap_after = seen.before.get("swap") or {}, seen.after.get("swap") or {}
    if any(swap_after.get(name, 0) > count for name, count in swap_before.items()):
        yield "swapping", SUSPECT, "the machine swapped", "swapoff -a, or free memory"
    if seen.changed("tainted"):
        text = f"the kernel became tainted: {seen.before['tainted']} -> {seen.after['tainted']}"
        yield "tainted", SUSPECT, text, "see dmesg"
    users = max(seen.before.get("users") or 0, seen.after.get("users") or 0)
    if users:
        yield "logged-in", SUSPECT, f"{users} logged in on a terminal", "log out, or measure at night"
    meddlers = sorted({*(seen.before.get("meddlers") or []), *(seen.after.get("meddlers") or [])})
    if meddlers:
        yield "meddling-service", SUSPECT, f"running: {', '.join(meddlers)}", services.remedy(meddlers)
    if (seen.before.get("tracing") or {}).get("tracer") not in (None, "nop"):
        tracer = seen.before["tracing"]["tracer"]
        yield "tracer-active", SUSPECT, f"the {tracer} tracer was on", "echo nop > current_tracer"


def _least_share(seen: Evidence) -> float:
    """The part of its CPUs' time that a load must have had.

    Where the task itself could only run on these CPUs (not pinned, on a machine with isolcpus), it competes with the
    load, as asked: an equal among as many as there are CPUs, or before them all at real-time priority.
    """
    cpus = set(seen.load.get("cpus") or ())
    starts = [(result.get("effective") or {}).get("start") or {} for result in seen.results]
    among = sum(bool(found) and found <= cpus for found in (set(parse_cpus(str(at.get("affinity")))) for at in starts))
    if seen.mode.pinned or not among:
        return MIN_LOAD_SHARE
    left = (len(cpus) - among) / len(cpus) if seen.mode.priority else len(cpus) / (len(cpus) + among)
    return MIN_LOAD_SHARE * max(0.0, left)


def _unseen_share(seen: Evidence) -> float:
    """The part of what the load was due that the kernel may not have counted yet: a tick on each CPU."""
    due_ns = seen.load.get("due_ns")
    return TICK_NS * len(seen.load.get("cpus") or ()) / due_ns if due_ns else 0.0


def _load(seen: Evidence) -> Iterator[Finding]:
    least = _least_share(seen)
    name, share = seen.load.get("name"), seen.load.get("share")
    advice = "see that nothing else runs on the housekeeping CPUs"
    if seen.load.get("ended"):
        text = f"load {name} ended before the measurement did ({seen.load['ended']})"
        yield "load-ended", INVALID, text, "use a load that lasts longer than settle and duration"
    elif share is not None and share + _unseen_share(seen) < least:
        yield "load-short", INVALID, f"load {name} had {share:.0%} of its CPU time, not {least:.0%}", advice
    elif (
        seen.load.get("kind") == "argv"
        and not seen.load.get("cpu_time_ns")
        and seen.after.get("monotonic_ns", 0) - seen.before.get("monotonic_ns", 0) >= LEAST_FOR_ARGV_NS
    ):
        yield "load-short", INVALID, f"load {name} used no CPU time at all", "does it do anything?"


def _kernel_log(seen: Evidence) -> Iterator[Finding]:
    for line in (seen.kmsg or {}).get("matches", [])[:5]:
        yield "dmesg", INVALID, f"the kernel said: {line[:200]}", "look at dmesg on the target"
    if (seen.kmsg or {}).get("lost"):
        text = "the kernel's log was overwritten before it could be read"
        yield "dmesg-lost", SUSPECT, text, "find what floods dmesg, or boot with a larger log_buf_len"


def _clock(seen: Evidence) -> Iterator[Finding]:
    """The counter ran at one rate, so what its first calibration converted is what it was; and it is read fast."""
    for result in seen.results:
        own, threshold = (result.get("loop") or {}).get("own_cost_ns"), (result.get("params") or {}).get("threshold_ns")
        if own is not None and threshold is not None and own >= threshold:
            text = f"the loop itself takes {own:.0f} ns here: over a threshold of {threshold} ns, all are gaps"
            yield (
                "threshold-too-low",
                SUSPECT,
                text,
                "raise the threshold; an emulated counter, or one that traps, is slow",
            )
        clock = result.get("clock") or {}
        drift, errors = (
            clock.get("drift_ppm"),
            (clock.get("frequency_initial_error_ppm"), clock.get("frequency_error_ppm")),
        )
        known = sum(float(each) for each in errors if each is not None)
        if drift is not None and abs(drift) > MAX_DRIFT_PPM + 2 * known:
            text = f"the counter's rate moved by {drift:.0f} ppm against CLOCK_MONOTONIC_RAW"
            yield (
                "clock-drift",
                SUSPECT,
                text,
                "is the TSC sound? see dmesg, and whether a hypervisor migrated this machine",
            )
        if clock.get("invariant") is False and clock.get("virtual") is False:
            text = "the counter's rate follows the CPU's (no invariant TSC): its times are not to be trusted"
            yield "clock-varies", SUSPECT, text, "fix the frequency: governor performance, no turbo; or use a newer CPU"


def _counts(seen: Evidence) -> Iterator[Finding]:
    """No sample may be lost in silence."""
    for result in seen.results:
        where = "the task" if result.get("cpu") is None else f"CPU {result['cpu']}"
        for metric, histogram in (result.get("histograms") or {}).items():
            lost = (histogram.get("dropped") or 0) + (histogram.get("negative") or 0)
            if lost:
                text = f"{metric} of {where}: {lost} samples dropped or negative"
                yield "samples-lost", SUSPECT, text, "is the clock sound? see clocksource and dmesg"
        for name, events in event_lists(result):
            if events.get("dropped"):
                text = f"{events['dropped']} of {events.get('count')} {name} of {where} did not fit in the ring"
                yield "ring-loss", SUSPECT, text, "raise the threshold, or the ring"
            if "count" in events and events["stored"] + (events.get("dropped") or 0) != events["count"]:
                text = f"of {events['count']} {name} {events['stored']} were stored and {events.get('dropped')} dropped"
                yield "counts-not-conserved", SUSPECT, text, "this is a bug of the probe: please report"


def _knobs(seen: Evidence) -> Iterator[Finding]:
    """A knob that was asked for counts always. One that a mode turns by itself counts where it matters: for FIFO the
    scheduler itself takes time back. Interrupts that stayed count if they came, whoever asked.
    """
    for knob in seen.knobs:
        name = str(knob.get("name"))
        advice = str(knob.get("advice") or "see the reason")
        if knob.get("meanwhile"):
            yield "knob-changed", SUSPECT, f"{name}: {knob['meanwhile']}", "stop what sets it: tuned, irqbalance"
        if knob.get("ok"):
            continue
        if name in seen.spec.tune and name != "irq-affinity":
            text = f"{name} was asked for (tune) and is not in effect: {knob.get('reason')}"
            yield "knob-ineffective", SUSPECT, text, advice
        elif name in ("rt-throttling", "fair-server") and seen.mode.priority:
            text = f"{name} is in force ({knob.get('reason')}): stolen time may be the scheduler's own"
            yield "knob-ineffective", SUSPECT, text, advice
        elif name == "irq-affinity":
            fired = _device_interrupts(seen, knob)
            if fired:
                text = f"device interrupts hit the measured CPU ({fired}): {knob.get('reason')}"
                yield "knob-ineffective", SUSPECT, text, advice


def _device_interrupts(seen: Evidence, knob: Mapping[str, Any]) -> str:
    """``irq 36: 12, …`` of devices' interrupts that came to a measured CPU during the run.

    Devices' have numbers; so have arm64's per-CPU ones, the tick among them, which the knob names.
    """
    fired = []
    per_cpu = (knob.get("detail") or {}).get("per_cpu") or ()
    for cpu, counts in (seen.after.get("interrupts") or {}).items():
        earlier = (seen.before.get("interrupts") or {}).get(cpu) or {}
        for irq, count in counts.items():
            if irq.isdigit() and irq not in per_cpu and count > earlier.get(irq, 0):
                fired.append(f"irq {irq}: {count - earlier.get(irq, 0)}")
    return ", ".join(fired)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


RULES: tuple[Rule, ...] = (
    _machine,
    _placement,
    _together,
    _faults,
    _power,
    _neighbours,
    _load,
    _kernel_log,
    _clock,
    _counts,
    _knobs,
)
#: What a control answers for: itself, and that the machine stayed what it was.
CONTROL_RULES: tuple[Rule, ...] = (_machine, _placement, _faults, _clock, _counts)
