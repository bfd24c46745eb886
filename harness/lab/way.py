# SPDX-License-Identifier: Apache-2.0
"""The way to a board that is up, and what can be asked of it from outside."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import BoardDown, EnvironmentFault
from . import console, state
from .state import BoardFolder, Record

_USER = "lab"


def up_now(name: str) -> Record:
    """The record of a board that is up. Raises BoardDown with what to do."""
    folder = BoardFolder(name)
    record = folder.read()
    if record is None:
        raise BoardDown(f"board {name} is not up", advice=f"bring it up: isolbench lab up {name}")
    if not record.is_alive():
        advice = f"bring it up again, as new: isolbench lab up {name}"
        if record.boot_id != state.host_boot_id():
            raise BoardDown(f"board {name} is not up: this machine was booted since", advice=advice)
        said = console.account(console_of(folder), ended=True)
        raise BoardDown(f"board {name}'s QEMU (pid {record.pid}) ended by itself: {said}", advice=advice)
    return record


def console_of(folder: BoardFolder) -> str:
    """All that a board's serial console said since it was brought up; nothing where there is none."""
    try:
        return console.text_of(folder.console.read_bytes())
    except OSError:
        return ""


def console_text(name: str) -> str:
    """As :func:`console_of`, of a board that there is. Raises BoardDown."""
    folder = BoardFolder(name)
    if not folder.path.is_dir():
        raise BoardDown(f"board {name} is not up", advice=f"bring it up: isolbench lab up {name}")
    return console_of(folder)


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
    """The way to ``target``'s board: loopback, its port of the moment, its keys. Raises BoardDown."""
    record = up_now(target.name)
    identity = BoardFolder(target.name).identity
    user = target.user or _USER
    return Way(target.name, record.port, user, identity, record.host_key, target.connect_timeout)


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
