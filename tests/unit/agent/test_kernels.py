# SPDX-License-Identifier: Apache-2.0
"""Kernels of ours on invented machines: installed and removed again, and nobody else's file is touched."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from harness.agent.kerneljournal import BEGIN, END
from harness.agent.kernelrequests import main, serve
from harness.agent.kernels import HOME, Kernels
from harness.agent.kernelstate import facts
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
    return serve(request, io.BytesIO(data), Tree(str(root)))


def put(root: Path, build: str, part: str, data: bytes) -> None:
    ask(root, data, op="put", build=build, part=part, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def install(root: Path, build: str = ONE, release: str = "6.18", text: bytes = b"module") -> dict[str, Any]:
    for part, data in (("image", b"image " + build.encode()), ("modules.tar.gz", modules(release, text))):
        put(root, build, part, data)
    entry: dict[str, Any] = ask(root, op="install", build=build, release=release)["entry"]
    return entry


def check(root: Path, build: str = ONE, release: str = "6.18", **sizes: int) -> dict[str, Any]:
    return ask(root, op="check", build=build, release=release, sizes=sizes or {"image": 1, "modules.tar.gz": 1})


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
        "initrd": f"/boot/isolbench-{ONE}.initrd", "dtb": None, "number": 1,
    }  # fmt: skip
    assert (machine / entry["image"][1:]).read_text() == f"image {ONE}"
    assert (machine / entry["initrd"][1:]).read_text() == "made\n"
    assert os.readlink(machine / "lib/modules/6.18") == f"{HOME}/{ONE}/modules/6.18"
    assert (machine / f"{HOME[1:]}/{ONE}/modules/6.18/a.ko").read_text() == "module"
    assert (machine / "log").read_text() == "depmod 6.18\nmkinitramfs 6.18\n"
    assert check(machine) == {"has": True, "parts": []}
    assert ask(machine, op="install", build=ONE, release="6.18")["entry"] == entry  # again: nothing is done twice
    assert (machine / "log").read_text() == "depmod 6.18\nmkinitramfs 6.18\n"
    assert facts(Tree(str(machine))) == {"installed": ["6.1"], "ours": {ONE: "6.18"}}
    ask(machine, op="look")
    ask(machine, op="steps", steps=[{"block": "/boot/grub/custom.cfg", "text": "menuentry"}])
    report = ask(machine, op="remove")["restored"]
    assert all(each["ok"] for each in report)
    assert [each["kind"] for each in report] == ["block", "file", "file", "link", "build"]
    assert files(machine) == before
    assert not (machine / "var/lib/isolbench").exists()
    assert ask(machine, op="remove")["restored"] == []


def test_under_selinux_modules_get_the_labels_that_modules_have(machine: Path) -> None:
    (machine / "sys/fs/selinux").mkdir(parents=True)
    (machine / "sys/fs/selinux/enforce").write_text("1")
    with pytest.raises(AgentError, match="chcon is not installed on the target"):
        install(machine)
    program(machine, "usr/bin/chcon", 'echo "chcon $*" >>"$log"')
    install(machine)
    modules_of_ours = f"{machine}{HOME}/{ONE}/modules"
    log = (machine / "log").read_text().splitlines()
    assert log[0] == f"chcon -R --reference={machine}/lib/modules {modules_of_ours}"


def test_at_most_two_of_ours_and_never_the_one_that_runs(machine: Path) -> None:
    for build, release in ((ONE, "6.18"), (TWO, "6.19")):
        install(machine, build, release)
    (machine / "proc/cmdline").write_text(f"ro isolbench.boot={ONE}/quiet")
    check(machine, THREE, "6.20")
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
    ask(machine, op="install", build=ONE, release="6.18")
    assert os.readlink(link) == f"{HOME}/{TWO}/modules/6.18"  # not yet
    ask(machine, op="steps", steps=[{"modules": ONE, "release": "6.18"}])  # right before it is booted
    assert os.readlink(link) == f"{HOME}/{ONE}/modules/6.18"
    kernels_of(machine).remove()
    assert not link.is_symlink()


def test_a_kernel_that_runs_keeps_its_modules_unless_another_is_booted(machine: Path) -> None:
    install(machine, ONE, "6.18", b"one")
    (machine / "proc/cmdline").write_text(f"ro isolbench.boot={ONE}/quiet")
    install(machine, TWO, "6.18", b"two")
    link = machine / "lib/modules/6.18"
    assert os.readlink(link) == f"{HOME}/{ONE}/modules/6.18"
    use = {"modules": TWO, "release": "6.18"}
    with pytest.raises(AgentError, match="kexec is not installed"):
        ask(machine, op="steps", steps=[use, {"run": ["kexec", "-l"]}])
    assert os.readlink(link) == f"{HOME}/{ONE}/modules/6.18"
    ask(machine, op="steps", steps=[use])
    assert os.readlink(link) == f"{HOME}/{TWO}/modules/6.18"
    ask(machine, op="look")  # it never left
    assert os.readlink(link) == f"{HOME}/{ONE}/modules/6.18"
    link.unlink()
    link.mkdir()  # somebody installed a kernel of that name
    (machine / HOME[1:] / "default.json").write_text('{"release": "6.1"}')
    assert ask(machine, op="look")["state"]["ours"] == f"{ONE}/quiet"  # and it can be sent home all the same


def test_the_modules_of_a_distribution_stay_what_they_are(machine: Path) -> None:
    with pytest.raises(AgentError, match=r"/lib/modules/6\.1 belongs to another build of 6\.1") as caught:
        install(machine, ONE, "6.1")
    assert "CONFIG_LOCALVERSION" in str(caught.value.advice)
    assert (machine / "lib/modules/6.1/a.ko").read_text() == "theirs"
    assert not (machine / f"boot/isolbench-{ONE}.vmlinuz").exists()


def disk_of(monkeypatch: pytest.MonkeyPatch, free_mb: int) -> None:
    """Every disk has so many MiB left."""
    blocks = free_mb << 8
    small = os.statvfs_result((4096, 4096, blocks, blocks, blocks, 0, 0, 0, 0, 255))
    monkeypatch.setattr("harness.agent.kernels.os.statvfs", lambda _path: small)


def test_a_boot_that_is_too_small_is_said_in_numbers_before_anything_is_sent(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(machine)
    disk_of(monkeypatch, 30)
    with pytest.raises(AgentError, match=r"/boot has 30 MiB free, and the kernel 6\.18 .* needs 36") as caught:
        check(machine, image=20 << 20)
    assert caught.value.kind == "storage-full"
    with pytest.raises(AgentError, match=r"/var/lib has 30 MiB free, and the kernel 6\.18 with its modules needs 418"):
        check(machine, **{"image": 1 << 20, "modules.tar.gz": 400 << 20})
    assert files(machine) == before
    assert check(machine, image=7 << 20)["has"] is False  # which is there twice, if /boot is no disk of its own


def test_what_the_older_of_ours_takes_counts_as_free_for_the_next(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for build, release in ((ONE, "6.18"), (TWO, "6.19")):
        install(machine, build, release)
    (machine / f"boot/isolbench-{ONE}.vmlinuz").write_bytes(bytes(8 << 20))
    before = files(machine)
    disk_of(monkeypatch, 12)
    with pytest.raises(AgentError, match=r"/boot has 20 MiB free, and the kernel 6\.20 .* needs 21"):
        check(machine, THREE, "6.20", image=5 << 20)
    assert files(machine) == before
    assert check(machine, THREE, "6.20", image=2 << 20)["has"] is False
    assert [each["id"] for each in kernels_of(machine).installed()] == [TWO]


def test_the_initial_ram_disk_that_is_yet_to_be_made_is_weighed_by_the_one_in_use(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "boot/initrd.img-6.1").write_bytes(bytes(5 << 20))
    ask(machine, op="look")
    disk_of(monkeypatch, 24)
    with pytest.raises(AgentError, match=r"/boot has 24 MiB free, .* needs 25"):
        check(machine, image=4 << 20)
    assert check(machine, image=2 << 20, initrd=1 << 20)["has"] is False  # it comes with its own


LIKE_DEBIANS = """
boot="${2%%/var/lib/*}/boot"
grep -q ^CONFIG_RD_GZIP=y "$boot/config-$3" || { echo "E: gzip not supported" >&2; exit 1; }
echo made >"$2"
"""


def test_the_configuration_is_there_while_mkinitramfs_looks_for_it(machine: Path) -> None:
    before = files(machine)
    program(machine, "usr/sbin/mkinitramfs", LIKE_DEBIANS)
    with pytest.raises(AgentError, match="E: gzip not supported"):
        install(machine)  # an image that came without
    put(machine, ONE, "config", b"CONFIG_RD_GZIP=y\n")
    entry = install(machine)
    assert (machine / entry["initrd"][1:]).read_text() == "made\n"
    assert not (machine / "boot/config-6.18").exists()
    (machine / "boot/config-6.18").write_text("CONFIG_RD_GZIP=y # of a package that came meanwhile\n")
    ask(machine, op="remove")
    assert (machine / "boot/config-6.18").exists()
    (machine / "boot/config-6.18").write_text("CONFIG_RD_GZIP=y # theirs\n")
    put(machine, ONE, "config", b"")
    install(machine)
    assert (machine / "boot/config-6.18").read_text() == "CONFIG_RD_GZIP=y # theirs\n"
    ask(machine, op="remove")
    (machine / "boot/config-6.18").unlink()
    program(machine, "usr/sbin/mkinitramfs", 'echo "mkinitramfs $3" >>"$log"; echo made >"$2"')
    assert files(machine) == before


def test_an_installation_that_fails_leaves_nothing(machine: Path) -> None:
    before = files(machine)
    program(machine, "usr/sbin/mkinitramfs", "echo no busybox >&2; exit 1")
    with pytest.raises(AgentError, match=r"the initial RAM disk: .*mkinitramfs ended with status 1: no busybox"):
        install(machine)
    program(machine, "usr/sbin/mkinitramfs", 'echo "mkinitramfs $3" >>"$log"; echo made >"$2"')
    ask(machine, op="remove")
    assert files(machine) == before


def test_what_somebody_took_away_from_boot_is_put_there_again(machine: Path) -> None:
    entry = install(machine)
    (machine / entry["image"][1:]).unlink()
    assert check(machine, image=1, **{"modules.tar.gz": 1}) == {"has": False, "parts": ["image", "modules.tar.gz"]}
    ask(machine, op="install", build=ONE, release="6.18")
    assert (machine / entry["image"][1:]).read_text() == f"image {ONE}"


def test_what_was_begun_and_not_finished_goes_when_the_next_comes(machine: Path) -> None:
    put(machine, ONE, "modules.tar.gz", modules("6.17"))
    put(machine, TWO, "modules.tar.gz", modules("6.18"))
    assert check(machine, TWO)["parts"] == ["modules.tar.gz"]  # its own: it is not sent again
    assert not (machine / f"{HOME[1:]}/{ONE}").exists()


def test_update_initramfs_alone_and_cut_off_in_the_middle(machine: Path) -> None:
    """It writes to names of its own: what a try that was killed left there is ours, what lay there is not."""
    (machine / "usr/sbin/mkinitramfs").unlink()
    program(machine, "usr/sbin/update-initramfs", f'echo "$*" >>"$log"; echo made >"{machine}/boot/initrd.img-6.18"')
    (machine / "boot/initrd.img-6.18").write_text("theirs")
    with pytest.raises(AgentError, match=r"/boot/initrd\.img-6\.18 belongs to another build"):
        install(machine)
    assert (machine / "boot/initrd.img-6.18").read_text() == "theirs"
    (machine / "boot/initrd.img-6.18").unlink()
    before = files(machine)
    kernels_of(machine).journal.note([{"id": ONE, "kind": "file", "path": "/boot/initrd.img-6.18"}])
    (machine / "boot/initrd.img-6.18").write_text("half of it")
    entry = install(machine)
    assert (machine / entry["initrd"][1:]).read_text() == "made\n"
    assert not (machine / "boot/initrd.img-6.18").exists()
    ask(machine, op="remove")
    assert files(machine) == before


def test_two_at_once_take_turns(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a controller that was killed, what it had asked for may still be going on."""
    monkeypatch.setattr("harness.agent.kernels.LOCK_S", 0.0)
    with kernels_of(machine).locked():
        with pytest.raises(AgentError, match="somebody else is installing kernels there"):
            check(machine)
        assert ask(machine, op="state")["state"]["installed"] == []  # whoever only looks does not wait
    check(machine)


