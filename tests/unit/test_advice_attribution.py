# SPDX-License-Identifier: Apache-2.0
"""What attribution a machine can have, said beforehand: by rules, and held against what a probe has on this one."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import build
from harness.advice import findings
from harness.advice.attribution import NOTHING, SOFTWARE, TRACEPOINTS, WORTH, forecast
from harness.agent import facts, snapshot, tracing
from harness.agent.system import Tree

from .csrc_kit import IS_ROOT, a_cpu, run

ROOT_OF = {
    "paranoid": 2,
    "tracefs": "unmounted",
    "tracefs_known": True,
    "perfmon": True,
    "sys_admin": True,
    "own_user_namespace": False,
    "seccomp": False,
    "lockdown": None,
}
USER = {**ROOT_OF, "perfmon": False, "sys_admin": False}
PERFMON = {**USER, "perfmon": True, "tracefs": "readable"}
VANILLA = {"release": "6.18.5", "version": "#1 SMP PREEMPT"}
LOCKED = {**VANILLA, "cmdline": "quiet lockdown=confidentiality"}
DEBIAN = {"release": "6.12.48+deb13-amd64", "version": "#1 SMP PREEMPT_DYNAMIC Debian 6.12.48-1"}


@pytest.mark.parametrize(
    ("told", "kernel", "level", "reason", "advice"),
    [
        (ROOT_OF, VANILLA, TRACEPOINTS, "", ""),
        (PERFMON, VANILLA, TRACEPOINTS, "", ""),
        ({**USER, "paranoid": -1, "tracefs": "readable"}, VANILLA, TRACEPOINTS, "", ""),
        ({**ROOT_OF, "lockdown": "integrity"}, VANILLA, TRACEPOINTS, "", ""),
        ({**ROOT_OF, "paranoid": 3}, DEBIAN, TRACEPOINTS, "", ""),
        (USER, VANILLA, SOFTWARE, "no CAP_PERFMON, and perf_event_paranoid is 2", "become: sudo"),
        ({**USER, "tracefs": "denied"}, VANILLA, SOFTWARE, "tracefs is not ours to read", "become: sudo"),
        ({**USER, "perfmon": True}, VANILLA, SOFTWARE, "only root may mount it", "mount -t tracefs"),
        ({**ROOT_OF, "lockdown": "confidentiality"}, LOCKED, SOFTWARE, "lockdown", "lockdown=integrity"),
        ({**ROOT_OF, "tracefs_known": False}, VANILLA, SOFTWARE, "no tracepoints", "CONFIG_EVENT_TRACING"),
        ({**ROOT_OF, "tracefs": "empty"}, VANILLA, SOFTWARE, "no tracepoints", "CONFIG_EVENT_TRACING"),
        (ROOT_OF, {"release": "4.19.0-27-amd64"}, SOFTWARE, "no private mounts", "mount -t tracefs"),
        ({**USER, "own_user_namespace": True}, VANILLA, SOFTWARE, "container", "outside of the container"),
        ({**USER, "paranoid": 3}, VANILLA, SOFTWARE, "perf_event_paranoid is 3", "become: sudo"),
        ({**USER, "paranoid": 3}, DEBIAN, NOTHING, "to root alone", "sysctl kernel.perf_event_paranoid=2"),
        ({**USER, "paranoid": 4}, {"version": "#1-Ubuntu SMP"}, NOTHING, "is 4", "sysctl"),
        ({**PERFMON, "paranoid": 4}, {"version": "#1-Ubuntu SMP"}, NOTHING, "is 4", "sysctl"),
        ({**PERFMON, "paranoid": 3}, DEBIAN, TRACEPOINTS, "", ""),
        ({**ROOT_OF, "paranoid": 4}, {"version": "#1-Ubuntu SMP"}, TRACEPOINTS, "", ""),
        ({**ROOT_OF, "paranoid": None}, VANILLA, NOTHING, "no perf events", "CONFIG_PERF_EVENTS"),
    ],
)
def test_the_level_follows_from_what_the_machine_is(told, kernel, level, reason, advice):
    found = forecast({"attribution": told, "kernel": kernel})
    assert found.level == level
    assert reason in found.reason
    assert advice in found.advice
    assert found.advice.count("measure as root") <= 1
    assert bool(found.reason) == bool(found.advice) == (level != TRACEPOINTS)
    assert found.sure
    assert str(found).startswith(WORTH[level])


def test_a_filter_of_system_calls_makes_it_unsure():
    found = forecast({"attribution": {**ROOT_OF, "seccomp": True}, "kernel": VANILLA})
    assert (found.level, found.sure) == (TRACEPOINTS, False)
    assert "or less: " in str(found)
    assert "seccomp" in str(found)


def test_a_lockdown_that_the_boot_did_not_ask_for_makes_it_unsure():
    """It removes tracepoints as the kernel boots, and leaves them where root asked for it later."""
    found = forecast({"attribution": {**ROOT_OF, "lockdown": "confidentiality"}, "kernel": VANILLA})
    assert (found.level, found.sure) == (SOFTWARE, False)
    assert "or more: " in str(found)
    readable = {**ROOT_OF, "lockdown": "confidentiality", "tracefs": "readable"}
    assert forecast({"attribution": readable, "kernel": LOCKED}).level == TRACEPOINTS


def test_nothing_known_is_said_to_be():
    found = forecast({})
    assert (found.level, found.advice) == (None, "ask again: isolbench plan --contact")
    assert "unknown" in str(found)
    assert [each for each in findings({}) if each.topic == "attribution"] == []


def test_doctor_says_it():
    [found] = [each for each in findings({"attribution": USER, "kernel": VANILLA}) if each.topic == "attribution"]
    assert (found.level, "perf_event_paranoid" in found.text, "sudo" in found.advice) == ("note", True, True)
    [found] = [each for each in findings({"attribution": ROOT_OF, "kernel": VANILLA}) if each.topic == "attribution"]
    assert (found.level, found.advice) == ("ok", "")


@given(st.dictionaries(st.sampled_from(sorted(ROOT_OF)), st.none() | st.booleans() | st.integers() | st.text()))
def test_any_facts_have_an_answer(told):
    found = forecast({"attribution": told, "kernel": None})
    assert found.level in (TRACEPOINTS, SOFTWARE, NOTHING)
    assert json.dumps(found.to_json())


def tree(root: Path, **files: str) -> Tree:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Tree(str(root))


def test_what_is_read_of_a_machine(tmp_path):
    files = {
        "proc__self__status": "Name:\tx\nCapEff:\t0000004000000000\nSeccomp:\t2\n",
        "proc__self__uid_map": "         0       1000          1\n",
        "proc__filesystems": "nodev\tsysfs\nnodev\ttracefs\n\text4\n",
        "proc__sys__kernel__perf_event_paranoid": "-1\n",
        "sys__kernel__security__lockdown": "none [integrity] confidentiality\n",
        "proc__self__mounts": "tracefs /sys/kernel/tracing tracefs rw 0 0\n",
        "sys__kernel__tracing__README": "x",
    }
    told = tracing.gather(tree(tmp_path, **files))
    assert told == {
        "paranoid": -1,
        "tracefs": "empty",
        "tracefs_known": True,
        "perfmon": False,  # not of the machine's own user namespace
        "sys_admin": False,
        "own_user_namespace": True,
        "seccomp": True,
        "lockdown": "integrity",
    }
    files["proc__self__uid_map"] = "         0          0 4294967295\n"
    files["sys__kernel__tracing__events__sched__sched_switch__format"] = "name: sched_switch\nID: 300\n"
    told = tracing.gather(tree(tmp_path, **files))
    assert (told["tracefs"], told["perfmon"], told["sys_admin"]) == ("readable", True, False)


class Watched(Tree):
    """Notes what is looked at."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.seen: list[str] = []

    def path(self, path: str) -> str:
        self.seen.append(path)
        return super().path(path)

    def read_bytes(self, path: str, limit: int = 1 << 22) -> bytes | None:
        self.seen.append(path)
        return super().read_bytes(path, limit)

    def names(self, path: str) -> list[str]:
        self.seen.append(path)
        return super().names(path)

    def exists(self, path: str) -> bool:
        self.seen.append(path)
        return super().exists(path)


