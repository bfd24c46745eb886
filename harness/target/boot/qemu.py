# SPDX-License-Identifier: Apache-2.0
"""``qemu``, of virtual boards: QEMU is ended, and started anew with the kernel, its first root and its command line.

Nothing is needed of the kernel that runs (``kexec`` needs its help), and nothing of the last boot is left. The board's
disk stays what it was. Where the kernel reboots or panics QEMU ends, and is started as the board boots by itself.
"""

from __future__ import annotations

from pathlib import Path

from ...config.inventory import Target
from ...lab import images, power, way
from ...lab.cache import Cache
from ...lab.machine import Boot
from ..hands import Hands
from .base import Bootable, Method, State


class Qemu(Method):
    def leave(self, target: Target, hands: Hands, what: Bootable | None, state: State) -> None:  # noqa: ARG002
        boot = None
        if what is not None:
            image, initrd = _of_the_image(target, what) or _of_the_board(target, what, hands)
            boot = Boot(image, initrd, (what.cmdline,), whole=True, once=True)
        hands.sync()
        power.off(target.name)
        power.on(target.name, boot)


def _of_the_image(target: Target, what: Bootable) -> tuple[Path, Path] | None:
    """A kernel that the board's image brought, from the cache."""
    if what.build is not None:
        return None
    image = images.find(images.recipe(way.up_now(target.name).image), Cache())
    kernels = () if image is None else image.kernels.values()
    return next(((each.image, each.initrd) for each in kernels if each.release == what.release), None)


def _of_the_board(target: Target, what: Bootable, hands: Hands) -> tuple[Path, Path | None]:
    """A kernel that was installed there: its first root was made there as well."""
    files = [None if path is None else hands.read(path) for path in (what.image, what.initrd)]
    image, initrd = (
        None if data is None else power.keep(target.name, name, data)
        for name, data in zip(("boot-image", "boot-initrd"), files, strict=True)
    )
    assert image is not None
    return image, initrd


METHOD = Qemu("qemu")