def test_what_was_cut_off_is_not_kept(machine: Path) -> None:
    for part, data, size in (("image", b"01234", 8), ("modules.tar.gz", modules("6.18")[:-9], len(modules("6.18")))):
        with pytest.raises(AgentError, match=rf"{size - len(data)} of {size} bytes of {part} did not come") as caught:
            ask(machine, data, op="put", build=ONE, part=part, size=size, sha256="")
        assert caught.value.fault == "infrastructure"  # another try may do
    assert check(machine)["parts"] == []


def test_what_came_damaged_is_not_kept(machine: Path) -> None:
    for part, data in (("image", b"image"), ("modules.tar.gz", modules("6.18"))):
        with pytest.raises(AgentError, match=f"{part} came damaged"):
            ask(machine, data, op="put", build=ONE, part=part, size=len(data), sha256="0" * 64)
    with pytest.raises(AgentError, match=r"modules\.tar\.gz came damaged"):
        ask(machine, b"no archive", op="put", build=ONE, part="modules.tar.gz", size=10, sha256="0" * 64)
    assert check(machine)["parts"] == []


def test_a_request_and_its_answer(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.agent.kernelrequests.Tree", lambda: Tree(str(machine)))
    for request, expected in (
        ({"op": "look", "release": "6.1"}, {"entry": {"release": "6.1"}, "state": {"release": "6.1", "ours": None}}),
        ({"op": "look"}, {"state": {"image": "/boot/vmlinuz-6.1"}}),
        ({"op": "look", "release": "6.2"}, {"error": {"kind": "no-kernel"}}),
    ):
        out = io.StringIO()
        main(io.BytesIO(json.dumps(request).encode() + b"\n"), out)
        said = json.loads(out.getvalue().removeprefix("isolbench-kernels "))
        found = {key: {name: said[key][name] for name in names} for key, names in expected.items()}
        assert found == expected


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "put", "build": "../../etc", "part": "image", "size": 0, "sha256": ""},
        {"op": "put", "build": ONE, "part": "../image", "size": 0, "sha256": ""},
        {"op": "check", "build": ONE, "release": "6.18", "sizes": {"../image": 1}},
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


