# SPDX-License-Identifier: Apache-2.0
"""Power switches: commands of the site's own, run on the controller without a shell, or a virtual board's QEMU."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence

from ..config.inventory import Target
from ..config.kernels import filled
from ..errors import EnvironmentFault
from ..lab import power as lab

_COMMAND_S = 120.0
#: A supply without load holds its voltage for a while.
_OFF_S = 5.0


def can_cycle(target: Target) -> bool:
    return target.power is not None or target.virtual is not None


def cycle(target: Target) -> None:
    """Take the target's power away and give it back. Raises EnvironmentFault where a command fails.

    A virtual board's is QEMU: it boots what it boots by itself.
    """
    power = target.power
    if power is None:
        assert target.virtual is not None, "asked for without looking"
        lab.cycle(target.name)
        return
    values = {"name": target.name, "address": target.address or ""}
    if power.cycle is not None:
        run(power.cycle, values, "power: cycle")
        return
    assert power.off is not None
    assert power.on is not None
    run(power.off, values, "power: off")
    time.sleep(_OFF_S)
    run(power.on, values, "power: on")


def run(argv: Sequence[str], values: Mapping[str, str], what: str) -> None:
    """``argv`` with ``values`` filled in, to its end. Raises EnvironmentFault in one line."""
    words = filled(argv, values)
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_S, check=False)
    except subprocess.TimeoutExpired:
        raise EnvironmentFault(f"{what}: {words[0]} is not done after {_COMMAND_S:.0f} s") from None
    except OSError as error:
        raise EnvironmentFault(f"{what}: {words[0]}: {error.strerror or error}") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise EnvironmentFault(
            f"{what}: {words[0]} ended with status {done.returncode}: {lines[-1] if lines else 'no word'}"
        )
