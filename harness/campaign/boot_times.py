# SPDX-License-Identifier: Apache-2.0
"""How long a target takes to boot: measured at each boot that was proved, and kept beside its facts.

From it come the patience with the next boot, and what a plan says of the time.
"""

from __future__ import annotations

from ..config.inventory import Target
from ..plan.estimate import BOOT_S
from ..target.booting import BACK_S
from . import facts_cache

#: A boot may take so many times as long as the longest seen: disks are checked, and a machine emulates beside others.
_TIMES = 4.0
_LEAST_S = 60.0
#: So many are kept: a target that has got faster is not waited for as it was.
_KEPT = 8
_FIRMWARE, _KEXEC = "firmware", "kexec"


def add(target: Target, seconds: float, *, by_itself: bool) -> None:
    """``by_itself``: what was booted is the machine's own, and so through its firmware."""
    times = facts_cache.recall_boots(target)
    kind = _FIRMWARE if by_itself or target.boot is None or target.boot.method != "kexec" else _KEXEC
    facts_cache.remember_boots(target, {**times, kind: [*times.get(kind, []), round(seconds, 1)][-_KEPT:]})


def expected_s(target: Target) -> float:
    """What a boot is planned for: the mean of those seen, or what is planned where nothing is known."""
    times = [each for kind in facts_cache.recall_boots(target).values() for each in kind]
    return sum(times) / len(times) if times else BOOT_S


def patience_s(target: Target) -> float:
    """How long a boot is waited for: as the inventory says; else by the longest seen; else by what is long for any.

    Firmware may take minutes that ``kexec`` says nothing of, and what panics comes back through it.
    """
    if target.boot_timeout is not None:
        return target.boot_timeout
    times = facts_cache.recall_boots(target)
    longest = max((each for kind in times.values() for each in kind), default=0.0)
    known = _FIRMWARE in times or (target.virtual is not None and bool(times))
    return max(_LEAST_S if known else BACK_S, _TIMES * longest)
