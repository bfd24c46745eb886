# SPDX-License-Identifier: Apache-2.0
"""The rate of this machine's counter: QEMU has emulated PCs read it as theirs, and does not tell them its rate."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from pathlib import Path

from ..build import build_probe
from ..errors import BuildError
from ..toolchain import native_arch

_DURATION = "100000000ns"
_PATIENCE_S = 30.0


@functools.cache
def khz() -> int | None:
    """Measured by a probe of ours; None where it is no TSC, or nothing can be compiled: then kernels look for it.

    They do so by the PIT, and on a busy host may be wrong several times over (seen: 402 MHz for 2596).
    """
    if native_arch() != "x86_64":
        return None
    try:
        probe = build_probe("gap", "x86_64").path
        with tempfile.TemporaryDirectory(prefix="isolbench-tsc-") as folder:
            call = [str(probe), "--duration", _DURATION, "--out", folder]
            subprocess.run(call, check=True, capture_output=True, timeout=_PATIENCE_S)
            clock = json.loads(Path(folder, "result.json").read_bytes())["clock"]
    except (BuildError, OSError, subprocess.SubprocessError):
        return None
    return round(clock["frequency_hz"] / 1000) if clock["source"] == "tsc" else None
