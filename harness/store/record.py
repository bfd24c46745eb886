# SPDX-License-Identifier: Apache-2.0
"""From what a target sent to what a ``run.json`` says: metrics and identity. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..agent.spec import SpecError, safe_name
from ..agent.validity import reason
from ..errors import InfrastructureFault
from . import hdr
from .files import BrokenResult
from .hlog import Interval, tag_of

#: Of what a task read back, that which must be equal; the CPU it happened to be on is not.
_TASK_KEYS = ("affinity", "policy", "priority")

#: Of a histogram: what was recorded, and what was not.
COUNTERS = ("recorded", "overflow", "negative", "dropped", "missed")


#: In front of the names of the control's metrics, and of its files.
CONTROL_PREFIX = "control."


class CorruptTransfer(InfrastructureFault):
    """What arrived is not what the target's record says it sent."""


@dataclass(frozen=True)
class RunContext:
    """What the controller knows of a run and the target does not.

    ``metrics`` is the bench file's: ``{"gap_ns": {"better": "lower", "gate": "p99.99"}}``. ``facts`` are the target's,
    of the session: identity comes from them, and from the run's own snapshot where that says more. ``control`` is what
    ``metrics`` is, for the metrics of the control. ``kernel`` and ``boot`` are what was asked for, by name; ``proof``
    is what was seen of that boot.
    """

    campaign: str
    execution: str
    session: int = 1
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    agent_sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    control: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kernel: str = "default"
    boot: str = "plain"
    proof: Mapping[str, Any] = field(default_factory=dict)


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """``value`` if it is a JSON object, else :class:`SpecError`."""
    if not isinstance(value, Mapping):
        raise SpecError(f"{what}: not an object")
    return value


def whole(value: object, what: str) -> int:
    """``value`` if it is an integer that fits 64 bits, else :class:`SpecError`."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 64:
        raise SpecError(f"{what}: not an integer: {value!r}")
    return value


def verify(record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Every file the record lists is there with its SHA-256, and none besides; else :class:`CorruptTransfer`."""
    listed = set()
    entries = record.get("files") or []
    if not isinstance(entries, list):
        raise SpecError("record.files: not a list")
    for entry in entries:
        name = safe_name(mapping(entry, "record.files").get("name"), "record.files.name")
        listed.add(name)
        if name not in files:
            raise CorruptTransfer(f"{record['run']}: {name} did not arrive")
        if hashlib.sha256(files[name]).hexdigest() != entry.get("sha256"):
            raise CorruptTransfer(f"{record['run']}: {name} arrived damaged: its SHA-256 is not the one recorded")
    if extra := sorted(set(files) - listed):
        raise CorruptTransfer(f"{record['run']}: {', '.join(extra)} arrived, but the record does not list it")


def metrics_of(
    record: Mapping[str, Any], files: Mapping[str, bytes], context: RunContext
) -> tuple[list[dict[str, Any]], list[Interval], list[dict[str, str]]]:
    """The ``metrics`` of a run.json, the intervals of its log, and reasons to suspect the run.

    Quantiles are read from the histogram; minimum and maximum are the probe's exact ones. A histogram that does not
    hold as many values as the probe says it recorded is kept, and the run is suspect.
    """
    metrics: list[dict[str, Any]] = []
    intervals: list[Interval] = []
    reasons: list[dict[str, str]] = []
    results = record.get("results") or []
    if not isinstance(results, list):
        raise SpecError("record.results: not a list")
    for result in results:
        found = _metrics_of_one(record, mapping(result, "record.results"), files, context.metrics)
        metrics += found[0]
        intervals += found[1]
        reasons += found[2]
    return metrics, intervals, reasons


def control_of(
    record: Mapping[str, Any], files: Mapping[str, bytes], context: RunContext
) -> tuple[Mapping[str, Any], list[dict[str, Any]], list[Interval]]:
    """The ``control`` of a run.json (empty if none was asked for), its metrics, and the intervals of its log.

    Its metrics are called ``control.gap_ns``, in the log too, so that nothing takes them for measured ones. One that
    cannot be used is unavailable: that costs no run.
    """
    control = mapping(record.get("control") or {}, "record.control")
    if control.get("status") != "ok":
        return control, [], []
    try:
        result = mapping(control.get("result"), "record.control.result")
        plain = {key: {**about, "gate": None} for key, about in context.control.items()}  # nothing is decided by it
        metrics, intervals, reasons = _metrics_of_one(record, result, files, plain, CONTROL_PREFIX)
    except (SpecError, BrokenResult, CorruptTransfer) as error:
        return {"cpu": control.get("cpu"), "status": "unavailable", "reason": str(error)}, [], []
    validity = judged(mapping(control.get("validity") or {}, "record.control.validity"), reasons)
    return {**control, "validity": validity}, [{**each, "role": "control"} for each in metrics], intervals


