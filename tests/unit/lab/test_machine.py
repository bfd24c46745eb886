# SPDX-License-Identifier: Apache-2.0
"""How QEMU is called: what it loads, and what becomes of a board that boots again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.lab.machine import Boot, Hardware, always, argv

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
        ("x86_64", ("6.1.0-56-amd64", "6.1.0-56-rt-amd64"), "multi"),
        ("x86_64", ("6.12.117+deb13-amd64",), "single"),
        ("x86_64", ("6.1.0-56-amd64", "7.0.0"), "single"),
        ("aarch64", ("6.12.117+deb13-arm64",), "multi"),
    ],
)
def test_cpus_take_turns_where_a_kernel_would_die_of_patching_itself(
    arch: str, releases: tuple[str, ...], how: str
) -> None:
    found = argv(replace(HARDWARE, arch=arch, releases=releases), "qemu")
    assert found[found.index("-accel") + 1].startswith(f"tcg,thread={how},")


def test_an_emulated_pc_is_told_the_rate_of_its_counter() -> None:
    assert always("x86_64", "tcg", 2_596_125)[-2:] == ("tsc=reliable", "tsc_early_khz=2596125")
    assert always("x86_64", "tcg", None)[-1] == "tsc=reliable"
    assert always("x86_64", "kvm", 2_596_125) == always("x86_64", "kvm", None)
    assert not [word for word in always("aarch64", "tcg", 2_596_125) if "tsc" in word]
    found = argv(replace(HARDWARE, boot=Boot(Path("k"), None), tsc_khz=2_596_125), "qemu")
    assert found[found.index("-append") + 1] == f"{ALWAYS} tsc_early_khz=2596125"


def test_only_loopback_leads_to_a_board() -> None:
    (network,) = [word for word in call(None) if word.startswith("user,")]
    assert "restrict=on" in network
    assert "hostfwd=tcp:127.0.0.1:2222-" in network
