# SPDX-License-Identifier: Apache-2.0
"""``command``: the site's own program puts in place what the machine boots next; then it is told to reboot.

It is run on the controller, before each boot, also before one of the machine's default (``{kernel}`` is ``default`` and
``{boot}`` is ``plain`` then): so it can put that back.
"""

from __future__ import annotations

from ...config.inventory import Target
from ...config.kernels import DEFAULT_KERNEL, PLAIN_BOOT
from .. import power
from .base import Bootable, Method


class Command(Method):
    def here(self, target: Target, what: Bootable | None, release: str) -> None:
        assert target.boot is not None
        values = {
            "name": target.name,
            "address": target.address or "",
            "kernel": DEFAULT_KERNEL if what is None else what.kernel,
            "boot": PLAIN_BOOT if what is None else what.boot,
            "release": release,
            "image": "" if what is None else what.image,
            "initrd": "" if what is None else what.initrd or "",
            "cmdline": "" if what is None else what.cmdline,
        }
        power.run(target.boot.argv, values, "boot: command")


METHOD = Command("command", serves=True)
