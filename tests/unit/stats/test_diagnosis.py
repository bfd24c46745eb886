# SPDX-License-Identifier: Apache-2.0
"""Why a core is not quiet: what took most comes first, each remedy once, and what is in effect is no homework."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.advice import remedies
from harness.stats.diagnosis import (
    Diagnosis,
    changes,
    diagnose,
    fixable,
    in_effect,
    parameters,
    treatments,
)
from harness.stats.trails import Trail, trails
from harness.store.gaps import Gap

from ..report.fake_causes import told

TIMER, RESCHEDULE = "vector:local_timer", "vector:reschedule"
TICK, VMSTAT = "hrtimer:tick_nohz_handler", "work:vmstat_update"
FOUND = {
    ("interrupt", TIMER, TICK): [5_000] * 100,
    ("interrupt", RESCHEDULE, "task:python"): [300_000] * 3,
    ("interrupt", TIMER, "task:python"): [200_000] * 3,
    ("interrupt", TIMER, VMSTAT): [40_000] * 5,
    ("interrupt", TIMER, "work:wb_workfn"): [10_000] * 3,
    ("interrupt", "irq:eth0", "irq:eth0"): [4_000] * 2,
    ("interrupt", TIMER, "hrtimer:hrtimer_wakeup"): [3_000],
    ("unexplained", None, None): [2_000],
}
FACTS: dict[str, Any] = {
    "arch": "x86_64",
    "cpus": {"online": [0, 1], "isolated": [], "nohz_full": [], "topology": {"1": {"siblings": [1]}}},
    "kernel": {"cmdline": "quiet", "options": {"NO_HZ_FULL": True, "RCU_NOCB_CPU": True}},
    "knobs": {
        "workqueues": {"available": True, "value": "0-1", "needed": True},
        "stat-interval": {"available": True, "value": "1", "needed": True},
        "irq-affinity": {"available": True, "value": {"24": "0-1"}, "needed": True},
        "services": {"available": False, "value": None, "needed": True},
        "timer-migration": {"available": True, "value": "0", "needed": True},
    },
}


def document(gaps: dict[Any, list[int]], level: str = "tracepoints", **changed: Any) -> dict[str, Any]:
    lengths = [length for each in gaps.values() for length in each]
    upper = 0.6 if not lengths else len(lengths) / 5 * 1.1
    return {
        "target": "box",
        "run": "gap.pinned.idle-abc-r1",
        "spec": {"mode": {"name": "pinned"}},
        "validity": {"state": "suspect", "reasons": [{"rule": "steal", "text": "the hypervisor took 40 ms"}]},
        "knobs": [{"name": "irq-affinity", "ok": False, "reason": "not movable: 24 (EPERM)"}],
        "results": [
            {
                "cpu": 1,
                "duration_ns": 5_000_000_000,
                "gaps": {"count": len(lengths), "threshold_ns": 1_000},
                "scalars": {
                    "stolen_ppm": {"value": sum(lengths) / 5_000_000_000 * 1e6},
                    "gap_rate_hz": {"value": len(lengths) / 5, "upper": upper},
                },
                "attribution": told(gaps, level),
            }
        ],
        **changed,
    }


def found(gaps: dict[Any, list[int]] | None = None, level: str = "tracepoints", facts: Any = None) -> Diagnosis:
    made = diagnose(document(FOUND if gaps is None else gaps, level), FACTS if facts is None else facts)
    assert made is not None
    return made


def test_a_fifo_task_is_not_advised_to_be_one() -> None:
    fair = {"name": "fair-server", "ok": False, "reason": "no debugfs"}
    spec = {"mode": {"name": "fifo", "where": "pinned", "sched": "fifo:1"}}
    made = diagnose(document(FOUND, spec=spec, knobs=[fair]), FACTS)
    assert made is not None
    texts = [each.remedy.text for each in treatments(made)]
    assert not any("mode fifo" in text for text in texts)
    assert any("no fair server" in text for text in texts)
    assert any("mode fifo" in each.remedy.text for each in treatments(found()))


def test_causes_of_one_name_are_one_and_the_most_stolen_time_comes_first() -> None:
    made = found()
    assert [(each.name, each.count, each.stolen_ns) for each in made.complaints] == [
        ("task:python", 6, 1_500_000),
        (TICK, 100, 500_000),
        (VMSTAT, 5, 200_000),
        ("work:wb_workfn", 3, 30_000),
        ("irq:eth0", 2, 8_000),
        ("hrtimer:hrtimer_wakeup", 1, 3_000),
        ("unexplained", 1, 2_000),
    ]
    assert made.complaints[0].max_ns == 300_000
    assert (made.target, made.mode, made.cpu, made.seconds, made.level) == ("box", "pinned", 1, 5.0, "tracepoints")
    assert (made.count, made.stolen_ns, made.threshold_ns) == (118, 2_243_000, 1_000)
    assert made.rate_hz(100) == 20.0
    assert made.per_s(500_000) == 100_000
    assert made.share(1_121_500) == pytest.approx(0.5)
    assert (made.state, made.reasons) == ("suspect", ("the hypervisor took 40 ms",))


def test_each_remedy_comes_once_with_all_that_it_is_for() -> None:
    made = found()
    every = treatments(made)
    assert len({each.remedy for each in every}) == len(every)
    (isolcpus,) = (each for each in every if "isolcpus=domain,1" in each.remedy.text)
    assert isolcpus.numbers == (1, 2, 3, 4, 6)
    assert isolcpus.share == pytest.approx(2_233_000 / 2_243_000)
    assert every[0] == isolcpus
    (stat,) = (each for each in every if each.remedy.knob == "stat-interval")
    assert (stat.numbers, stat.share) == ((3,), pytest.approx(200_000 / 2_243_000))


def test_what_probably_helps_most_comes_first() -> None:
    """What is first against a small cause comes before what is fifth against a bigger one, or may be so already."""
    order = [each.remedy.knob or each.remedy.text.partition(":")[0].partition("=")[0] for each in treatments(found())]
    assert order[:3] == ["boot with isolcpus", "boot with nohz_full", "keep other tasks off the CPU"]
    assert order.index("stat-interval") < order.index("one runnable task on the CPU, no more")
    assert order.index("stat-interval") < order.index("boot with skew_tick")


def test_what_is_in_effect_is_no_homework() -> None:
    made = found()
    assert [each.knob for each in in_effect(made) if each.knob] == ["timer-migration"]
    assert "timer-migration" not in {each.remedy.knob for each in treatments(made)}
    quiet = {**FACTS, "cpus": {**FACTS["cpus"], "isolated": [1], "nohz_full": [1]}}
    better = found(facts=quiet)
    assert {"nohz_full", "isolcpus"} & {
        word for each in treatments(better) for word in each.remedy.text.split("=")
    } == set()
    assert {"boot with nohz_full", "boot with isolcpus"} <= {each.text.partition("=")[0] for each in in_effect(better)}


def test_a_partition_isolates_while_the_run_lasts() -> None:
    apart = document(FOUND, spec={"mode": {"name": "partition", "where": "partition"}})
    made = diagnose(apart, FACTS)
    assert made is not None
    assert any(each.text.startswith("boot with isolcpus=domain,1") for each in in_effect(made))
    assert not any("isolcpus=domain" in each.remedy.text for each in treatments(made))


def test_what_can_be_fixed_is_what_helps_is_not_set_can_be_had_and_was_not_tried() -> None:
    made = found()
    asked = {each.remedy.knob for each in treatments(made)} - {None}
    assert {"workqueues", "stat-interval", "irq-affinity", "services"} <= asked
    # The mode tried irq-affinity itself; services cannot be had there.
    assert fixable(made) == ("workqueues", "stat-interval")
    assert fixable(found({})) == ()
    done = {**FACTS, "knobs": {**FACTS["knobs"], "stat-interval": {"available": True, "value": "120", "needed": True}}}
    assert fixable(found(facts=done)) == ("workqueues",)


def test_a_boot_profile_has_each_word_once_and_only_what_is_known_to_be_missing() -> None:
    words = parameters(found())
    assert words[:2] == ("isolcpus=managed_irq,domain,{isolated}", "nohz_full={isolated}")
    assert len(set(words)) == len(words)
    assert parameters(found(facts={**FACTS, "kernel": {"options": {"NO_HZ_FULL": False}}})) == words[:1]
    assert parameters(found({})) == ()


def test_a_boot_profile_has_nothing_that_may_be_in_effect() -> None:
    callbacks = {("interrupt", TIMER, "softirq:RCU"): [5_000]}
    assert any(word.startswith("rcu_nocbs=") for word in parameters(found(callbacks)))
    hidden = {**FACTS, "kernel": {"options": FACTS["kernel"]["options"]}}  # nobody may read its command line
    assert not any(word.startswith("rcu_nocbs=") for word in parameters(found(callbacks, facts=hidden)))


def test_no_share_is_more_than_all() -> None:
    made = found()
    assert made.share(made.stolen_ns + 1) == 1.0  # the probe's sum is rounded to ppm


def test_a_quiet_core_has_an_upper_bound() -> None:
    made = found({})
    assert (made.count, made.complaints, made.at_most_hz) == (0, (), 0.6)
    assert treatments(made) == ()


def test_without_attribution_gaps_are_counted_all_the_same() -> None:
    made = found(level="nothing")
    assert (made.level, made.count, made.complaints) == ("nothing", 118, ())
    assert made.causes.reasons == ("perf_event_paranoid is 3, and no CAP_PERFMON",)


def test_a_task_that_is_not_pinned_has_no_cpu() -> None:
    shared = document(FOUND)
    shared["results"][0]["cpu"] = None
    made = diagnose(shared, FACTS)
    assert made is not None
    assert made.cpu is None
    assert any("isolcpus=domain,1," in each.text for each in made.complaints[0].remedies)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    each = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(leaf for key, inner in each for leaf in leaves(inner, (*path, key)))]


#: JSON has whole numbers of any length.
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400)])


@given(st.sampled_from(leaves(document(FOUND))[1:]), st.none() | st.text() | NUMBERS | st.lists(st.integers()))
def test_no_run_is_an_error_whatever_it_says(path: tuple[Any, ...], value: Any) -> None:
    changed = document(FOUND)
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    diagnose(changed, FACTS)


def test_a_run_of_another_probe_is_none() -> None:
    assert diagnose({**document(FOUND), "results": [{"cpu": 1, "duration_ns": 1}]}, FACTS) is None


def test_before_beside_after_by_cause_the_most_changed_first() -> None:
    after = {key: lengths for key, lengths in FOUND.items() if key[2] != VMSTAT}
    after[("interrupt", TIMER, "task:python")] = [200_000] * 13
    after[("interrupt", RESCHEDULE, "task:new")] = [10_000] * 5
    made = {each.name: each for each in changes(found(), found(after))}
    assert list(made)[:3] == ["task:python", VMSTAT, "task:new"]
    assert (made["task:python"].before.count, made["task:python"].after.count) == (6, 16)
    assert (made["task:python"].before.per_s, made["task:python"].after.per_s) == (300_000, 700_000)
    assert (made[VMSTAT].before.rate_hz, made[VMSTAT].after.rate_hz) == (1.0, 0.0)
    assert (made["task:new"].before.per_s, made["task:new"].after.per_s) == (0, 10_000)
    assert made[TICK].before == made[TICK].after


NAMES = st.sampled_from([TICK, VMSTAT, "task:python", "irq:eth0", "call:ipi_mb", "fault:user", None])
GAPS = st.dictionaries(
    st.tuples(st.sampled_from(["interrupt", "unexplained"]), st.sampled_from([TIMER, RESCHEDULE, None]), NAMES),
    st.lists(st.integers(1_000, 10**6), min_size=1, max_size=4),
    max_size=8,
)


@given(GAPS, GAPS)
def test_nothing_is_lost_on_the_way(before: dict[Any, list[int]], after: dict[Any, list[int]]) -> None:
    first, second = found(before), found(after)
    assert sum(each.count for each in first.complaints) == first.count
    assert sum(each.stolen_ns for each in first.complaints) == sum(map(sum, before.values()))
    assert all(0 <= each.share <= 1 for each in treatments(first))
    assert {number for each in treatments(first) for number in each.numbers} == set(range(1, len(first.complaints) + 1))
    every = changes(first, second)
    assert sum(each.before.count for each in every) == first.count
    assert sum(each.after.count for each in every) == second.count


def gap(cause: str | None, *chain: str, sender: dict[str, Any] | None = None) -> Gap:
    return Gap(
        1, 0, 5_000, "interrupt", cause, tuple((number, label) for number, label in enumerate(chain)), sender=sender
    )


def test_who_sent_it_is_told_by_cause_the_most_frequent_first() -> None:
    kept = [
        gap("call:ipi_mb", sender={"cpu": 0, "task": "java"}),
        gap("call:ipi_mb", sender={"cpu": 0, "task": "python"}),
        gap("call:ipi_mb", sender={"cpu": 0, "task": "python"}),
        gap("call:ipi_mb", sender={"cpu": 0}),
        gap("call:ipi_mb"),
        gap(None, sender={"cpu": 0, "task": "nobody"}),
        gap(TICK),
    ]
    found = {"call:ipi_mb": Trail(senders=(("python", 2), ("CPU 0", 1), ("java", 1)))}
    assert trails(kept) == found
    assert trails([*kept, gap(TICK, TIMER, TICK, "tick:RCU")])["call:ipi_mb"] == found["call:ipi_mb"]


def test_what_kept_the_tick_on_is_removed_first() -> None:
    """In whatever gap the kernel found so: what came with the tick may be the cause of the gap."""
    kept = [
        gap(TICK, TIMER, TICK, "tick:RCU"),
        gap("signal:SIGPROF", TIMER, TICK, "signal:SIGPROF", "tick:POSIX_TIMER"),
        gap("syscall:timer_settime", "tick:POSIX_TIMER", "tick:POSIX_TIMER"),
        gap(TICK, TIMER, TICK, "tick:stopped"),
    ]
    made = diagnose(document(FOUND), FACTS, kept)
    assert made is not None
    trails_of = {each.name: each.trail.ticks for each in made.complaints if each.trail.ticks}
    assert trails_of == {TICK: (("tick:POSIX_TIMER", 2), ("tick:RCU", 1))}
    complaint = next(each for each in made.complaints if each.name == TICK)
    assert complaint.remedies[0].text.startswith("no timers on CPU time")
    assert len(set(complaint.remedies)) == len(complaint.remedies)
    assert {each.text for each in complaint.remedies} == {each.text for each in remedies(TICK, FACTS)}
