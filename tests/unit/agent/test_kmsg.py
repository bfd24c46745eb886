# SPDX-License-Identifier: Apache-2.0
"""Which lines of the kernel's log make a run worthless: the kernel's own, all of them, also in a flood."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agent import kmsg
from harness.agent.kmsg import PATTERNS, Kmsg
from harness.agent.system import Tree


def log_of(root: Path, *records: str) -> Kmsg:
    (root / "dev").mkdir()
    (root / "dev/kmsg").write_text("\n".join(records) + "\n")
    return Kmsg(Tree(str(root)))


def test_what_a_program_writes_there_is_not_the_kernels_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = iter([b"12,1,5000000,-;app[7]: WARNING: BUG\n", b"4,2,6000000,-;WARNING: CPU: 1\n", b""])
    log = log_of(tmp_path)
    monkeypatch.setattr(kmsg.os, "read", lambda *_: next(records))
    said = log.collect()
    assert said is not None
    assert len(said["lines"]) == 2
    assert said["matches"] == ["[6.000000] WARNING: CPU: 1"]


def test_a_flood_does_not_wash_a_match_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flood = [f"6,{n},1,-;{'x' * 40}\n".encode() for n in range(50)]
    records = iter([b"4,0,1,-;BUG: soft lockup\n", *flood, b""])
    log = log_of(tmp_path)
    monkeypatch.setattr(kmsg, "_KEEP_BYTES", 100)
    monkeypatch.setattr(kmsg.os, "read", lambda *_: next(records))
    said = log.collect()
    assert said is not None
    assert [line[-11:] for line in said["matches"]] == ["soft lockup"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hwmon hwmon1: Undervoltage detected!", True),
        ("Under-voltage detected! (0x00050005)", True),
        ("warning: `tool' uses deprecated v2 capabilities", False),
        ("driver: known bug in firmware, worked around", False),
        ("sched: RT throttling activated", True),
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [sh:77]", True),
        ("rcu: INFO: rcu_preempt self-detected stall on CPU", True),
        ("INFO: task kworker/1:1:77 blocked for more than 120 seconds.", True),
        ("Out of memory: Killed process 77 (python3) total-vm:1kB", True),
        ("Memory cgroup out of memory: Killed process 77 (python3)", True),
        ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", True),
        ("rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 3-...D }", True),
        ("sh: page allocation stalls for 10012ms, order:0", True),
        ("usb 1-1: stalled endpoint 0x81", False),
        ("uvcvideo 1-1:1.0: Stall on interrupt endpoint", False),
        ("general protection fault: 0000 [#1] SMP PTI", True),
        ("general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] SMP", True),
        ("traps: app[77] general protection fault ip:55d4c8 sp:7ffd error:0 in app[55d4c8000000+1000]", False),
        ("UBSAN: array-index-out-of-bounds in drivers/net/x.c:7:3", True),
        ("list_del corruption. prev->next should be ffff88, but was dead", True),
        ("list_add corruption. next->prev should be prev", True),
        ("xhci_hcd 0000:00:14.0: throttling interrupts to 8000/s", False),
        ("audit: rate limit reached, throttled", False),
        ("tegra_soctherm 700e2000.thermal-sensor: throttling CPU depth 80", True),
        ("CPU3: Core temperature above threshold, cpu clock throttled (total events = 1)", True),
        ("kswapd0: page allocation failure: order:2", True),
        ("mce: [Hardware Error]: Machine check events logged", True),
        ("EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1", True),
        ("Uhhuh. NMI received for unknown reason 3d on CPU 1.", True),
        ("x86/split lock detection: #AC: app/77 took a split_lock trap", True),
        ("CPU1: Package temperature above threshold, cpu clock throttled (total events = 3)", True),
        ("thermal thermal_zone0: cpu-thermal: critical temperature reached", True),
        ("tsc: Marking TSC unstable due to check_tsc_sync_source failed", True),
        ("Measured 3 cycles TSC warp between CPUs, turning off TSC clock.", True),
        ("clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable", True),
        ("Oops: 0000 [#1] PREEMPT SMP", True),
        ("eth0: Link is Up - 1Gbps/Full", False),
        ("EXT4-fs (vda1): re-mounted with ordered data mode", False),
        ('audit: type=1400 apparmor="DENIED"', False),
        ("usb 1-1: new high-speed USB device number 3", False),
        ("NET: Registered PF_VSOCK protocol family", False),
    ],
)
def test_which_lines_count(line: str, *, expected: bool) -> None:
    assert bool(PATTERNS.search(line)) is expected
