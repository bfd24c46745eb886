# SPDX-License-Identifier: Apache-2.0
"""A board's serial console: boots told apart, a panic or a hang found and quoted, blocks whole or not."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.lab import console

FIRST = "[    0.000000] Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org)\n[    0.000000] Command line: x\n"
PANIC = """\
[    1.2] Freeing unused kernel image
[    1.3] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
[    1.4] CPU: 0 PID: 1 Comm: swapper/0 Not tainted
[    1.5] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0) ]---
"""
INTERRUPTS = """\
            CPU0       CPU1
   0:         43          0   IO-APIC   2-edge      timer
  24:          1        170   PCI-MSI 49152-edge      virtio0-req.0
 NMI:          0          0   Non-maskable interrupts
 LOC:       1834       5678   Local timer interrupts
 ERR:          0
"""
ARM_INTERRUPTS = """\
           CPU0       CPU1
 11:       2111       1250     GICv3  27 Level     arch_timer
IPI0:        10         20       Rescheduling interrupts
"""


def block(name: str, data: bytes) -> str:
    lines = "".join(f"{data[at : at + 32].hex()}\n" for at in range(0, len(data), 32))
    return f"\nisolbench-file {name} {len(data)} {zlib.crc32(data):08x}\n{lines}isolbench-end\n"


def test_boots_are_told_apart_and_firmware_belongs_to_the_first() -> None:
    found = console.boots("SeaBIOS\n" + FIRST + "one\n" + FIRST + "two\n")
    assert [text.splitlines()[-1] for text in found] == ["one", "two"]
    assert found[0].startswith("SeaBIOS")


def test_an_arm_kernels_two_first_lines_are_one_boot() -> None:
    arm = "[    0.0] Booting Linux on physical CPU 0x0\n[    0.0] Linux version 6.1.0-56-arm64\n[    0.1] more\n"
    assert len(console.boots(arm + arm)) == 2


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("[    1.3] Kernel panic - not syncing: Attempted to kill init!", "panic"),
        ("[   31.0][   C1] watchdog: BUG: soft lockup - CPU#1 stuck for 26s!", "oops"),
        ("[   31.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", "hang"),
        ("[  242.0] INFO: task kworker/0:1:12 blocked for more than 120 seconds.", "hang"),
        ("[    2.0] BUG: kernel NULL pointer dereference, address: 0000000000000000", "oops"),
        ("[    2.0] Internal error: Oops: 96000004 [#1] SMP", "oops"),
        ("[    5.3] lab: the board's disk cannot be mounted: this board cannot go on", "panic"),
    ],
)
def test_trouble_is_found_and_quoted(line: str, kind: str) -> None:
    found = console.trouble(FIRST + line + "\n[  50.0] what followed\n")
    assert found is not None
    assert found.quote == (line, "[  50.0] what followed")
    assert found.kind == ("hang" if "soft lockup" in line else kind)


def test_a_panic_outweighs_what_led_to_it() -> None:
    found = console.trouble("[    1.0] BUG: unable to handle page fault\n" + PANIC)
    assert found is not None
    assert found.kind == "panic"
    assert "VFS: Unable to mount root" in found.quote[0]


def test_a_healthy_boot_has_no_trouble() -> None:
    assert console.trouble(FIRST + "[    1.49] NMI watchdog: Perf NMI watchdog permanently disabled\n") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a word"),
        (FIRST + PANIC, "panic: [    1.3] Kernel panic - not syncing: VFS"),
        (
            FIRST + "[    3.0] waiting\n",
            "hangs, or takes longer than it was given; last on its console: [    3.0] waiting",
        ),
        (FIRST + "[    9.0] reboot: Restarting system\n", "went down and did not come up again"),
    ],
)
def test_why_a_board_did_not_come(text: str, says: str) -> None:
    assert says in console.account(text)


def test_an_earlier_boots_panic_is_not_the_last_ones() -> None:
    assert "panic" not in console.account(FIRST + PANIC + FIRST + "[    3.0] waiting\n")


@given(st.dictionaries(st.sampled_from(["result.json", "status", "a"]), st.binary(max_size=200)))
def test_blocks_come_over_the_line_as_they_were(files: dict[str, bytes]) -> None:
    sent = FIRST + "".join(block(name, data) for name, data in files.items())
    assert console.blocks(console.text_of(sent.replace("\n", "\r\n").encode())) == files


@pytest.mark.parametrize("damage", [("6c6f", "6c6e"), ("isolbench-end", "[ 3.0] hello\nisolbench-end"), ("ff\n", "\n")])
def test_a_damaged_block_is_an_error(damage: tuple[str, str]) -> None:
    sent = block("x", b"hello\xff")
    broken = sent.replace(*damage)
    assert broken != sent
    with pytest.raises(ValueError, match="block x"):
        console.blocks(broken)


def test_interrupts_by_label_and_by_name() -> None:
    assert console.interrupts(INTERRUPTS, 1)["LOC"] == 5678
    assert console.interrupts(INTERRUPTS, 0)["timer"] == 43
    assert console.interrupts(ARM_INTERRUPTS, 1)["arch_timer"] == 1250
    assert console.interrupts(INTERRUPTS, 2) == {}
    assert console.interrupts("", 0) == {}


def test_a_terminals_commands_and_doubled_line_ends_are_taken_out() -> None:
    assert console.text_of(b"\x1b[2J\x1b[01;01Hone\r\r\ntwo\r\n") == "one\ntwo\n"
