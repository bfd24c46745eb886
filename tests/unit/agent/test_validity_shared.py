# SPDX-License-Identifier: Apache-2.0
"""What the rules say of a task that is not pinned, and of other machines than the usual."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.agent import modes
from harness.agent.validity import Evidence, judge

from .test_validity import RESULT, evidence


def shared(affinity: str, sched: str = "other", **load: Any) -> Evidence:
    mode = modes.resolve("shared", sched)
    task = {"affinity": affinity, "policy": mode.policy, "priority": mode.priority, "cpu": 0}
    seen = evidence()
    seen.load.update(load)
    free = {**RESULT, "cpu": None, "effective": {"start": task, "end": task, "memory_locked": True}}
    return replace(seen, mode=mode, results=[free])


def rules(seen: Evidence) -> list[str]:
    return [reason["rule"] for reason in judge(seen).reasons]


@pytest.mark.parametrize(
    ("affinity", "sched", "cpus", "share", "expected"),
    [
        ("0", "other", [0], 0.46, []),  # isolcpus and one housekeeping CPU: half of it each
        ("0", "other", [0], 0.44, ["load-short"]),
        ("0,2", "other", [0, 2], 0.61, []),
        ("0-3", "other", [0], 0.46, ["load-short"]),  # it had CPUs enough: something else took the time
        ("0,2", "fifo:1", [0, 2], 0.46, []),
        ("0,2", "fifo:1", [0, 2], 0.44, ["load-short"]),
    ],
)
def test_a_load_shares_with_a_task_that_has_nowhere_else_to_run(
    affinity: str, sched: str, cpus: list[int], share: float, expected: list[str]
) -> None:
    assert rules(shared(affinity, sched, cpus=cpus, share=share)) == expected


def test_where_a_task_may_run_must_not_change_under_it() -> None:
    seen = shared("0-3")
    moved = {**seen.results[0]["effective"]["end"], "affinity": "0,2"}
    seen.results[0]["effective"]["end"] = moved
    verdict = judge(seen)
    assert (verdict.state, [reason["rule"] for reason in verdict.reasons]) == ("invalid", ["affinity-changed"])
    assert "0-3" in verdict.reasons[0]["text"]
    assert "0,2" in verdict.reasons[0]["text"]


@pytest.mark.parametrize(
    ("duration_ms", "share", "expected"),
    [
        (100, 0.81, []),  # the kernel's count may lack a tick of 10 ms on each of both CPUs
        (100, 0.79, ["load-short"]),
        (10_000, 0.895, ["load-short"]),
    ],
)
def test_a_tick_that_was_not_counted_yet_is_no_lack(duration_ms: int, share: float, expected: list[str]) -> None:
    seen = evidence()
    seen.load.update(cpus=[0, 2], share=share, due_ns=2 * duration_ms * 10**6)
    assert rules(seen) == expected


def test_a_command_has_time_to_show_itself() -> None:
    seen = evidence()
    seen.load.update(kind="argv", share=None, cpu_time_ns=0)
    assert rules(seen) == ["load-short"]
    short = {**seen.after, **{key: seen.before[key] + 5 * 10**7 for key in ("monotonic_ns", "boottime_ns")}}
    assert rules(replace(seen, after=short)) == []


def test_a_task_may_be_what_keeps_the_sibling_busy() -> None:
    seen = shared("0-3")
    seen.after["busy_ticks"]["1"] += 100
    assert rules(seen) == []
    assert rules(replace(evidence(), after=seen.after)) == ["sibling-busy"]


def test_the_tick_of_arm64_is_no_device() -> None:
    seen = evidence()
    seen.after["interrupts"]["3"]["11"] = 250
    seen.knobs[0].update(ok=False, reason="EIO", advice="-", detail={"per_cpu": ["11"]})
    assert rules(seen) == []
    seen.knobs[0]["detail"] = {}
    assert rules(seen) == ["knob-ineffective"]


def test_a_log_that_was_overwritten() -> None:
    seen = evidence()
    assert seen.kmsg is not None
    flooded = judge(replace(seen, kmsg={**seen.kmsg, "lost": True}))
    assert (flooded.state, [reason["rule"] for reason in flooded.reasons]) == ("suspect", ["dmesg-lost"])


def test_a_service_is_stopped_by_the_name_of_its_unit() -> None:
    seen = evidence()
    seen.after["meddlers"] = ["power-profiles-", "tuned"]
    advice = [reason["advice"] for reason in judge(seen).reasons]
    assert advice == ["tune: [services], or systemctl stop power-profiles-daemon.service tuned.service"]
