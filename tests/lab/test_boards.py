# SPDX-License-Identifier: Apache-2.0
"""Disk boards: targets like any other, and what may go wrong with them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.targets import Target, Virtual
from harness.deadline import Deadline
from harness.errors import EnvironmentFault, HostKeyError, Unreachable, UserError
from harness.lab import boards, images, way
from harness.lab import state as states
from harness.lab.cache import Cache
from harness.lab.recipes import RECIPES
from harness.target.contact import contact
from harness.target.transport import open_transport

from .conftest import Board


def said(target: Target, *argv: str) -> str:
    transport = open_transport(target)
    try:
        done = transport.run(argv, deadline=Deadline.after(60))
    finally:
        transport.close()
    assert done.ok, done.last_words()
    return done.stdout.decode()


def test_it_is_a_target_like_any_other(box: Board) -> None:
    transport = open_transport(box.target)
    try:
        found = contact(transport, box.target, Deadline.after(60))
    finally:
        transport.close()
    assert (found.arch, found.sudo, found.user) == ("x86_64", True, "lab")
    tools = "command -v python3 kexec hackbench grub-reboot update-initramfs && stat -fc %T /sys/fs/cgroup"
    text = said(box.target, "sudo", "sh", "-c", tools)
    assert text.splitlines()[-1] == "cgroup2fs"
    assert said(box.target, "cat", "/sys/devices/system/clocksource/clocksource0/current_clocksource").strip() == "tsc"


def test_a_user_without_sudo(box: Board) -> None:
    guest = box.target.model_copy(update={"user": "guest"})
    transport = open_transport(guest)
    try:
        assert contact(transport, guest, Deadline.after(60)).sudo is False
    finally:
        transport.close()


def test_its_host_key_is_pinned(box: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKP03q4G8DHzMY1dJCEwHAj1FjZHdjsf6BYSqq81tmK5"
    monkeypatch.setattr(way, "up_now", lambda name: replace(box.record, host_key=other))
    with pytest.raises(HostKeyError, match="wrong host key"):
        open_transport(box.target)


def test_up_again_leaves_it_alone_and_tells_of_a_difference(box: Board) -> None:
    assert boards.up("box", Virtual(arch="x86_64"), print) == box.record
    with pytest.raises(UserError, match="up with another cpus, memory_mb"):
        boards.up("box", Virtual(arch="x86_64", cpus=1, memory="512M"), print)


def test_it_is_on_loopback_only(box: Board) -> None:
    listening = Path("/proc/net/tcp").read_text()
    assert f" 0100007F:{box.record.port:04X} " in listening
    assert f" 00000000:{box.record.port:04X} " not in listening


def test_the_commands_tell_of_it(box: Board, state: Path) -> None:
    def isolbench(*words: str) -> str:
        done = subprocess.run([sys.executable, "-m", "harness", "lab", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(box.record.port) in isolbench("status")
    assert "lab: up: 6.1." in isolbench("console", "box")
    assert isolbench("ssh", "box", "--", "id -un").strip() == "lab"


def test_a_qemu_that_died_is_found_out_and_its_number_given_away_is_not_ours(box: Board, state: Path) -> None:
    folder = states.BoardFolder("gone")
    folder.path.mkdir(parents=True)
    # a process of ours under that number, that started at another time
    other = subprocess.Popen(["sleep", "600"])
    try:
        folder.write(replace(box.record, name="gone", pid=other.pid, started_ticks=1))
        folder.console.write_text("[    0.000000] Linux version 6.1\n[    9.0] Kernel panic - not syncing: oh\n")
        with pytest.raises(Unreachable, match=r"ended by itself: panic: .*Kernel panic - not syncing: oh"):
            open_transport(Target(name="gone", virtual=Virtual(arch="x86_64")))
        assert boards.down("gone")
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    assert not folder.path.exists()


def test_a_board_that_is_not_up_says_what_to_do() -> None:
    with pytest.raises(Unreachable, match="board nobody is not up") as caught:
        open_transport(Target(name="nobody", virtual=Virtual(arch="x86_64")))
    assert caught.value.advice == "bring it up: isolbench lab up nobody"


def test_without_qemu_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentFault, match="need qemu-system-aarch64") as caught:
        boards.up("arm", Virtual(arch="aarch64"), print)
    assert "qemu-system-arm" in str(caught.value.advice)


def test_a_damaged_image_is_not_booted(box: Board, cache: Cache, tmp_path: Path) -> None:
    own = Cache(tmp_path)
    for path in cache.folder.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    found = images.find(RECIPES["bookworm-x86_64"], own)
    assert found is not None
    with found.root.open("r+b") as file:
        file.seek(4096)
        file.write(b"damage")
    with pytest.raises(EnvironmentFault, match="damaged image"):
        images.find(RECIPES["bookworm-x86_64"], own)


def test_killed_in_mid_flight_and_down_nothing_is_left(box: Board, state: Path) -> None:
    """After all others: the board is taken down. Killed first, as a power cut would."""
    os.kill(box.record.pid, signal.SIGKILL)
    deadline = Deadline.after(10)
    while box.record.is_alive() and not deadline.expired:
        time.sleep(0.05)
    with pytest.raises(Unreachable, match="ended by itself"):
        way.up_now("box")
    assert boards.down("box")
    assert not (state / "isolbench/lab").exists()
    assert boards.down("box") is False


def test_a_full_cache_is_said_to_be_full_and_nothing_half_built_stays(cache: Cache, tmp_path: Path) -> None:
    if os.getuid() != 0 or shutil.which("unshare") is None or images.missing_tools():
        pytest.skip("a small disk of its own needs root, unshare, and the tools that build images")
    script = """
        mount -t tmpfs -o size=12m tmpfs "$0" || exit 99
        XDG_CACHE_HOME="$0" "$1" -m harness lab build bookworm-x86_64
        code=$?
        find "$0" -type f ! -name '*.lock'
        exit $code
    """
    call = ["unshare", "-m", "sh", "-c", script, str(tmp_path), sys.executable]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode == 99:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    if "unpacked" in done.stderr and "no space left" not in done.stderr:
        pytest.skip(f"Debian's archive is not in reach: {done.stderr.strip()[-200:]}")
    assert done.returncode == 3
    assert f"no space left for images in {tmp_path}" in done.stderr
    assert done.stdout == ""
