# SPDX-License-Identifier: Apache-2.0
"""Kernels that come from files: what is wrong with them is said by the plan, before any target is asked."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.campaign.artefacts import look_at, pinned
from harness.cli.boot_plan import boots_json, lines
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.config.kernels import BUILT_IN_BOOT
from harness.errors import PlanError, UserError
from harness.plan import Plan, build_plan
from harness.target.booting import Booter, Wanted

from ..target.test_kernels import BUILD_ID, PACKAGE, arm64, bzimage, deb_of

INVENTORY = """\
targets:
  nuc: {address: n, boot: kexec, arch: x86_64}
  pi: {address: p, boot: tryboot, arch: aarch64}
  new: {address: m, boot: kexec}
kernels:
  next: {x86_64: {deb: k.deb}, aarch64: {image: Image}}
  x86: {image: bzImage}
  copy: {image: copy/bzImage}
  torn: {image: torn}
  gone: {deb: gone.deb}
  rt: {installed: 6.1-rt}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    for name, data in (
        ("k.deb", deb_of(PACKAGE)), ("Image", arm64()), ("bzImage", bzimage("6.18")), ("copy/bzImage", bzimage("6.18")),
        ("torn", bzimage()[:-9]), ("i.yaml", INVENTORY.encode()),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
    return tmp_path


def planned(folder: Path, targets: list[str], kernels: list[str]) -> Plan:
    campaign = {"campaign": "c", "targets": targets, "benches": ["gap"], "duration": "1s", "axes": {"kernel": kernels}}
    (folder / "c.yaml").write_text(json.dumps(campaign))
    return build_plan(load_campaign(folder / "c.yaml"), load_inventory(folder / "i.yaml"))


def test_what_lies_there_is_known_before_contact(folder: Path) -> None:
    found = look_at(planned(folder, ["nuc", "pi", "new"], ["default", "next", "rt"]))
    assert {arch: each.image.release for arch, each in found["next"].items()} == {
        "x86_64": "6.1.0-x",
        "aarch64": "6.1.0-a",
    }
    assert list(found) == ["next"]
    assert list(look_at(planned(folder, ["pi"], ["next"]))["next"]) == ["aarch64"]  # what nobody gets is not looked at
    assert list(look_at(planned(folder, ["new"], ["x86"]))["x86"]) == [""]


@pytest.mark.parametrize(
    ("targets", "kernels", "messages"),
    [
        (["nuc"], ["gone", "torn"], ["gone.deb: No such file or directory", "no whole kernel"]),
        (["nuc", "pi"], ["x86"], ["bzImage: a kernel for x86_64, not for aarch64"]),
        (["nuc"], ["x86", "copy"], ["kernels x86 and copy are one under two names: their files are the same"]),
    ],
)
def test_what_is_wrong_is_told_all_at_once(
    folder: Path, targets: list[str], kernels: list[str], messages: list[str]
) -> None:
    with pytest.raises(PlanError) as caught:
        look_at(planned(folder, targets, kernels))
    lines = str(caught.value).split("\n")
    assert len(lines) == len(messages)
    assert all(message in line for message, line in zip(messages, lines, strict=True))


def test_the_plan_says_who_it_is_and_whether_it_is_there(folder: Path) -> None:
    plan = planned(folder, ["nuc"], ["next", "rt"])
    target = load_inventory(folder / "i.yaml").targets["nuc"]
    looks = look_at(plan)
    sha256 = looks["next"]["x86_64"].sha256
    who = f"deb {folder}/k.deb: 6.1.0-x #1 SMP Debian, build id {BUILD_ID.hex()[:12]}, artefact {sha256[:12]}, "

    def said(kernels: dict[str, Any] | None) -> dict[str, str]:
        facts = None if kernels is None else {"arch": "x86_64", "kernels": kernels}
        found = boots_json(plan, target, facts, looks)
        assert found is not None
        kernels_said: dict[str, str] = found["kernels"]
        return kernels_said

    assert said(None) == {"next": f"{who}0 MB", "rt": "installed 6.1-rt"}
    assert said({"installed": ["6.1"], "ours": {}}) == {
        "next": f"{who}0 MB to be installed", "rt": "installed 6.1-rt: no such kernel there",
    }  # fmt: skip
    assert said({"installed": ["6.1-rt"], "ours": {sha256[:12]: "6.1.0-x"}})["next"] == f"{who}is there"


def test_more_kernels_than_lie_there_at_once_are_told_of(folder: Path) -> None:
    target = load_inventory(folder / "i.yaml").targets["nuc"]
    for kernels, told in ((["next", "x86", "rt"], False), (["next", "x86", "torn"], True)):
        found = boots_json(planned(folder, ["nuc"], kernels), target, None)
        assert found is not None
        assert found["sent_anew"] is told
        assert any("sent anew" in line for line in lines(found)) is told


def test_an_execution_boots_the_files_that_it_began_with(folder: Path) -> None:
    plan = planned(folder, ["nuc", "pi"], ["next", "rt"])
    looks = look_at(plan)
    again = Plan.from_json(json.loads(json.dumps(pinned(plan, looks).to_json())))
    assert again.hashes == {"next": {arch: each.sha256 for arch, each in looks["next"].items()}}
    assert set(again.hashes["next"]) == {"x86_64", "aarch64"}
    (folder / "k.deb").write_bytes(deb_of({**PACKAGE, "./boot/x": b""}))
    target = load_inventory(folder / "i.yaml").targets["nuc"]
    booter = Booter(target, lambda *_, **__: None, lambda _: False)
    state: Any = {"ours": None, "default": {"release": "6.1", "cmdline": "ro"}, "tools": {"kexec": "/sbin/kexec"}}
    hands: Any = SimpleNamespace(look=lambda *_: (state, {}), contact=SimpleNamespace(arch="x86_64"))
    with pytest.raises(UserError, match="kernel next: its files changed since this execution began"):
        booter.order(Wanted(again.kernels["next"], "plain", BUILT_IN_BOOT, again.hashes["next"]), hands)