def test_looking_mounts_nothing(tmp_path):
    """The folder `tracing` of debugfs mounts tracefs for everybody, as soon as somebody looks into it."""
    tree(tmp_path, sys__kernel__debug__tracing__current_tracer="nop\n", proc__self__mounts="x /sys sysfs rw 0 0\n")
    machine = Watched(str(tmp_path))
    assert facts.gather(machine)["tracefs"] is False
    assert snapshot.take(machine, [0])["tracing"] is None
    assert [path for path in machine.seen if path.startswith("/sys/kernel/debug/tracing")] == []
    tree(tmp_path, proc__self__mounts="tracefs /sys/kernel/debug/tracing tracefs rw 0 0\n")
    assert facts.gather(machine)["tracefs"] is True
    assert snapshot.take(machine, [0])["tracing"]["tracer"] == "nop"


def test_a_machine_that_says_nothing(tmp_path):
    told = tracing.gather(Tree(str(tmp_path)))
    assert (told["paranoid"], told["tracefs"], told["tracefs_known"]) == (None, "unmounted", False)
    assert not told["perfmon"]


FACTS = "import json; from harness.agent import facts; print(json.dumps(facts.gather()))"
NO_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param((), id="as-we-are"),
        pytest.param(NO_CAPABILITIES, id="no-capabilities"),
        pytest.param(("setpriv", "--bounding-set=-sys_admin"), id="perfmon-alone"),
        pytest.param(("unshare", "--user", "--map-root-user"), id="container"),
    ],
)
def test_what_is_said_is_what_a_probe_has(prefix, tmp_path):
    """The two know nothing of each other: Python reads files, the probe opens events."""
    if prefix and not (IS_ROOT and shutil.which(prefix[0])):
        pytest.skip(f"needs root, and {prefix[0]} (Debian: util-linux)")
    asked = run(*prefix, sys.executable, "-c", FACTS)
    if asked.returncode:
        pytest.skip(f"{' '.join(prefix)} cannot be had here: {asked.stderr[-200:]}")
    said = forecast(json.loads(asked.stdout))
    gap = build.build_probe("gap", build.native_arch()).path
    done = run(*prefix, gap, "--cpu", a_cpu(), "--duration", "20ms", "--attribution", "perf", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "result.json").read_text())["attribution"]
    if not said.sure:
        pytest.skip(f"{said}")
    assert said.level == told["level"], (said, told["reason"])
    assert (said.reason == "") == (told["level"] == TRACEPOINTS)
