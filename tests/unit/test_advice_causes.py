# SPDX-License-Identifier: Apache-2.0
"""What removes a cause: every one that a probe can name has an answer, and what is in effect is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.advice import KINDS, explain, remedies
from harness.advice.cpulists import cpus_of
from harness.advice.known import KNOWN
from harness.advice.measures import MEASURES
from harness.advice.wishes import NAMES as WISHED
from harness.agent import kconfig
from harness.agent.knobs import KNOBS, NAMES, show_all
from harness.agent.system import Tree

from . import causes_page

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc" / "core"
FACTS: dict[str, Any] = {
    "arch": "x86_64",
    "virtual": None,
    "cpus": {"online": [0, 1, 2, 3], "isolated": [3], "nohz_full": [3], "topology": {"3": {"siblings": [3]}}},
    "kernel": {"cmdline": "isolcpus=managed_irq,domain,3 nohz_full=3", "preempt": "PREEMPT", "options": {}},
}
BARE: dict[str, Any] = {
    "arch": "x86_64",
    "cpus": {"online": [0, 1], "isolated": [], "nohz_full": [], "topology": {"1": {"siblings": [0, 1]}}},
    "kernel": {"cmdline": "quiet", "options": dict.fromkeys(kconfig.OPTIONS, False)},
    "knobs": {"stat-interval": {"available": True, "value": "1"}},
}


def kinds_of_the_probe() -> set[str]:
    """Without those that say nothing of why: the end of an event, and where another one was sent from."""
    table = (CSRC / "trace_event.c").read_text().partition("trace_kinds[TRACE_KINDS]")[2].partition("};")[0]
    rows = re.findall(r'= \{ "([a-z]+)", (\w+), \w+, ([0-9]+) \}', table)
    found = {kind for kind, implies, weight in rows if (implies, weight) != ("CLASS_UNEXPLAINED", "0")}
    return found | {label.partition(":")[0] for label in made_up()}


def made_up() -> set[str]:
    """Labels of no event, that the probe spells out."""
    return set(re.findall(r'"([a-z]+:[a-z]+)"', (CSRC / "trace_names.c").read_text()))


def labels_of_the_probe() -> set[str]:
    """Names that stand in the probe's source: those of vectors, softirqs, dependencies of the tick, flushes."""
    source = (CSRC / "trace_event.c").read_text()
    names = (CSRC / "trace_names.c").read_text()
    found = {f"vector:{name}" for name in re.findall(r'VECTOR\("([a-z0-9_]+)"', source)}
    found |= {f"fault:{name}" for name in re.findall(r'TRACE_FAULT, \.label = "([a-z]+)"', source)}
    for kind, array in (("softirq", "softirqs"), ("tick", "tick_needs"), ("tlb", "flushes")):
        text = names.partition(f"const {array}[] = {{")[2].partition("};")[0]
        found |= {f"{kind}:{name}" for name in re.findall(r'"([A-Za-z_]+)"', text)}
    return found | {"tick:stopped", "switch:preempted", "switch:slept"}


def test_every_kind_that_a_probe_can_name_is_known() -> None:
    kinds = kinds_of_the_probe()
    assert len(kinds) > 12
    assert kinds | {"unexplained", "other"} == {known.kind for known in KNOWN}


@pytest.mark.parametrize("kind", sorted({known.kind for known in KNOWN}))
def test_the_last_of_a_kind_covers_every_name(kind: str) -> None:
    assert [known.names for known in KNOWN if known.kind == kind][-1] == ("*",)


def test_every_name_in_the_probes_source_is_known_by_itself() -> None:
    """Not by what covers the rest of its kind, but for what says no more than that."""
    labels = labels_of_the_probe()
    assert len(labels) > 25
    plain = {label for label in labels if not _by_name(label)}
    assert plain == {"tlb:remote_shootdown", "tlb:remote_wrong_cpu"}


def _by_name(cause: str) -> bool:
    kind, _, name = cause.partition(":")
    return next(known for known in KNOWN if known.covers(kind, name)).names != ("*",)


