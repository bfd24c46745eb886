# SPDX-License-Identifier: Apache-2.0
"""Advice: what hurts is said with its remedy, and a machine that is set up well gets no homework."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.advice import LEVELS, findings, worst

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
        ({"virtual": "kvm"}, "machine", "metal"),
        ({"privileges": {"root": False}}, "privileges", "sudo"),
        ({"privileges": {"root": False, "sys_nice": True}}, "privileges", "sudo"),
        ({"meddlers": ["irqbalance"]}, "services", "systemctl stop irqbalance"),
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


@pytest.mark.parametrize(("root", "level", "text"), [(True, "ok", "can be set"), (False, "note", "needs root")])
def test_a_knob_takes_root(*, root: bool, level: str, text: str) -> None:
    (found,) = [f for f in findings({**GOOD, "privileges": {"root": root}}) if f.topic == "knob irq-affinity"]
    assert found.level == level
    assert text in found.text


def test_a_knob_that_is_not_there_says_why() -> None:
    knob = {"available": False, "value": None, "reason": "debugfs is not mounted"}
    (found,) = [f for f in findings({**GOOD, "knobs": {"fair-server": knob}}) if f.topic == "knob fair-server"]
    assert found.level == "note"
    assert "debugfs is not mounted" in found.text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["arch", "clocksource", "virtual", "privileges"]), json_values))
def test_missing_or_odd_facts_never_raise(facts: dict[str, Any]) -> None:
    assert all(finding.level in LEVELS for finding in findings(facts))