@pytest.mark.parametrize("kind", ["out", "absolute", "link", "device"])
def test_an_archive_that_leads_out_is_refused(machine: Path, kind: str) -> None:
    """The controller would not send such a one: neither is believed by the other."""
    before = files(machine)
    member = tarfile.TarInfo({"out": "6.18/../../../../etc/passwd", "absolute": "/etc/passwd"}.get(kind, "6.18/a.ko"))
    member.type = {"link": tarfile.SYMTYPE, "device": tarfile.CHRTYPE}.get(kind, tarfile.REGTYPE)
    member.linkname = "/etc/shadow" if kind == "link" else ""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        archive.addfile(member)
    with pytest.raises(AgentError, match="not a plain file"):
        put(machine, ONE, "modules.tar.gz", raw.getvalue())
    assert check(machine)["parts"] == []
    ask(machine, op="remove")
    assert files(machine) == before


def test_the_default_is_remembered_while_it_runs(machine: Path) -> None:
    found = ask(machine, op="look")["state"]["default"]
    assert found == {
        "release": "6.1", "cmdline": "BOOT_IMAGE=/boot/vmlinuz-6.1 root=/dev/vda1 ro quiet",
        "image": "/boot/vmlinuz-6.1", "initrd": "/boot/initrd.img-6.1",
    }  # fmt: skip
    (machine / "proc/cmdline").write_text(f"ro isolbench.boot={ONE}/quiet")
    state = ask(machine, op="state", read=["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"])["state"]
    assert (state["ours"], state["default"]) == (f"{ONE}/quiet", found)
    assert state["texts"] == {"/boot/grub/grub.cfg": CONFIG, "/boot/grub2/grub.cfg": None}
    assert state["tools"] == {"grub-reboot": "/usr/sbin/grub-reboot"}
    # a boot of ours is not taken for it
    assert ask(machine, op="look")["state"]["default"] == found