@pytest.mark.parametrize(
    ("cause", "words", "first"),
    [
        ("hrtimer:tick_nohz_handler", "the timer tick", "nohz-full"),
        ("hrtimer:tick_sched_timer", "the timer tick", "nohz-full"),
        ("vector:local_timer", "processor's timer", "nohz-full"),
        ("irq:arch_timer", "processor's timer", "nohz-full"),
        ("hrtimer:watchdog_timer_fn", "soft-lockup", "watchdog"),
        ("nmi:perf_event_nmi_handler", "hard-lockup", "watchdog"),
        ("work:vmstat_update", "memory counters", "stat-interval"),
        ("work:wb_workfn", "written back", "workqueues"),
        ("work:no_such_function", "kernel worker", "workqueues"),
        ("irq:virtio1-req.0", "device", "irq-affinity"),
        ("ipi:Rescheduling interrupts", "woke a task", "isolcpus"),
        ("ipi:Function call interrupts", "function called", "no-unmap"),
        ("ipi:CPU stop (for crash dump) interrupts", "goes down", "no-hotplug"),
        ("call:ipi_mb", "membarrier(2)", "no-membarrier"),
        ("call:ipi_sync_core", "membarrier(2)", "no-membarrier"),
        ("call:flush_tlb_func", "shootdown", "no-unmap"),
        ("tlb:remote_shootdown", "shootdown", "no-unmap"),
        ("call:do_sync_core", "code is patched", "no-tracing"),
        ("call:rcu_exp_handler", "expedited", "rcu-normal"),
        ("call:clocksource_verify_one_cpu", "clocks", "tsc-reliable"),
        ("timer:clocksource_watchdog", "TSC", "tsc-reliable"),
        ("call:__perf_event_read", "perf", "no-perf"),
        ("call:retrigger_next_event", "time of day", "no-clock-steps"),
        ("task:ksoftirqd", "softirqs", "irq-affinity"),
        ("task:rcuc", "RCU", "rcu-nocbs"),
        ("task:kworker", "worker", "workqueues"),
        ("task:migration", "stops this CPU", "no-hotplug"),
        ("task:kcompactd0", "compacted", "compaction"),
        ("task:khugepaged", "huge pages", "thp"),
        ("task:ksmd", "merged", "ksm"),
        ("task:irqbalance", "meddles", "services"),
        ("task:irq", "by a thread", "irq-affinity"),
        ("task:firefox", "another task", "isolcpus"),
        ("task:rcu:like", "another task", "isolcpus"),
        ("syscall:membarrier", "own", "no-membarrier"),
        ("syscall:getppid", "own", "no-syscalls"),
        ("signal:SIGALRM", "signal", "no-timers"),
        ("fault:user", "page fault", "mlockall"),
        ("switch:preempted", "another task", "isolcpus"),
        ("hrtimer:sched_rt_period_timer", "throttle", "rt-throttling"),
        ("tick:POSIX_TIMER", "CPU time", "no-cpu-timers"),
        ("softirq:RCU", "RCU", "rcu-nocbs"),
        ("idle:exit", "idle state", "cpu-dma-latency"),
        ("unexplained", "host", "pin-vcpu"),
        (None, "host", "pin-vcpu"),
        ("other", "more different", "more-events"),
        ("quark:charm", "not known", "look-up"),
        ("work:0xffffffff81234567", "without a name", "kallsyms"),
    ],
)
def test_what_it_is_and_what_helps_most(cause: str | None, words: str, first: str) -> None:
    assert words in explain(cause)
    assert remedies(cause, FACTS)[0].text == MEASURES[first].text.replace("{cpu}", "3")


@given(st.none() | st.text() | st.builds("{}:{}".format, st.sampled_from([k.kind for k in KNOWN]), st.text()))
def test_no_cause_is_without_an_answer(cause: str | None) -> None:
    assert explain(cause)
    found = remedies(cause, {})
    assert found
    assert {remedy.kind for remedy in found} <= set(KINDS)
    assert all(remedy.text and remedy.doc and "{" not in remedy.text for remedy in found)


def test_no_measure_is_named_that_there_is_not_and_none_is_never_named() -> None:
    named = {key for known in KNOWN for key in known.measures}
    assert named - set(MEASURES) == set()
    assert set(MEASURES) - named == {"kallsyms"}


def test_no_cause_names_a_measure_twice() -> None:
    assert [known for known in KNOWN if len(set(known.measures)) != len(known.measures)] == []


