# SPDX-License-Identifier: Apache-2.0
"""KVM, or emulation: what boards run by on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..deadline import Deadline
from ..errors import BuildError, InfrastructureFault
from ..toolchain import native_arch
from . import count
from .cache import Cache
from .images import Kernel
from .state import host_boot_id

#: A guest is up in 2 s with KVM.
TRIAL_S = 15.0
_DEVICE = Path("/dev/kvm")


def accelerator(arch: str, kernel: Kernel, cache: Cache) -> str:
    """``kvm`` where a guest of ``arch`` really boots with it, else ``tcg``; decided once a boot of this machine."""

    def boots() -> bool:
        count.run(arch, kernel, cpus=1, accel="kvm", deadline=Deadline.after(TRIAL_S))
        return True

    with cache.locked("kvm"):  # boards that come up side by side try once
        return decide(arch, cache.folder, _DEVICE, boots)


def decide(arch: str, notes: Path, device: Path, boots: Callable[[], bool]) -> str:
    """That ``device`` can be opened proves little: in a virtual machine a guest may start and never get anywhere. So
    ``boots`` is tried, which raises InfrastructureFault where a guest does not boot; the outcome is noted in ``notes``.
    Where its user space cannot be compiled here nothing is known, and nothing noted: a compiler may come.
    """
    if arch != native_arch() or not os.access(device, os.R_OK | os.W_OK):
        return "tcg"
    note = notes / f"kvm-{host_boot_id()}"
    if not note.exists():
        try:
            outcome = "kvm" if boots() else "tcg"
        except BuildError:
            return "tcg"
        except InfrastructureFault:
            outcome = "tcg"
        for old in notes.glob("kvm-*"):
            old.unlink(missing_ok=True)
        note.write_text(outcome)
    return note.read_text()
