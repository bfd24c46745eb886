# SPDX-License-Identifier: Apache-2.0
"""Disk boards: up and down. How one that is up is reached: way.py."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence

from ..config.targets import Virtual
from ..deadline import Deadline
from ..errors import Busy, UserError
from . import accelerate, disks, grub, images, machine, qemu, state
from .cache import Cache
from .images import Image
from .machine import Boot
from .pause import POLL_S, Pause, wait
from .recipes import RECIPES
from .state import BoardFolder, Record

#: So long whoever takes a board down waits for whoever brings it up to give up.
_GIVE_UP_S = 30.0
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


def up(
    name: str,
    virtual: Virtual,
    say: _SAY,
    *,
    append: Sequence[str] = (),
    cache: Cache | None = None,
    pause: Pause = time.sleep,
) -> Record:
    """Bring a board up, as new, and wait until it answers; one that is up is left alone.

    ``pause`` waits for so many seconds, or until somebody asks for an end: then what it returns is true. Nothing is
    left of a board that does not come up: EnvironmentFault (no QEMU, no image tools), Unreachable with the end of the
    console, Busy, StorageFull, Stopped.
    """
    cache = cache or Cache()
    wanted = images.recipe(image_of(name, virtual))
    machine.program(virtual.arch)  # before an image is built for it
    disks.check_tools()
    folder = BoardFolder(name)

    def pause_here(seconds: float) -> bool:
        return bool(pause(seconds)) or folder.asked_down()

    with folder.locked():
        record = folder.read()
        if record is not None and record.is_alive():
            _same(record, virtual, wanted.name)
            return record
        try:
            folder.end()  # one that nothing was written down of
            folder.clear()
            image = images.build(wanted, cache, say, pause=pause_here)
            with folder.writing():
                return _up(folder, virtual, image, tuple(append), cache, say, pause_here)
        except BaseException:
            folder.end()
            folder.remove()
            raise


def _up(
    folder: BoardFolder,
    virtual: Virtual,
    image: Image,
    append: tuple[str, ...],
    cache: Cache,
    say: _SAY,
    pause: Pause,
) -> Record:
    name = folder.name
    kernel = image.kernels[virtual.kernel]
    accel = accelerate.accelerator(virtual.arch, kernel, cache)
    words = [*machine.always(virtual.arch, accel), *append]
    host_key = _furnish(folder, name, image, virtual.kernel, " ".join(words))
    wait(pause, f"board {name}", 0)
    say(f"{name}: booting {kernel.release} by {accel}")
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
        append=append,
    )
    return qemu.start(folder, record, image, default_boot(record, image), pause)


def default_boot(record: Record, image: Image) -> Boot | None:
    """What QEMU loads where there is no boot loader; None where the disk's boots what it has for a default."""
    kernel = image.kernels[record.kernel]
    return None if image.boot_loader else Boot(kernel.image, kernel.initrd, record.append)


def _same(record: Record, virtual: Virtual, image: str) -> None:
    said = {"arch": virtual.arch, "cpus": virtual.cpus, "memory_mb": virtual.memory_mb, "image": image}
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


def down(name: str) -> bool:
    """End a board and remove all there is of it, but for its image in the cache. False if there was none.

    Whoever is bringing it up gives up first. Raises Busy if that takes too long, EnvironmentFault if something stays.
    """
    folder = BoardFolder(name)
    if not folder.path.is_dir():
        return False
    deadline = Deadline.after(_GIVE_UP_S)
    while True:
        folder.ask_down()
        try:
            with folder.locked():
                folder.end()
                folder.remove()
                return True
        except Busy:
            if deadline.expired:
                raise
            time.sleep(POLL_S)
