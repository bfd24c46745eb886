# SPDX-License-Identifier: Apache-2.0
"""How this kernel was built: its configuration's digest, and the options that bear on how quiet a CPU can be."""

from __future__ import annotations

import hashlib
from typing import Dict, Optional

from .system import Tree

#: Without ``CONFIG_``. Each is built in, or not at all.
OPTIONS = (
    "HWLAT_TRACER",
    "HZ_1000",
    "KALLSYMS_ALL",
    "KFENCE_STATIC_KEYS",
    "NO_HZ_FULL",
    "OSNOISE_TRACER",
    "RCU_NOCB_CPU",
)


def text(tree: Tree) -> Optional[bytes]:
    """The configuration as text, from the kernel itself, else from where distributions lay it; None without either."""
    packed = tree.read_bytes("/proc/config.gz")
    if packed:
        try:
            import zlib  # a package of its own on small systems
        except ImportError:
            return None
        try:
            return zlib.decompress(packed, 31)
        except zlib.error:
            return None
    return tree.read_bytes(f"/boot/config-{tree.read('/proc/sys/kernel/osrelease')}") or None


def digest(config: Optional[bytes]) -> Optional[str]:
    """Its SHA-256."""
    return hashlib.sha256(config).hexdigest() if config else None


def options(config: Optional[bytes]) -> Optional[Dict[str, bool]]:
    """Which of :data:`OPTIONS` are built in; None where there is no telling."""
    if not config:
        return None
    lines = set(config.decode("utf-8", "replace").split("\n"))
    return {name: f"CONFIG_{name}=y" in lines for name in OPTIONS}