def test_knobs_are_those_that_tune_takes() -> None:
    named = {key: measure.knob for key, measure in MEASURES.items() if measure.kind == "knob"}
    assert named == {name: name for name in NAMES}
    assert all(measure.knob is None for measure in MEASURES.values() if measure.kind != "knob")
    assert set(WISHED) == set(NAMES)


def test_the_kernels_options_that_are_asked_for_are_among_the_facts() -> None:
    asked = set(
        re.findall(r'_with(?:out)?\("([A-Z0-9_]+)"\)', (ROOT / "harness/advice/measures/options.py").read_text())
    )
    asked |= {measure.option for measure in MEASURES.values() if measure.option}
    assert asked == set(kconfig.OPTIONS)


@pytest.mark.parametrize(
    "key", [key for key, measure in MEASURES.items() if not re.fullmatch(r".+\(\d\)", measure.doc)]
)
def test_documentation_is_a_place_in_the_kernels(key: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_/-]+\.(rst|txt)", MEASURES[key].doc)


def effect(cause: str, key: str, facts: dict[str, Any], **options: Any) -> bool | None:
    text = MEASURES[key].text
    cpu = str(options.get("cpu", (facts["cpus"]["isolated"] or facts["cpus"]["online"])[-1]))
    (found,) = (each for each in remedies(cause, facts, **options) if each.text.startswith(text.replace("{cpu}", cpu)))
    return found.in_effect


@pytest.mark.parametrize(
    ("cause", "key", "here", "bare"),
    [
        ("hrtimer:tick_nohz_handler", "nohz-full", True, False),
        ("hrtimer:tick_nohz_handler", "isolcpus", True, False),
        ("hrtimer:tick_nohz_handler", "no-hz-full", None, False),
        ("hrtimer:tick_nohz_handler", "low-hz", None, True),
        ("hrtimer:tick_nohz_handler", "no-cpu-timers", None, None),
        ("irq:eth0", "managed-irq", True, False),
        ("task:rcuc", "rcu-nocbs", True, False),
        ("irq:eth0", "irqaffinity", False, False),
        ("irq:eth0", "preempt-rt", False, None),
        ("unexplained", "nosmt", True, False),
        ("unexplained", "pin-vcpu", True, True),
        ("work:vmstat_update", "stat-interval", None, False),
    ],
)
def test_what_is_in_effect_is_told_from_what_is_not(cause: str, key: str, here: bool | None, bare: bool | None) -> None:
    assert (effect(cause, key, FACTS), effect(cause, key, BARE)) == (here, bare)


def test_nothing_is_known_of_a_machine_without_facts_but_that_nothing_is_isolated() -> None:
    known = {remedy.text: remedy.in_effect for known in KNOWN for remedy in remedies(f"{known.kind}:x", {})}
    assert {text for text, there in known.items() if there is not None} <= {
        MEASURES[key].text.replace("{cpu}", "0") for key in ("nohz-full", "isolcpus", "pin-vcpu", "metal")
    }


def test_it_is_the_measured_cpu_that_counts() -> None:
    assert effect("hrtimer:tick_nohz_handler", "nohz-full", FACTS, cpu=2) is False


def test_a_run_knows_better_than_the_facts_before_it() -> None:
    outcome = {"stat-interval": {"name": "stat-interval", "ok": True}}
    assert effect("work:vmstat_update", "stat-interval", BARE, knobs=outcome) is True
    assert effect("work:vmstat_update", "stat-interval", BARE, knobs={"stat-interval": {"ok": False}}) is False


def test_a_knob_that_has_nothing_to_set_is_no_loss_and_one_that_cannot_be_is_not_known() -> None:
    for needed, expected in ((False, True), (True, None)):
        facts = {**BARE, "knobs": {"ksm": {"available": False, "value": None, "reason": "no", "needed": needed}}}
        assert effect("task:ksmd", "ksm", facts) is expected