def test_a_kernel_that_lies_there_already(machine: Path) -> None:
    assert ask(machine, op="look", release="6.1")["entry"]["image"] == "/boot/vmlinuz-6.1"
    assert ask(machine, op="look", release="6.1")["entry"]["version"] is None
    image = bytearray(0x400)
    image[0x202:0x206] = b"HdrS"
    image[0x20E:0x210] = (0x100).to_bytes(2, "little")
    image[0x300:0x330] = b"6.1 (me@here) #7 SMP Debian 6.1-2".ljust(0x30, b"\0")
    (machine / "boot/vmlinuz-6.1").write_bytes(image)
    assert ask(machine, op="look", release="6.1")["entry"]["version"] == "#7 SMP Debian 6.1-2"
    with pytest.raises(AgentError, match=r"no kernel 6\.2 is installed \(found: 6\.1\)"):
        ask(machine, op="look", release="6.2")


def test_a_pattern_names_the_one_kernel_that_matches_it(machine: Path) -> None:
    (machine / "boot/vmlinuz-6.1-rt").write_bytes(b"")
    assert ask(machine, op="look", release="*-rt*")["entry"]["release"] == "6.1-rt"
    with pytest.raises(AgentError, match=r"2 kernels match 6\.\* \(found: 6\.1, 6\.1-rt\)"):
        ask(machine, op="look", release="6.*")
    with pytest.raises(AgentError, match=r"no kernel \*-up is installed \(found: 6\.1, 6\.1-rt\)"):
        ask(machine, op="look", release="*-up")


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


