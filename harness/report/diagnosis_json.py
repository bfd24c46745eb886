# SPDX-License-Identifier: Apache-2.0
"""What ``doctor`` measured, for machines: keys as docs/formats.md has them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..advice import explain
from ..stats.diagnosis import Complaint, Diagnosis, Treatment, changes, treatments
from .diagnosis import boots_line, command_line


def to_json(found: Diagnosis, advice: str) -> dict[str, Any]:
    """All of it. Times in ns, rates by the second."""
    return {
        "target": found.target,
        "run": found.run,
        "mode": found.mode,
        "cpu": found.cpu,
        "duration_s": found.seconds,
        "threshold_ns": found.threshold_ns,
        "count": found.count,
        "rate_hz": found.rate_hz(found.count),
        "at_most_hz": found.at_most_hz,
        "stolen_ns": found.stolen_ns,
        "state": found.state,
        "reasons": list(found.reasons),
        "level": found.level,
        "why": list(found.causes.reasons),
        "advice": advice or None,
        "conserved": found.causes.conserved,
        "causes": [_cause(found, each) for each in found.complaints],
        "treatments": [_treatment(each) for each in treatments(found)],
        "boots": boots_line(found) or None,
        "cmdline": command_line(found) or None,
    }


def _cause(found: Diagnosis, each: Complaint) -> dict[str, Any]:
    return {
        "cause": each.name,
        "text": explain(each.name),
        "count": each.count,
        "rate_hz": found.rate_hz(each.count),
        "stolen_ns": each.stolen_ns,
        "share": found.share(each.stolen_ns),
        "max_ns": each.max_ns,
        "senders": [{"task": name, "count": number} for name, number in each.trail.senders],
        "ticks": [{"cause": name, "count": number} for name, number in each.trail.ticks],
        "remedies": [asdict(remedy) for remedy in each.remedies],
    }


def _treatment(each: Treatment) -> dict[str, Any]:
    return {"text": each.remedy.text, "numbers": list(each.numbers), "share": each.share}


def changes_json(before: Diagnosis, after: Diagnosis) -> list[Mapping[str, Any]]:
    return [
        {
            "cause": each.name,
            "before": {"rate_hz": each.before.rate_hz, "stolen_ns_per_s": each.before.per_s},
            "after": {"rate_hz": each.after.rate_hz, "stolen_ns_per_s": each.after.per_s},
        }
        for each in changes(before, after)
    ]
