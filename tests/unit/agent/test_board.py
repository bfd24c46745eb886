# SPDX-License-Identifier: Apache-2.0
"""Which piece of hardware a machine is: what its firmware says of itself, unless it says that of every board."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent import board
from harness.agent.system import Tree

DMI = "sys/class/dmi/id"
TREE = "sys/firmware/devicetree/base/serial-number"


def plant(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(str(root))


@pytest.mark.parametrize(
    ("files", "cpu", "serial"),
    [
        ({f"{DMI}/product_serial": "GEAY1420\n"}, None, "GEAY1420"),
        ({f"{DMI}/product_serial": "To be filled by O.E.M.\n", f"{DMI}/board_serial": "B-7\n"}, None, "B-7"),
        ({f"{DMI}/product_serial": "Default string\n", f"{DMI}/board_serial": "Default string\n"}, None, None),
        ({TREE: "10000000abcdef01\0"}, "77", "10000000abcdef01"),
        ({}, "0000000000000000", None),
        ({}, "00000000deadbeef", "00000000deadbeef"),
        ({}, None, None),
    ],
)
def test_serial(files: dict[str, str], cpu: str | None, serial: str | None, tmp_path: Path) -> None:
    assert board.serial(plant(tmp_path, files), cpu) == serial


@pytest.mark.parametrize(
    "text",
    [
        "To Be Filled By O.E.M.",
        "System Serial Number",
        "Chassis Serial Number",
        "Not Specified",
        "N/A",
        "NA",
        "None",
        "0",
        "00000000",
        "FFFFFFFF",
        "xxxxxx",
        "123456789",
        "0123456789ABCDEF",
        "Unknown",
        "OEM",
        " ",
    ],
)
def test_what_firmware_says_of_every_board_is_no_serial(text: str, tmp_path: Path) -> None:
    assert board.serial(plant(tmp_path, {f"{DMI}/product_serial": f"{text}\n"})) is None


@given(st.from_regex(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{4,12}", fullmatch=True))
def test_a_real_serial_is_kept(text: str) -> None:
    assert board.serial(Tree("/nonexistent"), text) == text


@pytest.mark.parametrize(
    ("text", "uuid"),
    [
        ("4C4C4544-0051-3010-8052-B4C04F564731\n", "4c4c4544-0051-3010-8052-b4c04f564731"),
        ("00000000-0000-0000-0000-000000000000", None),
        ("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", None),
        ("03000200-0400-0500-0006-000700080009", None),
        ("", None),
    ],
)
def test_uuid(text: str, uuid: str | None, tmp_path: Path) -> None:
    assert board.uuid(plant(tmp_path, {f"{DMI}/product_uuid": text})) == uuid


def nic(name: str, address: str, kind: str = "0", *, device: bool = True) -> dict[str, str]:
    folder = f"sys/class/net/{name}"
    return {
        f"{folder}/address": address,
        f"{folder}/addr_assign_type": kind,
        **({f"{folder}/device/vendor": "0x8086"} if device else {}),
    }


def test_only_addresses_that_devices_were_made_with_count(tmp_path: Path) -> None:
    nics = [
        nic("eth1", "DC:A6:32:00:00:02\n"),
        nic("eth0", "dc:a6:32:00:00:01\n"),
        nic("usb0", "00:e0:4c:00:00:03\n", "1"),  # drawn at random at this boot
        nic("bond0", "dc:a6:32:00:00:01\n", device=False),
        nic("lo", "00:00:00:00:00:00\n", device=False),
        nic("none0", "00:00:00:00:00:00\n"),
        nic("ens3", "52:54:00:12:34:56\n"),  # QEMU's, the same in every guest
        nic("ib0", "80:00:02:08:fe:80:00:00:00:00:00:00\n"),
    ]
    tree = plant(tmp_path, {key: text for files in nics for key, text in files.items()})
    assert board.macs(tree) == ["dc:a6:32:00:00:01", "dc:a6:32:00:00:02"]


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path))
    assert (board.serial(tree), board.uuid(tree), board.macs(tree)) == (None, None, [])
