# SPDX-License-Identifier: Apache-2.0
"""The first contact with machines as they come: noisy, locked down, full, without Python, without sudo."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.config.targets import Target
from harness.deadline import Deadline
from harness.errors import StorageFull, TargetUnfit
from harness.target.contact import Contact, contact
from harness.target.transport import Transport, open_transport

from .conftest import ROOT, Server, User

SHELLS = ["/bin/bash", "/bin/dash", "/usr/bin/fish", "/usr/bin/tcsh"]

#: For a server's mount namespace: no file of this name is a program any more.
HIDE_PYTHON = (
    "for dir in $(echo $PATH | tr : ' ') /usr/bin /usr/local/bin; do for each in $dir/python3 $dir/python3.[0-9] "
    "$dir/python3.[0-9][0-9]; do [ -e $each ] && mount --bind /dev/null $(readlink -f $each); done; done; true"
)

#: Where a test goes on from a home that will not do, nothing of it stays on this machine.
HIDE_VAR_TMP = "mount -t tmpfs none /var/tmp"

needs_root = pytest.mark.skipif(not ROOT, reason="mount namespaces and users need root")


#: Root's home is not the test's to write in.
ROOTS_HOME = "mount -t tmpfs none /root"


@contextlib.contextmanager
def sudoers(user: User, *lines: str) -> Iterator[None]:
    """This machine's sudo, asked about a user of ours."""
    rule = Path(f"/etc/sudoers.d/{user.name}")
    rule.write_text("".join(f"{line}\n" for line in lines))
    rule.chmod(0o440)
    try:
        yield
    finally:
        rule.unlink()


def soon() -> Deadline:
    return Deadline.after(20)


@pytest.fixture
def meet(sshd_target: Callable[..., Target]) -> Iterator[Callable[..., Contact]]:
    """``meet(server=None, **changes)``: connect, and the first contact."""
    transports: list[Transport] = []

    def make(server: Server | None = None, **changes: object) -> Contact:
        target = sshd_target(server, **changes)
        transports.append(open_transport(target, soon()))
        return contact(transports[-1], target, soon())

    yield make
    for transport in transports:
        transport.close()


def python_says(found: Contact) -> str:
    line = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    return subprocess.run([found.python, "-c", line], check=True, capture_output=True, text=True).stdout.strip()


def test_an_ordinary_machine(meet: Callable[..., Contact], sshd: Server) -> None:
    found = meet()
    assert found.arch == subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    assert found.kernel == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert found.python.startswith("/")
    assert ".".join(map(str, found.python_version)) == python_says(found)
    assert (found.home, found.deploy_root) == (str(sshd.home), f"{sshd.home}/.cache/isolbench")
    assert list(Path(found.deploy_root).iterdir()) == []  # what was tried was cleared away
    assert found.free_kb is not None
    assert found.free_kb > 0
    assert found.date_s is not None
    assert abs(found.date_s - time.time()) < 60
    assert (found.sudo, found.argv_prefix, found.notes) == (False, (), ())


@needs_root
def test_root_needs_no_sudo(meet: Callable[..., Contact]) -> None:
    found = meet(become="sudo")
    assert (found.uid, found.user, found.sudo, found.argv_prefix) == (0, "root", False, ())


def test_this_machine_without_ssh(own_home: Path) -> None:
    target = Target(name="local", local=True)
    found = contact(open_transport(target), target, soon())
    assert found.deploy_root == f"{own_home}/.cache/isolbench"


@pytest.mark.parametrize("shell", SHELLS)
def test_any_login_shell(
    shell: str, make_user: Callable[..., User], start_sshd: Callable[..., Server], meet: Callable[..., Contact]
) -> None:
    user = make_user(shell=shell)
    found = meet(start_sshd(home=False), user=user.name)
    assert (found.uid, found.user, found.home) == (user.uid, user.name, str(user.home))
    assert found.deploy_root == f"{user.home}/.cache/isolbench"


def test_a_heavy_bashrc(start_sshd: Callable[..., Server], meet: Callable[..., Contact]) -> None:
    noise = (
        "echo isolbench-contact-begin; echo 'uid\t77'; for i in $(seq 50); do /bin/echo $i; done; "
        "echo warning >&2; python3() { echo mine; }; alias ls='ls -l'; PS1=; set -u; cd /usr\n"
    )
    found = meet(start_sshd(bashrc=noise))
    assert found.uid != 77
    assert found.python.startswith("/")


def test_dropbear(
    start_dropbear: Callable[[], Server], make_user: Callable[..., User], meet: Callable[..., Contact]
) -> None:
    user = make_user()
    assert meet(start_dropbear(), user=user.name).uid == user.uid


