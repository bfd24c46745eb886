# SPDX-License-Identifier: Apache-2.0
"""Was the probe's clock sound, is all there that it counted, and were the settings in effect that it relies on?"""

from __future__ import annotations

from typing import Any, Iterator, Mapping

from ..spec import event_lists
from ..system import parse_cpus
from .evidence import Evidence, Finding

#: Two calibrations of a sound counter agree far better, beyond what either states as its own error.
MAX_DRIFT_PPM = 100.0
#: What the scheduler takes from a FIFO task that never sleeps, by the knob that has it stop.
_TAKEN = {
    "rt-throttling": "for what is over sched_rt_runtime_us of each sched_rt_period_us (50 ms of each second)",
    "fair-server": "50 ms of each second where an ordinary task waits",
}


def clock(seen: Evidence) -> Iterator[Finding]:
    """The counter ran at one rate, so what its first calibration converted is what it was; and it is read fast."""
    for result in seen.results:
        own, threshold = (result.get("loop") or {}).get("own_cost_ns"), (result.get("params") or {}).get("threshold_ns")
        if own is not None and threshold is not None and own >= threshold:
            text = f"the loop itself takes {own:.0f} ns here: over a threshold of {threshold} ns, all are gaps"
            yield Finding("threshold-too-low", text)
        found = result.get("clock") or {}
        drift = found.get("drift_ppm")
        errors = (found.get("frequency_initial_error_ppm"), found.get("frequency_error_ppm"))
        known = sum(float(each) for each in errors if each is not None)
        if drift is not None and abs(drift) > MAX_DRIFT_PPM + 2 * known:
            text = f"the counter's rate moved by {drift:.0f} ppm against CLOCK_MONOTONIC_RAW"
            yield Finding("clock-drift", text)
        if found.get("invariant") is False and found.get("virtual") is False:
            text = "the counter's rate follows the CPU's (no invariant TSC): its times are not to be trusted"
            yield Finding("clock-varies", text)


def counts(seen: Evidence) -> Iterator[Finding]:
    """No sample may be lost in silence."""
    for result in seen.results:
        where = "the task" if result.get("cpu") is None else f"CPU {result['cpu']}"
        for metric, histogram in (result.get("histograms") or {}).items():
            lost = (histogram.get("dropped") or 0) + (histogram.get("negative") or 0)
            if lost:
                yield Finding("samples-lost", f"{metric} of {where}: {lost} samples dropped or negative")
        for name, events in event_lists(result):
            if events.get("dropped"):
                text = f"{events['dropped']} of {events.get('count')} {name} of {where} did not fit in the ring"
                yield Finding("ring-loss", text)
            if "count" in events and events["stored"] + (events.get("dropped") or 0) != events["count"]:
                text = f"of {events['count']} {name} {events['stored']} were stored and {events.get('dropped')} dropped"
                yield Finding("counts-not-conserved", text)


def knobs(seen: Evidence) -> Iterator[Finding]:
    """A knob that was asked for counts always. One that a mode turns by itself counts where it matters: for FIFO the
    scheduler itself takes time back. Interrupts that stayed count if they came, whoever asked.
    """
    for knob in seen.knobs:
        name, advice, why = str(knob.get("name")), knob.get("advice"), knob.get("reason")
        if knob.get("meanwhile"):
            yield Finding("knob-changed", f"{name}: {knob['meanwhile']}")
        if name == "irq-affinity":
            yield from _interrupts(seen, knob)
        if knob.get("ok"):
            continue
        if name in seen.spec.tune and name != "irq-affinity":
            yield Finding("knob-ineffective", f"{name} was asked for (tune) and is not in effect: {why}", advice)
        elif name in ("rt-throttling", "fair-server") and seen.mode.priority:
            text = f"{name} is in force ({why}): the scheduler holds the task off its CPU, {_TAKEN[name]}, by design"
            yield Finding("fifo-throttled", text, advice)


def _interrupts(seen: Evidence, knob: Mapping[str, Any]) -> Iterator[Finding]:
    """Those of devices that came to a measured CPU, also where none was allowed there any more: what counts is what
    came. A file that reads as wished is no proof: some chips move late, and a new IRQ goes where its driver says.
    """
    fired = _device_interrupts(seen, knob.get("detail") or {})
    if fired and not knob.get("ok"):
        text = f"device interrupts hit the measured CPU ({fired}): {knob.get('reason')}"
        yield Finding("knob-ineffective", text, knob.get("advice"))
    elif fired:
        yield Finding(
            "knob-ineffective",
            f"device interrupts hit the measured CPU ({fired}), though none may: they move late, or are new",
            "load drivers beforehand and settle for longer; with interrupt remapping (IOMMU) x86 moves them at once",
        )


def _device_interrupts(seen: Evidence, detail: Mapping[str, Any]) -> str:
    """``irq 36: 12, …`` of devices' interrupts that came to a measured CPU during the run.

    Devices' have numbers; so have arm64's per-CPU ones, the tick among them, which the knob names. A single one of an
    IRQ that was moved is the move itself: without remapping it comes once more to the old CPU, and goes from there.
    That of a busy device comes as the run settles, that of a device at rest whenever it wakes; two are no move.
    """
    fired = []
    per_cpu = detail.get("per_cpu") or ()
    moved = set(parse_cpus(detail.get("moved_irqs")))
    interrupts = seen.after.get("interrupts") or {}
    for cpu in map(str, seen.spec.cpus):  # not the control's, whose are counted as well
        counts = interrupts.get(cpu) or {}
        earlier = (seen.before.get("interrupts") or {}).get(cpu) or {}
        for irq, count in counts.items():
            came = count - earlier.get(irq, 0)
            if irq.isdigit() and irq not in per_cpu and came > (int(irq) in moved):
                fired.append(f"irq {irq}: {came}")
    return ", ".join(fired)
