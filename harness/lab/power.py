# SPDX-License-Identifier: Apache-2.0
"""A board's power: off, and on again with what it boots by itself or, once, with a kernel that QEMU loads."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from ..errors import BoardDown, Busy, EnvironmentFault
from . import boards, images, qemu, way
from .cache import Cache
from .machine import Boot
from .state import BoardFolder, Record


def off(name: str) -> None:
    """As a power cut: what the board had not written is lost; its disk, port and keys stay. Raises BoardDown, Busy."""
    folder, _ = _known(name)
    with folder.locked():
        folder.end()


def on(name: str, boot: Boot | None = None) -> Record:
    """Start a board that is off; one that runs is left alone. Whether it answers is not waited for.

    Without ``boot`` it boots what it boots by itself. Raises BoardDown, Busy, EnvironmentFault (a damaged image).
    """
    folder, _ = _known(name)
    with folder.locked():
        record = folder.read()
        if record is None:
            folder.remove()  # somebody took it down meanwhile: the lock has made it anew
            raise _down(name)
        if record.is_alive():
            return record
        image = images.find(images.recipe(record.image), Cache())
        if image is None:
            raise EnvironmentFault(f"board {name}: its image {record.image} is not in the cache any more")
        return qemu.start(
            folder, record, image, boot or boards.default_boot(record, image), time.sleep, answering=False
        )


def cycle(name: str) -> Record:
    """Off and on: it boots what it boots by itself."""
    off(name)
    return on(name)


def wake(name: str) -> None:
    """Start a board again, as it boots by itself, if its QEMU ended with a boot that was for once."""
    record = BoardFolder(name).read()
    if record is not None and record.once and not record.is_alive():
        with suppress(Busy):  # somebody does already
            on(name)


def answers(name: str) -> bool:
    """Whether an SSH server speaks on a board that is up, or was for one boot and is up again. Raises BoardDown."""
    wake(name)
    return qemu.speaks(way.up_now(name).port)


def keep(name: str, file: str, data: bytes) -> Path:
    """A file of the board's folder: for QEMU to load, and gone with the board."""
    folder, _ = _known(name)
    path = folder.path / file
    path.write_bytes(data)
    return path


def _known(name: str) -> tuple[BoardFolder, Record]:
    folder = BoardFolder(name)
    record = folder.read()
    if record is None:
        raise _down(name)
    return folder, record


def _down(name: str) -> BoardDown:
    return BoardDown(f"board {name} is not up", advice=f"bring it up: isolbench lab up {name}")
