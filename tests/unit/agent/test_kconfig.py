# SPDX-License-Identifier: Apache-2.0
"""How a kernel was built: from its own mouth, else from where distributions lay it."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from harness.agent import kconfig
from harness.agent.facts import kernel
from harness.agent.system import Tree

TEXT = b"CONFIG_NO_HZ_FULL=y\n# CONFIG_HZ_1000 is not set\nCONFIG_HZ_1000_OTHER=y\nCONFIG_OSNOISE_TRACER=y\n"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    for folder in ("proc/sys/kernel", "boot"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.12.0\n")
    return Tree(str(tmp_path))


@pytest.mark.parametrize("where", ["proc/config.gz", "boot/config-6.12.0"])
def test_which_options_are_built_in(tree: Tree, tmp_path: Path, where: str) -> None:
    (tmp_path / where).write_bytes(gzip.compress(TEXT) if where.endswith("gz") else TEXT)
    found = kernel(tree)
    assert found["config_sha256"] == hashlib.sha256(TEXT).hexdigest()
    assert set(found["options"]) == set(kconfig.OPTIONS)
    assert [name for name, there in found["options"].items() if there] == ["NO_HZ_FULL", "OSNOISE_TRACER"]


@pytest.mark.parametrize("broken", [None, b"", b"\x1f\x8bnot so"])
def test_nothing_is_said_of_what_cannot_be_read(tree: Tree, tmp_path: Path, broken: bytes | None) -> None:
    if broken is not None:
        (tmp_path / "proc/config.gz").write_bytes(broken)
    found = kernel(tree)
    assert (found["config_sha256"], found["options"]) == (None, None)
