# SPDX-License-Identifier: Apache-2.0
"""``netboot``: files in a folder of the controller's that the machine's network boot reads; then it is told to reboot.

``kernel``, ``initrd`` and ``cmdline`` are there for one boot: they are removed once the machine is back, or given up.
What the machine does without them (its disk, the next entry of its boot order) is its default.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from ...config.inventory import Target
from ...errors import EnvironmentFault, TargetUnfit
from .base import Bootable, Method

FILES = ("kernel", "initrd", "cmdline")


class Netboot(Method):
    def here(self, target: Target, what: Bootable | None, release: str) -> None:  # noqa: ARG002
        self.clean_up(target)
        if what is None:
            return
        if what.bundle is None:
            raise TargetUnfit(f"boot: netboot takes kernels from files here: {what.kernel} lies on the target")
        folder = _folder(target)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part, name in (("image", "kernel"), ("initrd", "initrd")):
                path = what.bundle.part(part)
                if path is not None:
                    shutil.copyfile(path, folder / name)
            (folder / "cmdline").write_text(what.cmdline + "\n")
        except OSError as error:
            self.clean_up(target)
            raise EnvironmentFault(f"boot: netboot: {error.filename or folder}: {error.strerror}") from None

    def clean_up(self, target: Target) -> None:
        for name in FILES:
            with suppress(FileNotFoundError):
                (_folder(target) / name).unlink()


def _folder(target: Target) -> Path:
    assert target.boot is not None
    assert target.boot.folder is not None
    return Path(target.boot.folder)


METHOD = Netboot("netboot")
