# SPDX-License-Identifier: Apache-2.0
"""`init` before it asks anybody: what an address is called, and that this machine is no target to add."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agent.spec import SAFE_NAME
from harness.cli.init import _key_file, _name_of
from harness.target.keys import HostKey

from .test_cli import isolbench


@pytest.mark.parametrize(
    ("host", "name"),
    [("nuc.lab.lan", "nuc"), ("nuc", "nuc"), ("10.0.0.5", "10.0.0.5"), ("fe80::1", "fe80--1"), ("::1", "1")],
)
def test_an_address_has_a_usable_name(host: str, name: str) -> None:
    assert _name_of(host) == name
    assert SAFE_NAME.fullmatch(name)


@pytest.mark.parametrize("words", [("local",), ("--repin", "local")])
def test_this_machine_needs_no_entry(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("targets: {}\n")
    done = isolbench("init", *words, "-i", "lab.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "local is this machine" in done.stderr


@pytest.mark.parametrize(
    ("kind", "file"), [("ssh-ed25519", "ed25519"), ("ecdsa-sha2-nistp256", "ecdsa"), ("ssh-rsa", "rsa")]
)
def test_where_the_machine_keeps_its_own_key(kind: str, file: str) -> None:
    assert _key_file(HostKey(kind, b"")) == f"/etc/ssh/ssh_host_{file}_key.pub"
