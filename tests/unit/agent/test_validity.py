# SPDX-License-Identifier: Apache-2.0
"""Every rule of validity: silent in a world that held still, tripped by the one thing that it watches."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent import modes
from harness.agent.spec import LoadSpec
from harness.agent.validity import CHECKS, RULES, Evidence, judge

from .specs import spec_of

PAGE = Path(__file__).parents[3] / "docs" / "validity.md"

SNAPSHOT: dict[str, Any] = {
    "boottime_ns": 10**12,
    "monotonic_ns": 10**12,
    "boot_id": "a",
    "kernel": "6.12",
    "kernel_version": "#1",
    "online": "0-3",
    "clocksource": "tsc",
    "clocksources": "tsc hpet",
    "interrupts": {"3": {"LOC": 100, "36": 7}},
    "steal_ticks": {"3": 5},
    "busy_ticks": {"3": 500, "1": 50},
    "siblings": {"3": [1]},
    "throttled": {"3": {"core_throttle_count": 0}},
    "frequency": {"3": {"scaling_governor": "performance"}},
    "energy": {"no_turbo": "1"},
    "isolated": ["3", None],
    "microcode": "0x1",
    "cooling": {"cooling_device0 (Processor)": 0},
    "settings": {"/proc/sys/vm/stat_interval": "1"},
    "irq_affinity": {"0-3": "9,12-13", "0": "4"},
    "users": 0,
    "tainted": 0,
    "modules_sha256": "m",
    "livepatch": {},
    "sched_ext": "disabled",
    "tracing": {"tracer": "nop", "events_sha256": "e"},
    "swap": {"pswpin": 0, "pswpout": 0},
    "meddlers": [],
    "tracers": {},
}
TASK = {"affinity": "3", "policy": "fifo", "priority": 1, "cpu": 3}
RESULT: dict[str, Any] = {
    "cpu": 3,
    "effective": {"start": TASK, "end": TASK, "memory_locked": True, "memory_error": None},
    "faults": {"minor": 0, "major": 0},
    "histograms": {"gap_ns": {"dropped": 0, "negative": 0}},
    "gaps": {"count": 10, "stored": 10, "dropped": 0},
}
LOAD = {"name": "spin", "kind": "spin", "share": 0.97, "cpu_time_ns": 10**9, "ended": None}
KNOBS: list[dict[str, Any]] = [
    {"name": "irq-affinity", "ok": True, "meanwhile": None},
    {"name": "rt-throttling", "ok": True, "meanwhile": None},
    {"name": "cpu-dma-latency", "ok": False, "reason": "no such device", "meanwhile": None},
]


def evidence() -> Evidence:
    after = copy.deepcopy(SNAPSHOT)
    after["boottime_ns"] += 10**9
    after["monotonic_ns"] += 10**9
    after["interrupts"]["3"]["LOC"] += 250
    after["busy_ticks"]["3"] += 100
    spec = spec_of("fifo", load=LoadSpec("spin", "spin"), housekeeping=[0, 2])
    return Evidence(
        spec,
        modes.from_spec(spec.mode),
        copy.deepcopy(SNAPSHOT),
        after,
        [copy.deepcopy(RESULT)],
        dict(LOAD),
        copy.deepcopy(KNOBS),
        {"lines": ["eth0: link up"], "matches": [], "lost": False},
    )


def test_a_world_that_held_still() -> None:
    verdict = judge(evidence())
    assert (verdict.state, verdict.reasons) == ("valid", [])


def test_a_machine_that_shows_nothing_trips_nothing() -> None:
    seen = evidence()
    bare = replace(seen, before={}, after={}, load={}, knobs=[], kmsg=None)
    assert judge(bare).state == "valid"


Change = Callable[[Any], None]


def after(key: str, value: Any) -> Change:
    def change(seen: Any) -> None:
        seen.after[key] = value

    return change


def before(key: str, value: Any) -> Change:
    def change(seen: Any) -> None:
        seen.before[key] = value

    return change


def both(key: str, value: Any) -> Change:
    def change(seen: Any) -> None:
        seen.before[key] = seen.after[key] = value

    return change


def result(*way: str, value: Any) -> Change:
    def change(seen: Any) -> None:
        at = seen.results[0]
        for step in way[:-1]:
            at[step] = dict(at[step])
            at = at[step]
        at[way[-1]] = value

    return change


def load(**fields: Any) -> Change:
    return lambda seen: seen.load.update(fields)


def knob(index: int, **fields: Any) -> Change:
    return lambda seen: seen.knobs[index].update(fields)


def several(*changes: Change) -> Change:
    def change(seen: Any) -> None:
        for each in changes:
            each(seen)

    return change


def unpinned_and_moved(seen: Any) -> None:
    object.__setattr__(seen, "mode", modes.from_name("shared"))
    start = {"affinity": "0-3", "policy": "other", "priority": 0, "cpu": 0}
    seen.results[0].update(cpu=None, effective={"start": start, "end": {**start, "affinity": "0,2"}})


def kmsg(lines: list[str]) -> Change:
    return lambda seen: seen.kmsg.update(matches=lines)


def partitioned(seen: Any) -> None:
    """A run of that mode, of which nothing is wrong."""
    object.__setattr__(seen, "mode", modes.resolve("partition", "fifo:1"))
    seen.before["partition"] = seen.after["partition"] = "isolated"
    task = {**TASK, "cgroup": "/isolbench"}
    seen.results[0]["effective"] = {**RESULT["effective"], "start": task, "end": dict(task)}


def reserved(seen: Any) -> None:
    object.__setattr__(seen, "mode", modes.resolve("pinned", "deadline"))
    task = {**TASK, "policy": "deadline", "priority": 0, "runtime_ns": 500_000, "period_ns": 1_000_000}
    seen.results[0]["effective"] = {**RESULT["effective"], "start": task, "end": dict(task)}


@pytest.mark.parametrize("change", [partitioned, reserved])
def test_a_mode_that_was_had(change: Change) -> None:
    seen = evidence()
    change(seen)
    assert judge(seen).state == "valid"


def test_throttling_of_somebody_elses_task_is_no_cause_of_ours() -> None:
    seen = evidence()
    several(kmsg(["sched: RT throttling activated"]), reserved)(seen)
    assert [each["rule"] for each in judge(seen).reasons] == ["dmesg"]


def beside(skew_ns: int) -> Change:
    """Another probe of the same run, that began so much later."""

    def change(seen: Any) -> None:
        seen.results[0]["started"] = {"monotonic_raw_ns": 7 * 10**9}
        seen.results.append({**seen.results[0], "started": {"monotonic_raw_ns": 7 * 10**9 + skew_ns}})

    return change


def attributed(**told: Any) -> Change:
    """A probe that looked for causes, and what it says of that."""
    return result(
        "attribution", value={"level": "tracepoints", "ring": {"lost": 0, "missing": 0, "unknown": 0}, **told}
    )


def conserved(holds: bool | None, **row: int) -> dict[str, Any]:
    return {"holds": holds, "rows": {"LOC": {"events": 7, "edge": 1, "interrupts": 8, **row}}, "unseen": {"NMI": 3}}


CASES: list[tuple[str, str, Change]] = [
    ("events-lost", "suspect", attributed(ring={"lost": 1}, conservation=conserved(None))),
    ("events-lost", "suspect", attributed(ring={"unknown": 1})),
    ("events-lost", "suspect", attributed(ring={"throttled": 1})),
    ("events-lost", "suspect", attributed(ring={"sent_lost": 1})),
    ("events-lost", "suspect", attributed(cpu_gone=True)),
    ("events-lost", "suspect", attributed(gaps_dropped=1)),
    ("events-not-conserved", "suspect", attributed(conservation=conserved(False, interrupts=9))),
    ("tracer-active", "suspect", attributed(tracer="function")),
    ("tracer-active", "suspect", attributed(other_events=True)),
    ("rebooted", "invalid", after("boot_id", "b")),
    ("kernel-changed", "invalid", after("kernel", "6.13")),
    ("kernel-changed", "invalid", after("kernel_version", "#2")),
    ("clocksource-changed", "invalid", after("clocksource", "hpet")),
    ("tsc-state", "invalid", after("clocksources", "hpet")),
    ("cpus-changed", "invalid", after("online", "0-2")),
    ("modules-changed", "invalid", after("modules_sha256", "n")),
    ("livepatch-changed", "invalid", after("livepatch", {"fix": ["1", "1"]})),
    ("scheduler-changed", "invalid", after("sched_ext", "lavd")),
    ("tracing-changed", "invalid", after("tracing", {"tracer": "nop", "events_sha256": "f"})),
    ("suspended", "invalid", after("boottime_ns", 10**12 + 2 * 10**9)),
    ("started-apart", "suspect", beside(10_000_001)),
    ("affinity-lost", "invalid", result("effective", "end", "affinity", value="0-3")),
    ("affinity-lost", "invalid", result("effective", "end", "cpu", value=2)),
    ("policy-lost", "invalid", result("effective", "start", "policy", value="other")),
    ("policy-lost", "invalid", result("effective", "end", "priority", value=2)),
    ("policy-lost", "invalid", several(reserved, result("effective", "end", "runtime_ns", value=400_000))),
    ("unknown-placement", "invalid", result("effective", "end", value=None)),
    ("wrong-cpu", "invalid", lambda seen: seen.results.clear()),
    ("memory-unlocked", "suspect", result("effective", "memory_locked", value=False)),
    ("major-faults", "invalid", result("faults", "major", value=1)),
    ("minor-faults", "invalid", result("faults", "minor", value=1)),
    ("minor-faults", "invalid", result("faults", value={"minor": 3, "major": 0, "injected": 2})),
    ("throttled", "invalid", after("throttled", {"3": {"core_throttle_count": 1}})),
    ("frequency-changed", "suspect", after("frequency", {"3": {"scaling_governor": "powersave"}})),
    ("energy-changed", "suspect", after("energy", {"no_turbo": "0"})),
    ("sibling-busy", "invalid", after("busy_ticks", {"3": 600, "1": 60})),
    ("steal", "suspect", after("steal_ticks", {"3": 6})),
    ("irq-affinity-changed", "suspect", after("irq_affinity", {"0-3": "9,12", "0": "4,13"})),
    ("isolation-changed", "invalid", after("isolated", ["3", "2-3"])),
    ("microcode-changed", "invalid", after("microcode", "0x2")),
    ("throttled", "invalid", after("cooling", {"cooling_device0 (Processor)": 1})),
    ("settings-changed", "suspect", after("settings", {"/proc/sys/vm/stat_interval": "120"})),
    ("load-strayed", "invalid", load(strayed=["dd (7): CPU 0-3"])),
    ("quota", "suspect", several(after("quota_throttled", 9), lambda seen: seen.before.update(quota_throttled=7))),
    ("affinity-changed", "invalid", unpinned_and_moved),
    ("dmesg-lost", "suspect", lambda seen: seen.kmsg.update(lost=True)),
    ("swapping", "suspect", after("swap", {"pswpin": 1, "pswpout": 0})),
    ("tainted", "suspect", after("tainted", 512)),
    ("logged-in", "suspect", after("users", 1)),
    ("meddling-service", "suspect", both("meddlers", ["irqbalance"])),
    ("tracer-active", "suspect", both("tracing", {"tracer": "function"})),
    ("tracer-active", "suspect", both("tracing", {"tracer": "nop", "instances": ["mine: timerlat"]})),
    ("tracer-active", "suspect", both("tracing", {"tracer": "nop", "on": ["sched:sched_switch"]})),
    ("tracer-active", "suspect", both("tracers", {"bpftrace (7)": ["2 perf events"]})),
    ("tracer-active", "suspect", both("tracers", {"perf (7)": ["1 perf event"]})),
    ("tracer-active", "suspect", after("tracers", {"perf (7)": ["1 perf event"]})),
    ("tracer-active", "suspect", before("tracers", {"perf (7)": ["1 perf event"]})),
    ("tracer-active", "suspect", attributed(instruments={"opened_by_others": 1})),
    ("load-ended", "invalid", load(ended="exit status 1")),
    ("load-short", "invalid", load(share=0.89)),
    ("load-short", "invalid", load(kind="argv", share=None, cpu_time_ns=0)),
    ("dmesg", "invalid", lambda seen: seen.kmsg["matches"].append("WARNING: CPU: 3")),
    (
        "threshold-too-low",
        "suspect",
        several(result("loop", value={"own_cost_ns": 300.0}), result("params", value={"threshold_ns": 200})),
    ),
    ("clock-drift", "suspect", result("clock", value={"drift_ppm": -111.0, "frequency_initial_error_ppm": 5.0})),
    ("clock-varies", "suspect", result("clock", value={"invariant": False, "virtual": False})),
    ("samples-lost", "suspect", result("histograms", "gap_ns", "dropped", value=1)),
    ("samples-lost", "suspect", result("histograms", "gap_ns", "negative", value=1)),
    ("ring-loss", "suspect", several(result("gaps", "dropped", value=1), result("gaps", "stored", value=9))),
    ("counts-not-conserved", "suspect", result("gaps", "stored", value=9)),
    ("ring-loss", "suspect", result("late", value={"count": 3, "stored": 1, "dropped": 2})),
    ("counts-not-conserved", "suspect", result("late", value={"count": 3, "stored": 2, "dropped": 0})),
    ("fifo-throttled", "suspect", knob(1, ok=False, reason="EPERM", advice="be root")),
    ("fifo-throttled", "suspect", kmsg(["sched: RT throttling activated"])),
    ("partition-lost", "invalid", several(partitioned, after("partition", "isolated invalid (…)"))),
    ("partition-lost", "invalid", several(partitioned, after("partition", None))),
    ("partition-lost", "invalid", several(partitioned, result("effective", "end", "cgroup", value="/"))),
    (
        "knob-ineffective",
        "suspect",
        several(knob(0, ok=False, reason="EIO"), after("interrupts", {"3": {"36": 8}})),
    ),
    (
        "knob-ineffective",
        "suspect",
        several(knob(0, detail={"moved_irqs": "30-35"}), after("interrupts", {"3": {"36": 8}})),
    ),
    (
        "knob-ineffective",
        "suspect",
        several(knob(0, detail={"moved_irqs": "36"}), after("interrupts", {"3": {"36": 9}})),
    ),
    ("knob-changed", "suspect", knob(0, meanwhile="irq 7 came back")),
]


@pytest.mark.parametrize(("rule", "state", "change"), CASES, ids=[f"{case[0]}-{n}" for n, case in enumerate(CASES)])
def test_one_thing_trips_one_rule(rule: str, state: str, change: Change) -> None:
    seen = evidence()
    change(seen)
    verdict = judge(seen)
    assert {(reason["rule"], reason["state"]) for reason in verdict.reasons} == {(rule, state)}
    assert verdict.state == state
    assert all(reason["text"] and reason["advice"] for reason in verdict.reasons)


def test_events_that_the_kernel_withheld_are_told_from_others() -> None:
    texts = []
    for missing in (0, 3):
        seen = evidence()
        attributed(ring={"missing": missing}, conservation=conserved(False, interrupts=11))(seen)
        (reason,) = judge(seen).reasons
        texts.append(reason["text"])
        assert "withheld" in reason["advice"]  # as the text says it, and no key of a file
        assert "`" not in reason["advice"]
    assert texts[0].endswith("LOC: 7 events, 11 interrupts")
    assert texts[1] == f"{texts[0]} (3 events were counted and withheld by the kernel)"


def test_a_row_that_is_a_number_is_a_devices_interrupt() -> None:
    seen = evidence()
    found = conserved(False, interrupts=11)
    attributed(conservation={**found, "rows": {"36": found["rows"]["LOC"]}})(seen)
    (reason,) = judge(seen).reasons
    assert reason["text"].endswith(": irq 36: 7 events, 11 interrupts")


def test_the_worst_state_wins_and_all_reasons_stay() -> None:
    seen = evidence()
    several(after("users", 1), after("boot_id", "b"))(seen)
    verdict = judge(seen)
    assert verdict.state == "invalid"
    assert {reason["rule"] for reason in verdict.reasons} == {"rebooted", "logged-in"}


@pytest.mark.parametrize(
    "change",
    [
        knob(0, ok=False, reason="EIO"),  # an interrupt that stayed but never fired
        several(knob(0, detail={"moved_irqs": "36"}), after("interrupts", {"3": {"36": 8}})),  # the move itself
        several(knob(0, detail={"per_cpu": ["36"]}), after("interrupts", {"3": {"36": 80}})),
        several(
            knob(0, ok=False, reason="EIO"), after("interrupts", {"3": {"36": 7}, "1": {"36": 80}})
        ),  # the control's
        after("boottime_ns", 10**12 + 10**9 + 10**6),  # two clocks are not read at one instant
        after("busy_ticks", {"3": 600, "1": 51}),  # a tick of a sibling
        after("siblings", {"3": []}),
        load(kind="argv", share=None, cpu_time_ns=1),
        load(share=0.9),
        result("clock", value={"drift_ppm": 109.0, "frequency_initial_error_ppm": 5.0}),
        result("clock", value={"invariant": False, "virtual": True}),  # a hypervisor may just not say
        result("clock", value={"invariant": None, "virtual": False, "drift_ppm": None}),
        beside(10_000_000),
        after("irq_affinity", {"0-3": "9,12-14", "0": "4"}),  # a device came
        after("irq_affinity", {"0-3": "9,12"}),  # two went
        after("settings", {}),
        both("cooling", {}),
        both("cooling", {"cooling_device3 (intel_powerclamp)": -1}),
        load(strayed=[]),
        attributed(conservation=conserved(True), tracer=None, other_events=False, gaps_dropped=0),
        attributed(instruments={"opened_by_others": 0}),
        attributed(instruments={"opened_by_others": None}),
        several(attributed(instruments={"opened_by_others": 2}), beside(0)),  # the other probe's of this run
        both("tracing", {"tracer": "nop", "instances": ["rasdaemon: nop"], "on": []}),
        result("attribution", value={"requested": "perf", "level": "nothing", "reason": "no perf"}),
        result("faults", value={"minor": 2, "major": 0, "injected": 2}),  # on purpose
    ],
)
def test_what_is_no_reason(change: Change) -> None:
    seen = evidence()
    change(seen)
    assert judge(seen).state == "valid"


def test_throttling_knobs_do_not_matter_without_fifo() -> None:
    seen = evidence()
    knob(1, ok=False, reason="EPERM")(seen)
    task = {**TASK, "policy": "other", "priority": 0}
    result("effective", "start", value=task)(seen)
    result("effective", "end", value=task)(seen)
    assert judge(replace(seen, mode=modes.from_name("pinned"))).state == "valid"


def test_a_task_that_is_not_pinned_may_be_anywhere() -> None:
    seen = evidence()
    task = {"affinity": "0-3", "policy": "other", "priority": 0, "cpu": 0}
    free = {**RESULT, "cpu": None, "effective": {"start": task, "end": {**task, "cpu": 2}}}
    assert judge(replace(seen, mode=modes.from_name("shared"), results=[free])).state == "valid"


counts = st.integers(0, 10**12)


@given(low=counts, high=counts, recorded=counts, gaps=counts, overflow=counts, missed=counts, stolen=st.floats(0, 1e6))
def test_a_run_is_never_judged_by_its_own_result(
    low: int, high: int, recorded: int, gaps: int, overflow: int, missed: int, stolen: float
) -> None:
    seen = evidence()
    seen.results[0].update(  # type: ignore[attr-defined]
        histograms={
            "gap_ns": {
                "min": low,
                "max": high,
                "recorded": recorded,
                "overflow": overflow,
                "missed": missed,
                "dropped": 0,
                "negative": 0,
            }
        },
        gaps={"count": gaps, "stored": gaps, "dropped": 0, "threshold_ns": 1000},
        scalars={"stolen_ppm": {"value": stolen}, "gap_rate_hz": {"value": stolen, "count": gaps}},
        switches={"voluntary": gaps, "involuntary": gaps},
    )
    assert judge(seen).state == "valid"


def test_a_sibling_may_be_declared() -> None:
    seen = evidence()
    seen.after["busy_ticks"]["1"] += 100
    assert [reason["rule"] for reason in judge(seen).reasons] == ["sibling-busy"]
    assert judge(replace(seen, spec=replace(seen.spec, smt="shared"))).state == "valid"


def test_each_rule_and_each_check_is_tripped_by_some_case() -> None:
    assert {rule: state for rule, state, _ in CASES} == {rule: about.state for rule, about in RULES.items()}
    tripped = set()
    for _, _, change in CASES:
        seen = evidence()
        change(seen)
        tripped |= {check for check in CHECKS if list(check(seen))}
    assert tripped == set(CHECKS)


def test_every_rule_is_on_the_page_with_its_advice() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    said = {rule: (state, means, advice) for rule, state, means, advice in rows}
    assert len(said) == len(rows)
    assert said == {rule: (about.state, about.means, about.remedy) for rule, about in RULES.items()}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_what_to_do(name: str) -> None:
    about = RULES[name]
    assert about.means
    assert about.advice
    assert "|" not in about.means + about.remedy
    assert about.remedy.startswith(about.advice)


@pytest.mark.parametrize("name", ["rt-throttling", "fair-server"])
@pytest.mark.parametrize("bench", ["gap", "wake", "xwake", "work"])
def test_what_the_scheduler_takes_back_is_said_in_words_true_of_each_bench(name: str, bench: str) -> None:
    seen = evidence()
    knob(1, name=name, ok=False, reason="EPERM")(seen)
    [found] = judge(replace(seen, spec=replace(seen.spec, bench=bench))).reasons
    assert "stolen" not in found["text"]  # gap's own word
    assert f"{name} is in force (EPERM): the scheduler holds the task off its CPU" in found["text"]
