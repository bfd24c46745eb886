# SPDX-License-Identifier: Apache-2.0
"""Disk boards: targets like any other, and what may go wrong with them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.targets import Target, Virtual
from harness.deadline import Deadline
from harness.errors import BoardDown, Busy, EnvironmentFault, HostKeyError, IsolbenchError, UserError
from harness.lab import boards, images, machine, qemu, several, tools, tsc, way
from harness.lab import state as states
from harness.lab.cache import Cache
from harness.lab.images import Image
from harness.lab.recipes import RECIPES
from harness.target.contact import contact
from harness.target.transport import open_transport

from .conftest import PATIENCE_S, Board

INVENTORY = """
targets:
  early: {virtual: {arch: x86_64}}
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "lab.yaml"
    path.write_text(INVENTORY)
    return path


def qemus(name: str = "") -> list[str]:
    """The command lines of all QEMUs of boards that run in a folder of ``state``; of one board, or of all."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(states.state_dir()) in os.readlink(each / "cwd"):
                found.append((each / "cmdline").read_text())
    return [call for call in found if f"\0{machine.qemu_name(name)}" in call]


def says_something(folder: states.BoardFolder, word: str) -> bool:
    record = folder.read()
    return record is not None and record.pid != 0 and word in way.console_of(folder)


def test_boards_come_up_side_by_side_and_one_that_does_not_hinders_none(
    image: Callable[[str], Image], state: Path, one_at_a_time: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of another architecture, whose port somebody takes just before: an SSH server, which answers as well."""
    image("bookworm-x86_64")
    image("bookworm-aarch64")
    taken = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=greet, args=(taken,), daemon=True).start()
    ports = iter([int(taken.getsockname()[1])])
    monkeypatch.setattr(qemu, "free_port", lambda free=qemu.free_port: next(ports, None) or free())
    asked = {"one": "x86_64", "two": "aarch64", "held": "x86_64"}

    def job(name: str) -> several.Job[states.Record]:
        return lambda pause: boards.up(name, Virtual(arch=asked[name]), print, pause=pause)

    outcomes: dict[str, states.Record | IsolbenchError] = {}
    with states.BoardFolder("held").locked(), taken:
        several.side_by_side({name: job(name) for name in asked}, outcomes.__setitem__)
    assert isinstance(outcomes["held"], Busy)
    for name in ("one", "two"):
        assert isinstance(outcomes[name], states.Record), outcomes[name]
        assert said(Target(name=name, virtual=Virtual(arch=asked[name])), "uname", "-m").strip() == asked[name]
    assert next(ports, None) is None
    assert len(qemus()) == 2
    assert sorted(isolbench("down").stdout.splitlines()) == ["held: down", "one: down", "two: down"]
    assert qemus() == []
    assert list(state.rglob("*")) in ([], [state / "isolbench"])


