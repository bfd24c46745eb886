# SPDX-License-Identifier: Apache-2.0
"""Campaigns on small machines: busybox for everything, dropbear, Python in pieces, memory alone to write on."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.build import probes

from .agent_kit import probe_binary
from .campaign_kit import Lab, complete, needs_root
from .conftest import Server
from .small_machine import SPLIT, small_root, start_small

__all__ = ["small_root", "start_small"]  # fixtures

pytestmark = needs_root


def lane(lab: Lab) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((lab.newest().path / "lanes/box.json").read_text())
    return document


@pytest.mark.parametrize(
    ("options", "deploy_root"),
    [
        ({}, "/tmp/isolbench-0"),
        ({"tmp": "noexec", "run": "noexec"}, "/dev/shm/isolbench-0"),
        ({"tmp": "noexec", "shm": "noexec"}, "/run/user/0/isolbench"),
    ],
)
def test_busybox_dropbear_and_a_root_that_is_read_only(
    options: dict[str, str], deploy_root: str, lab: Lab, start_small: Callable[..., Server]
) -> None:
    lab.add(start_small(**options))
    axes = {"mode": ["shared", "pinned", "fifo"], "load": ["idle", "spin"]}
    said = lab.cli("run", str(lab.campaign(axes=axes, repeat=1)))
    assert said.code == 0, said.err
    complete(lab.newest())
    contact = lane(lab)["contact"]
    assert contact["deploy_root"] == deploy_root
    assert contact["python"].startswith("3.9.")
    assert any("Read-only file system" in note for note in contact["notes"])
    doctor = lab.cli("doctor", "box", "--facts", "-i", str(lab.inventory), "--json")
    spool = [each["text"] for each in json.loads(doctor.out)["targets"]["box"] if each["topic"] == "spool"]
    assert [text.startswith("in memory (/") for text in spool] == [True]


def test_nowhere_may_anything_be_executed(lab: Lab, start_small: Callable[..., Server]) -> None:
    lab.add(start_small(tmp="noexec", run="noexec", shm="noexec"))
    said = lab.cli("run", str(lab.campaign()))
    assert said.code == 3
    (why,) = (line for line in said.lines if "no place for files that may be executed" in line)
    for place in ("/root/.cache/isolbench", "/var/tmp/isolbench-0", "/tmp/isolbench-0", "/dev/shm/isolbench-0", "/run"):
        assert f"{place}" in why
    assert "advice: make one of these writable, and not mounted noexec" in said.err


def test_the_packages_of_openembedded_that_are_named_are_enough(lab: Lab, start_small: Callable[..., Server]) -> None:
    lab.add(start_small(packages=["python3-core"]))
    said = lab.cli("run", str(lab.campaign()))
    assert said.code == 3
    assert "lacks hashlib, json, socket (OpenEmbedded: python3-crypt, python3-io, python3-json;" in said.lines[0]
    lab.add(start_small(packages=list(SPLIT)))
    said = lab.cli("run", str(lab.campaign("split", axes={"mode": ["shared", "pinned"], "load": ["idle", "spin"]})))
    assert said.code == 0, said.err
    complete(lab.newest())


@pytest.mark.skipif(shutil.which("busybox") is None, reason="no static busybox here")
def test_probes_run_where_there_is_no_c_library(tmp_path: Path) -> None:
    """Neither glibc nor musl, no loader: busybox's shell and a probe are all there is."""
    (tmp_path / "bin").mkdir()
    shutil.copy(shutil.which("busybox") or "", tmp_path / "bin/busybox")
    (tmp_path / "bin/sh").symlink_to("busybox")
    for name in probes():
        (tmp_path / "bin" / name).write_bytes(probe_binary(name))
        (tmp_path / "bin" / name).chmod(0o755)
    for name in probes():
        command = ["chroot", str(tmp_path), "/bin/sh", "-c", f"exec /bin/{name} --describe"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["probe"] == name
