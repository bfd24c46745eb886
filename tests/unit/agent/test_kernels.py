# SPDX-License-Identifier: Apache-2.0
"""Kernels of ours on invented machines: installed and removed again, and nobody else's file is touched."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from harness.agent.kernels import BEGIN, END, HOME, Kernels, serve
from harness.agent.system import AgentError, Tree

ONE, TWO, THREE = ("0" * 11 + digit for digit in "123")
CONFIG = "set default=0\n# custom.cfg\n"


def modules(release: str, text: bytes = b"module") -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        info = tarfile.TarInfo(f"{release}/a.ko")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    return raw.getvalue()


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A Debian machine: one kernel of its own, a GRUB, and tools that write down how they were called."""
    files = {
        "proc/cmdline": "BOOT_IMAGE=/boot/vmlinuz-6.1 root=/dev/vda1 ro quiet",
        "proc/sys/kernel/osrelease": "6.1",
        "proc/sys/kernel/random/boot_id": "first",
        "boot/vmlinuz-6.1": "theirs",
        "boot/initrd.img-6.1": "theirs",
        "boot/grub/grub.cfg": CONFIG,
        "lib/modules/6.1/a.ko": "theirs",
        "var/lib/.keep": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    program(tmp_path, "usr/sbin/depmod", 'echo "depmod $*" >>"$log"')
    program(tmp_path, "usr/sbin/mkinitramfs", 'echo "mkinitramfs $3" >>"$log"; echo made >"$2"')
    program(tmp_path, "usr/sbin/grub-reboot", 'echo "grub-reboot $*" >>"$log"')
    return tmp_path


def program(root: Path, name: str, script: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nlog={root}/log\n{script}\n")
    path.chmod(0o755)


def kernels_of(root: Path) -> Kernels:
    return Kernels(Tree(str(root)))


def ask(root: Path, data: bytes = b"", **request: Any) -> dict[str, Any]:
    return serve(request, io.BytesIO(data), kernels_of(root))


def install(root: Path, build: str = ONE, release: str = "6.18", text: bytes = b"module") -> dict[str, Any]:
    for part, data in (("image", b"image " + build.encode()), ("modules.tar.gz", modules(release, text))):
        ask(root, data, op="put", build=build, part=part, size=len(data))
    entry: dict[str, Any] = ask(root, op="install", build=build, release=release)["entry"]
    return entry


def files(root: Path) -> dict[str, str]:
    found = {}
    for path in sorted(root.rglob("*")):
        if (path.is_file() or path.is_symlink()) and path.name != "log":
            found[str(path.relative_to(root))] = (
                os.readlink(path) if path.is_symlink() else path.read_text(errors="replace")
            )
    return found


def test_installed_and_removed_again(machine: Path) -> None:
    before = files(machine)
    entry = install(machine)
    assert entry == {
        "id": ONE, "release": "6.18", "image": f"/boot/isolbench-{ONE}.vmlinuz",
        "initrd": f"/boot/isolbench-{ONE}.initrd", "dtbs": None, "number": 1,
    }  # fmt: skip
    assert (machine / entry["image"][1:]).read_text() == f"image {ONE}"
    assert (machine / entry["initrd"][1:]).read_text() == "made\n"
    assert os.readlink(machine / "lib/modules/6.18") == f"{HOME}/{ONE}/modules/6.18"
    assert (machine / f"{HOME[1:]}/{ONE}/modules/6.18/a.ko").read_text() == "module"
    assert (machine / "log").read_text() == "depmod 6.18\nmkinitramfs 6.18\n"
    assert ask(machine, op="has", build=ONE)["has"] is True
    assert install(machine) == entry  # again: nothing is done twice
    ask(machine, op="steps", steps=[{"block": "/boot/grub/custom.cfg", "text": "menuentry"}])
    report = ask(machine, op="remove")["restored"]
    assert all(each["ok"] for each in report)
    assert len(report) == 4
    assert files(machine) == before
    assert ask(machine, op="remove")["restored"] == []


def test_at_most_two_of_ours_and_never_the_one_that_runs(machine: Path) -> None:
    for build, release in ((ONE, "6.18"), (TWO, "6.19")):
        install(machine, build, release)
    (machine / "proc/cmdline").write_text(f"ro isolbench.boot={ONE}/quiet")
    install(machine, THREE, "6.20")
    assert [each["id"] for each in kernels_of(machine).installed()] == [ONE, THREE]
    assert not (machine / f"boot/isolbench-{TWO}.vmlinuz").exists()
    assert not (machine / "lib/modules/6.19").is_symlink()
    assert (machine / "boot/vmlinuz-6.1").read_text() == "theirs"


def test_two_builds_of_one_release_each_with_its_own_modules(machine: Path) -> None:
    install(machine, ONE, "6.18", b"one")
    install(machine, TWO, "6.18", b"two")
    link = machine / "lib/modules/6.18"
    assert os.readlink(link) == f"{HOME}/{TWO}/modules/6.18"
    install(machine, ONE, "6.18", b"one")  # before it is booted again
    assert os.readlink(link) == f"{HOME}/{ONE}/modules/6.18"
    kernels_of(machine).remove()
    assert not link.is_symlink()


def test_the_modules_of_a_distribution_stay_what_they_are(machine: Path) -> None:
    with pytest.raises(AgentError, match=r"/lib/modules/6\.1 belongs to another build of 6\.1") as caught:
        install(machine, ONE, "6.1")
    assert "CONFIG_LOCALVERSION" in str(caught.value.advice)
    assert (machine / "lib/modules/6.1/a.ko").read_text() == "theirs"
    assert not (machine / f"boot/isolbench-{ONE}.vmlinuz").exists()


class Crowded(Kernels):
    """A /boot with so many bytes left."""

    free = 17 << 20

    def _space(self, place: str, needed: int, what: str) -> None:
        if place == "/boot" and needed > self.free:
            raise AgentError("infrastructure", "storage-full", f"{place}: {what}")


def test_a_boot_that_is_too_small_is_left_alone(machine: Path) -> None:
    kernels = Crowded(Tree(str(machine)))
    for part, size in (("image", 3 << 20), ("initrd", 1 << 20)):
        kernels.put(ONE, part, io.BytesIO(bytes(size)), size)
    with pytest.raises(AgentError) as caught:
        kernels.install(ONE, "6.18")
    assert caught.value.kind == "storage-full"
    assert sorted(path.name for path in (machine / "boot").iterdir()) == ["grub", "initrd.img-6.1", "vmlinuz-6.1"]


def test_a_full_disk_is_said_in_numbers(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = os.statvfs_result((4096, 4096, 100, 100, 2560, 0, 0, 0, 0, 255))
    monkeypatch.setattr("harness.agent.kernels.os.statvfs", lambda _path: small)
    with pytest.raises(AgentError, match=r"has 10 MiB free, and image of the kernel needs 21"):
        kernels_of(machine).put(ONE, "image", io.BytesIO(), 20 << 20)


def test_what_was_cut_off_is_not_kept(machine: Path) -> None:
    with pytest.raises(AgentError, match="3 of 8 bytes of image did not come"):
        ask(machine, b"01234", op="put", build=ONE, part="image", size=8)
    assert not (machine / f"{HOME[1:]}/{ONE}/image").exists()


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "put", "build": "../../etc", "part": "image", "size": 0},
        {"op": "put", "build": ONE, "part": "../image", "size": 0},
        {"op": "install", "build": ONE, "release": "../x"},
        {"op": "install", "build": ONE, "release": ""},
        {"op": "steps", "steps": [{"rm": "/"}]},
        {"op": "what"},
    ],
)
def test_requests_that_are_none(machine: Path, request_: dict[str, Any]) -> None:
    before = files(machine)
    with pytest.raises(AgentError):
        ask(machine, **request_)
    assert files(machine) == before


