# SPDX-License-Identifier: Apache-2.0
"""Roots of other Debians and other architectures: packages unpacked, never configured; kept from run to run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def unpacked(name: str, suite: str, packages: str, *options: str) -> Path:
    """The root ``name`` of ``packages`` (by comma) and what they need, fetched at the first use. Skips without the
    tool or the network."""
    tool = shutil.which("mmdebstrap")
    if tool is None:
        pytest.skip("no mmdebstrap here to unpack packages with")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isolbench/test"
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / name
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            partial = cache / f"partial-{os.getpid()}"
            command = [tool, "--variant=extract", *options, f"--include={packages}", suite, str(partial)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(partial, ignore_errors=True)
                pytest.skip(f"mmdebstrap: {done.stderr.strip()[-300:]}")
            partial.rename(root)
    return root