@needs_root
def test_busybox_for_everything(
    start_sshd: Callable[..., Server], meet: Callable[..., Contact], open_folder: Path
) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    tools = open_folder / "tools"
    tools.mkdir()
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    assert {"sh", "df", "tr", "uname"} <= set(listed)
    for tool in listed:
        (tools / tool).symlink_to(busybox)
    found = meet(start_sshd(path=f"{tools}", mounts=[f"mount --bind {busybox} $(readlink -f /bin/sh)"]))
    assert found.uid == 0
    assert found.free_kb is not None


@needs_root
class TestUnfit:
    def test_no_python(self, start_sshd: Callable[..., Server], meet: Callable[..., Contact]) -> None:
        with pytest.raises(TargetUnfit, match=r"^no Python: python3 is not on its PATH$") as caught:
            meet(start_sshd(mounts=[HIDE_PYTHON]))
        assert "3.9" in str(caught.value.advice)

    def test_a_python_without_its_library(
        self, start_sshd: Callable[..., Server], meet: Callable[..., Contact], open_folder: Path
    ) -> None:
        # OpenEmbedded's split: the interpreter is there, json and hashlib are packages of their own
        real = subprocess.run(
            ["/bin/sh", "-c", "command -v /usr/bin/python3 || command -v python3"], capture_output=True, text=True
        ).stdout.strip()
        modules = subprocess.run(
            [real, "-c", "import json, hashlib; print(json.__file__, hashlib.__file__)"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        (open_folder / "none").write_text("raise ImportError\n")
        server = start_sshd(
            path=f"{Path(real).parent}:/usr/bin:/bin",
            mounts=[f"mount --bind {open_folder}/none {module}" for module in modules],
        )
        with pytest.raises(TargetUnfit, match=r"lacks hashlib, json \(OpenEmbedded: python3-crypt, python3-json; "):
            meet(server)

    def test_a_hashlib_without_sha256_is_none(
        self, start_sshd: Callable[..., Server], meet: Callable[..., Contact], open_folder: Path
    ) -> None:
        real = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""
        where = [real, "-c", "import hashlib; print(hashlib.__file__)"]
        module = subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()
        (open_folder / "hollow").write_text("new = None\n")
        server = start_sshd(path="/usr/bin:/bin", mounts=[f"mount --bind {open_folder}/hollow {module}"])
        with pytest.raises(TargetUnfit, match=r"lacks hashlib \(OpenEmbedded: python3-crypt;"):
            meet(server)

    def test_a_python_that_does_not_start(
        self, start_sshd: Callable[..., Server], meet: Callable[..., Contact], open_folder: Path
    ) -> None:
        (open_folder / "python3").write_text("#!/bin/sh\necho 'cannot open shared object' >&2; exit 127\n")
        (open_folder / "python3").chmod(0o755)
        server = start_sshd(path=f"{open_folder}:/bin", mounts=[HIDE_PYTHON])
        with pytest.raises(TargetUnfit, match=f"{open_folder}/python3 does not start: cannot open shared object"):
            meet(server)

    def test_a_later_python_does_where_the_first_does_not(
        self, start_sshd: Callable[..., Server], meet: Callable[..., Contact], open_folder: Path
    ) -> None:
        (open_folder / "python3").write_text("#!/bin/sh\nprintf 'bad\\t3.6.8\\t\\t/opt/old\\n'\n")
        (open_folder / "python3").chmod(0o755)
        found = meet(start_sshd(path=f"{open_folder}:/usr/bin:/bin"))
        assert found.python_version >= (3, 9)

    def test_a_read_only_home_is_passed_over_and_recorded(
        self, start_sshd: Callable[..., Server], meet: Callable[..., Contact]
    ) -> None:
        found = meet(start_sshd(mounts=["mount --bind $home $home", "mount -o remount,ro,bind $home", HIDE_VAR_TMP]))
        assert found.deploy_root == f"/var/tmp/isolbench-{found.uid}"
        (note,) = found.notes
        assert "Read-only file system" in note

    def test_a_noexec_home_is_passed_over_and_recorded(
        self, start_sshd: Callable[..., Server], meet: Callable[..., Contact]
    ) -> None:
        found = meet(start_sshd(mounts=["mount -t tmpfs -o noexec none $home", HIDE_VAR_TMP]))
        assert found.deploy_root == f"/var/tmp/isolbench-{found.uid}"
        (note,) = found.notes
        assert "nothing may be executed there" in note

    def test_no_place_at_all_names_each(self, start_sshd: Callable[..., Server], meet: Callable[..., Contact]) -> None:
        everywhere = ["mkdir -p /run/user"] + [
            f"mount -t tmpfs -o ro none {place}" for place in ("$home", "/var/tmp", "/dev/shm", "/run/user")
        ]
        with pytest.raises(TargetUnfit, match="no place for files that may be executed") as caught:
            meet(start_sshd(mounts=[*everywhere, "mount -t tmpfs -o noexec none /tmp"]))
        for place in ("/.cache/isolbench:", "/var/tmp/isolbench-0:", "/dev/shm/isolbench-0:", "/run/user/0/isolbench:"):
            assert f"{place} cannot be made: " in str(caught.value)
        assert "/tmp/isolbench-0: nothing may be executed there" in str(caught.value)

    def test_full_disks(self, start_sshd: Callable[..., Server], meet: Callable[..., Contact]) -> None:
        small = [f"mount -t tmpfs -o size=1m none {p}" for p in ("$home", "/var/tmp", "/dev/shm", "/run/user", "/tmp")]
        with pytest.raises(StorageFull, match=r"^no space: .*/var/tmp/isolbench-0: full: \d+ KiB free"):
            meet(start_sshd(mounts=["mkdir -p /run/user", *small]))

    def test_another_users_folder_is_not_trusted(
        self, make_user: Callable[..., User], start_sshd: Callable[..., Server], meet: Callable[..., Contact]
    ) -> None:
        user = make_user()
        taken, link = Path(f"/var/tmp/isolbench-{user.uid}"), Path(f"/tmp/isolbench-{user.uid}")
        taken.mkdir(mode=0o777)
        taken.chmod(0o777)
        link.symlink_to(user.home)
        try:
            (user.home / ".cache").write_text("no folder")
            found = meet(start_sshd(home=False), user=user.name)
            assert found.deploy_root == f"/dev/shm/isolbench-{user.uid}"
            assert [note for note in found.notes if note.endswith("belongs to somebody else")] == [
                f"{taken}: belongs to somebody else",
                f"{link}: belongs to somebody else",
            ]
        finally:
            taken.rmdir()
            link.unlink()


@needs_root
class TestSudo:
    @pytest.fixture(autouse=True)
    def sudo(self) -> None:
        if shutil.which("sudo") is None:
            pytest.skip("sudo is not installed")

    @pytest.fixture
    def sudoer(self, make_user: Callable[..., User]) -> Iterator[User]:
        user = make_user()
        with sudoers(user, f"{user.name} ALL=(root) NOPASSWD: ALL"):
            yield user

    @pytest.mark.parametrize("become", [None, "sudo"])
    def test_without_a_password_is_used_and_recorded(
        self, become: str | None, sudoer: User, start_sshd: Callable[..., Server], sshd_target: Callable[..., Target]
    ) -> None:
        target = sshd_target(start_sshd(home=False, mounts=[ROOTS_HOME]), user=sudoer.name, become=become)
        transport = open_transport(target, soon())
        found = contact(transport, target, soon())
        assert (found.uid, found.user, found.sudo, found.home) == (0, sudoer.name, True, "/root")
        assert found.deploy_root == "/root/.cache/isolbench"
        assert transport.run([*found.argv_prefix, "id", "-u"], deadline=soon()).stdout == b"0\n"
        every_byte = bytes(range(256)) * 1000  # sudo must not put a terminal in between
        assert transport.run([*found.argv_prefix, "cat"], stdin=every_byte, deadline=soon()).stdout == every_byte
        transport.close()

    def test_none_is_obeyed(
        self, sudoer: User, start_sshd: Callable[..., Server], meet: Callable[..., Contact]
    ) -> None:
        found = meet(start_sshd(home=False), user=sudoer.name, become="none")
        assert (found.uid, found.sudo, found.argv_prefix) == (sudoer.uid, False, ())
        assert found.notes == ()

    def test_with_a_password_and_asked_for_is_an_error_with_the_line_to_add(
        self, make_user: Callable[..., User], start_sshd: Callable[..., Server], meet: Callable[..., Contact]
    ) -> None:
        user = make_user()
        with pytest.raises(TargetUnfit) as caught:
            meet(start_sshd(home=False), user=user.name, become="sudo")
        assert "`become: sudo`, but sudo asks for a password" in str(caught.value)
        rule = f"{user.name} ALL=(root) NOPASSWD: /bin/sh"
        assert caught.value.advice == f"as root: echo '{rule}' >/etc/sudoers.d/isolbench"
        assert "\n" not in str(caught.value)
        with sudoers(user, rule):  # that very line
            assert meet(start_sshd(home=False, mounts=[ROOTS_HOME]), user=user.name, become="sudo").uid == 0

    def test_with_a_password_and_not_asked_for_is_a_note(
        self, make_user: Callable[..., User], start_sshd: Callable[..., Server], meet: Callable[..., Contact]
    ) -> None:
        user = make_user()
        found = meet(start_sshd(home=False), user=user.name)
        assert (found.uid, found.sudo, found.argv_prefix) == (user.uid, False, ())
        assert "sudo asks for a password" in found.notes[-1]

    def test_a_terminal_that_is_required_is_named_with_the_lines_that_help(
        self, make_user: Callable[..., User], start_sshd: Callable[..., Server], meet: Callable[..., Contact]
    ) -> None:
        user = make_user()
        server = start_sshd(home=False, mounts=[ROOTS_HOME])
        required = (f"Defaults:{user.name} requiretty", f"{user.name} ALL=(root) NOPASSWD: ALL")
        with sudoers(user, *required), pytest.raises(TargetUnfit, match="sudo wants a terminal") as caught:
            meet(server, user=user.name, become="sudo")
        lines = (f"Defaults:{user.name} !requiretty", f"{user.name} ALL=(root) NOPASSWD: /bin/sh")
        assert all(f"'{line}'" in str(caught.value.advice) for line in lines)
        with sudoers(user, *lines):
            assert meet(server, user=user.name, become="sudo").uid == 0

    @pytest.mark.parametrize("doas", [False, True])
    def test_no_sudo(
        self,
        doas: bool,
        make_user: Callable[..., User],
        start_sshd: Callable[..., Server],
        meet: Callable[..., Contact],
        open_folder: Path,
    ) -> None:
        tools = some_programs(open_folder, "python3", *(["doas"] if doas else []))
        user = make_user()
        server = start_sshd(home=False, path=str(tools))
        with pytest.raises(TargetUnfit, match="sudo is not installed" + (", and of doas" if doas else "$")):
            meet(server, user=user.name, become="sudo")
        found = meet(server, user=user.name)
        assert (found.uid, found.sudo) == (user.uid, False)
        assert "sudo is not installed" in found.notes[-1]

    def test_sudos_own_path_may_lack_the_python_that_the_user_has(
        self, sudoer: User, start_sshd: Callable[..., Server], meet: Callable[..., Contact], open_folder: Path
    ) -> None:
        (open_folder / "bin").mkdir()
        shutil.copy(os.path.realpath("/usr/bin/python3"), open_folder / "bin/python3")
        path = f"{open_folder}/bin:/usr/bin:/bin"
        server = start_sshd(home=False, path=path, mounts=[ROOTS_HOME, HIDE_PYTHON])
        found = meet(server, user=sudoer.name, become="sudo")
        assert (found.uid, found.python) == (0, f"{open_folder}/bin/python3")


def some_programs(folder: Path, *more: str) -> Path:
    """A folder for PATH with what the first contact's script calls, a login shell, and ``more``: no sudo, no doas."""
    tools = folder / "tools"
    tools.mkdir()
    for tool in ("sh", "bash", "id", "uname", "date", "mkdir", "chmod", "rm", "df", "tr", "cat", "tail", *more):
        (tools / tool).symlink_to(shutil.which(tool) or "/bin/true")
    return tools


@needs_root
class TestSelinux:
    """An invented /sys/fs/selinux: no kernel here has SELinux. Which types init may execute is the policy's word."""

    ENFORCING = "mount -t tmpfs none /sys/fs; mkdir /sys/fs/selinux; echo -n {} >/sys/fs/selinux/enforce"

    def test_roots_programs_do_not_lie_in_its_home(
        self, start_sshd: Callable[..., Server], meet: Callable[..., Contact]
    ) -> None:
        mounts = [self.ENFORCING.format(1), "mount -t tmpfs none /usr/local"]
        assert meet(start_sshd(mounts=mounts)).deploy_root == "/usr/local/libexec/isolbench"

    def test_where_usr_is_read_only_the_next_place_is_taken(
        self, start_sshd: Callable[..., Server], meet: Callable[..., Contact]
    ) -> None:
        server = start_sshd(mounts=[self.ENFORCING.format(1), "mount -t tmpfs -o ro none /usr/local"])
        found = meet(server)
        assert found.deploy_root == f"{server.home}/.cache/isolbench"
        assert "Read-only file system" in found.notes[0]

    def test_permissive_and_users_are_as_ever(
        self, make_user: Callable[..., User], start_sshd: Callable[..., Server], meet: Callable[..., Contact]
    ) -> None:
        server = start_sshd(mounts=[self.ENFORCING.format(0)])
        assert meet(server).deploy_root == f"{server.home}/.cache/isolbench"
        user = make_user()  # a user has nothing executed by systemd
        found = meet(start_sshd(home=False, mounts=[self.ENFORCING.format(1)]), user=user.name, become="none")
        assert found.deploy_root == f"{user.home}/.cache/isolbench"


@needs_root
def test_a_python_by_its_version_alone(
    start_sshd: Callable[..., Server], meet: Callable[..., Contact], open_folder: Path
) -> None:
    tools = some_programs(open_folder)
    shutil.copy(os.path.realpath("/usr/bin/python3"), tools / "python3.11")
    found = meet(start_sshd(path=str(tools), mounts=[HIDE_PYTHON]))
    assert found.python == f"{tools}/python3.11"
