# SPDX-License-Identifier: Apache-2.0
"""A disk board's QEMU: started in the board's folder, watched until the board answers by SSH."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

from ..deadline import Deadline
from ..errors import InfrastructureFault, Unreachable
from . import console, machine, state
from .images import Image
from .machine import Boot, Disk, Hardware
from .pause import Pause, wait
from .state import BoardFolder, Record
from .way import console_of

#: Seconds from QEMU's start to an answer by SSH; four times what an emulated board takes on two cores that four share.
UP_S = 300.0
#: Somebody may take a free port before QEMU does.
_PORTS_TRIED = 5
_SOCKET = "console.sock"
_LISTENS = "0A"


def start(
    folder: BoardFolder, record: Record, image: Image, boot: Boot | None, pause: Pause, *, answering: bool = True
) -> Record:
    """Start QEMU on a furnished board and wait for SSH (or, not ``answering``, until it runs). The caller holds the
    folder's lock.

    Raises Unreachable with what the console said last, Stopped if ``pause`` says so; no QEMU is left then.
    """
    refused = "no free port"
    for _ in range(_PORTS_TRIED):
        port = record.port or free_port()
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
            releases=tuple(kernel.release for kernel in image.kernels.values()),
        )
        process = _spawn(folder, machine.argv(hardware, machine.program(record.arch)))
        try:
            started = state.process_start(process.pid)
            now = replace(record, port=port, pid=process.pid, started_ticks=started or 0, boot_id=state.host_boot_id())
            now = replace(now, once=boot is not None and boot.once)
            folder.write(now)
            refused = _wait(folder, now, process, pause, answering=answering)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if not refused:
            # QEMU lives on without us; that it is nobody's child any more is what was meant.
            process.returncode = 0
            return now
        record = replace(record, port=0)
    raise InfrastructureFault(f"board {record.name}: QEMU ended: {refused}")


def _spawn(folder: BoardFolder, call: list[str]) -> subprocess.Popen[bytes]:
    """QEMU in the board's folder (its socket's path may be long), in a session of its own: Ctrl-C is not for it."""
    (folder.path / _SOCKET).unlink(missing_ok=True)
    with _errors(folder).open("wb") as stderr:
        return subprocess.Popen(
            call, cwd=folder.path, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, start_new_session=True
        )


def _errors(folder: BoardFolder) -> Path:
    return folder.path / "qemu.log"


def _wait(
    folder: BoardFolder, record: Record, process: subprocess.Popen[bytes], pause: Pause, *, answering: bool
) -> str:
    """Until the board's SSH server speaks, if it is to: "". What QEMU said if somebody else has its port."""
    deadline = Deadline.after(UP_S)
    while not (_listens(record.port, process.pid) and (not answering or speaks(record.port))):
        if process.poll() is not None:
            said = _errors(folder).read_text("utf-8", "replace").strip().splitlines()
            if said and "host forwarding" in said[-1]:
                return said[-1]
            raise _not_up(record, _ended(process.returncode, said), console_of(folder))
        text = console_of(folder)
        # until it says a word of its own, the last boot on its console is the one before
        found = console.trouble(console.boots(text)[-1]) if text and answering else None
        if deadline.expired or (found is not None and found.kind == "panic"):
            raise _not_up(record, "", text)
        wait(pause, f"board {record.name}")
    return ""


def _ended(status: int, said: list[str]) -> str:
    """How QEMU ended by itself."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"its QEMU was ended by {signal.Signals(-status).name}"
    return f"its QEMU ended: {said[-1] if said else f'status {status}'}"


def _not_up(record: Record, ended: str, text: str) -> Unreachable:
    last = " | ".join(console.last_lines(text, 3))
    why = f"{ended}; {console.account(text, ended=True)}" if ended else console.account(text)
    return Unreachable(
        f"board {record.name} did not come up: {why}", advice=f"its console said: {last}" if last else None
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int, pid: int) -> bool:
    """Is it this process that listens there? Another board may have been quicker, and would answer just as well."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    with contextlib.suppress(OSError):  # it ended
        for each in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # closed meanwhile
                if os.readlink(f"/proc/{pid}/fd/{each}") in inodes:
                    return True
    return False


def speaks(port: int) -> bool:
    """Does an SSH server answer? That the port can be connected to says only that QEMU forwards it."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.settimeout(2.0)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
