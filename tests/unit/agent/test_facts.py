# SPDX-License-Identifier: Apache-2.0
"""What is read of a machine, on invented ones: two real shapes, an empty one, and one of random bytes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent import facts, kmsg, snapshot
from harness.agent.kmsg import PATTERNS, Kmsg
from harness.agent.knobs import NAMES
from harness.agent.system import Tree

X86 = {
    "proc/cpuinfo": "processor : 0\nmodel name : Xeon\nmicrocode : 0x2f\nflags : tsc constant_tsc nonstop_tsc\n",
    "proc/sys/kernel/osrelease": "6.12.0-rt",
    "proc/sys/kernel/version": "#1 SMP PREEMPT_RT Debian",
    "proc/sys/kernel/random/boot_id": "b-o-o-t",
    "proc/sys/kernel/tainted": "0",
    "proc/cmdline": "isolcpus=2-3 quiet",
    "proc/self/status": "Name: x\nCapEff:\t0000000000800000\nCpus_allowed_list:\t0-1\n",
    "proc/self/limits": "Max locked memory         unlimited            unlimited            bytes\n"
    "Max realtime priority     7                    9\n",
    "proc/meminfo": "MemTotal:       1000 kB\nSwapTotal:         0 kB\n",
    "proc/modules": "kvm 1 2 - Live 0x0\next4 9 1 - Live 0x0\n",
    "proc/stat": "cpu  9 9 9 9\ncpu2 10 1 5 900 3 2 1 4 0 0\ncpu3 1 1 1 1 1 1 1 7 0 0\nintr 5\n",
    "proc/vmstat": "pswpin 3\npswpout 4\nother 1\n",
    "proc/interrupts": "     CPU2  CPU3\n  9:    5   0  IO-APIC  acpi\nLOC:  100  200  Local timer\nERR:  0\n",
    "proc/irq/9/smp_affinity_list": "0-3",
    "proc/77/comm": "irqbalance",
    "proc/78/comm": "bash",
    "sys/kernel/notes": "",
    "sys/devices/system/cpu/online": "0-3",
    "sys/devices/system/cpu/isolated": "2-3",
    "sys/devices/system/cpu/nohz_full": " (null)",
    "sys/devices/system/cpu/cpu2/topology/thread_siblings_list": "2-3",
    "sys/devices/system/cpu/cpu2/topology/core_id": "1",
    "sys/devices/system/cpu/cpu2/thermal_throttle/core_throttle_count": "5",
    "sys/devices/system/cpu/cpu2/cpufreq/scaling_governor": "performance",
    "sys/devices/system/cpu/cpu2/cpufreq/cpuinfo_max_freq": "3000000",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
    "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet",
    "sys/class/dmi/id/bios_vendor": "ACME",
    "sys/class/dmi/id/bios_version": "1.2",
    "sys/class/dmi/id/product_serial": "S-1",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu",
    "sys/fs/selinux/enforce": "1",
    "sys/kernel/tracing/current_tracer": "nop",
    "sys/kernel/tracing/set_event": "sched:sched_switch",
    "sys/kernel/livepatch/fix/enabled": "1",
    "sys/kernel/livepatch/fix/transition": "0",
    "run/systemd/system/x": "",
    "run/systemd/sessions/1": "CLASS=user\nTTY=tty1\n",
    "run/systemd/sessions/2": "CLASS=user\nREMOTE=1\n",
}
ARM = {
    "proc/cpuinfo": "CPU implementer : 0x41\nCPU variant : 0x4\nCPU part : 0xd0b\nCPU revision : 1\nSerial : 77\n",
    "proc/cgroups": "#subsys_name hierarchy num_cgroups enabled\ncpuset 3 1 1\nfreezer 0 1 1\n",
    "sys/firmware/devicetree/base/model": "Raspberry Pi 5",
    "sys/firmware/devicetree/base/serial-number": "abc\0",
    "sys/devices/system/cpu/online": "0-1",
    "sys/kernel/realtime": "1",
    "proc/1/comm": "init",
}


def plant(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(str(root))


def test_a_server(tmp_path: Path) -> None:
    found = facts.gather(plant(tmp_path, X86))
    assert found["cpu_model"] == "Xeon"
    assert found["microcode"] == "0x2f"
    assert found["firmware"] == "ACME 1.2"
    assert found["serial"] == "S-1"
    assert found["tsc"] == {"constant": True, "nonstop": True, "trusted": True}
    assert found["virtual"] is None
    assert found["kernel"]["preempt"] == "PREEMPT_RT"
    assert found["kernel"]["cmdline"] == "isolcpus=2-3 quiet"
    assert found["cpus"]["isolated"] == [2, 3]
    assert found["cpus"]["nohz_full"] == []
    assert found["cpus"]["allowed"] == [0, 1]
    assert found["cpus"]["topology"]["2"] == {
        "core": 1,
        "package": None,
        "node": None,
        "siblings": [2, 3],
        "capacity": None,
        "max_khz": 3_000_000,
    }
    assert found["cgroup"] == {"version": 2, "controllers": ["cpu", "cpuset"], "root": True, "isolated": None}
    assert found["privileges"]["sys_nice"] is True
    assert found["privileges"]["rtprio_limit"] == 7
    assert found["privileges"]["memlock_limit"] == -1
    assert (found["init"], found["memory_kb"], found["swap_kb"]) == ("systemd", 1000, 0)
    assert found["selinux"] == "enforcing"
    assert found["tracefs"] is True
    assert set(found["knobs"]) == set(NAMES)
    json.dumps(found, allow_nan=False)


def test_a_board(tmp_path: Path) -> None:
    found = facts.gather(plant(tmp_path, ARM))
    assert found["cpu_model"] == "0x41/0xd0b/0x4/1"
    assert found["serial"] == "abc"
    assert found["tsc"] is None
    assert found["kernel"]["preempt"] == "PREEMPT_RT"
    assert found["cgroup"] == {"version": 1, "controllers": ["cpuset"]}
    assert (found["init"], found["selinux"]) == ("init", None)
    assert found["cpus"]["topology"]["1"]["siblings"] == [1]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"sys/class/dmi/id/sys_vendor": "QEMU"}, "qemu"),
        ({"sys/firmware/devicetree/base/compatible": "linux,dummy-virt"}, "qemu"),
        ({"sys/devices/system/clocksource/clocksource0/available_clocksource": "kvm-clock tsc"}, "kvm"),
        ({"proc/cpuinfo": "flags : fpu hypervisor\n"}, "unknown"),
        ({"proc/cpuinfo": "flags : fpu\n"}, None),
    ],
)
def test_who_is_the_hypervisor(tmp_path: Path, files: dict[str, str], name: str | None) -> None:
    assert facts.gather(plant(tmp_path, files))["virtual"] == name


def note(name: bytes, text: bytes, kind: int) -> bytes:
    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    words = b"".join(number.to_bytes(4, sys.byteorder) for number in (len(name), len(text), kind))
    return words + padded(name) + padded(text)


def test_the_build_id_among_other_notes() -> None:
    notes = note(b"Linux\0", b"abc", 0x101) + note(b"GNU\0", bytes(range(20)), 3) + note(b"Xen\0", b"", 1)
    assert facts.build_id(notes) == bytes(range(20)).hex()
    assert facts.build_id(notes[:30]) is None
    assert facts.build_id(None) is None


@given(st.binary(max_size=200))
def test_no_notes_raise(notes: bytes) -> None:
    facts.build_id(notes)


def test_a_snapshot_of_a_server(tmp_path: Path) -> None:
    seen = snapshot.take(plant(tmp_path, X86), [2])
    assert seen["boot_id"] == "b-o-o-t"
    assert seen["interrupts"] == {"2": {"9": 5, "LOC": 100}}
    assert seen["steal_ticks"] == {"2": 4}
    assert seen["busy_ticks"] == {"2": 19, "3": 5}
    assert seen["siblings"] == {"2": [3]}
    assert seen["throttled"] == {"2": {"core_throttle_count": 5}}
    assert seen["frequency"]["2"]["scaling_governor"] == "performance"
    assert seen["livepatch"] == {"fix": ["1", "0"]}
    assert seen["tracing"]["tracer"] == "nop"
    assert seen["tracing"]["events"] == 1
    assert seen["tracing"]["on"] == ["sched:sched_switch"]
    assert seen["swap"] == {"pswpin": 3, "pswpout": 4}
    assert seen["meddlers"] == ["irqbalance"]
    assert seen["users"] == 1  # the session with a terminal, not the one without
    json.dumps(seen, allow_nan=False)


def test_digests_follow_what_they_digest(tmp_path: Path) -> None:
    tree = plant(tmp_path, X86)
    before = snapshot.take(tree, [2])
    plant(tmp_path, {"proc/modules": "ext4 9 7 - Live 0x0\nkvm 1 2 - Live 0x0\n"})  # a use count, another order
    assert snapshot.take(tree, [2])["modules_sha256"] == before["modules_sha256"]
    plant(tmp_path, {"proc/modules": "ext4 9 7 - Live 0x0\n", "proc/irq/9/smp_affinity_list": "0"})
    after = snapshot.take(tree, [2])
    assert after["modules_sha256"] != before["modules_sha256"]
    assert after["irq_affinity"] != before["irq_affinity"]


@pytest.mark.parametrize(("size", "alive", "count"), [(384, True, 1), (400, True, 1), (384, False, 0)])
def test_who_is_logged_in_by_utmp(tmp_path: Path, size: int, alive: bool, count: int) -> None:
    pid = os.getpid() if alive else 2**22 + 5
    user = (7).to_bytes(4, "little") + pid.to_bytes(4, "little") + bytes(size - 8)
    boot = (2).to_bytes(4, "little") + bytes(size - 4)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/utmp").write_bytes(boot + user)
    assert snapshot.users(Tree(str(tmp_path))) == count


def test_an_empty_machine(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path))
    found, seen = facts.gather(tree), snapshot.take(tree, [0, 1])
    assert found["cpus"]["online"] == []
    assert found["boot_id"] is None
    assert seen["interrupts"] == {"0": {}, "1": {}} or seen["interrupts"] == {}
    assert seen["users"] is None
    assert seen["tracing"] is None


@given(st.text(max_size=200), st.sampled_from(sorted(X86)))
def test_nonsense_in_any_file_raises_nothing(
    tmp_path_factory: pytest.TempPathFactory, nonsense: str, name: str
) -> None:
    root = tmp_path_factory.mktemp("odd")
    plant(root, {name: nonsense})
    facts.gather(Tree(str(root)))
    snapshot.take(Tree(str(root)), [2])


def test_this_very_machine() -> None:
    found, seen = facts.gather(), snapshot.take(Tree(), [0])
    assert found["boot_id"] == seen["boot_id"]
    assert found["cpus"]["online"]
    assert seen["interrupts"]["0"]


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: CPU: 1 PID: 5 at kernel/x.c",
        "BUG: unable to handle page fault",
        "watchdog: BUG: soft lockup - CPU#1 stuck",
        "rcu: INFO: rcu_preempt self-detected stall on CPU",
        "mce: [Hardware Error]: Machine check events logged",
        "CPU1: Core temperature above threshold, cpu clock throttled",
        "tsc: Marking TSC unstable due to clocksource watchdog",
        "clocksource: timekeeping watchdog: Marking clocksource 'tsc' as unstable",
    ],
)
def test_what_the_kernel_says_when_a_run_is_worthless(line: str) -> None:
    assert PATTERNS.search(line)


@pytest.mark.parametrize(
    "line",
    ["usb 1-1: new device", "debug: BUGGY_DRIVER=n", "eth0: installed", "x: error -5", "hub 1-0: forestalled"],
)
def test_what_it_says_on_any_day(line: str) -> None:
    assert not PATTERNS.search(line)


def test_the_log_from_a_mark_on(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    path = tmp_path / "dev/kmsg"
    path.write_text("4,1,5000000,-;old BUG: this was before\n")
    log = Kmsg(Tree(str(tmp_path)))
    log.mark()
    with open(path, "a") as file:
        file.write("4,2,7000000,-;WARNING: CPU: 1\n SUBSYSTEM=x\n")
    said = log.collect()
    assert said is not None
    assert said["lines"] == said["matches"] == ["[7.000000] WARNING: CPU: 1"]
    log.close()
    assert not log.readable
    assert log.collect() is None


def test_a_log_that_is_not_ours_to_read(tmp_path: Path) -> None:
    log = Kmsg(Tree(str(tmp_path)))
    log.mark()
    assert log.collect() is None


def test_a_flood_keeps_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmsg, "_KEEP_BYTES", 100)
    records = iter([f"4,{n},1,-;{'x' * 40} {n}".encode() for n in range(50)] + [b""])
    monkeypatch.setattr(os, "read", lambda *_: next(records))
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kmsg").write_text("")
    said = Kmsg(Tree(str(tmp_path))).collect()
    assert said is not None
    assert [line[-2:] for line in said["lines"]] == ["49"]
