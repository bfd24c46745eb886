# SPDX-License-Identifier: Apache-2.0
"""What is for one boot alone, on invented machines: taken back if it was not booted, and nobody else's is touched."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.agent.kernelarmed import ONE_SHOT
from harness.agent.kernels import HOME
from harness.agent.system import AgentError

from .test_kernels import ONE, TWO, ask, files, install, kernels_of, machine, program

__all__ = ["machine"]

ENV = "# GRUB Environment Block\nsaved_entry=theirs\n"
GRUB = {
    "arm": "grub", "path": "/boot/grub/grubenv", "name": "isolbench-once", "run": ["grub-reboot", "isolbench-once"],
}  # fmt: skip
KEXEC = {"arm": "kexec", "run": ["kexec", "-l", "/boot/x"]}
BOOTCTL = {"arm": "systemd-boot", "name": "ours.conf", "run": ["bootctl", "set-oneshot", "ours.conf"]}


def one_shot(name: str) -> bytes:
    return b"\x07\0\0\0" + name.encode("utf-16-le") + b"\0\0"


@pytest.fixture
def loaders(machine: Path) -> Path:
    """``machine`` with all boot loaders at once, and a running kernel that can kexec."""
    (machine / "boot/grub/grubenv").write_text(ENV)
    (machine / "sys/kernel").mkdir(parents=True)
    (machine / "sys/kernel/kexec_loaded").write_text("0\n")
    variable = machine / ONE_SHOT[1:]
    variable.parent.mkdir(parents=True)
    env = f"{machine}/boot/grub/grubenv"
    program(machine, "usr/sbin/grub-reboot", f'echo "next_entry=$1" >>{env}')
    program(machine, "usr/bin/grub-editenv", 'echo "grub-editenv $2 $3" >>"$log"; sed -i "/^$3=/d" "$1"')
    program(
        machine,
        "usr/sbin/kexec",
        f'echo "kexec $1" >>"$log"; [ "$1" = -u ]; echo $? >{machine}/sys/kernel/kexec_loaded',
    )
    (machine / "ours").write_bytes(one_shot("ours.conf"))
    program(
        machine,
        "usr/bin/bootctl",
        f'echo "bootctl $2" >>"$log"; if [ "$2" ]; then cp {machine}/ours {variable}; else rm {variable}; fi',
    )
    return machine


def state_of(root: Path) -> tuple[bool, str, bool]:
    """Whether GRUB, the kernel and systemd-boot have something armed."""
    armed = "next_entry" in (root / "boot/grub/grubenv").read_text()
    return armed, (root / "sys/kernel/kexec_loaded").read_text().strip(), (root / ONE_SHOT[1:]).exists()


@pytest.mark.parametrize("contact", [{"op": "look"}, {"op": "remove"}])
def test_what_was_armed_and_not_booted_is_taken_back(loaders: Path, contact: dict[str, Any]) -> None:
    ask(loaders, op="look")
    ask(loaders, op="steps", steps=[{"block": "/boot/grub/custom.cfg", "text": "menuentry"}, GRUB, KEXEC, BOOTCTL])
    assert state_of(loaders) == (True, "1", True)
    told = ask(loaders, **contact)
    assert state_of(loaders) == (False, "0", False)
    assert (loaders / "boot/grub/grubenv").read_text() == ENV
    if contact["op"] == "remove":
        report = [(each["kind"], each["ok"]) for each in told["restored"]]
        assert report == [("armed", True)] * 3 + [("block", True)]
        assert not (loaders / HOME[1:]).exists()


def test_what_others_armed_meanwhile_stays(loaders: Path) -> None:
    ask(loaders, op="steps", steps=[GRUB, KEXEC, BOOTCTL])
    (loaders / "boot/grub/grubenv").write_text(ENV + "next_entry=theirs\n")
    (loaders / "proc/sys/kernel/random/boot_id").write_text("second")  # and so what is loaded is not ours
    (loaders / ONE_SHOT[1:]).write_bytes(one_shot("theirs.conf"))
    (loaders / "log").unlink()
    ask(loaders, op="look")
    assert state_of(loaders) == (True, "1", True)
    assert not (loaders / "log").exists()
    assert ask(loaders, op="remove")["restored"] == []


def test_a_step_that_fails_leaves_nothing_armed(loaders: Path) -> None:
    with pytest.raises(AgentError, match="no-such is not installed"):
        ask(loaders, op="steps", steps=[GRUB, {"run": ["no-such"]}])
    assert state_of(loaders)[0] is False


def test_a_build_that_goes_is_not_booted_next(loaders: Path) -> None:
    install(loaders, ONE)
    ask(loaders, op="steps", steps=[GRUB])
    install(loaders, TWO, "6.19")
    (loaders / f"{HOME[1:]}/{TWO}/installed.json").unlink()  # as if it was never installed whole
    ask(loaders, op="check", build=ONE[:-1] + "9", release="6.20", sizes={"image": 1})
    assert state_of(loaders)[0] is False


def test_what_cannot_be_taken_back_stops_everything_else(loaders: Path) -> None:
    ask(loaders, op="steps", steps=[{"block": "/boot/grub/custom.cfg", "text": "menuentry"}, GRUB])
    program(loaders, "usr/bin/grub-editenv", "echo read-only >&2; exit 1")
    with pytest.raises(AgentError, match=r"grubenv: what was armed cannot be taken back: .* status 1: read-only"):
        ask(loaders, op="look")
    report = ask(loaders, op="remove")["restored"]
    assert [(each["kind"], each["ok"]) for each in report] == [("armed", False)]
    assert (loaders / "boot/grub/custom.cfg").exists()  # GRUB would boot whatever comes first without its entry


def test_files_for_one_boot_go_with_it(loaders: Path) -> None:
    before = files(loaders)
    ask(loaders, op="steps", steps=[{"write": "/boot/loader/entries/ours.conf", "text": "x", "once": True}, BOOTCTL])
    ask(loaders, op="look")
    assert not (loaders / "boot/loader/entries/ours.conf").exists()
    ask(loaders, op="remove")
    assert files(loaders) == before


def test_a_file_that_is_not_ours_is_neither_written_nor_removed(loaders: Path) -> None:
    (loaders / "boot/tryboot.txt").write_text("an updater's")
    for step in (
        {"write": "/boot/tryboot.txt", "text": "ours"},
        {"copy": "/boot/vmlinuz-6.1", "to": "/boot/tryboot.txt"},
    ):
        with pytest.raises(AgentError, match=r"/boot/tryboot\.txt is there, and is not of isolbench"):
            ask(loaders, op="steps", steps=[{"block": "/boot/grub/custom.cfg", "text": "x"}, step])
    assert not (loaders / "boot/grub/custom.cfg").exists()  # found out before anything is done
    ask(loaders, op="remove")
    assert (loaders / "boot/tryboot.txt").read_text() == "an updater's"
    (loaders / "boot/tryboot.txt").unlink()
    for _ in range(2):
        ask(loaders, op="steps", steps=[{"write": "/boot/tryboot.txt", "text": "ours"}])


def test_a_kernel_of_ours_that_lost_its_mark_is_not_the_machines_own(loaders: Path) -> None:
    found = ask(loaders, op="look")["state"]["default"]
    install(loaders, ONE, "6.18")
    (loaders / "proc/sys/kernel/osrelease").write_text("6.18")
    (loaders / "proc/cmdline").write_text("a line that the kernel has built in")
    state = ask(loaders, op="look")["state"]
    assert (state["ours"], state["default"]) == (f"{ONE}/unmarked", found)
    with pytest.raises(AgentError, match="what runs is a boot of ours"):
        kernels_of(loaders).remember_default()
    # but if the machine's own is called the same, that is what it is
    (loaders / f"{HOME[1:]}/default.json").write_text(json.dumps({**found, "release": "6.18"}))
    assert ask(loaders, op="state")["state"]["ours"] is None
    (loaders / f"{HOME[1:]}/default.json").unlink()
    (loaders / "boot/vmlinuz-6.18").touch()
    assert ask(loaders, op="state")["state"]["ours"] is None


THEIRS = 'menuentry "Gerät" {\r\n\tlinux /x\r\n}\n'.encode("latin-1")


def test_what_others_wrote_stays_byte_by_byte(loaders: Path) -> None:
    path = loaders / "boot/grub/custom.cfg"
    path.write_bytes(THEIRS)
    block = {"block": "/boot/grub/custom.cfg", "text": "ours"}
    ask(loaders, op="steps", steps=[block])
    path.write_bytes(path.read_bytes() + THEIRS)
    ask(loaders, op="steps", steps=[block])
    assert path.read_bytes() == THEIRS + b"# isolbench: begin\nours\n# isolbench: end\n" + THEIRS
    ask(loaders, op="remove")
    assert path.read_bytes() == THEIRS * 2


@pytest.mark.parametrize(
    ("torn", "rest"),
    [
        (b"# isolbench: begin\ntheirs\n", b"theirs\n"),  # somebody took our last line away
        (b"theirs\n# isolbench: end\n", b"theirs\n"),
        (b"# isolbench: begin\ntheirs\n# isolbench: begin\nours\n# isolbench: end\nlast", b"theirs\nlast"),
        (b"# isolbench: begin\r\nours\r\n# isolbench: end\r\nlast", b"last"),  # an editor changed the ends of lines
        (b"first\n# isolbench: begin\nours\n# isolbench: end", b"first\n"),
    ],
)
def test_of_one_of_our_lines_without_the_other_only_that_goes(loaders: Path, torn: bytes, rest: bytes) -> None:
    path = loaders / "boot/grub/custom.cfg"
    path.write_bytes(torn)
    block = {"block": "/boot/grub/custom.cfg", "text": "new"}
    for _ in range(2):
        ask(loaders, op="steps", steps=[block])
        assert path.read_bytes().count(b"# isolbench: begin\nnew\n# isolbench: end\n") == 1
        assert path.read_bytes().count(b"isolbench") == 2
    ask(loaders, op="remove")
    assert path.read_bytes() in (rest, rest + b"\n")


def test_half_written_files_go_too(loaders: Path) -> None:
    ask(loaders, op="steps", steps=[{"write": "/boot/tryboot.txt", "text": "x"}])
    for name in ("tryboot.txt.tmp-4711", "tryboot.txt.tmp-theirs"):
        (loaders / "boot" / name).touch()
    ask(loaders, op="remove")
    assert sorted(path.name for path in (loaders / "boot").glob("tryboot*")) == ["tryboot.txt.tmp-theirs"]


def test_an_initial_ram_disk_is_roots_to_read(loaders: Path) -> None:
    """It may have keys in it: its maker has it 0600 then."""
    entry = install(loaders)
    assert (loaders / entry["initrd"][1:]).stat().st_mode & 0o777 == 0o600
    assert (loaders / entry["image"][1:]).stat().st_mode & 0o777 == 0o644


def test_modules_are_on_the_disk_before_a_kernel_counts_as_installed(
    loaders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(os, "sync", lambda: seen.append((loaders / f"{HOME[1:]}/{ONE}/installed.json").exists()))
    install(loaders)
    assert seen == [False]
    assert (loaders / f"{HOME[1:]}/{ONE}/modules/6.18/a.ko").exists()


MOUNTS = """\
22 1 253:1 / / rw,relatime shared:1 - btrfs /dev/vda1 rw
23 22 0:5 / /dev rw - devtmpfs udev rw
30 22 259:7 / /boot rw,relatime - ext4 /dev/x rw
31 30 8:1 / /boot/ef\\040i rw shared:3 master:1 - vfat /dev/sda1 rw
"""


@pytest.mark.parametrize(
    ("device", "sysfs", "on"),
    [
        ("sda/sda2", ["sda/sda2/partition"], ""),
        ("dm-0", ["dm-0/dm/uuid=LVM-abc"], "lvm"),
        ("dm-0", ["dm-0/dm/uuid=CRYPT-LUKS2-abc", "dm-0/slaves/dm-1/dm/uuid=LVM-abc"], "lvm"),
        ("dm-0", ["dm-0/dm/uuid=CRYPT-LUKS2-abc", "dm-0/slaves/sda2/partition"], ""),
        ("md127", ["md127/md/level"], "raid"),
        ("md127/md127p1", ["md127/md/level", "md127/md127p1/partition"], "raid"),
    ],
)
def test_on_what_grubs_environment_lies(loaders: Path, device: str, sysfs: list[str], on: str) -> None:
    (loaders / "proc/self").mkdir()
    (loaders / "proc/self/mountinfo").write_text(MOUNTS)
    devices = loaders / "sys/devices"
    for each in sysfs:
        path, _, text = each.partition("=")
        (devices / path).parent.mkdir(parents=True, exist_ok=True)
        (devices / path).write_text(text)
    (loaders / "sys/dev/block").mkdir(parents=True)
    (loaders / "sys/dev/block/259:7").symlink_to(devices / device)
    assert ask(loaders, op="state")["state"]["grubenv"] == {"path": "/boot/grub/grubenv", "fs": "ext4", "on": on}
    (loaders / "boot/ef i").mkdir()
    (loaders / "boot/grub/grubenv").unlink()
    (loaders / "boot/grub/grubenv").symlink_to("../ef i/grubenv")
    found = ask(loaders, op="state")["state"]["grubenv"]
    assert (found["path"], found["fs"], found["on"]) == ("/boot/ef i/grubenv", "vfat", "")
