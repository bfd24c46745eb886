# SPDX-License-Identifier: Apache-2.0
"""What ``doctor`` measures: campaigns without a file, of short attributed runs, each target in a mode that it can have.
Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..agent import modes
from ..config.bench import Bench
from ..config.campaign import Campaign, campaign_from_data
from ..errors import TargetUnfit
from .place import Declared, place

#: What its executions are called.
NAME = "doctor"
BENCH = "gap"
#: The quietest that changes nothing but where the task runs: one with a priority hides who would have come.
PREFERRED = ("nohz-full", "pinned", "shared")
SETTLE_NS = 500_000_000


def best_mode(
    facts: Mapping[str, Any], target: Declared | None = None, preferred: Sequence[str] = PREFERRED
) -> tuple[str | None, str]:
    """The first of ``preferred`` that the machine of ``facts`` can do, or None, and why not the better ones."""
    try:
        placement = place(facts, target)
    except TargetUnfit as error:
        return None, str(error)
    if placement.lacks is not None:
        return None, placement.lacks
    reasons: list[str] = []
    for name in preferred:
        why = modes.from_name(name).needs(facts, placement.measured, placement.housekeeping)
        if not why:
            return name, "; ".join(reasons)
        reasons.append(f"{name}: {'; '.join(why)}")
    return None, "; ".join(reasons)


def diagnosis(chosen: Mapping[str, str], bench: Bench, duration_ns: int, tune: Sequence[str] = ()) -> Campaign:
    """Why is this core not quiet? A run is not repeated: it takes seconds."""
    return attributed(
        NAME,
        "Why is this core not quiet? One attributed run.",
        bench,
        chosen,
        duration_ns,
        settle=f"{SETTLE_NS}ns",
        tune=list(tune),
        retry={"infrastructure": 0, "invalid": 0},
    )


def attributed(
    name: str,
    description: str,
    bench: Bench,
    chosen: Mapping[str, str],
    duration_ns: int,
    params: Mapping[str, str] | None = None,
    **more: Any,
) -> Campaign:
    """A campaign without a file: each target in the mode that was ``chosen`` for it, idle, a cause for every gap.

    ``params`` are the bench's; ``more``: keys of a campaign file.
    """
    data = {
        "campaign": name,
        "description": description,
        "targets": list(chosen),
        "benches": [{"bench": bench.name, "params": dict(params)} if params else bench.name],
        "axes": {"mode": list(dict.fromkeys(chosen.values()))},
        "include": [{"target": target, "mode": mode} for target, mode in chosen.items()],
        "duration": f"{duration_ns}ns",
        "attribution": "perf",
        **more,
    }
    return campaign_from_data(data, {bench.name: bench})
