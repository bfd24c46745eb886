# SPDX-License-Identifier: Apache-2.0
"""``netboot``: files in a folder of the controller's that the machine's network boot reads; then it is told to reboot.

``kernel``, ``initrd``, ``cmdline``, and ``boot.ipxe`` that says them to iPXE, are there for one boot: they are removed
once the machine is back, or given up. What it does without them (its disk, the next entry of its boot order) is its
default.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...config.inventory import Target
from ...errors import EnvironmentFault, TargetUnfit
from .base import Bootable, Method

FILES = ("kernel", "initrd", "cmdline", "boot.ipxe")


class Netboot(Method):
    def here(self, target: Target, what: Bootable | None, release: str) -> None:  # noqa: ARG002
        self.clean_up(target)
        if what is None:
            return
        if what.bundle is None:
            raise TargetUnfit(f"boot: netboot takes kernels from files here: {what.kernel} lies on the target")
        folder = _folder(target)
        image, initrd = what.bundle.part("image"), what.bundle.part("initrd")
        assert image is not None
        with _told(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if initrd is not None:
                shutil.copyfile(initrd, folder / "initrd")
            (folder / "cmdline").write_text(what.cmdline + "\n")
            (folder / "boot.ipxe").write_text(_ipxe(what.cmdline, initrd=initrd is not None))
            shutil.copyfile(image, folder / "kernel")

    def clean_up(self, target: Target) -> None:
        folder = _folder(target)
        with _told(folder):
            for name in FILES:
                with suppress(FileNotFoundError):
                    (folder / name).unlink()


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(f"boot: netboot: {error.filename or folder}: {error.strerror}") from None


def _folder(target: Target) -> Path:
    assert target.boot is not None
    assert target.boot.folder is not None
    return Path(target.boot.folder)


def _ipxe(cmdline: str, *, initrd: bool) -> str:
    """UEFI finds the initial RAM disk by the parameter; a BIOS does without it."""
    lines = ["#!ipxe", f"kernel kernel {'initrd=initrd ' if initrd else ''}{cmdline}"]
    lines += ["initrd initrd"] if initrd else []
    return "\n".join([*lines, "boot", ""])


METHOD = Netboot("netboot", serves=True)