@pytest.mark.parametrize("at", range(5))
def test_killed_at_any_moment_everything_can_be_removed(
    machine: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller, or the connection, may go between any two changes: what was made is in the journal before."""
    before = files(machine)
    for part, data in (("image", b"image"), ("initrd", b"ram"), ("modules.tar.gz", modules("6.18"))):
        put(machine, ONE, part, data)
    count = iter(range(9))
    for name in ("symlink", "rename"):
        real = getattr(os, name)

        def change(*words: Any, real: Any = real) -> None:
            if "journal" not in str(words[-1]) and next(count) == at:
                raise Killed
            real(*words)

        monkeypatch.setattr(os, name, change)
    with pytest.raises(Killed):
        ask(machine, op="install", build=ONE, release="6.18")
    monkeypatch.undo()
    kernels_of(machine).remove()
    assert files(machine) == before


def test_an_entry_of_a_newer_agent_stays(machine: Path) -> None:
    install(machine)
    journal = kernels_of(machine).journal
    journal.note([{"id": ONE, "kind": "efi", "path": "/x"}])
    report = kernels_of(machine).remove()
    assert [each["ok"] for each in report] == [False, True, True, True, True]
    assert journal.entries() == [{"id": ONE, "kind": "efi", "path": "/x"}]


def test_while_a_boot_of_ours_runs_it_stays_known_what_the_machine_boots_by_itself(machine: Path) -> None:
    found = ask(machine, op="look")["state"]["default"]
    (machine / "proc/cmdline").write_text("ro isolbench.boot=installed/quiet")
    ask(machine, op="remove")
    assert ask(machine, op="state")["state"]["default"] == found


def flattened(compatible: bytes, model: bytes) -> bytes:
    """A device tree with these two properties, between others, and a node below."""
    names, strings = (b"interrupt-parent", b"compatible", b"model"), b""
    body = (1).to_bytes(4, "big") + bytes(4)
    for name, value in zip(names, (b"\0\0\0\1", compatible, model), strict=True):
        body += (3).to_bytes(4, "big") + len(value).to_bytes(4, "big") + len(strings).to_bytes(4, "big")
        body += value.ljust((len(value) + 3) // 4 * 4, b"\0") + (4).to_bytes(4, "big")
        strings += name + b"\0"
    body += (1).to_bytes(4, "big") + b"cpu\0" + (2).to_bytes(4, "big") * 2 + (9).to_bytes(4, "big")
    head = b"\xd0\x0d\xfe\xed" + b"".join(each.to_bytes(4, "big") for each in (0, 40, 40 + len(body)))
    return head.ljust(40, b"\0") + body + strings


BOARD, OTHER = b"rpi,4-model-b\0brcm,bcm2711\0", b"rpi,400\0brcm,bcm2711\0"


@pytest.mark.parametrize(
    ("compatible", "model", "fits"),
    [
        (BOARD, b"Pi 4\0", "b/four.dtb"),
        (BOARD, b"Pi 4 rev 2\0", "b/rev2.dtb"),
        (BOARD, b"Pi 4 rev 9\0", "b/four.dtb"),
        (b"rockchip,rk3399\0", b"x\0", ""),
        (b"", b"", None),
    ],
)
def test_of_the_device_trees_that_came_the_machines(
    machine: Path, compatible: bytes, model: bytes, fits: str | None
) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, data in {
            "b/four.dtb": flattened(BOARD, b"Pi 4\0"), "b/rev2.dtb": flattened(BOARD, b"Pi 4 rev 2\0"),
            "a.dtb": flattened(OTHER, b"Pi 400\0"), "README": b"x", "torn.dtb": flattened(BOARD, b"Pi 4\0")[:50],
        }.items():  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    if compatible:
        (machine / "proc/device-tree").mkdir()
        (machine / "proc/device-tree/compatible").write_bytes(compatible)
        (machine / "proc/device-tree/model").write_bytes(model)
    put(machine, ONE, "dtbs.tar.gz", raw.getvalue())
    assert install(machine)["dtb"] == (fits and f"{HOME}/{ONE}/dtbs/{fits}")
