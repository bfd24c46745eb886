# SPDX-License-Identifier: Apache-2.0
"""The programs that build images and furnish boards: where they are found, and what lacks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

#: command → Debian package
_BUILDERS = {
    "mmdebstrap": "mmdebstrap",
    "sqfstar": "squashfs-tools",
    "depmod": "kmod",
    "grub-mkimage": "grub-common",
    **({} if os.geteuid() == 0 else {"newuidmap": "uidmap"}),  # for a user namespace with more than one user
}


def path() -> str:
    """Where they are looked for."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"  # an ordinary user's PATH leaves these out


def missing() -> list[str]:
    """Debian packages to install before any image can be built here."""
    return [package for command, package in _BUILDERS.items() if shutil.which(command, path=path()) is None]


def advice(packages: Sequence[str]) -> str:
    """How to install them."""
    return f"as root on Debian: apt-get install --no-install-recommends {' '.join(packages)}"
