# SPDX-License-Identifier: Apache-2.0
"""Disk boards: up, down, reached over SSH like any other target."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ..config.targets import Virtual
from ..deadline import Deadline
from ..errors import EnvironmentFault, InfrastructureFault, Unreachable, UserError
from . import console, count, disks, grub, images, machine, state
from .cache import Cache
from .images import Image
from .machine import Boot, Disk, Hardware
from .recipes import RECIPES
from .state import BoardFolder, Record

#: Seconds from QEMU's start to an answer by SSH; four times what an emulated board takes on two busy cores.
UP_S = 160.0
#: Somebody may take a free port before QEMU does.
_PORTS_TRIED = 5
_POLL_S = 0.2
_SOCKET = "console.sock"
_USER = "lab"
_SAY = Callable[[str], None]


def image_of(name: str, virtual: Virtual) -> str:
    """The name of the image that a board boots from."""
    wanted = f"{virtual.image}-{virtual.arch}"
    if wanted not in RECIPES:
        known = ", ".join(recipe.suite for recipe in RECIPES.values() if recipe.arch == virtual.arch)
        raise UserError(
            f"board {name}: there is no image {virtual.image} for {virtual.arch}", advice=f"there is {known}"
        )
    if virtual.kernel not in RECIPES[wanted].flavours:
        known = ", ".join(RECIPES[wanted].flavours)
        raise UserError(f"board {name}: image {wanted} has no {virtual.kernel} kernel", advice=f"it has {known}")
    return wanted


def up(name: str, virtual: Virtual, say: _SAY, *, append: Sequence[str] = (), cache: Cache | None = None) -> Record:
    """Bring a board up, as new, and wait until it answers; one that is up is left alone.

    Raises EnvironmentFault (no QEMU, no image tools), InfrastructureFault with the end of the console.
    """
    cache = cache or Cache()
    machine.program(virtual.arch)  # before an image is built for it
    image = images.build(images.recipe(image_of(name, virtual)), cache, say)
    folder = BoardFolder(name)
    with folder.locked():
        record = folder.read()
        if record is not None and record.is_alive():
            _same(record, virtual, image)
            return record
        folder.remove()
    with BoardFolder(name).locked():
        try:
            kernel = image.kernels[virtual.kernel]
            accel = count.accelerator(virtual.arch, kernel, cache.folder)
            words = [*machine.always(virtual.arch, accel), *append]
            host_key = _furnish(folder, name, image, virtual.kernel, " ".join(words))
            # Where there is no boot loader, QEMU is it.
            boot = None if image.boot_loader else Boot(kernel.image, kernel.initrd, tuple(append))
            record = Record(
                name=name,
                arch=virtual.arch,
                cpus=virtual.cpus,
                memory_mb=virtual.memory_mb,
                image=image.name,
                kernel=virtual.kernel,
                accel=accel,
                port=0,
                host_key=host_key,
                pid=0,
                started_ticks=0,
                boot_id=state.host_boot_id(),
                append=tuple(append),
            )
            return start(folder, record, image, boot)
        except BaseException:
            left = folder.read()
            if left is not None:
                state.end(left)
            folder.remove()
            raise


def _same(record: Record, virtual: Virtual, image: Image) -> None:
    said = {"arch": virtual.arch, "cpus": virtual.cpus, "memory_mb": virtual.memory_mb, "image": image.name}
    said["kernel"] = virtual.kernel
    if wrong := [key for key, value in said.items() if getattr(record, key) != value]:
        raise UserError(
            f"board {record.name} is up with another {', '.join(wrong)} than the inventory says",
            advice=f"take it down first: isolbench lab down {record.name}",
        )


def _furnish(folder: BoardFolder, name: str, image: Image, default: str, command_line: str) -> str:
    """Keys and disks of a new board; its public host key."""
    lets_in = disks.keygen(folder.identity, f"isolbench lab {name}")
    host_key = folder.path / "host_key"
    public = disks.keygen(host_key, name)
    machine_id = hashlib.sha256(public.encode()).hexdigest()[:32]
    disks.seed(folder.path / "seed.tar", name, host_key, lets_in, machine_id)
    boot = {f"vmlinuz-{kernel.release}": kernel.image.read_bytes() for kernel in image.kernels.values()}
    boot |= {f"initrd.img-{kernel.release}": kernel.initrd.read_bytes() for kernel in image.kernels.values()}
    loader = b""
    if image.boot_loader is not None:
        loader = image.boot_loader.read_bytes()
        others = [kernel.release for flavour, kernel in image.kernels.items() if flavour != default]
        boot["grub/grub.cfg"] = grub.configuration([image.kernels[default].release, *others], command_line)
        boot["grub/grubenv"] = grub.environment()
    disks.make(folder.path / "disk.img", boot, folder.path, loader)
    return public


def start(folder: BoardFolder, record: Record, image: Image, boot: Boot | None) -> Record:
    """Start QEMU on a furnished board and wait for SSH. The caller holds the folder's lock."""
    refused = "no free port"
    for _ in range(_PORTS_TRIED):
        port = record.port or _free_port()
        hardware = Hardware(
            name=record.name,
            arch=record.arch,
            cpus=record.cpus,
            memory_mb=record.memory_mb,
            accel=record.accel,
            console=Path(folder.console.name),
            boot=boot,
            disks=(Disk(image.root, read_only=True), Disk(Path("disk.img")), Disk(Path("seed.tar"), read_only=True)),
            ssh_port=port,
            socket=_SOCKET,
        )
        process, errors = _spawn(folder, machine.argv(hardware, machine.program(record.arch)))
        started = state.process_start(process.pid)
        now = replace(record, port=port, pid=process.pid, started_ticks=started or 0, boot_id=state.host_boot_id())
        folder.write(now)
        refused = _wait(folder, now, process, errors, Deadline.after(UP_S))
        if not refused:
            return now
        if "host forwarding" not in refused:
            break
        record = replace(record, port=0)
    raise InfrastructureFault(f"board {record.name}: QEMU ended: {refused}")