def _metrics_of_one(
    record: Mapping[str, Any],
    result: Mapping[str, Any],
    files: Mapping[str, bytes],
    asked: Mapping[str, Mapping[str, Any]],
    prefix: str = "",
) -> tuple[list[dict[str, Any]], list[Interval], list[dict[str, str]]]:
    metrics: list[dict[str, Any]] = []
    intervals: list[Interval] = []
    reasons: list[dict[str, str]] = []
    cpu = None if result.get("cpu") is None else whole(result["cpu"], "result.cpu")
    start_s = whole(mapping(result.get("started", {}), "result.started").get("realtime_ns", 0), "realtime_ns") / 1e9
    length_s = whole(result.get("duration_ns", 0), "result.duration_ns") / 1e9
    for name, about in mapping(result.get("histograms", {}), "result.histograms").items():
        tag = tag_of(prefix + safe_name(name, "metric"), cpu)
        payload = files.get(f"{tag}.hdr")
        if payload is None:
            raise CorruptTransfer(f"{record['run']}: {tag}.hdr did not arrive")
        metric, counts = _histogram(prefix + name, cpu, mapping(about, name), payload, asked.get(name, {}))
        metrics.append(metric)
        intervals.append(Interval(tag, start_s, length_s, float(metric["max"] or 0), hdr.to_blob(payload)))
        if counts.total != metric["recorded"]:
            reasons.append(_not_conserved(tag, metric["recorded"], counts.total))
    for name, about in mapping(result.get("scalars", {}), "result.scalars").items():
        metrics.append(_scalar(prefix + safe_name(name, "metric"), cpu, mapping(about, name), asked.get(name, {})))
    return metrics, intervals, reasons


def _histogram(
    name: str, cpu: int | None, about: Mapping[str, Any], payload: bytes, asked: Mapping[str, Any]
) -> tuple[dict[str, Any], hdr.Counts]:
    counts = hdr.decode(payload)
    exact = {key: None if about.get(key) is None else whole(about[key], f"{name}.{key}") for key in ("min", "max")}
    numbers = {key: whole(about.get(key, 0), f"{name}.{key}") for key in COUNTERS}
    metric = {
        "metric": name,
        "kind": "histogram",
        "cpu": cpu,
        "unit": str(about.get("unit", "ns")),
        "better": asked.get("better", "lower"),
        "gate": asked.get("gate"),
        **({"sample": asked["sample"]} if asked.get("sample") else {}),
        **numbers,
        **exact,
        "quantiles": counts.quantiles(exact["max"]),
    }
    return metric, counts


def _scalar(name: str, cpu: int | None, about: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    for key in ("value", "upper", "count"):
        number = about.get(key)
        if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float))):
            raise SpecError(f"{name}.{key}: not a number: {number!r}")
    metric = {
        "metric": name,
        "kind": "scalar",
        "cpu": cpu,
        "unit": str(about.get("unit", "")),
        "better": asked.get("better", "lower"),
        "value": about.get("value"),
        "upper": about.get("upper"),
    }
    if about.get("count") is not None:
        metric["count"] = about["count"]
    return metric


def _not_conserved(tag: str, recorded: int, found: int) -> dict[str, str]:
    return reason("counts-not-conserved", f"{tag}: the probe recorded {recorded} values, its histogram holds {found}")


def judged(validity: Mapping[str, Any], reasons: list[dict[str, str]]) -> dict[str, Any]:
    """The target's judgement with ours added. It gets worse by it, never better."""
    state = str(validity.get("state") or "suspect")
    if reasons and state == "valid":
        state = "suspect"
    return {**validity, "state": state, "reasons": [*(validity.get("reasons") or []), *reasons]}


