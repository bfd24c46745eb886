# SPDX-License-Identifier: Apache-2.0
"""How QEMU is called: what it loads, and what becomes of a board that boots again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.lab.machine import Boot, Hardware, argv

HARDWARE = Hardware("b", "x86_64", 2, 1024, "tcg", Path("console.log"), None, ssh_port=2222)
ALWAYS = "console=ttyS0 panic=10 tsc=reliable"


def call(boot: Boot | None) -> list[str]:
    return argv(replace(HARDWARE, boot=boot), "qemu")


def test_a_disk_boots_by_itself_and_boots_again() -> None:
    found = call(None)
    assert not {"-kernel", "-append", "-no-reboot"} & set(found)


def test_a_kernel_that_qemu_loads_gets_what_every_board_gets() -> None:
    found = call(Boot(Path("k"), Path("i"), ("quiet", "x=1")))
    assert found[found.index("-kernel") + 1] == "k"
    assert found[found.index("-initrd") + 1] == "i"
    assert found[found.index("-append") + 1] == f"{ALWAYS} quiet x=1"
    assert "-no-reboot" not in found


def test_a_boot_for_once_has_its_own_command_line_and_ends_with_qemu() -> None:
    found = call(Boot(Path("k"), None, ("ro panic=1",), whole=True, once=True))
    assert found[found.index("-append") + 1] == "ro panic=1"
    assert "-initrd" not in found
    assert "-no-reboot" in found


@pytest.mark.parametrize(
    ("arch", "releases", "how"),
    [
        ("x86_64", ("6.1.0-56-amd64", "6.1.0-56-rt-amd64"), "tcg,thread=multi"),
        ("x86_64", ("6.12.117+deb13-amd64",), "tcg,thread=single"),
        ("x86_64", ("6.1.0-56-amd64", "7.0.0"), "tcg,thread=single"),
        ("aarch64", ("6.12.117+deb13-arm64",), "tcg,thread=multi"),
    ],
)
def test_cpus_take_turns_where_a_kernel_would_die_of_patching_itself(
    arch: str, releases: tuple[str, ...], how: str
) -> None:
    found = argv(replace(HARDWARE, arch=arch, releases=releases), "qemu")
    assert found[found.index("-accel") + 1] == how


def test_an_emulated_pc_has_no_timer_that_a_busy_host_makes_wrong() -> None:
    assert "q35,pit=off" in call(None)
    assert "q35" in argv(replace(HARDWARE, accel="kvm"), "qemu")
    assert "virt,gic-version=3" in argv(replace(HARDWARE, arch="aarch64"), "qemu")


def test_only_loopback_leads_to_a_board() -> None:
    (network,) = [word for word in call(None) if word.startswith("user,")]
    assert "restrict=on" in network
    assert "hostfwd=tcp:127.0.0.1:2222-" in network