def _spawn(folder: BoardFolder, call: list[str]) -> tuple[subprocess.Popen[bytes], Path]:
    """QEMU in the board's folder (its socket's path may be long), in a session of its own: Ctrl-C is not for it."""
    errors = folder.path / "qemu.log"
    (folder.path / _SOCKET).unlink(missing_ok=True)
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            call, cwd=folder.path, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, start_new_session=True
        )
    return process, errors


def _wait(
    folder: BoardFolder, record: Record, process: subprocess.Popen[bytes], errors: Path, deadline: Deadline
) -> str:
    """Until the board's SSH server speaks: "". What QEMU said if it ended. Raises on a panic, or a hang."""
    while True:
        if process.poll() is not None:
            said = errors.read_text("utf-8", "replace").strip().splitlines()
            return said[-1] if said else f"status {process.returncode}"
        if _speaks(record.port):
            # QEMU lives on without us; that it is nobody's child any more is what was meant.
            process.returncode = 0
            return ""
        text = _console(folder)
        found = console.trouble(console.boots(text)[-1]) if text else None
        if deadline.expired or (found is not None and found.kind == "panic"):
            state.end(record)
            raise Unreachable(
                f"board {record.name} did not come up: {console.account(text)}",
                advice="its console said: " + " | ".join(console.last_lines(text, 3)),
            )
        time.sleep(_POLL_S)


def _console(folder: BoardFolder) -> str:
    try:
        return console.text_of(folder.console.read_bytes())
    except OSError:
        return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _speaks(port: int) -> bool:
    """Does an SSH server answer? That the port can be connected to says only that QEMU forwards it."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.settimeout(2.0)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def down(name: str) -> bool:
    """End a board and remove all there is of it, but for its image in the cache. False if there was none."""
    folder = BoardFolder(name)
    if not folder.path.is_dir():
        return False
    record = folder.read()
    if record is not None:
        state.end(record)
    # The lock is not asked for: whoever is bringing the board up sees QEMU end, and says so.
    folder.remove()
    return True


def up_now(name: str) -> Record:
    """The record of a board that is up. Raises Unreachable with what to do."""
    record = BoardFolder(name).read()
    if record is None:
        raise Unreachable(f"board {name} is not up", advice=f"bring it up: isolbench lab up {name}")
    if not record.is_alive():
        text = _console(BoardFolder(name))
        raise Unreachable(
            f"board {name}'s QEMU (pid {record.pid}) ended by itself: {console.account(text)}",
            advice=f"bring it up again, as new: isolbench lab up {name}",
        )
    return record


class Asked(Protocol):
    """What is read of a target to find its board."""

    @property
    def name(self) -> str: ...
    @property
    def user(self) -> str | None: ...
    @property
    def connect_timeout(self) -> float | None: ...


@dataclass(frozen=True)
class Way:
    """The way to a board that is up, as the transport reads it of a target."""

    name: str
    port: int
    user: str
    identity: Path
    host_key: str
    connect_timeout: float | None
    address: str = "127.0.0.1"
    local: bool = False
    known_hosts: None = None
    proxy_jump: str = "none"
    virtual: None = None


def reach(target: Asked) -> Way:
    """The way to ``target``'s board: loopback, its port of the moment, its keys. Raises Unreachable: it is not up."""
    record = up_now(target.name)
    identity = BoardFolder(target.name).identity
    user = target.user or _USER
    return Way(target.name, record.port, user, identity, record.host_key, target.connect_timeout)


def console_text(name: str) -> str:
    """All that a board's serial console said since it was brought up."""
    folder = BoardFolder(name)
    if not folder.path.is_dir():
        raise Unreachable(f"board {name} is not up", advice=f"bring it up: isolbench lab up {name}")
    return _console(folder)


def ssh_command(name: str, user: str | None = None) -> list[str]:
    """OpenSSH's client with everything said: no configuration and no known_hosts of the user's has a part in it."""
    record = up_now(name)
    folder = BoardFolder(name)
    known = folder.path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{record.port} {record.host_key}\n")
    options = {
        "UserKnownHostsFile": str(known),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "LogLevel": "ERROR",
    }
    call = ["ssh", "-F", os.devnull, "-p", str(record.port), "-i", str(folder.identity)]
    for key, value in options.items():
        call += ["-o", f'{key}="{value}"' if " " in value else f"{key}={value}"]
    return [*call, f"{user or _USER}@127.0.0.1"]


def idle_share(record: Record, seconds: float) -> float:
    """CPU seconds a second that a board's QEMU takes over ``seconds``: what an idle board costs this machine."""

    def used() -> int:
        fields = Path(f"/proc/{record.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    if not record.is_alive():
        raise EnvironmentFault(f"board {record.name} is not up")
    before, began = used(), time.monotonic()
    time.sleep(seconds)
    return (used() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began)