def interrupts_of(record: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """By CPU, also the control's: how often each line of /proc/interrupts came between the two snapshots, if it did.

    The probe's start and end lie in between, so of a short run that is a little more than what its loop saw.
    """
    sides = [mapping(record.get(f"facts_{when}") or {}, f"record.facts_{when}") for when in ("before", "after")]
    before, after = (mapping(side.get("interrupts") or {}, "interrupts") for side in sides)
    found = {}
    for cpu, counts in after.items():
        earlier = mapping(before.get(cpu) or {}, f"interrupts.{cpu}")
        now = mapping(counts, f"interrupts.{cpu}").items()
        came = {name: whole(count, name) - whole(earlier.get(name, 0), name) for name, count in now}
        found[cpu] = {name: count for name, count in came.items() if count > 0}
    return found


def identity_of(record: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
    """What must be equal for two runs to be compared (the axis under comparison excepted)."""
    facts = context.facts
    snapshot = mapping(record.get("facts_before") or {}, "record.facts_before")
    kernel, artefact = _kernel(context, snapshot)
    spec = mapping(record.get("spec") or {}, "record.spec")
    probe = mapping(spec.get("probe") or {}, "spec.probe")
    return {
        "build_id": kernel.get("build_id"),
        "kernel_release": _text(snapshot.get("kernel")) or kernel.get("release"),
        "kernel_version": _text(snapshot.get("kernel_version")) or kernel.get("version"),
        "config_sha256": artefact.get("config_sha256") or kernel.get("config_sha256"),
        "artefact_sha256": artefact.get("sha256"),
        **{key: kernel.get(key) for key in ("cmdline", "preempt")},
        **{
            key: facts.get(key)
            for key in ("arch", "cpu_model", "microcode", "firmware", "serial", "uuid", "machine_id")
        },
        "clocksource": _text(snapshot.get("clocksource")) or facts.get("clocksource"),
        "tsc": facts.get("tsc"),
        "virtual": facts.get("virtual"),
        "mode": _mode(spec, mapping(record.get("effective") or {}, "record.effective")),
        "knobs": _knobs(record.get("knobs") or []),
        "agent_sha256": context.agent_sha256,
        "probe_sha256": probe.get("sha256"),
        "probe": _probe_identity(record.get("results") or []),
    }


def _kernel(context: RunContext, snapshot: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What is known of the kernel that the run had, and of the artefact that it was made of.

    The facts may be of a later boot than the run, which then was kept on the target meanwhile: the same build is known
    by its version, and of its command line and where it came from nothing is.
    """
    kernel = mapping(context.facts.get("kernel") or {}, "facts.kernel")
    boot_id = _text(snapshot.get("boot_id"))
    of_this_boot = boot_id in (None, context.facts.get("boot_id"))
    proved = bool(boot_id) and boot_id == context.proof.get("boot_id")
    artefact = mapping(context.proof.get("artefact") or {}, "proof.artefact") if proved else {}
    if of_this_boot:
        return kernel, artefact
    pairs = (("kernel", "release"), ("kernel_version", "version"))
    same = all(_text(snapshot.get(seen)) == kernel.get(known) for seen, known in pairs)
    return {**kernel, "cmdline": None} if same else {}, artefact


def _probe_identity(results: object) -> dict[str, Any]:
    """By CPU, what the probe itself found that must be equal: of `work`, how much it did. Empty for most."""
    found = {}
    for result in results if isinstance(results, list) else []:
        result = mapping(result, "record.results")
        said = mapping(result.get("identity") or {}, "result.identity")
        if said:
            found["any" if result.get("cpu") is None else str(result["cpu"])] = dict(said)
    return found


def _mode(spec: Mapping[str, Any], effective: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked, who provided it, and what each task read back of itself at the start."""
    asked = mapping(spec.get("mode") or {}, "spec.mode")
    tasks = mapping(effective.get("tasks") or {}, "effective.tasks")
    return {
        **{key: asked[key] for key in ("where", "sched", "hold") if key in asked},
        "provider": effective.get("provider"),
        "tasks": {
            cpu: {key: start[key] for key in _TASK_KEYS if key in start}
            for cpu, start in (
                (cpu, mapping(mapping(t or {}, cpu).get("start") or {}, cpu)) for cpu, t in tasks.items()
            )
        },
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _knobs(knobs: object) -> dict[str, Any]:
    if not isinstance(knobs, list):
        raise SpecError("record.knobs: not a list")
    return {
        str(knob["name"]): knob.get("effective")
        for knob in (mapping(entry, "record.knobs") for entry in knobs)
        if "name" in knob
    }