@pytest.mark.parametrize(
    ("name", "wished", "not_so"),
    [
        ("services", [], ["irqbalance.service"]),
        ("governor", {"performance": "0-3"}, {"performance": "0-2", "powersave": "3"}),
        ("turbo", {"no_turbo": "1"}, {"no_turbo": "0"}),
        ("turbo", {"boost": "0"}, {"boost": "1"}),
        ("turbo", {"policies": {"0": "3", "1": "0-2"}}, {"policies": {"1": "0-3"}}),
        ("workqueues", "0-2", "0-3"),
        ("stat-interval", "120", "1"),
        ("watchdog", "0,2", "0,3"),
        ("timer-migration", "0", "1"),
        ("numa-balancing", "0", "2"),
        ("thp", {"enabled": "never", "x": "inherit"}, {"enabled": "madvise"}),
        ("compaction", {"unevictable": "0", "proactiveness": "0"}, {"unevictable": "0", "proactiveness": "20"}),
        ("ksm", "2", "1"),
        ("irq-affinity", {"24": "0-2", "25": "1"}, {"24": "0-2", "25": "3"}),
        ("cpu-dma-latency", {"n/a": "3", "0": "0-2"}, {"0": "0-3"}),
        ("rt-throttling", "-1", "950000"),
        ("fair-server", {"3": "0", "2": "50000000"}, {"3": "50000000"}),
    ],
)
def test_each_knob_is_read_as_it_would_be_set_for_the_cpu(name: str, wished: Any, not_so: Any) -> None:
    cause = next(f"{known.kind}:{known.names[0]}" for known in KNOWN if name in known.measures)
    found = [
        effect(cause, name, {**FACTS, "knobs": {name: {"available": True, "value": value}}})
        for value in (wished, not_so)
    ]
    assert found == [True, False]


def test_what_a_machine_shows_of_its_knobs_can_be_read() -> None:
    """On the machine at hand: no rule fails, whatever a knob shows."""
    facts = {**FACTS, "knobs": show_all(Tree())}
    assert len(facts["knobs"]) == len(KNOBS)
    for known in KNOWN:
        remedies(f"{known.kind}:x", facts)


def test_a_parameter_is_only_proposed_where_the_kernel_heeds_it() -> None:
    def parameters(options: dict[str, bool] | None) -> set[str | None]:
        return {each.parameter for each in remedies("task:rcuc", {**BARE, "kernel": {"options": options}})} - {None}

    assert parameters({"NO_HZ_FULL": True, "RCU_NOCB_CPU": True}) == {"rcu_nocbs={isolated}", "nohz_full={isolated}"}
    assert parameters({"NO_HZ_FULL": False, "RCU_NOCB_CPU": True}) == {"rcu_nocbs={isolated}"}
    assert parameters(None) == {"rcu_nocbs={isolated}", "nohz_full={isolated}"}


@pytest.mark.parametrize(
    ("cgroup", "root", "there"),
    [
        ({"version": 2, "controllers": ["cpuset"]}, True, True),
        ({"version": 2, "controllers": ["cpuset"]}, False, False),
        ({"version": 1, "controllers": ["cpuset"]}, True, False),
        ("nonsense", True, True),
    ],
)
def test_a_mode_is_only_proposed_where_it_can_be_had(cgroup: Any, root: bool, there: bool) -> None:
    facts = {**BARE, "cgroup": cgroup, "privileges": {"root": root}}
    (isolcpus,) = (each.text for each in remedies("task:python", facts) if "isolcpus=domain,1" in each.text)
    assert ("or measure in mode partition" in isolcpus) is there
    assert isolcpus.endswith(": nothing is balanced onto the CPU")


def test_what_is_said_of_a_mode_is_of_that_which_is_asked_for() -> None:
    named = [measure for measure in MEASURES.values() if "measure in mode" in measure.text]
    assert named == [measure for measure in MEASURES.values() if measure.mode]
    assert all(measure.or_mode in measure.text for measure in named)


def test_what_is_of_another_architecture_is_left_out() -> None:
    def keys(cause: str, arch: str) -> set[str]:
        found = {each.text for each in remedies(cause, {**BARE, "arch": arch})}
        return {key for key, measure in MEASURES.items() if measure.text.replace("{cpu}", "1") in found}

    assert {"firmware", "secure-world"} & keys("unexplained", "x86_64") == {"firmware"}
    assert {"firmware", "secure-world"} & keys("unexplained", "aarch64") == {"secure-world"}
    assert keys("timer:clocksource_watchdog", "aarch64") == {"look-up", "more-events"}


