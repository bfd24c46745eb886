# SPDX-License-Identifier: Apache-2.0
"""Which piece of hardware this is: serial number, UUID, hardware addresses. What every board of a kind has is none.

Cloned disks share their machine-id, and a netbooted machine has a new one each boot: only what is in the hardware tells
two boards apart.
"""

from __future__ import annotations

import re

from .system import Tree

_NET = "/sys/class/net"
_DMI = "/sys/class/dmi/id"
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
_LOCALLY_ADMINISTERED = 0x02
_PERMANENT = 0  # NET_ADDR_PERM: neither random, stolen from another device, nor set by somebody

#: What firmware says where nobody filled the field in.
_PLACEHOLDER = re.compile(
    r"to be filled.*|default string|not (specified|applicable|available|set)|0*|f*|x*|0?123456789(0|abcdef)?"
    r"|((system|chassis|base board|product) )?serial.*|none|null|n/?a|oem|o\.e\.m\.|unknown|empty|invalid|undefined",
    re.IGNORECASE,
)
#: UUIDs of firmware that never got one of its own: all zeros, all ones, and AMI's and Intel's defaults.
_NO_UUID = re.compile(r"0[0-]*|f[f-]*|03000200-0400-0500-0006-000700080009|12345678-1234-.*", re.IGNORECASE)


def serial(tree: Tree, cpu_serial: str | None = None) -> str | None:
    """The board's serial number (root's to read on x86), or None; ``cpu_serial`` is that of /proc/cpuinfo."""
    paths = (f"{_DMI}/product_serial", f"{_DMI}/board_serial", "/sys/firmware/devicetree/base/serial-number")
    for text in (*(tree.read(path) for path in paths), cpu_serial):
        if text and not _PLACEHOLDER.fullmatch(text):
            return text
    return None


def uuid(tree: Tree) -> str | None:
    """SMBIOS's UUID of the system, in lower case; root's to read."""
    text = tree.read(f"{_DMI}/product_uuid")
    return text.lower() if text and not _NO_UUID.fullmatch(text) else None


def macs(tree: Tree) -> list[str]:
    """The addresses that network devices were made with, sorted. Random ones, and those of no device, are none."""
    found = set()
    for name in tree.names(_NET):
        folder = f"{_NET}/{name}"
        if not tree.exists(f"{folder}/device") or tree.number(f"{folder}/addr_assign_type") != _PERMANENT:
            continue
        text = (tree.read(f"{folder}/address") or "").lower()
        whole = _MAC.fullmatch(text) and text != "00:00:00:00:00:00"
        if whole and not int(text[:2], 16) & _LOCALLY_ADMINISTERED:
            found.add(text)
    return sorted(found)
