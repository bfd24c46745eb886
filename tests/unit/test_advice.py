# SPDX-License-Identifier: Apache-2.0
"""Advice: what hurts is said with its remedy, and a machine that is set up well gets no homework."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.advice import LEVELS, findings, worst
from harness.agent.validity import RULES

GOOD: dict[str, Any] = {
    "cpus": {
        "online": [0, 1, 2, 3],
        "isolated": [2, 3],
        "nohz_full": [2, 3],
        "topology": {str(n): {"siblings": [n]} for n in range(4)},
    },
    "clocksource": "tsc",
    "virtual": None,
    "privileges": {"root": True},
    "knobs": {"irq-affinity": {"available": True, "value": None, "reason": None}},
}


def test_a_machine_set_up_well_needs_nothing() -> None:
    found = findings(GOOD)
    assert worst(found) == "ok"
    assert not [finding for finding in found if finding.advice]


@pytest.mark.parametrize(
    ("change", "topic", "remedy"),
    [
        ({"cpus": {**GOOD["cpus"], "isolated": []}}, "isolation", "isolcpus=managed_irq,domain,3"),
        ({"cpus": {**GOOD["cpus"], "nohz_full": [2]}}, "tick", "nohz_full=3"),
        ({"cpus": {**GOOD["cpus"], "online": [0]}}, "CPUs", "two CPUs"),
        ({"clocksource": "hpet"}, "clock", "tsc=reliable"),
        ({"clock": {"skew_ns": -5 * 10**9, "uncertainty_ns": 10**6}}, "time of day", "set-ntp"),
        ({"clock": {"skew_ns": 1 << 60, "uncertainty_ns": 10**6}}, "time of day", "set-ntp"),
        ({"virtual": "kvm"}, "machine", "metal"),
        ({"privileges": {"root": False}}, "privileges", "sudo"),
        ({"privileges": {"root": False, "sys_nice": True}}, "privileges", "sudo"),
    ],
)
def test_each_trouble_has_its_remedy(change: dict[str, Any], topic: str, remedy: str) -> None:
    troubles = [finding for finding in findings({**GOOD, "knobs": {}, **change}) if finding.level != "ok"]
    assert [finding.topic for finding in troubles] == [topic]
    assert remedy in troubles[0].advice


@pytest.mark.parametrize(
    ("cmdline", "nohz_full", "expected"),
    [
        ("quiet", [], True),
        ("rcu_nocbs=3", [], False),
        ("rcu_nocbs=0,2-3 quiet", [], False),
        ("rcu_nocbs=1-N", [], False),
        ("rcu_nocbs=all", [], False),
        ("rcu_nocbs", [], True),  # none at boot
        ("rcu_nocbs=0-2", [], True),
        ("nohz_full=2-3", [2, 3], False),  # has it with it
    ],
)
def test_fifo_starves_rcu_on_a_real_time_kernel(cmdline: str, nohz_full: list[int], *, expected: bool) -> None:
    facts = {
        **GOOD,
        "cpus": {**GOOD["cpus"], "nohz_full": nohz_full},
        "kernel": {"preempt": "PREEMPT_RT", "cmdline": cmdline},
    }
    found = [finding for finding in findings(facts) if finding.topic == "RCU"]
    assert bool(found) is expected
    assert all("rcu_nocbs=3" in finding.advice for finding in found)
    facts["kernel"] = {"preempt": "PREEMPT_DYNAMIC", "cmdline": cmdline}
    assert not [finding for finding in findings(facts) if finding.topic == "RCU"]


def about_knobs(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(each.level, each.text, each.advice) for each in findings({**GOOD, **facts}) if each.topic == "knobs"]


def knob(
    reason: str | None = None, *, needed: bool = True, advice: str | None = None, value: Any = 1
) -> dict[str, Any]:
    return {"available": reason is None, "value": value, "reason": reason, "needed": needed, "advice": advice}


def test_knobs_are_told_in_few_lines() -> None:
    """One for those that work, one for what this kernel cannot do anyway, and one for each reason of the others."""
    facts = {
        "knobs": {
            "thp": knob(),
            "ksm": knob(),
            "numa-balancing": knob("this kernel has no NUMA balancing", needed=False),
            "watchdog": knob("the watchdog is off", needed=False),
            "governor": knob("no cpufreq", advice="on the host"),
            "turbo": knob("no cpufreq", advice="on the host"),
            "fair-server": knob("debugfs is not mounted", advice="mount it"),
        }
    }
    assert about_knobs(facts) == [
        ("ok", "can be set: thp, ksm", ""),
        ("ok", "nothing to set here: numa-balancing, watchdog", ""),
        ("note", "governor, turbo: not available: no cpufreq", "on the host"),
        ("note", "fair-server: not available: debugfs is not mounted", "mount it"),
    ]


def test_a_knob_takes_root() -> None:
    facts = {"privileges": {"root": False}, "knobs": {"thp": knob(), "ksm": knob()}}
    assert about_knobs(facts) == [("note", "need root to be set: thp, ksm", "")]


def test_services_and_timers_that_are_active_are_named() -> None:
    facts = {**GOOD, "knobs": {"services": knob(value=["apt-daily.timer", "irqbalance.service", "tuned.service"])}}
    found = [each for each in findings(facts) if each.topic == "services"]
    assert [(each.level, each.text.partition(": ")[2]) for each in found] == [
        ("warn", "irqbalance.service, tuned.service"),
        ("note", "apt-daily.timer"),
    ]
    assert all("tune: [services]" in each.advice for each in found)
    assert found[0].advice.endswith("systemctl stop irqbalance.service tuned.service")


def test_without_systemd_what_runs_is_named_once() -> None:
    facts = {"meddlers": ["irqbalance"], "knobs": {"services": knob("systemd does not run here; running: irqbalance")}}
    found = [each for each in findings({**GOOD, **facts}) if "irqbalance" in each.text]
    assert [(each.level, each.topic) for each in found] == [("warn", "services")]
    assert "rc-service" in found[0].advice


def test_who_else_traces_is_named() -> None:
    facts = {"tracers": {"bpftrace (7)": ["2 perf events", "1 BPF program of type kprobe_multi"]}}
    [found] = [each for each in findings({**GOOD, **facts}) if each.topic == "tracing"]
    assert found.level == "warn"
    assert found.text.startswith("bpftrace (7) has 2 perf events, 1 BPF program of type kprobe_multi: ")
    assert not [each for each in findings({**GOOD, "tracers": {}}) if each.topic == "tracing"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(
    st.dictionaries(
        st.sampled_from(["arch", "clocksource", "virtual", "privileges", "knobs", "meddlers", "tracers"]), json_values
    )
)
def test_missing_or_odd_facts_never_raise(facts: dict[str, Any]) -> None:
    assert all(finding.level in LEVELS for finding in findings(facts))


@pytest.mark.parametrize(
    ("skew_ns", "uncertainty_ns", "level", "text"),
    [
        (400_000, 300_000, "ok", "within 0.001 s of here"),
        (-900_000_000, 50_000_000, "ok", "within 0.95 s of here"),
        (1_900_000_000, 1_000_000_000, "ok", "within 2.9 s of here"),  # a slow way there proves nothing
        (3_000_000_000, 1_000_000_000, "note", "its clock is 3 s ahead of this controller's"),
        (-1_795_000_000 * 10**9, 10**6, "note", "its clock is 20775 days behind this controller's"),
    ],
)
def test_a_clock_that_is_off_is_told_with_its_direction(
    skew_ns: int, uncertainty_ns: int, level: str, text: str
) -> None:
    clock = {"skew_ns": skew_ns, "uncertainty_ns": uncertainty_ns}
    (finding,) = (each for each in findings({**GOOD, "clock": clock}) if each.topic == "time of day")
    assert (finding.level, finding.text) == (level, text)


def test_loads_that_cannot_run_say_what_to_install() -> None:
    facts = {**GOOD, "tools": {"hackbench": None, "stress-ng": "/usr/bin/stress-ng"}}
    facts |= {"memory_available_kb": 4096, "cache_kb": 32768}
    found = {finding.topic: finding for finding in findings(facts)}
    assert found["load hackbench"].advice == "install the package rt-tests there"
    assert "needs 256 MiB of free memory" in found["load memory"].text
    assert found["loads"].text == "can run: idle, spin, syscalls, stress-ng"


def test_smt_is_advised_upon_as_a_run_would_be() -> None:
    topology = {"0": {"siblings": [0, 1]}, "1": {"siblings": [0, 1]}}
    [found] = [f for f in findings({**GOOD, "cpus": {**GOOD["cpus"], "topology": topology}}) if f.topic == "SMT"]
    assert RULES["sibling-busy"].remedy in found.advice


@pytest.mark.parametrize(("virtual", "advice"), [("kvm", "set it on the host"), (None, "modprobe it")])
def test_a_governor_is_the_hosts_on_a_virtual_machine(virtual: str | None, advice: str) -> None:
    governor = {"available": False, "needed": True, "reason": "no cpufreq here", "advice": "modprobe it"}
    found = findings({"virtual": virtual, "knobs": {"governor": governor}})
    [knob] = [each for each in found if each.topic == "knobs"]
    assert knob.advice.startswith(advice)