def test_a_kernel_that_does_not_heed_a_parameter_is_said_to_lack_what_it_takes() -> None:
    (told,) = (each for each in remedies("task:rcuc", BARE) if each.text.startswith("boot with nohz_full="))
    assert told.text.endswith("this kernel lacks CONFIG_NO_HZ_FULL")


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("3", {3}),
        ("0,2-3", {0, 2, 3}),
        ("2-N", {2, 3}),
        ("all", {0, 1, 2, 3}),
        ("managed_irq,domain,1", {1}),
        ("", set()),
        ("²,9999999999,-1,1-", {1}),
    ],
)
def test_cpu_lists_of_the_command_line(text: str, cpus: set[int]) -> None:
    assert cpus_of(text, range(4)) == cpus


@pytest.mark.parametrize("cause", ["task:python", "work:vmstat_update", "task:rcu_preempt", "switch:preempted"])
def test_who_comes_through_to_a_fifo_task_was_let_in(cause: str) -> None:
    """By the fair server, or the throttle: not for want of SCHED_FIFO, which it has."""
    let_in = {"fair-server", "rt-throttling"}
    lacking = {"fair-server": {"ok": False, "reason": "no debugfs"}, "rt-throttling": {"ok": True}}
    ordinary = remedies(cause, BARE, sched="other:0")
    assert not let_in & {each.knob for each in ordinary}
    found = remedies(cause, BARE, lacking, sched="fifo:1")
    assert [(each.knob, each.in_effect) for each in found[:2]] == [("fair-server", False), ("rt-throttling", True)]
    assert [each.in_effect for each in found if "mode fifo" in each.text] in ([], [True])
    assert {each.text for each in ordinary} <= {each.text for each in found}


@pytest.mark.parametrize("cause", ["task:migration", "task:irq-eth0", "call:flush_tlb_func", "hrtimer:x", None])
def test_what_goes_before_a_fifo_task_was_not_let_in(cause: str | None) -> None:
    assert remedies(cause, BARE, sched="fifo:1") == remedies(cause, BARE)


def test_a_guest_is_not_sent_into_its_firmware() -> None:
    metal, guest = (" ".join(each.text for each in remedies(None, {**BARE, "virtual": v})) for v in (None, "kvm"))
    assert "SMI" in metal
    assert "SMI" not in guest
    assert remedies(None, {**BARE, "virtual": "kvm"})[0].text.startswith("on the host of a virtual machine")


def test_the_page_is_the_table() -> None:
    """Written anew by ``python -m tests.unit.causes_page > docs/causes.md``."""
    assert (ROOT / "docs" / "causes.md").read_text() == causes_page.text()


LEAVES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["0-3", "1,", "-", "2-1"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["0", "1", "boost", "policies"]), inner)
    ),
    max_leaves=6,
)


@given(
    st.sampled_from(sorted({f"{known.kind}:{known.names[0]}" for known in KNOWN})),
    st.fixed_dictionaries(
        {},
        optional={
            "arch": LEAVES,
            "virtual": LEAVES,
            "cgroup": LEAVES | st.fixed_dictionaries(dict.fromkeys(("version", "controllers", "isolated"), LEAVES)),
            "privileges": LEAVES,
            "cpus": LEAVES
            | st.fixed_dictionaries(dict.fromkeys(("online", "isolated", "nohz_full", "topology"), LEAVES)),
            "kernel": LEAVES | st.fixed_dictionaries(dict.fromkeys(("cmdline", "options", "preempt"), LEAVES)),
            "knobs": LEAVES
            | st.fixed_dictionaries(
                {name: LEAVES | st.fixed_dictionaries({"available": LEAVES, "value": LEAVES}) for name in NAMES}
            ),
        },
    ),
    st.none() | st.dictionaries(st.sampled_from(NAMES), LEAVES | st.fixed_dictionaries({"ok": LEAVES})),
)
def test_whatever_a_target_says_of_itself_there_is_an_answer(
    cause: str, facts: dict[str, Any], knobs: dict[str, Any] | None
) -> None:
    assert {remedy.in_effect for remedy in remedies(cause, facts, knobs)} <= {True, False, None}
