# SPDX-License-Identifier: Apache-2.0
"""Ways to boot another kernel, one file each. A new one is a file with a ``METHOD``, and its name in this tuple."""

from __future__ import annotations

from . import command, grub, kexec, netboot, qemu, systemd_boot, tryboot
from .base import Bootable, Method, State, Step, reboot

METHODS: tuple[Method, ...] = (
    kexec.METHOD,
    grub.METHOD,
    systemd_boot.METHOD,
    tryboot.METHOD,
    qemu.METHOD,
    netboot.METHOD,
    command.METHOD,
)


def method_of(name: str) -> Method:
    """The method of that name: the inventory takes no other."""
    return next(each for each in METHODS if each.name == name)


__all__ = ["METHODS", "Bootable", "Method", "State", "Step", "method_of", "reboot"]
