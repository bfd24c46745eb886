# SPDX-License-Identifier: Apache-2.0
"""What each boot method would do, on machines as they are found: never anything to what a machine boots by itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.agent.kernelstate import MARK as AGENTS_MARK
from harness.config.inventory import Target
from harness.config.kernels import METHODS as KNOWN
from harness.config.kernels import BootMethod, Power
from harness.errors import EnvironmentFault, TargetUnfit
from harness.target import power
from harness.target.boot import METHODS, Bootable, method_of, reboot
from harness.target.boot.grub import entry
from harness.target.booting import MARK

WHAT = Bootable(
    "next", "quiet", "6.18", "/boot/isolbench-1.vmlinuz", "/boot/isolbench-1.initrd", "ro quiet panic=10", build="1"
)
GRUB = """\
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
fi
source $prefix/custom.cfg
menuentry 'Memory test' { linux16x /m }
menuentry 'Debian GNU/Linux' --class debian {
	recordfail
	load_video
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; fi
	insmod ext2
	search --no-floppy --fs-uuid --set=root 0a-1b
	echo	'Loading Linux ...'
	linux	/boot/vmlinuz-6.1 root=UUID=0a-1b ro
	initrd	/boot/initrd.img-6.1
}
"""
TOOLS = {name: f"/usr/sbin/{name}" for name in ("kexec", "grub-reboot", "bootctl", "systemctl", "reboot")}


def state(texts: dict[str, str] | None = None, **tools: str | None) -> dict[str, Any]:
    known = {**TOOLS, **tools}
    found = {name: path for name, path in known.items() if path is not None}
    return {"tools": found, "texts": texts or {}, "grubenv": {"path": "/boot/grub/grubenv", "fs": "ext4", "on": ""}}


def test_every_method_that_the_inventory_knows() -> None:
    assert {each.name for each in METHODS} == set(KNOWN)
    assert all(method_of(each.name) is each for each in METHODS)
    assert MARK == AGENTS_MARK


def test_kexec() -> None:
    method = method_of("kexec")
    assert method.arm(WHAT, state()) == [
        {
            "arm": "kexec",
            "run": ["kexec", "-l", WHAT.image, "--command-line=ro quiet panic=10", f"--initrd={WHAT.initrd}"],
        }
    ]
    assert method.arm(replace(WHAT, initrd=None), state())[0]["run"][-1] == "--command-line=ro quiet panic=10"
    assert method.go(state()) == ["/usr/sbin/systemctl", "kexec"]
    assert method.go(state(systemctl=None)) == ["/usr/sbin/kexec", "-e"]
    with pytest.raises(TargetUnfit, match="boot: kexec needs kexec on the target") as caught:
        method.check(state(kexec=None))
    assert "kexec-tools" in str(caught.value.advice)


def test_grub_once_boots_ours_once_and_leaves_the_default() -> None:
    method = method_of("grub-once")
    found = state({"/boot/grub/grub.cfg": GRUB})
    method.check(found)
    block, run = method.arm(replace(WHAT, cmdline='ro dyndbg="file a.c +p" x=$(reboot)'), found)
    assert block["block"] == "/boot/grub/custom.cfg"
    assert run == {
        "arm": "grub", "path": "/boot/grub/grubenv", "name": "isolbench-once", "run": ["grub-reboot", "isolbench-once"],
    }  # fmt: skip
    assert block["text"].split("\n") == [
        "menuentry 'isolbench' --id isolbench-once {",
        "  load_video",
        "  insmod gzio",
        "  if [ x$grub_platform = xxen ]; then insmod xzio; fi",
        "  insmod ext2",
        "  search --no-floppy --fs-uuid --set=root 0a-1b",
        "  if linux /boot/isolbench-1.vmlinuz 'ro' 'dyndbg=file a.c +p' 'x=$(reboot)'; then",
        "    if initrd /boot/isolbench-1.initrd; then",
        "      boot",
        "    fi",
        "  fi",
        "  reboot",
        "}",
    ]
    assert method.go(found) == ["/usr/sbin/systemctl", "reboot"]


def test_grubs_paths_begin_where_its_file_system_does() -> None:
    separate = GRUB.replace("/boot/vmlinuz", "/vmlinuz").replace("/boot/initrd", "/initrd")
    assert " linux /isolbench-1.vmlinuz 'ro'" in entry(separate, WHAT)
    subvolume = GRUB.replace("/boot/vmlinuz", "/@/boot/vmlinuz")
    assert " linux /@/boot/isolbench-1.vmlinuz 'ro'" in entry(subvolume, WHAT)


@pytest.mark.skipif(
    shutil.which("grub-script-check") is None, reason="grub-script-check is not installed (grub-common)"
)
def test_grub_itself_reads_the_entry(tmp_path: Path) -> None:
    for initrd in (WHAT.initrd, None):
        what = replace(WHAT, cmdline='ro a="b c" d=$e;f {g} `h`', initrd=initrd)
        (tmp_path / "custom.cfg").write_text(entry(GRUB, what) + "\n")
        subprocess.run(["grub-script-check", tmp_path / "custom.cfg"], check=True)


@pytest.mark.parametrize("word", ["a=it's", 'a="b\\c d"'])
def test_what_grub_would_change_is_refused(word: str) -> None:
    with pytest.raises(TargetUnfit, match="GRUB cannot hand on a="):
        entry(GRUB, replace(WHAT, cmdline=f"ro {word} quiet"))


@pytest.mark.parametrize(
    ("fs", "on", "where"),
    [
        ("btrfs", "", "btrfs"),
        ("zfs", "", "zfs"),
        ("ext4", "lvm", "LVM"),
        ("xfs", "raid", "software RAID"),
        ("", "", "an"),
    ],
)
def test_a_grub_that_cannot_forget_its_next_entry_is_refused(fs: str, on: str, where: str) -> None:
    method = method_of("grub-once")
    found = state({"/boot/grub/grub.cfg": GRUB})
    for good in ("ext2", "ext4", "xfs", "vfat"):
        method.check({**found, "grubenv": {"path": "/boot/grub/grubenv", "fs": good, "on": ""}})
    with pytest.raises(TargetUnfit, match=f"/boot/grub/grubenv lies on {where}.*: GRUB cannot write there"):
        method.check({**found, "grubenv": {"path": "/boot/grub/grubenv", "fs": fs, "on": on}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no GRUB configuration on the target"),
        (GRUB.replace("next_entry", "x"), "does not look for a next entry"),
        (GRUB.replace("custom.cfg", "x"), "does not read custom.cfg"),
        (re.sub(r"\tlinux.*\n", "", GRUB), "no entry that boots Linux"),
    ],
)
def test_a_grub_that_will_not_do(text: str | None, message: str) -> None:
    method = method_of("grub-once")
    with pytest.raises(TargetUnfit, match=message):
        method.arm(WHAT, state({} if text is None else {"/boot/grub/grub.cfg": text}))


def test_systemd_boot_once() -> None:
    method = method_of("systemd-boot-once")
    found = state({"/boot/efi/loader/loader.conf": "timeout 3\n"})
    steps = method.arm(WHAT, found)
    assert steps[:2] == [
        {"copy": WHAT.image, "to": "/boot/efi/isolbench-once.vmlinuz", "id": "1"},
        {"copy": WHAT.initrd, "to": "/boot/efi/isolbench-once.initrd", "id": "1"},
    ]
    assert steps[2]["write"] == "/boot/efi/loader/entries/0-isolbench-once.conf"  # by name the last of the menu
    assert steps[2]["text"] == (
        "title isolbench\nlinux /isolbench-once.vmlinuz\ninitrd /isolbench-once.initrd\noptions ro quiet panic=10\n"
    )
    name = "0-isolbench-once.conf"
    assert steps[3] == {"arm": "systemd-boot", "name": name, "run": ["bootctl", "set-oneshot", name]}
    assert steps[2]["once"] is True  # nothing of it is in the menu afterwards
    there = method.arm(WHAT, state({"/boot/loader/loader.conf": ""}))  # /boot is the partition: nothing is copied
    assert there[0]["text"].split("\n")[1] == "linux /isolbench-1.vmlinuz"
    with pytest.raises(TargetUnfit, match="no systemd-boot on the target"):
        method.check(state())
    with pytest.raises(TargetUnfit, match=r"/boot/efi/loader/loader\.conf names no default: what the machine boots"):
        method.check(found)
    method.check(state({"/boot/efi/loader/loader.conf": "timeout 3\ndefault arch.conf\n"}))
    variable = next(path for path in method.reads if "LoaderEntryDefault" in path)
    method.check(state({"/boot/efi/loader/loader.conf": "", variable: "\x07\0\0\0a\0"}))


def test_tryboot_changes_no_file_that_the_firmware_boots_by_itself() -> None:
    method = method_of("tryboot")
    config = "# Pi\nkernel=kernel8.img\nauto_initramfs=1\narm_64bit=1\ncmdline=other.txt\n[pi5]\nkernel=k5.img\n"
    found = state({"/boot/firmware/config.txt": config})
    steps = method.arm(WHAT, found)
    written = {each.get("to") or each.get("write") for each in steps}
    assert written == {
        "/boot/firmware/isolbench-once.img", "/boot/firmware/isolbench-once.initrd",
        "/boot/firmware/isolbench-once.txt", "/boot/firmware/tryboot.txt",
    }  # fmt: skip
    assert steps[-1]["text"] == (
        "# Pi\narm_64bit=1\n[pi5]\n\n\n[all]\nkernel=isolbench-once.img\ncmdline=isolbench-once.txt\n"
        "initramfs isolbench-once.initrd followkernel\n"
    )
    assert method.go(found) == ["/usr/sbin/systemctl", "reboot", "--reboot-argument=0 tryboot"]


def test_a_device_tree_is_handed_on_or_what_asks_for_it_is_refused() -> None:
    own = replace(WHAT, dtb="/var/x/pi.dtb", own_trees=True)
    assert method_of("kexec").arm(own, state())[0]["run"][-1] == "--dtb=/var/x/pi.dtb"
    pi = state({"/boot/firmware/config.txt": "device_tree=old.dtb\n"})
    for what in (own, replace(own, own_trees=False)):  # firmware completes what a package has, too
        steps = method_of("tryboot").arm(what, pi)
        assert {"copy": "/var/x/pi.dtb", "to": "/boot/firmware/isolbench-once.dtb", "id": "1"} in steps
        assert [line for line in steps[-1]["text"].split("\n") if "device_tree" in line] == [
            "device_tree=isolbench-once.dtb"
        ]
    assert "--dtb" not in str(method_of("kexec").arm(replace(own, own_trees=False), state()))
    for method in METHODS:
        method.check_tree(replace(own, own_trees=False))
        method.check_tree(replace(own, dtb=None))  # a machine without a device tree
        with pytest.raises(TargetUnfit, match=r"is for this machine|hands on no device tree"):
            method.check_tree(replace(own, dtb=""))
        if method.name in ("kexec", "tryboot"):
            method.check_tree(own)
        else:
            with pytest.raises(TargetUnfit, match=f"boot: {method.name} hands on no device tree"):
                method.check_tree(own)


def test_netboot_serves_a_kernel_for_one_boot(tmp_path: Path) -> None:
    served, bundle = tmp_path / "srv" / "nuc", tmp_path / "bundle"
    bundle.mkdir()
    for name in ("image", "initrd"):
        (bundle / name).write_text(f"the {name}")
    target = Target(name="nuc", address="n", boot=BootMethod(method="netboot", folder=str(served)))
    parts = {name: Path(bundle / name) for name in ("image", "initrd")}
    what = replace(WHAT, bundle=SimpleNamespace(part=parts.get))  # type: ignore[arg-type]
    method = method_of("netboot")
    method.here(target, what, "6.18")
    found = {path.name: path.read_text() for path in served.iterdir()}
    assert found == {
        "kernel": "the image", "initrd": "the initrd", "cmdline": "ro quiet panic=10\n",
        "boot.ipxe": "#!ipxe\nkernel kernel initrd=initrd ro quiet panic=10\ninitrd initrd\nboot\n",
    }  # fmt: skip
    assert method.arm(what, state()) == []
    (served / "config.txt").write_text("the site's own")
    del parts["initrd"]
    method.here(target, what, "6.18")  # nothing of the last boot is left beside it
    assert (served / "boot.ipxe").read_text() == "#!ipxe\nkernel kernel ro quiet panic=10\nboot\n"
    assert not (served / "initrd").exists()
    method.here(target, None, "6.1")  # what the machine boots by itself: nothing is served
    assert [path.name for path in served.iterdir()] == ["config.txt"]
    method.clean_up(target)
    with pytest.raises(TargetUnfit, match="netboot takes kernels from files here: next lies on the target"):
        method.here(target, WHAT, "6.18")
    (tmp_path / "srv" / "file").touch()
    unfit = target.model_copy(update={"boot": BootMethod(method="netboot", folder=str(tmp_path / "srv" / "file"))})
    with pytest.raises(EnvironmentFault, match=r"boot: netboot: .*/file"):
        method.here(unfit, what, "6.18")


def test_the_sites_own_command_is_run_before_each_boot(tmp_path: Path) -> None:
    log = tmp_path / "log"
    places = ("{name}", "{address}", "{kernel}", "{boot}", "{release}", "{image}", "{initrd}", "{cmdline}")
    script = 'printf "%s\\n" "$@" >>"$0"'
    target = Target(
        name="nuc",
        address="n.lan",
        boot=BootMethod(method="command", argv=("/bin/sh", "-c", script, str(log), *places)),
    )
    method = method_of("command")
    method.here(target, replace(WHAT, cmdline="a=$(id) b"), "6.18")
    method.here(target, None, "6.1")
    assert log.read_text().split("\n") == [
        "nuc", "n.lan", "next", "quiet", "6.18", WHAT.image, WHAT.initrd, "a=$(id) b",
        "nuc", "n.lan", "default", "plain", "6.1", "", "", "", "",
    ]  # fmt: skip


def test_back_to_what_the_machine_boots_by_itself() -> None:
    assert reboot(state()) == ["/usr/sbin/systemctl", "reboot"]
    assert reboot(state(systemctl=None)) == ["/usr/sbin/reboot"]
    with pytest.raises(TargetUnfit):
        reboot(state(systemctl=None, reboot=None))


def test_power_is_switched_without_a_shell(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = 'for word; do printf "%s\\n" "$word" >>"$0"; done'
    argv = ("/bin/sh", "-c", script, str(log), "{name}", "$(id)", "{address}")
    target = Target(name="pi", address="pi.lan", power=Power.model_construct(cycle=argv, off=None, on=None))
    power.cycle(target)
    assert log.read_text().split("\n") == ["pi", "$(id)", "pi.lan", ""]
    assert power.can_cycle(target)
    assert not power.can_cycle(Target(name="pi"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("/no/such",), "power: cycle: /no/such: No such file or directory"),
        (("/bin/sh", "-c", "echo no >&2; echo outlet 3 is dead >&2; exit 4"), "ended with status 4: outlet 3 is dead"),
    ],
)
def test_a_switch_that_fails_is_told(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(EnvironmentFault, match=message):
        power.run(argv, {}, "power: cycle")
