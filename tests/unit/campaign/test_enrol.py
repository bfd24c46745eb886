# SPDX-License-Identifier: Apache-2.0
"""Entering a target into an inventory that people edit: what they wrote stays, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.campaign.enrol import enrol, entry_of
from harness.config.inventory import load_inventory
from harness.errors import ConfigError, EnvironmentFault, UserError

KEYS = entry_of(address="new.lan", user="lab", port=2222, identity=Path("/k"), tags=["x86", "fast"])

WRITTEN = [
    "targets:\n  nuc: {address: nuc.lan}\n",
    "targets:\n  nuc: {address: nuc.lan}",
    "# ours\ntargets:   # all\n    nuc:\n        address: nuc.lan  # on the shelf\n        user: lab\n\n\n# the end\n",
    "targets:\n  nuc: {address: nuc.lan}\n\n# kernels come here\n",
    "targets:\n  # the first\n  nuc: {address: nuc.lan}\n  # the second\n  pi: {address: pi.lan,\n       user: pi}\n",
    "targets:\n  nuc: {address: nuc.lan}\ndefaults: {user: lab}\n",
    "targets:\n  nuc:\n    address: nuc.lan\ndefaults:\n  user: lab\n",
    "defaults: {user: lab}\n",
    "defaults: {user: lab}",
    "known_hosts: lab.known_hosts\n",
]


@pytest.mark.parametrize("text", WRITTEN)
def test_what_was_written_stays(text: str, tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(text)
    path.chmod(0o640)
    before = load_inventory(path).targets
    target = enrol(path, "new", KEYS)
    assert (target.address, target.user, target.port, target.tags) == ("new.lan", "lab", 2222, ("x86", "fast"))
    lines = path.read_text().splitlines()
    (added,) = [line for line in lines if "new.lan" in line]
    kept = [line for line in lines if line and line != added and line != "targets:"]
    assert kept == [line for line in text.splitlines() if line and line != "targets:"]
    after = load_inventory(path).targets
    assert {name: after[name] for name in before} == before
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["lab.yaml"]
    enrol(path, "newer", {"address": "newer.lan"})
    assert set(load_inventory(path).targets) == {*before, "new", "newer"}


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    path = tmp_path / "inventory/lab.yaml"
    enrol(path, "new", {"address": "new.lan"})
    assert set(load_inventory(path).targets) == {"local", "new"}


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("defaults: {user: lab}\n")
    (tmp_path / "lab.yaml").symlink_to("real.yaml")
    enrol(tmp_path / "lab.yaml", "new", {"address": "new.lan"})
    assert (tmp_path / "lab.yaml").is_symlink()
    assert "new" in load_inventory(tmp_path / "real.yaml").targets


@pytest.mark.parametrize("name", ["../x", "a b", "", "-x", "x:y", "$(id)", "a\nb"])
def test_names_that_are_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be a name"):
        enrol(tmp_path / "lab.yaml", name, {"address": "x"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["nuc", "local"])
def test_a_name_that_is_taken(name: str, tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("targets: {nuc: {address: nuc.lan}}\n")
    with pytest.raises(UserError, match=f"{name} is in .* already"):
        enrol(path, name, {"address": "x.lan"})


def test_one_line_for_all_is_left_to_its_author(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("targets: {nuc: {address: nuc.lan}}\n")
    with pytest.raises(UserError, match=r"add yourself: new: \{address: new.lan\}"):
        enrol(path, "new", {"address": "new.lan"})
    assert path.read_text() == "targets: {nuc: {address: nuc.lan}}\n"


def test_a_broken_inventory_is_not_made_worse(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("targets: [\n")
    with pytest.raises(ConfigError):
        enrol(path, "new", {"address": "new.lan"})
    assert path.read_text() == "targets: [\n"


def test_a_bad_address_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("targets:\n  nuc: {address: nuc.lan}\n")
    with pytest.raises(UserError, match="cannot be extended"):
        enrol(path, "new", {"address": "-oProxyCommand=id"})
    assert path.read_text() == "targets:\n  nuc: {address: nuc.lan}\n"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault):
        enrol(tmp_path / "file/lab.yaml", "new", {"address": "new.lan"})