def test_an_archive_that_leads_out_is_refused(machine: Path) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../../etc/passwd"))
    for part, data in (("image", b"i"), ("modules.tar.gz", raw.getvalue())):
        ask(machine, data, op="put", build=ONE, part=part, size=len(data))
    with pytest.raises(AgentError, match="not a plain file"):
        ask(machine, op="install", build=ONE, release="6.18")


def test_the_default_is_remembered_while_it_runs(machine: Path) -> None:
    found = ask(machine, op="default")["default"]
    assert found == {
        "release": "6.1", "cmdline": "BOOT_IMAGE=/boot/vmlinuz-6.1 root=/dev/vda1 ro quiet",
        "image": "/boot/vmlinuz-6.1", "initrd": "/boot/initrd.img-6.1",
    }  # fmt: skip
    (machine / "proc/cmdline").write_text(f"ro isolbench.boot={ONE}/quiet")
    state = ask(machine, op="state", read=["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"])["state"]
    assert (state["ours"], state["default"]) == (f"{ONE}/quiet", found)
    assert state["texts"] == {"/boot/grub/grub.cfg": CONFIG, "/boot/grub2/grub.cfg": None}
    assert state["tools"] == {"grub-reboot": "/usr/sbin/grub-reboot"}
    with pytest.raises(AgentError, match="a boot of ours"):
        ask(machine, op="default")


