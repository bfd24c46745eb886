# SPDX-License-Identifier: Apache-2.0
"""Entering a target into an inventory that people edit: what they wrote stays, to the letter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.campaign.enrol import enrol, entry_of, repin
from harness.config.inventory import Target, load_inventory
from harness.errors import ConfigError, EnvironmentFault, Unreachable, UserError

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


@pytest.mark.parametrize(
    "empty", ["targets: {}\n", "targets: {  }  # none yet\n", "defaults: {user: lab}\ntargets: {}"]
)
def test_no_targets_yet(empty: str, tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(empty)
    enrol(path, "new", {"address": "new.lan"})
    enrol(path, "newer", {"address": "newer.lan"})
    assert set(load_inventory(path).targets) == {"local", "new", "newer"}


def test_a_target_that_lets_nobody_in_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("defaults: {user: lab}\n")

    def check(target: Target) -> None:
        assert target.user == "lab"  # as the inventory would have it
        raise Unreachable("no")

    with pytest.raises(Unreachable):
        enrol(path, "new", {"address": "new.lan"}, check)
    assert path.read_text() == "defaults: {user: lab}\n"
    assert list(tmp_path.iterdir()) == [path]


OLD, NEW = (f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{letter * 43}" for letter in "AB")


@pytest.mark.parametrize(
    "text",
    [
        f'targets:\n  nuc: {{address: nuc.lan, host_key: "{OLD}", tags: [x86]}}  # the old one\n',
        f"targets:\n  nuc:\n    address: nuc.lan\n    host_key: {OLD}  # of May\n    tags: [x86]\n",
        "targets:\n  nuc: {address: nuc.lan}\n",
        "targets:\n  nuc: { address: nuc.lan }\n  box: {address: b}\n",
        "targets:\n  nuc:\n    address: nuc.lan  # here\n  box: {address: b}\n",
        "targets: {nuc: {address: nuc.lan}}\n",
        'targets:\n  "nu[a,b,c]": {address: "{name}.lan"}\n',
        f'targets:\n  "nu[a,c]": {{address: x, host_key: "{OLD}"}}\n  nuc: {{disabled: no power}}\n',
    ],
)
def test_a_new_host_key(text: str, tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(text)
    before = load_inventory(path).targets
    found = repin(path, "nuc", NEW)
    after = load_inventory(path).targets
    assert after.pop("nuc") == found == before.pop("nuc").model_copy(update={"host_key": NEW})
    assert after == before
    assert re.findall("#.*", path.read_text()) == re.findall("#.*", text)


def test_a_key_that_others_share_is_left_to_a_person(tmp_path: Path) -> None:
    text = f'targets:\n  nuc: &one {{address: x, host_key: "{OLD}"}}\n  box: *one\n'
    path = tmp_path / "lab.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match='change yourself, in nuc: host_key: "ssh-ed25519 '):
        repin(path, "nuc", NEW)
    assert path.read_text() == text


@pytest.mark.parametrize("name", ["local", "nobody"])
def test_no_key_for_what_is_no_target(name: str, tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("targets: {nuc: {address: nuc.lan}}\n")
    with pytest.raises(UserError, match=f"{name}: no such target"):
        repin(path, name, NEW)
