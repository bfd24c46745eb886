# SPDX-License-Identifier: Apache-2.0
"""Sending a machine into its next boot: nothing that was written is lost, and what runs when it is sent is known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.config.inventory import load_inventory
from harness.config.kernels import BUILT_IN_BOOT, BUILT_IN_KERNEL, PLAIN_BOOT, BootProfile
from harness.deadline import Deadline
from harness.errors import TargetUnfit
from harness.target import booting
from harness.target.boot import method_of, qemu
from harness.target.booting import Booter, Wanted
from harness.target.hands import Hands


class Shell:
    """A machine that writes down what it is told to run; ``leave`` is carried out word by word, in ``folder``."""

    def __init__(self) -> None:
        self.ran: list[list[str]] = []

    def run(self, argv: list[str], stdin: bytes = b"", deadline: Deadline | None = None) -> Any:
        self.ran.append(argv)
        return SimpleNamespace(ok=True, stdout=b"")


def hands_of(shell: Shell) -> Hands:
    contact: Any = SimpleNamespace(argv_prefix=("sudo", "-n"), python="python3")
    return Hands(shell, contact, "/agent")  # type: ignore[arg-type]


def test_what_was_written_is_on_the_disk_before_the_machine_goes(tmp_path: Path) -> None:
    """Whatever ends the boot, ``kexec -e`` too, which unmounts nothing."""
    shell = Shell()
    hands_of(shell).leave(["kexec", "-e"])
    (argv,) = shell.ran
    assert argv[:4] == ["sudo", "-n", "/bin/sh", "-c"]
    words = [word.strip("()") for word in argv[4].split(";")]
    assert [word.split()[0] for word in words[:3]] == ["sleep", "sync", "exec"]
    assert argv[-2:] == ["kexec", "-e"]


def test_a_boards_disk_is_whole_before_its_qemu_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    hands: Any = SimpleNamespace(sync=lambda: done.append("sync"))
    monkeypatch.setattr(qemu.power, "off", lambda _: done.append("off"))
    monkeypatch.setattr(qemu.power, "on", lambda _, boot: done.append(f"on {boot}"))
    method_of("qemu").leave(SimpleNamespace(name="box"), hands, None, {})  # type: ignore[arg-type]
    assert done == ["sync", "off", "on None"]
    shell = Shell()
    hands_of(shell).sync()
    assert shell.ran == [["sudo", "-n", "sync"]]


class Asked:
    """Of a machine that runs ``ours`` (None: what it boots by itself)."""

    contact = SimpleNamespace(arch="x86_64")

    def __init__(self, ours: str | None) -> None:
        self._ours = ours
        self.steps_: list[dict[str, Any]] = []

    def look(self, *_: object) -> tuple[dict[str, Any], dict[str, Any]]:
        default = {"release": "6.1", "cmdline": 'ro acpi_osi="Windows 2009"', "image": "/boot/i"}
        tools = {"kexec": "/sbin/kexec", "reboot": "/sbin/reboot"}
        return {"ours": self._ours, "default": default, "boot_id": "old", "tools": tools}, {}

    def steps(self, steps: list[dict[str, Any]], *_: object) -> None:
        self.steps_ += steps

    def leave(self, _argv: object) -> None:
        pass


def booter(folder: Path, method: str = "kexec") -> Booter:
    (folder / "lab.yaml").write_text(f"targets: {{nuc: {{address: n, boot: {method}}}}}")
    return Booter(load_inventory(folder / "lab.yaml").targets["nuc"], lambda *_, **__: None, lambda _: False)


@pytest.mark.parametrize(("ours", "from_ours"), [(None, False), ("0123456789ab/quiet", True)])
def test_whether_a_kernel_of_ours_is_left_is_known(ours: str | None, from_ours: bool, tmp_path: Path) -> None:
    """Of ours one may lack what it takes to boot another: it is left by way of the machine's own then."""
    made = booter(tmp_path)
    hands: Any = Asked(ours)
    made.order(Wanted(BUILT_IN_KERNEL, PLAIN_BOOT, BUILT_IN_BOOT), hands)
    assert made.from_ours is from_ours


def test_all_that_a_boot_loader_is_given_has_to_arrive(tmp_path: Path) -> None:
    hands: Any = Asked(None)
    expected = booter(tmp_path).order(Wanted(BUILT_IN_KERNEL, "more", BootProfile(add=("nohlt",))), hands)
    assert expected.line == 'ro acpi_osi="Windows 2009" nohlt isolbench.boot=installed/more panic=10'


def test_a_build_of_ours_is_sent_with_its_own_modules_and_device_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands: Any = Asked(None)
    entry = {"id": "0123456789ab", "release": "6.18", "image": "/boot/isolbench", "initrd": None, "dtb": "/x.dtb"}
    identity = SimpleNamespace(source="image", version="#1", build_id=None, to_json=dict)
    made = booter(tmp_path)
    bundle = SimpleNamespace(identity=identity, parts={"image": 1, "dtbs.tar.gz": 1})
    monkeypatch.setattr(made, "_placed", lambda *_: (entry, bundle))
    (tmp_path / "lab.yaml").write_text("targets: {nuc: {address: n, boot: kexec}}\nkernels: {next: {image: /x}}")
    kernel = load_inventory(tmp_path / "lab.yaml").kernels["next"]
    made.order(Wanted(kernel, PLAIN_BOOT, BUILT_IN_BOOT), hands)
    assert hands.steps_[0] == {"modules": "0123456789ab", "release": "6.18"}
    assert booting.MARK in hands.steps_[1]["run"][-2]
    assert hands.steps_[1]["run"][-1] == "--dtb=/x.dtb"
    made, hands.steps_ = booter(tmp_path, '{command: ["true"]}'), []
    monkeypatch.setattr(made, "_placed", lambda *_: (entry, bundle))
    with pytest.raises(TargetUnfit, match="boot: command hands on no device tree"):
        made.order(Wanted(kernel, PLAIN_BOOT, BUILT_IN_BOOT), hands)
    assert hands.steps_ == []