def greet(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed
        while True:
            connection = listener.accept()[0]
            connection.sendall(b"SSH-2.0-somebody else\r\n")
            connection.close()


@pytest.mark.parametrize(
    ("ending", "at", "code", "says"),
    [
        ("SIGTERM", "Booting", 143, "board early: given up, as was asked"),
        ("down", "Booting", 3, "board early: given up, as was asked"),
        (
            "its QEMU killed",
            "Linux version",
            3,
            "board early did not come up: its QEMU was ended by SIGKILL; last on its console: [",
        ),
    ],
)
def test_what_ends_while_it_comes_up_leaves_nothing(
    image: Callable[[str], Image],
    state: Path,
    one_at_a_time: None,
    inventory: Path,
    ending: str,
    at: str,
    code: int,
    says: str,
) -> None:
    """``at``: a word on its console, of the boot loader or of the kernel."""
    image("bookworm-x86_64")
    call = [sys.executable, "-m", "harness", "lab", "up", "early", "--inventory", str(inventory)]
    with subprocess.Popen(call, stderr=subprocess.PIPE, text=True) as coming:
        folder = states.BoardFolder("early")
        deadline = Deadline.after(PATIENCE_S)
        while not says_something(folder, at) and coming.poll() is None and not deadline.expired:
            time.sleep(0.1)
        assert len(qemus("early")) == 1
        if ending == "down":
            assert isolbench("down", "early").stdout == "early: down\n"
        elif ending.startswith("SIG"):
            coming.send_signal(signal.Signals[ending])
        else:
            record = folder.read()
            assert record is not None
            os.kill(record.pid, signal.SIGKILL)
        assert says in coming.communicate(timeout=PATIENCE_S)[1]
    assert coming.returncode == code
    assert qemus("early") == []
    assert not folder.path.exists()


def isolbench(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "harness", "lab", *words]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def said(target: Target, *argv: str) -> str:
    transport = open_transport(target)
    try:
        done = transport.run(argv, deadline=Deadline.after(PATIENCE_S))
    finally:
        transport.close()
    assert done.ok, done.last_words()
    return done.stdout.decode()


def test_it_is_a_target_like_any_other(box: Board) -> None:
    transport = open_transport(box.target)
    try:
        found = contact(transport, box.target, Deadline.after(PATIENCE_S))
    finally:
        transport.close()
    assert (found.arch, found.sudo, found.user) == ("x86_64", True, "lab")
    tools = "command -v python3 kexec hackbench grub-reboot update-initramfs && stat -fc %T /sys/fs/cgroup"
    text = said(box.target, "sudo", "sh", "-c", tools)
    assert text.splitlines()[-1] == "cgroup2fs"
    assert said(box.target, "cat", "/sys/devices/system/clocksource/clocksource0/current_clocksource").strip() == "tsc"
    if box.record.accel == "tcg" and (rate := tsc.khz()) is not None:
        told = re.search(r"\btsc_early_khz=([0-9]+)\b", said(box.target, "cat", "/proc/cmdline"))
        assert told is not None
        assert abs(int(told[1]) / rate - 1) < 0.01


def test_a_user_without_sudo(box: Board) -> None:
    guest = box.target.model_copy(update={"user": "guest"})
    transport = open_transport(guest)
    try:
        assert contact(transport, guest, Deadline.after(PATIENCE_S)).sudo is False
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
    assert str(box.record.port) in isolbench("status").stdout
    assert "lab: up: 6.1." in isolbench("console", "box").stdout
    assert isolbench("ssh", "box", "--", "id -un").stdout.strip() == "lab"
    isolbench("ssh", "box", "--", "exit 42", code=42)


def test_a_qemu_that_died_is_found_out_and_its_number_given_away_is_not_ours(box: Board, state: Path) -> None:
    folder = states.BoardFolder("gone")
    folder.path.mkdir(parents=True)
    # a process of ours under that number, that started at another time
    other = subprocess.Popen(["sleep", "600"])
    try:
        folder.write(replace(box.record, name="gone", pid=other.pid, started_ticks=1))
        folder.console.write_text("[    0.000000] Linux version 6.1\n[    9.0] Kernel panic - not syncing: oh\n")
        with pytest.raises(BoardDown, match=r"ended by itself: panic: .*Kernel panic - not syncing: oh"):
            open_transport(Target(name="gone", virtual=Virtual(arch="x86_64")))
        # the very process, but of another boot of this machine
        ticks = states.process_start(other.pid)
        assert ticks is not None
        folder.write(replace(box.record, name="gone", pid=other.pid, started_ticks=ticks, boot_id="another"))
        with pytest.raises(BoardDown, match="board gone is not up: this machine was booted since"):
            open_transport(Target(name="gone", virtual=Virtual(arch="x86_64")))
        assert boards.down("gone")
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    assert not folder.path.exists()


def test_a_board_that_is_not_up_says_what_to_do() -> None:
    with pytest.raises(BoardDown, match="board nobody is not up") as caught:
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
    deadline = Deadline.after(PATIENCE_S)
    while box.record.is_alive() and not deadline.expired:
        time.sleep(0.05)
    with pytest.raises(BoardDown, match="ended by itself"):
        way.up_now("box")
    assert boards.down("box")
    assert not (state / "isolbench/lab").exists()
    assert boards.down("box") is False


def test_a_build_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    if tools.missing():
        pytest.skip(f"images cannot be built here: {', '.join(tools.missing())} not installed")
    call = [sys.executable, "-m", "harness", "lab", "build", "bookworm-x86_64"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    with subprocess.Popen(call, stderr=subprocess.PIPE, text=True, env=environment) as building:
        deadline = Deadline.after(PATIENCE_S)
        while not unpacking(tmp_path) and building.poll() is None and not deadline.expired:
            time.sleep(0.1)
        if building.poll() is not None:
            pytest.skip(f"Debian's archive is not in reach: {building.communicate()[1]}")
        building.terminate()
        assert "given up, as was asked" in building.communicate(timeout=PATIENCE_S)[1]
    assert building.returncode == 143
    assert unpacking(tmp_path) == []
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


def unpacking(cache: Path) -> list[str]:
    """The command lines of all mmdebstraps and their children that build in a folder of ``cache``."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"TMPDIR={cache}".encode() in (each / "environ").read_bytes():
                found.append((each / "cmdline").read_text())
    return found


SMALL_DISK = """
    mount -t tmpfs -o size=12m tmpfs "$0" || exit 99
    "$@"
    code=$?
    find "$0" -type f ! -name '*.lock'
    exit $code
"""


def on_a_small_disk(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """An isolbench whose ``folder`` is a disk of 12 MB; on its standard output what is left there."""
    if os.getuid() != 0 or shutil.which("unshare") is None or tools.missing():
        pytest.skip("a small disk of its own needs root, unshare, and the tools that build images")
    call = ["unshare", "-m", "sh", "-c", SMALL_DISK, str(folder), sys.executable, "-m", "harness", "lab", *words]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode == 99:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    return done


def test_a_full_cache_is_said_to_be_full_and_nothing_half_built_stays(cache: Cache, tmp_path: Path) -> None:
    done = on_a_small_disk(tmp_path, "build", "bookworm-x86_64", XDG_CACHE_HOME=str(tmp_path))
    if "unpacked" in done.stderr and "no space left" not in done.stderr:
        pytest.skip(f"Debian's archive is not in reach: {done.stderr.strip()[-200:]}")
    assert done.returncode == 3
    assert f"no space left for images in {tmp_path}" in done.stderr
    assert done.stdout == ""


def test_a_full_disk_of_boards_too(image: Callable[[str], Image], inventory: Path, tmp_path: Path) -> None:
    image("bookworm-x86_64")
    small = tmp_path / "small"
    small.mkdir()
    done = on_a_small_disk(small, "up", "early", "--inventory", str(inventory), XDG_STATE_HOME=str(small))
    assert done.returncode == 3
    assert f"no space left for board early in {small}" in done.stderr
    assert done.stdout == ""