def test_a_kernel_that_lies_there_already(machine: Path) -> None:
    assert ask(machine, op="release", release="6.1")["entry"]["image"] == "/boot/vmlinuz-6.1"
    assert ask(machine, op="release", release="6.1")["entry"]["version"] is None
    image = bytearray(0x400)
    image[0x202:0x206] = b"HdrS"
    image[0x20E:0x210] = (0x100).to_bytes(2, "little")
    image[0x300:0x330] = b"6.1 (me@here) #7 SMP Debian 6.1-2".ljust(0x30, b"\0")
    (machine / "boot/vmlinuz-6.1").write_bytes(image)
    assert ask(machine, op="release", release="6.1")["entry"]["version"] == "#7 SMP Debian 6.1-2"
    with pytest.raises(AgentError, match=r"no kernel 6\.2 is installed \(found: 6\.1\)"):
        ask(machine, op="release", release="6.2")


def test_a_block_stands_beside_what_others_wrote(machine: Path) -> None:
    path = machine / "boot/grub/custom.cfg"
    path.write_text("theirs")
    path.chmod(0o640)
    for text in ("one", "two\nlines"):
        ask(machine, op="steps", steps=[{"block": "/boot/grub/custom.cfg", "text": text}])
        assert path.read_text() == f"theirs\n{BEGIN}{text}\n{END}"
    path.write_text(path.read_text() + "after\n")
    ask(machine, op="remove")
    assert path.read_text() == "theirs\nafter\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_steps_stop_at_the_first_that_fails(machine: Path) -> None:
    program(machine, "usr/bin/bootctl", "echo no entry >&2; exit 3")
    steps = [{"run": ["bootctl", "set-oneshot", "x"]}, {"write": "/boot/late", "text": "x"}]
    with pytest.raises(AgentError, match=r"bootctl: .*/bootctl ended with status 3: no entry"):
        ask(machine, op="steps", steps=steps)
    assert not (machine / "boot/late").exists()
    with pytest.raises(AgentError, match="kexec is not installed on the target"):
        ask(machine, op="steps", steps=[{"run": ["kexec", "-l"]}])


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", range(4))
def test_killed_at_any_moment_everything_can_be_removed(
    machine: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller, or the connection, may go between any two changes: what was made is in the journal before."""
    before = files(machine)
    for part, data in (("image", b"image"), ("initrd", b"ram"), ("modules.tar.gz", modules("6.18"))):
        ask(machine, data, op="put", build=ONE, part=part, size=len(data))
    count = iter(range(9))
    for name in ("symlink", "rename"):
        real = getattr(os, name)

        def change(*words: Any, real: Any = real) -> None:
            if "journal" not in str(words[-1]) and next(count) == at:
                raise Killed
            real(*words)

        monkeypatch.setattr(f"harness.agent.kernels.os.{name}", change)
    with pytest.raises(Killed):
        ask(machine, op="install", build=ONE, release="6.18")
    monkeypatch.undo()
    kernels_of(machine).remove()
    assert files(machine) == before


def test_an_entry_of_a_newer_agent_stays(machine: Path) -> None:
    install(machine)
    kernels_of(machine).note([{"id": ONE, "kind": "efi", "path": "/x"}])
    report = kernels_of(machine).remove()
    assert [each["ok"] for each in report] == [False, True, True, True]
    assert kernels_of(machine).entries() == [{"id": ONE, "kind": "efi", "path": "/x"}]
