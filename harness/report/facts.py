# SPDX-License-Identifier: Apache-2.0
"""A target's facts as rows of text, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..store.documents import real
from .grouping import compact


def rows(
    facts: Mapping[str, Any], run: Mapping[str, Any], probes: Iterable[str] = (), *, booting: bool = False
) -> tuple[tuple[str, str], ...]:
    """Label and text of what matters to a reader; ``run`` is the newest run.json, or empty before the first.
    ``probes`` are those of all runs, by default that of this one. Of a machine that is ``booting`` other kernels
    those rows are left out that are of one boot.

    Without ``facts`` (of one run alone) the run's identity says most of it.
    """
    facts = facts or _from_identity(_of(run, "identity"))
    kernel = _of(facts, "kernel")
    result = _result(run)
    spec = _of(run, "spec")
    cpus = _of(facts, "cpus")
    of_one_boot = [
        ("Kernel", _join(kernel.get("release"), kernel.get("version"))),
        ("Command line", _text(kernel.get("cmdline"))),
        ("Preemption", _text(kernel.get("preempt"))),
    ]
    found = [
        *(of_one_boot if not booting else ()),
        ("CPU", _join(facts.get("cpu_model"), _microcode(facts))),
        ("Machine", _machine(facts)),
        ("CPUs", _cpus(cpus, ("online",) if booting else ("online", "isolated", "nohz_full"))),
        ("Measured on", _placement(spec)),
        ("Clock", _clock(facts, _of(result, "clock"))),
        ("Knobs", _knobs(run.get("knobs"))),
        ("Probe", "; ".join(sorted(filter(None, probes))) or probe(run)),
    ]
    return tuple((label, text) for label, text in found if text)


def ranges(numbers: Iterable[object]) -> str:
    """``[0, 1, 2, 5]`` as ``0-2,5``; none as ``none``."""
    known = sorted({number for number in numbers if isinstance(number, int)})
    parts: list[list[int]] = []
    for number in known:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts) or "none"


def _from_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    if not identity:
        return {}
    kernel = {"release": identity.get("kernel_release"), "version": identity.get("kernel_version")}
    kernel.update({key: identity.get(key) for key in ("cmdline", "preempt")})
    return {**identity, "kernel": kernel}


def _cpus(cpus: Mapping[str, Any], keys: Iterable[str]) -> str:
    return _join(*(f"{key} {ranges(cpus.get(key) or [])}" for key in keys if cpus))


def _machine(facts: Mapping[str, Any]) -> str:
    virtual = facts.get("virtual")
    known = facts.get("arch") is not None
    kind = f"virtual machine ({virtual})" if virtual is not None else "bare metal" if known else None
    return _join(kind, facts.get("firmware"), facts.get("arch"))


def _microcode(facts: Mapping[str, Any]) -> str | None:
    return f"microcode {facts['microcode']}" if facts.get("microcode") else None


def _placement(spec: Mapping[str, Any]) -> str:
    if not spec:
        return ""
    cpus, housekeeping = (spec.get(key) or [] for key in ("cpus", "housekeeping"))
    if not isinstance(cpus, list) or not isinstance(housekeeping, list):
        return ""
    control, helpers = spec.get("control"), spec.get("helpers")
    return _join(
        f"CPU {ranges(cpus)}",
        f"housekeeping {ranges(housekeeping)}",
        f"control {control.get('cpu')}" if isinstance(control, Mapping) else None,
        f"helper {ranges(helpers)}" if isinstance(helpers, list) and helpers else None,
    )


def _clock(facts: Mapping[str, Any], clock: Mapping[str, Any]) -> str:
    frequency, granularity = real(clock.get("frequency_hz")), real(clock.get("granularity_ns"))
    return _join(
        f"probe {clock['source']}" if clock.get("source") else None,
        f"{frequency / 1e6:.3f} MHz" if frequency is not None else None,
        f"granularity {granularity:g} ns" if granularity is not None else None,
        None if clock.get("invariant") is None else "invariant" if clock["invariant"] else "not invariant",
        f"kernel {facts['clocksource']}" if facts.get("clocksource") else None,
        _tsc(_of(facts, "tsc")),
    )


def _tsc(tsc: Mapping[str, Any]) -> str | None:
    states = [name if tsc[name] else f"not {name}" for name in ("constant", "nonstop", "trusted") if name in tsc]
    return f"TSC {', '.join(states)}" if states else None


def _knobs(knobs: object) -> str:
    if not isinstance(knobs, list):
        return ""
    parts = []
    for knob in knobs:
        if isinstance(knob, Mapping) and "name" in knob and knob.get("needed") is not False:
            reason = knob.get("reason")
            value = _setting(knob.get("effective"))
            parts.append(f"{knob['name']}: {compact(str(reason))}" if reason else f"{knob['name']} = {value}")
    return " · ".join(parts)


def _setting(value: object) -> str:
    """What a knob was set to: one value, those of several files by name, or what is left of a list."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none left"
    return str(value)


def probe(run: Mapping[str, Any]) -> str:
    """Name, version, binary and compiler of the probe of a run.json."""
    result, binary = _result(run), _of(_of(run, "spec"), "probe")
    return _join(
        " ".join(str(result[key]) for key in ("probe", "version") if result.get(key)),
        str(binary["sha256"])[:12] if binary.get("sha256") else None,
        result.get("compiler"),
    )


def _result(run: Mapping[str, Any]) -> Mapping[str, Any]:
    results = run.get("results")
    return results[0] if isinstance(results, list) and results and isinstance(results[0], Mapping) else {}


def _of(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, Mapping) else {}


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _join(*parts: object) -> str:
    return " · ".join(str(part) for part in parts if part not in (None, ""))
